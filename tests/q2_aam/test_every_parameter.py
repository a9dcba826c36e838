"""Every parameter of every action either acts, or is refused, or is named in one line.

`LOOKED_AT` has an entry for each: one that is new fails until it was looked at.
"""

from __future__ import annotations

import pytest
from qiime2.sdk import PluginManager

from aam_core.config import EVERYDAY
from q2_aam import _examples

QUICK = _examples.QUICK

READ = {"table", "sequences", "max_lost_reads"}  # a limit acts where it is met
LEARNED = {"phylogeny", "distances"}  # named where nothing is learned of them
SETTINGS = {"preset", "settings", *EVERYDAY}  # named by `aam_core.config.unused`
FITS = {
    *("target", "encoder", "freeze_encoder", "group_by", "missing_samples"),
    *("covariates", "covariate_columns"),
}
PREDICTS = READ | {"metadata", "batch_size", "device", "precision"}
LOOKED_AT = {
    "pretrain": READ | LEARNED | SETTINGS | {"initial_encoder", "group_by"},
    "fit_regressor": READ | LEARNED | SETTINGS | FITS,
    "fit_classifier": READ | LEARNED | SETTINGS | FITS,
    "predict": PREDICTS | {"predictor"},
    "predict_regression": PREDICTS | {"regressor"},
    "predict_classification": PREDICTS | {"classifier"},
    "scatterplot": {"predictions", "truth", "missing_samples"},
    "confusion_matrix": {"predictions", "probabilities", "truth", "missing_samples"},
}


def actions():
    return PluginManager().get_plugin(id="aam").actions


@pytest.mark.parametrize("name", LOOKED_AT)
def test_each_parameter_was_looked_at(name):
    assert set(LOOKED_AT) == set(actions())
    signature = actions()[name].signature
    assert {*signature.inputs, *signature.parameters} == LOOKED_AT[name]


def lines(capfd):
    said = capfd.readouterr()
    return [line for line in (said.err + said.out).splitlines() if "no effect" in line]


def test_a_fit_names_what_it_was_given_for_nothing(methods, capfd):
    capfd.readouterr()
    options = QUICK | {"settings": [*QUICK.get("settings", ()), "optim.cycles=7"]}
    methods.run(
        "fit_regressor",
        target=methods.column("gradient"),
        phylogeny=_examples.phylogeny(),
        **options,
    )
    cycles, tree = lines(capfd)
    assert "optim.cycles has no effect: optim.schedule is 'one-cycle'" in cycles
    assert "The tree has no effect: loss.distance is 0" in tree


def test_the_target_groups_nothing(methods):
    column = methods.column("gradient")
    methods.refuses(
        "grouped by .*, which is the target",
        "fit_regressor",
        target=column,
        group_by=column,
        **QUICK,
    )


def test_a_setting_is_given_once(methods):
    twice = {"settings": ["optim.lr=0.1", "optim.lr=0.2"]}
    methods.refuses(
        "optim.lr is set twice", "fit_regressor", target=methods.column("gradient"), **QUICK | twice
    )


def test_metadata_of_a_model_without_covariates(methods, capfd):
    capfd.readouterr()
    methods.run("predict", predictor=_examples.regressor(), metadata=methods.metadata)
    (line,) = lines(capfd)
    assert line == "The metadata have no effect: this model reads no covariates."
    methods.run("predict", predictor=_examples.regressor())
    assert lines(capfd) == []
