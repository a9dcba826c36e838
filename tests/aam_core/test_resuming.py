"""Workflows that are cut short and gone on with: the folder then is as if they had not been."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from aam_core.config import paths, presets
from aam_core.errors import InputError, Preempted
from aam_core.fitting import fit_classifier, fit_regressor
from aam_core.model import load_model
from aam_core.model_files import FILES
from aam_core.pretraining import pretrain, pretrain_nucleotides
from aam_core.training import checkpoint

RANDOM = {
    "train.epochs": 3,
    "train.max_steps": 0,
    "train.patience": 0,
    "train.checkpoint_every": 2,
    "train.log_every": 1,
    "train.trackers": "none",
    "optim.ema": 0.7,
    "model.encoder.dropout": 0.1,
    "model.sample.dropout": 0.2,
    "model.sample.asv_dropout": 0.2,
}
CLOCK = ("train/samples_per_second", "train/memory_gb")
"""What no two runs have alike."""


class Stopped(Exception):
    """What cuts a run short."""


def stop_after(epoch):
    def tell(number, _):
        if number == epoch:
            raise Stopped

    return tell


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    """Leave out what takes long and is none of these tests': waiting for the disk, and plots."""
    monkeypatch.setattr("aam_core.files.folders.sync", lambda path: None)

    def empty(log, path, x, units):
        path.write_bytes(b"")

    monkeypatch.setattr("aam_core.plots.curves", empty)


def logged(folder):
    """Lines of the log, without what no two runs have alike."""
    text = (folder / "logs" / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    return [{k: v for k, v in line.items() if k not in CLOCK} for line in lines]


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same(model, folder, whole, whole_folder):
    """The model, its folder, its logs and its checkpoints."""
    assert model.history == whole.history and model.metrics == whole.metrics
    assert (model.train_samples, model.val_samples) == (whole.train_samples, whole.val_samples)
    for name in ("model.safetensors", "checkpoint/best/model.safetensors"):
        mine, theirs = load_file(folder / name), load_file(whole_folder / name)
        assert set(mine) == set(theirs)
        assert all(torch.equal(value, theirs[key]) for key, value in mine.items()), name
    plain = sorted(set(FILES) - {"run.json", "config.json"})
    for name in plain:
        if not name.endswith(".png"):
            there = [(path / name).exists() for path in (folder, whole_folder)]
            assert there[0] == there[1], name
            if there[0]:
                assert (folder / name).read_bytes() == (whole_folder / name).read_bytes(), name
    assert logged(folder) == logged(whole_folder)
    val = [checkpoint.load(checkpoint.find(path)).progress for path in (folder, whole_folder)]
    assert val[0] == val[1]
    assert {item.name for item in folder.iterdir()} == {p.name for p in whole_folder.iterdir()}


# --- the same run --------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [1, 3])
def test_pretraining_goes_on_in_another_folder(small, brief, tmp_path, epoch):
    config = brief("pretraining", {**RANDOM, "train.trackers": "tensorboard"})
    options = {"group_by": "host_subject_id"}
    a, b, c = (tmp_path / name for name in "abc")
    with pytest.raises(Stopped):
        pretrain(small, config=config, output=a, on_epoch=stop_after(epoch), **options)
    before = content(a)
    assert not (a / "model.safetensors").exists()
    result = pretrain(small, output=b, resume=a)
    same(result, b, pretrain(small, config=config, output=c, **options), c)
    assert content(a) == before
    assert load_model(b / "checkpoint" / "best").kind == "encoder"
    for side in ("train", "val"):  # of the run before, and of this one
        assert len(list((b / "logs" / side).glob("events.out.tfevents.*"))) == 2


KINDS = {
    "regression": (fit_regressor, "gradient", {"covariates": ["sequencing_run"]}),
    "classification": (fit_classifier, "group", {}),
    "frozen": (fit_regressor, "gradient", {"freeze_encoder": True}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_goes_on_in_its_own_folder(small, encoder, brief, tmp_path, stop_at, capsys, kind):
    """From the middle of an epoch; the encoder is in the checkpoint."""
    fit, target, options = KINDS[kind]
    config = brief("fitting", {**RANDOM, "train.batch_size": 8})
    first = {**options, "config": config, "group_by": "host_subject_id", "encoder": encoder.model}
    stop_at(8, Stopped)
    with pytest.raises(Stopped):
        fit(small, target, output=tmp_path / "a", **first)
    val = checkpoint.load(checkpoint.find(tmp_path / "a"))
    assert val.progress["step"] == 6 and val.progress["batch"] > 0
    same_groups = {**options, "group_by": "host_subject_id"}  # which made the split that stays
    capsys.readouterr()
    result = fit(small, target, output=tmp_path / "a", resume=tmp_path / "a", **same_groups)
    assert "group_by" not in capsys.readouterr().err
    whole = fit(small, target, output=tmp_path / "b", **first)
    same(result, tmp_path / "a", whole, tmp_path / "b")
    assert result.run["encoder"] == whole.run["encoder"] == encoder.model.run
    pd.testing.assert_frame_equal(result.val_predictions, whole.val_predictions, check_exact=True)
    assert result.intervals == whole.intervals and result.network_weight == whole.network_weight


def test_sequences_alone_too(made, brief, tmp_path, stop_at):
    changes = {**RANDOM, "train.batch_size": 2, "train.epochs": 2}
    config, sequences = brief("pretraining", changes), list(made.sequences.values())
    stop_at(3, Stopped)
    with pytest.raises(Stopped):
        pretrain_nucleotides(sequences, config=config, output=tmp_path / "a")
    result = pretrain_nucleotides(sequences, output=tmp_path / "b", resume=tmp_path / "a")
    whole = pretrain_nucleotides(sequences, config=config, output=tmp_path / "c")
    same(result, tmp_path / "b", whole, tmp_path / "c")


def test_a_signal(small, brief, tmp_path):
    """Noted while the epoch ends; the first step of the next is the last."""
    a = tmp_path / "a"
    config = brief("fitting", RANDOM)

    def tell(epoch, _):
        if epoch == 2:
            os.kill(os.getpid(), signal.SIGUSR1)

    with pytest.raises(Preempted) as caught:
        fit_regressor(small, "gradient", config=config, output=a, on_epoch=tell)
    assert str(caught.value).endswith(f"after step 9; continue with --resume {a}.")
    result = fit_regressor(small, "gradient", output=a, resume=a)
    whole = fit_regressor(small, "gradient", config=config, output=tmp_path / "b")
    same(result, a, whole, tmp_path / "b")


@pytest.fixture(scope="module")
def fitted(small, brief, tmp_path_factory):
    """A regressor that was fitted to the end, with its folder."""
    folder = tmp_path_factory.mktemp("fitted") / "model"
    config = brief("fitting", {**RANDOM, "train.epochs": 2})
    return fit_regressor(small, "gradient", config=config, output=folder), folder


@pytest.fixture
def finished(fitted, tmp_path):
    """The same, with a copy of its folder."""
    model, folder = fitted
    return model, Path(shutil.copytree(folder, tmp_path / "done"))


def test_a_finished_run_is_written_again_and_no_more(small, finished, tmp_path, stop_at):
    whole, folder = finished
    stop_at(1, Stopped)
    for output in (tmp_path / "b", folder):
        same(fit_regressor(small, "gradient", output=output, resume=folder), output, whole, folder)


def test_a_finished_run_may_have_more_epochs(small, finished, tmp_path):
    whole, folder = finished
    config = whole.config.replace({"train.epochs": 4})
    result = fit_regressor(small, "gradient", config=config, output=tmp_path / "b", resume=folder)
    assert result.history[:2] == whole.history and len(result.history) == 4
    assert [line["step"] for line in logged(tmp_path / "b")][-1] == result.history[-1]["step"]


def test_the_checkpoint_itself_may_be_named(small, finished):
    whole, folder = finished
    for name in ("checkpoint", "checkpoint/last"):
        result = fit_regressor(small, "gradient", resume=folder / name)
        assert result.history == whole.history


def test_without_a_folder_nothing_is_written(small, finished, tmp_path):
    _, folder = finished
    before = content(tmp_path)
    fit_regressor(small, "gradient", resume=folder)
    assert content(tmp_path) == before


# --- what it was started with --------------------------------------------------------------------


def test_the_split_stays(small, finished):
    """Whatever the configuration and the options say now, and however the study is ordered."""
    whole, folder = finished
    config = whole.config.replace({"train.seed": 9, "train.val_fraction": 0.5})
    order = np.random.default_rng(0).permutation(small.sample_ids).tolist()
    options = {"config": config, "resume": folder}
    result = fit_regressor(small.select(order), "gradient", **options)
    assert result.train_samples == whole.train_samples
    assert result.val_samples == whole.val_samples


def test_what_changed_is_said(small, finished, capsys):
    whole, folder = finished
    capsys.readouterr()
    fit_regressor(small, "gradient", resume=folder)
    message = capsys.readouterr().err
    assert "regression: resuming after step " in message and "changed" not in message
    config = whole.config.replace({"optim.lr": 0.25, "train.epochs": 3})
    fit_regressor(small, "gradient", config=config, resume=folder)
    message = capsys.readouterr().err
    assert f"regression: changed: optim.lr 0.25 (was {whole.config.optim.lr})" in message
    assert "train.epochs 3 (was 2)\n" in message


def test_what_has_no_effect_is_said_where_it_is_new(small, finished, capsys):
    whole, folder = finished
    given = presets.fitting("tiny").replace({path: whole.config.at(path) for path in paths()})
    assert given == whole.config and "train.val_fraction" in given.explicit
    for config, message in ((given, 0), (given.replace({"train.val_fraction": 0.4}), 1)):
        capsys.readouterr()
        fit_regressor(small, "gradient", config=config, resume=folder)
        line = "train.val_fraction has no effect: the split of the run stays"
        assert capsys.readouterr().err.count(line) == message


def test_another_rate_is_used(small, finished, tmp_path):
    whole, folder = finished
    changes = {"optim.lr": whole.config.optim.lr / 4, "train.epochs": 3}
    config = whole.config.replace({**changes, "optim.schedule": "constant"})
    fit_regressor(small, "gradient", config=config, output=tmp_path / "b", resume=folder)
    rates = [line["train/lr"] for line in logged(tmp_path / "b") if "train/lr" in line]
    assert rates[-4:] == [pytest.approx(whole.config.optim.lr / 4)] * 4
    assert rates[:8] == [line["train/lr"] for line in logged(folder) if "train/lr" in line]


# --- what cannot be gone on from -----------------------------------------------------------------


@pytest.fixture
def refused(finished, tmp_path):
    """A call that goes on from the finished run is refused in one line, and writes nothing."""

    def run(words, call):
        before = content(tmp_path)
        with pytest.raises(InputError, match=words) as caught:
            call(output=tmp_path / "b", resume=finished[1])
        assert "\n" not in str(caught.value)
        assert "that it was started with" in str(caught.value)
        assert content(tmp_path) == before

    return run


def pretrained(study, _, **options):
    return pretrain(study, **options)


REGRESSES = "of another run: it trains a regressor, and here it trains "
OTHERS = {
    "kind": (pretrained, {}, REGRESSES + "an encoder"),
    "task": (fit_classifier, {}, REGRESSES + "a classifier"),
    "frozen": (fit_regressor, {"freeze_encoder": True}, "is not frozen .*, and here .* is frozen"),
    "covariates": (fit_regressor, {"covariates": ["group"]}, "no .*, and here .* covariates group"),
}


@pytest.mark.parametrize("fit, options, words", OTHERS.values(), ids=OTHERS)
def test_another_run_is_refused(small, refused, fit, options, words):
    target = "group" if fit is fit_classifier else "gradient"
    refused(words, lambda **more: fit(small, target, **options, **more))


def test_another_target_is_refused(small, refused):
    values = small.metadata["gradient"].rename("other")
    words = "the target is .*'gradient'.*, and here .*'other'"
    refused(words, lambda **more: fit_regressor(small, values, **more))


def test_samples_that_can_no_longer_be_used_are_named(small, finished):
    whole, folder = finished
    config = whole.config.replace({"data.min_reads": int(np.sort(small.counts.sum(1).A1)[3])})
    words = "3 samples of the checkpoint's run are not .or no longer. usable here: S0"
    with pytest.raises(InputError, match=words):
        fit_regressor(small, "gradient", config=config, resume=folder)


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda folder: None, "is not a folder"),
        (lambda folder: folder.mkdir(), "holds no checkpoint but nothing"),
        (
            lambda folder: (folder / "checkpoint").mkdir(parents=True),
            "is of a run that ended before its first checkpoint: start it anew",
        ),
    ],
    ids=["nowhere", "empty", "too early"],
)
def test_a_folder_without_a_checkpoint(small, tmp_path, spoil, words):
    spoil(tmp_path / "a")
    with pytest.raises(InputError, match=words) as caught:
        fit_regressor(small, "gradient", output=tmp_path / "b", resume=tmp_path / "a")
    assert "\n" not in str(caught.value) and not (tmp_path / "b").exists()


def test_a_model_without_a_checkpoint(small, regressor, tmp_path):
    regressor.model.save(tmp_path / "a")
    with pytest.raises(InputError, match="a finished model and no checkpoint: to train it further"):
        fit_regressor(small, "gradient", resume=tmp_path / "a")


def test_another_network(small, finished):
    whole, folder = finished
    config = whole.config.replace({"model.sample.depth": 2})
    with pytest.raises(InputError, match="checkpoint is of another model; .* missing") as caught:
        fit_regressor(small, "gradient", config=config, resume=folder)
    assert "\n" not in str(caught.value)


# --- changed inputs ------------------------------------------------------------------------------


def doubled(study):
    return replace(study, counts=study.counts * 2)


def without_three(study):
    return study.select(study.sample_ids[3:])


def with_another_value(study):
    metadata = study.metadata.copy()
    metadata.loc["S001.01", "gradient"] = float(metadata["gradient"].astype(float).median())
    return replace(study, metadata=metadata)


EDITS = {
    "reads": (doubled, "reads of 60 of 60 samples changed .S001.01, "),
    "samples": (without_three, "3 samples are gone .S001.01, "),
    "target": (with_another_value, "values of the target of 1 of 60 samples changed .S001.01."),
}


@pytest.mark.parametrize("edit, words", EDITS.values(), ids=EDITS)
def test_changed_inputs_are_refused_unless_accepted(
    small, finished, refused, tmp_path, capsys, edit, words
):
    refused(words, lambda **more: fit_regressor(edit(small), "gradient", **more))
    whole, folder = finished
    config = whole.config.replace({"train.epochs": 3})
    options = {"config": config, "output": tmp_path / "b", "resume": folder}
    capsys.readouterr()
    result = fit_regressor(edit(small), "gradient", accept_changed_inputs=True, **options)
    (line,) = (it for it in capsys.readouterr().err.splitlines() if "which is accepted" in it)
    assert re.search(words, line)
    assert len(result.history) == 3 and result.history[:2] == whole.history
    assert result.target == whole.target  # what a standard deviation is stays
    assert set(result.train_samples) == set(whole.train_samples) & set(edit(small).sample_ids)
    # What was accepted is what the next one is compared with.
    fit_regressor(edit(small), "gradient", resume=tmp_path / "b")
    with pytest.raises(InputError, match="inputs changed"):
        fit_regressor(small, "gradient", resume=tmp_path / "b")


def test_another_group_or_split_is_refused(small, refused):
    for column in ("host_subject_id", "group"):
        options = {"group_by": column}
        words = f"samples are grouped by '{column}' .were not."
        refused(words, lambda o=options, **more: fit_regressor(small, "gradient", **o, **more))
    swapped = (small.sample_ids[:50], small.sample_ids[50:])
    words = "samples are elsewhere in the given split .S0"
    refused(words, lambda **more: fit_regressor(small, "gradient", split=swapped, **more))


def test_a_pretraining_compares_its_tree(small, brief, tmp_path):
    config = brief("pretraining", {"train.max_steps": 2})
    pretrain(small, config=config, output=tmp_path / "a")
    tree = replace(small.phylogeny, lengths=small.phylogeny.lengths * 2)
    with pytest.raises(InputError, match="was written: branches of the tree. Give"):
        pretrain(replace(small, phylogeny=tree), resume=tmp_path / "a")


def test_changed_sequences_of_a_corpus(made, brief, tmp_path):
    config, sequences = brief("pretraining", {"train.max_steps": 2}), list(made.sequences.values())
    pretrain_nucleotides(sequences, config=config, output=tmp_path / "a")
    sequences[0] = sequences[0][::-1]
    with pytest.raises(InputError, match="sequences of 1 of .* changed .sequence 1."):
        pretrain_nucleotides(sequences, resume=tmp_path / "a")
    pretrain_nucleotides(sequences, resume=tmp_path / "a", accept_changed_inputs=True)


def test_a_checkpoint_from_before_says_that_it_cannot_tell(small, finished, capsys):
    _, folder = finished
    last = checkpoint.find(folder)
    head = json.loads((last / "checkpoint.json").read_text())
    del head["inputs"]
    (last / "checkpoint.json").write_text(json.dumps(head))
    for name in ("inputs.safetensors", "manifest.json"):  # which it had not either
        (last / name).unlink()
    capsys.readouterr()
    fit_regressor(doubled(small), "gradient", resume=folder)
    message = capsys.readouterr().err
    assert message.count("was written before inputs were recorded: whether they changed") == 1


def test_changes_are_accepted_where_a_run_goes_on_alone(small):
    for call in (pretrained, fit_regressor):
        with pytest.raises(InputError, match="accept_changed_inputs needs resume"):
            call(small, "gradient", accept_changed_inputs=True)
