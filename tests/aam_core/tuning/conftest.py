"""Searches over fits that take no time: a known curve instead of a network."""

from __future__ import annotations

import functools
import sys
from dataclasses import replace

import pandas as pd
import pytest

pytest.importorskip("optuna", reason="tuning needs the extra [tune]")

CURVE = '''
import math, os

def fit(study, values, *, split, config, on_epoch):
    """Best at a rate of 0.001 without dropout; better with each of six epochs."""
    far = abs(math.log10(config.optim.lr) + 3)
    for epoch in range(1, 7):
        on_epoch(epoch, {"val/mae": far + config.model.sample.dropout + 1 / epoch})

def killed(*args, **options):
    """The first to come here dies."""
    try:
        os.close(os.open(os.environ["AAM_TEST_KILLED"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        fit(*args, **options)
    else:
        os.kill(os.getpid(), 9)
'''


@pytest.fixture(scope="session")
def curve(tmp_path_factory):
    """A module of stand-ins for a fit, which workers can import too."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "aam_test_curve.py").write_text(CURVE)
    sys.path.insert(0, str(folder))
    import aam_test_curve

    yield aam_test_curve
    sys.path.remove(str(folder))


@pytest.fixture(scope="session")
def objective(curve):
    """Of two settings."""
    from aam_core.config import Config
    from aam_core.data.splits import Split
    from aam_core.tuning.trial import Objective

    return Objective(
        study=None,
        values=pd.Series([1.0, 2.0], ["a", "b"], name="age"),
        fit=curve.fit,
        splits=[Split.holdout(["a"], ["b"])],
        space={
            "optim.lr": {"low": 1e-5, "high": 1e-1, "log": True},
            "model.sample.dropout": {"low": 0.0, "high": 0.6, "log": False},
        },
        config=Config(),
        metric="mae",
    )


@pytest.fixture(scope="session")
def search_in(objective):
    """Start or continue a search: ``search_in(folder, trials, jobs, timeout, fit)``."""
    from aam_core.tuning.search import run_trials
    from aam_core.tuning.storage import open_optuna_study

    def run(folder, trials, jobs=1, timeout=None, fit=objective.fit):
        same = replace(objective, fit=fit)
        fingerprint = {"space": objective.space, "config": objective.config.to_dict()}
        optuna_study = open_optuna_study(folder, same, fingerprint)
        return run_trials(optuna_study, same, folder, trials, timeout, jobs)

    return run


@pytest.fixture
def search(search_in, tmp_path):
    """The same, in one folder."""
    return functools.partial(search_in, tmp_path)


@pytest.fixture(scope="session")
def whole(search_in, tmp_path_factory):
    """A search that was never interrupted."""
    return search_in(tmp_path_factory.mktemp("whole"), 11)
