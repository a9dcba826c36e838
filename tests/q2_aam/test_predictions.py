"""Predictions have q2-sample-classifier's types, with that plugin or without it."""

from __future__ import annotations

import os
import subprocess
import sys

import pandas as pd
import pytest
import qiime2
from qiime2.plugin import ValidationError
from qiime2.sdk import PluginManager

from q2_aam import _predictions, _predictions_owned
from q2_aam._predictions import (
    PredictionsFormat,
    ProbabilitiesFormat,
    as_numbers,
    read_predictions,
    read_probabilities,
    write_table,
)

needs_sample_classifier = pytest.mark.skipif(
    _predictions.OWNED, reason="q2-sample-classifier is not installed"
)


@pytest.fixture
def numbers():
    return pd.Series(
        [1.5, 12.0, 7.25], index=pd.Index(["007", "b", "c"], name="id"), name="prediction"
    )


def test_one_plugin_alone_registers_the_types():
    manager = PluginManager()
    owner = "aam" if _predictions.OWNED else "sample-classifier"
    for name in ("ClassifierPredictions", "RegressorPredictions", "Probabilities", "TrueTargets"):
        assert manager.artifact_classes[f"SampleData[{name}]"].plugin.name == owner
    for name in ("PredictionsFormat", "ProbabilitiesDirectoryFormat"):
        assert manager.formats[name].plugin.name == owner


def test_ids_and_classes_stay_text():
    table = pd.DataFrame({"prediction": ["01", "1e3", "NA"]}, index=["007", "1.0", "NA"])
    actual = read_predictions(write_table(table, PredictionsFormat))
    assert list(actual) == ["01", "1e3", "NA"]
    assert list(actual.index) == ["007", "1.0", "NA"]


def test_probabilities_survive_the_file():
    table = pd.DataFrame({"01": [0.1, 1 / 3], "b c": [0.9, 2 / 3]}, index=["007", "s"])
    actual = read_probabilities(write_table(table, ProbabilitiesFormat))
    pd.testing.assert_frame_equal(actual, table.rename_axis(index="id"))


@needs_sample_classifier
def test_its_visualizers_open_our_predictions(numbers):
    actions = PluginManager().get_plugin(name="sample-classifier").actions
    file = write_table(numbers.to_frame(), PredictionsFormat)
    predictions = qiime2.Artifact.import_data(
        "SampleData[RegressorPredictions]", file, view_type=PredictionsFormat
    )
    truth = qiime2.NumericMetadataColumn((numbers + 1).rename("truth"))
    (page,) = actions["scatterplot"](predictions, truth)
    assert page.get_index_paths()["html"]


@needs_sample_classifier
def test_our_own_formats_are_the_same_files():
    # The formats that serve where the other plugin is absent: same names, same files.
    for name in (
        "PredictionsDirectoryFormat",
        "ProbabilitiesDirectoryFormat",
        "TrueTargetsDirectoryFormat",
    ):
        ours, theirs = getattr(_predictions_owned, name), getattr(_predictions, name)
        assert ours.__name__ == theirs.__name__
        assert ours.file.pathspec == theirs.file.pathspec
        assert ours.file.format.__name__ == theirs.file.format.__name__


@pytest.mark.parametrize("level", ["min", "max"])
@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("PredictionsFormat", "id\tp\n", "one record"),
        ("PredictionsFormat", "id\tp\na\n", "Line 2 has 1 fields"),
        ("PredictionsFormat", "id\tp\na\t1\tx\n", "Line 2 has 3 fields"),
        ("ProbabilitiesFormat", "id\tp\na\n", "two or more"),
        ("ProbabilitiesFormat", "id\tp\na\tx\n", "Line 2: 'x' is not a number"),
    ],
)
def test_our_own_formats_refuse(tmp_path, level, name, text, message):
    file = tmp_path / "table.tsv"
    file.write_text(text)
    with pytest.raises(ValidationError, match=message):
        getattr(_predictions_owned, name)(str(file), mode="r").validate(level)


def test_our_own_formats_read_all_lines_only_at_level_max(tmp_path):
    file = tmp_path / "table.tsv"
    file.write_text("id\tp\n" + "".join(f"s{i}\t{i}\n" for i in range(9)) + "s9\n")
    format = _predictions_owned.PredictionsFormat(str(file), mode="r")
    format.validate("min")
    with pytest.raises(ValidationError, match="Line 11"):
        format.validate("max")


WITHOUT = """
import contextlib
with contextlib.suppress(ImportError):
    import setuptools  # since Python 3.12, what some packages import as distutils is in there
import pandas as pd, qiime2
from qiime2.sdk import PluginManager
manager = PluginManager()
assert "sample-classifier" not in manager.plugins, list(manager.plugins)
aam = manager.get_plugin(name="aam")
index = pd.Index(["007", "b"], name="id")
numbers = pd.Series([1.0, 2.5], index=index, name="prediction")
classes = pd.Series(["x", "y"], index=index, name="prediction")
by_class = pd.DataFrame({"x": [0.9, 0.2], "y": [0.1, 0.8]}, index=index)
for name, value in (("RegressorPredictions", numbers), ("ClassifierPredictions", classes),
                    ("Probabilities", by_class)):
    artifact = qiime2.Artifact.import_data(f"SampleData[{name}]", value)
    back = artifact.view(type(value))
    assert (back.to_numpy() == value.to_numpy()).all() and list(back.index) == list(index), back
    frame = artifact.view(qiime2.Metadata).to_dataframe()
    assert list(frame.index) == list(index), frame
    artifact.save(f"{FOLDER}/{name}.qza")
predictions = qiime2.Artifact.load(f"{FOLDER}/RegressorPredictions.qza")
truth = qiime2.NumericMetadataColumn((numbers + 1).rename("truth"))
aam.actions["scatterplot"](predictions, truth)
"""


def test_without_q2_sample_classifier(tmp_path, without_sample_classifier):
    """In a Python that lacks that plugin ours registers the types, and its artifacts open in one
    that has it."""
    folder = tmp_path / "artifacts"
    folder.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": without_sample_classifier,
        "MPLCONFIGDIR": str(tmp_path),
    }
    # -S: no packages but the mirrors, and no .pth files of theirs
    done = subprocess.run(
        [sys.executable, "-S", "-c", WITHOUT.replace("{FOLDER}", str(folder))],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for name in ("RegressorPredictions", "ClassifierPredictions", "Probabilities"):
        artifact = qiime2.Artifact.load(str(folder / f"{name}.qza"))
        assert str(artifact.type) == f"SampleData[{name}]"
        artifact.validate()
        assert "007" in artifact.view(qiime2.Metadata).ids


@pytest.mark.parametrize(
    ("texts", "numeric"),
    [
        (["1.5", "2", "-3e-4"], True),
        (["0", "1", "1"], True),
        (["0.5", "0", "-0.1"], True),
        (["01", "2", "3"], False),
        (["1.1", "1.10", "2"], False),
        (["1", "A", "2"], False),
    ],
)
def test_predicted_codes_stay_text(texts, numeric):
    values = pd.Series(texts, ["s1", "s2", "s3"])
    actual = as_numbers(values)
    assert actual.tolist() == ([float(text) for text in texts] if numeric else texts)
