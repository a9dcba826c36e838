"""Ways to damage a file or a folder: blind, and by what its format means.

Nothing here names or reaches a file outside the folder of the case: a link that is made leads to a
file beside the damaged folder, and nothing is ever written through a link.

Each takes the generator of the case first, and everything random comes from it.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import struct
import zipfile
from pathlib import Path
from random import Random

import h5py
import numpy as np
import yaml

from aam_core.files.folders import write_manifest

WORDS = (
    "", " ", "nan", "NaN", "inf", "-inf", "Infinity", "1e999", "-1e999", "-0", "1e-320", "0x10",
    "9" * 400, "1_000", "1,5", "50%", "true", "null", "None", "NA", "not applicable", "~", "-1",
    "0.5", "2147483648", "9223372036854775808", "1e18", "\x00", "\t", "\n", "\r", "\r\n", '"', "'",
    '""', "''", ",", ";", ":", "(", ")", "[", "]", "{", "}", ">", "@", "#", "#q2:types", "=", "\\",
    "id", "sample-id", "\ufeff", "\u202e", "\x1b[31m", "é", "北京", "𐍈", "\u2028", "x" * 5000,
    "*a", "&a b", "<<: *a", "!!timestamp x", "!!int ''", "2020-99-99", "2020-01-01", "1:2:3",
    "? a", "- -", "|", "%", "$x$", "../../x",
)  # fmt: skip

VALUES = (
    None, True, False, 0, 1, -1, 2, 3, 10**9, 2**31, 2**63, 10**30, 10**400, 0.5, 1e308, 1e-320,
    float("nan"), float("inf"), -float("inf"), "", "x", "a\tb", "a\nb", "\ud800", "x" * 5000,
    [], {}, [[]], [{}], {"a": None}, ["a", "a"], [1, "a", None], [[1, 2], [3]], list(range(300)),
)  # fmt: skip


# --- bytes -----------------------------------------------------------------------------------


def _place(rng: Random, content) -> slice:
    """A random part, mostly a short one."""
    start = rng.randrange(len(content) + 1)
    longest = rng.choice((1, 8, 64, 4096, len(content)))
    return slice(start, min(len(content), start + rng.randint(0, longest)))


def _flip(rng, content):
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _truncate(rng, content):
    return content[: rng.randrange(len(content) + 1)]


def _remove(rng, content):
    part = _place(rng, content)
    return content[: part.start] + content[part.stop :]


def _repeat(rng, content):
    part = _place(rng, content)
    times = min(rng.choice((2, 3, 100, 10_000)), 2_000_000 // (part.stop - part.start + 1) + 1)
    return content[: part.start] + content[part] * times + content[part.stop :]


def _swap(rng, content):
    one, other = sorted((_place(rng, content), _place(rng, content)), key=lambda part: part.start)
    if one.stop > other.start:
        return content
    middle = content[one.stop : other.start]
    return content[: one.start] + content[other] + middle + content[one] + content[other.stop :]


def _noise(rng, content):
    part = _place(rng, content)
    new = rng.choice((rng.randbytes(rng.randint(1, 200)), bytes(64), b"\xff" * 64))
    return content[: part.start] + new + content[part.stop :]


def _number(rng, content):
    """A number of 2, 4 or 8 bytes becomes an extreme one."""
    size, letter = rng.choice(((2, "H"), (4, "I"), (8, "Q")))
    if len(content) < size:
        return content
    at, most = rng.randrange(len(content) - size + 1), 2 ** (8 * size)
    value = rng.choice((0, 1, most - 1, most // 2, most // 2 - 1, len(content) % most))
    return content[:at] + struct.pack("<" + letter, value) + content[at + size :]


BLIND = (_flip, _flip, _truncate, _remove, _repeat, _swap, _noise, _number)


def blind(rng: Random, content: bytes) -> bytes:
    """Damage that knows no format."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        content = rng.choice(BLIND)(rng, content)
    return content


# --- text ------------------------------------------------------------------------------------


def _word(rng, text):
    """A number or a word becomes another."""
    result = list(re.finditer(r"[^\s,:;()\[\]{}\"]+", text))
    if not result:
        return rng.choice(WORDS)
    match = rng.choice(result)
    new = rng.choice((*WORDS, rng.choice(result)[0], match[0] + rng.choice(WORDS)))
    return text[: match.start()] + new + text[match.end() :]


def _insert(rng, text):
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(WORDS) * rng.choice((1, 1, 2, 1000)) + text[at:]


def _lines(rng, text):
    lines = text.split("\n")
    at, to = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            lines.insert(to, lines[at])
        case 1:
            del lines[at]
        case 2:
            lines[at], lines[to] = lines[to], lines[at]
        case 3:
            lines = lines[:at] + [lines[at]] * rng.choice((2, 5000)) + lines[at:]
    return "\n".join(lines)[:2_000_000]


def _columns(rng, text):
    """A cell more, less or elsewhere in every line, or in one."""
    between = "\t" if "\t" in text else ","
    rows = [line.split(between) for line in text.split("\n")]
    width = max(map(len, rows))
    at, to, how = rng.randrange(width), rng.randrange(width), rng.randrange(4)
    for row in rows if rng.random() < 0.5 else [rng.choice(rows)]:
        if max(at, to) < len(row):
            match how:
                case 0:
                    del row[at]
                case 1:
                    row.insert(to, row[at])
                case 2:
                    row[at], row[to] = row[to], row[at]
                case 3:
                    row[at] = rng.choice(WORDS)
    return "\n".join(between.join(row) for row in rows)


def _nest(rng, text):
    opening, closing = rng.choice((("(", ")"), ("[", "]"), ("{", "}"), ("{a: ", "}"), ("- ", "")))
    times, at = rng.choice((2, 60, 3000, 100_000)), rng.randrange(len(text) + 1)
    filling = opening * times + rng.choice(("", "1", "a:1")) + closing * rng.choice((times, 0))
    return text[:at] + filling + text[at:]


def _encode(rng, text) -> bytes:
    encoding = rng.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1", "utf-32"))
    if rng.random() < 0.1:
        text = text.replace("\n", rng.choice(("\r\n", "\r", "\n\n", "\x0b", "\u2028")))
    return text.encode(encoding, "replace")


def text(rng: Random, content: bytes) -> bytes:
    """Damage of lines, cells, words and numbers."""
    result = content.decode("utf-8", "replace")
    for _ in range(rng.choice((1, 1, 2, 5))):
        result = rng.choice((_word, _word, _insert, _lines, _columns, _nest))(rng, result)
    return _encode(rng, result)


# --- trees of values -------------------------------------------------------------------------


def _mutate(rng: Random, value):
    """The same tree of values with one of them changed."""
    inside = isinstance(value, (dict, list)) and value and rng.random() < 0.85
    if not inside:
        return rng.choice((rng.choice(VALUES), rng.choice(VALUES), [value], {"a": value}))
    if isinstance(value, list):
        at = rng.randrange(len(value))
        how = rng.choice(("deeper", "deeper", "drop", "twice", "swap"))
        changed = list(value)
        if how == "drop":
            del changed[at]
        elif how == "twice":
            changed.insert(at, changed[at])
        elif how == "swap":
            changed[0], changed[at] = changed[at], changed[0]
        else:
            changed[at] = _mutate(rng, changed[at])
        return changed
    key = rng.choice(list(value))
    how = rng.choice(("deeper", "deeper", "deeper", "drop", "rename"))
    changed = dict(value)
    if how == "drop":
        del changed[key]
    elif how == "rename":
        changed[rng.choice(("", "x", str(key).upper(), f"{key}s", "__class__"))] = changed.pop(key)
    else:
        changed[key] = _mutate(rng, changed[key])
    return changed


def as_json(rng: Random, content: bytes) -> bytes:
    """Damage of the values of JSON."""
    try:
        value = json.loads(content)
    except ValueError:
        return text(rng, content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        value = _mutate(rng, value)
    return json.dumps(value).encode()


def as_yaml(rng: Random, content: bytes) -> bytes:
    """Damage of the values of YAML; sometimes with names for what stands elsewhere."""
    value = yaml.safe_load(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        value = _mutate(rng, value)
    if rng.random() < 0.1:
        value = [value] * 3  # the same object: an alias
    return yaml.dump(value, Dumper=yaml.Dumper).encode("utf-8", "surrogatepass")


# --- HDF5 ------------------------------------------------------------------------------------


def as_hdf5(rng: Random, content: bytes, folder: Path) -> bytes:
    """Damage of datasets: their values, types, shapes and places."""
    path = folder / "damaged.h5"
    path.write_bytes(content)
    try:
        with h5py.File(path, "r+") as file:
            names = []
            file.visititems(lambda name, item: names.append(name) and None)
            for _ in range(rng.choice((1, 1, 2))):
                name = rng.choice(names)
                if name in file and isinstance(file[name], h5py.Dataset):
                    _dataset(rng, file, name)
                elif name in file:
                    del file[name]
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, OverflowError):
        pass  # what HDF5 itself does not write
    changed = path.read_bytes()
    path.unlink()
    return changed


def _dataset(rng, file, name):
    if (file[name].size or 0) > 10**5:  # what was declared the time before
        return
    values, shape = file[name][()], file[name].shape
    if rng.random() < 0.5 and shape and file[name].dtype.kind in "iuf":
        changed = np.array(values)
        at = rng.randrange(changed.size) if changed.size else 0
        new = rng.choice((0, 1, -1, 2**31 - 1, 2**40, 0.5, 1e300, np.nan, np.inf, -(2**31)))
        kind = changed.dtype if rng.random() < 0.3 else np.dtype(rng.choice("bhilfdBHIL"))
        with np.errstate(all="ignore"):
            changed = changed.astype(kind)
            changed.reshape(-1)[at : at + 1] = np.array([new]).astype(kind)
        del file[name]
        file[name] = rng.choice((changed, changed[:-1], changed[::-1], np.append(changed, 1)))
        return
    del file[name]
    huge = rng.choice((10**6, 10**9, 10**12))
    match rng.randrange(9):
        case 0:
            file[name] = rng.choice((7, 0.5, "text", h5py.Empty("f"), [b"a", b"b"], [True]))
        case 1:
            file.create_dataset(name, (huge,), "<f8", chunks=(1000,), compression="gzip")
        case 2:
            file.create_dataset(name, (huge,), h5py.string_dtype(), chunks=(1000,))
        case 3:
            file[name] = h5py.ExternalLink("outside.h5", "x")
        case 4:
            file[name] = h5py.SoftLink(rng.choice(("/", f"/{name}", "/nowhere")))
        case 5:
            file.create_dataset(name, (8,), "<i8", external=[("outside", 0, 64)])
        case 6:
            file.create_group(name)
        case 7:
            file[name] = np.reshape(values, (1, *shape)) if shape else values
        case 8:
            ids = rng.choice((["a"] * 16, ["", "b"], [b"\xff\xfe"] * 3, ["é" * 10], ["x" * 10**6]))
            file[name] = ids


# --- packages --------------------------------------------------------------------------------


def as_zip(rng: Random, content: bytes, folder: Path) -> bytes:
    """Damage within an archive: members changed, renamed, gone, doubled, compressed otherwise."""
    path = folder / "damaged.zip"
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    at = rng.randrange(len(members))
    name, data = members[at]
    how = rng.randrange(6)
    if how < 3:
        members[at] = (name, damaged(rng, name, data, folder))
    elif how == 3:
        members[at] = (rng.choice(("x", "../" + name, name + "/", "u/VERSION")), data)
    elif how == 4:
        members.insert(at, (name, rng.choice((data, b"", bytes(10_000_000)))))
    else:
        del members[at]
    kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA,
             zipfile.ZIP_BZIP2)  # fmt: skip
    with zipfile.ZipFile(path, "w", rng.choice(kinds)) as archive:
        for member in members:
            archive.writestr(*member)
    changed = path.read_bytes()
    path.unlink()
    return blind(rng, changed) if rng.random() < 0.2 else changed


def as_gzip(rng: Random, content: bytes, name: str, folder: Path) -> bytes:
    """Damage of what is within, or of the gzip round it."""
    if rng.random() < 0.6:
        return gzip.compress(damaged(rng, name, gzip.decompress(content), folder), 1)
    return blind(rng, content)


def as_safetensors(rng: Random, content: bytes) -> bytes:
    """Damage of the header, or of the numbers."""
    (size,) = struct.unpack("<Q", content[:8].ljust(8, b"\0"))
    try:
        header = json.loads(content[8 : 8 + size])
    except ValueError:  # damaged before
        return blind(rng, content)
    data = bytearray(content[8 + size :])
    if rng.random() < 0.5 and data:
        for _ in range(rng.choice((1, 4, 50))):
            at = rng.randrange(0, len(data) - 3, 4) if len(data) > 4 else 0
            number = rng.choice((0, 1, -1, 2**31 - 1, 0x7F800000, 0x7FC00000, rng.getrandbits(31)))
            data[at : at + 4] = struct.pack("<i", number)
    else:
        header = _mutate(rng, header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data)


# --- by name ---------------------------------------------------------------------------------


def damaged(rng: Random, name: str, content: bytes, folder: Path) -> bytes:
    """``content`` damaged, as the name of its file suggests or blindly.

    Parameters
    ----------
    rng : Random
    name : str
    content : bytes
    folder : Path
        For temporary files.
    """
    if rng.random() < 0.25:
        return blind(rng, content)
    if name.endswith((".biom", ".h5")):
        return as_hdf5(rng, content, folder)
    if name.endswith(".gz"):
        return as_gzip(rng, content, name.removesuffix(".gz"), folder)
    if name.endswith(".qza"):
        return as_zip(rng, content, folder)
    if name.endswith(".json") and rng.random() < 0.7:
        return as_json(rng, content)
    if name.endswith(".yaml") and rng.random() < 0.5:
        return as_yaml(rng, content)
    if name.endswith(".safetensors"):
        return as_safetensors(rng, content)
    return text(rng, content)


def damage(rng: Random, seed: Path, folder: Path) -> Path:
    """Write a damaged copy of a seed, a file or a folder, into ``folder``."""
    copy = folder / seed.name
    if not seed.is_dir():
        copy.write_bytes(damaged(rng, seed.name, seed.read_bytes(), folder))
        return copy
    shutil.copytree(seed, copy)
    sealed = (copy / "manifest.json").is_file()
    if sealed and rng.random() < 0.3:  # as format 4 had it: nothing tells what was changed
        (copy / "manifest.json").unlink()
        head = copy / "config.json"
        if head.is_file():  # of a model; a checkpoint without digests is one of before
            head.write_text(head.read_text().replace('"format_version": 5', '"format_version": 4'))
        sealed = False
    for _ in range(rng.choice((1, 1, 2))):
        _member(rng, copy, folder)
    sealed = sealed and all(path.stat().st_size < 2**30 for path in copy.iterdir())
    sealed = sealed and not (copy / "manifest.json").is_dir()
    if sealed and rng.random() < 0.8:  # digests of what was changed: it is looked into
        write_manifest(copy)
    return copy


def _member(rng, copy: Path, folder: Path) -> None:
    path = rng.choice(sorted(copy.iterdir()))
    # Made so the time before: nothing is written through a link, nor into a pipe.
    if path.is_symlink() or not path.is_file() or path.stat().st_size > 2**30:
        return
    how = rng.random()
    if how < 0.85:
        path.write_bytes(damaged(rng, path.name, path.read_bytes(), folder))
        return
    other = rng.choice(sorted(copy.iterdir()))
    if how < 0.88 and other.is_file() and other.stat().st_size < 2**30 and path != other:
        path.write_bytes(other.read_bytes())
        return
    path.unlink()
    if how < 0.91:
        outside = folder / "outside"
        outside.write_text("{}")
        path.symlink_to(outside)
    elif how < 0.93:
        os.mkfifo(path)
    elif how < 0.95:
        path.mkdir()
    elif how < 0.97:
        with open(path, "wb") as file:
            file.truncate(2**43)
