"""Pipelines on the tiny study: what they pass on, and that their parts fit together."""

from __future__ import annotations

import inspect

import biom
import pandas as pd
import pytest
import qiime2
from qiime2.sdk import PluginManager

from aam_core.errors import InputError
from q2_aam._details import Details
from q2_aam._pipelines import passes_on
from q2_aam.examples import study as examples


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aam_core.comparison.draws_of", lambda *sizes: 20)
        yield


def run(name, target, metadata=None, group_by="host_subject_id", **options):
    metadata = examples.metadata() if metadata is None else metadata
    return (
        PluginManager()
        .get_plugin(id="aam")
        .pipelines[name](
            table=examples.table(),
            sequences=examples.sequences(),
            metadata=metadata.get_column(target),
            group_by=None if group_by is None else metadata.get_column(group_by),
            **{"baselines": ["dummy"], **examples.QUICK, **options},
        )
    )


def test_a_pipeline_has_the_parameters_that_it_passes_on():
    def action(table: str, cv: int = 5, seed: int = 0, fold: int = 1):
        raise AssertionError

    @passes_on(action, without={"fold"})
    def pipeline(ctx, cv=3, **rest):
        """Words."""
        return ctx, cv, rest

    assert str(inspect.signature(pipeline)) == "(ctx, table, cv=3, seed=0)"
    assert pipeline("it", "a", seed=9) == ("it", 3, {"table": "a", "seed": 9})
    assert (pipeline.__name__, pipeline.__doc__) == ("pipeline", "Words.")
    assert pipeline.__module__ == __name__


def test_folds_that_aam_fits_side_by_side_are_the_same(capfd):
    options = {"cv": 2, "stratify": True, "importance_repeats": 1}
    apart = run("regress_samples_ncv", "gradient", **options)
    together = run("regress_samples_ncv", "gradient", n_jobs=2, **options)
    assert "2 folds, 2 at a time" in capfd.readouterr().err
    one, other = (it.details.view(Details) for it in (apart, together))
    pd.testing.assert_frame_equal(one.comparison, other.comparison)
    pd.testing.assert_frame_equal(one.table.sort_index(), other.table.sort_index())
    assert one.about == other.about
    one, other = (
        it.feature_importance.view(pd.DataFrame)["importance"] for it in (apart, together)
    )
    assert one.to_dict() == pytest.approx(other.to_dict())


def test_folds_of_a_number_are_stratified_where_asked(no_fit):
    with pytest.raises(InputError, match="stratify divides cv folds, and fold_by makes others"):
        column = examples.metadata().get_column("host_subject_id")
        run("regress_samples_ncv", "gradient", stratify=True, fold_by=column)
    settings = [*examples.QUICK["settings"], "train.strata=3"]
    with pytest.raises(InputError, match="stratify sets train.strata"):
        run("regress_samples_ncv", "gradient", stratify=True, settings=settings)


def test_a_pretrained_model_is_tested_on_subjects_that_it_never_saw():
    result = run(
        "regress_samples",
        "gradient",
        phylogeny=examples.phylogeny(),
        pretrain=True,
        # a metric that a pretraining does not have
        settings=examples.quick("train.best_metric=mae")["settings"],
        test_size=0.5,
    )
    details = result.details.view(Details)
    assert details.about["source"] == "test split"
    assert not [it for it in details.about["notes"] if "metadata" in it or "encoder" in it]
    assert details.about["folds"] == 1 and details.about["group_by"] == "host_subject_id"
    targets = [
        it.view(qiime2.Metadata).to_dataframe().iloc[:, 0]
        for it in (result.training_targets, result.test_targets)
    ]
    assert list(details.table.index) == list(targets[1].index)
    subject = examples.metadata().get_column("host_subject_id").to_series()
    assert not {*subject[targets[0].index]} & {*subject[targets[1].index]}
    ours = details.methods[details.methods["method"] == "aam"].set_index("sample-id")
    assert ours["actual"].to_dict() == pytest.approx(targets[1].astype(float).to_dict())
    from aam_core.model import Model

    model = result.sample_estimator.view(Model)
    assert set(model.train_samples) | set(model.val_samples) == set(targets[0].index)
    assert model.run["encoder"] is not None
    importance = result.feature_importance.view(pd.DataFrame)
    assert set(importance.index) <= set(examples.table().view(biom.Table).ids("observation"))


def test_an_encoder_is_given_or_made():
    with pytest.raises(InputError, match="pretrain makes an encoder, and one is given"):
        run("classify_samples", "group", pretrain=True, encoder=examples.encoder())
    with pytest.raises(InputError, match="init_from has one"):
        run("classify_samples", "group", pretrain=True, init_from=examples.classifier())


def test_few_test_samples_are_refused_before_the_fit(capfd):
    with pytest.raises(
        InputError, match="There are 8 test samples, .* 10 or more: raise test_size"
    ):
        run("classify_samples", "group", test_size=0.2)
    assert "epoch" not in capfd.readouterr().err


@pytest.fixture
def no_fit(monkeypatch):
    """Whatever is refused is refused before the fit."""

    def fit(*arguments, **options):
        raise AssertionError("a model was fitted")

    examples.regressor()  # is kept
    monkeypatch.setattr("aam_core.fit_regressor", fit)
    monkeypatch.setattr("aam_core.fit_classifier", fit)
    monkeypatch.setattr("aam_core.pretrain", fit)


def changed(column, values):
    """The metadata with other values in a column."""
    frame = examples.metadata().to_dataframe()
    frame[column] = values(frame)
    return qiime2.Metadata(frame)


def test_a_model_that_knows_the_labels_of_test_samples_is_refused(no_fit):
    with pytest.raises(InputError, match="init_from was fitted to 12 of the 12 test samples"):
        run("regress_samples", "gradient", init_from=examples.regressor(), test_size=0.5)


def test_test_samples_of_one_group_are_refused_before_the_fit(no_fit):
    metadata = changed(
        "host_subject_id",
        lambda it: it["host_subject_id"].where(it["host_subject_id"] > "S003", "x"),
    )
    with pytest.raises(InputError, match="All 12 test samples are of one group .*'x'"):
        run("regress_samples", "gradient", metadata, test_size=0.5, random_state=2)


@pytest.mark.parametrize(
    ("name", "words"),
    [("rare", "4 of 12 test samples are of classes without a training sample .rare.*stratify")]
    + [(name, f"predictions: {name}. Give them other names") for name in ("group", "method")],
)
def test_classes_that_cannot_be_tested_are_refused_before_the_fit(no_fit, name, words):
    tested = (
        PluginManager()
        .get_plugin(id="aam")
        .methods["split_table"](
            table=examples.table(),
            metadata=examples.metadata().get_column("group"),
            group_by=examples.metadata().get_column("host_subject_id"),
            test_size=0.5,
            stratify=False,
        )
    )
    subjects = examples.metadata().get_column("host_subject_id").to_series()
    one = subjects[tested.test_targets.view(pd.Series).index].iloc[0]
    metadata = changed("group", lambda it: it["group"].where(subjects != one, name))
    with pytest.raises(InputError, match=words):
        run("classify_samples", "group", metadata, test_size=0.5, stratify=False)


@pytest.mark.parametrize("name", ["regress_samples", "regress_samples_ncv"])
def test_blanks_in_a_column_that_predictions_need_are_refused_before_the_fit(
    no_fit, monkeypatch, name
):
    """Of a setting that has no effect, or by which outputs are scaled, they are no matter."""

    def fit(*arguments, **options):
        raise AssertionError("a model was fitted")

    monkeypatch.setattr("aam_core.cross_validate", fit)
    described = changed("sequencing_run", lambda it: it["sequencing_run"].where(it["group"] == "x"))
    by = ("loss.normalize_by=sequencing_run", "model.head.scale_by=sequencing_run")
    given = {"covariates": described, "test_size": 0.5}
    if name != "regress_samples":
        del given["test_size"]
    scaled = examples.quick(*by, "loss.transform=zscore-by-category")["settings"]
    words = r"samples to test on have no value .*'sequencing_run' .loss.normalize"
    with pytest.raises(InputError, match=words):
        run(name, "gradient", settings=scaled, **given)
    with pytest.raises(AssertionError, match="was fitted"):
        run(name, "gradient", settings=examples.quick(*by)["settings"], **given)


def test_covariates_that_lack_test_samples(no_fit):
    covariates = qiime2.Metadata(examples.metadata().to_dataframe()[["sequencing_run"]].iloc[:-2])
    given = {"covariates": covariates, "covariate_columns": ["sequencing_run"], "test_size": 0.5}
    with pytest.raises(InputError, match="2 of 24 samples are not in the covariates metadata"):
        run("regress_samples", "gradient", **given)
    with pytest.raises(InputError, match="No sample of the table is in .* covariates"):
        strange = qiime2.Metadata(covariates.to_dataframe().rename(index="x{}".format))
        ignoring = {**given, "covariates": strange, "missing_samples": "ignore"}
        run("regress_samples", "gradient", **ignoring)


def test_a_test_with_metadata_for_some_samples_and_an_encoder_that_saw_them_all():
    frame = examples.metadata().to_dataframe()
    covariates = qiime2.Metadata(frame[["sequencing_run"]].drop(index=frame.index[:2]))
    metadata = changed("gradient", lambda it: it["gradient"].where(it.index != it.index[-1]))
    result = run(
        "regress_samples",
        "gradient",
        metadata,
        group_by=None,
        encoder=examples.encoder(),
        covariates=covariates,
        settings=examples.quick("model.head.scale_by=sequencing_run")["settings"],
        missing_samples="ignore",
        baselines=["none"],
        n_estimators=0,
        test_size=0.5,
    )
    details = result.details.view(Details)
    assert list(details.comparison.index) == ["aam"]
    tested = set(details.table.index)
    assert not tested & {frame.index[0], frame.index[1], frame.index[-1]} and len(tested) >= 10
    left, encoder = details.about["notes"][-2:]
    assert not [it for it in details.about["notes"] if "metadata and were dropped" in it]
    assert left.startswith("3 of 24 samples of the table are neither training nor test samples")
    assert f"pretrained (without labels) on {len(tested)} of the {len(tested)} test" in encoder
