"""Files that nobody vouches for: what is read of them is bounded before it is allocated.

A file may be compressed, or have holes, or declare arrays: it unfolds. A true one unfolds to a few
times its own size, one that was made to harm to a million times.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import math
import os
import stat
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from aam_core.errors import InputError

FREE = 2**27
"""Bytes that any file may unfold to."""

MOST_TIMES = 200
"""Times its own size that a larger one may unfold to: text of few letters has been seen at 100."""

LONGEST_PIPE = 2**33
"""Bytes that are read of a pipe: who writes into it may never stop."""

LARGEST_YAML = 2**18
"""Bytes of a YAML file; reading a million of them would take half a minute."""

WAIT = 5.0
"""Seconds until somebody must have written into a pipe that nobody holds open."""

_PIECE = 2**20
_GZIP = b"\x1f\x8b"

DAMAGED = (OSError, EOFError, zlib.error)
"""What reading a file raises that is cut short, overwritten or on a disk that fails."""


def check_unfolded(size: int, held: int, where) -> None:
    """Raise `InputError` unless ``held`` bytes of a file may unfold to ``size``."""
    if size > max(FREE, MOST_TIMES * held):
        raise InputError(
            f"{where} would unfold from {held:,} bytes to {size:.3g} or more, as no true file "
            "does; it is damaged, or was made to fill the memory. Get it anew from its source."
        )


def existing(source, what: str) -> Path:
    """The path of a file or a pipe that can be read, or a one-line error.

    Parameters
    ----------
    source : path
        As given by the user.
    what : str
        What it should hold ('table', 'sequences', ...), for the message.
    """
    path = Path(source).expanduser()
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # ValueError: a name that no file can have
        raise InputError(f"There is no file {path} ({what}); check the path.") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{path} is a folder; the {what} must be a file.")
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise InputError(f"{path} is a device; the {what} must be a file or a pipe.")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} ({what}) may not be read; check its permissions.")
    return path


@contextlib.contextmanager
def opened(source, what: str) -> Iterator[BinaryIO]:
    """Open what a file or a pipe holds, unzipped where it is gzipped.

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
        If there is no such file, it is damaged, or would unfold without measure.
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
    """What `opened` gives, whole."""
    with opened(source, what) as file:
        try:
            return file.read()
        except DAMAGED as error:
            raise InputError(f"{source} ({what}) cannot be read: {error}.") from None


def as_text(content: bytes, where) -> str:
    """Decode UTF-8, with or without its mark; any line ends are made ``\\n``."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        hint = f"its byte {error.start:,} is not UTF-8: save it as that, if it is the right file."
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            hint = "it may be UTF-16: save it as plain text (UTF-8), not as 'Unicode text'."
        raise InputError(f"{where} is not text: {hint}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def member(folder, name: str) -> Path:
    """The path of a file of a saved folder: a regular one, and not a way out of the folder.

    Raises
    ------
    InputError
        If it is a pipe, a device, a folder, a link that leads elsewhere, or has more holes than
        content. That it is absent is not looked for.
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
    """What a JSON file holds.

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
    """Parse JSON in any of its encodings, with or without a mark; `ValueError` where it is none."""
    hooks = {} if infinite else {"parse_constant": _refuse, "parse_float": _finite}
    try:
        return json.loads(content, **hooks)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def read_yaml(source):
    """What a YAML file holds; `InputError`, in one line, where it is not YAML.

    A name for something (``&name``) may stand for a single value, not for a list or a mapping:
    nine lines of those can stand for a billion values.
    """
    with opened(source, "settings") as file:
        content = file.read(LARGEST_YAML + 1)
    if len(content) > LARGEST_YAML:
        raise InputError(f"{source} has more than {LARGEST_YAML:,} bytes: it is no such file.")
    try:
        return parse_yaml(content)
    except ValueError as error:
        raise InputError(f"{source} is not YAML: {' '.join(str(error).split())}") from None


def parse_yaml(content: bytes):
    """Parse YAML of plain values; `ValueError` where it is none."""
    import yaml

    try:
        return yaml.load(content, _loader())
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    # The second line is what values raise that YAML's words say to be a date or a number.
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
    """A regular file, or a copy of what a pipe gives."""
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
    """Read a pipe to its end. Opening one that nobody writes into would wait for ever."""
    pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(pipe, "rb", buffering=0) as source:
        until = time.monotonic() + WAIT
        # None: somebody holds it open, and has not written yet. Nothing: nobody does.
        while (piece := source.read(_PIECE)) == b"":
            if time.monotonic() > until:
                raise InputError(f"Nothing was written into the pipe {path}.")
            time.sleep(0.05)
        os.set_blocking(pipe, True)
        while piece != b"":
            if copy.tell() > LONGEST_PIPE:
                raise InputError(f"More than {LONGEST_PIPE:,} bytes came from the pipe {path}.")
            copy.write(piece or b"")
            piece = source.read(_PIECE)


@contextlib.contextmanager
def _unzipped(file: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    held = os.fstat(file.fileno()).st_size
    with tempfile.TemporaryFile() as copy, gzip.GzipFile(fileobj=file) as source:
        while piece := source.read(_PIECE):
            copy.write(piece)
            check_unfolded(copy.tell(), held, path)
        copy.seek(0)
        yield copy


def _check_holes(file: BinaryIO, path: Path) -> None:
    """A sparse file takes less of the disk than its size, and all of its size in memory."""
    size = os.fstat(file.fileno()).st_size
    if size <= FREE:
        return
    end = held = 0
    try:
        while end < size:
            start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            held += end - start
    except OSError as error:
        if error.errno != errno.ENXIO:  # a file system that knows of no holes
            return
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    check_unfolded(size, held, path)
