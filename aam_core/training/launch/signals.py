"""Signals: requests to stop, which a loop asks for between two steps."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from typing import Any

__all__ = ["BLOCKED", "Stopper", "blocked"]

BLOCKED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGQUIT)
"""Signals that a new process takes only once it is up."""


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
        self._former: dict[int, Any] = {}

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
def blocked() -> Iterator[None]:
    """Block signals while processes start, which inherit that.

    So none is lost, nor shows a traceback, before a process has its handlers.
    """
    resource_tracker.ensure_running()  # it would unblock the signals when it starts
    former = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
