"""A test on samples that are held out: what would be no test, or fail after the fit."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import qiime2

from aam_core.comparison import check_class_names
from aam_core.config import Config, find, paths
from aam_core.config.fields import names_in
from aam_core.config.unused import RULES, RunContext
from aam_core.data.columns import missing_ids
from aam_core.errors import InputError, first_five
from aam_core.log import logger, note
from aam_core.model import Model

__all__ = ["check_columns", "check_split", "note_left_out", "warn_of_start"]

_FEWEST_TESTED = 10
"""Test samples that `explain` takes at least."""

_MAY_BE_BLANK = ("model.head.scale_by", "loss.sample_weight")
"""Settings that name columns which a prediction does without: a blank is a category of its own, and
weights are of training samples."""


def check_split(
    column, train: pd.Series, test: pd.Series, group_by=None, init_from: Model | None = None
) -> None:
    """Refuse a split on which the test, or a page of it, would fail after the fit.

    A fit may take hours.

    Parameters
    ----------
    column : qiime2.MetadataColumn
        The target.
    train, test : Series
        Its values on both sides, by sample id.
    group_by : qiime2.MetadataColumn, optional
    init_from : Model, optional
        That the fit goes on from.

    Raises
    ------
    InputError
        If there are too few test samples or groups, a class is on the test side alone or called as
        a column of the table of methods, or ``init_from`` was fitted to test samples.
    """
    if len(test) < _FEWEST_TESTED:
        raise InputError(
            f"There are {len(test)} test samples, and metrics and importances take "
            f"{_FEWEST_TESTED} or more: raise test_size, or cross-validate."
        )
    if group_by is not None:
        groups = group_by.to_series().loc[test.index]
        if groups.nunique() < 2:
            raise InputError(
                f"All {len(test)} test samples are of one group of {group_by.name!r} "
                f"({groups.iloc[0]!r}), and intervals and importances take two or more: raise "
                "test_size, take another random_state, or cross-validate."
            )
    if isinstance(column, qiime2.CategoricalMetadataColumn):
        check_class_names(column.name, sorted({*train, *test}))
        new = list(test.index[~test.isin(set(train))])
        if new:
            raise InputError(
                f"{len(new)} of {len(test)} test samples are of classes without a training sample "
                f"({first_five(sorted(set(test[new])))}): {first_five(new)}. Where a class is in "
                "two groups or more (without groups: samples), stratify keeps some of it on the "
                "training side; else leave its samples out of the table."
            )
    if init_from is not None:
        _check_start(init_from, list(test.index))


def check_columns(config: Config, task: str, metadata: pd.DataFrame) -> None:
    """Refuse blanks, of samples to test on, in columns that settings have a prediction read.

    Parameters
    ----------
    config : Config
        Of the fit.
    task : {"regression", "classification"}
    metadata : DataFrame
        Of the samples. A column that it lacks is left to the fit, which refuses that.

    Raises
    ------
    InputError
    """
    for path in paths():
        if not find(path).metadata["columns"] or path in _MAY_BE_BLANK:
            continue
        if RULES[path](config, RunContext(task)):  # it has no effect
            continue
        for name in names_in(config.at(path)):
            blank = missing_ids(metadata[name]) if name in metadata else []
            if blank:
                raise InputError(
                    f"{len(blank)} of {len(metadata)} samples to test on have no value in the "
                    f"metadata column {name!r} ({path}), without which they cannot be predicted: "
                    f"{first_five(blank)}. Fill it in, or leave these samples out of the table."
                )


def _check_start(start: Model, test: list[str]) -> None:
    """Refuse a model that was fitted to the labels of test samples."""
    seen = _seen_by(start, test)
    if seen:
        raise InputError(
            f"init_from was fitted to {len(seen)} of the {len(test)} test samples "
            f"({first_five(seen)}): a model that goes on from it knows their labels, and this "
            "would be no test. Give a model of other samples, or fit without init_from."
        )


def _seen_by(model: Model, samples: list[str]) -> list[str]:
    """Which of some samples a model was trained or validated on."""
    trained = model.trained_samples
    return [name for name in samples if name in trained]


def note_left_out(samples: Sequence[str], values: pd.Series) -> None:
    """Note the samples that are on no side of the split: those without one of ``values``."""
    left = [name for name in samples if name not in values.index]
    if left:
        note(
            f"{len(left)} of {len(samples)} samples of the table are neither training nor test "
            f"samples, for want of metadata: {first_five(left)}"
        )


def warn_of_start(start: Model | None, test: list[str]) -> None:
    """Warn where the model that the fit started from may know test samples."""
    if start is None:
        return
    seen, what = _seen_by(start, test), f"The {start.kind} that the fit started from"
    if not start.train_samples:
        logger.warning(f"{what} does not tell its samples: test samples may be among them.")
    elif seen:
        logger.warning(
            f"{what} was {start.how_trained} on {len(seen)} of the {len(test)} test samples: "
            f"{first_five(seen)}. Of samples that it never saw the metrics may be worse."
        )
