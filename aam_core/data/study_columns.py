"""Which metadata columns of a study are worth predicting, and their values as targets.

A column of a published study may be an id, a date, a constant or the same as another. What is left
is learned by a pretraining on many studies: numbers as normal scores within their study, so that no
unit matters, and classes as codes. Letters: N samples of the study.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri
from scipy.stats import rankdata

from aam_core.data.columns import as_name, is_missing_word, is_number, natural_order
from aam_core.data.ids import listing, nearest
from aam_core.errors import InputError

__all__ = [
    "LEAST_IN_CLASS",
    "LEAST_KNOWN",
    "MOST_CLASSES",
    "StudyColumn",
    "choose_columns",
    "columns_of_all",
    "meaning_of",
    "normal_scores",
]

LEAST_KNOWN = 20
"""Samples with a value that a column must have."""

LEAST_IN_CLASS = 8
"""Samples of a class; those of a smaller one count as unknown. A column of numbers has as many that
do not have its most frequent value."""

MOST_CLASSES = 20
"""Classes of a column; with more it is text."""

LEAST_DISTINCT = 6
"""Distinct values from which numbers are numbers; fewer are codes of classes."""

_MOSTLY = 0.9
"""Share of the known values that must be numbers in a column of numbers, and dates in one of
dates."""

_LARGEST = 10_000_000
"""Whole numbers from which on all are ids, dates (20240131) or seconds since 1970."""

_UNKNOWN = frozenset(
    ("", "-", "--", ".", "?", "unknown", "unspecified", "not specified", "not known", "no data")
)
"""Lower-case cells that tell as little as the words of `columns.is_missing_word`."""

_ID = re.compile(
    r"(^|_)(ids?|identifier|uuid|accession|barcodes?|md5|sha256|filename|taxon)(_|$)"
    r"|(^|_)(subject|patient|participant|individual|host|donor|animal|mouse|sample|case)"
    r"(_[a-z]+)?_(number|num|no|code|name)$"
    r"|^(avgspotlen|m?bases|m?bytes|spots)$"
)
"""Names, as of `_plain`, of columns that tell samples or subjects apart, or what a sequencing run
is (of the Sequence Read Archive)."""

_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DATE = re.compile(
    r"([0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}|[0-9]{4}[-/][0-9]{1,2}|[0-9]{1,2}[-/][0-9]{4}"
    rf"|[0-9]{{1,2}}[-/. ]*{_MONTH}[-/., ]*[0-9]{{0,4}}|{_MONTH}[-/., ]+[0-9]{{1,4}}([, ]+[0-9]+)?)"
    r"([ T]+[0-9]{1,2}:[0-9]{2}.*)?|[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?( ?[ap]m)?"
)
"""Dates and times of day in lower case, as published metadata have them."""

_MEANINGS = {
    "age": "age_years age_in_years age_yrs age_months age_days age_in_days host_age age_corrected "
    "age_at_collection age_at_sampling donor_age donor_age_in_years",
    "sex": "gender host_sex biological_sex donor_sex",
    "bmi": "body_mass_index host_body_mass_index bmi_corrected host_bmi",
    "weight": "weight_kg host_weight body_weight weight_g",
    "height": "height_cm host_height",
    "body_site": "bodysite host_body_site sample_site body_habitat host_body_habitat "
    "common_sample_site",
    "sample_type": "sampletype type_of_sample env_material material",
    "disease": "disease_state disease_status disease_stat diagnosis health_status health_state "
    "disease_group host_disease",
    "treatment": "treatment_group treatmentgroup treatment_type",
    "diet": "diet_type host_diet dietary_practice donor_dietary_practice",
    "country": "geo_loc_name geo_loc_name_country country_of_residence country_of_birth",
    "latitude": "lat",
    "longitude": "lon long",
    "temperature": "temp temp_c temperature_c water_temp_c",
    "delivery_mode": "delivery birth_mode mode_of_delivery delivery_type",
    "smoking": "smoker smoking_status smoking_frequency",
}
"""Meaning -> names, as of `_plain`, that studies give it."""

_MEANING_OF = {name: meaning for meaning, names in _MEANINGS.items() for name in names.split()}


_CLASSES = {
    "m": "male", "f": "female", "y": "yes", "n": "no", "true": "yes", "false": "no",
}  # fmt: skip
"""Lower-case class -> what studies mean by it."""


@dataclass(frozen=True, eq=False)
class StudyColumn:
    """A metadata column of one study as a target.

    Attributes
    ----------
    study : int
        Position of the study.
    name : str
        As published.
    kind : {"number", "classes"}
    values : ndarray
        [N] in the order of the study's samples. Of numbers float32 normal scores within the study,
        NaN where unknown; of classes int64 codes, -1 where unknown.
    classes : tuple of str
        Names of the classes as published, by code; empty for numbers.
    meaning : str
        The name by which columns of several studies are the same; see `meaning_of`.
    """

    study: int
    name: str
    kind: str
    values: np.ndarray
    classes: tuple[str, ...] = ()
    meaning: str = ""

    @property
    def class_meanings(self) -> tuple[str, ...]:
        """The classes in lower case; of some synonyms one ('m' is 'male', 'true' is 'yes')."""
        return tuple(_CLASSES.get(name.lower(), name.lower()) for name in self.classes)

    @property
    def known(self) -> np.ndarray:
        """[N] bool, which samples have a value."""
        return ~np.isnan(self.values) if self.kind == "number" else self.values >= 0


def meaning_of(name: str) -> str:
    """The name of a column in lower case without punctuation; of some synonyms one.

    >>> meaning_of("Age (years)"), meaning_of("host_sex"), meaning_of("Soil pH")
    ('age', 'sex', 'soil_ph')
    """
    plain = _plain(name)
    return _MEANING_OF.get(plain, plain)


def normal_scores(values: np.ndarray) -> np.ndarray:
    """Normal quantiles of the ranks of the known values (rankit); equal values have equal scores.

    Score i is the quantile (r_i - 1/2) / n of its rank r_i among the n known values (Bliss 1967,
    Statistics in Biology); of equal values the rank is the mean.

    Parameters
    ----------
    values : ndarray
        [N] float, NaN where unknown.

    Returns
    -------
    ndarray
        [N] float32, NaN where unknown.

    Examples
    --------
    >>> normal_scores(np.array([3.0, np.nan, 1.0, 2.0])).round(2).tolist()
    [0.9700000286102295, nan, -0.9700000286102295, 0.0]
    """
    scores = np.full(len(values), np.nan, np.float32)
    known = ~np.isnan(values)
    if known.any():
        scores[known] = ndtri((rankdata(values[known]) - 0.5) / known.sum())
    return scores


def choose_columns(
    frame: pd.DataFrame,
    study: int = 0,
    columns: Collection[str] | None = None,
    exclude: Collection[str] = (),
) -> tuple[list[StudyColumn], dict[str, str]]:
    """The columns that are worth predicting, by one rule for all studies.

    `LEAST_KNOWN` samples must have a value; words for "no value" are none. It is a column

    - of numbers where nine of ten values are numbers, `LEAST_DISTINCT` differ, and
      `LEAST_IN_CLASS` samples do not have the most frequent one;
    - of classes else, of which 2 to `MOST_CLASSES` must have `LEAST_IN_CLASS` samples and half of
      the known ones together.

    Ids and sizes of runs (by the name, running numbers, whole numbers of 10 million and more),
    dates, and columns that are one to one with an earlier one are not chosen.

    Parameters
    ----------
    frame : DataFrame
        [N rows] as `metadata.read_metadata` returns it, in the order of the study's samples.
    study : int
        Position of the study, for `StudyColumn.study`.
    columns : collection of str, optional
        Names or meanings: these alone, and without a look at names, dates and recodings.
    exclude : collection of str
        Names or meanings that are not wanted.

    Returns
    -------
    chosen : list of StudyColumn
    reasons : dict of str to str
        Name -> why it is not chosen, of the others.
    """
    chosen: list[StudyColumn] = []
    reasons: dict[str, str] = {}
    earlier: dict[bytes, str] = {}
    for name in frame.columns:
        names = {name, meaning_of(name)}
        if names & set(exclude) or (columns is not None and not names & set(columns)):
            reasons[name] = "not asked for"
            continue
        cells = [_cell(value) for value in frame[name]]
        declared = isinstance(frame[name].dtype, pd.CategoricalDtype)
        reason = None if columns is not None else _not_worth(name, cells)
        made = reason or _as_target(cells, declared, columns is None)
        if isinstance(made, str):
            reasons[name] = made
            continue
        kind, values, classes = made
        column = StudyColumn(study, name, kind, values, classes, meaning_of(name))
        same = earlier.setdefault(_partition(column), name)
        if same != name and columns is None:
            reasons[name] = "one to one with an earlier one"
            continue
        chosen.append(column)
    return chosen, reasons


def columns_of_all(
    frames: Sequence[pd.DataFrame | None],
    columns: Collection[str] | None,
    exclude: Collection[str],
    report: list[str],
) -> list[StudyColumn]:
    """The columns of all studies that are learned.

    Parameters
    ----------
    frames : sequence of DataFrame or None
        [S] metadata of each study; see `choose_columns`.
    columns, exclude
        As in `choose_columns`; each name must be of some study.
    report : list of str
        Gets a line of how many there are, and why others are not.

    Raises
    ------
    InputError
        For a name or meaning that no study has or that is in both, or if none of ``columns`` can be
        learned.
    """
    names = {name for frame in frames if frame is not None for name in frame.columns}
    names |= {meaning_of(name) for name in names}
    for wanted, what in ((columns or (), "to learn"), (exclude, "not to learn")):
        absent = [name for name in wanted if name not in names]
        if absent:
            raise InputError(
                f"{len(absent):,} metadata columns {what} are in no study ({listing(absent)})"
                f"{nearest(absent[0], sorted(names))}"
            )
    both = [name for name in columns or () if name in exclude]
    if both:
        raise InputError(
            f"Metadata columns are both to learn and not to learn: {listing(both)}. Name each once."
        )
    targets: list[StudyColumn] = []
    reasons: Counter[str] = Counter()
    for i, frame in enumerate(frames):
        if frame is not None:
            chosen, why = choose_columns(frame, i, columns, exclude)
            targets += chosen
            reasons.update(why.values())
    if any(frame is not None for frame in frames):
        others = ", ".join(f"{reason} {n:,}" for reason, n in reasons.most_common())
        are = "is" if reasons.total() == 1 else "are"
        report.append(
            f"{len(targets):,} metadata columns of {len({it.study for it in targets}):,} studies "
            f"can be learned; {reasons.total():,} {are} not{': ' if others else ''}{others}."
        )
    if columns is not None and not targets:
        raise InputError(
            f"None of the columns ({listing(columns)}) has enough values in a study to be learned."
        )
    return targets


_Target = tuple[str, np.ndarray, tuple[str, ...]]


def _as_target(cells: list[str | None], declared: bool, automatic: bool) -> _Target | str:
    """Kind, values and classes of a column; or why it is none."""
    known = [cell for cell in cells if cell is not None]
    if len(known) < LEAST_KNOWN:
        return "few values"
    numbers = np.array(
        [float(cell) if cell is not None and is_number(cell) else np.nan for cell in cells]
    )
    numbers[~np.isfinite(numbers)] = np.nan
    values = numbers[~np.isnan(numbers)]
    mostly = len(values) >= max(_MOSTLY * len(known), LEAST_KNOWN)
    if declared or not mostly or len(np.unique(values)) < LEAST_DISTINCT:
        return _as_classes(cells, len(known))
    if automatic and _is_id(values):
        return "ids"
    if len(values) - np.unique(values, return_counts=True)[1].max() < LEAST_IN_CLASS:
        return "nearly constant"
    return "number", normal_scores(numbers), ()


def _as_classes(cells: list[str | None], known: int) -> _Target | str:
    sizes = Counter(cell for cell in cells if cell is not None)
    if len(sizes) == 1:
        return "constant"
    large = {name: size for name, size in sizes.items() if size >= LEAST_IN_CLASS}
    if len(large) > MOST_CLASSES or 2 * sum(large.values()) < known:
        return "text of many values"
    if len(large) < 2:
        return "nearly constant"
    if sum(large.values()) < LEAST_KNOWN:
        return "few values"
    classes = tuple(natural_order(large))
    code = {name: i for i, name in enumerate(classes)}
    values = np.array([-1 if cell is None else code.get(cell, -1) for cell in cells], np.int64)
    return "classes", values, classes


def _is_id(values: np.ndarray) -> bool:
    """Whether whole numbers are running numbers, or too large to be a measurement."""
    if (values != np.floor(values)).any():
        return False
    if values.min() >= _LARGEST:
        return True
    distinct = len(np.unique(values)) == len(values)
    return distinct and values.max() - values.min() < 1.2 * len(values)


def _not_worth(name: str, cells: list[str | None]) -> str | None:
    """Why a column is none by its name and the look of its cells, if so."""
    if _ID.search(_plain(name)):
        return "ids"
    known = [cell for cell in cells if cell is not None]
    dates = {cell: _DATE.fullmatch(cell.lower()) is not None for cell in set(known)}
    if known and sum(dates[cell] for cell in known) >= _MOSTLY * len(known):
        # 1.5 and 2.10 are no dates, although parts of the expression are as short.
        return "dates" if not all(map(is_number, set(known))) else None
    return None


def _partition(column: StudyColumn) -> bytes:
    """The same for columns that are one to one: which samples are equal, which unknown."""
    known = column.known
    _, first, codes = np.unique(column.values[known], return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))  # numbered by first occurrence
    return np.packbits(known).tobytes() + order[codes.ravel()].astype(np.int32).tobytes()


def _cell(value) -> str | None:
    """The text of a cell; None where it tells nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    text = as_name(value).strip()
    return None if text.lower() in _UNKNOWN or is_missing_word(text) else text


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
