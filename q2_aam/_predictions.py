"""Predictions in q2-sample-classifier's own types, so that its visualizers open them.

Where that plugin is installed its types and formats are used as they are. Where it is not, types
and formats of the same names and the same files are defined here, and this plugin registers them.
Two plugins must never register one name: ``OWNED`` says which case it is, and it depends on what
is installed, not on which plugin is loaded first.
"""

from __future__ import annotations

import importlib.util

OWNED = importlib.util.find_spec("q2_sample_classifier") is None
"""True where this plugin defines and registers the types itself."""

if OWNED:
    from q2_aam._predictions_owned import (
        ClassifierPredictions,
        PredictionsDirectoryFormat,
        PredictionsFormat,
        Probabilities,
        ProbabilitiesDirectoryFormat,
        ProbabilitiesFormat,
        RegressorPredictions,
    )
else:
    from q2_sample_classifier import (
        ClassifierPredictions,
        PredictionsDirectoryFormat,
        PredictionsFormat,
        Probabilities,
        ProbabilitiesDirectoryFormat,
        ProbabilitiesFormat,
        RegressorPredictions,
    )

__all__ = [
    "OWNED",
    "ClassifierPredictions",
    "PredictionsDirectoryFormat",
    "PredictionsFormat",
    "Probabilities",
    "ProbabilitiesDirectoryFormat",
    "ProbabilitiesFormat",
    "RegressorPredictions",
]
