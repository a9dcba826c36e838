"""Metadata columns as numbers or as classes.

A file's cells are text. Whether '01' is the number 1 or the name of a site depends on what the
column is used as, never on its other values. Letters: N samples.
"""

from __future__ import annotations

import math
import numbers
import re
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal

import numpy as np
import pandas as pd

from aam_core.data.ids import short
from aam_core.errors import InputError, first_five

__all__ = [
    "as_classes",
    "as_name",
    "as_numbers",
    "class_sizes",
    "infer_task",
    "is_missing_word",
    "is_number",
    "is_typed",
    "label_codes",
    "list_values",
    "missing_ids",
    "missing_words",
    "natural_order",
    "to_floats",
]

# [0-9] rather than \d, which matches the digits of all scripts, as float() reads them.
_NUMBER = re.compile(r"[-+]?([0-9]*\.[0-9]+|[0-9]+\.?)([Ee][-+]?[0-9]+)?")
# No number to QIIME 2, but read as one: the message then says "infinite", not "text".
_INFINITE = re.compile(r"[-+]?inf(inity)?", re.IGNORECASE)
_COMMA = re.compile(r"[-+]?[0-9]*([. ][0-9]{3})*,[0-9]+([Ee][-+]?[0-9]+)?")
_THOUSANDS = re.compile(r"[-+]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?")
_PERCENT = re.compile(r"[-+]?[0-9]*[.,]?[0-9]+ ?%")

_MISSING_WORDS = frozenset(
    (
        "na", "n/a", "#n/a", "<na>", "nan", "none", "null", "missing", "not applicable",
        "not collected", "not provided", "not available", "not recorded", "restricted access",
    )
)  # fmt: skip
"""Lower-case words for "no value": of R, of pandas, of spreadsheets, of INSDC."""

_MOST_SHOWN = 20
"""Classes that `class_sizes` names."""


_NUMBERS_IN_TEXT = re.compile(r"([0-9]+(?:\.[0-9]+)?)")
_OPEN_RANGES = {"<": -1, "≤": -1, ">": 1, "≥": 1}


def natural_order(names: Iterable[str]) -> list[str]:
    """Names of classes as people count: numbers in them by size, '<' first and '>' last.

    >>> natural_order(["12-15 months", "0-3 months", "3-6 months", ">15 months"])
    ['0-3 months', '3-6 months', '12-15 months', '>15 months']
    """

    def key(name: str):
        if is_number(name):
            return 0, [(0, float(name), "")], name
        parts = _NUMBERS_IN_TEXT.split(name)  # text and numbers in turn
        mixed = [
            (0, float(part), "") if place % 2 else (1, 0.0, part.casefold())
            for place, part in enumerate(parts)
            if part
        ]
        return _OPEN_RANGES.get(name[:1], 0), mixed, name

    return sorted(names, key=key)


def is_number(text: str) -> bool:
    """Whether a cell is a number by QIIME 2's rules: no 'inf', no '0x1', no '1_000'."""
    return _NUMBER.fullmatch(text) is not None


def is_missing_word(text: str) -> bool:
    """Whether a cell is a word for "no value", such as 'NA' or 'Missing: Not collected'."""
    text = text.strip().lower()
    return text in _MISSING_WORDS or text.startswith("missing:")


def missing_ids(column: pd.Series) -> list[str]:
    """Ids of the samples whose value is blank: None, NaN, or nothing but white space."""
    return [str(name) for name in column.index[_blank(column)]]


def is_typed(column: pd.Series) -> bool:
    """Whether the dtype says what the column is: numbers, or declared categories."""
    return _has_numbers(column) or isinstance(column.dtype, pd.CategoricalDtype)


def to_floats(column: pd.Series) -> np.ndarray:
    """[N] float64 of a column, NaN where a value is missing or not a number.

    >>> to_floats(pd.Series(["01", " 2.50", "NA", None, "1e3"])).tolist()
    [1.0, 2.5, nan, nan, 1000.0]
    """
    if getattr(column.dtype, "kind", "O") in "iufb":
        # Nullable dtypes (Int64) hold pd.NA, which does not become float64 without na_value.
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.array([_to_float(value) for value in column], dtype=np.float64)


def as_numbers(column: pd.Series) -> np.ndarray:
    """[N] float64 of a column of finite numbers, which may be written as text.

    Raises
    ------
    InputError
        Where values are missing, infinite or not numbers; their samples are named.
    """
    _refuse_missing(column)
    values = to_floats(column)
    wrong = column[np.isnan(values)]
    if len(wrong):
        raise InputError(_not_numbers(column, wrong))
    infinite = column[np.isinf(values)]
    if len(infinite):
        raise InputError(
            f"Column {column.name!r} has {len(infinite)} infinite values: "
            f"{list_values(infinite)}. {_CURE}"
        )
    return values


def as_classes(column: pd.Series) -> pd.Series:
    """The column as names of classes: text letter for letter, a number as Python writes it.

    A whole number has no '.0': a data frame turns 0 and 1 into floats where a value is missing.

    >>> as_classes(pd.Series(["01", "1", "1.10"])).tolist()
    ['01', '1', '1.10']
    >>> as_classes(pd.Series([1.0, 0.5])).tolist()
    ['1', '0.5']

    Raises
    ------
    InputError
        Where values are missing; their samples are named.
    """
    _refuse_missing(column)
    return pd.Series(
        [as_name(value) for value in column], index=column.index, name=column.name, dtype=object
    )


def label_codes(labels: pd.Series) -> np.ndarray:
    """[N] int, position of each label among the sorted distinct ones.

    Text that is numbers is sorted as numbers: scikit-learn breaks ties by this order, and folds
    must not depend on whether a file or a data frame had the numbers.
    """
    if _has_numbers(labels):
        return np.unique(labels.to_numpy(), return_inverse=True)[1]
    names = as_classes(labels)
    distinct = sorted(set(names))
    if all(map(is_number, distinct)):
        distinct.sort(key=lambda name: (float(name), name))
    position = {name: i for i, name in enumerate(distinct)}
    return np.array([position[name] for name in names], dtype=np.intp)


def infer_task(column: pd.Series) -> str:
    """'regression' for a column of numbers, 'classification' for one of text.

    A column in which fewer than half of the values are not numbers is a regression, which then
    refuses these values by name.
    """
    if isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(column):
        return "classification"
    names = [as_name(value).strip() for value in column[~_blank(column)]]
    # '5' and three 'NA' are a regression: words for missing values do not decide the task.
    names = [name for name in names if not is_missing_word(name)]
    # '5,0' and '5%' count as numbers: the regression refuses them and says how to write them.
    text = [name for name in names if not is_number(name) and not _is_misspelt(name)]
    return "classification" if 2 * len(text) > len(names) else "regression"


def class_sizes(classes: pd.Series) -> str:
    """The classes of a column and their numbers of samples.

    >>> class_sizes(pd.Series(["sick", "well", "sick"]))
    'sick 2, well 1'
    """
    sizes = sorted(Counter(as_classes(classes)).items())
    shown = ", ".join(f"{short(name)} {size}" for name, size in sizes[:_MOST_SHOWN])
    more = len(sizes) - _MOST_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def missing_words(column: pd.Series, use: str) -> str:
    """A warning where words for "missing" are read as names; empty if there are none.

    Parameters
    ----------
    column : Series
    use : str
        What each word is read as: 'a class', 'a group', 'a category'.
    """
    if _has_numbers(column):
        return ""
    names = [str(value) for value in column[~_blank(column)]]
    counts = sorted(Counter(name for name in names if is_missing_word(name)).items())
    if not counts:
        return ""
    words = first_five([f"{short(name)!r} ({size})" for name, size in counts])
    total = sum(size for _, size in counts)
    return (
        f"{words} in column {column.name!r} {'is' if len(counts) == 1 else 'are'} read as {use}"
        f"{'' if len(counts) == 1 else ' each'}, not as missing ({total} of {len(column)} "
        "samples): to declare the values missing leave the cells blank, or (INSDC words) write "
        "INSDC:missing under the column in a #q2:missing line."
    )


def as_name(value) -> str:
    """A value as text: a whole number has no '.0'."""
    if isinstance(value, (float, np.floating)):
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    return str(value)


def list_values(column: pd.Series) -> str:
    """The first five values, each with its sample: ``s1 ('12,5'), s2 ('n/a')``."""
    return first_five([f"{i} ({short(as_name(value))!r})" for i, value in column.items()])


_CURE = "Correct them, or drop these samples."


def _has_numbers(column: pd.Series) -> bool:
    # Without 'b': booleans are classes, although `to_floats` can read them.
    return getattr(column.dtype, "kind", "O") in "iuf"


def _blank(column: pd.Series) -> np.ndarray:
    """[N] bool."""
    missing = column.isna().to_numpy(dtype=bool)
    if getattr(column.dtype, "kind", "O") in "iufb":
        return missing
    empty = [isinstance(value, str) and not value.strip() for value in column]
    return missing | np.array(empty, dtype=bool)


def _to_float(value) -> float:
    if isinstance(value, str):
        value = value.strip()
        return float(value) if is_number(value) or _INFINITE.fullmatch(value) else math.nan
    # Decimal and NumPy's bool are not registered as numbers.Real.
    if not isinstance(value, (numbers.Real, Decimal, np.bool_)):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf  # an integer such as 10**400: refused as infinite


def _is_misspelt(text: str) -> bool:
    """Whether it is a number in another notation: decimal comma, percentage, infinity."""
    return any(kind.fullmatch(text) for kind in (_COMMA, _THOUSANDS, _PERCENT, _INFINITE))


def _not_numbers(column: pd.Series, wrong: pd.Series) -> str:
    """The message on values that are not numbers: the likely reason, and what to do."""
    where, texts = f"Column {column.name!r}", [as_name(value).strip() for value in wrong]
    percents = list(dict.fromkeys(text for text in texts if _PERCENT.fullmatch(text)))
    if percents:
        point = ", and with a decimal point" if any("," in text for text in percents) else ""
        return f"{where} holds percentages ({_quoted(percents)}): write them without %{point}."
    commas = [text for text in texts if _COMMA.fullmatch(text) or _THOUSANDS.fullmatch(text)]
    if commas:
        commas = list(dict.fromkeys(commas))
        # '1,234' may be either; beside a clear decimal comma ('5,0') it is taken for one.
        if all(_THOUSANDS.fullmatch(text) for text in commas):
            bare = commas[0].replace(",", "")
            return (
                f"{where} holds numbers with a comma ({_quoted(commas)}): write {bare}, or a point "
                "where it is a decimal comma."
            )
        first = next(text for text in commas if not _THOUSANDS.fullmatch(text))
        fixed = first.replace(".", "").replace(" ", "").replace(",", ".")
        return f"{where} holds numbers with a decimal comma ({_quoted(commas)}): write {fixed}."
    if all(map(is_missing_word, texts)):
        return (
            f"{where} has {len(wrong)} values that are words for a missing value: "
            f"{list_values(wrong)}. Leave these cells blank, and drop these samples "
            "(--missing-samples ignore)."
        )
    if len(wrong) == len(column):
        return (
            f"{where} is text ({_quoted(dict.fromkeys(texts))}), not numbers: "
            "use fit-classifier, or --task classification, for classes."
        )
    return (
        f"{where} has {len(wrong)} values that are not numbers: {list_values(wrong)}. {_CURE} "
        "(For classes: fit-classifier, or --task classification.)"
    )


def _refuse_missing(column: pd.Series) -> None:
    missing = missing_ids(column)
    if len(missing) == len(column):
        raise InputError(f"Column {column.name!r} has no value for any of {len(column)} samples.")
    if missing:
        raise InputError(
            f"Column {column.name!r} is blank for {len(missing)} of {len(column)} samples: "
            f"{first_five(missing)}. Fill them in, or drop these samples "
            "(--missing-samples ignore; in Python, load_study(drop_missing=...))."
        )


def _quoted(values) -> str:
    return first_five([repr(short(value)) for value in values])
