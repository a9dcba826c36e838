"""AAM (Attention All Microbes): deep learning on microbiome samples.

A public name is loaded when it is first used, so that ``import aam_core`` takes no time and imports
neither torch nor pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what editors and type checkers see; `_MODULES` says the same to Python
    from aam_core import log
    from aam_core.baseline_fits import fit_baseline
    from aam_core.config import Config, presets
    from aam_core.crossval import cross_validate
    from aam_core.data.studies import Studies, load_studies
    from aam_core.data.study import Study, load_study
    from aam_core.description import info
    from aam_core.embedding import embed
    from aam_core.errors import AAMError, InputError
    from aam_core.estimators import AAMClassifier, AAMRegressor
    from aam_core.evaluation import evaluate
    from aam_core.explanation.attention import AttentionShares, attention_shares, fusion_weights
    from aam_core.explanation.bases import base_attributions
    from aam_core.explanation.explain import explain
    from aam_core.fitting import fit_classifier, fit_regressor
    from aam_core.model import Model, load_model
    from aam_core.prediction import predict, predicted_distances
    from aam_core.pretraining import pretrain
    from aam_core.reporting.report import report
    from aam_core.studies_pretraining import pretrain_studies
    from aam_core.tuning import tune
    from aam_core.tuning.learning_rate import find_lr
    from aam_core.zero_distances import find_zero_distances

__version__ = "0.1.0"

__all__ = [
    "AAMClassifier",
    "AAMError",
    "AAMRegressor",
    "AttentionShares",
    "Config",
    "InputError",
    "Model",
    "Studies",
    "Study",
    "__version__",
    "attention_shares",
    "base_attributions",
    "cross_validate",
    "embed",
    "evaluate",
    "explain",
    "find_lr",
    "find_zero_distances",
    "fit_baseline",
    "fit_classifier",
    "fit_regressor",
    "fusion_weights",
    "info",
    "load_model",
    "load_studies",
    "load_study",
    "log",
    "predict",
    "predicted_distances",
    "presets",
    "pretrain",
    "pretrain_studies",
    "report",
    "tune",
]

# No name here may be that of a module in aam_core (but for `log`, which is that module): importing
# the module would replace the function.
_MODULES = {
    "AAMClassifier": "aam_core.estimators",
    "AAMError": "aam_core.errors",
    "AAMRegressor": "aam_core.estimators",
    "AttentionShares": "aam_core.explanation.attention",
    "Config": "aam_core.config",
    "InputError": "aam_core.errors",
    "Model": "aam_core.model",
    "Studies": "aam_core.data.studies",
    "Study": "aam_core.data.study",
    "attention_shares": "aam_core.explanation.attention",
    "base_attributions": "aam_core.explanation.bases",
    "cross_validate": "aam_core.crossval",
    "embed": "aam_core.embedding",
    "evaluate": "aam_core.evaluation",
    "explain": "aam_core.explanation.explain",
    "find_lr": "aam_core.tuning.learning_rate",
    "find_zero_distances": "aam_core.zero_distances",
    "fit_baseline": "aam_core.baseline_fits",
    "fit_classifier": "aam_core.fitting",
    "fit_regressor": "aam_core.fitting",
    "fusion_weights": "aam_core.explanation.attention",
    "info": "aam_core.description",
    "load_model": "aam_core.model",
    "load_studies": "aam_core.data.studies",
    "load_study": "aam_core.data.study",
    "predict": "aam_core.prediction",
    "predicted_distances": "aam_core.prediction",
    "presets": "aam_core.config",
    "pretrain": "aam_core.pretraining",
    "pretrain_studies": "aam_core.studies_pretraining",
    "report": "aam_core.reporting.report",
    "tune": "aam_core.tuning",
}


def __getattr__(name: str):
    if name == "log":
        return importlib.import_module("aam_core.log")
    if name not in _MODULES:
        raise AttributeError(f"module 'aam_core' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
