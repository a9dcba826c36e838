"""Hyperparameter search by Optuna (extra ``[tune]``), and the range test of the learning rate.

`search` is the search from its arguments to its result. It reads a search `space`, keeps an Optuna
study in a file (`storage`), runs each `trial` here or in `workers`, and reports `results`.
`learning_rate` needs no Optuna.
"""

from aam_core.tuning.results import TuningResult
from aam_core.tuning.search import require_optuna, tune

__all__ = ["TuningResult", "require_optuna", "tune"]
