"""Predictions with all that a model says of them: type, format, and the files read and written.

The types of `q2_aam._predictions` hold a number or a class a sample, as q2-sample-classifier's
visualizers want it. `Details` has the rest: bounds, what the model knows of each sample, and how
the predictions came about. ``predictions.tsv`` is a row a sample; ``about.json`` the object that
`ABOUT` describes; of a cross-validation ``methods.tsv`` has the predictions of every method, in
long form, ``comparison.tsv`` the table of `aam_core.cross_validate`, and ``importance.tsv`` the
importance of each feature for the test samples.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import qiime2
from q2_types.sample_data import SampleData
from qiime2.plugin import SemanticType, ValidationError, model

from aam_core import __version__
from aam_core.data.metadata import is_id_header
from aam_core.ensemble.blending import LEAST
from aam_core.errors import InputError, first_five
from aam_core.tasks.prediction_columns import BOUNDS, PREDICTION_SET

if TYPE_CHECKING:
    from aam_core.model import Model

__all__ = [
    "ABOUT",
    "SOURCES",
    "AAMPredictions",
    "AAMPredictionsDirectoryFormat",
    "Details",
    "blend_of",
]

AAMPredictions = SemanticType("AAMPredictions", variant_of=SampleData.field["type"])

FORMAT, FORMAT_VERSION = "aam-predictions", 1

SOURCES = {
    "out-of-fold": "Each sample was predicted by members of the model that it did not train.",
    "cross-validation": "Each sample was predicted by a model that it had no part in.",
    "test split": "Each sample was predicted by a model of the training side of a split.",
    "new samples": "A fitted model predicted these samples.",
}
"""Where predictions come from -> what that means."""

ABOUT = {
    "format": str,
    "format_version": int,
    "task": str,  # 'regression' or 'classification'
    "column": str,  # the metadata column that is predicted
    "units": str,  # of a number, as the settings of the fit name them
    "source": str,  # of `SOURCES`
    "group_by": str,  # column whose groups were kept whole
    "groups": int,  # how many
    "folds": int,
    "repeats": int,
    "seed": int,
    "confidence": float,  # with which bounds, or sets of classes, hold the truth
    "blend": dict,  # weights of 'networks' and 'forest' that held-out samples chose; where the
    # forest has a linear model, its 'linear_share' of the forest's
    "classes": list,  # in the model's order
    "baselines": dict,  # method -> metric -> number
    "version": str,  # of AAM
    "notes": list,  # lines on what was dropped, and warnings
}
"""Keys of ``about.json`` and their types; what is not known is null."""

_NEEDED = ("format", "format_version", "task", "column", "source")
_TASKS = ("regression", "classification")
_SUMS_TO_1 = 1e-3
_FILES = {
    "table": "predictions.tsv",
    "methods": "methods.tsv",
    "comparison": "comparison.tsv",
    "importance": "importance.tsv",
}
"""Attribute of `Details` -> its file."""

_LABELS = {"table": "sample-id", "comparison": "method", "importance": "feature-id"}
"""Attribute of `Details` -> the column of its index; ``methods`` has none."""

_FLAGS = {"true": True, "false": False}


@dataclass(frozen=True, eq=False)
class Details:
    """Predictions of samples, and how they came about.

    Attributes
    ----------
    table : DataFrame
        Index ``sample-id`` (text, each once): ``prediction``, and columns of `aam_core.predict`
        (``lower``, ``upper``, ``known_reads``, ``novelty``, a probability a class...). Of
        out-of-fold predictions, ``fold``.
    about : dict
        Keys of `ABOUT`.
    methods : DataFrame or None
        Of a cross-validation: ``sample-id``, ``repeat``, ``fold``, ``group``, ``actual``,
        ``method``, ``prediction``, and of a classification a probability a class
        (`aam_core.comparison.long_table`).
    comparison : DataFrame or None
        Index ``method``: metrics, intervals and paired differences.
    importance : DataFrame or None
        Index ``feature-id``: ``importance``, by how much the mean error rises where a feature is
        permuted among test samples; NaN where that could not be done.
    """

    table: pd.DataFrame
    about: dict[str, Any] = field(default_factory=dict)
    methods: pd.DataFrame | None = None
    comparison: pd.DataFrame | None = None
    importance: pd.DataFrame | None = None

    @classmethod
    def of_model(
        cls,
        fitted: Model,
        table: pd.DataFrame,
        *,
        source: str,
        notes: Sequence[str] = (),
        confidence: float | None = None,
        **about: Any,
    ) -> Details:
        """Details of predictions by a model.

        Parameters
        ----------
        fitted : Model
            Of one target.
        table : DataFrame
            What `aam_core.predict` returns, or ``fitted.val_predictions``.
        source : str
            Of `SOURCES`. Of new samples, numbers of groups and folds of the training are not told:
            they say nothing of these. The column of the groups is, as new samples may have it.
        notes : sequence of str
            Lines of `aam_core.log.recording`.
        confidence : float, optional
            That was asked for; the model's where None.
        **about
            Further keys of `ABOUT`, which replace those of the model.
        """
        new = source == "new samples"
        held_out = {} if new else (fitted.metrics or {}).get("held_out", {})
        units = fitted.config.figure.units
        if confidence is None and fitted.intervals and set(BOUNDS) <= set(table):
            confidence = fitted.intervals[0].coverage
        known = {
            "task": fitted.task.name,
            "column": fitted.task.column,
            "units": units if units and "," not in units else None,
            "source": source,
            "group_by": fitted.run.get("group_by") if held_out or new else None,
            "groups": held_out.get("groups"),
            "folds": held_out.get("folds"),
            "repeats": 1,
            "seed": fitted.run.get("seed"),
            "confidence": confidence,
            "blend": _blend(fitted),
            "classes": list(fitted.task.classes) or None,
            "notes": list(dict.fromkeys(notes)),
        }
        return cls.of(table, **known | about)

    @classmethod
    def of(
        cls,
        table: pd.DataFrame,
        methods: pd.DataFrame | None = None,
        comparison: pd.DataFrame | None = None,
        **about: Any,
    ) -> Details:
        """Details with every key of `ABOUT`: null where it is not given, and the version."""
        start = {"format": FORMAT, "format_version": FORMAT_VERSION, "version": __version__}
        known = dict.fromkeys(ABOUT) | start | {"notes": []} | about
        return cls(table.drop(columns="actual", errors="ignore"), known, methods, comparison)

    @property
    def probabilities(self) -> pd.DataFrame:
        """Probability of each class, in the model's order; no columns of a regression."""
        return self.table[list(self.about["classes"] or ())]

    def write(self, directory) -> None:
        """Write the files into a folder that exists.

        Raises
        ------
        InputError
            As `read`: nothing is written that could not be read.
        """
        _check_about(self.about)
        _check_table(self.table, self.about)
        folder = Path(directory)
        text = json.dumps(self.about, indent=2, allow_nan=False, default=_plain)
        (folder / "about.json").write_text(text + "\n", encoding="utf-8")
        for name, file in _FILES.items():
            table = getattr(self, name)
            if table is not None:
                label = _LABELS.get(name)
                _as_text(table).to_csv(
                    folder / file, sep="\t", index=label is not None, index_label=label
                )

    @classmethod
    def read(cls, directory) -> Details:
        """Read what `write` wrote.

        Raises
        ------
        InputError
            For a file that is missing or not one of predictions: in one line, what is wrong.
        """
        folder = Path(directory)
        about = _read_about(folder / "about.json")
        text = {"prediction", PREDICTION_SET} if about["classes"] else {PREDICTION_SET}
        table = _read_table(folder / _FILES["table"], text)
        if table.columns[0] != "sample-id":
            raise InputError(
                f"predictions.tsv begins with the column {table.columns[0]!r}, not 'sample-id'."
            )
        table = table.set_index("sample-id")
        _check_table(table, about)
        more, actual = {}, {"actual"} if about["classes"] else set()
        for name, check in _CHECKS.items():
            path = folder / _FILES[name]
            if path.exists():
                more[name] = _read_table(path, {"sample-id", "method", "group", *text, *actual})
                check(more[name], about)
        for name in ("comparison", "importance"):
            if name in more:
                more[name] = more[name].set_index(_LABELS[name])
        return cls(table, about, **more)

    def to_metadata(self) -> qiime2.Metadata:
        """The rows for ``metadata tabulate``: numbers numeric, flags and sets as text."""
        table = _as_text(self.table)
        text = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
        # QIIME 2 has no empty text: a set without a class is a missing value.
        table[text] = table[text].where(table[text] != "", np.nan)
        table.index = pd.Index(table.index.astype(str), name="sample-id")
        # A class may be called 'id', which is no column of QIIME 2's metadata.
        return qiime2.Metadata(table.rename(columns=lambda name: _column_name(str(name))))


def _blend(fitted: Model) -> dict[str, float] | None:
    """The blend weights; None where there is no forest, or held-out samples chose none."""
    held_out = (fitted.metrics or {}).get("held_out") or {}
    if fitted.forest is None or held_out.get("samples", len(fitted.val_samples)) < LEAST:
        return None
    share = fitted.network_weight
    return blend_of(share, fitted.forest.linear_share)


def blend_of(network_weight: float, linear_share: float = 0.0) -> dict[str, float]:
    """The ``blend`` of `ABOUT`."""
    blend = {"networks": round(network_weight, 4), "forest": round(1 - network_weight, 4)}
    return blend | ({"linear_share": round(linear_share, 4)} if linear_share else {})


def _column_name(name: str) -> str:
    return f"class {name}" if is_id_header(name) else name


def _read_about(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise InputError("about.json is missing beside the predictions.")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"about.json is not JSON: {error}.") from None
    if not isinstance(about, dict):
        raise InputError("about.json is no JSON object.")
    _check_about(about)
    return dict.fromkeys(ABOUT) | about


def _check_about(about: Mapping[str, Any]) -> None:
    missing = [name for name in _NEEDED if about.get(name) is None]
    if missing:
        raise InputError(f"about.json does not say {first_five(missing)}.")
    if about["format"] != FORMAT:
        raise InputError(f"about.json is of the format {about['format']!r}, not {FORMAT!r}.")
    version = about["format_version"]
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise InputError(
            f"These predictions are of format {version!r}, and this AAM reads {FORMAT_VERSION}: "
            "a newer AAM wrote them."
        )
    unknown = [name for name in about if name not in ABOUT]
    if unknown:
        raise InputError(f"about.json has keys that are not known: {first_five(unknown)}.")
    for name, kind in ABOUT.items():
        value = about.get(name)
        whole = kind is float and isinstance(value, int)
        if value is None or whole or (isinstance(value, kind) and not isinstance(value, bool)):
            continue
        raise InputError(f"about.json: {name} is {value!r}; it must be of type {kind.__name__}.")
    for name, choices in (("task", _TASKS), ("source", tuple(SOURCES))):
        if about[name] not in choices:
            raise InputError(
                f"about.json: {name} is {about[name]!r}; it must be one of {', '.join(choices)}."
            )
    confidence = about.get("confidence")
    if confidence is not None and not 0 < confidence < 1:
        raise InputError(f"about.json: the confidence is {confidence}; it is between 0 and 1.")
    if about["task"] == "classification" and not about.get("classes"):
        raise InputError("about.json: a classification needs classes.")
    if about["task"] == "regression" and about.get("classes"):
        raise InputError("about.json: a regression has no classes.")


def _check_table(table: pd.DataFrame, about: Mapping[str, Any]) -> None:
    """Refuse predictions that contradict themselves or what is said of them."""
    if not len(table):
        raise InputError("predictions.tsv has no samples.")
    _once("columns of predictions.tsv", table.columns)
    _once("sample ids of predictions.tsv", table.index)
    classes = list(about.get("classes") or ())
    missing = [name for name in ("prediction", *classes) if name not in table]
    if missing:
        raise InputError(f"predictions.tsv lacks the columns {first_five(missing)}.")
    one = [name for name in BOUNDS if name in table and name not in classes]
    if len(one) == 1:
        raise InputError(f"predictions.tsv has {one[0]!r} alone, without the other bound.")
    for name in classes or ["prediction", *one]:
        _numeric(table, name)
    if not classes and one:
        _refuse(table, table["lower"] > table["upper"], "lower is above upper")
    if classes:
        shares = table[classes].astype(float)
        _refuse(table, ~table["prediction"].astype(str).isin(classes), "the class is not known")
        _refuse(table, ((shares < 0) | (shares > 1)).any(axis=1), "a probability is not in [0, 1]")
        _refuse(table, (shares.sum(axis=1) - 1).abs() > _SUMS_TO_1, "probabilities do not sum to 1")


def _check_methods(table: pd.DataFrame, about: Mapping[str, Any]) -> None:
    needed = ("sample-id", "repeat", "fold", "method", "prediction")
    missing = [name for name in needed if name not in table]
    if missing:
        raise InputError(f"methods.tsv lacks the columns {first_five(missing)}.")
    if table.duplicated(["sample-id", "repeat", "method"]).any():
        raise InputError("methods.tsv has a sample twice for a method in one repeat.")


def _check_comparison(table: pd.DataFrame, about: Mapping[str, Any]) -> None:
    if "method" not in table:
        raise InputError("comparison.tsv lacks the column method.")
    _once("methods of comparison.tsv", table["method"])


def _check_importance(table: pd.DataFrame, about: Mapping[str, Any]) -> None:
    if list(table.columns) != ["feature-id", "importance"]:
        raise InputError("importance.tsv must have the columns feature-id and importance alone.")
    _once("features of importance.tsv", table["feature-id"])


_CHECKS: dict[str, Callable] = {
    "methods": _check_methods,
    "comparison": _check_comparison,
    "importance": _check_importance,
}


def _once(what: str, names: Sequence) -> None:
    index = pd.Index(names)
    twice = list(index[index.duplicated()].unique())
    if twice:
        raise InputError(f"{len(twice)} {what} occur more than once: {first_five(twice)}.")


def _numeric(table: pd.DataFrame, name: str) -> None:
    numbers = pd.to_numeric(table[name], errors="coerce")
    _refuse(table, ~np.isfinite(numbers.astype(float)), f"{name} is not a finite number")


def _refuse(table: pd.DataFrame, wrong, what: str) -> None:
    ids = list(table.index[np.asarray(wrong, bool)])
    if ids:
        raise InputError(
            f"predictions.tsv: {what} in {len(ids)} of {len(table)} samples: {first_five(ids)}."
        )


def _read_table(path: Path, text: set[str]) -> pd.DataFrame:
    """A TSV: ids and classes letter for letter, numbers where every cell is one, flags as bool."""
    if not path.exists():
        raise InputError(f"{path.name} is missing.")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            # Not pandas, which renames repeated columns and fills short rows.
            header, *rows = list(csv.reader(file, delimiter="\t", strict=True)) or [[]]
    except (csv.Error, ValueError) as error:
        raise InputError(f"{path.name} is no table of predictions: {error}.") from None
    _once(f"columns of {path.name}", header)
    ragged = [number for number, row in enumerate(rows, 2) if len(row) != len(header)]
    if ragged or not header:
        lines = f"lines {first_five(ragged)} have another number" if ragged else "it has none"
        raise InputError(f"{path.name} has a header of {len(header)} columns, and {lines}.")
    table = pd.DataFrame(rows, columns=header, dtype=object)
    for name in header[1:]:
        if name not in text:
            table[name] = _typed(table[name])
    return table


def _typed(cells: pd.Series) -> pd.Series:
    if len(cells) and cells.isin(list(_FLAGS)).all():
        return cells.map(_FLAGS).astype(bool)
    filled = cells.where(cells != "", "nan")
    numbers = pd.to_numeric(filled, errors="coerce")
    if not (numbers.notna() | (filled == "nan")).all():
        return cells
    whole = pd.api.types.is_integer_dtype(numbers)
    return numbers if whole else filled.astype(float)  # exact, which `to_numeric` is not


def _as_text(table: pd.DataFrame) -> pd.DataFrame:
    """A copy, with flags as 'true' and 'false' and other text as plain objects."""
    table = table.copy()
    for name in table.columns:
        if table[name].dtype == bool:
            table[name] = np.where(table[name], "true", "false").astype(object)
        elif not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = table[name].astype(object)
    return table


def _plain(value):
    """Numbers of numpy for JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} has no JSON")


class _TableFormat(model.TextFileFormat):
    """A TSV of the folder, which checks its files together."""

    def _validate_(self, level):
        pass


class _AboutFormat(model.TextFileFormat):
    """``about.json``."""

    def _validate_(self, level):
        try:
            _read_about(Path(str(self)))
        except InputError as error:
            raise ValidationError(str(error)) from None


class AAMPredictionsDirectoryFormat(model.DirectoryFormat):
    """Predictions with their details."""

    predictions = model.File("predictions.tsv", format=_TableFormat)
    about = model.File("about.json", format=_AboutFormat)
    methods = model.File("methods.tsv", format=_TableFormat, optional=True)
    comparison = model.File("comparison.tsv", format=_TableFormat, optional=True)
    importance = model.File("importance.tsv", format=_TableFormat, optional=True)

    def _validate_(self, level):
        try:
            Details.read(str(self))
        except InputError as error:
            raise ValidationError(str(error)) from None
