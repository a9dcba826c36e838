from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from aam_core.errors import InputError
from aam_core.evaluation import evaluate, write_scores
from aam_core.explanation.looks import Looks
from aam_core.tasks import Regression
from aam_core.tasks.metrics import classification_metrics, regression_metrics

FILES = ["metrics.json", "predictions.png", "predictions.tsv"]


def frame(**columns):
    size = len(next(iter(columns.values())))
    index = pd.Index([f"s{i}" for i in range(size)], name="sample-id")
    return pd.DataFrame(columns, index=index)


@pytest.fixture
def ages():
    return frame(age=[1.0, 2.0, 4.0, 9.0], ibd=["Control", "Crohns", "Crohns", "Control"])


@pytest.fixture
def predicted():
    return frame(
        prediction=[1.5, 2.0, 3.0, 9.0], lower=[0.0, 1.0, 2.0, 9.5], upper=[1.0, 3.0, 4.0, 10.0]
    )


def test_regression_in_real_units(ages, predicted):
    metrics = evaluate(predicted, ages, "age")
    expected = regression_metrics([1, 2, 4, 9], [1.5, 2, 3, 9])
    interval = {"coverage": 0.75, "width": 1.375}
    assert metrics == pytest.approx({"samples": 4, "left_out": 0, **interval, **expected})


def test_samples_are_matched_by_id(ages, predicted):
    shuffled = predicted.iloc[[3, 1, 0, 2]]
    assert evaluate(shuffled, ages.iloc[::-1], "age") == pytest.approx(
        evaluate(predicted, ages, "age")
    )


def test_samples_without_a_value_are_dropped_and_counted(ages, predicted):
    ages.loc["s1", "age"] = np.nan
    metrics = evaluate(predicted, ages.drop("s0"), "age")
    assert (metrics["samples"], metrics["left_out"]) == (2, 2)
    assert metrics["mae"] == pytest.approx(0.5)


def test_classification(ages):
    predicted = frame(
        prediction=["Control", "Control", "Crohns", "Control"],
        Control=[0.9, 0.6, 0.3, 0.7],
        Crohns=[0.1, 0.4, 0.7, 0.3],
    )
    metrics = evaluate(predicted, ages, "ibd")
    expected = classification_metrics(
        ages["ibd"], predicted["prediction"], predicted[["Control", "Crohns"]]
    )
    assert metrics == pytest.approx({"samples": 4, "left_out": 0, **expected})
    assert metrics["auc"] == 1.0


def test_classes_that_look_like_numbers(tmp_path):
    truth = frame(sick=[0, 1, 1, 0])
    predicted = frame(prediction=["0", "1", "0", "0"])
    predicted["0"], predicted["1"] = [0.9, 0.1, 0.6, 0.8], [0.1, 0.9, 0.4, 0.2]
    predicted.to_csv(tmp_path / "p.tsv", sep="\t")
    truth.to_csv(tmp_path / "m.tsv", sep="\t")
    metrics = evaluate(tmp_path / "p.tsv", tmp_path / "m.tsv", "sick")
    assert metrics["accuracy"] == 0.75 and metrics["auc"] == 1.0
    bare = predicted[["prediction"]]
    assert evaluate(bare, truth, "sick", task="classification")["accuracy"] == 0.75


@pytest.mark.parametrize("target", ["age", "ibd"])
def test_output(ages, predicted, tmp_path, target):
    if target == "ibd":
        predicted = frame(prediction=["Control", "Crohns", "Control", "Control"])
    metrics = evaluate(predicted, ages, target, tmp_path / "out")
    assert sorted(item.name for item in (tmp_path / "out").iterdir()) == FILES
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written == {key: None if value != value else value for key, value in metrics.items()}
    table = pd.read_csv(tmp_path / "out" / "predictions.tsv", sep="\t", index_col="sample-id")
    assert table["actual"].tolist() == ages[target].tolist()
    assert table["prediction"].tolist() == predicted["prediction"].tolist()
    assert (tmp_path / "out" / "predictions.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_that_holds_a_model_stays_as_it_is(ages, predicted, regressor, tmp_path):
    model = regressor.model.save(tmp_path / "model")
    before = {path.name: path.read_bytes() for path in model.iterdir() if path.is_file()}
    for write in (
        lambda: evaluate(predicted, ages, "age", model),
        lambda: write_scores(ages, {"per_fold": []}, Regression, "age", model),
        lambda: Looks(None, None, None, {}, True).save(model),
    ):
        with pytest.raises(InputError, match="holds a model, which an? .* would replace"):
            write()
    assert {path.name: path.read_bytes() for path in model.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    "change, words",
    [
        ({"target": "agee"}, "'agee'; did you mean 'age'"),
        ({"predictions": frame(predicted=[1.0])}, "no column 'prediction'; there are: predicted"),
        ({"predictions": frame(prediction=[1.0, None])}, "'prediction' is blank for 1 of 2.*: s1"),
        ({"target": "ibd"}, r"'ibd' is text \('Control', 'Crohns'\)"),
        (
            {"predictions": frame(prediction=[1.0]).rename({"s0": "x"})},
            "None of the 1 predicted samples .*of x; metadata of s0, s1",
        ),
        ({"predictions": pd.DataFrame({"prediction": [1.0]})}, "The predictions: .*not text"),
        ({"predictions": "nowhere.tsv"}, "nowhere.tsv"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(ages, predicted, tmp_path, change, words):
    given = {"predictions": predicted, "metadata": ages, "target": "age", **change}
    with pytest.raises(InputError, match=words) as caught:
        evaluate(**given, output=tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_figure_says_what_it_is_told(ages, predicted, tmp_path):
    words = {"units": "days", "title": "Infants", "figure_format": "svg"}
    evaluate(predicted, ages, "age", tmp_path)
    evaluate(predicted, ages, "age", tmp_path, **words)  # in the place of the png
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["metrics.json", "predictions.svg", "predictions.tsv"]
    text = (tmp_path / "predictions.svg").read_text()
    assert "Actual age (days)" in text and "Infants" in text
    for change, message in (
        ({"output": None}, "no figure without an output"),
        ({"figure_format": "gif"}, "format must be one of png, svg, pdf"),
        ({"target": "ibd", "task": "classification"}, "Classes have no units"),
    ):
        with pytest.raises(InputError, match=message):
            evaluate(
                **{
                    **{"predictions": predicted, "metadata": ages, "target": "age"},
                    **{"output": tmp_path, **words, **change},
                }
            )


def test_classes_called_as_the_bounds_of_an_interval(tmp_path):
    truth = frame(airway=["upper", "lower", "upper", "lower"])
    probabilities = {"lower": [0.1, 0.6, 0.3, 0.7], "upper": [0.9, 0.4, 0.7, 0.3]}
    predicted = frame(prediction=["upper", "lower", "upper", "lower"], **probabilities)
    assert evaluate(predicted, truth, "airway")["auc"] == 1.0
    predicted.to_csv(tmp_path / "p.tsv", sep="\t")
    assert evaluate(tmp_path / "p.tsv", truth, "airway")["auc"] == 1.0


def test_predictions_of_other_methods(ages):
    predicted = frame(
        prediction=["Control", "Crohns", "Crohns", "Control"],
        Control=[0.9, 0.2, 0.3, 0.7],
        Crohns=[0.1, 0.8, 0.7, 0.3],
        random_forest=["Control"] * 4,
        random_forest_Control=[0.5] * 4,
        random_forest_Crohns=[0.5] * 4,
    )
    assert evaluate(predicted, ages, "ibd")["auc"] == 1.0


def test_an_interval_is_no_pair_of_probabilities():
    predicted = frame(prediction=[0.5, 0.5], lower=[0.4, 0.3], upper=[0.6, 0.7])
    metrics = evaluate(predicted, frame(share=[0.45, 0.9]), "share")
    assert metrics["coverage"] == 0.5 and "auc" not in metrics


@pytest.mark.parametrize("others", [("network", "reads"), ("random_forest_a", "b"), ("a", "b")])
def test_classes_called_as_another_method(others):
    one, two = others
    predicted = frame(prediction=[one, two], **{one: [0.7, 0.4], two: [0.3, 0.6]})
    assert evaluate(predicted, frame(site=[one, two]), "site")["auc"] == 1.0


@pytest.mark.parametrize("name", ["a", "z", "0"])
def test_one_more_number_is_no_class(name):
    """AAM's own, or one that somebody added: the AUC stays."""
    predicted = frame(prediction=["b", "c"], b=[0.7, 0.4], c=[0.3, 0.6])
    truth = frame(site=["b", "c"])
    more = predicted.assign(**{name: [7.0, 12.5]})
    more = more.assign(known_reads=[0.0, 1.0], known_kmers=1.0, in_training=[False, False])
    assert evaluate(more, truth, "site")["auc"] == evaluate(predicted, truth, "site")["auc"] == 1.0


def test_classes_called_as_columns_of_later_versions(tmp_path):
    """A model of an earlier AAM may have them."""
    names = ["known_reads", "lower"]
    predicted = frame(prediction=names, known_reads=[0.7, 0.4], lower=[0.3, 0.6])
    predicted.to_csv(tmp_path / "p.tsv", sep="\t")
    for given in (predicted, tmp_path / "p.tsv"):
        assert evaluate(given, frame(site=names), "site")["auc"] == 1.0


def test_shares_of_known_reads_are_no_probabilities(ages):
    predicted = frame(prediction=[1.5, 2.0, 3.0, 9.0], known_reads=0.0, known_kmers=1.0)
    metrics = evaluate(predicted, ages, "age")
    assert metrics == evaluate(predicted[["prediction"]], ages, "age") and "r2" in metrics


def test_samples_that_the_model_was_trained_on_are_named(ages, predicted, tmp_path, capsys):
    flagged = predicted.assign(in_training=[True, False, True, False])
    flagged.to_csv(tmp_path / "p.tsv", sep="\t")
    expected = evaluate(predicted, ages, "age")
    assert capsys.readouterr().err == ""
    for given in (flagged, tmp_path / "p.tsv"):
        assert evaluate(given, ages, "age") == expected | {"in_training": 2}
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("warning: 2 of these 4 samples")
        assert "(s0, s2): their metrics are too good" in line
    assert evaluate(flagged, ages.drop(["s0", "s2"]), "age")["in_training"] == 0
    assert capsys.readouterr().err == ""


def test_classes_in_a_file_stay_text(tmp_path):
    truth = frame(code=["007", "010", "007", "010"])
    probabilities = frame(prediction=["007", "010", "007", "010"])
    probabilities["007"], probabilities["010"] = [0.9, 0.2, 0.8, 0.1], [0.1, 0.8, 0.2, 0.9]
    probabilities.to_csv(tmp_path / "p.tsv", sep="\t", index_label="sample-id")
    metrics = evaluate(tmp_path / "p.tsv", truth, "code")
    assert metrics["accuracy"] == 1 and metrics["auc"] == 1


def test_another_column_is_no_mistake_of_the_model():
    guesses = frame(prediction=["gut", "skin", "gut"])
    with pytest.raises(InputError, match="None of the 2 classes in column .site.*another column"):
        evaluate(guesses, frame(site=["left", "right", "left"]), "site")


def test_the_task_must_be_known(ages, predicted):
    with pytest.raises(InputError, match="must be one of regression, classification"):
        evaluate(predicted, ages, "age", task="reg")


# --- files ---------------------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path):
    def write(text, name="predictions.tsv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


CODES = "sample-id\tcode\ns1\t01\ns2\t1\ns3\t1.10\ns4\t1.1\n"


@pytest.mark.parametrize("probabilities", [False, True])
def test_codes_are_compared_letter_for_letter(write, probabilities):
    names = ["01", "1", "1.1", "1.10"]
    rows = [["s1", "01"], ["s2", "1"], ["s3", "1.10"], ["s4", "01"]]
    head = ["sample-id", "prediction", *(names if probabilities else [])]
    for row in rows:
        row += [str(0.7 if name == row[1] else 0.1) for name in names] if probabilities else []
    metrics = evaluate(
        write("\n".join("\t".join(row) for row in [head, *rows])),
        write(CODES, "metadata.tsv"),
        "code",
        task=None if probabilities else "classification",
    )
    assert metrics["samples"] == 4 and metrics["accuracy"] == 0.75


def test_numbers_of_a_file_are_compared_as_numbers(write):
    metrics = evaluate(
        write("sample-id\tprediction\n s1 \t1\ns2\t1.0\ns3\t1.1\ns4\t1.1\n"),
        write(CODES, "metadata.tsv"),
        "code",
    )
    assert metrics["samples"] == 4 and metrics["mae"] == 0


def test_samples_without_a_value_are_an_error_where_asked_for(write):
    predictions = write("sample-id\tprediction\ns1\t1\ns2\t1\ns3\t1\ns9\t1\n")
    metadata = write("sample-id\tage\ns1\t1\ns2\t2\ns3\t\n", "metadata.tsv")
    metrics = evaluate(predictions, metadata, "age")
    assert (metrics["samples"], metrics["left_out"]) == (2, 2)
    with pytest.raises(InputError, match=r"2 of 4 predicted samples .*'age': s3, s9"):
        evaluate(predictions, metadata, "age", missing_samples="error")
    with pytest.raises(InputError, match="missing_samples must be error or ignore"):
        evaluate(predictions, metadata, "age", missing_samples="drop")


def test_bounds_that_are_no_numbers(tmp_path):
    (tmp_path / "p.tsv").write_text("id\tprediction\tlower\tupper\na\t1\tlow\t2\nb\t2\t1\t3\n")
    (tmp_path / "m.tsv").write_text("id\tage\na\t1\nb\t2\n")
    with pytest.raises(InputError, match="'lower' has 1 values that are not numbers: a .'low'."):
        evaluate(tmp_path / "p.tsv", tmp_path / "m.tsv", "age")
