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


def run(name, target, **options):
    metadata = examples.metadata()
    return (
        PluginManager()
        .get_plugin(id="aam")
        .pipelines[name](
            table=examples.table(),
            sequences=examples.sequences(),
            metadata=metadata.get_column(target),
            group_by=metadata.get_column("host_subject_id"),
            baselines=["dummy"],
            **{**examples.QUICK, **options},
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
    apart = run("regress_samples_ncv", "gradient", cv=2)
    together = run("regress_samples_ncv", "gradient", cv=2, n_jobs=2)
    assert "2 folds, 2 at a time" in capfd.readouterr().err
    one, other = (it.details.view(Details) for it in (apart, together))
    pd.testing.assert_frame_equal(one.comparison, other.comparison)
    pd.testing.assert_frame_equal(one.table.sort_index(), other.table.sort_index())
    assert one.about == other.about


def test_a_pretrained_model_is_tested_on_subjects_that_it_never_saw():
    result = run(
        "regress_samples",
        "gradient",
        phylogeny=examples.phylogeny(),
        pretrain=True,
        test_size=0.5,
    )
    details = result.details.view(Details)
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
