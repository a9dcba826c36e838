"""Bad input that reaches the workflows: one clear line, nothing written, nothing trained.

What the readers refuse is tested beside them (tests/aam_core/data), what cannot be cross-validated
in test_crossval.py, and folders that cannot be opened in test_artifact.py.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from aam_core.data.splits import Split
from aam_core.errors import InputError
from aam_core.files.folders import write_manifest
from aam_core.fitting import fit_classifier, fit_regressor
from aam_core.prediction import predict
from aam_core.pretraining import pretrain, pretrain_nucleotides


@pytest.fixture
def refused(tmp_path, capsys):
    """Check that a call with ``output=`` is refused in one line, before any work; returns it."""

    def run(function, *args, words, **options):
        capsys.readouterr()
        with pytest.raises(InputError, match=words) as caught:
            function(*args, output=tmp_path / "out", **options)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()
        assert "epoch" not in capsys.readouterr().err
        return str(caught.value)

    return run


@pytest.fixture
def config(brief):
    return brief("fitting", {"train.max_steps": 1})


@pytest.fixture
def values(small):
    """The gradient, by sample id, to be spoiled."""
    return small.metadata["gradient"].copy()


# --- targets -------------------------------------------------------------------------------------


def test_a_blank_target_names_the_rows(refused, small, config, values):
    values[["S002.01", "S009.03"]] = np.nan
    words = "'gradient' is blank for 2 of 60 samples: S002.01, S009.03"
    refused(fit_regressor, small, values, config=config, words=words)
    classes = small.metadata["group"].copy()
    classes["S004.02"] = " "
    words = "'group' is blank for 1 of 60 samples: S004.02"
    refused(fit_classifier, small, classes, config=config, words=words)


def test_values_for_some_of_the_samples_only(refused, small, config, values):
    words = "blank for 57 of 60 samples: S001.04, S002.01, S002.02, S002.03, S002.04 and 52 more"
    refused(fit_regressor, small, values[:3], config=config, words=words)


def test_a_target_that_is_not_a_number_names_the_rows(refused, small, config, values):
    values = values.astype(object)
    values["S003.02"] = "old"
    words = r"'gradient' has 1 values that are not numbers: S003.02 \('old'\)"
    refused(fit_regressor, small, values, config=config, words=words)
    values["S003.02"] = np.inf
    words = r"'gradient' has 1 infinite values: S003.02"
    refused(fit_regressor, small, values, config=config, words=words)
    words = "'group' is text .'case', 'control'.* use fit-classifier"
    refused(fit_regressor, small, "group", config=config, words=words)


def test_one_value_or_one_class(refused, small, config, values):
    values.iloc[:] = 7.0
    words = "one value only .7. in .* nothing to learn"
    refused(fit_regressor, small, values, config=config, words=words)
    words = "one class only .'7'. in .* nothing to learn"
    refused(fit_classifier, small, values, config=config, words=words)


def test_one_value_on_the_training_side(refused, small, config, values):
    values.iloc[:30] = 7.0
    split = (small.sample_ids[:30], small.sample_ids[30:])
    words = "one value only .7. in 30 training samples"
    refused(fit_regressor, small, values, split=split, config=config, words=words)
    classes = pd.Series(["a"] * 30 + ["b"] * 30, small.sample_ids)
    words = "one class only .'a'. in 30 training samples"
    refused(fit_classifier, small, classes, split=split, config=config, words=words)


def test_a_class_of_one_sample(refused, small, config):
    classes = pd.Series(["common"] * 59 + ["rare"], small.sample_ids)
    words = "1 classes are found in one sample only.*: rare"
    for members in (1, 2):
        config = config.replace({"model.members": members})
        refused(fit_classifier, small, classes, config=config, words=words)


def test_a_wrong_column_suggests_the_nearest(refused, small, config):
    words = "'gradiant'.*'gradient'"
    refused(fit_regressor, small, "gradiant", config=config, words=words)
    words = "'host_subject'.*'host_subject_id'"
    refused(fit_regressor, small, "gradient", group_by="host_subject", config=config, words=words)
    options = {"covariates": ["sequencing"], "config": config}
    refused(fit_regressor, small, "gradient", words="'sequencing'.*'sequencing_run'", **options)


def test_no_metadata_at_all(refused, small, config):
    bare = replace(small, metadata=None)
    words = "no metadata to take the column 'gradient' from"
    refused(fit_regressor, bare, "gradient", config=config, words=words)


def test_classes_called_like_columns_of_the_predictions(refused, small, config):
    classes = pd.Series(["actual", "prediction", "other"] * 20, small.sample_ids)
    words = "classes that are columns of the predictions: actual, prediction. Give them other names"
    refused(fit_classifier, small, classes, config=config, words=words)


# --- splits --------------------------------------------------------------------------------------


def test_a_sample_on_both_sides_of_a_fixed_split(refused, small, config):
    ids = small.sample_ids
    words = f"2 samples are on both sides of the split: {ids[20]}, {ids[21]}"
    split = (ids[:22], ids[20:])
    refused(fit_regressor, small, "gradient", split=split, config=config, words=words)


@pytest.mark.parametrize(
    "split, words",
    [
        (([], ["S001.01"]), "The training side of the split is empty"),
        ((["S001.01"], []), "The validation side of the split is empty"),
        ((["S001.01", "who"], ["S002.01"]), "1 samples of the training side are not in .*: who"),
    ],
)
def test_a_fixed_split_that_does_not_fit(refused, small, config, split, words):
    refused(fit_regressor, small, "gradient", split=split, config=config, words=words)


def test_a_fixed_split_among_members_that_does_not_fit(refused, small, config):
    ids = small.sample_ids
    for split, words in (
        (Split(ids, ["who"], [0]), "1 samples of the validation side are not in .*: who"),
        (
            Split(ids, ids[:4], [0, 1, 2, 3]),
            f"2 samples .* no member holds out: {ids[2]}, {ids[3]}. ",
        ),
        (Split(ids, ids[:4], [0, 1]), "4 samples to validate on, and 2 folds"),
        (Split([], ids[:4], [0, 1, 0, 1]), "The training side of the split is empty"),
    ):
        refused(fit_regressor, small, "gradient", split=split, config=config, words=words)


@pytest.mark.parametrize("make", [tuple, lambda sides: Split.holdout(*sides)])
def test_a_fixed_split_whose_validation_samples_have_too_few_reads(refused, small, config, make):
    reads = np.asarray(small.counts.sum(1)).ravel()
    order = [small.sample_ids[i] for i in np.argsort(reads, kind="stable")]
    config = config.replace({"data.min_reads": int(np.sort(reads)[2]) + 1})
    words = "The validation side of the split is empty: none of its 3 samples has enough reads"
    split = make((order[3:], order[:3]))
    refused(fit_regressor, small, "gradient", split=split, config=config, words=words)


def test_fewer_samples_or_groups_than_sides(refused, small, config, brief):
    ids = small.sample_ids
    for study, options in (
        (small.select(ids[:1]), {}),
        (small.select(ids[:4]), {"group_by": "host_subject_id"}),
    ):
        words = "one value only|leaves one side empty|All 4 samples are of one group"
        refused(fit_regressor, study, "gradient", config=config, words=words, **options)
        refused(pretrain, study, config=brief("pretraining"), words=words, **options)


def test_a_blank_group_names_the_rows(refused, small, config):
    groups = small.metadata["host_subject_id"].copy()
    groups["S005.01"] = None
    words = "group .column 'host_subject_id'. is blank for 1 of 60 samples: S005.01"
    refused(fit_regressor, small, "gradient", group_by=groups, config=config, words=words)


# --- tables --------------------------------------------------------------------------------------


def test_no_sample_is_deep_enough(refused, small, config, brief):
    deepest = int(small.counts.sum(1).max())
    changes = {"data.rarefaction": "redraw", "data.sampling_depth": 10**6}
    changes["data.shallow_samples"] = "drop"
    words = f"All 60 samples have fewer than 1000000 reads .the deepest has {deepest}.: lower"
    refused(fit_regressor, small, "gradient", config=config.replace(changes), words=words)
    refused(pretrain, small, config=brief("pretraining", changes), words=words)


def test_sequences_longer_than_accepted(refused, small, config):
    words = "60 of 60 sequences are longer than data.max_bp = 20 bases"
    config = config.replace({"data.max_bp": 20})
    refused(fit_regressor, small, "gradient", config=config, words=words)


def test_a_metric_that_needs_a_tree(refused, small, brief):
    bare = replace(small, phylogeny=None)
    words = "metric unweighted needs a phylogeny: give a tree"
    config = brief("pretraining", {"loss.metric": "unweighted"})
    refused(pretrain, bare, config=config, words=words)


def test_nothing_to_pretrain(refused, small, brief):
    config = brief("pretraining", {"loss.nucleotide": 0.0, "loss.distance": 0.0})
    refused(pretrain, small, config=config, words="All losses have weight 0")


def test_too_few_sequences(refused, brief, tmp_path):
    words = "1 distinct sequences; give at least 2"
    refused(pretrain_nucleotides, ["ACGT", "acgt"], config=brief("pretraining"), words=words)
    words = "no file .*nowhere.fasta"
    refused(pretrain_nucleotides, tmp_path / "nowhere.fasta", words=words)


# --- encoders ------------------------------------------------------------------------------------


@pytest.fixture
def spoiled(encoder, tmp_path):
    """A copy of an encoder's folder with a changed config.json."""

    def make(**changes):
        folder = shutil.copytree(encoder.folder, tmp_path / "encoder")
        head = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**head, **changes}))
        write_manifest(folder)
        return folder

    return make


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"vocabulary": ["PAD", "START", "MASK", "A", "C", "G", "U", "N"]}, "another vocabulary"),
        ({"format_version": 9}, "format 9, newer than this AAM reads"),
        ({"config": {"train": {"epochz": 3}}}, "'train.epochz'"),
    ],
)
def test_an_encoder_that_cannot_be_used(refused, small, config, spoiled, changes, words):
    folder = spoiled(**changes)
    refused(fit_regressor, small, "gradient", encoder=folder, config=config, words=words)
    refused(pretrain, small, encoder=folder, words=words)


def test_an_encoder_that_is_truncated_or_absent(refused, small, config, spoiled, tmp_path):
    path = spoiled() / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    options = {"encoder": path.parent, "config": config}
    refused(fit_regressor, small, "gradient", words="is truncated", **options)
    options["encoder"] = tmp_path / "nowhere"
    refused(fit_regressor, small, "gradient", words="There is no model folder", **options)


def test_freezing_what_was_not_pretrained(refused, small, config):
    options = {"freeze_encoder": True, "config": config}
    refused(fit_regressor, small, "gradient", words="needs a pretrained encoder", **options)


# --- surroundings --------------------------------------------------------------------------------


def test_a_device_that_is_not_there(refused, small, config, brief):
    words = "The device 'toaster' is not there"
    config = config.replace({"train.device": "toaster"})
    refused(fit_regressor, small, "gradient", config=config, words=words)
    config = brief("pretraining", {"train.device": "toaster"})
    refused(pretrain, small, config=config, words=words)


def test_an_output_that_is_a_file(small, config, tmp_path, capsys):
    (tmp_path / "taken").write_text("mine")
    for output in (tmp_path / "taken", tmp_path / "taken" / "model"):
        with pytest.raises(InputError, match="taken is a file; give the name of a folder"):
            fit_regressor(small, "gradient", config=config, output=output)
    assert (tmp_path / "taken").read_text() == "mine"
    assert "epoch" not in capsys.readouterr().err


def test_predicting_from_what_is_no_table(regressor, tmp_path):
    (tmp_path / "table.biom").write_text("sample\treads\n")
    with pytest.raises(InputError, match="table.biom") as caught:
        predict(regressor.folder, tmp_path / "table.biom")
    assert "\n" not in str(caught.value)


def test_samples_without_reads_are_left_out_of_a_prediction(regressor, small, made):
    counts = small.counts.toarray()
    counts[3] = 0
    frame = pd.DataFrame(counts, index=small.sample_ids, columns=small.feature_ids)
    result = predict(regressor.model, frame, sequences=made.sequences)
    assert result.index.tolist() == small.sample_ids[:3] + small.sample_ids[4:]
    with pytest.raises(InputError, match="reads"):
        predict(regressor.model, frame * 0, sequences=made.sequences)


# --- distances, sequences, encoders --------------------------------------------------------------


def test_given_distances_must_lie_between_0_and_1(refused, small, brief):
    size = len(small.sample_ids)
    far = replace(small, distances=np.full((size, size), 7.0, np.float32))
    words = r"reach 7; .* in \[0, 1\]"
    refused(pretrain, far, config=brief("pretraining"), words=words)


def test_a_study_without_sequences(refused, small, config, regressor):
    bare = replace(small, sequences=None)
    words = "loaded without sequences"
    refused(fit_regressor, bare, "gradient", config=config, words=words)
    with pytest.raises(InputError, match=words):
        predict(regressor.model, bare)


def test_nothing_to_mask(refused, small, brief):
    config = brief("pretraining", {"masking.mask_ratio": 0.0})
    refused(pretrain, small, config=config, words="mask_ratio is 0")


# --- objects of Python ---------------------------------------------------------------------------


@pytest.mark.parametrize("turn", [np.asarray, list, tuple, pd.Series.to_frame, pd.Series.to_dict])
def test_values_without_sample_ids(refused, small, config, values, turn):
    words = "target must be the name of a metadata column, or a pandas Series of values by sample"
    refused(fit_regressor, small, turn(values), config=config, words=words)
    words = "group_by must be the name of a metadata column, or a pandas Series"
    refused(fit_regressor, small, values, group_by=turn(values), config=config, words=words)
    refused(pretrain, small, group_by=turn(values), config="tiny", words=words)


def test_an_id_twice_in_a_series(refused, small, config, values):
    twice = pd.concat([values, values.iloc[[3]]])
    name = values.index[3]
    words = rf"Series given as target: 1 sample ids occur more than once \({name}\)"
    refused(fit_regressor, small, twice, config=config, words=words)
    words = rf"Series given as group_by: 1 sample ids occur more than once \({name}\)"
    refused(fit_regressor, small, values, group_by=twice, config=config, words=words)


def test_a_series_of_other_samples(refused, small, config, values):
    words = "No sample of the study is in the series given as target"
    refused(fit_regressor, small, values.rename(lambda n: n + "x"), config=config, words=words)
    numbered = values.reset_index(drop=True)
    refused(fit_regressor, small, numbered, config=config, words="60 sample ids are not text")


def test_a_covariate_by_its_name_alone(refused, small, config):
    words = "'gradient' cannot be a covariate"
    refused(fit_regressor, small, "gradient", covariates="gradient", config=config, words=words)
    words = "no metadata column 'grup'; did you mean 'group'"
    refused(fit_regressor, small, "gradient", covariates="grup", config=config, words=words)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"config": "teeny"}, "neither a preset"),
        ({"config": {"train.epoch": 1}}, "did you mean 'train.epochs'"),
        ({"epoch": 1}, "no keyword 'epoch'; did you mean 'epochs'"),
        ({"preset": "tiny", "config": "base"}, "name one preset"),
    ],
)
def test_settings_that_are_none(refused, small, settings, words):
    refused(fit_regressor, small, "gradient", words=words, **settings)


@pytest.mark.parametrize("split", ["ab", ("a",), (["a"], ["b"], ["c"]), {"train": []}])
def test_a_split_that_is_no_pair(refused, small, config, split):
    words = r"A split must be a Split, or the pair \(train_ids, val_ids\)"
    refused(fit_regressor, small, "gradient", split=split, config=config, words=words)
