"""Atomic writes: a temporary file in the same folder, then a rename. For folders see `folders`."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from aam_core.errors import InputError, first_five

__all__ = [
    "check_folder",
    "check_space",
    "clear_leftovers",
    "is_stream",
    "link_or_copy",
    "make_folder",
    "replacing",
    "sync",
    "write_json",
]


@contextlib.contextmanager
def replacing(path) -> Iterator[Path]:
    """Write one file: the block writes a temporary one, which is then renamed to ``path``.

    The earlier file at ``path`` stays until the new one is complete. The temporary name keeps the
    suffix, from which some writers take the format. Into a pipe or a device (``/dev/stdout``) the
    finished file is copied.

    Yields
    ------
    Path
        The temporary file.

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
    make_folder(path.parent)
    clear_leftovers(path.parent, path.name)
    temporary = _temporary(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def is_stream(path: Path) -> bool:
    """Whether ``path`` is a pipe or a device, which cannot be replaced by a rename."""
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
            with open(temporary, "rb") as file, open(_descriptor(path), "wb") as stream:
                shutil.copyfileobj(file, stream)
        except OSError as error:
            raise InputError(f"{path} takes no more: {error.strerror}.") from None


def _descriptor(path: Path) -> int | Path:
    """The descriptor of a standard stream: opened by its path, a file that it is redirected to
    would be truncated."""
    if _DESCRIPTOR.fullmatch(str(path)) is None:
        return path
    named = {"stdout": 1, "stderr": 2}.get(path.name)
    # Python's buffer would otherwise come after what is written to the descriptor.
    sys.stdout.flush()
    # A duplicate, as the caller closes it: the process keeps its own stream.
    return os.dup(int(path.name) if named is None else named)


def check_folder(directory) -> None:
    """Check, before the work is done, that ``directory`` can be written or made.

    Raises
    ------
    InputError
        If it, or its nearest parent that exists, is a file, a dangling link, or not writable.
    """
    directory = Path(os.path.abspath(directory))
    nearest = next(p for p in (directory, *directory.parents) if p.exists() or p.is_symlink())
    if not nearest.exists():
        raise InputError(
            f"{nearest} is a link to {os.readlink(nearest)}, which is not there: make that folder, "
            "or name another."
        )
    if not nearest.is_dir():
        raise InputError(f"{nearest} is a file; give the name of a folder to write into.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"{nearest} cannot be written: name another folder, or get the right to.")


def check_space(directory, needed: int) -> None:
    """Check, before the work is done, that the disk of ``directory`` has ``needed`` bytes.

    Raises
    ------
    InputError
        If it has fewer.
    """
    directory = Path(os.path.abspath(directory))
    nearest = next(path for path in (directory, *directory.parents) if path.exists())
    free = shutil.disk_usage(nearest).free
    if free < needed:
        raise InputError(
            f"{directory} needs {needed / 1e9:.3g} GB at least, and its disk has {free / 1e9:.3g} "
            "GB left: make room, or name a folder on another disk."
        )


def write_json(path, value, strict: bool = False) -> None:
    """Write JSON; not atomic by itself.

    JSON has no infinities and no NaN: they become null or, where ``strict``, an `InputError`.
    """
    if strict and (wrong := list(_not_finite(value))):
        raise InputError(
            f"{len(wrong)} numbers are not finite, and {Path(path).name} cannot hold them: "
            f"{first_five(wrong)}."
        )
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


def _not_finite(value, path: str = "") -> Iterator[str]:
    """Each infinity and NaN, as 'interval.half_width inf'."""
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{path} {value}"
    items = enumerate(value) if isinstance(value, (list, tuple)) else ()
    for key, item in value.items() if isinstance(value, dict) else items:
        yield from _not_finite(item, f"{path}.{key}" if path else str(key))


def make_folder(folder: Path) -> None:
    """Make a folder and its parents; `InputError` where that is impossible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot write into {folder}: {error.strerror}.") from error


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link_or_copy(source: Path, target: Path) -> None:
    """Make ``target`` a hard link to ``source``, or a copy where the file system has no links."""
    temporary = _temporary(target)
    try:
        try:
            # Under a temporary name: os.link does not replace an existing target.
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
            sync(temporary)  # a link has the synced content, a copy does not
        os.replace(temporary, target)
    finally:
        # Where both are the same file already, a rename does nothing and leaves both names.
        temporary.unlink(missing_ok=True)


def clear_leftovers(folder: Path, name: str = "") -> None:
    """Remove temporary files of killed processes in ``folder``: all, or those of file ``name``."""
    for path in folder.iterdir():
        match = _TEMPORARY.match(path.name)
        # A live process may still be writing its file.
        if match and path.name.endswith(_tail(name)) and not _is_alive(int(match[1])):
            path.unlink(missing_ok=True)


# Process ids are below 2^22 on Linux: seven digits.
_TEMPORARY = re.compile(r"\.aam-([1-9][0-9]{0,6})-[0-9a-f]{8}-")

_TAIL = 100
"""Bytes of a name that its temporary name keeps: a file's name may have 255 at most."""


def _temporary(path: Path) -> Path:
    """A name in the same folder that no other writer uses, and that ends as ``path`` does."""
    return path.parent / f".aam-{os.getpid()}-{secrets.token_hex(4)}-{_tail(path.name)}"


def _tail(name: str) -> str:
    # The cut may fall within a character of several bytes.
    return name.encode()[-_TAIL:].decode(errors="ignore")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True
