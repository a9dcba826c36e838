"""AAM as a QIIME 2 plugin: `aam_core` behind semantic types, methods and visualizers.

Registrations are in `plugin_setup`, and nowhere else. What an action does is in `_methods` or
`_visualizers`, its shared parameters in `_parameters`, its usage example in `_examples`; the
artifacts are described in `_types_formats` (models) and `_predictions`.
"""

from __future__ import annotations

from aam_core import __version__
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
    "AAMRegressor",
    "AAMRegressorDirectoryFormat",
    "ClassifierPredictions",
    "PredictionsDirectoryFormat",
    "PredictionsFormat",
    "Probabilities",
    "ProbabilitiesDirectoryFormat",
    "ProbabilitiesFormat",
    "RegressorPredictions",
    "__version__",
]
