"""A class, out of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aam_core import plots
from aam_core.config import LossConfig
from aam_core.config.fields import names_in
from aam_core.data.columns import as_classes, class_sizes, list_values, missing_words
from aam_core.errors import InputError, first_five, lookup
from aam_core.tasks.metrics import BINS, ClassificationMetrics, classification_metrics
from aam_core.tasks.prediction_columns import BOUNDS, RESERVED, ColumnKind, named, schema_of
from aam_core.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Classification"]

_LEAST_PROBABILITY = 1e-3
"""In `Classification.blend_losses`: one sample that is surely wrong must not decide alone."""


@dataclass(frozen=True)
class Classification(Task):
    """A class, by its place among the classes: sorted as text, or in a declared order.

    Attributes
    ----------
    column : str
    classes : tuple of str
    ordered : bool
        Whether their order means something, and the loss is 'ordinal'.
    """

    column: str
    classes: tuple[str, ...]
    ordered: bool = False

    name = "classification"
    model_kind = "classifier"
    metrics = ("auc", "accuracy", "f1")
    losses = ("cross_entropy", "ordinal")
    text_values = True
    has_interval = False
    # All inputs are too many for the few subjects of a class.
    # A choice out of fold was wrong too often (AUC 0.85 instead of 0.88 on one study).
    informative = ("auc", 0.75)
    error_name = "log loss"

    @classmethod
    def read(cls, values: pd.Series) -> pd.Series:
        """[N] names, letter for letter."""
        return as_classes(values)

    @classmethod
    def fit(
        cls,
        values: pd.Series,
        train_ids: Sequence[str] | None = None,
        config: LossConfig | None = None,
        metadata: pd.DataFrame | None = None,
        folds: Mapping[str, int] | None = None,
    ) -> Classification:
        """Classes of the whole column, so that the folds of a cross-validation agree on them."""
        names = cls.read(values)
        ids = values.index if train_ids is None else pd.Index([str(i) for i in train_ids])
        present = sorted(set(names.loc[ids]))
        if len(present) < 2:
            raise InputError(
                f"Column {values.name!r} has one class only ({present[0]!r}) in {len(ids)} "
                "training samples: there is nothing to learn."
            )
        classes = tuple(sorted(set(names)))
        reserved = [name for name in classes if name in RESERVED]
        if reserved:
            raise InputError(
                f"Column {values.name!r} has classes that are columns of the predictions: "
                f"{first_five(reserved)}. Give them other names."
            )
        config = config or LossConfig()
        _check_weights(values.name, classes, config)
        ordered = config.classes == "ordinal"
        if ordered:
            classes = _declared(values.name, classes, config)
        return cls(str(values.name), classes, ordered)

    @classmethod
    def check(cls, values: pd.Series, splits: bool = False) -> None:
        """Refuse also classes of one sample: mostly the column holds numbers or ids."""
        cls.fit(values)
        sizes = as_classes(values).value_counts()
        lone = sorted(sizes.index[sizes < 2])
        if splits and lone:
            raise InputError(
                f"{len(lone)} classes are found in one sample only, and cannot be both trained on "
                f"and held out: {first_five(lone)}. Leave these samples out (where the column is a "
                "number, use a regressor)."
            )

    @classmethod
    def strata(cls, values: pd.Series) -> pd.Series:
        """The classes."""
        return values

    @classmethod
    def notes(cls, values: pd.Series) -> list[str]:
        """Words for a missing value are classes, too."""
        line = missing_words(values, "a class")
        return [line] if line else []

    @classmethod
    def inference_note(cls, values: pd.Series) -> str:
        """Text is taken for classes."""
        return f"Column {values.name!r} is text: its values are classes (--task classification)."

    def summary(self, values: pd.Series) -> str:
        """The classes and their sizes."""
        return f"classes: {class_sizes(values)}"

    @property
    def outputs(self) -> int:
        """A logit of each class; of ordered ones, of each border between two."""
        return len(self.classes) - self.ordered

    @property
    def parts(self) -> dict[str, Any]:
        """Ordered classes have cumulative logits."""
        if not self.ordered:
            return {"outputs": self.outputs}
        return {"outputs": self.outputs, "link": "ordinal"}

    def encode(self, values, metadata: pd.DataFrame | None = None) -> np.ndarray:
        """[N] int64, place of each value in ``classes``; a class that was not fitted is refused."""
        names = as_classes(self._series(values))
        place = {name: i for i, name in enumerate(self.classes)}
        strange = names[~names.isin(self.classes)]
        if len(strange):
            raise InputError(
                f"Column {self.column!r} has {len(strange)} samples of a class that was not "
                f"trained on: {list_values(strange)}. The classes are {first_five(self.classes)}."
            )
        return np.array([place[value] for value in names], dtype=np.int64)

    def decode(self, encoded, metadata: pd.DataFrame | None = None) -> list[str]:
        """Places -> class names."""
        return [self.classes[int(i)] for i in encoded]

    def loss(self, output_KBT: Tensor, truth_B: Tensor, config: LossConfig) -> Tensor:
        """Cross-entropy with ``loss.label_smoothing``, of the logits or the ordered classes."""
        from aam_core.tasks.losses import loss_named

        return loss_named(config.classes, self.losses)(output_KBT, truth_B, config)

    def class_weights(self, encoded: np.ndarray, config: LossConfig) -> Tensor | None:
        """Given, or inverse frequencies among the training samples, of mean 1 over samples."""
        if config.class_weight == "none":
            return None
        import torch

        given = config.given_class_weights
        if given:
            return torch.tensor([given.get(name, 1.0) for name in self.classes])
        sizes = np.bincount(encoded, minlength=len(self.classes))
        # A class that only held-out samples have occurs 0 times here: it is weighed as if once.
        weights = len(encoded) / (len(sizes) * np.maximum(sizes, 1))
        return torch.tensor(weights, dtype=torch.float32)

    def predictions(self, output: Tensor, metadata: pd.DataFrame | None = None) -> np.ndarray:
        """[N, T] probabilities."""
        return output.double().softmax(-1).numpy()

    def columns(self, interval: bool = False) -> dict[str, ColumnKind]:
        """``prediction``, and a probability per class."""
        probabilities = dict.fromkeys(self.classes, ColumnKind.PROBABILITY)
        return {"prediction": ColumnKind.PREDICTION, **probabilities}

    def frame(
        self,
        sample_ids: Sequence[str],
        predictions: np.ndarray,
        bounds: np.ndarray | None = None,
    ) -> pd.DataFrame:
        """The likeliest class, and the probability of each."""
        index = pd.Index(sample_ids, name="sample-id")
        frame = pd.DataFrame(predictions, index=index, columns=list(self.classes))
        likeliest = self.decode(predictions.argmax(1))
        # A model of an earlier version may have a class that is called so.
        frame.insert(0, "prediction", likeliest, allow_duplicates=True)
        return frame

    @classmethod
    def recognizes(cls, predictions: pd.DataFrame, schema: dict[str, ColumnKind]) -> bool:
        """Text; or classes that are called 0 and 1, with columns of probabilities."""
        if not pd.api.types.is_numeric_dtype(predictions["prediction"]):
            return True
        # Bounds of numbers in [0, 1] may sum to 1, and are no probabilities all the same.
        if set(BOUNDS) <= set(predictions.columns):
            return False
        return bool(named(schema, ColumnKind.PROBABILITY))

    @classmethod
    def compare(
        cls,
        predictions: pd.DataFrame,
        truth: pd.Series,
        schema: dict[str, ColumnKind] | None = None,
    ) -> tuple[pd.DataFrame, dict[str, float]]:
        """accuracy, balanced_accuracy, auc, f1, brier and ece."""
        table = pd.DataFrame(
            {"actual": as_classes(truth), "prediction": as_classes(predictions["prediction"])},
            index=predictions.index,
        )
        names = named(schema or schema_of(predictions), ColumnKind.PROBABILITY)
        # A fold need not know every class that the schema has.
        names = [name for name in names if name in predictions.columns]
        probabilities = predictions[names] if names else None
        return table, classification_metrics(table["actual"], table["prediction"], probabilities)

    @classmethod
    def check_same_column(cls, predictions: pd.DataFrame, truth: pd.Series) -> None:
        """Without a class in common, nothing but another column was meant."""
        probabilities = named(schema_of(predictions), ColumnKind.PROBABILITY)
        predicted = {*as_classes(predictions["prediction"]), *probabilities}
        actual = sorted(set(as_classes(truth)))
        if not predicted & set(actual):
            raise InputError(
                f"None of the {len(actual)} classes in column {truth.name!r} "
                f"({first_five(actual)}) is among those predicted "
                f"({first_five(sorted(predicted))}), letter for letter: is it another column, or "
                "written otherwise?"
            )

    def accumulator(self, exact: bool = True) -> ClassificationMetrics:
        """Keeps every sample's probabilities where it is exact, and counts of them where not."""
        return ClassificationMetrics(len(self.classes), None if exact else BINS)

    def accumulate(
        self,
        scores: Any,
        encoded: np.ndarray,
        predictions: np.ndarray,
        metadata: pd.DataFrame | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Places of the actual and the likeliest classes."""
        likeliest = predictions.argmax(1)
        scores.update(encoded, likeliest, predictions)
        return encoded, likeliest

    def points(self, actual: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
        """Names of classes."""
        return pd.DataFrame({"actual": self.decode(actual), "prediction": self.decode(predicted)})

    @classmethod
    def plot(cls, table: pd.DataFrame, path=None, *, label: str, units: str = "", title: str = ""):
        """A confusion matrix."""
        return plots.confusion(table, path, label=label, title=title or None)

    def forest_target(self, values: pd.Series) -> np.ndarray:
        """[N] int64, places of the classes."""
        return self.encode(values)

    def blend_losses(self, predictions: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Log losses of probabilities that are at least 0.001."""
        shape = np.broadcast_shapes(predictions.shape[:-1], truth.shape)
        place = np.broadcast_to(truth, shape)[..., None]
        predictions = np.broadcast_to(predictions, (*shape, predictions.shape[-1]))
        probability = np.take_along_axis(predictions, place, axis=-1)[..., 0]
        return -np.log(probability.clip(_LEAST_PROBABILITY))

    def baseline(self, name: str = "random_forest", **settings) -> Any:
        """A classifier; 'dummy' predicts the most common class, with the shares of all."""
        from sklearn.dummy import DummyClassifier
        from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
        from sklearn.linear_model import LogisticRegression

        estimators = {
            "random_forest": RandomForestClassifier,
            "extra_trees": ExtraTreesClassifier,
            "linear": lambda penalty, **given: LogisticRegression(
                C=1 / penalty, max_iter=1000, **given
            ),
            "dummy": lambda: DummyClassifier(strategy="prior"),
        }
        return lookup(estimators, name, "baseline")(**settings)

    def baseline_predictions(self, forest: Any, inputs) -> np.ndarray:
        """[N, T] probabilities; 0 of a class that the forest has not seen."""
        predictions = np.zeros((inputs.shape[0], len(self.classes)))
        predictions[:, forest.classes_] = forest.predict_proba(inputs)
        return predictions

    def to_dict(self) -> dict[str, Any]:
        """Of the keys, ``name`` is the column's."""
        values = {"kind": self.name, "name": self.column, "classes": list(self.classes)}
        return values | ({"ordered": True} if self.ordered else {})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Classification | None:
        """Two classes at least, sorted or in an order that is said to be declared."""
        match values:
            case {"name": str(column), "classes": [_, _, *_] as classes}:
                text = all(isinstance(name, str) for name in classes)
                ordered = values.get("ordered", False)
                if not text or type(ordered) is not bool or len({*classes}) < len(classes):
                    return None
                # In another order the outputs of the network would be read as other classes.
                if ordered or sorted(classes) == classes:
                    return cls(column, tuple(classes), ordered)
        return None


def _check_weights(column, classes: tuple[str, ...], config: LossConfig) -> None:
    """Refuse weights of classes that there are not."""
    strange = [name for name in config.given_class_weights if name not in classes]
    if strange:
        raise InputError(
            f"loss.class_weight has {len(strange)} classes that column {column!r} has not: "
            f"{first_five(strange)}. Its classes are {first_five(classes)}."
        )


def _declared(column, classes: tuple[str, ...], config: LossConfig) -> tuple[str, ...]:
    """The classes in their declared order."""
    order = names_in(config.class_order)
    missing = [name for name in classes if name not in order]
    strange = [name for name in order if name not in classes]
    if missing or strange or len({*order}) < len(order):
        what = missing or strange or ["a class twice"]
        why = "lacks" if missing else "has" if strange else "names"
        raise InputError(
            f"loss.class_order {why} {first_five(what)}: it must name every class of column "
            f"{column!r} once, from the first to the last ({first_five(classes)})."
        )
    return tuple(order)
