"""One writer at a time in a folder: a lock that ends with its process, however that ends.

It is a POSIX record lock on the file `LOCK` in the folder. The kernel (on NFS, the server) releases
it when the process ends, so that a killed process leaves no lock, as a file with its id would.
Forked processes do not inherit it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from aam_core.errors import InputError
from aam_core.files.writing import check_folder, make_folder
from aam_core.log import logger

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["LOCK", "PATIENCE", "lock_folder", "locked_by_parent"]

LOCK = ".aam-lock"

PATIENCE = 1.0
"""Seconds that a process may take to end after it was killed."""

_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""Errors of a file system that has no locks."""

_owners: dict[Path, tuple[int, int]] = {}
"""Locked folder -> process and thread that locked it."""


@contextlib.contextmanager
def lock_folder(directory, patience: float = PATIENCE) -> Iterator[bool]:
    """Lock ``directory`` against other writers while the block runs.

    The lock covers the folders within, and its owner may take it again. Where the file system has
    no locks, a warning says so. The folder is made if it is absent, and removed again if it is
    empty in the end.

    Parameters
    ----------
    directory : path
    patience : float
        Seconds to wait for another owner to end.

    Yields
    ------
    bool
        Whether the lock is new: false where this process had it.

    Raises
    ------
    InputError
        If another process (or thread) has the lock; or as `check_folder`.
    """
    # A folder with two names (a link) has one lock.
    folder = Path(os.path.realpath(directory))
    me = (os.getpid(), threading.get_ident())
    owners = {_owners[path] for path in (folder, *folder.parents) if path in _owners}
    owners = {owner for owner in owners if owner[0] == me[0]}  # another's entry came with a fork
    if owners:
        # A record lock belongs to the process: it does not stop another thread.
        if owners != {me}:
            raise _refusal(directory, f"process {me[0]}, another thread")
        yield False
        return
    check_folder(directory)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder(folder)
    # Before the lock is taken: another thread would be granted it as well.
    _owners[folder] = me
    lock = None
    try:
        lock = _take(folder / LOCK, directory, patience)
        yield True
    finally:
        del _owners[folder]
        if lock is not None:
            # Before the lock is released: afterwards the file could be another owner's.
            (folder / LOCK).unlink(missing_ok=True)
            os.close(lock)
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()


@contextlib.contextmanager
def locked_by_parent(directory) -> Iterator[None]:
    """Let this process write into ``directory``, which the process that started it has locked."""
    folder = Path(os.path.realpath(directory))
    _owners[folder] = (os.getpid(), threading.get_ident())
    try:
        yield
    finally:
        del _owners[folder]


def _take(path: Path, directory, patience: float) -> int | None:
    """Descriptor of the locked file; None where there are no locks."""
    if fcntl is None:
        return None
    until = time.monotonic() + patience
    while True:
        # O_NOFOLLOW: the file is truncated below, and a link could name any other.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The file may have been another owner's, who removed it meanwhile: then try again.
            if _is_at(descriptor, path):
                os.ftruncate(descriptor, 0)
                with contextlib.suppress(OSError):  # a full disk: the first real write reports it
                    os.write(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode())
                return descriptor
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                logger.warning(
                    "%s: this file system has no locks (%s): start no second run that writes there "
                    "meanwhile",
                    directory,
                    error.strerror,
                )
                os.close(descriptor)
                path.unlink(missing_ok=True)
                return None
            # POSIX allows either where another process has the lock.
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                os.close(descriptor)
                raise
            if time.monotonic() >= until:
                owner = _owner(descriptor)
                os.close(descriptor)
                raise _refusal(directory, owner) from None
            time.sleep(0.05)
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _owner(descriptor: int) -> str:
    words = os.pread(descriptor, 300, 0).decode(errors="replace").split()
    if not words or not words[0].isdigit():
        # It has the lock, but has not written its line yet.
        return "a process that just began"
    elsewhere = len(words) > 1 and words[1] != socket.gethostname()
    return f"process {words[0]}" + (f" on {words[1]}" if elsewhere else "")


def _refusal(directory, owner: str) -> InputError:
    return InputError(
        f"another aam is writing {directory} ({owner}): wait until it is done, or name another "
        "folder."
    )
