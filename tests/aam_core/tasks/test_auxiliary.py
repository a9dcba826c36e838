"""Auxiliary losses: what they count, that they learn, and that nothing leaks into them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from aam_core.config import DataConfig, LossConfig, MaskingConfig, presets
from aam_core.data.batches import Batcher
from aam_core.data.study import load_study
from aam_core.data.taxonomy import Taxa, with_taxonomy
from aam_core.errors import InputError
from aam_core.fitting import fit_regressor
from aam_core.models.masking import label, mask_counts
from aam_core.models.network import ModelOutput, Network, Parts
from aam_core.phylogeny.distances import faith_pd
from aam_core.pretraining import pretrain, pretrain_nucleotides
from aam_core.tasks.auxiliary import AUXILIARY, PARTS, auxiliary_metrics, metric_names
from aam_core.tasks.losses import counts, totals, true_diversity

READS = DataConfig(rarefaction="none")
ALONE = {"loss.nucleotide": 0.0, "loss.distance": 0.0}


def test_each_part_has_an_output_a_weight_and_known_metrics():
    config, output = LossConfig(), ModelOutput()
    for name in AUXILIARY:
        assert hasattr(output, name) and getattr(config, name) >= 0 and name in PARTS
    assert metric_names(Parts()) == set()
    everything = metric_names(Parts(nucleotide=True, distance=True, outputs=1, count=True))
    assert {"nucleotide_accuracy", "count_r2", "distance_mae", "target_loss"} <= everything


def test_metrics_by_part():
    values = {"total_loss": 3.0, "count_loss": 1.0, "count_r2": 0.5, "count_mae": 0.1, "mae": 9.0}
    values["count_reads/r2"] = 0.9  # of a target of this name, one of several
    assert auxiliary_metrics(values) == {
        "losses": {"total": 3.0, "count": 1.0},
        "counts": {"r2": 0.5, "mae": 0.1},
    }


# --- masked abundances ---------------------------------------------------------------------------


@pytest.fixture
def masked(small):
    """A batch of eight samples with masked abundances."""
    batch = Batcher(small, READS, 0).batch(np.arange(8))
    mask_counts(batch, MaskingConfig(count_ratio=0.4), 7)
    return batch


def test_a_sample_keeps_an_abundance(small, masked):
    assert 0.3 < len(masked.count_row) / int(masked.asv_mask.sum()) < 0.5
    assert bool(masked.asv_mask[masked.count_row, masked.count_column].all())
    hidden = torch.zeros_like(masked.asv_mask)
    hidden[masked.count_row, masked.count_column] = True
    assert bool((masked.asv_mask & ~hidden).any(1).all())
    again = Batcher(small, READS, 0).batch(np.arange(4, 8))  # in any batch the same
    mask_counts(again, MaskingConfig(count_ratio=0.4), 7)
    row = masked.count_row[masked.count_row >= 4] - 4
    assert torch.equal(again.count_row, row)


@pytest.mark.parametrize("depth", [0, 1])
def test_an_abundance_is_not_copied_from_the_input(masked, brief, depth):
    """Only what a masked ASV's own reads are changes; the estimate of it must not."""
    config = brief("pretraining", {"model.sample.depth": depth}).model
    network = Network(config, Parts(distance=True, count=True)).eval()
    row, column = masked.count_row, masked.count_column
    own = masked.counts.clone()
    own[row, column] = own[row, column] * 7 + 3
    before, after = network(masked), network(replace(masked, counts=own))
    torch.testing.assert_close(after.count, before.count)
    others = masked.counts * torch.arange(1, masked.counts.shape[1] + 1)
    others[row, column] = masked.counts[row, column]
    changed = network(replace(masked, counts=others)).count
    assert not torch.allclose(changed, before.count, atol=1e-3)  # by the other ASVs it does
    plain = network(replace(masked, count_row=None, count_column=None))
    assert plain.count is None and torch.equal(plain.distance, before.distance)


def test_the_members_that_hold_a_sample_out_do_not_learn_its_abundances(masked):
    weight = torch.zeros(2, 8)
    weight[0, 0] = 1.0
    batch = replace(masked, weight=weight)
    first = int((masked.count_row == 0).sum())
    output = ModelOutput(count=torch.zeros(2, len(masked.count_row)))
    assert float(counts(batch, None, None)["count"]) == first
    truth = totals(output, batch, LossConfig())["count"]
    output.count[1] = 5.0
    output.count[0, masked.count_row > 0] = 5.0
    assert float(totals(output, batch, LossConfig())["count"]) == pytest.approx(float(truth))
    output.count[0, 0] = 5.0
    assert float(totals(output, batch, LossConfig())["count"]) != pytest.approx(float(truth))


def _two_kinds(samples=64, features=24, seed=0):
    """Samples of two kinds: what is abundant in one is rare in the other."""
    rng = np.random.default_rng(seed)
    kind = np.arange(samples) % 2
    half = np.arange(features) < features // 2
    mean = np.where(half[None, :] == (kind[:, None] == 0), 300.0, 20.0)
    counts = rng.poisson(mean * rng.lognormal(0, 0.2, mean.shape)) + 1
    ids = ["".join(rng.choice(list("ACGT"), 60)) for _ in range(features)]
    table = pd.DataFrame(counts, index=[f"s{i}" for i in range(samples)], columns=ids)
    return load_study(table)


@pytest.mark.parametrize("depth", [0, 1])
def test_abundances_are_learned_from_the_context(depth):
    """The mean of an ASV over all samples says nothing here: R2 of it is about 0."""
    settings = {
        **ALONE,
        "loss.count": 1.0,
        "model.sample.depth": depth,
        "model.encoder.features": "profile",
        "data.rarefaction": "none",
        "train.epochs": 60,
        "train.threads": 1,
        "optim.lr": 0.01,
    }
    config = presets.pretraining("tiny").adjust(settings)
    metrics = pretrain(_two_kinds(), config=config).metrics["counts"]
    assert metrics["r2"] > 0.7 and metrics["mae"] < 0.25


def test_off_means_not_built(small, brief):
    names = {Parts(outputs=1, count=on): None for on in (False, True)}
    for parts in names:
        names[parts] = set(Network(brief().model, parts).state_dict())
    off, on = names.values()
    assert {name.split(".", 2)[2] for name in on - off} == {
        f"count.{layer}.{kind}" for layer in ("asv", "sample") for kind in ("weight", "bias")
    }


# --- in a fit ------------------------------------------------------------------------------------


def test_a_fit_learns_them_beside_its_target(small, brief):
    changes = {
        "model.encoder.features": "bases",
        "forest.trees": 0,
        "loss.nucleotide": 1.0,
        "loss.distance": 50.0,
        "loss.count": 0.5,
    }
    model = fit_regressor(small, "gradient", config=brief("fitting", changes))
    assert model.network.parts == Parts(nucleotide=True, distance=True, count=True, outputs=1)
    last = model.history[-1]
    for name in ("nucleotide", "distance", "count", "target"):
        weight = getattr(model.config.loss, name) if name != "target" else 1.0
        for side in ("train", "val"):
            weighted = last[f"{side}/{name}_loss_weighted"]
            assert weighted == pytest.approx(weight * last[f"{side}/{name}_loss"]) and weighted > 0
    assert set(model.metrics["losses"]) == {"total", "nucleotide", "distance", "count", "target"}
    assert set(model.metrics["counts"]) == {"r2", "mae"} == set(model.metrics["distances"])
    assert 0 <= model.metrics["nucleotides"]["accuracy"] <= 1


def test_the_default_fit_learns_abundances_in_each_member(small, brief):
    config = brief("fitting", {"forest.trees": 0, "loss.count": 1.0})
    model = fit_regressor(small, "gradient", config=config)
    assert len({float(member.count.asv.bias[0]) for member in model.network.members}) == 2
    assert np.isfinite(model.metrics["counts"]["r2"])


# --- goals of a pretraining ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def labelled(small):
    """The study with a taxonomy made of its tree: four clades, each of two halves."""
    ranks, size = small.phylogeny.ranks, len(small.feature_ids)
    taxa = {
        name: f"k__Any; p__{rank * 4 // size}; g__{rank * 8 // size}"
        for name, rank in zip(small.feature_ids, ranks.tolist(), strict=True)
    }
    return with_taxonomy(small, taxa)


def goals(brief, **more):
    settings = {
        **ALONE,
        "loss.taxonomy_min_asvs": 1,
        "data.sampling_depth": 300,
        "train.threads": 1,
    }
    return brief("pretraining", {**settings, **more})


def test_faith_pd_is_learned_in_units_of_branch_length(small, brief):
    batch = Batcher(small, READS, 0, diversity=True).batch(np.arange(5))
    expected = faith_pd(
        torch.from_numpy(small.counts[:5].toarray()), torch.arange(60), small.phylogeny
    )
    torch.testing.assert_close(true_diversity(batch, small.phylogeny), expected)
    settings = {"loss.faith_pd": 1.0, "train.epochs": 30, "train.max_steps": 0}
    model = pretrain(small, config=goals(brief, **settings))
    head, metrics = model.network.faith_pd, model.metrics["faith_pd"]
    assert metrics["r2"] > 0.4
    assert 0 < metrics["mae"] < float(head.scale) < float(head.mean)
    assert "val/faith_pd_r2" in model.history[-1]
    assert float(head(torch.zeros(1, 2, head.branch.in_features), torch.zeros(1, 2))) >= 0


def test_a_taxonomy_is_learned_and_scored_by_asvs_that_no_training_sample_has(labelled, brief):
    """Of a small study all ASVs are in some training sample: some are taken out of those."""
    counts = labelled.counts.tolil(copy=True)
    counts[:48, ::6] = 0
    study = replace(labelled, counts=counts.tocsr())
    groups = pd.Series(["train"] * 48 + ["val"] * 12, study.sample_ids)
    settings = {"train.epochs": 15, "train.max_steps": 0, "train.best_metric": "taxonomy_accuracy"}
    model = pretrain(study, config=goals(brief, **settings), group_by=groups)
    assert len(model.val_samples) == 12 and model.network.parts.ranks == (4, 8)
    metrics = model.metrics["taxonomy"]
    assert set(metrics) == {"accuracy", "phylum_accuracy", "genus_accuracy"}
    assert metrics["phylum_accuracy"] > 0.5
    known = model.run["taxonomy"]
    assert known["ranks"] == ["phylum", "genus"] and len(known["classes"][1]) == 8
    last = model.history[-1]
    both = [last[f"val/taxonomy_{rank}_accuracy"] for rank in ("phylum", "genus")]
    assert last["val/taxonomy_accuracy"] == pytest.approx(np.mean(both))  # each ASV once


def test_each_asv_is_labelled_once_a_step_and_unknown_ranks_are_masked(labelled):
    study = replace(labelled, taxonomy=["k__Any; p__0", *labelled.taxonomy[1:]])
    taxa = Taxa.fit(study, np.arange(60), 1)
    batch = Batcher(study, READS, 0).batch(np.arange(8))
    rows = np.arange(len(batch.feature_index))
    label(batch, taxa, rows)
    assert torch.equal(batch.taxa_row, torch.from_numpy(rows))
    sums = counts(batch, None, None)
    first = int((batch.feature_index == 0).sum())
    assert float(sums["taxonomy_phylum"]) == len(rows)
    assert float(sums["taxonomy_genus"]) == len(rows) - first
    assert float(sums["taxonomy"]) == 2 * len(rows) - first
    scored = np.ones(60, bool)
    label(batch, replace(taxa, new=~scored), rows, ~scored)  # none is of validation alone
    assert len(batch.taxa_row) == 0 and float(counts(batch, None, None)["taxonomy"]) == 0


def test_goals_are_learned_together_over_micro_steps(labelled, brief):
    """Micro-steps change no loss but that of pairs: every element is counted once."""
    history = []
    for steps in (1, 3):
        settings = {
            "loss.nucleotide": 1.0,
            "loss.count": 1.0,
            "loss.faith_pd": 1.0,
            "train.accumulate": steps,
            "train.epochs": 1,
            "train.max_steps": 1,
            "train.batch_size": 12,
        }
        history.append(pretrain(labelled, config=goals(brief, **settings)).history[0])
    for name in ("nucleotide", "count", "faith_pd", "taxonomy"):
        both = [it[f"train/{name}_loss"] for it in history]
        assert both[0] == pytest.approx(both[1], rel=1e-4) and both[0] > 0


def test_a_corpus_learns_a_taxonomy(labelled, brief):
    taxa = dict(zip(labelled.sequences, labelled.taxonomy, strict=True))
    names = {f"sequence {i + 1}": taxa[dna] for i, dna in enumerate(labelled.sequences)}
    config = brief("pretraining", {"loss.taxonomy_min_asvs": 1})
    model = pretrain_nucleotides(labelled.sequences, config=config, taxonomy=names)
    assert model.network.parts.nucleotide and model.network.parts.ranks
    assert set(model.metrics["losses"]) == {"total", "nucleotide", "taxonomy"}


@pytest.mark.parametrize("kind", ["union", "ruzicka", "euclidean"])
def test_weighted_unifrac_has_a_head_without_upper_bound(small, brief, kind):
    network = Network(
        brief("pretraining", {"model.head.distance": kind}).model,
        Parts(distance=True, unbounded=True),
    )
    batch = Batcher(small, READS, 0).batch(np.arange(6))
    vectors = network(batch).distance * 1e3
    distances = network.distance.compare(vectors, vectors)
    apart = distances[~torch.eye(6, dtype=torch.bool)]
    assert float(apart.min()) > 0 and float(apart.max()) > 1
    torch.testing.assert_close(distances, distances.T)
    assert float(distances.diagonal().abs().max()) < 1e-3


def test_weighted_unifrac_is_learned(small, brief):
    config = brief("pretraining", {"loss.metric": "weighted", "loss.nucleotide": 0.0})
    model = pretrain(small, config=config)
    assert model.network.parts == Parts(distance=True, unbounded=True)
    assert np.isfinite(model.metrics["distances"]["r2"])
    far = replace(small, distances=3.0 * (1 - np.eye(60, dtype=np.float32)))
    with pytest.raises(InputError, match="reach 3.*'weighted', which has no upper bound"):
        pretrain(far, config=brief("pretraining"))
    assert pretrain(far, config=config).metrics["losses"]["distance"] > 0


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"loss.faith_pd": 1.0}, "diversity needs a tree"),
        ({}, "All losses have weight 0"),
    ],
)
def test_goals_that_cannot_be_learned(made, as_study, brief, changes, words):
    with pytest.raises(InputError, match=words):
        pretrain(as_study(made, tree=None), config=goals(brief, **changes))


def test_a_taxonomy_without_effect_is_named(labelled, brief, capsys):
    config = goals(brief, **{"loss.count": 1.0, "loss.taxonomy": 0.0})
    assert pretrain(labelled, config=config).network.taxonomy is None
    assert "The taxonomy has no effect: loss.taxonomy is 0" in capsys.readouterr().err
    fit_regressor(labelled, "gradient", config=brief("fitting", {"forest.trees": 0}))
    assert "The taxonomy has no effect: only a pretraining" in capsys.readouterr().err


def test_a_resumed_run_equals_an_uninterrupted_one(labelled, brief, tmp_path, stop_at):
    changes = {"loss.count": 1.0, "loss.faith_pd": 1.0, "loss.nucleotide": 1.0}
    more = {"train.max_steps": 0, "optim.schedule": "constant", "optim.warmup": 0.0}
    config = goals(brief, **changes, **more)
    whole = pretrain(labelled, config=config)
    stop_at(5, KeyboardInterrupt)  # in the second epoch
    with pytest.raises(KeyboardInterrupt):
        pretrain(labelled, config=config, output=tmp_path / "run")
    again = pretrain(labelled, config=config, resume=tmp_path / "run")
    ours, theirs = again.network.state_dict(), whole.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    other = replace(labelled, taxonomy=[*labelled.taxonomy[1:], "k__Any; p__0; g__0"])
    with pytest.raises(InputError, match="taxa of .* features changed"):
        pretrain(other, config=config, resume=tmp_path / "run")
