"""Errors that a user can act on: one readable line each."""


class AAMError(Exception):
    """Base of every error that AAM raises on purpose."""


class InputError(AAMError):
    """Something is wrong with what the user gave.

    The message is one line: what is wrong, where, how many, the first five, what to do. The command
    line prints it without a traceback and exits 2; QIIME 2 shows the same line.
    """


class Preempted(AAMError):
    """A run was told to stop and did, after a checkpoint from which it can go on.

    Parameters
    ----------
    message : str
        One line.
    signal : int
        What it was told with; 15 is SIGTERM. The command line exits 128 + ``signal``.
    """

    def __init__(self, message: str, signal: int = 15):
        super().__init__(message)
        self.signal = signal


def first_five(items) -> str:
    """Name the first five of ``items``, and how many more there are.

    >>> first_five(["a", "b"])
    'a, b'
    >>> first_five(range(8))
    '0, 1, 2, 3, 4 and 3 more'
    """
    items = [str(item) for item in items]
    shown = ", ".join(items[:5])
    return f"{shown} and {len(items) - 5} more" if len(items) > 5 else shown
