"""Semantic types of models, and the formats of their folders."""

from __future__ import annotations

from dataclasses import dataclass

from qiime2.plugin import SemanticType, ValidationError, model

from aam_core.errors import InputError

__all__ = [
    "AAMClassifier",
    "AAMClassifierDirectoryFormat",
    "AAMEncoder",
    "AAMEncoderDirectoryFormat",
    "AAMRegressor",
    "AAMRegressorDirectoryFormat",
    "ModelFolder",
]

AAMEncoder = SemanticType("AAMEncoder")
AAMRegressor = SemanticType("AAMRegressor")
AAMClassifier = SemanticType("AAMClassifier")


@dataclass(frozen=True)
class ModelFolder:
    """The folder of a model of any kind: the view of an action that reads its files."""

    path: str


class _TextFormat(model.TextFileFormat):
    """A text file of a model folder; the folder checks its files together."""

    def _validate_(self, level):
        pass


class _BinaryFormat(model.BinaryFileFormat):
    """A binary file of a model folder; the folder checks its files together."""

    def _validate_(self, level):
        pass


class _ModelDirectoryFormat(model.DirectoryFormat):
    """A model folder as `aam_core.model` writes it, of any kind.

    Its ``format_version`` is in ``config.json``; no library version decides whether it opens. What
    the command line leaves beside the model (checkpoints, logs, plots) is accepted, so that such a
    folder can be imported as it is.
    """

    kind: str

    config = model.File("config.json", format=_TextFormat)
    weights = model.File("model.safetensors", format=_BinaryFormat)
    run = model.File("run.json", format=_TextFormat)
    known = model.File("known.safetensors", format=_BinaryFormat, optional=True)
    novelty = model.File("novelty.safetensors", format=_BinaryFormat, optional=True)
    manifest = model.File("manifest.json", format=_TextFormat, optional=True)
    metrics = model.File("metrics.json", format=_TextFormat, optional=True)
    train_samples = model.File("train_samples.txt", format=_TextFormat, optional=True)
    val_samples = model.File("val_samples.txt", format=_TextFormat, optional=True)
    folds = model.File("folds.tsv", format=_TextFormat, optional=True)
    history = model.File("history.tsv", format=_TextFormat, optional=True)
    checkpoints = model.File("checkpoint/.+", format=_BinaryFormat, optional=True)
    logs = model.File("logs/.+", format=_BinaryFormat, optional=True)
    plots = model.File(r"[^/]+\.(png|svg|pdf)", format=_BinaryFormat, optional=True)
    card = model.File("model_card.md", format=_BinaryFormat, optional=True)

    def _validate_(self, level):
        from aam_core.model import validate

        try:
            kind = validate(str(self), level=level)
        except InputError as error:
            raise ValidationError(str(error)) from None
        if kind != self.kind:
            raise ValidationError(f"This folder holds a model of kind {kind!r}, not {self.kind!r}.")


class AAMEncoderDirectoryFormat(_ModelDirectoryFormat):
    """A pretrained encoder."""

    kind = "encoder"


class _PredictorDirectoryFormat(_ModelDirectoryFormat):
    targets = model.File("targets.json", format=_TextFormat)
    forest = model.File("forest.json", format=_TextFormat, optional=True)
    trees = model.File("forest.safetensors", format=_BinaryFormat, optional=True)
    val_predictions = model.File("val_predictions.tsv", format=_TextFormat, optional=True)
    more = model.File("targets/.+", format=_BinaryFormat, optional=True)


class AAMRegressorDirectoryFormat(_PredictorDirectoryFormat):
    """A model that predicts a numeric metadata column."""

    kind = "regressor"


class AAMClassifierDirectoryFormat(_PredictorDirectoryFormat):
    """A model that predicts a categorical metadata column."""

    kind = "classifier"
