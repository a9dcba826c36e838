"""Many studies -> an encoder of the form of a fit's network -> a fit that starts from it."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from aam_core.config import MaskingConfig
from aam_core.data.batches import Batcher
from aam_core.data.studies import merge_studies
from aam_core.description import info
from aam_core.embedding import embed
from aam_core.errors import InputError
from aam_core.fitting import fit_regressor
from aam_core.model import load_model
from aam_core.models import masking
from aam_core.models.network import ModelOutput, Network, Parts
from aam_core.prediction import predict
from aam_core.pretrained import load_encoder, log_known_asvs, with_sizes_of
from aam_core.pretraining import pretrain
from aam_core.studies_pretraining import pretrain_studies
from aam_core.tasks.auxiliary import AUXILIARY


@pytest.fixture(scope="module")
def studies(small):
    """Three studies of 20 samples each, by the halves of one community."""
    parts = {}
    for number in range(3):
        ids = small.sample_ids[20 * number : 20 * number + 20]
        parts[f"study{number}"] = small.select(ids)
    return merge_studies(parts)


@pytest.fixture(scope="module")
def settings(brief):
    changes = {"train.max_steps": 0, "train.epochs": 30, "model.sample.asv_dropout": 0.0}
    return brief("studies", changes)


@pytest.fixture(scope="module")
def encoder(studies, settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder") / "encoder"
    return pretrain_studies(studies, config=settings, held_out=["study2"], output=folder), folder


def test_columns_of_other_studies_than_those_held_out_are_learned(encoder, studies):
    model, folder = encoder
    losses = [epoch["train/columns_loss"] for epoch in model.history]
    assert losses[-1] < 0.8 * losses[0]
    trained_on = studies.without(["study2"])
    assert len(model.network.parts.columns) == len(trained_on.columns)
    assert model.kind == "encoder" and not model.val_samples
    assert not {name for name in model.train_samples if name.startswith("study2:")}
    assert model.run["held_out_studies"] == ["study2"]
    assert [study["name"] for study in model.run["studies"]] == ["study0", "study1"]
    score = json.loads((folder / "metrics.json").read_text())["columns"]
    assert score["studies"] == 1 and score["columns"] == len(studies.only(["study2"]).columns)
    assert -1 < score["r2_untrained"] <= 1 and -1 < score["r2"] <= 1


def test_the_folder_has_the_model_and_its_vectors(encoder, small):
    model, folder = encoder
    loaded = load_model(folder)
    assert loaded.network.parts == model.network.parts
    vectors = embed(loaded, small)
    assert vectors.shape == (60, model.config.model.members * model.config.model.encoder.width)
    np.testing.assert_allclose(vectors, embed(model, small), atol=1e-6)


def test_a_column_is_learned_by_the_loss_of_its_kind():
    rng = torch.Generator().manual_seed(0)
    output = torch.randn(2, 4, 6, generator=rng)
    nan = float("nan")
    truth = torch.tensor([[0.5, nan, 2.0], [nan, 1.0, nan], [nan, nan, nan], [-3.0, 0.0, 0.0]])
    batch = replace(_empty_batch(4), columns=truth, column_sizes=(1, 2, 3))
    sums = AUXILIARY["columns"].total(_output(output), batch)[""]
    expected = 0.0
    for member in output:
        number = lambda row: 2 * F.smooth_l1_loss(member[row, 0], truth[row, 0])  # noqa: E731, B023
        two = lambda row: F.cross_entropy(member[row, 1:3], truth[row, 1].long())  # noqa: E731, B023
        three = lambda row: F.cross_entropy(member[row, 3:], truth[row, 2].long())  # noqa: E731, B023
        two_of, three_of = np.log(2), np.log(3)
        expected += (number(0) + three(0) / three_of) / 2
        expected += two(1) / two_of
        expected += (number(3) + two(3) / two_of + three(3) / three_of) / 3
    torch.testing.assert_close(sums, expected / 2)
    # The sample without a value counts nothing.
    assert float(AUXILIARY["columns"].count(batch)[""]) == 3


def _empty_batch(samples):
    from aam_core.data.batches import Batch

    one = torch.zeros(samples, 1)
    index = torch.arange(samples)
    return Batch(index, index[:1], one.long(), one.bool(), one)


def _output(columns):
    return ModelOutput(columns=columns)


def test_half_of_the_members_of_a_fit_start_from_the_encoder(encoder, brief):
    model, _ = encoder
    ours = brief("fitting", {"model.members": 6, "model.encoder.codes": 8})
    config = with_sizes_of(ours, model)
    assert config.model.members == 6
    assert config.model.encoder.profile_bases == 100
    torch.manual_seed(5)
    network = Network(config.model, Parts(outputs=1))
    new = {name: value.clone() for name, value in network.state_dict().items()}
    lines = load_encoder(network, model)
    assert lines[0].startswith("3 of 6 members start from an encoder of 2 studies; the others")
    theirs = model.network.state_dict()
    for name, value in network.state_dict().items():
        part, *inner = name.split(".")
        if part == "profile":
            assert torch.equal(value, theirs[name]), name
        elif part == "members" and int(inner[0]) < 3 and "out" not in inner[2:3]:
            # Two members of the encoder, in turn.
            inner[0] = str(int(inner[0]) % 2)
            source = ".".join([part, *inner]).replace(".target.", ".columns.")
            assert torch.equal(value, theirs[source]), name
        elif part == "members":
            assert torch.equal(value, new[name]), name


def test_samples_of_its_studies_are_known_by_their_own_ids(encoder, small):
    model, _ = encoder
    assert set(small.sample_ids[:40]) <= model.trained_samples
    assert not set(small.sample_ids[40:]) & model.trained_samples
    assert "with labels" in model.how_trained


def test_a_fit_starts_from_it_and_is_saved(encoder, small, brief, tmp_path, caplog):
    _, folder = encoder
    caplog.set_level(logging.INFO, "aam_core")
    changes = brief("fitting", {"model.members": 4, "model.encoder.codes": 8})
    model = fit_regressor(
        small, "gradient", encoder=folder, config=changes, output=tmp_path / "fit"
    )
    assert any("2 of 4 members start from an encoder of 2 studies" in it for it in caplog.messages)
    assert not any("missing in the encoder" in line for line in caplog.messages)
    assert model.run["encoder"]["studies"][0]["name"] == "study0"
    expected = predict(model, small)["prediction"]
    loaded = predict(load_model(tmp_path / "fit"), small)["prediction"]
    np.testing.assert_allclose(loaded, expected, rtol=1e-5)


def test_longer_sequences_have_the_profile_of_their_first_bases():
    from aam_core.models.kmers import KmerProfile

    rng = np.random.default_rng(0)
    tokens = torch.from_numpy(rng.integers(1, 5, (30, 41)).astype(np.uint8))
    profile = KmerProfile(4, bases=20)
    profile.fit(tokens)
    assert profile(tokens).abs().max() > 0
    torch.testing.assert_close(profile(tokens[:, :21]), profile(tokens))
    assert not torch.allclose(profile(tokens[:, :20]), profile(tokens))


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(studies, settings, tmp_path, stop_at):
    config = settings.replace({"train.epochs": 3, "train.checkpoint_every": 1})
    options = {"config": config, "held_out": ["study1"]}
    whole = pretrain_studies(studies, **options)
    stop_at(4, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        pretrain_studies(studies, output=tmp_path / "run", **options)
    resumed = pretrain_studies(
        studies, config=config, resume=tmp_path / "run", output=tmp_path / "run"
    )
    assert resumed.run["held_out_studies"] == ["study1"]
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    # Of the network before its training, not before it was resumed.
    assert resumed.metrics == whole.metrics
    with pytest.raises(InputError, match="holds out study1"):
        pretrain_studies(studies, config=config, held_out=["study2"], resume=tmp_path / "run")


def test_a_share_of_studies_that_draws_none_is_said(studies, settings, caplog):
    caplog.set_level(logging.INFO, "aam_core")
    config = settings.replace({"train.epochs": 1, "train.val_fraction": 0.4})
    pretrain_studies(studies, config=config, held_out=["study1"])
    why = "train.val_fraction has no effect: the studies that are held out are given."
    assert why in "\n".join(caplog.messages)
    caplog.clear()
    assert pretrain_studies(studies, config=config).run["held_out_studies"]
    assert "train.val_fraction" not in "\n".join(caplog.messages)


def test_what_cannot_be_learned_is_refused(studies, settings):
    with pytest.raises(InputError, match="None of 2 studies that are trained on has a metadata"):
        pretrain_studies(replace(studies, columns=[]), config=settings)
    with pytest.raises(InputError, match="All losses have weight 0"):
        pretrain_studies(studies, config=settings.replace({"loss.columns": 0.0}))
    both = settings.replace({"loss.presence": 1.0, "loss.count": 1.0})
    with pytest.raises(InputError, match="loss.presence hides ASVs from all"):
        pretrain_studies(studies, config=both)
    with pytest.raises(InputError, match="random Fourier features do not start"):
        pretrain_studies(studies, config=settings.replace({"model.encoder.codes": 8}))
    nucleotides = settings.replace({"loss.nucleotide": 1.0})
    with pytest.raises(InputError, match="no weights that masked nucleotides"):
        pretrain_studies(studies, config=nucleotides)
    with pytest.raises(InputError, match="studdy"):
        pretrain_studies(studies, config=settings, held_out=["studdy"])


def test_one_study_does_not_go_on_as_many(encoder, small, brief):
    model, folder = encoder
    with pytest.raises(InputError, match="learns from many studies, and here is one"):
        pretrain(small, resume=folder)
    with pytest.raises(InputError, match="could train: with this encoder, set loss.nucleotide to"):
        pretrain(small, encoder=model, config=brief("pretraining", {"train.max_steps": 1}))


# --- hidden ASVs ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def batcher(studies, settings):
    vectors = torch.arange(len(studies.study.feature_ids), dtype=torch.float32)[:, None]
    return Batcher(studies.study, settings.data, 0, asv_vectors=vectors, source=studies.source)


def hidden(batcher, samples, ratio=0.5, key=7):
    draw = batcher.draw(samples := np.array(samples))
    batch = batcher.assemble(draw, [batcher.share(draw)])
    before = batch.asv_mask.clone()
    config = MaskingConfig(presence_ratio=ratio)
    masking.hide(batch, *masking.choose_hidden(draw, samples, batcher, config, key))
    return batch, before


@pytest.mark.parametrize("ratio", [0.01, 0.5, 0.9])
def test_some_asvs_are_hidden_and_asked_for_beside_others_of_the_study(batcher, ratio):
    batch, before = hidden(batcher, range(10, 40), ratio)
    counts = batcher.study.counts
    assert (batch.asv_mask <= before).all() and batch.asv_mask.any(1).all()
    gone = before & ~batch.asv_mask
    expected = (before.sum(1) * ratio).round().clamp_min(1)
    assert (gone.sum(1) - expected).abs().max() <= 1
    there = batch.query_truth > 0
    asv, row = batch.query_asv, batch.query_row
    # The same ASVs on both sides, of the same study: neither of them tells the answer.
    study = torch.from_numpy(batcher.source)[batch.sample_index]
    sides = [
        sorted(zip(asv[it].tolist(), study[row[it]].tolist(), strict=True))
        for it in (there, ~there)
    ]
    assert sides[0] == sides[1] and sides[0]
    for place in range(len(asv)):
        sample, feature = batch.sample_index[row[place]], batch.feature_index[asv[place]]
        assert (counts[int(sample), int(feature)] > 0) == bool(there[place])
        if there[place]:
            own = (batch.asv_index[row[place]] == asv[place]) & before[row[place]]
            assert gone[row[place]][own].all()
            share = batch.counts[row[place]][own] / batch.counts[row[place]].sum()
            assert float(batch.query_truth[place]) == pytest.approx(float(share))


def test_what_is_hidden_of_a_sample_does_not_depend_on_its_batch(batcher):
    def visible(batch):
        row = (batch.sample_index == 25).nonzero().item()
        return set(batch.feature_index[batch.asv_index[row][batch.asv_mask[row]]].tolist())

    alone, _ = hidden(batcher, [25])
    among, _ = hidden(batcher, [3, 25, 50])
    other, _ = hidden(batcher, [25], key=8)
    assert visible(alone) == visible(among) != visible(other)
    assert not len(alone.query_row)  # there is no other sample of its study


def test_hidden_asvs_are_learned_without_metadata(studies, settings, tmp_path):
    config = settings.replace(
        {"loss.presence": 1.0, "loss.columns": 0.0, "train.epochs": 60, "optim.lr": 1e-2}
    )
    blind = replace(studies, columns=[])
    model = pretrain_studies(blind, config=config, held_out=["study2"], output=tmp_path / "model")
    accuracy = [epoch["train/presence_accuracy"] for epoch in model.history]
    assert np.mean(accuracy[-5:]) > np.mean(accuracy[:5]) + 0.05
    assert model.network.parts == Parts(presence=True)
    assert load_model(tmp_path / "model").network.parts == Parts(presence=True)
    assert embed(model, studies.study).shape[0] == 60


def test_halves_of_a_sample_are_brought_together(studies, settings, tmp_path):
    changes = {"loss.halves": 1.0, "loss.columns": 0.0, "train.epochs": 20, "optim.lr": 5e-3}
    blind = replace(studies, columns=[])
    model = pretrain_studies(
        blind, config=settings.replace(changes), held_out=["study2"], output=tmp_path / "model"
    )
    first, last = model.history[0], model.history[-1]
    assert last["train/halves_loss"] < 0.8 * first["train/halves_loss"]
    assert last["train/halves_accuracy"] > first["train/halves_accuracy"]
    assert load_model(tmp_path / "model").network.parts == Parts(halves=True)
    assert embed(model, studies.study).shape[0] == 60
    both = settings.replace({"loss.halves": 1.0, "loss.presence": 1.0})
    with pytest.raises(InputError, match="loss.halves reads halves of samples"):
        pretrain_studies(studies, config=both)


def test_the_loss_of_halves_is_that_of_telling_a_sample_among_its_study():
    """Four samples, of which the last is alone in its study, on the first of two ranks."""
    vectors = torch.randn(2, 10, 5, generator=torch.Generator().manual_seed(0))
    index = torch.tensor([4, 7, 9, 4, 7, 9, 1, 2, 1, 2])  # the halves of three, then of two
    study = torch.tensor([0, 0, 1, 0, 0, 1, 0, 0, 0, 0])
    batch = replace(
        _empty_batch(6), global_index=index, global_study=study, rank_sizes=(6, 4), temperature=0.5
    )
    expected = 0.0
    own = study == 0
    second = torch.tensor([False] * 3 + [True] * 3 + [False] * 2 + [True] * 2)
    for member in vectors:
        unit = F.normalize(member - member[own].mean(0), dim=-1)
        for row in (0, 1, 3, 4):
            others = (own & (second != second[row])).nonzero()[:, 0]
            same = (index[others] == index[row]).nonzero()[0]
            logits = unit[others] @ unit[row] / 0.5
            expected += F.cross_entropy(logits[None], same) / 2
    output = ModelOutput(halves=vectors)
    torch.testing.assert_close(AUXILIARY["halves"].total(output, batch)[""], expected)
    assert float(AUXILIARY["halves"].count(batch)[""]) == 4


def test_other_losses_are_learned_beside_them(studies, settings):
    losses = {f"loss.{name}": 1.0 for name in ("nucleotide", "distance", "count")}
    metric = {"loss.metric": "braycurtis"}
    changes = {"model.encoder.features": "both", "train.epochs": 1, **losses, **metric}
    model = pretrain_studies(studies, config=settings.replace(changes), held_out=["study2"])
    for name in losses:
        assert np.isfinite(model.history[-1][f"train/{name.removeprefix('loss.')}_loss"])
    assert model.network.bases is not None


def test_the_card_names_the_studies_and_those_that_were_held_out(encoder):
    _, folder = encoder
    text = (folder / "model_card.md").read_text()
    assert "pretrained on metadata columns of many studies" in text
    assert "| study1 | 20 | 2 |" in text
    assert "| studies | study2; none of their samples was trained on |" in text
    known = info(folder).to_text()
    assert "2, with 4 metadata columns" in known and "r2_untrained" in known


def test_asvs_are_compared_by_the_bases_that_are_read(encoder, small, brief, caplog):
    _, folder = encoder
    caplog.set_level(logging.INFO, "aam_core")
    longer = replace(small, sequences=[dna + "ACGT" * 20 for dna in small.sequences])
    log_known_asvs(load_model(folder), longer, logging.LoggerAdapter(logging.getLogger("aam_core")))
    assert "0.00 % of the reads are of ASVs that the encoder was trained on" in caplog.text
    caplog.clear()
    model = load_model(folder)
    cut = replace(model.config.model, encoder=replace(model.config.model.encoder, profile_bases=50))
    model = replace(model, config=replace(model.config, model=cut))
    log_known_asvs(model, longer, logging.LoggerAdapter(logging.getLogger("aam_core")))
    assert "100.00 % of the reads are of ASVs that the encoder was trained on" in caplog.text
