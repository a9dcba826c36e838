"""What told a model's predictions: tables that are saved, read again and drawn."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from aam_core import plots
from aam_core.errors import InputError
from aam_core.files.folders import replacing_in
from aam_core.files.own_output import check_output
from aam_core.files.writing import write_json
from aam_core.log import logger

__all__ = ["FILES", "Explanation", "read_explanation"]

FILES = (
    *("importance.tsv", "groups.tsv", "deletion.tsv", "contributions.tsv", "samples.tsv"),
    "explanation.json",
    *plots.figure_names("importance", "groups", "deletion"),
)
"""Names of all that `Explanation.save` and `Explanation.draw` write."""

_LOG_LOSS = "log loss"
"""Error of classes, which has no units."""

_TEXT = frozenset({"direction", "taxon", "kind", "members", "feature-id", "class"})
"""Columns that are text, whatever they hold; ids are, too."""

_LEAST = ("importance", "importance_sd", "p", "q", "direction", "prevalence", "abundance")
"""Columns that each table of importances has."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """What told a model's predictions of some samples.

    Attributes
    ----------
    importance : DataFrame
        Index ``feature-id``, most important first. ``importance``: by how much the mean error
        rises (in units of the target; of classes, the log loss) where the ASV's relative abundance
        is permuted among samples; ``importance_sd``, its standard deviation over the repeats;
        ``p`` by sign flips of whole groups of samples, and ``q``, the false discovery rate over
        the table; ``effect``: by how much having the ASV raises the prediction, the mean over the
        samples that have it (of classes one column each, ``effect_<class>``); ``direction``:
        'raises', 'lowers' or 'none', or the class that it makes likelier; ``prevalence``, the share
        of samples that have it, and mean relative ``abundance``; ``dropped`` samples, which have
        nothing else and do not count; ``taxon`` where there is a taxonomy.
    groups : DataFrame
        The same of taxa, clades or clusters, all of whose ASVs are permuted together: index
        ``group-id``, and ``kind``; ``asvs``, their number, and ``members``, their ids.
    deletion : DataFrame
        As of `importance.deletion_curve`.
    contributions, samples : DataFrame or None
        As of `contributions.contributions`; None where there are no references.
    target : str
    error : str
        Name of the error: 'mean absolute error' or 'log loss'.
    counts : dict
        Samples, groups of samples, repeats, the least p that there can be, whether predictions are
        ``out_of_fold``, and whether the model tells its training samples
        (``training_samples_known``).
    notes : sequence of str
        What a reader must know: of which samples it is, what was dropped, what cannot be shown.
    """

    importance: pd.DataFrame
    groups: pd.DataFrame
    deletion: pd.DataFrame
    contributions: pd.DataFrame | None
    samples: pd.DataFrame | None
    target: str
    error: str
    counts: dict
    notes: Sequence[str] = ()

    def save(self, directory) -> Path:
        """Write the tables as TSV, all or nothing, and before `draw`.

        What an earlier run wrote of `FILES` goes; others in the folder stay.

        Raises
        ------
        InputError
            If the folder holds another kind of output, such as a model.
        """
        check_output(directory, "an explanation")
        with replacing_in(directory, FILES) as folder:
            for name in ("importance", "groups", "deletion"):
                getattr(self, name).to_csv(folder / f"{name}.tsv", sep="\t")
            if self.contributions is not None and self.samples is not None:
                self.contributions.to_csv(folder / "contributions.tsv", sep="\t", index=False)
                self.samples.to_csv(folder / "samples.tsv", sep="\t")
            about = {
                "target": self.target,
                "error": self.error,
                **self.counts,
                "notes": list(self.notes),
            }
            write_json(folder / "explanation.json", about)
        return Path(directory)

    def whole(self) -> pd.DataFrame:
        """All rows in one table: the ASVs, and below them their groups.

        Returns
        -------
        DataFrame
            Index ``feature-id`` (ids of ASVs, then those of groups); ``kind`` ('asv', 'clade', a
            rank, ...), ``asvs``, the number of ASVs, and the columns of `importance`. In the place
            of the members of a group, each ASV has the ``groups`` that it belongs to.
        """
        of_asv: dict[str, list[str]] = {name: [] for name in self.importance.index}
        for group, members in self.groups["members"].items():
            for name in _ids(members, of_asv):
                of_asv[name].append(str(group))
        joined = [", ".join(groups) for groups in of_asv.values()]
        asvs = self.importance.assign(kind="asv", asvs=1, groups=joined)
        groups = self.groups.drop(columns="members").assign(groups="")
        table = pd.concat([asvs, groups]).rename_axis("feature-id")
        first = ["kind", "asvs"]
        return table[first + [name for name in table.columns if name not in first]]

    def draw(self, directory, *, units: str | None = None, title: str | None = None) -> None:
        """Draw importances and the deletion curve, each as SVG and PDF.

        What cannot be drawn costs a warning. The log loss of classes has no ``units``.
        """
        if units is not None and self.error == _LOG_LOSS:
            logger.info("units have no effect: the log loss of classes has none.")
            units = None
        drawn = {"importance": self.importance, "groups": self.groups}
        for suffix in (".svg", ".pdf"):
            for name, table in drawn.items():
                if (table["importance"] > 0).any():
                    draw = functools.partial(
                        plots.importance, table, error=self.error, units=units, title=title
                    )
                    plots.attempt(Path(directory, f"{name}{suffix}"), draw)
            curve = functools.partial(
                plots.deletion_curve, self.deletion, error=self.error, units=units, title=title
            )
            plots.attempt(Path(directory, f"deletion{suffix}"), curve)


def read_explanation(directory: str | Path) -> Explanation:
    """Read what `Explanation.save` has written.

    Raises
    ------
    InputError
        If the folder has no importances (as one of attention alone), or a file is not readable.
    """
    folder = Path(directory)
    try:
        about = json.loads((folder / "explanation.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        about = None
    if not isinstance(about, dict) or "error" not in about:
        raise InputError(
            f"{folder} has no importances: it is not what 'aam explain' writes of them "
            "(explanation.json)."
        )
    tables = {name: _read(folder, name) for name in ("importance", "groups", "deletion")}
    for name in ("importance", "groups"):
        lacking = [it for it in _LEAST if it not in tables[name]]
        if lacking:
            raise InputError(f"{name}.tsv of {folder} lacks the column {lacking[0]!r}.")
    more = {
        name: _read(folder, name) if (folder / f"{name}.tsv").is_file() else None
        for name in ("contributions", "samples")
    }
    if more["contributions"] is not None:
        more["contributions"] = more["contributions"].reset_index()
    target, error = str(about.pop("target")), str(about.pop("error"))
    notes = [str(line) for line in about.pop("notes", ())]
    return Explanation(**tables, **more, target=target, error=error, counts=about, notes=notes)


def _ids(members: str, known: Mapping[str, object]) -> Iterator[str]:
    """The ids of the members of a group; an id may have semicolons (vsearch: ``ASV1;size=9``)."""
    pieces, most = members.split(";"), 1 + max((it.count(";") for it in known), default=0)
    start = 0
    while start < len(pieces):
        # The longest first: 'ASV1' may be an id, too.
        ends = range(min(start + most, len(pieces)), start, -1)
        end = next((it for it in ends if ";".join(pieces[start:it]) in known), start + 1)
        yield ";".join(pieces[start:end])
        start = end


def _read(folder: Path, name: str) -> pd.DataFrame:
    """A table by its first column; ids and text stay as they are (01, NA)."""
    path = folder / f"{name}.tsv"
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a table: {error}.") from None
    table = table.set_index(table.columns[0])
    try:
        for column in table.columns.difference(list(_TEXT)):
            table[column] = pd.to_numeric(table[column].where(table[column] != ""))
    except ValueError as error:
        raise InputError(f"Column {column!r} of {path} is not numeric: {error}.") from None
    if name == "deletion":
        table.index = table.index.astype(int)
    return table
