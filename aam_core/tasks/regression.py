"""A number, in the units of its metadata column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aam_core import plots
from aam_core.config import LossConfig
from aam_core.config.fields import names_in
from aam_core.data.columns import as_name, as_numbers, list_values, to_floats
from aam_core.data.metadata import require_columns
from aam_core.errors import InputError, first_five, lookup
from aam_core.tasks.metrics import RegressionMetrics, regression_metrics
from aam_core.tasks.prediction_columns import BOUNDS, ColumnKind, named
from aam_core.tasks.task import Task
from aam_core.tasks.transforms import (
    FEW,
    MANY,
    TRANSFORMS,
    Transform,
    along,
    categories_of,
    fit_power,
    inverse_yeo_johnson,
    refuse_negative,
    scales_by_category,
    transform_named,
    with_columns,
    yeo_johnson,
)

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Regression"]


@dataclass(frozen=True)
class Regression(Task):
    """A number, transformed by what was fitted to the training samples.

    Attributes
    ----------
    column : str
    mean, std : float
        What values (of a logarithmic transform: logarithms of 1 + the value) are shifted by and
        divided by; but for 'minmax' their mean and standard deviation.
    power : float or None
        Of the Yeo-Johnson transform of the scaled values, in [0, 2]; None without one.
    ends : tuple of float or None
        Least and greatest value of the training samples, where there is a power or a logarithm:
        predictions go no further than a standard deviation beyond, for the inverse may be an
        exponential.
    transform_name : str
        Key of `aam_core.tasks.transforms.TRANSFORMS`; of formats before 6, which had no names,
        'power' where there is a power, and 'none'.
    deviation : float or None
        Standard deviation of the training samples in units, where ``std`` is that of logarithms.
    by : tuple of str
        Metadata columns whose categories have a mean and deviation of their own.
    categories : tuple of (tuple of str, float, float)
        A category's values of these columns, its mean and its deviation. Others, and those of
        too few training samples (`scales_by_category`), have ``mean`` and ``std``.
    limits : tuple of (float or None, float or None)
        Range that predictions and bounds keep to; None at an open end.
    quantiles : tuple of float
        Those that the network predicts, ascending, the median among them; () where it predicts
        one number.
    residual_on : str
        Metadata column of numbers: what is learned, and all that is fitted here but ``limits``, is
        the target minus this column; '' for none.
    """

    column: str
    mean: float
    std: float
    power: float | None = None
    ends: tuple[float, float] | None = None
    transform_name: str = ""
    deviation: float | None = None
    by: tuple[str, ...] = ()
    categories: tuple[tuple[tuple[str, ...], float, float], ...] = ()
    limits: tuple[float | None, float | None] = (None, None)
    quantiles: tuple[float, ...] = ()
    residual_on: str = ""

    def __post_init__(self) -> None:
        if not self.transform_name:
            object.__setattr__(self, "transform_name", _unnamed(self.power))

    name = "regression"
    model_kind = "regressor"
    metrics = ("mae", "rmse", "r2")
    classes = ()
    losses = ("huber", "mse", "mae", "quantile", "asymmetric")
    text_values = False
    has_interval = True
    # Where many ASVs tell a number, splits that try some of them do best; where few do, all.
    informative = ("r2", 0.2)
    error_name = "mean absolute error"

    @classmethod
    def read(cls, values: pd.Series) -> pd.Series:
        """[N] float64."""
        return pd.Series(as_numbers(values), index=values.index, name=values.name)

    @classmethod
    def fit(
        cls,
        values: pd.Series,
        train_ids: Sequence[str] | None = None,
        config: LossConfig | None = None,
        metadata: pd.DataFrame | None = None,
        folds: Mapping[str, int] | None = None,
    ) -> Regression:
        """Scale, transform and range of the training samples."""
        numbers, config = cls.read(values), config or LossConfig()
        transform = transform_named(config.transform)
        ids = values.index if train_ids is None else pd.Index([str(i) for i in train_ids])
        limits = _limits(numbers.loc[ids], config)
        numbers = numbers - _column(config.residual_on, metadata)
        train = numbers.loc[ids].to_numpy()
        # Not by the deviation: of three times 0.1 rounding makes it greater than 0.
        if np.unique(train).size < 2:
            raise InputError(
                f"Column {values.name!r} has one value only ({as_name(train[0])}) in "
                f"{len(train)} training samples: there is nothing to learn."
            )
        if transform.log:
            refuse_negative(numbers, config.transform)
        learned = np.log1p(train) if transform.log else train
        mean, std = transform.scale(learned)
        by = tuple(names_in(config.normalize_by)) if transform.by_category else ()
        if transform.by_category:
            rows = with_columns(by, metadata)
            groups = pd.Series(categories_of(rows, by), index=numbers.index).loc[ids]
        return cls(
            str(values.name),
            mean,
            std,
            power=fit_power((train - mean) / std) if transform.power else None,
            ends=(float(train.min()), float(train.max()))
            if transform.power or transform.log
            else None,
            transform_name=config.transform,
            deviation=float(train.std()) if transform.log else None,
            by=by,
            categories=scales_by_category(groups, learned, transform, folds) if by else (),
            limits=limits,
            quantiles=config.levels if config.target == "quantile" else (),
            residual_on=config.residual_on.strip(),
        )

    @classmethod
    def inference_note(cls, values: pd.Series) -> str:
        """Two numbers may be codes of classes."""
        numbers = to_floats(values)
        distinct = np.unique(numbers[np.isfinite(numbers)])
        if len(distinct) != 2:
            return ""
        codes = " and ".join(as_name(number) for number in distinct)
        return (
            f"Column {values.name!r} holds the numbers {codes} alone, which are learned as numbers "
            "(as classes: --task classification)."
        )

    @classmethod
    def comparable(cls, values: pd.Series) -> pd.Series:
        """Numbers: however they were written."""
        return pd.Series(to_floats(values), values.index, name=values.name)

    @property
    def outputs(self) -> int:
        """One, or a quantile each."""
        return max(1, len(self.quantiles))

    @property
    def parts(self) -> dict[str, Any]:
        """Quantiles are made ascending, from the median on."""
        if not self.quantiles:
            return {"outputs": 1}
        above = self.outputs - 1 - self.median
        sizes = {"outputs": self.outputs, "below": self.median, "above": above}
        return {**sizes, "link": "quantiles"}

    @property
    def median(self) -> int:
        """Place of the output that is the prediction."""
        return self.quantiles.index(0.5) if self.quantiles else 0

    @property
    def needs(self) -> tuple[str, ...]:
        """Those whose categories it is standardized in, and the one that it is learned beside."""
        return (*self.by, *([self.residual_on] if self.residual_on else []))

    @property
    def learned_as(self) -> dict[str, str]:
        """Its transform and the columns that it depends on."""
        return {
            "loss.transform": self.transform_name,
            "loss.normalize_by": ",".join(self.by),
            "loss.residual_on": self.residual_on,
        }

    def continues(self, before: Task) -> bool:
        """The same quantiles, too."""
        return super().continues(before) and self.quantiles == before.quantiles

    def scaled_alike(self, before: Task) -> bool:
        """The same shift, divisor and transform of the same column, minus the same one."""
        if not isinstance(before, Regression):
            return False
        names = ("column", "transform_name", "mean", "std", "power", "residual_on", "categories")
        return all(getattr(self, name) == getattr(before, name) for name in names)

    def scaled_as(
        self, before: Task, values: pd.Series, metadata: pd.DataFrame | None = None
    ) -> Task:
        """With the scale and transform of ``before``, and ends that hold the values of both."""
        same = isinstance(before, Regression) and before.column == self.column
        if not same or not self.continues(before):
            return self
        assert isinstance(before, Regression)
        if self.residual_on not in ("", before.residual_on):
            return self
        ends = before.ends
        if ends is not None:
            numbers = self.read(before.residual(values, metadata))
            ends = (min(ends[0], float(numbers.min())), max(ends[1], float(numbers.max())))
        return replace(before, ends=ends, limits=self.limits)

    @property
    def transform(self) -> Transform:
        """What is learned of a value."""
        return transform_named(self.transform_name)

    def encode(self, values, metadata: pd.DataFrame | None = None) -> np.ndarray:
        """[N] float32, shifted, scaled and transformed."""
        series = self._series(values)
        numbers = as_numbers(self.residual(series, metadata))
        if self.transform.log:
            refuse_negative(pd.Series(numbers, series.index, name=self.column), self.transform_name)
        return self._scaled(numbers, metadata).astype(np.float32)

    def decode(self, encoded, metadata: pd.DataFrame | None = None) -> np.ndarray:
        """Encoded values ``[N, ...]`` -> float64 in the column's own units."""
        z = np.asarray(encoded, dtype=np.float64)
        mean, std = (along(part, z) for part in self._scale(metadata))
        with np.errstate(over="ignore"):  # what overflows is beyond the ends
            if self.power is not None:
                z = inverse_yeo_johnson(z, self.power)
            values = z * std + mean
            if self.transform.log:
                values = np.expm1(values)
        if self.ends is not None:
            (low, high), margin = self.ends, self.deviation or self.std
            values = values.clip(low - margin, high + margin)
        return self.restored(values, metadata)

    def residual(self, values: pd.Series, metadata: pd.DataFrame | None = None) -> pd.Series:
        """Minus the column ``residual_on``."""
        return (
            self.read(values) - _column(self.residual_on, metadata) if self.residual_on else values
        )

    def restored(self, predictions: np.ndarray, metadata: pd.DataFrame | None = None) -> np.ndarray:
        """Plus the column ``residual_on``."""
        if not self.residual_on:
            return predictions
        return predictions + along(_column(self.residual_on, metadata), predictions)

    def limited(self, values: np.ndarray) -> np.ndarray:
        """Predictions or bounds, in units, within the range of the target."""
        low, high = self.limits
        return values if low is None and high is None else np.clip(values, low, high)

    def unseen(self, metadata: pd.DataFrame | None) -> list[str]:
        """A line on samples of a category that has no scale of its own."""
        if not self.by:
            return []
        known = {name for name, _, _ in self.categories}
        names = [group for group in categories_of(with_columns(self.by, metadata), self.by)]
        strange = [", ".join(group) for group in names if group not in known]
        if not strange:
            return []
        return [
            f"{len(strange)} of {len(names)} samples are of a category of {', '.join(self.by)} "
            f"with fewer than {FEW} training samples (outside each fold that a member holds out: "
            f"{MANY}), or one value ({first_five(dict.fromkeys(strange))}): they are scaled as all "
            "training samples together"
        ]

    def loss(self, output_KBT: Tensor, truth_B: Tensor, config: LossConfig) -> Tensor:
        """As ``loss.target`` says, in standard deviations."""
        from aam_core.tasks.losses import loss_named

        return loss_named(config.target, self.losses)(output_KBT, truth_B, config)

    def predictions(self, output: Tensor, metadata: pd.DataFrame | None = None) -> np.ndarray:
        """[N, 1] in units; of quantiles, the median."""
        median = output[:, self.median].float().numpy()
        return self.limited(self.decode(median, metadata))[:, None]

    def quantile_predictions(
        self, output: Tensor, metadata: pd.DataFrame | None = None
    ) -> np.ndarray:
        """[N, Q] in units, ascending: the `quantiles`, of which there must be some."""
        assert self.quantiles, "the network predicts one number"
        return self.limited(self.decode(output.float().numpy(), metadata))

    def columns(self, interval: bool = False) -> dict[str, ColumnKind]:
        """``prediction``, and the bounds of the interval."""
        bounds = dict.fromkeys(BOUNDS, ColumnKind.BOUND) if interval else {}
        return {"prediction": ColumnKind.PREDICTION, **bounds}

    def frame(
        self,
        sample_ids: Sequence[str],
        predictions: np.ndarray,
        bounds: np.ndarray | None = None,
    ) -> pd.DataFrame:
        """Predictions, and the bounds of their interval."""
        index = pd.Index(sample_ids, name="sample-id")
        values = self.limited(predictions[:, 0])
        frame = pd.DataFrame({"prediction": values}, index=index)
        if bounds is not None:
            for side, name in enumerate(BOUNDS):
                frame[name] = self.limited(bounds[:, 0, side])
        return frame

    @classmethod
    def recognizes(cls, predictions: pd.DataFrame, schema: dict[str, ColumnKind]) -> bool:
        """Numbers without probabilities; with both bounds of an interval in any case."""
        if not pd.api.types.is_numeric_dtype(predictions["prediction"]):
            return False
        if set(BOUNDS) <= set(predictions.columns):
            return True
        return not named(schema, ColumnKind.PROBABILITY)

    @classmethod
    def compare(
        cls,
        predictions: pd.DataFrame,
        truth: pd.Series,
        schema: dict[str, ColumnKind] | None = None,
    ) -> tuple[pd.DataFrame, dict[str, float]]:
        """r2, mae, rmse, spearman; ``coverage``, the share of samples within their bounds, and the
        mean ``width`` of these."""
        table = pd.DataFrame(
            {"actual": as_numbers(truth), "prediction": as_numbers(predictions["prediction"])},
            index=predictions.index,
        )
        metrics = regression_metrics(table["actual"], table["prediction"])
        if set(BOUNDS) <= set(predictions.columns):
            lower, upper = (as_numbers(predictions[name]) for name in BOUNDS)
            metrics["coverage"] = float(table["actual"].between(lower, upper).mean())
            metrics["width"] = float((upper - lower).mean())
        return table, metrics

    def accumulator(self, exact: bool = True) -> RegressionMetrics:
        """Exact in any case."""
        return RegressionMetrics()

    def accumulate(
        self,
        scores: Any,
        encoded: np.ndarray,
        predictions: np.ndarray,
        metadata: pd.DataFrame | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Actual and predicted values in units."""
        actual, predicted = self.decode(encoded, metadata), predictions[:, 0]
        scores.update(actual, predicted)
        return actual, predicted

    def points(self, actual: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
        """In units."""
        return pd.DataFrame({"actual": actual, "prediction": predicted})

    @classmethod
    def plot(cls, table: pd.DataFrame, path=None, *, label: str, units: str = "", title: str = ""):
        """A scatter."""
        return plots.scatter(table, path, label=label, units=units or None, title=title or None)

    def forest_target(self, values: pd.Series) -> np.ndarray:
        """[N] float64 in units."""
        return as_numbers(values)

    def blend_losses(self, predictions: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Absolute errors, in units."""
        return np.abs(predictions[..., 0] - truth)

    def baseline(self, name: str = "random_forest", **settings) -> Any:
        """A regressor; 'dummy' predicts the median."""
        from sklearn.dummy import DummyRegressor
        from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor
        from sklearn.linear_model import Ridge

        estimators = {
            "random_forest": RandomForestRegressor,
            # A split over all features would take as long as those of the random forest.
            "extra_trees": lambda **given: ExtraTreesRegressor(max_features=0.3, **given),
            "linear": lambda penalty: Ridge(alpha=penalty),
            "dummy": lambda: DummyRegressor(strategy="median"),
        }
        return lookup(estimators, name, "baseline")(**settings)

    def baseline_predictions(self, forest: Any, inputs) -> np.ndarray:
        """[N, 1]"""
        return forest.predict(inputs)[:, None]

    def to_dict(self) -> dict[str, Any]:
        """Of the keys, ``name`` is the column's; those of format 6 where there is something."""
        values = {
            "kind": self.name,
            "name": self.column,
            "mean": self.mean,
            "std": self.std,
            "power": self.power,
            "ends": self.ends,
        }
        if self.transform_name != _unnamed(self.power):
            values["transform"] = self.transform_name
        if self.deviation is not None:
            values["deviation"] = self.deviation
        if self.by:
            values |= {
                "by": list(self.by),
                "categories": [[list(n), *s] for n, *s in self.categories],
            }
        if self.limits != (None, None):
            values["limits"] = list(self.limits)
        if self.quantiles:
            values["quantiles"] = list(self.quantiles)
        if self.residual_on:
            values["residual_on"] = self.residual_on
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Regression | None:
        """Formats before 5 had neither power nor ends, before 6 no name of the transform."""
        match values:
            case {"name": str(column), "mean": float(mean), "std": float(std)}:
                power, ends = values.get("power"), values.get("ends")
                finite = math.isfinite(mean) and math.isfinite(std) and std > 0
                more = _saved(values)
                if not finite or more is None:
                    return None
                task = cls(column, mean, std, power, ends and tuple(ends), **more)
                return task if _is_whole(task) else None
        return None

    def _scaled(self, numbers: np.ndarray, metadata: pd.DataFrame | None) -> np.ndarray:
        """float64 in learned units."""
        mean, std = self._scale(metadata)
        z = ((np.log1p(numbers) if self.transform.log else numbers) - mean) / std
        return z if self.power is None else yeo_johnson(z, self.power)

    def _scale(self, metadata: pd.DataFrame | None) -> tuple[Any, Any]:
        """What values are shifted by and divided by: two numbers, or ``[N]`` each."""
        if not self.by:
            return self.mean, self.std
        scales = {name: scale for name, *scale in self.categories}
        own = [
            scales.get(group, (self.mean, self.std))
            for group in categories_of(with_columns(self.by, metadata), self.by)
        ]
        mean, std = np.array(own, np.float64).reshape(-1, 2).T
        return mean, std


def _column(name: str, metadata: pd.DataFrame | None) -> np.ndarray | float:
    """[N] float64 of a metadata column, every value of which must be a number; 0 without a name."""
    name = name.strip()
    if not name:
        return 0.0
    require_columns(metadata, [name])
    assert metadata is not None
    return as_numbers(metadata[name])


def _unnamed(power: float | None) -> str:
    """The transform of a saved target that does not name it."""
    return "none" if power is None else "power"


def _limits(train: pd.Series, config: LossConfig) -> tuple[float | None, float | None]:
    """The range that predictions keep to, which all training samples lie in."""
    if config.target_range == "auto":
        return (0.0 if train.min() >= 0 else None), None
    low, high = config.limits or (None, None)
    below = train < (-math.inf if low is None else low)
    outside = train[below | (train > (math.inf if high is None else high))]
    if len(outside):
        raise InputError(
            f"{len(outside)} of {len(train)} training samples lie outside loss.target_range "
            f"({config.target_range}): {list_values(outside)}. Widen it, or correct them."
        )
    return low, high


def _saved(values: dict[str, Any]) -> dict[str, Any] | None:
    """Fields of format 6 that a saved target has; None where they cannot be read."""
    try:
        return {
            "transform_name": values.get("transform", ""),
            "deviation": values.get("deviation"),
            "by": tuple(values.get("by", ())),
            "categories": tuple(
                (tuple(name), mean, std) for name, mean, std in values.get("categories", ())
            ),
            "limits": tuple(values.get("limits", (None, None))),
            "quantiles": tuple(values.get("quantiles", ())),
            "residual_on": values.get("residual_on", ""),
        }
    except (TypeError, ValueError):
        return None


def _is_whole(task: Regression) -> bool:
    """Whether the fields of a saved target fit together."""
    if not isinstance(task.residual_on, str):
        return False
    if not isinstance(task.transform_name, str) or task.transform_name not in TRANSFORMS:
        return False
    transform = task.transform
    if (task.power is not None) != transform.power or (task.deviation is not None) != transform.log:
        return False
    if (task.ends is not None) != (transform.power or transform.log):
        return False
    if bool(task.by) != transform.by_category or not all(isinstance(n, str) for n in task.by):
        return False
    scales = [number for _, *scale in task.categories for number in scale]
    named = all(
        len(name) == len(task.by) and all(isinstance(text, str) for text in name) and std > 0
        for name, _, std in task.categories
        if isinstance(std, float)
    )
    low, high = task.limits if len(task.limits) == 2 else (math.nan, math.nan)
    optional = [x for x in (task.power, task.deviation, low, high) if x is not None]
    numbers = [*scales, *(task.ends or ()), *task.quantiles, *optional]
    if not named or not all(isinstance(x, float) and math.isfinite(x) for x in numbers):
        return False
    if task.power is not None and not 0 <= task.power <= 2:
        return False
    if task.deviation is not None and task.deviation <= 0:
        return False
    if task.ends is not None and not (len(task.ends) == 2 and task.ends[0] < task.ends[1]):
        return False
    if low is not None and high is not None and low >= high:
        return False
    ascending = sorted({q for q in task.quantiles if 0 < q < 1})
    return not task.quantiles or (ascending == list(task.quantiles) and 0.5 in ascending)
