"""Splits, cross-validations and comparisons on the tiny study of the usage examples."""

from __future__ import annotations

import dataclasses

import biom
import pandas as pd
import pytest
import qiime2
from qiime2.sdk import PluginManager

from aam_core.errors import InputError
from q2_aam._details import Details
from q2_aam.actions.evaluation import compare
from q2_aam.examples import study as examples


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    """Intervals of few bootstrap draws, which take no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aam_core.comparison.draws_of", lambda *sizes: 20)
        yield


def split(methods, column, **options):
    options = {"metadata": methods.column(column), "table": methods.table} | options
    result = methods.registered["split_table"](**options)
    tables = [part.view(biom.Table) for part in result[:2]]
    targets = [part.view(qiime2.Metadata).to_dataframe().iloc[:, 0] for part in result[2:]]
    return tables, targets


@pytest.mark.parametrize("target", ["gradient", "group"])
def test_a_split_keeps_every_sample_once_with_its_value(methods, target):
    tables, targets = split(methods, target, test_size=0.25, random_state=3)
    sides = [list(table.ids()) for table in tables]
    assert sorted(sides[0] + sides[1]) == sorted(methods.metadata.ids)
    assert len(sides[1]) == pytest.approx(6, abs=2)
    truth = methods.column(target).to_series()
    for side, values in zip(sides, targets, strict=True):
        assert list(values.index) == side and values.tolist() == truth[side].tolist()
    again = split(methods, target, test_size=0.25, random_state=3)[0]
    other = split(methods, target, test_size=0.25, random_state=4)[0]
    assert list(again[1].ids()) == sides[1] != list(other[1].ids())


def test_counts_stay_as_they_are(methods):
    whole = methods.table.view(biom.Table)
    for part in split(methods, "gradient")[0]:
        expected = whole.filter(part.ids(), inplace=False).remove_empty("observation")
        assert part == expected


def test_a_group_is_on_one_side(methods):
    group = methods.column("host_subject_id")
    (train, test), _ = split(methods, "gradient", group_by=group)
    of = group.to_series()
    assert not set(of[train.ids()]) & set(of[test.ids()])


def test_classes_are_on_both_sides_in_equal_shares(methods):
    _, (train, test) = split(methods, "group", test_size=0.5)
    assert train.value_counts().to_dict() == pytest.approx(test.value_counts().to_dict(), abs=1)


def test_samples_without_a_value(methods):
    values = methods.column("gradient").to_series().iloc[2:]
    column = qiime2.NumericMetadataColumn(values)
    with pytest.raises(InputError, match="2 of 24 samples have no value in .*'gradient'"):
        split(methods, "gradient", metadata=column)
    tables, _ = split(methods, "gradient", metadata=column, missing_samples="ignore")
    assert sorted(name for part in tables for name in part.ids()) == sorted(values.index)


def test_a_split_that_cannot_be_made(methods):
    with pytest.raises(InputError, match="test_size of 0.01 leaves no sample on one side"):
        split(methods, "gradient", test_size=0.01)
    alone = qiime2.CategoricalMetadataColumn(
        pd.Series("one", methods.column("group").to_series().index, name="host")
    )
    with pytest.raises(InputError, match="All 24 samples are of one group"):
        split(methods, "gradient", group_by=alone, stratify=False)


@pytest.fixture(scope="module")
def folds():
    """Details of two folds, fitted apart from each other."""
    return [examples.regressor_fold(number)() for number in (1, 2)]


def joined(folds, kind="regression"):
    return PluginManager().get_plugin(id="aam").methods[f"join_{kind}_folds"](folds=folds)


def test_folds_become_one_cross_validation(methods, folds):
    result = joined(folds)
    details, about = result.details.view(Details), result.details.view(Details).about
    assert sorted(details.table.index) == sorted(methods.metadata.ids)
    assert (about["source"], about["group_by"], about["column"]) == (
        *("cross-validation", "host_subject_id", "gradient"),
    )
    assert (about["folds"], about["repeats"], about["groups"]) == (2, 1, 6)
    assert set(about["baselines"]) == {"random_forest", "dummy"}
    assert list(details.comparison.index) == ["aam", "network", "random_forest", "dummy"]
    ours = details.methods[details.methods["method"] == "aam"].set_index("sample-id")
    errors = (ours["prediction"] - ours["actual"]).abs()
    assert details.comparison.loc["aam", "mae"] == pytest.approx(errors.mean())
    values = result.predictions.view(qiime2.Metadata).to_dataframe().iloc[:, 0]
    assert values.to_dict() == pytest.approx(details.table["prediction"].to_dict())
    result.details.validate()
    truth = methods.column("gradient").to_series()
    assert ours["actual"].to_dict() == pytest.approx(truth.to_dict())


def test_importances_of_folds_are_joined(methods, folds):
    join = PluginManager().get_plugin(id="aam").methods["join_importances"]
    (importance,) = join(folds=folds)
    table = importance.view(pd.DataFrame)
    each = [fold.view(Details).importance["importance"] for fold in folds]
    assert set(table.index) == set(each[0].index) | set(each[1].index)
    sizes = [len(fold.view(Details).table) for fold in folds]
    mean = (each[0] * sizes[0]).add(each[1] * sizes[1], fill_value=0) / sum(sizes)
    both = each[0].index.intersection(each[1].index)
    assert table["importance"][both].to_dict() == pytest.approx(mean[both].to_dict())
    importance.validate()
    without = dataclasses.replace(folds[0].view(Details), importance=None)
    artifact = qiime2.Artifact.import_data("SampleData[AAMPredictions]", without)
    with pytest.raises(InputError, match="1 of 2 folds have no importances"):
        join(folds=[artifact, folds[1]])
    with pytest.raises(InputError, match="1 of 2 folds are missing"):
        join(folds=folds[:1])
    again = qiime2.Artifact.import_data(folds[0].type, folds[0].view(Details))
    with pytest.raises(InputError, match="12 samples are in several of the folds"):
        join(folds=[*folds, again])
    other = dataclasses.replace(folds[1].view(Details))
    other.about["column"] = "diet"
    other = qiime2.Artifact.import_data(folds[0].type, other)
    with pytest.raises(InputError, match="different cross-validations: column is"):
        join(folds=[folds[0], other])


def test_a_whole_cross_validation_joins_to_itself(folds):
    once = joined(folds).details
    again = joined([once]).details.view(Details)
    pd.testing.assert_frame_equal(again.comparison, once.view(Details).comparison)


def test_folds_that_do_not_belong_together(folds):
    with pytest.raises(InputError, match="1 of 2 folds are missing: fold 2 of repeat 1"):
        joined(folds[:1])
    with pytest.raises(InputError, match="Folds of a classification .* details is: regression"):
        joined(folds, "classification")
    with pytest.raises(InputError, match="12 samples are in several of the folds"):
        joined([*folds, qiime2.Artifact.import_data(folds[0].type, folds[0].view(Details))])
    other = folds[1].view(Details)
    other.about["seed"] = 7
    other = qiime2.Artifact.import_data(folds[0].type, other)
    with pytest.raises(InputError, match="different cross-validations: seed is 0 and 7"):
        joined([folds[0], other])


def test_classes_keep_their_probabilities(methods):
    parts = [examples.classifier_fold(number)() for number in (1, 2)]
    result = joined(parts, "classification")
    shares = result.probabilities.view(pd.DataFrame)
    assert (
        list(shares.columns) == ["case", "control"] == result.details.view(Details).about["classes"]
    )
    classes = result.predictions.view(qiime2.Metadata).to_dataframe().iloc[:, 0]
    assert (shares.idxmax(axis=1) == classes).all()


def test_one_fold_has_no_page(folds, tmp_path):
    with pytest.raises(InputError, match="no comparison of methods.*join-regression-folds"):
        compare(str(tmp_path), folds[0].view(Details))
    assert not list(tmp_path.iterdir())


def test_the_page_of_a_cross_validation(folds, tmp_path):
    details = joined(folds).details.view(Details)
    details.about["notes"] = ["3 samples were <dropped>"]
    compare(str(tmp_path), details, units="g & h")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "by host_subject_id, 6 groups, 2 folds" in page
    assert "3 samples were &lt;dropped&gt;" in page and "g &amp; h" in page
    assert "Wilcoxon signed-rank test of the groups" in page
    table = pd.read_csv(tmp_path / "comparison.tsv", sep="\t", index_col=0)
    pd.testing.assert_frame_equal(table, details.comparison, check_dtype=False)
    errors = pd.read_csv(tmp_path / "paired_errors.tsv", sep="\t")
    assert set(errors["method"]) == {"AAM's networks alone", "random forest", "median"}
    by_fold = pd.read_csv(tmp_path / "folds.tsv", sep="\t")
    assert by_fold["samples"].sum() == 24 and "repeat" not in by_fold
    for name in ("methods.svg", "paired.pdf", "predictions_by_method.tsv"):
        assert (tmp_path / name).stat().st_size


def test_a_cross_validation_without_groups_or_forest_says_so(folds, tmp_path):
    details = joined(folds).details.view(Details)
    keep = details.methods["method"] != "random_forest"
    details = dataclasses.replace(
        details,
        about={**details.about, "group_by": None, "blend": None},
        methods=details.methods[keep],
        comparison=details.comparison.drop(index="random_forest").drop(columns=["better", "p"]),
    )
    compare(str(tmp_path), details)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "The samples were not grouped" in page and "Wilcoxon" not in page


def test_what_a_cross_validation_refuses(methods):
    column = methods.column("gradient")
    quick = {"metadata": column, **examples.QUICK}
    methods.refuses("fold is one of cv", "cross_validate", fold=1, fold_by=column, **quick)
    methods.refuses("There are 2 folds .* no fold 3", "cross_validate", fold=3, cv=2, **quick)
    methods.refuses("baselines has 'none'", "cross_validate", baselines=["none", "linear"], **quick)


def test_baselines_of_other_samples_are_refused(methods, folds, tmp_path):
    def score(**changed):
        given = {
            "training_targets": examples.training_targets(),
            "test_targets": examples.test_targets(),
            "details": folds[0],
        }
        return methods.run("score_baselines", baselines=["dummy"], **given | changed)

    scored = score().details_with_baselines
    details = scored.view(Details)
    assert list(details.comparison.index) == ["aam", "dummy"] and details.about["folds"] == 1
    compare(str(tmp_path), details)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "one test split" in page and not (tmp_path / "folds.tsv").exists()
    assert "mean of the folds" not in page and "each fold" not in page
    median = examples.training_targets().view(qiime2.Metadata).to_dataframe().median().iloc[0]
    dummy = details.methods.loc[details.methods["method"] == "dummy", "prediction"]
    assert dummy.to_numpy() == pytest.approx(median)
    with pytest.raises(InputError, match="Folds of a regression .* details is: test split"):
        joined([scored])
    with pytest.raises(InputError, match="12 of 12 predicted samples have no test target"):
        score(details=folds[1])
    with pytest.raises(InputError, match="12 predicted samples are training samples, too"):
        score(training_targets=examples.test_targets())


def test_repeats_of_folds_are_joined(methods):
    column, subject = methods.column("gradient"), methods.column("host_subject_id")
    given = {"metadata": column, "group_by": subject, "cv": 2, "repeats": 2, **examples.QUICK}
    parts = [
        methods.run("cross_validate", fold=fold, baselines=["dummy"], **given).details
        for fold in range(1, 5)
    ]
    details = joined(parts).details.view(Details)
    assert details.about["repeats"] == 2 and len(details.table) == 24
    assert len(details.methods) == 24 * 2 * 3  # AAM, its networks, the median
    with pytest.raises(InputError, match="1 of 4 folds are missing: fold 1 of repeat 2"):
        joined([parts[0], parts[1], parts[3]])


def test_a_class_that_the_model_was_not_fitted_to(methods):
    truth = methods.column("group").to_series()
    fold = examples.classifier_fold(1)()
    test = truth[fold.view(pd.DataFrame).index].replace("case", "new")
    kinds = {"training_targets": truth.drop(test.index), "test_targets": test}
    given = {
        name: qiime2.Artifact.import_data("SampleData[TrueTargets]", values)
        for name, values in kinds.items()
    }
    methods.refuses(
        "classes that the model was not fitted to .new", "score_baselines", details=fold, **given
    )


def test_columns_that_settings_or_the_model_of_the_start_read(methods):
    given = {
        "metadata": methods.column("gradient"),
        "covariates": qiime2.Metadata(methods.metadata.to_dataframe()[["sequencing_run"]]),
        "n_estimators": 0,
    }
    scaled = examples.quick("model.head.scale_by=sequencing_run")
    start = methods.run("fit_regressor", **given, **scaled).regressor
    given |= {"cv": 2, "fold": 1, "baselines": ["none"], "init_from": start}
    by_run = examples.quick("train.val_where=sequencing_run=run1")
    part = methods.run("cross_validate", **given, **by_run)
    said = part.details.view(Details).about["notes"]
    assert any("train.val_where" in it and "only a single fit reads it" in it for it in said)


def test_groups_of_equal_errors_are_nobodys():
    from q2_aam.pages.comparison_charts import paired_chart

    table = pd.DataFrame({"group": ["a", "b"], "samples": 1, "method": "random forest"})
    for other, sides in (([2.0, 3.0], 2), ([2.0, 1.0], 3)):
        chart = paired_chart(
            table.assign(other=other, AAM=1.0), "error", {"random_forest": "random forest"}
        )
        points = chart["layer"][1]
        domain = points["encoding"]["color"]["scale"]["domain"]
        assert len(domain) == sides and ("equal" in domain) == (sides == 3)
        assert "=== datum.other ? 'equal'" in points["transform"][1]["calculate"]
