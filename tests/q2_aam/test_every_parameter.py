"""Every parameter of every action has an effect, is refused, or is reported to have none.

`CHECKED` has an entry for each: a new parameter fails until it was checked.
"""

from __future__ import annotations

import pytest
from qiime2.sdk import PluginManager

from q2_aam._parameters import EVERYDAY, OF_FITS
from q2_aam.examples import study as examples

QUICK = examples.QUICK

READ = {"table", "sequences", "max_lost_reads"}  # a limit acts where it is met
LEARNED = {"phylogeny", "distances"}  # reported where they have no effect
SETTINGS = {"preset", "settings", *EVERYDAY}  # reported by `aam_core.config.unused`
FITS = {
    *("metadata", "encoder", "init_from", "freeze_encoder", "group_by", "missing_samples"),
    *("covariates", "covariate_columns"),
    *OF_FITS,
}
EMBEDS = READ | {"model", "metric", "number_of_dimensions", "device", "precision"}
PREDICTS = READ | {
    *("metadata", "batch_size", "device", "precision", "passes", "confidence", "n_jobs"),
}
SHOWS = {"predictions", "details", "truth", "metadata", "group_by", "missing_samples"}
VALIDATES = {"cv", "fold_by", "repeats", "baselines", "importance_repeats", "n_jobs"}
TESTS = {"test_size", "stratify", "pretrain", "baselines"}
MATURITY = {"predictions", "age", "group", "control", "bin_width", "missing_samples"}
CHECKED = {
    "pretrain": READ | LEARNED | SETTINGS | {"initial_encoder", "group_by", "taxonomy"},
    "fit_regressor": READ | LEARNED | SETTINGS | FITS | {"more_targets"},
    "fit_classifier": READ | LEARNED | SETTINGS | FITS,
    "predict": PREDICTS | {"predictor", "target"},
    "predict_regression": PREDICTS | {"regressor", "target"},
    "predict_classification": PREDICTS | {"classifier"},
    "embed_samples": EMBEDS | {"batch_size"},
    "embed_features": EMBEDS | {"taxonomy", "number_of_neighbours"},
    "importance": {"explanation", "table", "metadata", "missing_samples", "feature_count"}
    | {"units", "title"},
    "heatmap": {"table", "importance", "sample_metadata", "feature_metadata", "feature_count"}
    | {"missing_samples"},
    "report": READ
    | {"model", "details", "metadata", "target", "group_by", "columns", "units", "title"}
    | {"learning_curve", "curve_members", "curve_folds", "n_jobs", "device"},
    "find_zero_distances": {"table", "phylogeny", "distances", "metadata", "columns", "metric"}
    | {"alpha", "bound", "depths", "random_state", "max_lost_reads"},
    "explain": READ
    | {"phylogeny", "taxonomy", "predictor", "metadata", "target", "group_by", "missing_samples"}
    | {"repeats", "clades", "references", "random_state", "n_jobs", "device"},
    "scatterplot": SHOWS | {"units"},
    "confusion_matrix": SHOWS | {"probabilities"},
    "split_table": {
        *("table", "metadata", "group_by", "test_size", "random_state", "stratify"),
        "missing_samples",
    },
    "cross_validate": READ | LEARNED | SETTINGS | FITS | VALIDATES | {"fold"},
    "join_regression_folds": {"folds"},
    "join_classification_folds": {"folds"},
    "join_importances": {"folds"},
    "compare": {"details", "units"},
    "regress_samples_ncv": READ | LEARNED | SETTINGS | FITS | VALIDATES | {"stratify"},
    "classify_samples_ncv": READ | LEARNED | SETTINGS | FITS | VALIDATES,
    "regress_samples": READ | LEARNED | SETTINGS | FITS | TESTS,
    "classify_samples": READ | LEARNED | SETTINGS | FITS | TESTS,
    "score_baselines": READ
    | {"training_targets", "test_targets", "details", "group_by", "baselines", "covariates"}
    | {"covariate_columns", "random_state", "n_jobs", "started_from"},
    "maturity_index": MATURITY,
    "maturity_plot": MATURITY | {"details", "units"},
    "summarize": {"model"},
    "training_curves": {"model"},
    "distance_fit": READ | LEARNED | {"encoder", "samples", "random_state"},
}


def actions():
    return PluginManager().get_plugin(id="aam").actions


@pytest.mark.parametrize("name", CHECKED)
def test_each_parameter_was_checked(name):
    assert set(CHECKED) == set(actions())
    signature = actions()[name].signature
    assert {*signature.inputs, *signature.parameters} == CHECKED[name]


def lines(capfd):
    output = capfd.readouterr()
    return [line for line in (output.err + output.out).splitlines() if "no effect" in line]


def test_a_fit_reports_inputs_and_settings_without_effect(methods, capfd):
    capfd.readouterr()
    options = examples.quick("optim.cycles=7")
    methods.run(
        "fit_regressor",
        metadata=methods.column("gradient"),
        phylogeny=examples.phylogeny(),
        **options,
    )
    cycles, tree = lines(capfd)
    assert "optim.cycles has no effect: optim.schedule is 'one-cycle'" in cycles
    assert "The tree has no effect: loss.distance is 0" in tree


def test_samples_are_not_grouped_by_the_target(methods):
    column = methods.column("gradient")
    methods.refuses(
        "grouped by .*, which is the target",
        "fit_regressor",
        metadata=column,
        group_by=column,
        **QUICK,
    )


def test_a_setting_is_set_once(methods):
    methods.refuses(
        "optim.lr is set twice",
        "fit_regressor",
        metadata=methods.column("gradient"),
        **examples.quick("optim.lr=0.1", "optim.lr=0.2"),
    )


def test_metadata_of_a_model_without_covariates(methods, capfd):
    capfd.readouterr()
    methods.run("predict", predictor=examples.regressor(), metadata=methods.metadata)
    (line,) = lines(capfd)
    assert line == "The metadata have no effect: this model reads no covariates."
    methods.run("predict", predictor=examples.regressor())
    assert lines(capfd) == []
