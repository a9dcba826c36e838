"""AAM (Attention All Microbes): deep learning on microbiome samples.

The public names are loaded on first use, so that ``import aam_core`` costs nothing.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

_HOME = {
    "AAMError": "aam_core.errors",
    "InputError": "aam_core.errors",
    "Config": "aam_core.config",
    "Study": "aam_core.data.study",
    "load_study": "aam_core.data.study",
    "Model": "aam_core.model",
    "load_model": "aam_core.model",
    "pretrain": "aam_core.fitting",
    "fit_regressor": "aam_core.fitting",
    "fit_classifier": "aam_core.fitting",
    "find_lr": "aam_core.tuning.learning_rate",
    "tune": "aam_core.tuning",
    "predict": "aam_core.prediction",
    "evaluate": "aam_core.evaluation",
    "cross_validate": "aam_core.crossval",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'aam_core' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
