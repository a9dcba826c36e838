"""Maturity in QIIME 2: scores as an artifact, and their page."""

from __future__ import annotations

import pandas as pd
import pytest
import qiime2

from aam_core.errors import InputError
from q2_aam._details import Details
from q2_aam._predictions import PredictionsFormat, read_predictions, write_table
from q2_aam.actions.maturity import maturity_index, maturity_plot

NAMES = ["007", "a", "b", "c", "d", "e", "f"]
AGES = [10.0, 12.0, 14.0, 11.0, 40.0, 41.0, 90.0]
PREDICTED = [10.0, 14.0, 18.0, 6.0, 30.0, 40.0, 50.0]
GROUPS = ["well", "well", "well", "ill", "well", "<b>ill</b>", "ill"]


def column(values, name, names=NAMES):
    series = pd.Series(values, index=pd.Index(names, name="id"), name=name)
    numeric = series.dtype.kind == "f"
    return (qiime2.NumericMetadataColumn if numeric else qiime2.CategoricalMetadataColumn)(series)


@pytest.fixture
def given():
    predictions = write_table(pd.DataFrame({"prediction": PREDICTED}, NAMES), PredictionsFormat)
    return predictions, column(AGES, "age"), column(GROUPS, "health"), "well"


def test_scores_are_those_of_samples_with_controls_of_their_age(given, capfd):
    scores = read_predictions(maturity_index(*given, bin_width=30.0)).astype(float)
    # Controls 10, 14, 18: median 14, sd 4. One control at 40: no standard deviation.
    assert scores.to_dict() == {"007": -1.0, "a": 0.0, "b": 1.0, "c": -2.0}
    assert "3 of 7 samples have no score" in capfd.readouterr().err


def test_a_page_shows_them_and_escapes_names(given, tmp_path):
    maturity_plot(str(tmp_path), *given, bin_width=30.0, units="days")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "age (days)" in page and "10.1038/nature13421" in page
    assert "<b>ill</b>" not in page and "&lt;b&gt;ill&lt;/b&gt;" in page
    assert "not known whether these samples were held out" in page
    table = pd.read_csv(tmp_path / "samples.tsv", sep="\t", index_col=0, dtype={0: str})
    assert table["maz"].notna().sum() == 4
    assert qiime2.Metadata.load(str(tmp_path / "samples.tsv")).id_count == 7
    assert (tmp_path / "maturity.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"source": "cross-validation", "column": "age"}, None),
        ({"source": "new samples", "column": "age"}, "trained on some of them is not known"),
        ({"source": "cross-validation", "column": "bmi"}, "predicts &#39;bmi&#39;, and the ages"),
    ],
)
def test_the_page_says_what_the_predictions_are(given, tmp_path, about, words):
    table = pd.DataFrame({"prediction": PREDICTED}, pd.Index(NAMES, name="sample-id"))
    details = Details.of(table, task="regression", **about)
    maturity_plot(str(tmp_path), *given, details=details, bin_width=30.0)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert ("aam-warning" in page.split("<noscript>")[0]) == (words is not None)
    assert words is None or words in page


def test_a_control_that_there_is_not(given):
    with pytest.raises(InputError, match="No sample has the value 'healthy' .*'health'.*ill, well"):
        maturity_index(*given[:3], "healthy")
    with pytest.raises(InputError, match="give a wider age bin"):
        maturity_index(*given)
    with pytest.raises(InputError, match="1 of 7 samples have no value .*'health'"):
        maturity_index(given[0], given[1], column(GROUPS[:-1], "health", NAMES[:-1]), "well")


def test_no_score_at_all_is_said(given):
    alike = write_table(pd.DataFrame({"prediction": [20.0] * 7}, NAMES), PredictionsFormat)
    with pytest.raises(InputError, match="None of 7 samples has a score: .* one predicted age"):
        maturity_index(alike, *given[1:], bin_width=30.0)
