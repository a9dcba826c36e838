"""One voice: all that the library says goes to the standard logger ``aam_core``.

Nothing is installed at import, as for any library: Python shows warnings on stderr, and what else
there is to say where `show` is called. The command line and the QIIME 2 plugin call it; a notebook
may, or configure `logging` as it likes.

Some lines are still wanted when the log is gone: what was dropped, settings without an effect, and
warnings. These are notes: `note` logs one, and `recording` collects them, whatever is shown.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = [
    "COMMAND",
    "Handler",
    "duration",
    "labelled",
    "logger",
    "note",
    "recording",
    "remember",
    "show",
    "showing",
]

logger = logging.getLogger("aam_core")

_recorders: ContextVar[tuple[list[str], ...]] = ContextVar("recorders", default=())
"""Lists that get the notes of this thread: jobs side by side do not get each other's."""

COMMAND = "AAM_COMMAND"
"""Environment variable in which the command line tells itself to the processes that it starts."""


class Handler(logging.Handler):
    """Writes each message as a line on stderr, above a progress bar if there is one.

    Warnings begin with ``warning: ``. Of several processes that do the same the first one speaks.

    Parameters
    ----------
    wording : callable, optional
        What is made of each message first.
    """

    def __init__(self, wording: Callable[[str], str] = str):
        super().__init__()
        self.wording = wording

    def emit(self, record: logging.LogRecord) -> None:
        if os.environ.get("RANK", "0") != "0":
            return
        try:
            text = self.wording(record.getMessage())
            if record.levelno >= logging.WARNING:
                text = f"warning: {text}"
            _write(text)
        # As handlers of `logging` do: a message that cannot be written must not end a run.
        except Exception:
            self.handleError(record)


def show(level: int | str = "INFO", wording: Callable[[str], str] = str) -> None:
    """Show what the library says on stderr, from this level on.

    Parameters
    ----------
    level : {'DEBUG', 'INFO', 'WARNING', 'ERROR'} or int
    wording : callable, optional
        What is made of each message first, unless messages are shown already.

    Examples
    --------
    >>> import aam_core.log
    >>> aam_core.log.show("WARNING")
    """
    if not any(isinstance(handler, Handler) for handler in logger.handlers):
        logger.addHandler(Handler(wording))
        logger.propagate = False  # else a handler of the root logger would say it twice
    logger.setLevel(level)


@contextmanager
def showing(level: int | str = "INFO", wording: Callable[[str], str] = str) -> Iterator[None]:
    """As `show`, within a block; afterwards the logger is as it was."""
    handlers, propagate, before = list(logger.handlers), logger.propagate, logger.level
    logger.handlers[:] = [it for it in handlers if not isinstance(it, Handler)]
    show(level, wording)
    try:
        yield
    finally:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(before)


def note(line: str, log: logging.Logger | logging.LoggerAdapter = logger) -> None:
    """Log a line, and keep it for the `recording` within which this is called."""
    log.info("%s", line)
    remember([line])


def remember(lines: Iterable[str]) -> None:
    """Keep lines that another process logged, as `note` keeps those that it logs."""
    lines = list(lines)
    for kept in _recorders.get():
        kept.extend(lines)


@contextmanager
def recording() -> Iterator[list[str]]:
    """Collect the notes and warnings of a block, each once; a block around it gets them, too.

    They are collected whatever is shown; a warning without the label of its line.

    Examples
    --------
    >>> with recording() as lines:
    ...     note("3 samples were dropped")
    >>> lines
    ['3 samples were dropped']
    """
    lines: list[str] = []

    def watch(record: logging.LogRecord) -> bool:
        # By identity: another list may have the same lines.
        if record.levelno >= logging.WARNING and any(it is lines for it in _recorders.get()):
            label = getattr(record, "label", None)
            text = record.getMessage()
            lines.append(text if label is None else text.removeprefix(f"{label}: "))
        return True

    before = _recorders.get()
    token = _recorders.set((*before, lines))
    # A filter and no handler: with a handler Python would not show warnings on stderr by itself.
    logger.addFilter(watch)
    try:
        yield lines
    finally:
        logger.removeFilter(watch)
        _recorders.reset(token)
        lines[:] = dict.fromkeys(lines)


class _Labelled(logging.LoggerAdapter):
    """A logger whose messages begin with a label."""

    def __init__(self, label: str):
        super().__init__(logger, {})
        self.label = label

    def log(self, level, msg, *args, **kwargs):
        # Not by `process`: a per cent sign of the label would be taken for a format.
        if self.isEnabledFor(level):
            text = msg % args if args else msg
            kwargs["extra"] = {**(kwargs.get("extra") or {}), "label": self.label}
            self.logger.log(level, "%s: %s", self.label, text, **kwargs)


def duration(seconds: float) -> str:
    """Seconds in words, to two units.

    >>> duration(4.2), duration(95), duration(7260)
    ('4 s', '1 min 35 s', '2 h 1 min')
    """
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def labelled(label: str) -> logging.LoggerAdapter:
    """The logger, each of whose messages begins with ``label`` and a colon."""
    return _Labelled(label)


def _write(text: str) -> None:
    tqdm = sys.modules.get("tqdm")  # without it there is no bar
    if tqdm is None:
        print(text, file=sys.stderr, flush=True)
    else:
        tqdm.tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()
