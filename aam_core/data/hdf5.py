"""Untrusted HDF5 files.

A dataset may refer to values in another file of the machine (external storage, external links,
virtual datasets), and may declare more values than fit into memory: both are refused before a value
is read.
"""

from __future__ import annotations

import faulthandler
import math
import os
import signal
import sys
import warnings
from collections.abc import Callable
from typing import BinaryIO, TypeVar

from aam_core.errors import InputError
from aam_core.files.reading import check_expansion

__all__ = ["MAGIC", "Datasets", "read_hdf5"]

MAGIC = b"\x89HDF\r\n\x1a\n"

T = TypeVar("T")

_SECONDS = 5.0
_BYTES_PER_SECOND = 1e6
"""Processor time that reading may take: `_SECONDS`, and more for large files."""

# Ends that tell of the file, and SIGPROF of the timer; SIGTERM or SIGKILL come from elsewhere.
_ENDS = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE", "SIGILL", "SIGPROF")

_BYTES_PER_ID = 64
"""Bytes that an id takes in memory, at least."""


class Datasets:
    """The datasets of an open HDF5 file, read by their paths.

    Parameters
    ----------
    root : h5py.File
    size : int
        Bytes of the file.
    where : path
        What errors call it.
    """

    def __init__(self, root, size: int, where):
        self._root, self._size, self._where = root, size, where

    def __contains__(self, path: str) -> bool:
        return path in self._root

    def read(self, *paths: str, kinds: str, dimensions: int = 1) -> list:
        """Arrays of numbers, whose types must be among numpy's ``kinds``."""
        datasets = [self._find(path, dimensions) for path in paths]
        for path, dataset in zip(paths, datasets, strict=True):
            if dataset.dtype.kind not in kinds:
                raise ValueError(f"{path} holds no numbers of the right type")
        self._check(datasets, [dataset.dtype.itemsize for dataset in datasets])
        return [dataset[:] for dataset in datasets]

    def text(self, path: str) -> list[str]:
        """A list of text; an empty one may be stored as numbers."""
        dataset = self._find(path, 1)
        self._check([dataset], [_BYTES_PER_ID])
        return dataset.asstr()[:].tolist() if dataset.shape[0] else []

    def _find(self, path: str, dimensions: int):
        import h5py

        node = self._root
        for name in path.split("/"):
            link = node.get(name, getlink=True) if isinstance(node, h5py.Group) else None
            if link is None:
                raise KeyError(f"it has no {path}")
            if not isinstance(link, h5py.HardLink):
                self._refuse(path)
            node = node[name]
        if not isinstance(node, h5py.Dataset):
            raise KeyError(f"{path} is no dataset")
        if node.is_virtual or node.external:
            self._refuse(path)
        # A dataset with a null dataspace has no shape.
        if node.shape is None or len(node.shape) != dimensions:
            raise ValueError(f"{path} is no array of {dimensions} dimensions")
        return node

    def _refuse(self, path: str):
        raise InputError(
            f"{self._where}: the values of {path} lie behind a link or in another file, which is "
            "not followed: it could be any file of this machine. Write the data into one file."
        )

    def _check(self, datasets, each: list[int]) -> None:
        """Compare the declared sizes, and those of a chunk, with the size of the file."""
        sizes = (math.prod(dataset.shape) * n for dataset, n in zip(datasets, each, strict=True))
        # A chunk is decompressed whole, however little of it is read.
        chunks = (math.prod(dataset.chunks or ()) * dataset.dtype.itemsize for dataset in datasets)
        check_expansion(max(sum(sizes), *chunks), self._size, self._where)


def read_hdf5(file: BinaryIO, what: str, where, read: Callable[[Datasets], T]) -> T:
    """Open HDF5 and read some of its datasets.

    Parameters
    ----------
    file : binary file
    what : str
        What it should be, with its article, for the message.
    where : path
    read : callable
        Takes `Datasets`; its result is returned.

    Raises
    ------
    InputError
        If it is damaged or lacks something, refers to another file, or would expand too much.
    """
    size = file.seek(0, 2)

    def attempt() -> T:
        import h5py

        try:
            with h5py.File(file, "r") as root:
                return read(Datasets(root, size, where))
        except (OSError, KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
            message = " ".join(str(error).split()).strip("'\".")
            raise InputError(f"{where} is not {what}, or is damaged: {message}.") from error

    if sys.platform == "linux" and _crashes(attempt, _SECONDS + size / _BYTES_PER_SECOND):
        raise InputError(
            f"{where} is not {what}, or is damaged: the HDF5 library crashes on it, or does not "
            "end."
        )
    return attempt()


def _crashes(attempt: Callable, seconds: float) -> bool:
    """Whether an attempt kills its process, or takes more than ``seconds`` of processor time.

    Some damage crashes the HDF5 library, some makes it loop. So a fork tries it first, and discards
    what it reads, which takes 10 ms for most files. On other systems than Linux fork is unreliable.
    """
    import h5py  # noqa: F401  # before the fork, which then has it

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about threads, which the fork neither has nor needs
        child = os.fork()
    if child == 0:
        try:
            # A crash is expected here, and its traceback would be printed.
            faulthandler.disable()
            # An inherited handler would keep the timer from ending this process.
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, seconds)
            # What the library prints would stand beside the one line of the error (a test).
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            attempt()
        finally:
            # No exit handlers and no exception here: the parent's own attempt raises it.
            os._exit(0)
    try:
        _, status = os.waitpid(child, 0)
    except ChildProcessError:  # another thread waits for all children
        return False
    return os.WIFSIGNALED(status) and signal.Signals(os.WTERMSIG(status)).name in _ENDS
