from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aam_core.errors import InputError
from aam_core.prediction_files import read_predictions


@pytest.fixture
def write(tmp_path):
    def write(text, name="predictions.tsv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_a_file_has_numbers_where_every_cell_is_one(write):
    text = "id\tprediction\tlower\tsite\n s1 \t1\t0.5\tgut\ns2\t2\t1\t7\n"
    table = read_predictions(write(text))
    assert table.index.tolist() == ["s1", "s2"] and table.index.name == "sample-id"
    assert table["prediction"].tolist() == [1, 2] and table["lower"].tolist() == [0.5, 1]
    assert table["site"].tolist() == ["gut", "7"]


@pytest.mark.parametrize("task", [None, "classification", "regression"])
def test_predicted_classes_stay_text(write, task):
    """Without a task their columns of probabilities tell that they are classes."""
    table = read_predictions(write("id\tprediction\t007\t010\ns1\t007\t0.9\t0.1\n"), task)
    assert table["prediction"].tolist() == [7 if task == "regression" else "007"]
    assert table[["007", "010"]].to_numpy().tolist() == [[0.9, 0.1]]


def test_a_frame_is_taken_as_it_is():
    frame = pd.DataFrame({"prediction": ["a", "b"]}, index=["s1", " s2"])
    table = read_predictions(frame)
    assert table.index.tolist() == ["s1", "s2"]
    assert table["prediction"].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    "text, words",
    [
        ("sample-id\tpredicted\ns1\t1\n", "no column 'prediction'; there are: predicted"),
        ("sample-id\ns1\n", "it has 1 columns"),
        ("", "is not a table of predictions"),
        ("sample-id\tprediction\n", "has a header but no samples"),
        ("sample-id\tprediction\ns1\t1\t2\t3\ns2\t1\n", "predictions.tsv"),
        ('sample-id\tprediction\n"s1\t1\n', "is not a table of predictions"),
        ("sample-id\tprediction\ns1\t1\ns1 \t2\n", r"1 sample ids occur more than once \(s1\)"),
        ("sample-id\tprediction\n\t1\n", "a sample id is blank"),
    ],
)
def test_files_that_are_no_predictions(write, text, words):
    with pytest.raises(InputError, match=words) as caught:
        read_predictions(write(text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", [[1.0, 2.0], np.ones(2), None])
def test_objects_that_are_no_predictions(given):
    with pytest.raises(InputError, match="predictions must be a path or a DataFrame"):
        read_predictions(given)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("id\tprediction\tx\tprediction", "1 column names occur more than once: prediction"),
        ("id\tprediction" + "\tx" * 10**5, "p.tsv is not a table of predictions: .* 100,002 col"),
    ],
)
def test_a_header_that_no_predictions_have(write, header, words):
    with pytest.raises(InputError, match=words):
        read_predictions(write(f"{header}\na\t1\n", "p.tsv"))
