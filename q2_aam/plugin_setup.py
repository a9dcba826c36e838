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

_ARTIFACTS = [
    (
        _types_formats.AAMEncoder,
        _types_formats.AAMEncoderDirectoryFormat,
        "A pretrained encoder: from the sequences and reads of a sample to a vector.",
    ),
    (
        _types_formats.AAMRegressor,
        _types_formats.AAMRegressorDirectoryFormat,
        "A model that predicts a numeric metadata column of a sample.",
    ),
    (
        _types_formats.AAMClassifier,
        _types_formats.AAMClassifierDirectoryFormat,
        "A model that predicts a categorical metadata column of a sample.",
    ),
    (
        SampleData[_details.AAMPredictions],
        _details.AAMPredictionsDirectoryFormat,
        "Predictions with their intervals, what the model knows of each sample, and how they came "
        "about: 'qiime metadata tabulate' shows them.",
    ),
    (
        SampleData[_vectors.AAMVectors],
        _vectors.AAMVectorsDirectoryFormat,
        "The vector of each sample, as a model has learned it.",
    ),
    (
        FeatureData[_vectors.AAMVectors],
        _vectors.AAMVectorsDirectoryFormat,
        "The vector of each feature, as a model has learned it.",
    ),
    (
        FeatureData[_vectors.AAMNeighbours],
        _vectors.AAMNeighboursDirectoryFormat,
        "The features whose vectors are nearest to that of each feature.",
    ),
    (
        FeatureData[_explanations.AAMImportance],
        _explanations.AAMImportanceDirectoryFormat,
        "How much a model's predictions depend on each feature and on groups of features: "
        "importance, its spread and significance, and direction.",
    ),
]
"""Each kind of artifact: its type, format and description."""

_FILES = [_vectors.AAMVectorsFormat, _vectors.AAMNeighboursFormat]
"""Formats of single files, within those of the artifacts."""

if _predictions.OWNED:
    _FILES += [
        _predictions.PredictionsFormat,
        _predictions.ProbabilitiesFormat,
        _predictions.ImportanceFormat,
    ]
    _ARTIFACTS += [
        (
            SampleData[_predictions.ClassifierPredictions],
            _predictions.PredictionsDirectoryFormat,
            "The predicted class of each sample.",
        ),
        (
            SampleData[_predictions.RegressorPredictions],
            _predictions.PredictionsDirectoryFormat,
            "The predicted number of each sample.",
        ),
        (
            SampleData[_predictions.Probabilities],
            _predictions.ProbabilitiesDirectoryFormat,
            "The predicted probability of each class, of each sample.",
        ),
        (
            SampleData[_predictions.TrueTargets],
            _predictions.TrueTargetsDirectoryFormat,
            "The true value of each sample, of a metadata column to be predicted.",
        ),
        (
            FeatureData[_predictions.Importance],
            _predictions.ImportanceDirectoryFormat,
            "The importance of each feature to a model's predictions.",
        ),
    ]

plugin.register_semantic_types(
    *dict.fromkeys(kind.fields[0] if kind.fields else kind for kind, _, _ in _ARTIFACTS)
)
plugin.register_formats(*_FILES, *dict.fromkeys(folder for _, folder, _ in _ARTIFACTS))
for kind, folder, description in _ARTIFACTS:
    plugin.register_artifact_class(kind, folder, description=description)

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
