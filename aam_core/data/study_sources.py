"""Where the files of many studies are: folders, tables, and manifests that list them.

What a folder has is taken as far as it can be used; what a manifest, or a path of one study, names
must be there.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from aam_core.data.ids import listing, nothing_in_common
from aam_core.data.metadata import read_metadata
from aam_core.data.readers import is_path, read_text
from aam_core.data.study import Study, load_study
from aam_core.data.study_merging import take_samples, without_empty_features
from aam_core.errors import InputError

__all__ = ["StudySource", "common_tree", "find_sources", "load_source"]

_TABLES = (".biom", ".qza", ".biom.gz")
_SEQUENCES = (".fasta", ".fna", ".fa", ".fasta.gz", ".fna.gz")
_METADATA = (".tsv", ".txt")

_ONE_STUDY = {
    "table": ("table.biom", "table.qza"),
    "sequences": ("rep-seqs.fasta", "rep-seqs.qza", "sequences.fasta", "sequences.qza"),
    "metadata": ("metadata.tsv", "sample-metadata.tsv"),
    "tree": ("tree.nwk", "tree.qza"),
}
"""Names of the files of a folder of one study, by what they are."""

_FILES = ("table", "sequences", "metadata", "tree")
_MANIFEST = ("name", *_FILES, "cohort", "source", "licence")
"""Columns of a manifest that are read."""


@dataclass(frozen=True)
class StudySource:
    """Files of one study, and what a manifest says of it.

    Attributes
    ----------
    name : str
    table : Path
    sequences, metadata, tree : Path or None
    cohort : str
        Studies of one cohort are held out together; empty where it is not given.
    source, licence : str
        Where it is from, for the record; empty where it is not given. Studies of one source are
        one cohort, unless their cohorts are given.
    named : bool
        Whether a manifest or a path names it: then it must be usable.
    """

    name: str
    table: Path
    sequences: Path | None = None
    metadata: Path | None = None
    tree: Path | None = None
    cohort: str = ""
    source: str = ""
    licence: str = ""
    named: bool = True

    @property
    def facts(self) -> dict[str, str]:
        """What a record says of it."""
        facts = {"file": self.table.name, "source": self.source, "licence": self.licence}
        return {key: value for key, value in facts.items() if value}


def find_sources(paths, report: list[str]) -> list[StudySource]:
    """The studies of some paths.

    Parameters
    ----------
    paths : path or iterable of path
        Each one of

        - a folder of one study: ``table.biom`` (or .qza), ``rep-seqs.fasta``, ``metadata.tsv``,
          ``tree.nwk``, of which the table is needed;
        - a folder of many: ``NAME.biom`` (or .qza) with ``NAME.tsv`` (metadata) and ``NAME.fasta``
          where there are any, and folders of one study. A ``manifest.tsv`` in it says more of them;
        - a table, beside which its other files are as in a folder of many;
        - a manifest: tab-separated, with the columns ``table`` (or ``name``, of a table beside it),
          ``sequences``, ``metadata``, ``tree``, ``cohort``, ``source``, ``licence``; paths are
          relative to the manifest.
    report : list of str
        Gets a line for what is there and is not read.

    Raises
    ------
    InputError
        Where there is no such file, no study, or two of one name.
    """
    paths = [paths] if is_path(paths) else list(paths)
    if not paths:
        raise InputError("No study is given: give a folder, a table or a manifest.")
    sources: list[StudySource] = []
    for given in paths:
        path = Path(given).expanduser()
        if path.is_dir():
            sources += _of_folder(path, report)
        elif not path.exists():
            raise InputError(f"There is no file or folder {path} (study); check the path.")
        elif path.name.endswith(_TABLES):
            sources.append(_beside(path))
        else:
            sources += _of_manifest(path, report)
    _check_names(sources)
    return sources


def _of_folder(folder: Path, report: list[str]) -> list[StudySource]:
    names = sorted(item.name for item in folder.iterdir() if not item.name.startswith("."))
    if any(name in _ONE_STUDY["table"] for name in names):
        files = {kind: _only(folder, names, kind) for kind in _FILES}
        _report_unread(folder, names, files.values(), report)
        return [_source(folder.resolve().name, files)]
    sources: list[StudySource] = []
    problems = []
    for several in _inside(folder, names):
        try:
            sources += [replace(it, named=False) for it in _one(folder, several, report)]
        except InputError as error:
            problems.append(str(error))
    if problems and not sources:
        raise InputError(problems[0])
    if not sources:
        raise InputError(
            f"{folder} has no study: there is no table.biom, NAME.biom or NAME.qza in it, nor a "
            "folder with a table.biom."
        )
    report += [f"A study is skipped: {problem}" for problem in problems]
    read = {path for it in sources for path in (it.table, it.sequences, it.metadata)}
    if (folder / "manifest.tsv").is_file():
        read.add(folder / "manifest.tsv")
        sources = _described(sources, folder / "manifest.tsv", report)
    _report_unread(folder, names, [*read, *(path.parent for path in read if path)], report)
    return sources


def _inside(folder: Path, names: list[str]) -> list[list[str]]:
    """What may be a study in a folder of many: the tables of each name, and folders of one."""
    tables: dict[str, list[str]] = {}
    for name in names:
        if name.endswith(_TABLES) and (folder / name).is_file():
            tables.setdefault(_stem(Path(name)), []).append(name)
    tabled = [
        name for name in names if any((folder / name / it).is_file() for it in _ONE_STUDY["table"])
    ]
    return [*tables.values(), *([name] for name in tabled)]


def _one(folder: Path, files: list[str], report: list[str]) -> list[StudySource]:
    """The study of an entry of `_inside`."""
    if len(files) > 1:
        raise InputError(_two(folder, "table", files))
    path = folder / files[0]
    return _of_folder(path, report) if path.is_dir() else [_beside(path)]


def _beside(table: Path) -> StudySource:
    """A table with the sequences and the metadata of its name beside it."""
    name = _stem(table)
    files: dict[str, Path | None] = {"table": table}
    for kind, endings in (("sequences", _SEQUENCES), ("metadata", _METADATA)):
        there = [path for it in endings if (path := table.with_name(name + it)).is_file()]
        if len(there) > 1:
            raise InputError(_two(table.parent, kind, [path.name for path in there]))
        files[kind] = there[0] if there else None
    return _source(name, files)


def _of_manifest(path: Path, report: list[str]) -> list[StudySource]:
    rows = _rows(path, report)
    _check_named(rows, path)
    return [_of_row(row, path, number) for number, row in enumerate(rows, start=1)]


def _check_named(rows: list[dict[str, str]], path: Path) -> None:
    """Refuse a manifest whose rows are of no study: cohorts would be lost."""
    if not any("table" in row or "name" in row for row in rows):
        raise InputError(
            f"{path} is no manifest of studies: it needs a header with the column table (or name), "
            f"of tab-separated {', '.join(_MANIFEST)}."
        )
    for number, row in enumerate(rows, start=1):
        if "table" not in row and "name" not in row:
            raise InputError(f"{path}, row {number} has neither a table nor a name.")


def _of_row(row: Mapping[str, str], manifest: Path, number: int) -> StudySource:
    files: dict[str, Path | None] = {}
    for kind in _FILES:
        files[kind] = manifest.parent / row[kind] if kind in row else None
        if kind in row and not files[kind].is_file():  # type: ignore[union-attr]
            raise InputError(f"{manifest}, row {number}: there is no file {files[kind]} ({kind}).")
    if files["table"] is None:
        tables = [manifest.with_name(row["name"] + ending) for ending in _TABLES]
        there = [path for path in tables if path.is_file()]
        if not there:
            raise InputError(f"{manifest}, row {number}: there is no table {tables[0]} (or .qza).")
        if len(there) > 1:
            raise InputError(_two(manifest.parent, "table", [path.name for path in there]))
        nearby = _beside(there[0])
        for kind in _FILES:
            files[kind] = files[kind] or getattr(nearby, kind)
    table = files["table"]
    assert table is not None
    more = {key: row[key] for key in ("cohort", "source", "licence") if key in row}
    return replace(_source(row.get("name") or _stem(table), files), **more)  # type: ignore[arg-type]


def _described(sources: list[StudySource], manifest: Path, report: list[str]) -> list[StudySource]:
    """Studies of a folder with what its ``manifest.tsv`` says of them."""
    given = _rows(manifest, report)
    _check_named(given, manifest)
    names = [row.get("name") or _stem(Path(row["table"])) for row in given]
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise InputError(f"{manifest} (manifest): studies occur twice ({listing(repeated)}).")
    rows = dict(zip(names, given, strict=True))
    absent = sorted(set(rows) - {it.name for it in sources})
    if absent:
        report.append(
            f"{manifest} has {len(absent):,} studies that are not read ({listing(absent)})."
        )
    unread = [
        path
        for it in sources
        for kind in _FILES
        if (path := rows.get(it.name, {}).get(kind)) and manifest.parent / path != getattr(it, kind)
    ]
    if unread:
        report.append(
            f"{manifest}: {listing(unread)} not read, as the files of a folder are found by their "
            "names: give the manifest itself instead of its folder."
        )
    wanted = ("cohort", "source", "licence")
    return [
        replace(it, **{key: row[key] for key in wanted if key in row})  # type: ignore[arg-type]
        if (row := rows.get(it.name))
        else it
        for it in sources
    ]


def _rows(path: Path, report: list[str]) -> list[dict[str, str]]:
    """Rows of a manifest without blank cells; columns that are not read are reported."""
    reader = csv.reader(io.StringIO(read_text(path, "manifest", "Metadata")), dialect="excel-tab")
    try:
        lines = [[cell.strip() for cell in line] for line in reader]
    except csv.Error as error:
        raise InputError(f"{path} (manifest), line {reader.line_num}: {error}.") from None
    lines = [line for line in lines if any(line) and not line[0].startswith("#")]
    if len(lines) < 2:
        raise InputError(f"{path} (manifest) has no studies: it needs a header and a row for each.")
    header, *rows = lines
    header = [name.lower() for name in header]
    repeated = [name for name, times in Counter(header).items() if times > 1]
    if repeated:
        raise InputError(f"{path} (manifest): columns occur twice ({listing(repeated)}).")
    unread = [name for name in header if name not in _MANIFEST]
    if unread:
        report.append(
            f"{path.name}: columns that are not read: {listing(unread)}; there are "
            f"{', '.join(_MANIFEST)}."
        )
    for number, row in enumerate(rows, start=1):
        if len(row) > len(header):
            raise InputError(
                f"{path} (manifest), row {number} has {len(row)} cells, the header {len(header)}."
            )
    known = [(i, name) for i, name in enumerate(header) if name in _MANIFEST]
    return [{name: row[i] for i, name in known if i < len(row) and row[i]} for row in rows]


def _source(name: str, files: Mapping[str, Path | None]) -> StudySource:
    table = files["table"]
    assert table is not None
    return StudySource(
        name, table, files.get("sequences"), files.get("metadata"), files.get("tree")
    )


def _only(folder: Path, names: list[str], kind: str) -> Path | None:
    there = [name for name in _ONE_STUDY[kind] if name in names]
    if len(there) > 1:
        raise InputError(_two(folder, kind, there))
    return folder / there[0] if there else None


def _two(folder: Path, kind: str, names: list[str]) -> str:
    return f"{folder} has more than one {kind} file of a study: {', '.join(names)}. Keep one."


def _report_unread(
    folder: Path, names: list[str], read: Iterable[Path | None], report: list[str]
) -> None:
    used = {path.name for path in read if path is not None}
    unread = [name for name in names if name not in used]
    if unread:
        report.append(f"{folder.name}: what is not read: {listing(unread)}.")


def _stem(table: Path) -> str:
    ending = next((it for it in sorted(_TABLES, key=len)[::-1] if table.name.endswith(it)), None)
    return table.stem if ending is None else table.name.removesuffix(ending)


def _check_names(sources: list[StudySource]) -> None:
    times = Counter(it.name for it in sources)
    repeated = [name for name, count in times.items() if count > 1]
    if repeated:
        if len({(it.name, os.path.realpath(it.table)) for it in sources}) == len(times):
            raise InputError(f"Studies are given more than once: {listing(repeated)}.")
        where = [os.fspath(it.table) for it in sources if it.name == repeated[0]]
        raise InputError(
            f"{len(repeated):,} names are of more than one study ({listing(repeated)}; "
            f"{repeated[0]}: {listing(where)}). Give names in a manifest."
        )
    broken = [it.name for it in sources if not it.name.isprintable() or not it.name]
    if broken:
        raise InputError(f"Names of studies cannot be printed ({listing(map(repr, broken))}).")


# --- reading -------------------------------------------------------------------------------------


def load_source(source: StudySource, least_reads: int, max_lost_reads: float) -> Study:
    """One study, by the ids of its own; samples without metadata stay.

    Parameters
    ----------
    source : StudySource
    least_reads : int
        Samples with fewer are dropped.
    max_lost_reads : float
        As in `study.load_study`.

    Raises
    ------
    InputError
        As `study.load_study`, if no sample has as many reads, or none is in the metadata.
    """
    study = load_study(source.table, sequences=source.sequences, max_lost_reads=max_lost_reads)
    report = list(study.report)
    reads = np.asarray(study.counts.sum(axis=1)).ravel()
    few = np.flatnonzero(reads < least_reads)
    if len(few) == len(reads):
        raise InputError(f"No sample has {least_reads:,} reads; the most are {reads.max():,}.")
    if len(few):
        ids = listing(study.sample_ids[i] for i in few)
        report.append(
            f"{len(few):,} of {len(reads):,} samples have fewer than {least_reads:,} reads and "
            f"were dropped ({ids})."
        )
        study = without_empty_features(take_samples(study, np.flatnonzero(reads >= least_reads)))
    frame = None
    if source.metadata is not None:
        frame = read_metadata(source.metadata)
        lacking = [name for name in study.sample_ids if name not in frame.index]
        if len(lacking) == len(study):
            raise nothing_in_common(
                "sample", study.sample_ids, frame.index, "the table", "the metadata"
            )
        if lacking:
            report.append(
                f"{len(lacking):,} of {len(study):,} samples are not in the metadata; they stay, "
                f"without values ({listing(lacking)})."
            )
        frame = frame.reindex(study.sample_ids)
    return replace(study, metadata=frame, report=report)


def common_tree(sources: Sequence[StudySource], report: list[str]) -> Path | None:
    """The tree of all studies; None where they have none, or several."""
    trees = {it.tree for it in sources}
    if len(trees) == 1:
        return trees.pop()
    with_tree = [it.name for it in sources if it.tree is not None]
    report.append(
        f"Trees of {len(with_tree):,} of {len(sources):,} studies are not read "
        f"({listing(with_tree)}): a tree must be of all studies."
    )
    return None
