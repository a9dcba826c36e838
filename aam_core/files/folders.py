"""Folders whose files belong together: written all or nothing, read as one version.

New files are written into a hidden folder within the output folder, `STAGE`. Its manifest comes
last and commits it: from then on the stage is the current version. Then the files outside are
replaced one after another, and the stage is removed. A process that is killed before the manifest
leaves the earlier version; killed after it, the new one, which readers find in the stage and the
next writer publishes. There is never only a mixture of two versions.
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
from aam_core.files.locks import PATIENCE, lock_folder
from aam_core.files.reading import member
from aam_core.files.writing import check_folder, clear_leftovers, link_or_copy, make_folder, sync

__all__ = [
    "MANIFEST",
    "STAGE",
    "check_manifest",
    "current_folder",
    "is_hidden",
    "only_writer",
    "read_consistent",
    "replacing_folder",
    "replacing_in",
    "write_manifest",
]

T = TypeVar("T")

STAGE = ".aam-new"
MANIFEST = "manifest.json"

_MANIFEST_FORMAT = "aam-manifest"

_LARGEST_MANIFEST = 1_000_000
"""Bytes; AAM's own have some hundreds."""

_TRIES = 10
"""How often a reader starts again because a writer replaced files meanwhile."""


@contextlib.contextmanager
def replacing_in(
    directory, owned: Collection[str] = (), *, manifest: bool = False, durable: bool = True
) -> Iterator[Path]:
    """Write several files into ``directory``, all or none.

    Parameters
    ----------
    directory : path
    owned : collection of str
        Names that belong to what is written: where the block does not write one, an older file of
        that name is removed, so that it is not taken for part of the new version.
    manifest : bool
        Whether `MANIFEST` stays in ``directory``, for `check_manifest`.
    durable : bool
        Wait until all is on the disk: otherwise a power cut (not a killed process) may leave
        files that do not match their manifest.

    Yields
    ------
    Path
        A folder to write into, whose files then replace those of the same names; others stay.

    Raises
    ------
    InputError
        If ``directory`` is a file, or cannot be made or written; or another process writes there.
    """
    directory = Path(os.path.abspath(directory))
    stage = directory / STAGE
    with lock_folder(directory):
        make_folder(directory)
        # A killed writer may have committed its stage: that version is published, not lost.
        _recover(directory)
        try:
            make_folder(stage)
            yield stage
            _commit(stage, owned, manifest, durable)
            _publish(directory, durable)
        finally:
            # A committed stage stays: readers use it, and the next writer publishes it.
            if not (stage / MANIFEST).is_file():
                shutil.rmtree(stage, ignore_errors=True)


@contextlib.contextmanager
def only_writer(directory, patience: float = PATIENCE) -> Iterator[None]:
    """Lock ``directory`` against other writers, after a recovery from a killed one.

    A committed stage is published; an uncommitted one and temporary files are removed.

    Parameters
    ----------
    directory : path or None
        Nothing is done for None.
    patience : float
        As in `aam_core.files.locks.lock_folder`, which also says what is raised.
    """
    if directory is None:
        yield
        return
    with lock_folder(directory, patience) as is_new:
        # A lock that this process already had may cover a stage of its own, half written.
        if is_new:
            _recover(Path(directory))
        yield


def _recover(directory: Path) -> None:
    stage = directory / STAGE
    if stage.is_symlink():  # AAM makes none, and it may lead anywhere
        stage.unlink()
    if (stage / MANIFEST).is_file():
        _publish(directory, durable=True)
    shutil.rmtree(stage, ignore_errors=True)
    clear_leftovers(directory)


def read_consistent(directory, read: Callable[[Path], T]) -> T:
    """Read one version of a folder that `replacing_in` may be replacing at this moment.

    Parameters
    ----------
    directory : path
    read : callable
        Takes the folder of the current version: ``directory``, or the stage in it. Called again
        where files were replaced meanwhile.

    Raises
    ------
    InputError
        What ``read`` raises, if no file was replaced meanwhile; or after `_TRIES` versions.
    """
    directory = Path(directory)
    for _ in range(_TRIES):
        folder = _current(directory)
        before = _stamps(folder)
        try:
            content = read(folder)
        # An error amid a replacement may come from two versions, and says nothing of either.
        except (InputError, OSError):
            if folder == _current(directory) and before == _stamps(folder):
                raise
        else:
            if before == _stamps(folder):
                return content
        time.sleep(random.uniform(0, 0.1))  # random: a writer may save at an even pace, too
    raise InputError(f"{directory} is being written again and again: wait until that is done.")


def write_manifest(folder, owned: Collection[str] = (), published: bool = True) -> None:
    """Write `MANIFEST`: size and SHA-256 of every file in ``folder`` but pictures.

    Parameters
    ----------
    folder : path
    owned : collection of str
        Names that belong to such a folder: a file of that name that is not listed is of another
        version.
    published : bool
        Whether the manifest is to stay with the files.
    """
    folder = Path(folder)
    names = sorted(p.name for p in folder.iterdir() if _is_listed(p))
    values = {
        "format": _MANIFEST_FORMAT,
        "files": {name: _describe(folder / name) for name in names},
        "owned": sorted(owned),
        "published": published,
    }
    # The manifest commits the stage, so it must never exist in part.
    partial = folder / f".{MANIFEST}"
    partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, folder / MANIFEST)


def check_manifest(folder, optional: Collection[str] = ()) -> None:
    """Compare the files of ``folder`` with their sizes and digests in the manifest.

    Parameters
    ----------
    folder : path
    optional : collection of str
        Names of files that may have been removed since.

    Raises
    ------
    InputError
        If the manifest, or a file that it lists, is missing, or was truncated, edited or damaged;
        or if there is a file that belongs to another version.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder / MANIFEST)
    for name, expected in manifest["files"].items():
        path = member(folder, name)
        if not path.is_file():
            if name in optional:
                continue
            raise InputError(f"{path} is missing: {MANIFEST} lists it.")
        # The size first: a truncated file is found without reading it.
        if path.stat().st_size != expected.get("size") or _describe(path) != expected:
            raise InputError(
                f"{path} is truncated or not what was saved: it has {path.stat().st_size} bytes, "
                f"and {MANIFEST} lists {expected.get('size')} bytes of another content. It was "
                "damaged, edited or mixed with another folder's: take it anew from where it was "
                "made."
            )
    owned = {name for name in manifest["owned"] if (folder / name).is_file()}
    strange = sorted(name for name in owned - set(manifest["files"]) if _is_listed(folder / name))
    if strange:
        raise InputError(
            f"{folder} holds {len(strange)} files that {MANIFEST} does not list, of another "
            f"folder: {first_five(strange)}. Remove them."
        )


@contextlib.contextmanager
def replacing_folder(directory) -> Iterator[Path]:
    """Replace a whole folder by the one that the block fills.

    A folder cannot be renamed over another, so the old one is moved aside first. Whenever the
    process is killed, or the machine stops, one of the two is complete, and `current_folder` says
    where. The next writer clears up. Only one process may write a ``directory``.

    Raises
    ------
    InputError
        If ``directory`` is a file, or what should hold it cannot be made.
    """
    directory = Path(os.path.abspath(directory))
    check_folder(directory)
    make_folder(directory.parent)
    new, old = (directory.parent / f".{directory.name}.{age}" for age in ("new", "old"))
    # The process was killed between the two renames.
    if current_folder(directory) == old:
        os.rename(old, directory)
    for leftover in (new, old):
        if leftover.exists():
            shutil.rmtree(leftover)
    new.mkdir()
    try:
        yield new
        # Contents before names: after a power cut a new name must not stand for an empty file.
        for path in (*new.iterdir(), new):
            sync(path)
        if directory.exists():
            os.rename(directory, old)
        os.rename(new, directory)
        sync(directory.parent)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def current_folder(directory) -> Path:
    """Where the last complete folder is that `replacing_folder` wrote as ``directory``.

    It has that name, or is moved aside if the process was killed between the two renames.
    """
    directory = Path(os.path.abspath(directory))
    old = directory.parent / f".{directory.name}.old"
    return old if old.is_dir() and not directory.exists() else directory


def _commit(stage: Path, owned: Collection[str], manifest: bool, durable: bool) -> None:
    """Make the stage the current version."""
    if durable:
        for path in stage.iterdir():
            sync(path)
    write_manifest(stage, owned, published=manifest)
    if durable:
        sync(stage / MANIFEST)
        sync(stage)


def _publish(directory: Path, durable: bool) -> None:
    """Put the files of a committed stage in their places; may be repeated from the start.

    Old files are removed first: a program that reads ``directory`` without `read_consistent` may
    miss a file, but never finds files of two versions.
    """
    stage = directory / STAGE
    manifest = _read_manifest(stage / MANIFEST)
    written = sorted(path.name for path in stage.iterdir() if path.is_file())
    written = [name for name in written if not name.startswith(".") and name != MANIFEST]
    old = {*manifest["owned"], *written}
    with contextlib.suppress(InputError):  # there may be none
        old |= _read_manifest(directory / MANIFEST)["files"].keys()
    # The manifest first: without it no incomplete folder passes `check_manifest`.
    for name in (MANIFEST, *sorted(old)):
        # The same file where an earlier attempt, then killed, has linked it already.
        if not _same(stage / name, directory / name):
            with contextlib.suppress(FileNotFoundError):
                (directory / name).unlink()
    for name in (*written, *([MANIFEST] if manifest["published"] else [])):
        link_or_copy(stage / name, directory / name)
    if durable:
        sync(directory)
    (stage / MANIFEST).unlink()  # now the files outside are the current version
    shutil.rmtree(stage, ignore_errors=True)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is a temporary one of a writer: stage, lock, partial file."""
    return name.startswith(".aam-")


def _current(directory: Path) -> Path:
    stage = directory / STAGE
    return stage if (stage / MANIFEST).is_file() and not stage.is_symlink() else directory


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and os.path.samefile(one, other)


def _is_listed(path: Path) -> bool:
    """Whether a manifest lists a file: not pictures, manifests, hidden files, and Markdown, which
    people may edit."""
    hidden = path.name.startswith(".") or path.name == MANIFEST
    return path.is_file() and not hidden and path.suffix not in (".png", ".svg", ".pdf", ".md")


def _stamps(folder: Path) -> dict[str, tuple[int, ...]]:
    """Values of each listed file that change when it is replaced."""
    stamps: dict[str, tuple[int, ...]] = {}
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if _is_listed(path) or path.name == MANIFEST:
                info = path.stat()
                # The inode tells a replaced file whose size and time agree.
                stamps[path.name] = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns)
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
        if path.stat().st_size > _LARGEST_MANIFEST:
            raise InputError(f"{path} is no manifest that AAM wrote: it is too large.")
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing: without it nobody can tell whether the folder is complete."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is truncated or not JSON: {error}") from None
    match values:
        case {"format": str(format), "files": dict(files), "owned": list(owned), **rest}:
            valid = format == _MANIFEST_FORMAT
            # `_publish` removes files of these names: none may lead out of the folder.
            valid = valid and all(_is_name(name) for name in (*files, *owned))
            if valid and all(isinstance(item, dict) for item in files.values()):
                return {"files": files, "owned": owned, "published": rest.get("published") is True}
    raise InputError(f"{path} is no manifest that AAM wrote.")


def _is_name(name) -> bool:
    """Whether a name is that of a file in a folder, and of none outside it."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & {"/", "\0"}
