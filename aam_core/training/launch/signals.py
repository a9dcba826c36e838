"""Signals: requests to stop, which a loop looks at between two steps."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker

SHIELDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGQUIT)
"""Signals that a worker takes only once it is up."""


class Stopper:
    """Notes a signal instead of ending the process.

    Within the block, in the main thread, the signals only set ``signal``; their former handlers
    return at its end. In another thread, where Python takes no handlers, it does nothing.

    Parameters
    ----------
    signals : tuple of int
        SIGTERM and SIGUSR1 are what schedulers send before they take a machine away.

    Attributes
    ----------
    signal : int
        The last of them that came; 0 before.
    """

    def __init__(self, signals: tuple[int, ...] = (signal.SIGTERM, signal.SIGUSR1)):
        self.signals = signals
        self.signal = 0
        self._former = {}

    def __enter__(self) -> Stopper:
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.signal(number, self._note) for number in self.signals}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._former.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, _) -> None:
        self.signal = int(number)


@contextlib.contextmanager
def shielded() -> Iterator[None]:
    """Hold signals back while processes start, and undo the handlers that elastic sets then.

    The processes start with the signals held back, so that none is lost or shows a traceback
    before they are up.
    """
    resource_tracker.ensure_running()  # started later, it would end the shield
    former = signal.pthread_sigmask(signal.SIG_BLOCK, SHIELDED)
    handlers = {number: signal.getsignal(number) for number in SHIELDED}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
