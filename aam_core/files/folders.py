"""Folders whose files are one whole: written all or nothing, and read as they were written.

New files are laid into a hidden folder within the output folder, `STAGE`; its manifest comes last,
and makes it the whole. Then the files outside are replaced one after another, and the stage goes.
Killed before the manifest, a process leaves the earlier whole; killed after it, the new one, which
readers find in the stage and the next writer puts in its place. A mixture is never all there is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TypeVar

from aam_core.errors import InputError, first_five
from aam_core.files.locks import PATIENCE, alone
from aam_core.files.reading import member
from aam_core.files.writing import check_folder, clear_leftovers, make_folder, put, sync

T = TypeVar("T")

STAGE = ".aam-new"
MANIFEST = "manifest.json"

MANIFEST_FORMAT = "aam-manifest"

LARGEST_MANIFEST = 1_000_000
"""Bytes; AAM's own have some hundreds."""

TRIES = 10
"""How often a reader starts again that a writer came in between."""


@contextlib.contextmanager
def replacing_in(
    directory, owned: Collection[str] = (), *, manifest: bool = False, durable: bool = True
) -> Iterator[Path]:
    """Write several files into ``directory``, all or none.

    The block writes into a folder that it is given, whose files then replace their namesakes;
    files of other names stay.

    Parameters
    ----------
    directory : path
    owned : collection of str
        Names that belong to what is written: where the block leaves one out, an older file of
        that name goes, so that it is not taken for part of the new whole.
    manifest : bool
        Whether `MANIFEST` stays in ``directory``, for `check_manifest`.
    durable : bool
        Wait until all is on the disk: otherwise a power cut (not a killed process) may leave
        files that their manifest refuses.

    Raises
    ------
    InputError
        If ``directory`` is a file, or cannot be made or written; or another process writes there.
    """
    directory = Path(os.path.abspath(directory))
    stage = directory / STAGE
    with alone(directory):
        make_folder(directory)
        _recover(directory)
        try:
            make_folder(stage)
            yield stage
            _commit(stage, owned, manifest, durable)
            _publish(directory, durable)
        finally:
            if not (stage / MANIFEST).is_file():
                shutil.rmtree(stage, ignore_errors=True)


@contextlib.contextmanager
def only_writer(directory, patience: float = PATIENCE) -> Iterator[None]:
    """Keep others from writing into ``directory``, and put in order what a killed one left there.

    A whole stage takes its place; a part of one goes, and so do the files that `replacing` left.

    Parameters
    ----------
    directory : path or None
        Nothing is done for None.
    patience : float
        As `aam_core.files.locks.alone` takes it, and raises.
    """
    if directory is None:
        yield
        return
    with alone(directory, patience) as new:
        if new:
            _recover(Path(directory))
        yield


def _recover(directory: Path) -> None:
    stage = directory / STAGE
    if stage.is_symlink():  # none of ours, and it may lead anywhere
        stage.unlink()
    if (stage / MANIFEST).is_file():
        _publish(directory, durable=True)
    shutil.rmtree(stage, ignore_errors=True)
    clear_leftovers(directory)


def read_whole(directory, read: Callable[[Path], T]) -> T:
    """``read(folder)`` of a folder that `replacing_in` may be writing at this moment.

    Parameters
    ----------
    directory : path
    read : callable
        Takes the folder in which the whole is: ``directory``, or the stage in it.

    Raises
    ------
    InputError
        What ``read`` raises, if nobody wrote meanwhile.
    """
    directory = Path(directory)
    for _ in range(TRIES):
        folder = _whole(directory)
        before = _stamps(folder)
        try:
            found = read(folder)
        except (InputError, OSError):
            if folder == _whole(directory) and before == _stamps(folder):
                raise
        else:
            if before == _stamps(folder):
                return found
        time.sleep(random.uniform(0, 0.1))  # who saves at an even pace is not met each time
    raise InputError(f"{directory} is being written again and again: wait until that is done.")


def write_manifest(folder, owned: Collection[str] = (), published: bool = True) -> None:
    """Write `MANIFEST`: size and SHA-256 of every file in ``folder`` but pictures.

    Parameters
    ----------
    folder : path
    owned : collection of str
        Names that belong to such a folder: a file so called that is not listed is of another.
    published : bool
        Whether the manifest is to stay beside the files.
    """
    folder = Path(folder)
    names = sorted(p.name for p in folder.iterdir() if _counts(p))
    values = {
        "format": MANIFEST_FORMAT,
        "files": {name: _describe(folder / name) for name in names},
        "owned": sorted(owned),
        "published": published,
    }
    partial = folder / f".{MANIFEST}"
    partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, folder / MANIFEST)


def check_manifest(folder, optional: Collection[str] = ()) -> None:
    """Compare the files of ``folder`` with what `write_manifest` noted of them.

    Parameters
    ----------
    folder : path
    optional : collection of str
        Names of files that may have been removed since.

    Raises
    ------
    InputError
        If the manifest, or a file that it lists, is missing, or was truncated, edited or damaged;
        or if there is a file that belongs to another whole.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder / MANIFEST)
    for name, noted in manifest["files"].items():
        path = member(folder, name)
        if not path.is_file():
            if name in optional:
                continue
            raise InputError(f"{path} is missing: {MANIFEST} lists it.")
        if path.stat().st_size != noted.get("size") or _describe(path) != noted:
            raise InputError(
                f"{path} is truncated or not what was saved: it has {path.stat().st_size} bytes, "
                f"and {MANIFEST} notes {noted.get('size')} bytes of another content. It was "
                "damaged, edited or mixed with another folder's: take it anew from where it was "
                "made."
            )
    owned = {name for name in manifest["owned"] if (folder / name).is_file()}
    strange = sorted(name for name in owned - set(manifest["files"]) if _counts(folder / name))
    if strange:
        raise InputError(
            f"{folder} holds {len(strange)} files that {MANIFEST} does not list, of another "
            f"folder: {first_five(strange)}. Remove them."
        )


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
    check_folder(directory)
    make_folder(directory.parent)
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
            sync(path)
        if directory.exists():
            os.rename(directory, old)
        os.rename(new, directory)
        sync(directory.parent)
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


def _commit(stage: Path, owned: Collection[str], manifest: bool, durable: bool) -> None:
    """Make the stage the whole: from here on the earlier one is over."""
    if durable:
        for path in stage.iterdir():
            sync(path)
    write_manifest(stage, owned, published=manifest)
    if durable:
        sync(stage / MANIFEST)
        sync(stage)


def _publish(directory: Path, durable: bool) -> None:
    """Put the files of a whole stage in their places; cut short, it is done again from the start.

    All that is old goes first: what looks into ``directory`` without `read_whole` may miss a file,
    and never meets files of two wholes.
    """
    stage = directory / STAGE
    held = _read_manifest(stage / MANIFEST)
    written = sorted(path.name for path in stage.iterdir() if path.is_file())
    written = [name for name in written if not name.startswith(".") and name != MANIFEST]
    old = {*held["owned"], *written}
    with contextlib.suppress(InputError):  # there may be none
        old |= _read_manifest(directory / MANIFEST)["files"].keys()
    for name in (MANIFEST, *sorted(old)):
        if not _same(stage / name, directory / name):
            with contextlib.suppress(FileNotFoundError):
                (directory / name).unlink()
    for name in (*written, *([MANIFEST] if held["published"] else [])):
        put(stage / name, directory / name)
    if durable:
        sync(directory)
    (stage / MANIFEST).unlink()  # now the files outside are the whole
    shutil.rmtree(stage, ignore_errors=True)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is one that writers have beside what they write."""
    return name.startswith(".aam-")


def _whole(directory: Path) -> Path:
    stage = directory / STAGE
    return stage if (stage / MANIFEST).is_file() and not stage.is_symlink() else directory


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and os.path.samefile(one, other)


def _counts(path: Path) -> bool:
    """Whether a file is part of the whole: pictures, manifests and what is hidden are not."""
    hidden = path.name.startswith(".") or path.name == MANIFEST
    return path.is_file() and not hidden and path.suffix not in (".png", ".svg", ".pdf")


def _stamps(folder: Path) -> dict[str, tuple[int, ...]]:
    """What changes whenever a file of a whole is replaced."""
    stamps = {}
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if _counts(path) or path.name == MANIFEST:
                held = path.stat()
                stamps[path.name] = (held.st_dev, held.st_ino, held.st_size, held.st_mtime_ns)
    return stamps


def _describe(path: Path) -> dict:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
        return {"size": file.tell(), "sha256": digest.hexdigest()}


def _read_manifest(path: Path) -> dict:
    try:
        member(path.parent, path.name)
        if path.stat().st_size > LARGEST_MANIFEST:
            raise InputError(f"{path} is no manifest that AAM wrote: it is too large.")
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing: without it nobody can tell that the folder is whole."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is truncated or not JSON: {error}") from None
    match values:
        case {"format": str(format), "files": dict(files), "owned": list(owned), **rest}:
            named = all(_is_name(name) for name in (*files, *owned))
            noted = all(isinstance(item, dict) for item in files.values())
            if format == MANIFEST_FORMAT and named and noted:
                return {"files": files, "owned": owned, "published": rest.get("published") is True}
    raise InputError(f"{path} is no manifest that AAM wrote.")


def _is_name(name) -> bool:
    """Whether a name is that of a file in a folder, and of none outside it."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & {"/", "\0"}
