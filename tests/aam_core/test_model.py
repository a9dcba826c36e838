from __future__ import annotations

import dataclasses
import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import torch
from safetensors.torch import load_file, save_file

from aam_core import vocab
from aam_core.config import paths
from aam_core.data.folds import fold_numbers
from aam_core.data.known_asvs import KnownASVs
from aam_core.data.splits import Split
from aam_core.errors import InputError
from aam_core.files.folders import MANIFEST, write_manifest
from aam_core.fitting import fit_regressor
from aam_core.model import Model, load_model, validate
from aam_core.model_card import CARD
from aam_core.model_files import FILES, FORMAT_VERSION
from aam_core.models.network import Network, Parts
from aam_core.prediction import predict
from aam_core.tasks import Classification

KINDS = ("encoder", "regressor", "classifier")

FIELDS = {
    "data": (
        "rarefaction sampling_depth sampling_depth_max full_depth shallow_samples min_reads "
        "max_asvs asv_selection max_bp long_sequences"
    ),
    "model": "members",
    "model.encoder": (
        "features components profile_bases codes width heads depth stride kernel kmer mlp_ratio "
        "dropout"
    ),
    "model.sample": "heads depth mlp_ratio dropout pool_queries pool_prior asv_dropout",
    "model.head": (
        "distance distance_width target_hidden hidden_layers target_dropout layer_norm residual "
        "initialization output scale scale_by"
    ),
    "model.fusion": "kind heads latents layers",
    "masking": "mask_ratio strategy span_length asv_fraction count_ratio presence_ratio",
    "loss": (
        "nucleotide distance metric alpha zero_pair_weight target huber_delta label_smoothing "
        "class_weight transform target_weight target_weights normalize_by target_range quantiles "
        "over under residual_on sample_weight classes class_order count faith_pd taxonomy "
        "taxonomy_min_asvs columns presence halves halves_temperature"
    ),
    "optim": (
        "optimizer lr encoder_lr_ratio head_lr_ratio metadata_lr_ratio weight_decay beta1 beta2 "
        "schedule warmup cycles power plateau_factor plateau_patience clip ema"
    ),
    "forest": "trees",
    "ensemble": "interval passes calibration interval_by",
    "train": (
        "epochs min_steps studies_per_batch study_power max_steps batch_size "
        "max_asvs_per_batch max_memory_gb accumulate "
        "patience unfreeze_from best_metric best_direction val_fraction val_where strata seed "
        "device devices strategy max_restarts checkpoint_every precision compile "
        "gradient_checkpointing attention threads log_every trackers histograms"
    ),
    "figure": "units title format",
    "parts": (
        "nucleotide distance outputs sizes numbers scale_sizes link below above count faith_pd "
        "ranks unbounded columns presence halves"
    ),
}
"""All that config.json holds in format 5, by section."""


@pytest.fixture(params=KINDS)
def saved(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def copy(regressor, tmp_path):
    """A copy of a regressor's folder, to be spoiled."""
    shutil.copytree(regressor.folder, tmp_path / "model")
    return tmp_path / "model"


def edit(path, change):
    """Change a JSON file in place."""
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def nested(path, value):
    """A change: ``values[a][b] = value`` for the path 'a.b'."""

    def change(values):
        *parents, leaf = path.split(".")
        for name in parents:
            values = values[name]
        values[leaf] = value

    return change


# --- there and back ------------------------------------------------------------------------------


def test_a_model_comes_back_whole(saved):
    model, result = saved.model, load_model(saved.folder)
    for name in ("kind", "config", "target", "intervals", "sets", "covariates", "run", "metrics"):
        assert getattr(result, name) == getattr(model, name), name
    assert (result.train_samples, result.val_samples) == (model.train_samples, model.val_samples)
    assert result.network.parts == model.network.parts
    mine, theirs = model.network.state_dict(), result.network.state_dict()
    assert set(mine) == set(theirs)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert not result.network.training
    if model.val_predictions is not None:
        pd.testing.assert_frame_equal(result.val_predictions, model.val_predictions)


def test_what_it_knows_comes_back(saved, small):
    result = load_model(saved.folder).known.to_tensors()
    expected = KnownASVs.of_samples(small, saved.model.train_samples).to_tensors()
    for name, values in expected.items():
        np.testing.assert_array_equal(result[name], values)
        assert result[name].dtype == values.dtype


@pytest.mark.parametrize("name", ["regressor", "classifier"])
def test_a_model_with_a_forest_predicts_the_same(request, small, name):
    saved = request.getfixturevalue(name)
    model, result = saved.model, load_model(saved.folder)
    assert result.network_weight == model.network_weight
    assert result.forest.sequences == model.forest.sequences
    mine, theirs = model.forest.to_tensors(), result.forest.to_tensors()
    assert mine.keys() == theirs.keys()
    for key, values in mine.items():
        np.testing.assert_array_equal(values, theirs[key])
        assert values.dtype == theirs[key].dtype
    for weight in (model.network_weight, 0.3):
        same = [dataclasses.replace(one, network_weight=weight) for one in (model, result)]
        pd.testing.assert_frame_equal(*(predict(one, small) for one in same))


def test_the_best_so_far_has_no_forest_yet(regressor, small, tmp_path):
    """It is fitted once the network is trained; and what was saved till then can be opened."""
    best = load_model(regressor.folder / "checkpoint" / "best")
    assert best.forest is None and best.network_weight == 1
    alone = dataclasses.replace(regressor.model, forest=None, intervals=(), novelty=None)
    pd.testing.assert_frame_equal(predict(best, small), predict(alone, small))
    again = load_model(alone.save(tmp_path / "alone"))
    pd.testing.assert_frame_equal(predict(again, small), predict(alone, small))


def test_saved_again_is_the_same(saved, tmp_path):
    again = load_model(saved.folder).save(tmp_path / "again")
    for name in FILES:
        if (again / name).exists() and not name.endswith(".png"):
            assert (again / name).read_bytes() == (saved.folder / name).read_bytes(), name


def test_a_folder_holds_plain_data_only(saved):
    assert validate(saved.folder) == validate(saved.folder, "min") == saved.model.kind
    names = {item.name for item in saved.folder.iterdir()}
    assert names <= {*FILES, MANIFEST, CARD, "logs", "checkpoint"}
    assert {path.suffix for path in saved.folder.glob("checkpoint/**/*") if path.is_file()} <= {
        *(".json", ".safetensors", ".tsv", ".txt", ".md")
    }
    head = json.loads((saved.folder / "config.json").read_text())
    assert head["format"] == "aam" and head["format_version"] == FORMAT_VERSION
    assert head["vocabulary"] == list(vocab.TOKENS)
    assert ("targets.json" in names) == (saved.model.kind != "encoder")


def test_folders_of_earlier_formats_are_read(small, brief, tmp_path):
    """They lack the fields that came later, which take their defaults, and had one member."""
    changes = {"train.max_steps": 1, "train.val_fraction": 0.3}
    settings = {"config": brief("pretraining", changes), "covariates": ["group"]}
    fit_regressor(small, "gradient", **settings, output=tmp_path / "new")
    new = {
        4: ["model.encoder.codes"],
        3: ["model.members", "model.encoder.features", "model.encoder.components", "forest"]
        + ["model.sample.pool_prior", "data.full_depth"],
        2: ["optim.optimizer", "train.devices"],
    }
    for version in (1, 2, 3, 4):
        copy = tmp_path / f"format {version}"
        shutil.copytree(tmp_path / "new", copy)

        def older(values, version=version):
            values["format_version"] = version
            for path in (name for later in new if later > version for name in new[later]):
                *parents, leaf = path.split(".")
                section = values["config"]
                for name in parents:
                    section = section[name]
                del section[leaf]

        edit(copy / "config.json", older)
        weights = load_file(str(copy / "model.safetensors"))
        if version < 3:
            edit(copy / "targets.json", lambda values: values.pop("forest"))
            weights = {name.removeprefix("members.0."): value for name, value in weights.items()}
            assert {"target.out.weight", "fusion.norm.weight", "samples.pool.prior"} <= set(weights)
        save_file(weights, str(copy / "model.safetensors"))
        (copy / MANIFEST).unlink()
        assert validate(copy) == validate(copy, "min") == "regressor"
        pd.testing.assert_frame_equal(predict(copy, small), predict(tmp_path / "new", small))
        assert load_model(copy).config.optim.optimizer == "adamw"


def test_weights_may_be_given(regressor, tmp_path):
    """Those of the model stay as they are."""
    before = {k: v.clone() for k, v in regressor.model.network.state_dict().items()}
    given = {name: value + 1 for name, value in before.items()}
    result = load_model(regressor.model.save(tmp_path / "model", given)).network.state_dict()
    assert set(result) == set(given)
    assert all(torch.equal(result[name], given[name]) for name in given)
    now = regressor.model.network.state_dict()
    assert all(torch.equal(before[name], now[name]) for name in before)


def test_a_model_straight_from_memory(brief, tmp_path):
    """One that was never validated has neither metrics nor predictions."""
    config = brief()
    model = Model("classifier", config, Network(config.model, Parts(outputs=2)))
    model.target = Classification("ibd", ("NA", "no"))
    result = load_model(model.save(tmp_path / "new" / "model"))
    assert result.target == model.target
    assert result.metrics is None and result.val_predictions is None and result.intervals == ()
    assert result.train_samples == result.val_samples == result.val_folds == []


def test_the_split_of_a_fit_comes_back(copy, small):
    """As a table of folds, of which each member holds out one."""
    model = load_model(copy)
    split = fold_numbers(copy / "folds.tsv", small.sample_ids)
    assert split == Split(model.train_samples, model.val_samples, model.val_folds)
    assert set(split.folds) == {0, 1}


def test_classes_and_ids_that_look_like_something_else(classifier, tmp_path):
    model = load_model(classifier.folder)
    model.val_samples, model.val_folds = ["007", "NA", "1e5"], [0, 0, 1]
    model.val_predictions = pd.DataFrame(
        {"actual": ["1", "0", "NA"], "prediction": ["01", "None", "nan"], "0": [0.5, 0.25, 1.0]},
        index=pd.Index(model.val_samples, name="sample-id"),
    )
    result = load_model(model.save(tmp_path / "model"))
    assert result.val_samples == model.val_samples
    assert result.val_predictions.index.tolist() == model.val_samples
    for name in ("actual", "prediction"):
        assert result.val_predictions[name].tolist() == model.val_predictions[name].tolist()
    assert result.val_predictions["0"].tolist() == [0.5, 0.25, 1.0]


def test_saving_over_a_model_leaves_nothing_of_it(regressor, encoder, tmp_path):
    folder = regressor.model.save(tmp_path / "model")
    (folder / "notes.txt").write_text("mine")
    assert (folder / "forest.json").exists() and (folder / "forest.safetensors").exists()
    encoder.model.save(folder)
    assert not list(folder.glob("forest.*"))
    assert (folder / "notes.txt").read_text() == "mine"
    assert not (folder / "targets.json").exists()
    assert not (folder / "val_predictions.tsv").exists()
    assert load_model(folder).val_samples == encoder.model.val_samples


def test_a_folder_of_covariates(small, brief, tmp_path):
    config = brief("fitting", {"train.max_steps": 1})
    columns = ["sequencing_run", "group"]
    options = {"config": config, "covariates": columns, "output": tmp_path / "model"}
    model = fit_regressor(small, "gradient", **options)
    result = load_model(tmp_path / "model")
    assert result.covariates == model.covariates and result.covariates.names == columns
    assert result.network.parts == model.network.parts
    assert model.forest.covariates > 0
    pd.testing.assert_frame_equal(predict(result, small), predict(model, small))


def test_other_fields_mean_another_format():
    expected = {f"{head}.{name}" for head, names in FIELDS.items() for name in names.split()}
    result = {*paths(), *(f"parts.{item.name}" for item in dataclasses.fields(Parts))}
    assert FORMAT_VERSION == 6 and result == expected, (
        f"New: {sorted(result - expected)}; gone: {sorted(expected - result)}. Other fields in "
        "config.json need a higher FORMAT_VERSION (aam_core/model.py); then renew FIELDS here."
    )


# --- folders that cannot be trusted --------------------------------------------------------------


def refused(folder, words):
    """Both ways of opening refuse in one line, be the manifest ever so right."""
    if (folder / MANIFEST).exists():
        write_manifest(folder, FILES)
    for open_ in (load_model, validate):
        with pytest.raises(InputError, match=words) as caught:
            open_(folder)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "path, value, words",
    [
        ("format", "other", "not that of an AAM model"),
        (
            "format_version",
            FORMAT_VERSION + 1,
            "has format 7, newer than this AAM reads .6.: upgrade AAM",
        ),
        ("format_version", "1", "no valid format_version"),
        ("format_version", None, "no valid format_version"),
        ("kind", "oracle", "kind 'oracle'; it must be one of encoder, regressor, classifier"),
        ("kind", "classifier", "targets.json does not belong to this model: it is of a regressor"),
        ("vocabulary", ["PAD", "START", "A"], "another vocabulary.*would be misread"),
        ("vocabulary", None, "another vocabulary"),
        ("parts", None, "unreadable parts"),
        ("parts.outputs", -1, "unreadable parts"),
        ("parts.outputs", 3, "targets.json does not belong to this model"),
        ("parts.nucleotide", True, "tensors are missing .nucleotide"),
        ("config", None, "config.json: the top level must be a mapping"),
        ("config.train.epoch", 3, "config.json: There is no setting 'train.epoch'"),
        ("config.model.encoder.width", 40, "does not fit its config.json: .* of another shape"),
        ("config.model.encoder.features", "both", r"tensors are missing \(bases"),
        ("config.model.sample.depth", 3, r"tensors are missing \(members.0.samples.blocks.*"),
        ("config.model.members", 1, r"tensors are unexpected \(member_weight, members.1"),
        ("config.model.members", 3, r"tensors are missing \(members.2.project.bias"),
    ],
)
def test_an_edited_config(copy, path, value, words):
    edit(copy / "config.json", nested(path, value))
    refused(copy, words)


@pytest.mark.parametrize(
    "path, value, words",
    [
        ("target", None, "not a target that AAM saved"),
        ("target.std", 0.0, "not a target that AAM saved"),
        ("target.std", "one", "not a target that AAM saved"),
        ("target", {"kind": "classification", "name": "x", "classes": ["a", "b"]}, "belong"),
        ("interval", {"coverage": 0.9}, "unreadable interval"),
        ("interval.half_width", -1.0, "unreadable interval"),
        ("interval.half_width", "wide", "unreadable interval"),
        ("more", 1, "was edited"),
        ("covariates", {"categorical": [["run", ["a"]]], "numeric": []}, "covariates differ"),
        ("covariates", {"categorical": 3}, "not covariates that AAM saved"),
        ("forest", 1, "was edited: its forest is 1"),
    ],
)
def test_edited_targets(copy, path, value, words):
    edit(copy / "targets.json", nested(path, value))
    refused(copy, words)


@pytest.mark.parametrize("name", ["config.json", "targets.json", "model.safetensors"])
@pytest.mark.parametrize("level", ["min", "max"])
def test_missing_and_truncated_files(copy, name, level):
    whole = (copy / name).read_bytes()
    for content in (whole[: len(whole) // 2], whole[:5], b"", b"\xff\xfe\x00" * 30):
        (copy / name).write_bytes(content)
        refused(copy, f"{name} is truncated or not")
        with pytest.raises(InputError, match=name):
            validate(copy, level)
    (copy / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        load_model(copy)
    refused(copy, f"{name} is missing")


def test_a_key_that_is_gone(copy):
    for name in ("forest", "interval"):
        edit(copy / "targets.json", lambda values, name=name: values.pop(name))
        refused(copy, "must hold target, interval, covariates and forest")


@pytest.mark.parametrize(
    "path, value, words",
    [
        ("network_weight", 1.5, "network_weight 1.5; it must be from 0 to 1"),
        ("network_weight", -0.1, "network_weight -0.1; it must be"),
        ("network_weight", float("nan"), "NaN is not a number"),
        ("network_weight", "all", "network_weight 'all'; it must be"),
        ("network_weight", None, "network_weight None; it must be"),
        ("covariates", "two", "was edited"),
        ("covariates", -1, "damaged: -1 is no number of inputs"),
        ("covariates", 5, "(does not belong to this model|do not fit its inputs)"),
        ("sequences", "ACGT", "was edited"),
        ("sequences", [1, 2], "was edited"),
        ("sequences", ["acgt"], "damaged: its sequences are no list of upper-case DNA"),
        ("sequences", ["ACGT", "ACGT"], "damaged: a sequence occurs twice"),
        ("sequences", [], "damaged: it reads inputs that there are not"),
        ("more", 1, "was edited"),
    ],
)
def test_an_edited_forest(copy, path, value, words):
    edit(copy / "forest.json", nested(path, value))
    refused(copy, f"forest.*{words}")


@pytest.mark.parametrize("name", ["forest.json", "forest.safetensors"])
def test_a_forest_that_is_missing_or_truncated(copy, name):
    whole = (copy / name).read_bytes()
    for content in (whole[: len(whole) // 2], whole[:5], b"", b"\xff\xfe\x00" * 30, b"[1]", b"{}"):
        (copy / name).write_bytes(content)
        refused(copy, name)
    (copy / name).unlink()
    refused(copy, f"{name} is missing")


@pytest.mark.parametrize(
    "name, change, words",
    [
        ("value", lambda x: x[:-1], "its arrays differ in length"),
        ("value", lambda x: x * np.float32("nan"), "value has values that are not finite"),
        ("value", lambda x: x.astype(np.float64), "value must be float32 of 2 dimensions"),
        ("left", lambda x: np.where(x >= 0, 0, x).astype(x.dtype), "a child does not come"),
        ("feature", lambda x: x + 10_000, "it reads inputs that there are not"),
        ("roots", lambda x: x[::-1].copy(), "its roots are no nodes in order"),
        ("units", lambda x: x * 0, "its values or their units are missing"),
        ("more", None, "its arrays are"),
    ],
)
def test_edited_trees(copy, name, change, words):
    path = str(copy / "forest.safetensors")
    arrays = safetensors.numpy.load_file(path)
    arrays[name] = np.zeros(3) if change is None else change(arrays[name])
    safetensors.numpy.save_file(arrays, path)
    refused(copy, f"forest.safetensors: The forest of this model is damaged: {words}")


def test_what_it_knows_truncated_edited_or_missing(copy):
    path = copy / "known.safetensors"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:5], b"", b"{}" * 20):
        path.write_bytes(content)
        refused(copy, "known.safetensors")
    arrays = safetensors.numpy.load(whole)
    arrays["kmers"] = arrays["kmers"][::-1].copy()
    safetensors.numpy.save_file(arrays, str(path))
    refused(copy, "known.safetensors: What this model knows of its ASVs is damaged: kmers are not")


def test_a_forest_of_another_model(copy, classifier, small, brief, tmp_path):
    words = "forest.safetensors does not belong to this model: its outputs or covariates differ"
    settings = {"config": brief("fitting", {"train.max_steps": 1}), "covariates": ["group"]}
    fit_regressor(small, "gradient", **settings, output=tmp_path / "more")
    for other in (classifier.folder, tmp_path / "more"):
        for name in ("forest.json", "forest.safetensors"):
            shutil.copy(other / name, copy / name)
        refused(copy, words)


def test_predictions_edited_into_words(copy):
    path = copy / "val_predictions.tsv"
    path.write_text("sample-id\tactual\tprediction\na\t1.0\tmany\n")
    refused(copy, "val_predictions.tsv cannot be read: .*many")


@pytest.mark.parametrize(
    "name",
    ["run.json", "metrics.json", "val_predictions.tsv", "train_samples.txt", "history.tsv"],
)
def test_what_people_read_must_be_readable_too(copy, name):
    """And whoever opens the folder hears the same, be it to predict or to validate."""
    (copy / name).write_bytes(b'{"a": \xff\xfe\t\t"')
    refused(copy, name)
    if name.endswith(".json"):
        with pytest.raises(InputError, match=f"{name} is truncated or not JSON"):
            validate(copy, "min")
    else:
        assert validate(copy, "min") == "regressor"


def test_one_flipped_bit(copy):
    """Of any file but a picture; whatever of it were read, and however it is opened."""
    listed = json.loads((copy / MANIFEST).read_text())["files"]
    there = {path.name for path in copy.iterdir() if path.is_file()} - {MANIFEST}
    assert set(listed) == {name for name in there if not name.endswith((".png", ".md"))}
    for name in listed:
        sound = (copy / name).read_bytes()
        spoiled = bytearray(sound)
        spoiled[len(spoiled) * 2 // 3] ^= 1
        (copy / name).write_bytes(spoiled)
        for open_ in (load_model, validate, lambda folder: validate(folder, "min")):
            with pytest.raises(InputError, match=name) as caught:
                open_(copy)
            assert "\n" not in str(caught.value)
        (copy / name).write_bytes(sound)
    assert validate(copy) == "regressor"


def test_files_of_another_model_are_not_taken(copy, encoder, regressor):
    """Neither in place of the model's own, nor beside them."""
    for name in ("run.json", "metrics.json", "train_samples.txt"):
        shutil.copy(encoder.folder / name, copy / name)
        with pytest.raises(InputError, match=f"{name} is truncated or not what was saved"):
            load_model(copy)
        shutil.copy(regressor.folder / name, copy / name)
    alone = copy.parent / "alone"
    dataclasses.replace(regressor.model, forest=None).save(alone)
    shutil.copy(copy / "forest.json", alone / "forest.json")
    with pytest.raises(InputError, match="1 files that manifest.json does not list.*forest.json"):
        load_model(alone)


def test_a_manifest_that_is_gone(copy):
    (copy / MANIFEST).unlink()
    for open_ in (load_model, validate):
        with pytest.raises(InputError, match="manifest.json is missing"):
            open_(copy)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite(regressor, copy, value):
    """They are refused on saving, which leaves what was there, and on opening."""
    model = regressor.model
    arrays = model.forest.to_tensors()
    weights = {k: v.clone() for k, v in model.network.state_dict().items()}
    name = "members.0.target.out.weight"
    weights[name].view(-1)[0] = value
    forest = dataclasses.replace(
        model.forest, arrays={**arrays, "value": arrays["value"] * 0 + value}
    )
    bad = {
        f"1 of its {len(weights)} tensors.*{name}": {},
        "targets.json cannot.* interval.half_width": {
            "intervals": (dataclasses.replace(model.intervals[0], half_width=value),)
        },
        "value has values that are not finite": {"forest": forest},
        "targets.json cannot.* target.mean": {
            "target": dataclasses.replace(model.target, mean=value)
        },
        "forest.json cannot hold them: network_weight": {"network_weight": value},
    }
    for words, changes in bad.items():
        spoiled = dataclasses.replace(model, **changes)
        with pytest.raises(InputError, match=words):
            spoiled.save(copy, None if changes else weights)
        assert load_model(copy).intervals == model.intervals
    save_file(weights, str(copy / "model.safetensors"))
    refused(copy, f"1 of its {len(weights)} tensors have values that are not finite .{name}")


@pytest.mark.parametrize("path", ["interval.half_width", "target.mean", "target.std"])
def test_infinite_numbers_of_a_target(copy, path):
    edit(copy / "targets.json", nested(path, float("inf")))
    refused(copy, "not JSON: Infinity is not a number")


def test_what_people_read_may_be_gone(copy):
    sides = ("train_samples.txt", "val_samples.txt", "folds.tsv")
    for name in ("metrics.json", "val_predictions.tsv", "history.tsv", *sides):
        (copy / name).unlink()
    assert validate(copy) == "regressor"
    result = load_model(copy)
    assert result.metrics is None and result.val_predictions is None and result.history == []
    assert result.train_samples == result.val_samples == []


def test_the_course_of_the_training_comes_back(copy, regressor, encoder):
    for model, folder in ((regressor.model, copy), (encoder.model, encoder.folder)):
        assert model.history and load_model(folder).history == model.history
    table = copy / "history.tsv"
    for content in (table.read_text().replace("epoch", "age", 1), "epoch\tstep\n1\tmany\n", ""):
        table.write_text(content)
        write_manifest(copy, FILES)
        refused(copy, "history.tsv cannot be read: .*: the model opens without it")


def test_records_of_the_split_that_do_not_fit_each_other(copy):
    whole = load_model(copy)
    folds, samples = copy / "folds.tsv", copy / "val_samples.txt"
    rows = folds.read_text().splitlines(keepends=True)
    # In another order they still tell each sample's fold.
    folds.write_text("".join([rows[0], *reversed(rows[1:])]))
    write_manifest(copy, FILES)
    assert load_model(copy).val_folds == whole.val_folds
    folds.write_text("".join(rows[:-1]))
    refused(copy, "folds.tsv was damaged .* no fold for 1 of ")
    folds.write_text("".join([*rows, rows[-1].replace("\t1\t", "\t2\t")]))
    refused(copy, "folds.tsv tests .* in some repeats")
    folds.write_text("".join(rows))
    samples.write_text("".join(f"{name}\n" for name in whole.val_samples[1:]))
    refused(copy, "folds.tsv has 1 samples that are not in the study .* opens without it")
    samples.unlink()
    write_manifest(copy, FILES)
    again = load_model(copy)
    assert again.val_folds == again.val_samples == []
    again.save(copy)
    assert validate(copy) == "regressor"


def test_weights_of_another_model(copy, encoder):
    shutil.copy(encoder.folder / "model.safetensors", copy / "model.safetensors")
    refused(copy, "does not fit its config.json: .* The folder was edited or mixed")
    assert validate(copy, "min") == "regressor"  # the header alone is sound


def test_weights_with_more_and_with_less(copy):
    path = copy / "model.safetensors"
    weights = load_file(str(path))
    save_file({**weights, "extra": torch.zeros(1)}, str(path))
    refused(copy, r"1 tensors are unexpected \(extra\)")
    gone = sorted(weights)[0]
    save_file({name: weights[name] for name in weights if name != gone}, str(path))
    refused(copy, rf"1 tensors are missing \({gone}\)")


def test_no_model_at_all(tmp_path):
    refused(tmp_path / "nowhere", "There is no model folder")
    refused(tmp_path, "config.json is missing")
    (tmp_path / "file").write_text("{}")
    refused(tmp_path / "file", "There is no model folder")


def test_a_pickle_is_not_opened(copy):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a saved model ran code",))

    torch.save({"bases": Trap()}, copy / "model.safetensors")
    refused(copy, "not a safetensors file")


# --- what nobody vouches for -----------------------------------------------------------------


def before_manifests(folder):
    """As format 4 had it."""
    (folder / MANIFEST).unlink(missing_ok=True)
    edit(folder / "config.json", lambda head: head.update(format_version=4))


@pytest.mark.parametrize(
    "path, value, words",
    [
        ("model.encoder.width", 10**9, "model.encoder.width must be at most 8192, not 1000000000"),
        ("model.sample.depth", 10**9, "model.sample.depth must be at most 256"),
        ("model.members", 1000, "more blocks and members than there are tensors"),
        ("model.sample.depth", 256, "more blocks and members than there are tensors"),
        ("model.encoder.width", 8192, "does not fit its config.json"),
        ("forest.trees", 10**400, "forest.trees must be at most 100000"),
        ("optim.lr", 10**400, "optim.lr must be a number"),
    ],
)
def test_absurd_sizes_are_refused_before_anything_is_built(copy, path, value, words):
    before_manifests(copy)
    edit(copy / "config.json", nested(f"config.{path}", value))
    refused(copy, words)


@pytest.mark.parametrize("sizes", [[10**12], [2, 3]])
def test_absurd_parts_are_refused(copy, sizes):
    before_manifests(copy)
    edit(copy / "config.json", nested("parts.sizes", sizes))
    refused(copy, "targets.json does not belong to this model: its covariates differ")


@pytest.mark.parametrize("name", ["model.safetensors", "forest.safetensors", "run.json"])
def test_files_that_are_no_files(copy, tmp_path, name):
    before_manifests(copy)
    path = copy / name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    refused(copy, f"{name} is a link that leads out of its folder")
    path.unlink()
    os.mkfifo(path)
    refused(copy, f"{name} is not a regular file")
    path.unlink()
    (tmp_path / "elsewhere").rename(path)
    os.truncate(path, 2**43)
    refused(copy, f"{name} would expand from")


def test_a_manifest_is_not_led_out_nor_made_to_wait(copy, tmp_path):
    (copy / "run.json").rename(tmp_path / "run.json")
    (copy / "run.json").symlink_to(tmp_path / "run.json")
    with pytest.raises(InputError, match="run.json is a link that leads out"):
        load_model(copy)
    (copy / "run.json").unlink()
    os.mkfifo(copy / "run.json")
    with pytest.raises(InputError, match="run.json is not a regular file"):
        load_model(copy)
    (copy / "run.json").unlink()
    (tmp_path / "run.json").rename(copy / "run.json")
    (copy / "forest.safetensors").open("r+b").truncate(2**43)
    with pytest.raises(InputError, match="forest.safetensors would expand from"):
        load_model(copy)
    (copy / MANIFEST).unlink()
    os.mkfifo(copy / MANIFEST)
    with pytest.raises(InputError, match="manifest.json is not a regular file"):
        load_model(copy)


def test_a_model_shows_itself_in_a_few_lines(regressor, classifier, encoder):
    for saved, words in ((regressor, "gradient"), (classifier, "group (2 classes)")):
        text = repr(saved.model)
        assert len(text) < 1000 and words in text and "forest of 10 trees" in text
        r2 = saved.model.metrics["model"].get("r2", saved.model.metrics["model"].get("auc"))
        assert f"{r2:.4g}" in text
    assert "Model: encoder" in repr(encoder.model) and "held-out distances" in repr(encoder.model)
    target = dataclasses.replace(regressor.model.target, column="<b>age</b>")
    html = dataclasses.replace(regressor.model, target=target)._repr_html_()
    assert html.startswith("<table>") and "&lt;b&gt;age" in html and "<b>" not in html
