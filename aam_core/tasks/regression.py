"""A number, in the units of its metadata column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aam_core import plots
from aam_core.config import LossConfig
from aam_core.data.columns import as_name, as_numbers, to_floats
from aam_core.errors import InputError
from aam_core.tasks.metrics import RegressionMetrics, regression_metrics
from aam_core.tasks.prediction_columns import BOUNDS, ColumnKind, named
from aam_core.tasks.task import Task
from aam_core.tasks.transforms import Transform, transform_named

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Regression"]


@dataclass(frozen=True)
class Regression(Task):
    """A number, standardized by the mean and standard deviation of the training samples.

    Attributes
    ----------
    column : str
    mean, std : float
        In the column's units.
    power : float or None
        Of the Yeo-Johnson transform of the standardized values, in [0, 2]; None without one.
    ends : tuple of float or None
        Least and greatest value of the training samples, where there is a power: predictions go
        no further than a standard deviation beyond, for a power's inverse may be an exponential.
    """

    column: str
    mean: float
    std: float
    power: float | None = None
    ends: tuple[float, float] | None = None

    name = "regression"
    model_kind = "regressor"
    metrics = ("mae", "rmse", "r2")
    classes = ()
    losses = ("huber", "mse", "mae")
    text_values = False
    has_interval = True
    # Where many ASVs tell a number, splits that try some of them do best; where few do, all.
    max_features = ("some", "all")
    informative = ("r2", 0.2)

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
    ) -> Regression:
        """Mean, deviation and transform of the training samples."""
        numbers = cls.read(values)
        transform = transform_named((config or LossConfig()).transform)
        ids = values.index if train_ids is None else pd.Index([str(i) for i in train_ids])
        train = numbers.loc[ids].to_numpy()
        # Not by the deviation: of three times 0.1 rounding makes it greater than 0.
        if np.unique(train).size < 2:
            raise InputError(
                f"Column {values.name!r} has one value only ({as_name(train[0])}) in "
                f"{len(train)} training samples: there is nothing to learn."
            )
        mean, std = float(train.mean()), float(train.std())
        power = transform.fit((train - mean) / std)
        ends = None if power is None else (float(train.min()), float(train.max()))
        fitted = cls(str(values.name), mean, std, power, ends)
        # The saved target has no name of its transform: another one would decode as this.
        assert fitted.transform is transform, (config or LossConfig()).transform
        return fitted

    @classmethod
    def comparable(cls, values: pd.Series) -> pd.Series:
        """Numbers: however they were written."""
        return pd.Series(to_floats(values), values.index, name=values.name)

    @property
    def outputs(self) -> int:
        """One."""
        return 1

    @property
    def transform(self) -> Transform:
        """What the standardized values are learned as."""
        return transform_named("none" if self.power is None else "power")

    def encode(self, values, metadata: pd.DataFrame | None = None) -> np.ndarray:
        """[N] float32, in standard deviations from the mean, transformed."""
        z = (as_numbers(self._series(values)) - self.mean) / self.std
        return self.transform.apply(z, self.power).astype(np.float32)

    def decode(self, encoded, metadata: pd.DataFrame | None = None) -> np.ndarray:
        """Encoded values of any shape -> float64 in the column's own units."""
        z = np.asarray(encoded, dtype=np.float64)
        with np.errstate(over="ignore"):  # what overflows is beyond the ends
            values = self.transform.invert(z, self.power) * self.std + self.mean
        if self.ends is None:
            return values
        low, high = self.ends
        return values.clip(low - self.std, high + self.std)

    def loss(self, output_KBT: Tensor, truth_B: Tensor, config: LossConfig) -> Tensor:
        """As ``loss.target`` says, in standard deviations."""
        from aam_core.tasks.losses import loss_named

        return loss_named(config.target, self.losses)(output_KBT, truth_B, config)

    def predictions(self, output: Tensor, metadata: pd.DataFrame | None = None) -> np.ndarray:
        """[N, 1] in units."""
        return self.decode(output[:, 0].float().numpy(), metadata)[:, None]

    def columns(self, interval: bool = False) -> dict[str, ColumnKind]:
        """``prediction``, and the bounds of the interval."""
        bounds = dict.fromkeys(BOUNDS, ColumnKind.BOUND) if interval else {}
        return {"prediction": ColumnKind.PREDICTION, **bounds}

    def frame(
        self, sample_ids: Sequence[str], predictions: np.ndarray, interval: dict | None = None
    ) -> pd.DataFrame:
        """Predictions, and the bounds of their interval."""
        index = pd.Index(sample_ids, name="sample-id")
        values = predictions[:, 0]
        frame = pd.DataFrame({"prediction": values}, index=index)
        if interval is not None:
            lower, upper = BOUNDS
            frame[lower] = values - interval["half_width"]
            frame[upper] = values + interval["half_width"]
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
    def plot(cls, table: pd.DataFrame, path=None, *, label: str, title: str | None = None):
        """A scatter."""
        return plots.scatter(table, path, label=label, title=title)

    def forest_target(self, values: pd.Series) -> np.ndarray:
        """[N] float64 in units."""
        return as_numbers(values)

    def blend_loss(self, predictions: np.ndarray, truth: np.ndarray) -> float:
        """Sum of the absolute errors."""
        return float(np.abs(predictions[:, 0] - truth).sum())

    def baseline(self, **settings) -> Any:
        """A regressor."""
        from sklearn.ensemble import RandomForestRegressor

        return RandomForestRegressor(**settings)

    def baseline_predictions(self, forest: Any, inputs) -> np.ndarray:
        """[N, 1]"""
        return forest.predict(inputs)[:, None]

    def to_dict(self) -> dict[str, Any]:
        """Of the keys, ``name`` is the column's."""
        return {
            "kind": self.name,
            "name": self.column,
            "mean": self.mean,
            "std": self.std,
            "power": self.power,
            "ends": self.ends,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Regression | None:
        """Formats before 5 had neither power nor ends."""
        match values:
            case {"name": str(column), "mean": float(mean), "std": float(std)}:
                power, ends = values.get("power"), values.get("ends")
                finite = math.isfinite(mean) and math.isfinite(std) and std > 0
                if finite and _is_power(power, ends):
                    return cls(column, mean, std, power, ends and tuple(ends))
        return None


def _is_power(power, ends) -> bool:
    """Whether these are a power and its ends, or neither."""
    if power is None or ends is None:
        return power is ends
    whole = isinstance(ends, list | tuple) and len(ends) == 2
    if not whole or not all(isinstance(number, float) for number in (power, *ends)):
        return False
    return 0 <= power <= 2 and -math.inf < ends[0] < ends[1] < math.inf
