"""What a task is: all that depends on whether numbers or classes are learned.

Letters: N samples, B samples of a batch, K members, T outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from aam_core.config import LossConfig
from aam_core.tasks.metrics import Accumulator
from aam_core.tasks.prediction_columns import ColumnKind

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Task"]


class Task(ABC):
    """A metadata column and how it is learned, fitted on the training samples.

    All that needs no column are class attributes and class methods; an instance is what `fit`
    returns and what a model saves. Nothing else in the library asks which task it has: a
    further task is a subclass, and an entry of `aam_core.tasks.TASKS`.

    Attributes
    ----------
    name : str
        As in ``--task``, and the key ``kind`` of the saved format.
    model_kind : str
        Kind of the models that are fitted for it.
    metrics : tuple of str
        Keys of `aam_core.tasks.metrics.METRICS`; by the first one settings are compared.
    losses : tuple of str
        Keys of `aam_core.tasks.losses.LOSSES` that it can be trained with.
    text_values : bool
        Whether its actual and predicted values are text in a table.
    has_interval : bool
        Whether its predictions have an interval.
    informative : tuple of (str, float)
        A metric, and the value from which it says that something predicts the target.
    error_name : str
        What the mean of `blend_losses` is called.
    quantiles : tuple of float
        Those that the network predicts; () where it predicts no quantiles.
    column : str
        Name of the metadata column.
    classes : tuple of str
        Names of the classes, in the order of the outputs; () of numbers.
    """

    name: ClassVar[str]
    model_kind: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    losses: ClassVar[tuple[str, ...]]
    text_values: ClassVar[bool]
    has_interval: ClassVar[bool]
    informative: ClassVar[tuple[str, float]]
    error_name: ClassVar[str]
    quantiles: tuple[float, ...] = ()
    column: str
    classes: tuple[str, ...]

    # --- the column, before anything is fitted ---------------------------------------------------

    @classmethod
    @abstractmethod
    def read(cls, values: pd.Series) -> pd.Series:
        """The column as the task reads it: numbers (float64) or names (text).

        Raises
        ------
        InputError
            If a value is missing, or unusable for the task.
        """

    @classmethod
    @abstractmethod
    def fit(
        cls,
        values: pd.Series,
        train_ids: Sequence[str] | None = None,
        config: LossConfig | None = None,
        metadata: pd.DataFrame | None = None,
        folds: Mapping[str, int] | None = None,
    ) -> Task:
        """Fit the task to a metadata column, every value of which must be usable.

        Parameters
        ----------
        values : Series
            By sample id, of training and held-out samples alike; its name is the column's.
        train_ids : sequence of str, optional
            Samples to fit to; all where not given.
        config : LossConfig, optional
        metadata : DataFrame, optional
            Rows of the samples of ``values``, in their order.
        folds : mapping, optional
            Fold of each sample that some member holds out, by its id.

        Raises
        ------
        InputError
            For missing or unusable values, or if there is nothing to learn from the training
            samples because all have one value.
        """

    @classmethod
    def check(cls, values: pd.Series, splits: bool = False) -> None:
        """Raise `InputError` where the column cannot be learned.

        Parameters
        ----------
        values : Series
        splits : bool
            Whether some of the samples are held out, so that each class needs two samples.
        """
        cls.fit(values)

    @classmethod
    def strata(cls, values: pd.Series) -> pd.Series | None:
        """The classes that each side of a split shall have in the same shares; None without."""
        return None

    @classmethod
    def comparable(cls, values: pd.Series) -> pd.Series:
        """The column, so that it equals that of an earlier run where the task reads it alike."""
        return values

    @classmethod
    def notes(cls, values: pd.Series) -> list[str]:
        """Lines on how the column is read, where a user may not expect it."""
        return []

    @classmethod
    def inference_note(cls, values: pd.Series) -> str:
        """A line that this task was inferred from the column; empty where no one wonders."""
        return ""

    def summary(self, values: pd.Series) -> str:
        """A line on the values of the samples of a fit; empty where there is nothing to say."""
        return ""

    # --- what the network learns -----------------------------------------------------------------

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Outputs of the network's head."""

    @property
    def forest_outputs(self) -> int:
        """T, numbers that a forest predicts of a sample: those of `predictions`."""
        return len(self.classes) or 1

    @property
    def each(self) -> tuple[Task, ...]:
        """Itself: `Targets` has several."""
        return (self,)

    def split(self, output: Tensor) -> tuple[Tensor, ...]:
        """Outputs of each."""
        return (output,)

    @property
    def parts(self) -> dict[str, Any]:
        """Fields of `aam_core.models.network.Parts` that the target decides on."""
        return {"outputs": self.outputs}

    def unseen(self, metadata: pd.DataFrame | None) -> list[str]:
        """Lines on samples, with these rows, of which the training samples told too little."""
        return []

    @property
    def needs(self) -> tuple[str, ...]:
        """Metadata columns that it reads of a sample to encode a value or decode a prediction."""
        return ()

    @property
    def learned_as(self) -> dict[str, str]:
        """Settings by ``section.field`` that say which number of a value is learned."""
        return {}

    def continues(self, before: Task) -> bool:
        """Whether a target head that was trained for ``before`` has the outputs of this task."""
        ours, theirs = ((it.name, it.parts, it.classes) for it in (self, before))
        return ours == theirs

    def scaled_alike(self, before: Task) -> bool:
        """Whether ``before`` is of the same column, and a number of it is learned as the same."""
        return self.column == before.column

    def scaled_as(
        self, before: Task, values: pd.Series, metadata: pd.DataFrame | None = None
    ) -> Task:
        """This target as ``before`` encodes it, where that is of the same column; else itself.

        ``values`` and ``metadata`` are those of the training samples.
        """
        return self

    @abstractmethod
    def encode(self, values, metadata: pd.DataFrame | None = None) -> np.ndarray:
        """Values of N samples -> ``[N]`` as the network learns them.

        Parameters
        ----------
        values : Series or sequence
        metadata : DataFrame, optional
            Rows of the same samples, in their order; it has the columns of `needs`.

        Raises
        ------
        InputError
            If a value is missing or unusable.
        """

    @abstractmethod
    def decode(self, encoded, metadata: pd.DataFrame | None = None) -> Any:
        """What `encode` has made, of samples with these rows -> values, or names of classes."""

    def residual(self, values: pd.Series, metadata: pd.DataFrame | None = None) -> pd.Series:
        """What the forest is to learn of the values of samples with these rows."""
        return values

    def restored(self, predictions: np.ndarray, metadata: pd.DataFrame | None = None) -> np.ndarray:
        """Predictions ``[N, T]`` of what `residual` returned -> those of the target, in units."""
        return predictions

    def limited(self, values: np.ndarray) -> np.ndarray:
        """Predictions ``[N, T]`` within the range of the target."""
        return values

    @abstractmethod
    def loss(self, output_KBT: Tensor, truth_B: Tensor, config: LossConfig) -> Tensor:
        """Loss ``[K, B]`` of each member and sample; ``truth_B`` is encoded."""

    def class_weights(self, encoded: np.ndarray, config: LossConfig) -> Tensor | None:
        """Weights ``[T]`` of the classes in the loss; None where all count alike.

        Parameters
        ----------
        encoded : ndarray
            ``[N]`` encoded values of the training samples.
        config : LossConfig
        """
        return None

    # --- predictions -----------------------------------------------------------------------------

    @abstractmethod
    def predictions(self, output: Tensor, metadata: pd.DataFrame | None = None) -> np.ndarray:
        """Network output ``[N, T]``, on the CPU -> float64 ``[N, T]``: units or probabilities.

        ``metadata`` has rows of the same samples, as of `encode`.
        """

    def quantile_predictions(
        self, output: Tensor, metadata: pd.DataFrame | None = None
    ) -> np.ndarray:
        """As `predictions`, ``[N, Q]``: the `quantiles`, of which there must be some."""
        raise AssertionError("no quantiles")

    @abstractmethod
    def columns(self, interval: bool = False) -> dict[str, ColumnKind]:
        """The columns that `frame` makes, and what each holds."""

    @abstractmethod
    def frame(
        self,
        sample_ids: Sequence[str],
        predictions: np.ndarray,
        bounds: np.ndarray | None = None,
    ) -> pd.DataFrame:
        """Predictions as a table.

        Parameters
        ----------
        sample_ids : sequence of str
        predictions : ndarray
            ``[N, T]``, as `predictions` returns them.
        bounds : ndarray, optional
            ``[N, T, 2]`` lower and upper bounds of prediction intervals, in units.

        Returns
        -------
        DataFrame
            Index ``sample-id``; its columns are `columns`.
        """

    @classmethod
    @abstractmethod
    def recognizes(cls, predictions: pd.DataFrame, schema: dict[str, ColumnKind]) -> bool:
        """Whether a table of predictions, whose columns are of these kinds, is of this task."""

    @classmethod
    @abstractmethod
    def compare(
        cls,
        predictions: pd.DataFrame,
        truth: pd.Series,
        schema: dict[str, ColumnKind] | None = None,
    ) -> tuple[pd.DataFrame, dict[str, float]]:
        """Predictions beside the truth, and their metrics.

        Parameters
        ----------
        predictions : DataFrame
        truth : Series
            Values of the same samples in the same order.
        schema : dict, optional
            Kinds of the columns; as `aam_core.tasks.prediction_columns.schema_of` tells them
            where not given.

        Returns
        -------
        DataFrame
            Columns ``actual`` and ``prediction``.
        dict
            ``metrics`` of the task, and ``coverage`` where there is an interval.

        Raises
        ------
        InputError
            If a value is missing or unusable.
        """

    @classmethod
    def check_same_column(cls, predictions: pd.DataFrame, truth: pd.Series) -> None:
        """Raise `InputError` where predictions are clearly of another column than the truth."""
        return None

    @abstractmethod
    def accumulator(self, exact: bool = True) -> Accumulator:
        """What takes in samples batch by batch, by `accumulate`, and has the metrics.

        Parameters
        ----------
        exact : bool
            Whether memory may grow with the samples where a metric needs it.
        """

    @abstractmethod
    def accumulate(
        self,
        scores: Any,
        encoded: np.ndarray,
        predictions: np.ndarray,
        metadata: pd.DataFrame | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Add samples to an `accumulator`.

        Parameters
        ----------
        scores : Accumulator
            That `accumulator` of this task has made.
        encoded : ndarray
            ``[B]`` encoded true values.
        predictions : ndarray
            ``[B, T]``
        metadata : DataFrame, optional
            Rows of the same samples, as of `encode`.

        Returns
        -------
        tuple of ndarray
            Actual and predicted ``[B]``: numbers in units, or places of classes.
        """

    @abstractmethod
    def points(self, actual: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
        """What `accumulate` returned, as the table that `plot` draws."""

    @classmethod
    @abstractmethod
    def plot(cls, table: pd.DataFrame, path=None, *, label: str, units: str = "", title: str = ""):
        """Draw ``actual`` and ``prediction``; returns the figure, which is written to ``path``.

        ``units`` are those of a number.
        """

    # --- forests ---------------------------------------------------------------------------------

    @abstractmethod
    def forest_target(self, values: pd.Series) -> np.ndarray:
        """Values of N samples -> ``[N]`` as a forest learns them: units, or places of classes."""

    @abstractmethod
    def blend_losses(self, predictions: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Error of each prediction, by which blend and ensemble weights are chosen.

        Parameters
        ----------
        predictions : ndarray
            ``[..., T]``
        truth : ndarray
            ``[...]``, as `forest_target` returns it; broadcast against the predictions.
        """

    def blend_loss(self, predictions: np.ndarray, truth: np.ndarray) -> float:
        """Sum of the `blend_losses`."""
        return float(self.blend_losses(predictions, truth).sum())

    @abstractmethod
    def baseline(self, name: str = "random_forest", **settings) -> Any:
        """An estimator of scikit-learn, to be fitted on `forest_target`.

        Parameters
        ----------
        name : {'random_forest', 'extra_trees', 'linear', 'dummy'}
        **settings
            Of a forest as scikit-learn has them; of 'linear' the ``penalty``.
        """

    @abstractmethod
    def baseline_predictions(self, forest: Any, inputs) -> np.ndarray:
        """What a fitted `baseline` predicts, ``[N, T]``, in units or probabilities."""

    # --- the saved format ------------------------------------------------------------------------

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; the key ``kind`` has the task's name."""

    @classmethod
    @abstractmethod
    def from_dict(cls, values: dict[str, Any]) -> Task | None:
        """The inverse of `to_dict`; None where these are not such values."""

    def _series(self, values) -> pd.Series:
        return (
            values if isinstance(values, pd.Series) else pd.Series(list(values), name=self.column)
        )
