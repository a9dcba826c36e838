"""The page of a fit, of a cross-validation's folder and of given predictions: whole and escaped."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest

from aam_core import plots, report
from aam_core.errors import InputError
from aam_core.reporting.neighbours import SampleSpace

EVIL = "<script>alert('x')</script>"


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr("aam_core.reporting.summary.draws_of", lambda *sizes: 20)


def tables(folder):
    return {path.stem: pd.read_csv(path, sep="\t") for path in folder.glob("*.tsv")}


def test_the_page_of_a_regressor(regressor, small, tmp_path):
    folder = tmp_path / "out"
    options = {"group_by": "host_subject_id", "units": "cm", "columns": ["sequencing_run"]}
    report(regressor.folder, study=small, output=folder, **options)
    page = (folder / "report.html").read_text(encoding="utf-8")
    written = tables(folder)
    truth = small.metadata["gradient"].astype(float)
    samples = written["samples"].set_index("sample-id")
    assert np.allclose(samples["residual"], samples["prediction"] - truth.loc[samples.index])
    assert samples["known_reads"].between(0, 1).all() and samples["novelty"].max() == 1
    mae = regressor.model.metrics["model"]["mae"]
    own = written["metrics"].set_index("metric").loc["mae"]
    assert own["value"] == pytest.approx(mae) and own["low"] < mae < own["high"]
    assert own["groups"] == 15
    assert f"{mae:.4g} cm" in page and "15 groups of host_subject_id in 2 folds" in page
    assert written["groups"]["samples"].sum() == len(samples)
    assert {"coverage", "columns", "worst", "known"} <= set(written)
    # It stands alone: nothing is loaded, and all images are in it.
    assert not re.search(r'(src|href)="(?!data:)', page) and "<script" not in page
    assert page.count("data:image/svg+xml") == len(list(folder.glob("figure-*.svg"))) > 6
    pdf = next(folder.glob("figure-*.pdf")).read_bytes()
    assert b"/Type3" not in pdf


def test_the_unit_is_that_of_the_fit_and_metrics_have_names(regressor, tmp_path, caplog):
    config = regressor.model.config.adjust({"figure.units": "furlongs"})
    model = dataclasses.replace(regressor.model, config=config)
    page = report(model, output=tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "values are in furlongs" in text and ">Mean absolute error (furlongs)</td>" in text
    assert "mae" in tables(tmp_path / "out")["metrics"]["metric"].tolist()
    assert all(table.caption for table in page.tables)
    report(model, units="miles", output=tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "values are in miles" in text and "furlongs" not in text


def test_classes_have_no_unit(classifier, tmp_path, caplog):
    with caplog.at_level("INFO", "aam_core"):
        page = report(classifier.model, units="days", output=tmp_path / "out")
    assert "units have no effect: classes have none" in caplog.text
    assert "days" not in page.lead and "days" not in " ".join(page.notes)


def test_the_page_of_a_classifier(classifier, small, tmp_path):
    folder = tmp_path / "out"
    report(classifier.model, metadata=small.metadata, group_by="host_subject_id", output=folder)
    written = tables(folder)
    predicted = classifier.model.val_predictions
    counts = written["confusion"].set_index("actual")
    assert counts.to_numpy().sum() == len(predicted)
    assert (written["confusion_examples"]["samples"].sum()) == len(predicted)
    own = written["metrics"].set_index("metric")["value"]
    assert own["auc"] == pytest.approx(classifier.model.metrics["model"]["auc"])
    bounded = written["metrics"].dropna(subset=["low", "high"])
    assert {"auc", "brier"} <= set(bounded["metric"]) and "ece" not in set(bounded["metric"])
    assert bounded["value"].between(bounded["low"], bounded["high"]).all()
    assert set(written["classes"]["class"]) == {"case", "control"}


def test_neighbours_were_trained_on_by_members_that_held_the_sample_out(regressor, small):
    model = regressor.model
    space = SampleSpace.of(model, small)
    fold = dict(zip(model.val_samples, model.val_folds, strict=True))
    names = model.val_samples[:5]
    nearest = space.nearest(names, 4)
    assert len(nearest) == 20 and (nearest["distance"] > 0).all()
    assert all(fold[name] != fold[row["nearest"]] for name, row in nearest.iterrows())
    assert nearest.groupby(level=0)["distance"].apply(lambda d: d.is_monotonic_increasing).all()


@pytest.fixture
def hostile():
    """Numbers predicted for 40 samples, one of which has markup for its name, and a column too."""
    rng = np.random.default_rng(0)
    names = [EVIL, *(f"s{k}" for k in range(39))]
    actual = rng.normal(50, 10, 40)
    table = pd.DataFrame({"actual": actual, "prediction": actual + rng.normal(0, 5, 40)}, names)
    table.iloc[0, 1] += 100  # the worst
    metadata = pd.DataFrame({EVIL: rng.choice([EVIL, "b"], 40), "y": actual}, names)
    return table, metadata


def test_names_of_users_are_escaped(hostile, tmp_path):
    table, metadata = hostile
    options = {"columns": [EVIL], "title": EVIL, "units": "<b>", "target": "y"}
    report(None, table, metadata=metadata, output=tmp_path / "out", **options)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page and "<b>" not in page
    assert page.count("&lt;script&gt;") > 4
    for picture in (tmp_path / "out").glob("*.svg"):
        assert "<script" not in picture.read_text(encoding="utf-8")


def test_a_plot_that_fails_costs_no_result(hostile, tmp_path, monkeypatch):
    def fails(*given, **options):
        raise MemoryError("no room")

    monkeypatch.setattr(plots, "scatter", fails)
    table, metadata = hostile
    report(None, table, metadata=metadata, output=tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "could not be drawn" in page and (tmp_path / "out" / "samples.tsv").is_file()


def test_a_folder_of_a_cross_validation(hostile, tmp_path):
    table, metadata = hostile
    names = [f"s{k}" for k in range(40)]
    folds = table.set_axis(pd.Index(names, name="sample-id"))
    folds = folds.assign(fold=np.arange(40) % 4 + 1, random_forest=folds["actual"] + 1.0)
    both = pd.concat([folds.assign(repeat=1), folds.assign(repeat=2, prediction=0.0)])
    both.to_csv(tmp_path / "predictions.tsv", sep="\t")
    metrics = {
        "held_out": {"samples": 40, "folds": 4},
        "per_fold": [{}] * 4,
        "network_weight": {"mean": 0.4, "zero": 1, "linear_share": 0.5},
        "comparison": {"group_by": "y"},
    }
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    page = report(None, tmp_path)
    assert page.title == "Where predictions fail"
    facts = {label: (value, remark) for label, value, remark in page.facts}
    assert facts["Baseline: random forest"][0] == "1"
    assert facts["Blend"][0] == "networks 40%, random forest 30%, linear model 30%"
    assert "none in 1 of them" in facts["Blend"][1] and "in 4 folds" in facts["Samples"][1]
    metrics["comparison"]["target"] = "height"
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    assert report(None, tmp_path).title == "Where the prediction of height fails"
    with pytest.raises(InputError, match="height is predicted, and not 'age'"):
        report(None, tmp_path, target="age")
    with pytest.raises(InputError, match="no output of 'aam cross-validate'"):
        report(None, tmp_path.parent)


def test_what_cannot_be_reported_is_refused(hostile, encoder, regressor):
    table, metadata = hostile
    with pytest.raises(InputError, match="give one of the two"):
        report()
    with pytest.raises(InputError, match="encoder"):
        report(encoder.model)
    with pytest.raises(InputError, match="no column 'actual'"):
        report(None, table[["prediction"]])
    with pytest.raises(InputError, match="None of the 40 predicted samples is in the metadata"):
        report(None, table, metadata=metadata.set_axis([f"t{k}" for k in range(40)]))
    with pytest.raises(InputError, match="no metadata column 'no'"):
        report(None, table, metadata=metadata, columns=["no"])
    with pytest.raises(InputError, match="gradient is predicted, and not 'y'"):
        report(regressor.model, target="y")


def test_classes_as_numbers_and_blanks_and_groups_called_all(tmp_path):
    """A data frame's classes 1 and 2 are those of the columns; a blank truth drops its sample."""
    names = [f"s{k}" for k in range(30)]
    one = np.tile([0.9, 0.2, 0.6], 10)
    table = pd.DataFrame({"actual": np.tile([1, 2, 1], 10), "prediction": np.tile([1, 2, 1], 10)})
    table = table.assign(**{"1": one, "2": 1 - one}).set_axis(names)
    page = report(None, table)
    own = page.sections[0].tables[0].frame.set_index("metric")["value"]
    assert own["accuracy"] == 1 and own["auc"] == 1
    numbers = pd.DataFrame({"actual": np.arange(30.0), "prediction": np.arange(30.0) + 1}, names)
    numbers = numbers.assign(lower=numbers["actual"] - 1, upper=numbers["actual"] + 3)
    numbers.iloc[3, 0] = np.nan
    metadata = pd.DataFrame({"g": np.repeat(["all", "b", "c"], 10)}, names)
    page = report(None, numbers, metadata=metadata, group_by="g", output=tmp_path / "out")
    assert len(tables(tmp_path / "out")["samples"]) == 29
    text = next(section.text for section in page.sections if section.title == "Intervals")
    assert "within their interval" in text[0]  # of which confidence, nothing tells


def test_a_model_is_not_replaced_by_a_page(regressor, small, tmp_path):
    regressor.model.save(tmp_path / "model")
    with pytest.raises(InputError, match="holds a model, which a report would"):
        report(regressor.model, study=small, output=tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").is_file()
    with pytest.raises(InputError, match="--group-by"):
        bare = dataclasses.replace(regressor.model, run={})
        report(bare, study=small, learning_curve=True)


@pytest.mark.parametrize("names", [["left", "right"], ["group", "error"], ["depth", "rich"]])
def test_classes_called_as_columns_of_the_report(names, small, tmp_path):
    """A class may be called 'right' (a hand): its probabilities are beside what is right."""
    ids = small.sample_ids[:12]
    first = np.linspace(0.05, 0.95, 12)
    predicted = np.where(first > 0.5, *names)
    table = pd.DataFrame({"actual": names[0], "prediction": predicted}, ids)
    table = table.assign(**dict(zip(names, (first, 1 - first), strict=True)))
    groups = pd.DataFrame({"subject": np.repeat(["a", "b", "c"], 4)}, ids)
    options = {"study": small, "metadata": groups, "group_by": "subject"}
    report(None, table, output=tmp_path / "out", **options)
    written = tables(tmp_path / "out")
    samples = written["samples"]
    assert np.allclose(samples["error"], 1 - first)
    assert list(samples["right"]) == list(predicted == names[0])
    assert (samples["depth"] > 1).all() and set(samples["group"]) == {"a", "b", "c"}
    probabilities = [samples[f"p({it})" if f"p({it})" in samples else it] for it in names]
    assert np.allclose(probabilities, [first, 1 - first])
    assert set(written["groups"]["accuracy"]) == {0.0, 0.5, 1.0}


def test_a_table_of_samples_is_reported_again(hostile, tmp_path):
    """Columns of an earlier report are computed anew."""
    table, metadata = hostile
    again = table.assign(residual=0.0, error=0.0, group="old")
    report(None, again, metadata=metadata.assign(g="x"), group_by="g", output=tmp_path / "out")
    samples = tables(tmp_path / "out")["samples"]
    assert set(samples["group"]) == {"x"} and (samples["error"] > 0).all()


@pytest.mark.parametrize(("count", "says"), [(6, False), (7, True)])
def test_a_caption_tells_of_classes_that_are_not_drawn(count, says):
    names = [f"c{k}" for k in range(count)]
    table = pd.DataFrame({"actual": names, "prediction": names}, [f"s{k}" for k in range(count)])
    page = report(None, table.assign(**dict(zip(names, np.eye(count), strict=True))))
    caption = next(it.caption for it in page.pictures if it.name == "calibration")
    assert ("most frequent classes" in caption) is says
