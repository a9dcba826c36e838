"""The plugin: its types, formats and transformers; its actions are in `q2_aam.registrations`."""

from __future__ import annotations

from q2_types.feature_data import FeatureData
from q2_types.sample_data import SampleData
from qiime2.plugin import Plugin

import q2_aam
from q2_aam import _details, _explanations, _predictions, _transformers, _types_formats, _vectors
from q2_aam.registrations import (
    evaluation,
    insight,
    insight_pages,
    maturity,
    models,
    pipelines,
    predictions,
    summaries,
)
from q2_aam.registrations.shared import citations

__all__ = ["plugin"]

plugin = Plugin(
    name="aam",
    version=q2_aam.__version__,
    website="https://library.qiime2.org",
    package="q2_aam",
    short_description="Predict metadata from amplicon sequences with a transformer.",
    description="Attention All Microbes reads the bases of each ASV and the ASVs of each sample "
    "with a hierarchical transformer. An encoder is pretrained without labels, on masked bases and "
    "on the phylogenetic distances between samples, and fine-tuned to a numeric or categorical "
    "metadata column.",
    citations=[citations["vaswani2017attention"]],
)

# Types and formats ----------------------------------------------------------------------------

plugin.register_semantic_types(
    _types_formats.AAMEncoder,
    _types_formats.AAMRegressor,
    _types_formats.AAMClassifier,
    _details.AAMPredictions,
)
plugin.register_formats(
    _types_formats.AAMEncoderDirectoryFormat,
    _types_formats.AAMRegressorDirectoryFormat,
    _types_formats.AAMClassifierDirectoryFormat,
    _details.AAMPredictionsDirectoryFormat,
)
plugin.register_artifact_class(
    _types_formats.AAMEncoder,
    _types_formats.AAMEncoderDirectoryFormat,
    description="A pretrained encoder: from the sequences and reads of a sample to a vector.",
)
plugin.register_artifact_class(
    _types_formats.AAMRegressor,
    _types_formats.AAMRegressorDirectoryFormat,
    description="A model that predicts a numeric metadata column of a sample.",
)
plugin.register_artifact_class(
    _types_formats.AAMClassifier,
    _types_formats.AAMClassifierDirectoryFormat,
    description="A model that predicts a categorical metadata column of a sample.",
)
plugin.register_artifact_class(
    SampleData[_details.AAMPredictions],
    _details.AAMPredictionsDirectoryFormat,
    description="Predictions with their intervals, what the model knows of each sample, and how "
    "they came about: 'qiime metadata tabulate' shows them.",
)

plugin.register_semantic_types(
    _explanations.AAMImportance, _vectors.AAMVectors, _vectors.AAMNeighbours
)
plugin.register_formats(
    _explanations.AAMImportanceDirectoryFormat,
    _vectors.AAMVectorsFormat,
    _vectors.AAMVectorsDirectoryFormat,
    _vectors.AAMNeighboursFormat,
    _vectors.AAMNeighboursDirectoryFormat,
)
plugin.register_artifact_class(
    SampleData[_vectors.AAMVectors],
    _vectors.AAMVectorsDirectoryFormat,
    description="The vector of each sample, as a model has learned it.",
)
plugin.register_artifact_class(
    FeatureData[_vectors.AAMVectors],
    _vectors.AAMVectorsDirectoryFormat,
    description="The vector of each feature, as a model has learned it.",
)
plugin.register_artifact_class(
    FeatureData[_vectors.AAMNeighbours],
    _vectors.AAMNeighboursDirectoryFormat,
    description="The features whose vectors are nearest to that of each feature.",
)
plugin.register_artifact_class(
    FeatureData[_explanations.AAMImportance],
    _explanations.AAMImportanceDirectoryFormat,
    description="How much a model's predictions depend on each feature and on groups of features: "
    "importance, its spread and significance, and direction.",
)

if _predictions.OWNED:
    plugin.register_semantic_types(
        _predictions.ClassifierPredictions,
        _predictions.RegressorPredictions,
        _predictions.Probabilities,
        _predictions.TrueTargets,
        _predictions.Importance,
    )
    plugin.register_formats(
        _predictions.PredictionsFormat,
        _predictions.PredictionsDirectoryFormat,
        _predictions.ProbabilitiesFormat,
        _predictions.ProbabilitiesDirectoryFormat,
        _predictions.TrueTargetsDirectoryFormat,
        _predictions.ImportanceFormat,
        _predictions.ImportanceDirectoryFormat,
    )
    plugin.register_artifact_class(
        SampleData[_predictions.ClassifierPredictions],
        _predictions.PredictionsDirectoryFormat,
        description="The predicted class of each sample.",
    )
    plugin.register_artifact_class(
        SampleData[_predictions.RegressorPredictions],
        _predictions.PredictionsDirectoryFormat,
        description="The predicted number of each sample.",
    )
    plugin.register_artifact_class(
        SampleData[_predictions.Probabilities],
        _predictions.ProbabilitiesDirectoryFormat,
        description="The predicted probability of each class, of each sample.",
    )
    plugin.register_artifact_class(
        SampleData[_predictions.TrueTargets],
        _predictions.TrueTargetsDirectoryFormat,
        description="The true value of each sample, of a metadata column to be predicted.",
    )
    plugin.register_artifact_class(
        FeatureData[_predictions.Importance],
        _predictions.ImportanceDirectoryFormat,
        description="The importance of each feature to a model's predictions.",
    )

for transformer in _transformers.TRANSFORMERS:
    plugin.register_transformer(transformer)

# Actions --------------------------------------------------------------------------------------

for topic in (
    models,
    predictions,
    evaluation,
    pipelines,
    maturity,
    summaries,
    insight,
    insight_pages,
):
    topic.register(plugin)
