"""Search for the settings that fit a study best, by Optuna (extra ``[tune]``).

`space` says what is searched, `trial` what a trial is, `storage` what is kept, `results` and `plot`
what is shown; `workers` runs trials, and `search` is the whole.
"""

from aam_core.tuning.results import Tuned
from aam_core.tuning.search import need_optuna, tune

__all__ = ["Tuned", "need_optuna", "tune"]
