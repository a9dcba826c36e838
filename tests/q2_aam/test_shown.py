"""What pages of predictions say first: held out or not, intervals over groups, baselines, notes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import qiime2

from aam_core.errors import InputError
from q2_aam._details import Details
from q2_aam.pages import shown as shown_page

IDS = [f"s{i}" for i in range(12)]
ACTUAL = np.arange(12.0)
PREDICTED = ACTUAL + np.tile([-1.0, 1.0, 2.0], 4)
SUBJECTS = [f"subject {i // 3}" for i in range(12)]


def column(values, name="age", ids=IDS):
    series = pd.Series(values, index=pd.Index(ids, name="id"), name=name)
    numeric = series.dtype.kind == "f"
    return (qiime2.NumericMetadataColumn if numeric else qiime2.CategoricalMetadataColumn)(series)


def details(source="out-of-fold", prediction=PREDICTED, more=(), **about):
    table = pd.DataFrame({"prediction": prediction}, index=pd.Index(IDS, name="sample-id"))
    table = table.assign(**dict(more))
    return Details.of(table, task="regression", source=source, **{"column": "age", **about})


def metadata(**columns):
    columns = columns or {"host": SUBJECTS, "sex": list("fm") * 6}
    return qiime2.Metadata(pd.DataFrame(columns, index=pd.Index(IDS, name="id")))


def shown(truth=None, missing="error", **more):
    predictions = pd.Series(PREDICTED, index=IDS)
    return shown_page.shown(predictions, truth or column(ACTUAL), missing, **more)


def fact(it):
    title, value, remark = shown_page.held_out_fact(it)
    assert title == "Held out"
    return value, remark


def test_without_details_nobody_knows_whether_samples_were_held_out():
    value, remark = fact(shown())
    assert value == "not known" and "--i-details" in remark


def test_out_of_fold_and_cross_validated_samples_were_held_out_by_a_group():
    for source in ("out-of-fold", "cross-validation"):
        value, remark = fact(shown(details=details(source, group_by="host", groups=4, folds=5)))
        assert value == "yes" and remark.startswith("by host: 4 groups, 5 folds")
    tested = shown(details=details("test split", group_by="host", groups=4, folds=1))
    assert fact(tested)[1].startswith("by host: 4 groups; test samples of a split")
    value, remark = fact(shown(details=details(folds=5, repeats=3)))
    assert value == "yes" and remark.startswith("without groups, 5 folds, 3 repeats")


@pytest.mark.parametrize(
    ("seen", "value", "words"),
    [
        ([False] * 12, "yes", "none of these ids was in the training"),
        ([True] * 2 + [False] * 10, "not all", "2 of 12 samples were in the training"),
        ([True] * 12, "no", "12 of 12 samples were in the training"),
    ],
)
def test_new_samples_may_be_of_the_training(seen, value, words):
    said = fact(shown(details=details("new samples", more={"in_training": seen})))
    assert said[0] == value and words in said[1]


def test_new_samples_of_a_model_that_does_not_record_them():
    assert fact(shown(details=details("new samples")))[0] == "not known"


def test_a_truth_of_another_column_is_named():
    it = shown(details=details(column="weight"))
    (warning,) = it.warnings
    assert "'weight'" in warning and "'age'" in warning
    assert shown(details=details()).warnings == []
    of_fit = {"units": "kg", "baselines": {"random_forest": {"mae": 2.0}}}
    other = shown(details=details(column="weight", **of_fit))
    assert shown_page.baseline_facts(other, "mae", "regression", write, "MAE") == []
    assert other.about["units"] is None and shown(details=details(**of_fit)).about["units"] == "kg"


def test_details_of_other_predictions_are_refused():
    with pytest.raises(InputError, match="2 of 12 predictions differ .*: s0, s11. Give"):
        other = PREDICTED.copy()
        other[[0, 11]] += 1
        shown(details=details(prediction=other))
    few = Details.of(details().table.iloc[1:], **details().about)
    with pytest.raises(InputError, match="1 of 12 predicted samples are not in the details: s0"):
        shown(details=few)


def test_intervals_are_over_the_groups_of_the_details_where_metadata_have_them():
    it = shown(details=details(group_by="host"), metadata=metadata())
    assert it.over == "4 groups of host" and list(it.table["group"]) == SUBJECTS
    assert it.notes == []


def test_a_group_that_the_metadata_lack_is_said():
    blank = metadata(host=[None] * 11 + ["x"], sex=list("fm") * 6)
    for given, words in (
        (None, "'host', whose values are not here: "),
        (metadata(sex=list("fm") * 6), "'host', of which the metadata have no value of these"),
        (qiime2.Metadata(blank.to_dataframe().iloc[:11]), "'host', of which the metadata have no"),
    ):
        it = shown(details=details(group_by="host"), metadata=given)
        assert it.over == "12 samples" and "group" not in it.table
        assert words in it.notes[-1]
        assert ("Give the metadata (" in it.notes[-1]) == (given is None)


def test_new_samples_may_have_the_column_that_the_model_was_grouped_by():
    new = details("new samples", group_by="host")
    assert shown(details=new, metadata=metadata()).over == "4 groups of host"
    it = shown(details=new)
    assert it.over == "12 samples" and it.notes[-1].startswith("The model was fitted by 'host'")


def test_groups_of_a_cross_validation_are_in_its_details():
    known = details("cross-validation", group_by="host", groups=4)
    methods = pd.DataFrame({"sample-id": IDS[::-1], "group": SUBJECTS[::-1], "method": "aam"})
    tested = Details.of(known.table, pd.concat([methods, methods]), **known.about)
    for given in (None, metadata(sex=list("fm") * 6)):
        it = shown(details=tested, metadata=given)
        assert it.over == "4 groups of host" and list(it.table["group"]) == SUBJECTS
        assert it.notes == []
    numbers = Details.of(known.table, methods.assign(group="7.0"), **known.about)
    assert set(shown(details=numbers).table["group"]) == {"7"}  # as it was written
    without = Details.of(known.table, methods.assign(group=""), **known.about)
    assert shown(details=without).over == "12 samples"


def test_a_group_that_is_given_counts_first():
    it = shown(details=details(group_by="host"), group_by=column(list("ab") * 6, "site"))
    assert it.over == "2 groups of site" and "held out by 'host'" in it.notes[-1]
    numbers = shown(group_by=column([1.0, 2.0] * 6, "subject"))
    assert list(numbers.table["group"][:2]) == ["1", "2"]


def test_samples_without_a_group_are_their_own():
    values = [None, None, *SUBJECTS[2:]]
    it = shown(group_by=column(values, "host"))
    assert len(np.unique(it.codes)) == 2 + 4
    assert "2 samples have no value in 'host'" in it.notes[-1]
    with pytest.raises(InputError, match="None of the predicted samples has a group in 'host'"):
        ids = [*IDS, "other"]
        shown(group_by=column([*[None] * 12, "x"], "host", ids))


def test_dropped_samples_and_notes_of_the_details_are_said():
    truth = column([*ACTUAL[:-2], np.nan, np.nan])
    it = shown(truth, "ignore", details=details(notes=["3 samples had no reads"]))
    assert len(it.table) == 10
    assert it.notes[0].startswith("2 of 12 predicted samples have no value in 'age'")
    assert "3 samples had no reads" in it.notes


def test_metadata_of_another_study_are_refused():
    other = qiime2.Metadata(pd.DataFrame({"a": ["x"]}, index=pd.Index(["other"], name="id")))
    with pytest.raises(InputError, match="none of the predicted samples: s0"):
        shown(metadata=other)
    part = qiime2.Metadata(metadata().to_dataframe().iloc[:9])
    assert "3 of 12 samples are not in the metadata." in shown(metadata=part).notes


def test_a_class_may_be_called_as_a_column_of_its_own():
    shares = pd.DataFrame({"fold": 0.9, "lower": 0.1}, index=pd.Index(IDS, name="sample-id"))
    about = {"task": "classification", "column": "kind", "source": "new samples"}
    given = Details.of(shares.assign(prediction="fold"), classes=["fold", "lower"], **about)
    truth = column(["fold", "lower"] * 6, "kind")
    it = shown_page.shown(pd.Series("fold", index=IDS), truth, "error", details=given)
    assert list(it.table) == ["actual", "prediction"]


def write(value, unit=" d"):
    return f"{value:.1f}{unit}"


def test_facts_of_baselines_blend_and_interval():
    bounds = {"lower": PREDICTED - 1.5, "upper": PREDICTED + 1.5}
    given = details(
        more=bounds,
        baselines={"linear": {"mae": 3.0}, "random_forest": {"mae": 2.0}, "dummy": {"r2": 0.0}},
        blend={"networks": 0.4, "forest": 0.6},
        confidence=0.9,
    )
    it = shown(details=given)
    ((name, value, remark),) = shown_page.baseline_facts(it, "mae", "regression", write, "MAE")
    assert (name, value) == ("Baseline: random forest", "2.0 d") and remark.startswith("MAE on")
    assert remark.endswith("; ridge regression on CLR 3.0 d")
    ((_, blend, _),) = shown_page.blend_facts(it)
    assert blend == "networks 40%, random forest 60%"
    ((_, blend, _),) = shown_page.blend_facts(
        shown(details=details(blend={"networks": 0.575, "forest": 0.425}))
    )
    assert blend == "networks 57%, random forest 43%"
    ((title, holds, width),) = shown_page.interval_fact(it, write)
    assert (title, holds) == ("90% prediction interval", "holds 66.7%") and "3.0 d" in width
    alone = shown(details=details(blend={"networks": 1.0, "forest": 0.0}))
    assert shown_page.blend_facts(alone)[0][1] == "networks alone"


def test_facts_say_of_which_samples_they_are():
    bounds = {"lower": [np.nan, *(PREDICTED - 1.5)[1:]], "upper": [np.nan, *(PREDICTED + 1.5)[1:]]}
    given = details(more=bounds, baselines={"random_forest": {"mae": 2.0}})
    it = shown(column([*ACTUAL[:-2], np.nan, np.nan]), "ignore", details=given)
    ((_, holds, remark),) = shown_page.interval_fact(it, write)
    assert holds == "holds 66.7%" and remark.startswith("of the 9 samples that have one;")
    ((_, _, baseline),) = shown_page.baseline_facts(it, "mae", "regression", write, "MAE")
    assert baseline == "MAE of all 12 samples on the same folds"


def test_a_note_is_kept_once():
    it = shown(details=details(notes=["one", "two", "one"]))
    assert it.notes[:2] == ["one", "two"] and it.notes.count("one") == 1


def test_a_metric_without_an_interval_says_why():
    it = shown(group_by=column(["one"] * 12, "host"))
    row = pd.Series({"value": 1.0, "low": np.nan, "high": np.nan})
    assert "one group" in shown_page.metric_fact(it, "MAE", row, write)[2]
    row = pd.Series({"value": 1.0, "low": 0.5, "high": 2.0})
    assert "0.5 to 2.0 d, bootstrap of 1 group" in shown_page.metric_fact(it, "MAE", row, write)[2]
    row = pd.Series({"value": np.nan, "low": np.nan, "high": np.nan})
    assert shown_page.metric_fact(it, "R²", row, write)[1:2] == ("not defined",)
