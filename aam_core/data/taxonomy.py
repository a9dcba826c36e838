"""Taxonomy of the features, rank by rank: what a pretraining may learn of each ASV.

Letters: F features, R ranks.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aam_core.data.ids import check_ids, nothing_in_common
from aam_core.data.readers import is_path, read_text
from aam_core.errors import InputError, first_five

if TYPE_CHECKING:
    from aam_core.data.study import Study

__all__ = ["Taxa", "lineages", "read_taxonomy", "with_taxonomy"]

_NAMES = {
    **{"d": "domain", "k": "kingdom", "p": "phylum", "c": "class", "o": "order"},
    **{"f": "family", "g": "genus", "s": "species"},
}
"""Letter before ``__`` in Greengenes' and SILVA's taxonomies -> rank."""

_UNKNOWN = {
    *("", "unassigned", "unknown", "unclassified", "unidentified", "uncultured"),
    *("ambiguous_taxa", "metagenome", "uncultured_bacterium", "uncultured_organism"),
}
"""Names that say that a rank is not known."""


@dataclass(frozen=True, eq=False)
class Taxa:
    """The classes of each rank, and the class of each feature.

    Attributes
    ----------
    ranks : tuple of str
        R names.
    classes : tuple of tuple of str
        Classes of each rank, each by its whole lineage: a genus of one name in two families is two.
    labels : ndarray
        ``[F, R]`` int64; -1 where the rank is unknown, or its class too rare.
    new : ndarray
        ``[F]`` bool: features that no training sample has, by which validation scores.
    """

    ranks: tuple[str, ...]
    classes: tuple[tuple[str, ...], ...]
    labels: np.ndarray
    new: np.ndarray

    @classmethod
    def fit(cls, study: Study, train: np.ndarray, least: int, known: dict | None = None) -> Taxa:
        """Classes that at least ``least`` features of the training samples have.

        Parameters
        ----------
        study : Study
            With a taxonomy.
        train : ndarray
            Positions of the training samples.
        least : int
        known : dict, optional
            Of `to_dict`: the classes of a run that is resumed.

        Raises
        ------
        InputError
            If no rank has two classes.
        """
        assert study.taxonomy is not None, "`plan_pretraining` asks for one"
        trained = study.counts[train].getnnz(axis=0) > 0
        paths, names = lineages(study.taxonomy)
        if known is not None:
            kept = {rank: list(c) for rank, c in zip(known["ranks"], known["classes"], strict=True)}
        else:
            kept = {}
            for rank, name in enumerate(names):
                sizes = Counter(
                    lineage[rank]
                    for lineage, there in zip(paths, trained, strict=True)
                    if there and lineage[rank]
                )
                classes = sorted(path for path, size in sizes.items() if size >= least)
                if len(classes) > 1:  # of one class there is nothing to learn
                    kept[name] = classes
        if not kept:
            raise InputError(
                f"The taxonomy has no rank with two classes of at least {least} features of the "
                "training samples (loss.taxonomy_min_asvs): there is nothing to learn from it."
            )
        labels = np.full((len(paths), len(kept)), -1, np.int64)
        for column, (name, classes) in enumerate(kept.items()):
            place = {path: i for i, path in enumerate(classes)}
            if name in names:  # a resumed run may have had a rank more
                at = names.index(name)
                labels[:, column] = [place.get(lineage[at], -1) for lineage in paths]
        return cls(tuple(kept), tuple(map(tuple, kept.values())), labels, ~trained)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of classes of each rank."""
        return tuple(map(len, self.classes))

    def to_dict(self) -> dict:
        """Ranks and classes, ready for JSON."""
        return {"ranks": list(self.ranks), "classes": [list(names) for names in self.classes]}

    def __str__(self) -> str:
        """As ``phylum 12 classes, genus 80 classes; 34 ASVs are of validation samples alone``."""
        sizes = (f"{name} {size}" for name, size in zip(self.ranks, self.sizes, strict=True))
        scored = int((self.new & (self.labels >= 0).any(1)).sum())
        known = int((~self.new & (self.labels >= 0).any(1)).sum())
        return (
            f"classes of the taxonomy: {', '.join(sizes)}; {known:,} ASVs of training samples "
            f"have one, and {scored:,} that no training sample has, which validation scores"
        )


def read_taxonomy(source) -> dict[str, str]:
    """Taxon by feature id.

    Parameters
    ----------
    source : path, mapping, Series or DataFrame
        TSV with the columns ``Feature ID`` and ``Taxon`` (as QIIME 2 exports it; others are
        ignored), a ``FeatureData[Taxonomy]`` ``.qza``, or id -> taxon; a data frame has the
        column ``Taxon``.

    Raises
    ------
    InputError
        If the columns are not there, or an id occurs twice.
    """
    if is_path(source):
        text = read_text(source, "taxonomy", "FeatureData[Taxonomy]")
        ids, taxa = _parse(text, str(source))
    elif isinstance(source, pd.DataFrame):
        if "Taxon" not in source:
            raise InputError("The taxonomy has no column 'Taxon'.")
        ids, taxa = list(source.index), list(source["Taxon"])
    elif isinstance(source, pd.Series | Mapping):
        ids, taxa = map(list, zip(*source.items(), strict=True)) if len(source) else ([], [])
    else:
        raise InputError(
            "The taxonomy must be a path, a data frame, a Series or a dictionary, not "
            f"{type(source).__name__}."
        )
    ids = check_ids(ids, "feature", "The taxonomy")
    return dict(zip(ids, ["" if pd.isna(taxon) else str(taxon) for taxon in taxa], strict=True))


def with_taxonomy(study: Study, source) -> Study:
    """A study with the taxonomy of its features; ``source`` as of `read_taxonomy`.

    Raises
    ------
    InputError
        As `read_taxonomy`, or if it has none of the features.
    """
    by_id = read_taxonomy(source)
    absent = [name for name in study.feature_ids if name not in by_id]
    if len(absent) == len(study.feature_ids):
        raise nothing_in_common("feature", study.feature_ids, by_id, "the table", "the taxonomy")
    report = list(study.report)
    if absent:
        report.append(
            f"{len(absent):,} of {len(study.feature_ids):,} features are not in the taxonomy "
            f"({first_five(absent)}): no class of them is learned."
        )
    taxonomy = [by_id.get(name, "") for name in study.feature_ids]
    return replace(study, taxonomy=taxonomy, report=report)


def _parse(text: str, where: str) -> tuple[list[str], list[str]]:
    rows = list(csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    if len(header) < 2 or "taxon" not in header:
        raise InputError(
            f"{where} is no taxonomy: its first line must name the columns, 'Feature ID' first and "
            "'Taxon' among the others, with tabs between them."
        )
    column = header.index("taxon")
    # QIIME 2 metadata may declare its types in a second line.
    body = [row for row in rows[1:] if not row[0].startswith("#")]
    short = [str(i) for i, row in enumerate(body, 2) if len(row) <= column]
    if short:
        raise InputError(f"{where}: {len(short)} lines have no taxon (lines {first_five(short)}).")
    return [row[0].strip() for row in body], [row[column].strip() for row in body]


def lineages(taxonomy: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """Lineage of each feature down to each rank ("" where the rank is unknown), and the ranks."""
    split = [[part.strip() for part in taxon.split(";")] for taxon in taxonomy]
    count = max(map(len, split))
    names = []
    for rank in range(count):
        letters = Counter(
            parts[rank][0].lower()
            for parts in split
            if len(parts) > rank and parts[rank][1:3] == "__"
        )
        letter = letters.most_common(1)[0][0] if letters else ""
        names.append(_NAMES.get(letter, f"rank{rank + 1}"))
    if len(set(names)) < len(names):
        names = [f"rank{rank + 1}" for rank in range(count)]
    lines = []
    for parts in split:
        known = [_is_known(part) for part in parts]
        paths = ["; ".join(parts[: rank + 1]) if known[rank] else "" for rank in range(len(parts))]
        lines.append(paths + [""] * (count - len(paths)))
    return lines, names


def _is_known(name: str) -> bool:
    bare = name[3:] if name[1:3] == "__" else name
    return bare.strip().lower().replace(" ", "_") not in _UNKNOWN
