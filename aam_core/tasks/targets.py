"""Several numbers that one network predicts: the outputs of their regressions, side by side.

What trains a network needs of a target (its outputs, encoded values, loss and metrics) is here for
several; once it is trained, each target goes on by itself, as a `Regression` of a network of its
own (`models.network.of_target`). A value may be missing: it counts in no loss.

Letters: N samples, M targets, K members, B samples of a batch, Q outputs of a target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aam_core.config import LossConfig
from aam_core.data.columns import as_numbers, missing_ids
from aam_core.errors import InputError, first_five
from aam_core.tasks.regression import Regression

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Targets"]


@dataclass(frozen=True)
class Targets:
    """Regressions that are learned together.

    Attributes
    ----------
    each : tuple of Regression
        M, whose outputs the network has in this order.
    weights : tuple of float
        Of each in the loss; ``loss.target_weights``.
    """

    each: tuple[Regression, ...]
    weights: tuple[float, ...]

    name = "regression"
    model_kind = "regressor"
    classes = ()
    # The mean over the targets: errors in different units have none.
    metrics = ("r2",)

    @classmethod
    def numbers(cls, values: pd.DataFrame) -> pd.DataFrame:
        """Metadata columns -> ``[N, M]`` float64, NaN where a value is blank.

        Raises
        ------
        InputError
            If one is no number, or a column is blank throughout.
        """
        numbers = pd.DataFrame(np.nan, index=values.index, columns=values.columns)
        for name in values.columns:
            blank = values.index.isin(missing_ids(values[name]))
            column = values[name] if blank.all() else values.loc[~blank, name]
            numbers.loc[~blank, name] = as_numbers(column)
        return numbers

    @classmethod
    def read(cls, values: pd.DataFrame) -> pd.DataFrame:
        """`numbers` of samples that have a value at least of one target each."""
        numbers = cls.numbers(values)
        none = list(numbers.index[numbers.isna().all(axis=1)])
        if none:
            raise InputError(
                f"{len(none)} of {len(numbers)} samples have no value of any target: "
                f"{first_five(none)}. Fill them in, or drop these samples (--missing-samples "
                "ignore)."
            )
        return numbers

    @classmethod
    def fit(
        cls,
        values: pd.DataFrame,
        train_ids: Sequence[str] | None = None,
        config: LossConfig | None = None,
        metadata: pd.DataFrame | None = None,
        folds: Mapping[str, int] | None = None,
    ) -> Targets:
        """Fit each target to those of the training samples that have a value of it."""
        config = config or LossConfig()
        strange = [name for name in config.given_target_weights if name not in values.columns]
        if strange:
            raise InputError(
                f"loss.target_weights names {first_five(strange)}, which is no target: they are "
                f"{first_five(values.columns)}."
            )
        if config.limits is not None:
            raise InputError(
                "loss.target_range is a range of one target, and there are several: set it to "
                "'auto' or 'none'."
            )
        if config.residual_on:
            raise InputError(
                "loss.residual_on is a column beside one target, and there are several: fit them "
                "one by one."
            )
        train = set(values.index if train_ids is None else train_ids)
        each = []
        for name, column in cls.read(values).items():
            known = column.dropna()
            rows = None if metadata is None else metadata.loc[known.index]
            ids = [sample for sample in known.index if sample in train]
            if not ids:
                raise InputError(f"Column {name!r} has no value in the training samples.")
            if folds and all(sample in folds for sample in ids):
                _check_folds(name, [folds[sample] for sample in ids])
            each.append(Regression.fit(known, ids, config, rows, folds))
        weights = tuple(config.given_target_weights.get(it.column, 1.0) for it in each)
        return cls(tuple(each), weights)

    @classmethod
    def check(cls, values: pd.DataFrame, splits: bool = False) -> None:
        """Raise `InputError` where the columns cannot be learned."""
        cls.fit(values)

    @classmethod
    def strata(cls, values: pd.DataFrame) -> None:
        """None: numbers have no classes."""
        return None

    @classmethod
    def comparable(cls, values: pd.DataFrame) -> pd.Series:
        """The first; the others are compared as columns that the run reads."""
        return Regression.comparable(values.iloc[:, 0])

    @classmethod
    def notes(cls, values: pd.DataFrame) -> list[str]:
        """None."""
        return []

    def summary(self, values: pd.DataFrame) -> str:
        """How many values there are of each."""
        known = ", ".join(f"{name} {n}" for name, n in values.notna().sum().items())
        return f"{len(self.each)} targets, with values in so many of {len(values)} samples: {known}"

    @property
    def column(self) -> str:
        """Their columns, joined by commas."""
        return ",".join(task.column for task in self.each)

    @property
    def outputs(self) -> int:
        """M times Q."""
        return sum(task.outputs for task in self.each)

    @property
    def parts(self) -> dict[str, Any]:
        """Those of one target, with the outputs of all."""
        return {"link": "values", **self.each[0].parts, "outputs": self.outputs}

    @property
    def needs(self) -> tuple[str, ...]:
        """Of any of them."""
        return tuple(dict.fromkeys(name for task in self.each for name in task.needs))

    def unseen(self, metadata: pd.DataFrame | None) -> list[str]:
        """Lines of each, which name it."""
        return [f"{task.column}: {line}" for task in self.each for line in task.unseen(metadata)]

    def encode(self, values: pd.DataFrame, metadata: pd.DataFrame | None = None) -> np.ndarray:
        """``[N, M]`` float32, NaN where a value is missing."""
        encoded = np.full(values.shape, np.nan, np.float32)
        for place, task in enumerate(self.each):
            known = values[task.column].dropna()
            present = values.index.isin(known.index)
            rows = None if metadata is None else metadata.loc[known.index]
            if len(known):
                encoded[present, place] = task.encode(known, rows)
        return encoded

    def known(self, encoded: np.ndarray) -> np.ndarray:
        """``[N]`` float32: the share of the targets, by weight, that a sample has a value of."""
        weights = np.array(self.weights)
        return (np.isfinite(encoded) @ weights / weights.sum()).astype(np.float32)

    def losses(self, output_KBT: Tensor, truth_BM: Tensor, config: LossConfig) -> list[Tensor]:
        """``[K, B]`` of each target; 0 where a value is missing."""
        import torch

        known_BM = truth_BM.isfinite()
        # 0 in place of NaN, whose gradient would be NaN even where its weight is 0.
        truth_BM = torch.where(known_BM, truth_BM, 0.0)
        return [
            task.loss(output, truth_BM[:, place], config) * known_BM[:, place]
            for place, (task, output) in enumerate(
                zip(self.each, self.split(output_KBT), strict=True)
            )
        ]

    def loss(self, output_KBT: Tensor, truth_BM: Tensor, config: LossConfig) -> Tensor:
        """``[K, B]``: the weighted mean over the values that a sample has."""
        import torch

        weights_M = torch.tensor(self.weights, device=truth_BM.device)
        each_KBM = torch.stack(self.losses(output_KBT, truth_BM, config), dim=-1)
        known_B = (truth_BM.isfinite() * weights_M).sum(1)
        return (each_KBM * weights_M).sum(-1) / known_B.clamp_min(1e-12)

    def known_by_target(self, truth_BM: Tensor) -> dict[str, Tensor]:
        """By its column, what a sample counts for each target, per unit of what it counts for all.

        ``[B]``; a sample counts for all of them by the share that it has values of (`known`).
        """
        import torch

        weights_M = torch.tensor(self.weights, device=truth_BM.device)
        known_BM = truth_BM.isfinite()
        share_B = (known_BM * weights_M).sum(1) / weights_M.sum()
        each_BM = known_BM / share_B.clamp_min(1e-12)[:, None]
        return {task.column: each_BM[:, place] for place, task in enumerate(self.each)}

    def split(self, output: Tensor) -> Sequence[Tensor]:
        """Outputs ``[..., T]`` of each target."""
        return output.split([task.outputs for task in self.each], dim=-1)

    def class_weights(self, encoded: np.ndarray, config: LossConfig) -> None:
        """None: numbers have no classes."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for checkpoints."""
        each = [task.to_dict() for task in self.each]
        return {"kind": "targets", "each": each, "weights": list(self.weights)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Targets | None:
        """The inverse of `to_dict`; None where these are not such values."""
        match values:
            case {"kind": "targets", "each": [*each], "weights": [*weights]}:
                tasks = [Regression.from_dict(one) for one in each if isinstance(one, dict)]
                if len(tasks) == len(weights) == len(each) and None not in tasks:
                    return cls(tuple(filter(None, tasks)), tuple(weights))
        return None


def _check_folds(name: Any, folds: list[int]) -> None:
    """Refuse a target all of whose training samples are held out together."""
    if len(set(folds)) == 1:
        raise InputError(
            f"All {len(folds)} training samples that have a value of {name!r} are in one fold: "
            "what holds it out has nothing of this target to learn. Fit it by itself, or divide "
            "the samples in another way."
        )
