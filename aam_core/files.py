"""Atomic writes: a temporary name beside the target, then a rename."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from aam_core.errors import InputError


@contextlib.contextmanager
def replacing(path) -> Iterator[Path]:
    """Write one file: the block writes to the path it is given, which then becomes ``path``.

    Whatever stood at ``path`` stays until the new file is whole. The temporary name keeps the
    suffix, from which some writers take the format. Into a pipe or a device (``/dev/stdout``) the
    whole file is copied.

    Raises
    ------
    InputError
        If the folder cannot be made or ``path`` is itself a folder.
    """
    path = Path(path)
    if is_stream(path):
        with _streaming(path) as temporary:
            yield temporary
        return
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file to write.")
    _make(path.parent)
    temporary = path.parent / f".{os.getpid()}-{path.name}"
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_in(directory, owned: Collection[str] = ()) -> Iterator[Path]:
    """Write several files into ``directory``, all or none.

    The block writes into a temporary folder. A new ``directory`` appears by one rename; into one
    that exists, each whole file is renamed over its namesake, and other files stay.

    Parameters
    ----------
    directory : path
    owned : collection of str
        Names that belong to what is written: where the block leaves one out, an older file of
        that name goes, so that it is not taken for part of the new whole.

    Raises
    ------
    InputError
        If ``directory`` is a file, or cannot be made.
    """
    directory = Path(os.path.abspath(directory))
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file; give the name of a folder to write into.")
    _make(directory.parent)
    temporary = directory.parent / f".{os.getpid()}-{directory.name}"
    _make(temporary)
    try:
        yield temporary
        if directory.is_dir():
            written = sorted(item.name for item in temporary.iterdir())
            for name in written:
                os.replace(temporary / name, directory / name)
            for name in set(owned) - set(written):
                (directory / name).unlink(missing_ok=True)
        else:
            os.rename(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def replacing_folder(directory) -> Iterator[Path]:
    """Write a whole folder: the block fills the one it is given, which takes ``directory``'s place.

    A folder cannot be renamed over another, so the old one is moved aside first. Whenever the
    process is killed, or the machine stops, one of the two is whole, and `whole_folder` says
    where. What a killed one left is cleared by the next. One process writes a ``directory``.

    Raises
    ------
    InputError
        If ``directory`` is a file, or what should hold it cannot be made.
    """
    directory = Path(os.path.abspath(directory))
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file; give the name of a folder to write into.")
    _make(directory.parent)
    new, old = (directory.parent / f".{directory.name}.{age}" for age in ("new", "old"))
    if whole_folder(directory) == old:
        os.rename(old, directory)
    for leftover in (new, old):
        if leftover.exists():
            shutil.rmtree(leftover)
    new.mkdir()
    try:
        yield new
        for path in (*new.iterdir(), new):
            _sync(path)
        if directory.exists():
            os.rename(directory, old)
        os.rename(new, directory)
        _sync(directory.parent)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def whole_folder(directory) -> Path:
    """Where the last whole folder is that `replacing_folder` wrote as ``directory``.

    Under that name, or beside it if the process was killed while the two changed places.
    """
    directory = Path(os.path.abspath(directory))
    old = directory.parent / f".{directory.name}.old"
    return old if old.is_dir() and not directory.exists() else directory


def is_stream(path: Path) -> bool:
    """Whether what is written to ``path`` goes on to somebody else: a pipe, or a device."""
    return bool(_DESCRIPTOR.fullmatch(str(path))) or (
        path.exists() and not path.is_file() and not path.is_dir()
    )


_DESCRIPTOR = re.compile(r"/dev/(stdout|stderr|fd/[0-9]+)|/proc/self/fd/[0-9]+")


@contextlib.contextmanager
def _streaming(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="aam-") as folder:
        temporary = Path(folder, path.name)
        yield temporary
        try:
            with open(temporary, "rb") as whole, open(_descriptor(path), "wb") as stream:
                shutil.copyfileobj(whole, stream)
        except OSError as error:
            raise InputError(f"{path} takes no more: {error.strerror}.") from None


def _descriptor(path: Path) -> int | Path:
    """What is open already is not opened anew: a file behind it would be cut to nothing."""
    found = _DESCRIPTOR.fullmatch(str(path))
    if found is None:
        return path
    named = {"stdout": 1, "stderr": 2}.get(path.name)
    sys.stdout.flush()
    return os.dup(int(path.name) if named is None else named)


def check_folder(directory) -> None:
    """Say before the work, not after it, that ``directory`` cannot be a folder.

    Raises
    ------
    InputError
        If it, or what should hold it, is a file.
    """
    directory = Path(os.path.abspath(directory))
    nearest = next(path for path in (directory, *directory.parents) if path.exists())
    if not nearest.is_dir():
        raise InputError(f"{nearest} is a file; give the name of a folder to write into.")


def write_json(path, value) -> None:
    """Write JSON into a file of one's own; a number that is not finite becomes null."""
    text = json.dumps(_finite(value), indent=2, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float):  # numpy's float64 is one
        return float(value) if math.isfinite(value) else None
    return value


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot write into {folder}: {error.strerror}.") from error


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    held = os.open(path, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)
