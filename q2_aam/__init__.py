"""AAM as a QIIME 2 plugin: `aam_core` behind semantic types, methods and visualizers.

The plugin is in `plugin_setup`. A topic (models, predictions, ...) has what its actions do in
`actions`, how QIIME 2 calls them in `registrations`, and usage examples in `examples`; parameters
that actions share are in `_parameters`, the artifacts in `_types_formats` (models) and
`_predictions`.
"""

from __future__ import annotations

from aam_core import __version__
from q2_aam._details import AAMPredictions, AAMPredictionsDirectoryFormat, Details
from q2_aam._predictions import (
    ClassifierPredictions,
    PredictionsDirectoryFormat,
    PredictionsFormat,
    Probabilities,
    ProbabilitiesDirectoryFormat,
    ProbabilitiesFormat,
    RegressorPredictions,
)
from q2_aam._types_formats import (
    AAMClassifier,
    AAMClassifierDirectoryFormat,
    AAMEncoder,
    AAMEncoderDirectoryFormat,
    AAMRegressor,
    AAMRegressorDirectoryFormat,
)

__all__ = [
    "AAMClassifier",
    "AAMClassifierDirectoryFormat",
    "AAMEncoder",
    "AAMEncoderDirectoryFormat",
    "AAMPredictions",
    "AAMPredictionsDirectoryFormat",
    "AAMRegressor",
    "AAMRegressorDirectoryFormat",
    "ClassifierPredictions",
    "Details",
    "PredictionsDirectoryFormat",
    "PredictionsFormat",
    "Probabilities",
    "ProbabilitiesDirectoryFormat",
    "ProbabilitiesFormat",
    "RegressorPredictions",
    "__version__",
]
