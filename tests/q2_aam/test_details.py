"""Predictions with their details: files, format, metadata, and what actions say in them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import qiime2
from qiime2.plugin import ValidationError

from aam_core.errors import InputError
from aam_core.model import Model
from q2_aam import AAMPredictionsDirectoryFormat, Details
from q2_aam.examples import study as examples

QUICK = examples.QUICK
IDS = pd.Index(["01", "b", "c"], name="sample-id")


def numbers(**columns):
    table = pd.DataFrame({"prediction": [0.1 + 0.2, 2.0, 1e-9]}, IDS)
    table = table.assign(lower=[0.0, 1.0, -1.0], upper=[1.0, 2.0, 1.0], **columns)
    return Details.of(table, task="regression", column="age", source="new samples")


def classes():
    table = pd.DataFrame({"prediction": ["1", "01", "1"], "01": [0.4, 0.9, 0.1]}, IDS)
    table = table.assign(**{"1": 1 - table["01"], "prediction_set": ["01|1", "01", ""]})
    about = {"task": "classification", "column": "code", "classes": ["01", "1"]}
    return Details.of(table, source="out-of-fold", group_by="subject", **about)


@pytest.fixture
def folder(tmp_path):
    numbers(in_training=[True, False, True], known_reads=[1.0, np.nan, 0.5]).write(tmp_path)
    return tmp_path


def test_what_is_written_is_read(tmp_path, folder):
    again = Details.read(folder)
    before = numbers(in_training=[True, False, True], known_reads=[1.0, np.nan, 0.5])
    pd.testing.assert_frame_equal(again.table, before.table, check_exact=True)
    assert again.about == before.about and again.methods is None
    again.write(tmp_path)
    assert Details.read(tmp_path).about == before.about


def test_classes_are_read_letter_for_letter(tmp_path):
    classes().write(tmp_path)
    again = Details.read(tmp_path)
    assert list(again.table["prediction"]) == ["1", "01", "1"]
    assert list(again.probabilities) == ["01", "1"]
    assert again.about["group_by"] == "subject" and again.about["seed"] is None


def test_methods_and_comparison_of_a_cross_validation(tmp_path):
    methods = pd.DataFrame(
        {
            "sample-id": ["01", "01", "b"],
            "repeat": [1, 1, 1],
            "fold": [1, 1, 2],
            "method": ["aam", "dummy", "aam"],
            "prediction": [0.5, 1.0, 2.0],
        }
    )
    comparison = pd.DataFrame({"mae": [0.1, 0.3]}, pd.Index(["aam", "dummy"], name="method"))
    about = {"task": "regression", "column": "age", "source": "cross-validation"}
    Details.of(numbers().table, methods, comparison, **about).write(tmp_path)
    again = Details.read(tmp_path)
    pd.testing.assert_frame_equal(again.methods, methods, check_dtype=False)
    pd.testing.assert_frame_equal(again.comparison, comparison)
    twice = pd.concat([methods, methods])
    twice.to_csv(tmp_path / "methods.tsv", sep="\t", index=False)
    with pytest.raises(InputError, match="twice for a method"):
        Details.read(tmp_path)


def test_metadata_has_numbers_as_numbers_and_the_rest_as_text(folder, tmp_path):
    metadata = Details.read(folder).to_metadata()
    types = {name: column.type for name, column in metadata.columns.items()}
    assert types.pop("in_training") == "categorical"
    assert set(types.values()) == {"numeric"}
    assert metadata.to_dataframe()["prediction"].iloc[0] == 0.1 + 0.2
    frame = classes().to_metadata().to_dataframe()
    assert list(frame["prediction"]) == ["1", "01", "1"]
    assert frame["prediction_set"].isna().tolist() == [False, False, True]


def test_a_class_may_be_called_as_an_id_column(tmp_path):
    about = {"task": "classification", "column": "code", "classes": ["id", "b"]}
    table = pd.DataFrame({"prediction": ["id", "b", "b"], "id": [0.9, 0.1, 0.2]}, IDS)
    details = Details.of(table.assign(b=1 - table["id"]), source="new samples", **about)
    details.write(tmp_path)
    assert set(Details.read(tmp_path).to_metadata().columns) == {"prediction", "class id", "b"}


TABLE = "sample-id\tprediction\tlower\tupper\n"


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "header of 0 columns"),
        (TABLE, "no samples"),
        ("id\tprediction\na\t1\n", "begins with the column 'id'"),
        ("sample-id\tnumber\na\t1\n", "lacks the columns prediction"),
        (TABLE + "a\t1\t2\t0\nb\t1\t0\t2\n", "lower is above upper in 1 of 2 samples: a"),
        (TABLE + "a\t1\t0\t2\na\t1\t0\t2\n", "1 sample ids .* more than once: a"),
        (TABLE + "a\thigh\t0\t2\n", "prediction is not a finite number in 1 of 1 samples: a"),
        (TABLE + "a\t1\t0\n", "lines 2 have another number"),
        ("sample-id\tprediction\tlower\na\t1\t0\n", "'lower' alone"),
        ("sample-id\tprediction\tprediction\na\t1\t1\n", "occur more than once: prediction"),
    ],
)
def test_a_wrong_table_is_refused_in_one_line(folder, text, message):
    (folder / "predictions.tsv").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        Details.read(folder)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValidationError, match=message):
        AAMPredictionsDirectoryFormat(str(folder), mode="r").validate("min")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"age": 3}, "keys that are not known: age"),
        ({"task": None}, "does not say task"),
        ({"task": "ranking"}, "must be one of regression, classification"),
        ({"format": "other"}, "of the format 'other'"),
        ({"format_version": 2}, "a newer AAM wrote them"),
        ({"confidence": 1.5}, "the confidence is 1.5"),
        ({"groups": "many"}, "groups is 'many'; it must be of type int"),
        ({"task": "classification"}, "needs classes"),
        ({"classes": ["a"]}, "a regression has no classes"),
    ],
)
def test_a_wrong_description_is_refused_in_one_line(folder, change, message):
    about = json.loads((folder / "about.json").read_text())
    (folder / "about.json").write_text(json.dumps(about | change))
    with pytest.raises(ValidationError, match=message):
        AAMPredictionsDirectoryFormat(str(folder), mode="r").validate()


@pytest.mark.parametrize(
    "column, values, message",
    [
        ("prediction", ["1", "2", "1"], "the class is not known in 1 of 3 samples: b"),
        ("01", [1.5, 0.9, 0.1], "not in .0, 1."),
        ("01", [0.9, 0.9, 0.1], "do not sum to 1 in 1 of 3 samples: 01"),
    ],
)
def test_wrong_probabilities_are_not_written(tmp_path, column, values, message):
    good = classes()
    bad = Details(good.table.assign(**{column: values}), good.about)
    with pytest.raises(InputError, match=message):
        bad.write(tmp_path)
    assert not list(tmp_path.iterdir())


class _Forest(NamedTuple):
    """What the details read of a forest."""

    linear_share: float = 0.0


@pytest.mark.parametrize(
    ("forest", "held_out", "blend"),
    [
        (_Forest(), 40, {"networks": 0.7, "forest": 0.3}),
        (_Forest(0.25), 40, {"networks": 0.7, "forest": 0.3, "linear_share": 0.25}),
        (_Forest(), 29, None),  # too few to choose
        (_Forest(), 0, None),
        (None, 40, None),
    ],
)
def test_a_blend_is_told_where_held_out_samples_chose_it(forest, held_out, blend):
    model = examples.regressor().view(Model)
    own = {"held_out": {"samples": held_out}}
    changed = replace(model, forest=forest, network_weight=0.7, metrics=own)
    table = pd.DataFrame({"prediction": [1.0]}, index=pd.Index(["s"], name="sample-id"))
    assert Details.of_model(changed, table, source="new samples").about["blend"] == blend


class TestActions:
    def test_a_fit_returns_what_its_model_says_of_held_out_samples(self):
        model = examples.regressor().view(Model)
        details = examples.regressor_details().view(Details)
        expected = model.val_predictions[["prediction", "lower", "upper"]]
        pd.testing.assert_frame_equal(details.table[expected.columns], expected, check_names=False)
        folds = [fold + 1 for fold in model.val_folds]
        assert list(details.table["fold"][model.val_samples]) == folds
        about = details.about
        assert about["source"] == "out-of-fold" and about["column"] == "gradient"
        assert about["confidence"] == 0.9 and about["folds"] == 2
        assert about["blend"] is None  # 24 held-out samples are too few to choose it

    def test_notes_of_a_fit_are_in_its_details_and_its_model(self, methods):
        fewer = methods.column("gradient").to_series().iloc[2:]
        made = methods.run(
            "fit_regressor",
            metadata=qiime2.NumericMetadataColumn(fewer),
            missing_samples="ignore",
            group_by=methods.column("host_subject_id"),
            **examples.quick("optim.cycles=7", "model.members=2"),
        )
        details = made.details.view(Details)
        assert details.about["group_by"] == "host_subject_id"
        assert details.about["groups"] == 6
        for line in ("2 of 24 samples of the table are not in the metadata", "optim.cycles has no"):
            assert [note for note in details.about["notes"] if note.startswith(line)], line
        assert details.about["notes"] == made.regressor.view(Model).run["notes"]

    def test_a_confidence_that_is_asked_for(self, methods):
        half = methods.run("predict_regression", regressor=examples.regressor(), confidence=0.5)
        whole = methods.run("predict_regression", regressor=examples.regressor())
        narrow, wide = (it.details.view(Details) for it in (half, whole))
        widths = [(it.table["upper"] - it.table["lower"]).mean() for it in (narrow, wide)]
        assert widths[0] < widths[1]
        assert (narrow.about["confidence"], wide.about["confidence"]) == (0.5, 0.9)
        assert narrow.about["source"] == "new samples" and narrow.about["groups"] is None
        assert any("trained or validated on" in line for line in narrow.about["notes"])
        classifier = {"classifier": examples.classifier(), "confidence": 0.5}
        details = methods.run("predict_classification", **classifier).details.view(Details)
        sets = details.table["prediction_set"].str.split("|")
        assert all(set(one) <= {"case", "control", ""} for one in sets)

    def test_metadata_of_an_artifact(self):
        frame = examples.classifier_details().view(qiime2.Metadata).to_dataframe()
        assert {"prediction", "case", "control", "fold"} <= set(frame)
        assert frame["case"].dtype == float and set(frame["prediction"]) <= {"case", "control"}
