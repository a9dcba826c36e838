"""The pages of the visualizers and their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import qiime2
from qiime2.plugin.testing import TestPluginBase

from aam_core.errors import InputError
from q2_aam._details import Details
from q2_aam._predictions import PredictionsFormat, ProbabilitiesFormat, write_table
from q2_aam.actions.predictions import confusion_matrix, scatterplot
from q2_aam.pages import classification

NAMES = ["007", "2538.1000101", "a", "b", "c", "d"]
ACTUAL = [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]
PREDICTED = [5.0, 10.0, 15.0, 30.0, 45.0, 50.0]
CLASSES = ["01", "01", "01", "<b>two</b>", "<b>two</b>", "three"]
GUESSES = ["01", "01", "three", "<b>two</b>", "01", "three"]


def predictions(values, names=NAMES):
    return write_table(pd.DataFrame({"prediction": values}, index=names), PredictionsFormat)


def column(values, name, names=NAMES):
    series = pd.Series(values, index=pd.Index(names, name="id"), name=name)
    numeric = series.dtype.kind == "f"
    return (qiime2.NumericMetadataColumn if numeric else qiime2.CategoricalMetadataColumn)(series)


def read(path, name):
    return pd.read_csv(Path(path) / name, sep="\t", index_col=0, dtype=str)


def test_scatterplot_reports_the_metrics_of_these_samples(tmp_path):
    scatterplot(str(tmp_path), predictions(PREDICTED), column(ACTUAL, "age"))
    metrics = read(tmp_path, "metrics.tsv")["value"].astype(float)
    error = np.subtract(PREDICTED, ACTUAL)
    assert metrics["samples"] == 6
    assert metrics["mae"] == pytest.approx(np.abs(error).mean())
    assert metrics["rmse"] == pytest.approx(np.sqrt((error**2).mean()))
    assert metrics["r2"] == pytest.approx(1 - (error**2).sum() / (np.var(ACTUAL) * 6))
    assert metrics["mae_of_median"] == pytest.approx(15.0)
    slope = np.cov(ACTUAL, PREDICTED)[0, 1] / np.var(ACTUAL, ddof=1)
    assert metrics["slope"] == pytest.approx(slope)
    page = (tmp_path / "index.html").read_text()
    assert f"{metrics['r2']:.3f}" in page and "age" in page


def test_scatterplot_can_be_downloaded(tmp_path):
    scatterplot(str(tmp_path), predictions(PREDICTED), column(ACTUAL, "age"))
    table = read(tmp_path, "predictions.tsv")
    assert list(table.index) == NAMES
    assert list(table["actual"].astype(float)) == ACTUAL
    assert list(table["prediction"].astype(float)) == PREDICTED
    assert (tmp_path / "scatterplot.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "scatterplot.pdf").read_bytes().startswith(b"%PDF")
    page = (tmp_path / "index.html").read_text()
    for name in ("scatterplot.png", "scatterplot.pdf", "predictions.tsv", "metrics.tsv"):
        assert f'href="{name}"' in page


def test_scatterplot_names_the_largest_errors_first(tmp_path):
    scatterplot(
        str(tmp_path), predictions([0.0, 10.0, 20.0, 90.0, 40.0, 48.0]), column(ACTUAL, "age")
    )
    rows = (tmp_path / "index.html").read_text().split("Largest errors")[1]
    order = [rows.index(f">{name}<") for name in ("b", "d", "007")]
    assert order == sorted(order)


def test_text_of_the_user_is_escaped(tmp_path):
    names = ["<script>alert(1)</script>", *NAMES[1:]]
    scatterplot(str(tmp_path), predictions(PREDICTED, names), column(ACTUAL, "age <i>&\"'", names))
    page = (tmp_path / "index.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
    assert "age <i>" not in page and "age &lt;i&gt;&amp;&#34;&#39;" in page


def test_truth_may_hold_more_samples_in_any_order(tmp_path):
    more = column([1.0, *reversed(ACTUAL)], "age", ["other", *reversed(NAMES)])
    scatterplot(str(tmp_path), predictions(PREDICTED), more)
    assert list(read(tmp_path, "predictions.tsv")["actual"].astype(float)) == ACTUAL


@pytest.mark.parametrize("blank", [True, False])
def test_missing_truth_is_an_error_that_names_the_samples_or_is_ignored(tmp_path, blank):
    values = [*ACTUAL[:-1], np.nan] if blank else ACTUAL[:-1]
    truth = column(values, "age", NAMES if blank else NAMES[:-1])
    with pytest.raises(InputError, match="1 of 6 samples have no value .*'age': d"):
        scatterplot(str(tmp_path), predictions(PREDICTED), truth)
    assert not list(tmp_path.iterdir())
    scatterplot(str(tmp_path), predictions(PREDICTED), truth, missing_samples="ignore")
    assert list(read(tmp_path, "predictions.tsv").index) == NAMES[:-1]


@pytest.mark.parametrize("missing", ["error", "ignore"])
def test_metadata_of_another_study_is_an_error_with_ids_of_both_sides(tmp_path, missing):
    said = "Ids in the predictions: 007, 2538.1000101, a, b, c and 1 more; in the metadata: x, y"
    for draw, values, truth in (
        (scatterplot, PREDICTED, [1.0, 2.0]),
        (confusion_matrix, GUESSES, ["01", "three"]),
    ):
        other = column(truth, "age", ["x", "y"])
        with pytest.raises(InputError, match=said) as caught:
            draw(str(tmp_path), predictions(values), other, missing_samples=missing)
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_ids_that_a_program_took_for_numbers(tmp_path):
    other = column([1.0, 2.0], "age", ["7", "8"])
    with pytest.raises(InputError, match="rewritten ids as numbers"):
        scatterplot(str(tmp_path), predictions(PREDICTED), other)


def test_truth_that_is_all_blank_for_these_samples(tmp_path):
    truth = column([*[np.nan] * 6, 1.0], "age", [*NAMES, "other"])
    with pytest.raises(InputError, match="6 of 6 samples have no value .*name another column.$"):
        scatterplot(str(tmp_path), predictions(PREDICTED), truth, missing_samples="ignore")
    assert not list(tmp_path.iterdir())


def test_one_actual_value_leaves_r2_and_line_undefined(tmp_path):
    scatterplot(str(tmp_path), predictions(PREDICTED), column([1.0] * 6, "age"))
    assert "not defined" in (tmp_path / "index.html").read_text()


def test_confusion_matrix_counts_and_scores_each_class(tmp_path):
    confusion_matrix(str(tmp_path), predictions(GUESSES), column(CLASSES, "diet"))
    counts = read(tmp_path, "confusion_matrix.tsv").astype(int)
    assert counts.loc["01", "01"] == 2 and counts.loc["01", "three"] == 1
    assert counts.loc["<b>two</b>", "01"] == 1
    classes = read(tmp_path, "classes.tsv").astype(float)
    assert classes.loc["01", "recall"] == pytest.approx(2 / 3)
    assert classes.loc["01", "precision"] == pytest.approx(2 / 3)
    assert classes.loc["three", "precision"] == pytest.approx(1 / 2)
    assert classes.loc["<b>two</b>", "f1"] == pytest.approx(2 / 3)
    metrics = read(tmp_path, "metrics.tsv")["value"].astype(float)
    assert metrics["accuracy"] == pytest.approx(4 / 6)
    assert metrics["accuracy_of_most_common"] == pytest.approx(1 / 2)
    assert "auc" not in metrics
    page = (tmp_path / "index.html").read_text()
    assert "66.7%" in page and "<b>two</b>" not in page and "&lt;b&gt;two&lt;/b&gt;" in page
    for name in ("confusion_matrix.png", "confusion_matrix.pdf", "classes.tsv"):
        assert (tmp_path / name).stat().st_size and f'href="{name}"' in page


def test_a_class_never_predicted_or_never_seen_has_undefined_metrics(tmp_path):
    confusion_matrix(str(tmp_path), predictions(["01"] * 5 + ["new"]), column(CLASSES, "diet"))
    classes = read(tmp_path, "classes.tsv")
    assert pd.isna(classes.loc["three", "precision"])
    assert pd.isna(classes.loc["new", "recall"])
    assert "not defined" in (tmp_path / "index.html").read_text()


def test_a_page_of_many_classes(tmp_path):
    names = [f"s{place}" for place in range(80)]
    truth = [f"site {place % 40:02d}" for place in range(80)]
    confusion_matrix(str(tmp_path), predictions(truth, names), column(truth, "site", names))
    page = (tmp_path / "index.html").read_text()
    assert all(f">site {place:02d}</td>" in page for place in range(40)) and "100.0%" in page
    height, width = png_size(tmp_path / "confusion_matrix.png")
    assert max(height, width) < 3000


def png_size(path):
    header = path.read_bytes()[16:24]
    return int.from_bytes(header[4:], "big"), int.from_bytes(header[:4], "big")


def by_class(names):
    table = pd.DataFrame(0.1, index=names, columns=["01", "<b>two</b>", "three"])
    for name, guess in zip(NAMES, CLASSES, strict=True):
        if name in table.index:
            table.loc[name, guess] = 0.8
    return write_table(table, ProbabilitiesFormat)


def test_probabilities_add_the_area_under_the_curve(tmp_path):
    confusion_matrix(
        str(tmp_path), predictions(GUESSES), column(CLASSES, "diet"), by_class(NAMES[::-1])
    )
    assert float(read(tmp_path, "metrics.tsv").loc["auc", "value"]) == 1.0
    assert "ROC" in (tmp_path / "index.html").read_text()


def test_probabilities_of_other_samples_are_an_error(tmp_path):
    with pytest.raises(InputError, match="2 of 6 predicted samples have no probabilities: 007, a"):
        confusion_matrix(
            str(tmp_path),
            predictions(GUESSES),
            column(CLASSES, "diet"),
            by_class([name for name in NAMES if name not in ("007", "a")]),
        )


def regression_details(**more):
    table = pd.DataFrame({"prediction": PREDICTED}, index=pd.Index(NAMES, name="sample-id"))
    about = {"task": "regression", "column": "age", "source": "cross-validation"}
    return Details.of(table.assign(**more), group_by="subject", groups=3, folds=2, **about)


def test_scatterplot_says_first_what_a_reviewer_asks(tmp_path):
    bounds = {"lower": np.subtract(PREDICTED, 4), "upper": np.add(PREDICTED, 4)}
    columns = pd.DataFrame(
        {"subject": ["x", "x", "y", "y", "z", "z"]}, index=pd.Index(NAMES, name="id")
    )
    scatterplot(
        str(tmp_path),
        predictions(PREDICTED),
        column(ACTUAL, "age"),
        details=regression_details(**bounds),
        metadata=qiime2.Metadata(columns),
        units="years",
    )
    page = (tmp_path / "index.html").read_text()
    for text in (
        "by subject: 3 groups, 2 folds",
        ">2.5 years<",
        "bootstrap of 3 groups of subject",
        "holds 50.0%",
        "R² = 1 - ",
        "errors and intervals are in years",
    ):
        assert text in page, text
    table = read(tmp_path, "predictions.tsv")
    assert {"residual", "lower", "upper", "group"} <= set(table)
    assert list(read(tmp_path, "metadata.tsv")["subject"]) == list(columns["subject"])
    metrics = read(tmp_path, "metrics.tsv").astype(float)
    assert metrics.loc["mae", "low"] <= 2.5 <= metrics.loc["mae", "high"]


def test_units_of_the_details_are_those_of_the_page(tmp_path):
    details = regression_details()
    details.about["units"] = "weeks"
    scatterplot(str(tmp_path), predictions(PREDICTED), column(ACTUAL, "age"), details=details)
    assert ">2.5 weeks<" in (tmp_path / "index.html").read_text()


def test_predictions_that_are_no_numbers(tmp_path):
    with pytest.raises(InputError, match="3 of 6 predictions are not numbers: three, "):
        scatterplot(str(tmp_path), predictions(GUESSES), column(ACTUAL, "age"))
    assert not list(tmp_path.iterdir())


def test_details_bring_the_probabilities_and_classes_are_in_natural_order(tmp_path):
    names = ["12-15 months", "0-3 months", "3-6 months"]
    shares = pd.DataFrame(0.2, index=pd.Index(NAMES, name="sample-id"), columns=names)
    truth = [names[place % 3] for place in range(6)]
    for name, actual in zip(NAMES, truth, strict=True):
        shares.loc[name, actual] = 0.6
    shares.loc["d"] = [0.5, 0.3, 0.2]
    guesses = list(shares.idxmax(axis=1))
    details = Details.of(
        shares.assign(prediction=guesses, prediction_set="0-3 months|3-6 months"),
        **{"task": "classification", "column": "age", "source": "out-of-fold"},
        **{"classes": names, "confidence": 0.9},
    )
    confusion_matrix(str(tmp_path), predictions(guesses), column(truth, "age"), details=details)
    order = ["0-3 months", "3-6 months", "12-15 months"]
    assert list(read(tmp_path, "confusion_matrix.tsv").index) == order
    assert list(read(tmp_path, "classes.tsv").index) == order
    assert set(read(tmp_path, "roc.tsv").index) == set(order)
    assert list(read(tmp_path, "misclassified.tsv").index) == ["d"]
    row = read(tmp_path, "predictions.tsv").loc["d"]
    assert row["probability"] == "0.5" and row["actual_probability"] == "0.2"
    page = (tmp_path / "index.html").read_text()
    assert "90% prediction set" in page and "holds 66.7%" in page
    assert "<td>0-3 months or 3-6 months</td>" in page
    assert row["prediction_set"] == "0-3 months|3-6 months"
    for stem in ("confusion_matrix", "class_curves", "calibration_curve"):
        for suffix in ("png", "svg", "pdf"):
            assert (tmp_path / f"{stem}.{suffix}").stat().st_size


def test_a_large_value_hides_no_digits_of_small_numbers(tmp_path):
    actual = [*ACTUAL[:-1], 4e6]
    predicted = [5.0, 10.0, 15.0, 30.0, 45.0, 4e6]
    scatterplot(str(tmp_path), predictions(predicted), column(actual, "age"), units="days")
    facts = read(tmp_path, "facts.tsv")
    assert facts.loc["Mean absolute error", "value"] == "2.5 days"
    assert facts.loc["Baseline: the median", "value"] == "666,673 days"
    assert 'href="facts.tsv"' in (tmp_path / "index.html").read_text()


def test_classes_may_be_called_as_columns(tmp_path):
    names = ["actual", "prediction"]
    truth = ["actual", "prediction"] * 3
    shares = pd.DataFrame({"actual": [0.9, 0.1, 0.8, 0.4, 0.3, 0.2]}, index=NAMES)
    shares["prediction"] = 1 - shares["actual"]
    guesses = list(shares.idxmax(axis=1))
    confusion_matrix(
        str(tmp_path),
        predictions(guesses),
        column(truth, "kind"),
        write_table(shares, ProbabilitiesFormat),
    )
    assert list(read(tmp_path, "classes.tsv").index) == names
    brier = 2 * np.mean([(1 - shares.loc[n, t]) ** 2 for n, t in zip(NAMES, truth, strict=True)])
    metrics = read(tmp_path, "metrics.tsv")["value"].astype(float)
    assert metrics["brier"] == pytest.approx(brier) and metrics["auc"] == pytest.approx(8 / 9)


def test_a_class_without_probabilities_is_said(tmp_path):
    shares = by_class(NAMES)
    truth = [*CLASSES[:-1], "new"]
    confusion_matrix(str(tmp_path), predictions(GUESSES), column(truth, "diet"), shares)
    page = (tmp_path / "index.html").read_text()
    assert "1 of the actual classes have no probabilities (new), that is 1 of 6 samples" in page
    assert set(read(tmp_path, "roc.tsv").index) == {"01", "<b>two</b>"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("a", ["a"]),
        ("a|c|d", ["a", "c|d"]),
        ("c|d", ["c|d"]),
        ("b|a", None),  # one class, or two
        ("a|x", None),
    ],
)
def test_sets_of_classes_with_a_bar_in_their_names(text, names):
    assert classification._classes_of(text, {"a", "b", "b|a", "c|d"}) == names


class TestThroughTheFramework(TestPluginBase):
    package = "q2_aam"

    def test_artifacts_become_visualizations(self):
        for action, kind, values, truth in (
            ("scatterplot", "RegressorPredictions", PREDICTED, column(ACTUAL, "age")),
            ("confusion_matrix", "ClassifierPredictions", GUESSES, column(CLASSES, "diet")),
        ):
            artifact = qiime2.Artifact.import_data(
                f"SampleData[{kind}]", predictions(values), view_type=PredictionsFormat
            )
            (page,) = self.plugin.visualizers[action](artifact, truth)
            self.assertEqual(set(page.get_index_paths()), {"html"})
