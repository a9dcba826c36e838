"""Semantic types of trained models, and the folders that hold them."""

from __future__ import annotations

from qiime2.plugin import SemanticType, ValidationError, model

from aam_core.errors import InputError

AAMEncoder = SemanticType("AAMEncoder")
AAMRegressor = SemanticType("AAMRegressor")
AAMClassifier = SemanticType("AAMClassifier")


class AAMTextFormat(model.TextFileFormat):
    """A text file of a model folder; the folder checks its files together."""

    def _validate_(self, level):
        pass


class AAMBinaryFormat(model.BinaryFileFormat):
    """A binary file of a model folder; the folder checks its files together."""

    def _validate_(self, level):
        pass


class AAMModelDirectoryFormat(model.DirectoryFormat):
    """A model folder as `aam_core.model` writes it: what all kinds share.

    Its ``format_version`` is in ``config.json``; no library version decides whether it opens. What
    the command line leaves beside the model (checkpoints, logs, plots) is accepted, so that such a
    folder can be imported as it is.
    """

    kind: str

    config = model.File("config.json", format=AAMTextFormat)
    weights = model.File("model.safetensors", format=AAMBinaryFormat)
    run = model.File("run.json", format=AAMTextFormat)
    known = model.File("known.safetensors", format=AAMBinaryFormat, optional=True)
    manifest = model.File("manifest.json", format=AAMTextFormat, optional=True)
    metrics = model.File("metrics.json", format=AAMTextFormat, optional=True)
    train_samples = model.File("train_samples.txt", format=AAMTextFormat, optional=True)
    val_samples = model.File("val_samples.txt", format=AAMTextFormat, optional=True)
    checkpoints = model.File("checkpoint/.+", format=AAMBinaryFormat, optional=True)
    logs = model.File("logs/.+", format=AAMBinaryFormat, optional=True)
    plots = model.File(r"[^/]+\.png", format=AAMBinaryFormat, optional=True)

    def _validate_(self, level):
        from aam_core.model import validate

        try:
            kind = validate(str(self), level=level)
        except InputError as error:
            raise ValidationError(str(error)) from None
        if kind != self.kind:
            raise ValidationError(f"This folder holds a model of kind {kind!r}, not {self.kind!r}.")


class AAMEncoderDirectoryFormat(AAMModelDirectoryFormat):
    """A pretrained encoder."""

    kind = "encoder"


class _PredictorDirectoryFormat(AAMModelDirectoryFormat):
    targets = model.File("targets.json", format=AAMTextFormat)
    forest = model.File("forest.json", format=AAMTextFormat, optional=True)
    trees = model.File("forest.safetensors", format=AAMBinaryFormat, optional=True)
    val_predictions = model.File("val_predictions.tsv", format=AAMTextFormat, optional=True)


class AAMRegressorDirectoryFormat(_PredictorDirectoryFormat):
    """A model that predicts a numeric metadata column."""

    kind = "regressor"


class AAMClassifierDirectoryFormat(_PredictorDirectoryFormat):
    """A model that predicts a categorical metadata column."""

    kind = "classifier"
