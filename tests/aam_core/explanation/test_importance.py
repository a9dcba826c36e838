"""Importances of a model whose truth is known: a forest fitted to a few planted ASVs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from aam_core import load_study
from aam_core.errors import InputError
from aam_core.explanation.contributions import _carried
from aam_core.explanation.explain import (
    _references,
    explain,
    mean_importance,
    permutation_importance,
)
from aam_core.explanation.importance import shift_donors
from aam_core.fitting import fit_regressor
from aam_core.statistics import benjamini_hochberg

PLANTED, CLADE = 5, 4
LETTERS = np.array(list("ACGT"))


def planted_study(samples=240, features=60, seed=0):
    """Lognormal abundances; the target is raised by 3 ASVs and by a clade of 4, lowered by 2 ASVs.

    A sample has one ASV of the clade at most. ``null`` is the target permuted.
    """
    rng = np.random.default_rng(seed)
    logs = rng.normal(0, 1, (samples, features))
    clade = np.arange(features - CLADE, features)
    present = rng.random((samples, features)) < 0.7
    has = rng.random(samples) < 0.7
    present[:, clade] = False
    present[np.arange(samples), rng.choice(clade, samples)] = has
    logs[:, clade] += 1
    reads = rng.poisson(50 * np.exp(logs) * present)
    reads[:, 0] += 1
    shares = reads / reads.sum(1, keepdims=True)
    ranks = pd.DataFrame(shares).rank().to_numpy() / samples
    signs = np.array([1, 1, 1, -1, -1])
    target = 150 * (ranks[:, 10 : 10 + PLANTED] @ signs) + 100 * has + rng.normal(0, 5, samples)
    names = [f"asv{i:02d}" for i in range(features)]
    ids = [f"s{i:03d}" for i in range(samples)]
    sequences = {name: "".join(rng.choice(LETTERS, 40)) for name in names}
    inner = ",".join(f"{names[i]}:1" for i in clade)
    rest = ",".join(f"({names[i]}:1,{names[i + 1]}:1):3" for i in range(0, features - CLADE, 2))
    metadata = pd.DataFrame(
        {"target": target, "null": rng.permutation(target), "subject": np.arange(samples) // 2},
        index=pd.Index(ids, name="sample-id"),
    )
    metadata["subject"] = metadata["subject"].astype(str)
    table = pd.DataFrame(reads, index=ids, columns=names)
    tree = f"(({inner}):3,{rest});"
    return load_study(table, sequences=sequences, metadata=metadata, tree=tree), names


@pytest.fixture(scope="module")
def planted():
    return planted_study()


def fitted(study, target, brief):
    """A forest on half of the samples, as a model; and the study of the other half."""
    changes = {"forest.trees": 100, "train.max_steps": 1, "train.val_fraction": 0}
    config = brief(changes={**changes, "model.members": 1})
    model = fit_regressor(study.select(study.sample_ids[:120]), target, config=config)
    return dataclasses.replace(model, network_weight=0.0), study.select(study.sample_ids[120:])


def test_no_sample_receives_from_its_own_group():
    groups = np.repeat([0, 1, 2, 3], [5, 4, 4, 3])
    donors = shift_donors(16, groups, 50, np.random.default_rng(0))
    assert (np.sort(donors, axis=1) == np.arange(16)).all()
    assert (groups[donors] != groups).all()
    assert len(np.unique(donors, axis=0)) > 40
    most = np.repeat([0, 1], [9, 3])  # no permutation can do that
    assert (most[shift_donors(12, most, 20, np.random.default_rng(0))] != most).all()
    alone = shift_donors(4, None, 20, np.random.default_rng(0))
    assert (alone != np.arange(4)).all()


def test_importances_of_several_sets_of_samples():
    parts = [pd.Series([1.0, 0.0, np.nan], index=list("abc")), pd.Series([4.0], index=["a"])]
    mean = mean_importance([*parts, pd.Series([np.nan, 3.0], index=list("ab"))], [2, 4, 1])
    assert list(mean.index) == ["a", "b", "c"] and mean["a"] == 3.0
    assert mean["b"] == 1.0 and np.isnan(mean["c"])


def test_folds_of_one_sample_each_have_no_importances_and_say_so(caplog):
    parts = [pd.Series([np.nan, np.nan], index=list("ab"))] * 2
    with caplog.at_level("WARNING", logger="aam_core"):
        assert mean_importance(parts, [1, 1]).isna().all()
    assert [it.message[:32] for it in caplog.records] == ["Each fold tests a single sample,"]


def test_one_sample_has_no_importances(planted, brief):
    study, _ = planted
    one = study.select(study.sample_ids[:1])
    # No model is asked: there is no other sample whose abundances it could receive.
    found = permutation_importance(None, one, study.metadata["target"])
    assert list(found.index) == study.feature_ids and found.isna().all()


def test_planted_asvs_and_their_clade_are_found(planted, brief):
    study, names = planted
    model, others = fitted(study, "target", brief)
    found = explain(
        model, others, group_by="subject", repeats=4, clades=(8,), references=3, threads=1
    )
    given = {"values": others.metadata["target"], "groups": others.metadata["subject"]}
    alone = permutation_importance(model, others, **given, repeats=4, threads=1)
    assert list(alone.index) == others.feature_ids
    pd.testing.assert_series_equal(
        alone[found.importance.index], found.importance["importance"], check_names=False
    )
    table = found.importance.loc[[name for name in names if name in found.importance.index]]
    planted_asvs = names[10 : 10 + PLANTED]
    single = table.drop(index=names[-CLADE:])  # which are of the truth, too
    assert roc_auc_score(single.index.isin(planted_asvs), single["importance"]) >= 0.95
    directions = ["raises"] * 3 + ["lowers"] * 2
    assert table.loc[planted_asvs, "direction"].tolist() == directions
    assert (table.loc[planted_asvs, "q"] < 0.05).sum() >= 3
    members = found.groups["members"].str.split(";")
    top = found.groups[[not set(it) & set(planted_asvs) for it in members]].iloc[0]
    assert top["members"].split(";") == names[-CLADE:] and top["direction"] == "raises"
    assert top["importance"] > table.loc[names[-CLADE:], "importance"].max()
    # The error rises faster than where random ones are removed.
    curve = found.deletion.loc[5]
    assert curve["importance"] > curve["random_high"]
    # Contributions add up, and the ASVs of the truth have the greatest.
    sums = found.samples
    np.testing.assert_allclose(
        sums["contributions"], sums["prediction"] - sums["reference"], rtol=0, atol=1e-6
    )
    by_sample = found.contributions.groupby("sample-id")["contribution"].sum()
    np.testing.assert_allclose(by_sample.loc[sums.index], sums["contributions"], atol=1e-9)
    sizes = found.contributions.assign(size=lambda it: it["contribution"].abs())
    mean = sizes.groupby("feature-id")["size"].mean()
    assert set(mean.nlargest(3).index) <= {*planted_asvs, *names[-CLADE:]}


def test_of_a_permuted_target_nothing_is_discovered(planted, brief):
    model, others = fitted(planted[0], "null", brief)
    found = explain(model, others, repeats=4, clades=(8,), references=0, threads=1)
    assert (found.importance["importance"] != 0).mean() > 0.5  # the forest believes in them
    # Ranked by other samples, what chance made important is not.
    curve = found.deletion.loc[1:]
    assert (curve["importance"] > curve["random_high"]).mean() <= 0.5
    assert (found.importance["q"] < 0.05).mean() < 0.05
    assert (found.groups["q"] < 0.05).mean() < 0.05


def test_samples_of_the_fit_are_explained_out_of_fold(small, regressor, classifier):
    options = {"repeats": 2, "clades": (4, 8), "references": 2, "threads": 2}
    model, of_classes = (
        dataclasses.replace(it.model, network_weight=0.5) for it in (regressor, classifier)
    )
    once = explain(model, small, group_by="host_subject_id", **options)
    assert once.counts["out_of_fold"] and once.counts["groups"] == 15
    again = explain(model, small, group_by="host_subject_id", **options)
    pd.testing.assert_frame_equal(once.importance, again.importance)
    pd.testing.assert_frame_equal(once.contributions, again.contributions)
    # q is over the groups of all levels together.
    np.testing.assert_allclose(once.groups["q"], benjamini_hochberg(once.groups["p"].to_numpy()))
    classes = explain(of_classes, small, **{**options, "clades": ()})
    assert not len(classes.groups) and classes.groups.index.name == "group-id"
    assert set(classes.groups) == {*classes.importance, "kind", "asvs", "members"}
    assert classes.error == "log loss"
    effects = classes.importance.filter(like="effect_")
    # Probabilities sum to 1, with an ASV and without.
    np.testing.assert_allclose(effects.sum(axis=1), 0, atol=1e-6)
    assert set(classes.importance["direction"]) <= {*classifier.model.task.classes, "none"}
    np.testing.assert_allclose(
        classes.samples["contributions"],
        classes.samples["prediction"] - classes.samples["reference"],
        atol=1e-6,
    )


def test_where_training_samples_are_unknown_a_warning_says_so(small, regressor, caplog):
    none: dict = {"train_samples": [], "val_samples": [], "val_folds": []}
    model = dataclasses.replace(regressor.model, network_weight=0.0, **none)
    options = {"repeats": 1, "clades": (), "references": 0, "threads": 1}
    found = explain(model, small.select(small.sample_ids[:12]), **options)
    assert found.counts["training_samples_known"] is False
    assert "does not tell which samples it was trained on" in caplog.text
    caplog.clear()
    known = dataclasses.replace(model, train_samples=["other"])
    found = explain(known, small.select(small.sample_ids[:12]), **options)
    assert found.counts["training_samples_known"] is True
    assert "trained on" not in caplog.text


def test_a_taxon_is_called_by_its_own_lineage(small, regressor):
    none: dict = {"train_samples": ["other"], "val_samples": [], "val_folds": []}
    model = dataclasses.replace(regressor.model, network_weight=0.0, **none)
    study = small.select(small.sample_ids[:12])
    # Most of a kingdom is one phylum: the kingdom is not called by it.
    count = len(study.feature_ids)
    taxa = ["k__A; p__C"] * 2 + ["k__A; p__B"] * (count - 2)
    study = dataclasses.replace(study, taxonomy=taxa, phylogeny=None)
    groups = explain(model, study, repeats=1, references=0, threads=1).groups
    assert dict(groups["taxon"])["k__A"] == "k__A"
    assert (groups["taxon"] == groups.index).all()


def test_references_have_asvs_to_exchange():
    drawn = _references(np.array([1, 3, 4]), None, 5, np.random.default_rng(0))
    assert [sorted(its) for its in drawn] == [[1, 2], [2], [1]]
    # A step without any ASV left adds nothing.
    assert _carried(np.array([1, np.nan, np.nan, 2])).tolist() == [1, 1, 1, 2]


def test_what_cannot_be_explained_is_refused(small, regressor, encoder):
    model = regressor.model
    with pytest.raises(InputError, match="encoder"):
        explain(encoder.model, small)
    with pytest.raises(InputError, match="repeats is 0"):
        explain(model, small, repeats=0)
    with pytest.raises(InputError, match="not 'group'"):
        explain(model, small, target="group")
    with pytest.raises(InputError, match="3 samples have a value"):
        explain(model, small.select(small.sample_ids[:3]))
    with pytest.raises(InputError, match="actual values of 'gradient'"):
        explain(model, dataclasses.replace(small, metadata=None))
    one = pd.Series("a", index=small.sample_ids)
    with pytest.raises(InputError, match="All samples are of one group"):
        explain(model, small, group_by=one)
    own = dataclasses.replace(model, val_samples=model.val_samples[5:])
    with pytest.raises(InputError, match="5 of 60 samples were trained on by all networks"):
        explain(own, small)
    with pytest.raises(InputError, match="explain samples that are new"):
        explain(dataclasses.replace(model, network_weight=0.0), small)
    new = dataclasses.replace(
        model, train_samples=model.train_samples[5:], val_samples=model.val_samples[5:]
    )
    renamed = [f"new{i}" if i < 5 else name for i, name in enumerate(small.sample_ids)]
    with pytest.raises(InputError, match="55 of 60 samples are of the fit"):
        explain(new, dataclasses.replace(small, sample_ids=renamed))
