"""Untrusted files: what is read of them is bounded before memory is allocated.

A file may be compressed, have holes, or declare large arrays: its content is larger than the file.
An honest file expands to a few times its size, a decompression bomb to a million times.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import gzip
import hashlib
import io
import json
import math
import os
import stat
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from aam_core.errors import InputError

__all__ = [
    "DAMAGED",
    "as_text",
    "check_expansion",
    "decoded",
    "describe_file",
    "existing",
    "member",
    "opened",
    "parse_json",
    "parse_yaml",
    "read_bytes",
    "read_json",
    "read_yaml",
]

_ALWAYS_ALLOWED = 2**27
"""Bytes that any file may expand to."""

_LARGEST_RATIO = 200
"""Times its own size that a larger file may expand to: text of few letters has been seen at 100."""

_LARGEST_PIPE = 2**33
"""Bytes that are read of a pipe: its writer may never stop."""

_LARGEST_YAML = 2**18
"""Bytes of a YAML file; reading a million of them would take half a minute."""

_PIPE_TIMEOUT = 5.0
"""Seconds until a pipe without a writer must have got one."""

_PIECE = 2**20
_GZIP = b"\x1f\x8b"

DAMAGED = (OSError, EOFError, zlib.error)
"""What reading raises where a file is truncated, overwritten or on a failing disk."""


def check_expansion(size: int, stored: int, where) -> None:
    """Raise `InputError` if ``stored`` bytes of a file may not expand to ``size``."""
    if size > max(_ALWAYS_ALLOWED, _LARGEST_RATIO * stored):
        raise InputError(
            f"{where} would expand from {stored:,} bytes to {size:.3g} or more; it is damaged, or "
            "was made to fill the memory. Get it again from its source."
        )


def existing(source, what: str) -> Path:
    """The path of a file or a pipe that can be read.

    Parameters
    ----------
    source : path
        From the user.
    what : str
        What it should contain ('table', 'sequences', ...), for the message.

    Raises
    ------
    InputError
        If there is none, it is a folder or a device, or may not be read.
    """
    path = Path(source).expanduser()
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # ValueError: a name that no file can have
        raise InputError(f"There is no file {path} ({what}); check the path.") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{path} is a folder; the {what} must be a file.")
    # A device such as /dev/zero has no end.
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise InputError(f"{path} is a device; the {what} must be a file or a pipe.")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} ({what}) may not be read; check its permissions.")
    return path


@contextlib.contextmanager
def opened(source, what: str) -> Iterator[BinaryIO]:
    """Open a file or a pipe for reading; gzip is decompressed.

    Parameters
    ----------
    source, what
        As in `existing`.

    Yields
    ------
    binary file
        Can be rewound; stands at its beginning.

    Raises
    ------
    InputError
        If there is no such file, it is damaged, or would expand too much.
    """
    path = existing(source, what)
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(_plain(path))
            zipped = file.read(2) == _GZIP
            file.seek(0)
            if zipped:
                file = stack.enter_context(_unzipped(file, path))
        except DAMAGED as error:
            raise InputError(f"{path} ({what}) cannot be read: {error}.") from None
        yield file


def read_bytes(source, what: str) -> bytes:
    """The content of what `opened` opens."""
    with opened(source, what) as file:
        try:
            return file.read()
        except DAMAGED as error:
            raise InputError(f"{source} ({what}) cannot be read: {error}.") from None


def describe_file(path) -> dict[str, Any]:
    """Name, without its folder, size and SHA-256 of a file; of a pipe, or one that is gone, a name.

    >>> describe_file("/dev/null")
    {'file': 'null'}
    """
    path = Path(path)
    try:
        if not path.is_file():
            return {"file": path.name}
        stat = path.stat()
        digest = _digest(path, stat.st_size, stat.st_mtime_ns)
    except OSError:  # a record, which must not end the run
        return {"file": path.name}
    return {"file": path.name, "bytes": stat.st_size, "sha256": digest}


@functools.lru_cache(maxsize=64)
def _digest(path: Path, size: int, changed: int) -> str:
    """SHA-256; each fold of a cross-validation asks for those of the same files."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_PIECE):
            digest.update(block)
    return digest.hexdigest()


def as_text(content: bytes, where) -> str:
    """Decode UTF-8, with or without a byte-order mark; line ends become ``\\n``.

    Raises
    ------
    InputError
        If it is not UTF-8.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        hint = f"its byte {error.start:,} is not UTF-8: save it as that, if it is the right file."
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            hint = "it may be UTF-16: save it as plain text (UTF-8), not as 'Unicode text'."
        raise InputError(f"{where} is not text: {hint}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


@contextlib.contextmanager
def decoded(file: BinaryIO, where) -> Iterator[TextIO]:
    """A binary file as text, for reading line by line what is too large to decode at once.

    Raises
    ------
    InputError
        If what the block reads is not UTF-8; as `as_text`.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig")
    try:
        yield text
    except UnicodeDecodeError:
        file.seek(0)
        as_text(file.read(), where)  # which says where, and what to do
        raise
    finally:
        text.detach()  # the caller closes the file


def member(folder, name: str) -> Path:
    """The path of a file of a saved folder, which may be absent.

    Raises
    ------
    InputError
        If it is a pipe, a device, a folder, a link out of the folder, or has more holes than
        content.
    """
    path = Path(folder, name)
    try:
        mode = path.stat().st_mode
    except OSError:
        return path
    if path.is_symlink() and not path.resolve().is_relative_to(Path(folder).resolve()):
        raise InputError(f"{path} is a link that leads out of its folder: copy the file itself.")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is not a regular file: the folder was edited.")
    with open(path, "rb") as file:
        _check_holes(file, path)
    return path


def read_json(path: Path, infinite: bool = False):
    """The content of a JSON file.

    Parameters
    ----------
    path : Path
    infinite : bool
        Whether numbers may be infinite or NaN, which is not JSON but what Python writes.

    Raises
    ------
    InputError
        If it is absent, truncated or not JSON.
    """
    try:
        return parse_json(member(path.parent, path.name).read_bytes(), infinite)
    except OSError:
        raise InputError(f"{path} is missing or cannot be read.") from None
    except ValueError as error:
        raise InputError(f"{path} is truncated or not JSON: {error}") from None


def parse_json(content: bytes, infinite: bool = True):
    """Parse JSON in any of its encodings; `ValueError` if it is not JSON."""
    hooks: dict[str, Any] = {} if infinite else {"parse_constant": _refuse, "parse_float": _finite}
    try:
        return json.loads(content, **hooks)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def read_yaml(source):
    """The content of a YAML file; `InputError` if it is not YAML.

    An alias (``*name``) may stand for a single value, not for a list or a mapping: nine lines of
    those can stand for a billion values.
    """
    with opened(source, "settings") as file:
        content = file.read(_LARGEST_YAML + 1)
    if len(content) > _LARGEST_YAML:
        raise InputError(f"{source} has more than {_LARGEST_YAML:,} bytes: it is no such file.")
    try:
        return parse_yaml(content)
    except ValueError as error:
        raise InputError(f"{source} is not YAML: {' '.join(str(error).split())}") from None


def parse_yaml(content: bytes):
    """Parse YAML of plain values; `ValueError` if it is not that."""
    import yaml

    try:
        return yaml.load(content, _loader())
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    # The second line is what PyYAML raises for malformed dates and numbers.
    except (yaml.YAMLError, UnicodeDecodeError,
            TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:  # fmt: skip
        raise ValueError(str(error)) from None


def _loader() -> type:
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent, index):
            alias = self.check_event(yaml.AliasEvent)
            node = super().compose_node(parent, index)
            if alias and not isinstance(node, yaml.ScalarNode):
                raise ValueError("write out what *names stand for, unless it is a single value")
            return node

        def construct_yaml_int(self, node):
            # Python limits decimal digits alone, not hexadecimal or base 60 (YAML's '1:1:1').
            if len(node.value) > 100:
                raise ValueError("a number has more than 100 digits")
            return super().construct_yaml_int(node)

    Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_yaml_int)
    return Loader


def _refuse(word: str):
    raise ValueError(f"{word} is not a number")


def _finite(text: str) -> float:
    return value if math.isfinite(value := float(text)) else _refuse(text)


@contextlib.contextmanager
def _plain(path: Path) -> Iterator[BinaryIO]:
    """A regular file, or a copy of a pipe's content: a pipe cannot be rewound."""
    if stat.S_ISFIFO(path.stat().st_mode):
        with tempfile.TemporaryFile() as copy:
            _copy_pipe(path, copy)
            copy.seek(0)
            yield copy
    else:
        with open(path, "rb") as file:
            _check_holes(file, path)
            yield file


def _copy_pipe(path: Path, copy: BinaryIO) -> None:
    """Read a pipe to its end, without blocking forever where it has no writer."""
    # O_NONBLOCK: opening would otherwise wait for a writer, without a limit.
    pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(pipe, "rb", buffering=0) as source:
        until = time.monotonic() + _PIPE_TIMEOUT
        # None: it has a writer, which has not written yet. Empty: it has none.
        while (piece := source.read(_PIECE)) == b"":
            if time.monotonic() > until:
                raise InputError(f"Nothing was written into the pipe {path}.")
            time.sleep(0.05)
        os.set_blocking(pipe, True)
        while piece != b"":
            if copy.tell() > _LARGEST_PIPE:
                raise InputError(f"More than {_LARGEST_PIPE:,} bytes came from the pipe {path}.")
            copy.write(piece or b"")
            piece = source.read(_PIECE)


@contextlib.contextmanager
def _unzipped(file: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    stored = os.fstat(file.fileno()).st_size
    # A copy: readers seek, and backwards in gzip means to decompress from the start again.
    with tempfile.TemporaryFile() as copy, gzip.GzipFile(fileobj=file) as source:
        while piece := source.read(_PIECE):
            copy.write(piece)
            # After each piece: the size that gzip records is modulo 2^32, and may be false.
            check_expansion(copy.tell(), stored, path)
        copy.seek(0)
        yield copy


def _check_holes(file: BinaryIO, path: Path) -> None:
    """Count a sparse file's data: its holes take no disk, but would take memory."""
    size = os.fstat(file.fileno()).st_size
    if size <= _ALWAYS_ALLOWED:
        return
    end = stored = 0
    try:
        while end < size:
            start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            stored += end - start
    except OSError as error:
        if error.errno != errno.ENXIO:  # a file system that does not tell holes
            return
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    check_expansion(size, stored, path)
