"""One writer at a time in a folder: a lock that goes with its process, however that ends.

It is a POSIX record lock on `LOCK` in the folder: the kernel (on NFS, the server) knows who holds
it, so that what a killed process leaves is no lock. Processes that are forked do not inherit it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from aam_core.errors import InputError
from aam_core.files.writing import check_folder, make_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = ".aam-lock"

PATIENCE = 1.0
"""Seconds that a process may take to be gone after it was killed."""

UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""What a file system says that has no locks."""

_held: dict[Path, tuple[int, int]] = {}
"""Folder -> process and thread that hold it."""


@contextlib.contextmanager
def alone(directory, patience: float = PATIENCE) -> Iterator[bool]:
    """Be the only one that writes into ``directory``; the block is told whether that is new.

    Who holds a folder holds those within it, and may ask for them again. On a file system without
    locks one line says so. A folder that is made for the lock goes again if nothing is in it.

    Parameters
    ----------
    directory : path
    patience : float
        Seconds to wait for another one to end.

    Raises
    ------
    InputError
        If another process (or thread) is writing there; or as `check_folder`.
    """
    folder = Path(os.path.realpath(directory))
    me = (os.getpid(), threading.get_ident())
    holders = {_held[path] for path in (folder, *folder.parents) if path in _held}
    holders = {holder for holder in holders if holder[0] == me[0]}  # else it was forked
    if holders:
        if holders != {me}:
            raise _refusal(directory, f"process {me[0]}, another thread")
        yield False
        return
    check_folder(directory)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder(folder)
    _held[folder] = me
    lock = None
    try:
        lock = _take(folder / LOCK, directory, patience)
        yield True
    finally:
        del _held[folder]
        if lock is not None:
            (folder / LOCK).unlink(missing_ok=True)  # before it is free: nobody else's goes
            os.close(lock)
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()


@contextlib.contextmanager
def held_by_parent(directory) -> Iterator[None]:
    """Let this process write into ``directory``, which the one that started it holds."""
    folder = Path(os.path.realpath(directory))
    _held[folder] = (os.getpid(), threading.get_ident())
    try:
        yield
    finally:
        del _held[folder]


def _take(path: Path, directory, patience: float) -> int | None:
    """The descriptor of the file that is locked now; None where there are no locks."""
    if fcntl is None:
        return None
    until = time.monotonic() + patience
    while True:
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(held, path):  # else it was another one's, and is gone
                os.ftruncate(held, 0)
                with contextlib.suppress(OSError):  # a full disk: what comes to be written says so
                    os.write(held, f"{os.getpid()} {socket.gethostname()}\n".encode())
                return held
        except OSError as error:
            if error.errno in UNSUPPORTED:
                _warn(directory, error)
                os.close(held)
                path.unlink(missing_ok=True)
                return None
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                os.close(held)
                raise
            if time.monotonic() >= until:
                holder = _holder(held)
                os.close(held)
                raise _refusal(directory, holder) from None
            time.sleep(0.05)
        os.close(held)


def _is_at(held: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(held), os.stat(path))
    except FileNotFoundError:
        return False


def _holder(held: int) -> str:
    words = os.pread(held, 300, 0).decode(errors="replace").split()
    if not words or not words[0].isdigit():
        return "a process that just began"
    elsewhere = len(words) > 1 and words[1] != socket.gethostname()
    return f"process {words[0]}" + (f" on {words[1]}" if elsewhere else "")


def _refusal(directory, holder: str) -> InputError:
    return InputError(
        f"another aam is writing {directory} ({holder}): wait until it is done, or name another "
        "folder."
    )


def _warn(directory, error: OSError) -> None:
    print(
        f"{directory}: this file system has no locks ({error.strerror}): start no second run that "
        "writes there meanwhile",
        file=sys.stderr,
        flush=True,
    )
