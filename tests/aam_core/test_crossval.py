from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from aam_core import crossval, fitting
from aam_core.baseline import predict_baseline
from aam_core.comparison import metrics_of_table
from aam_core.crossval import cross_validate
from aam_core.data.splits import make_folds
from aam_core.errors import InputError
from aam_core.evaluation import evaluate
from aam_core.prediction import predict
from aam_core.target_frames import target_frames
from aam_core.tasks.metrics import classification_metrics, regression_metrics

QUICK = {"train.max_steps": 1}
SUBJECTS = 15
OTHERS = ("network", "random_forest", "extra_trees", "linear", "dummy", "reads")
"""The methods that are scored too."""
SUMMARIES = ("network_weight", "comparison", "per_fold")


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    """Intervals of few bootstrap draws, which take no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aam_core.comparison.draws_of", lambda *sizes: 20)
        yield


@pytest.fixture(scope="module")
def ages(small, brief, tmp_path_factory):
    """A cross-validated regression, and its folder."""
    out = tmp_path_factory.mktemp("cv") / "ages"
    options = {"group_by": "host_subject_id", "folds": 3, "output": out}
    return cross_validate(small, "gradient", config=brief("fitting", QUICK), **options), out


@pytest.fixture(scope="module")
def groups(small, brief, tmp_path_factory):
    """A cross-validated classification, and its folder."""
    out = tmp_path_factory.mktemp("cv") / "groups"
    options = {"group_by": "host_subject_id", "folds": 3, "output": out, "task": "classification"}
    options["importance_repeats"] = 1
    return cross_validate(small, "group", config=brief("fitting", QUICK), **options), out


def test_it_shows_itself_in_a_few_lines(ages, groups):
    for result, metric in ((ages[0], "r2"), (groups[0], "auc")):
        lines = repr(result).splitlines()
        assert lines[0] == "Cross-validation: 60 held-out samples of 15 groups, in 3 folds"
        assert len(lines) == 8 and lines[1].split()[0] == "AAM"
        assert f"{metric} {result.metrics['aam'][metric]:.4g}" in lines[1]
        assert "<table>" in result._repr_html_() and "random forest" in result._repr_html_()


def test_every_sample_is_predicted_once_in_its_fold(ages, small):
    table = ages[0].predictions
    assert table.index.tolist() == small.sample_ids
    assert list(table.columns) == ["fold", "actual", "prediction", "lower", "upper", *OTHERS]
    assert table["actual"].tolist() == small.metadata["gradient"].tolist()
    subjects = small.metadata["host_subject_id"]
    assert (table["fold"].groupby(subjects).nunique() == 1).all()
    folds = make_folds(small.sample_ids, folds=3, seed=0, groups=subjects)
    for number, (_, test) in enumerate(folds, start=1):
        assert table.index[table["fold"] == number].tolist() == test


def test_metrics_are_of_all_folds_together(ages):
    table, metrics = ages[0].predictions, ages[0].metrics
    assert set(metrics) == {"held_out", "aam", *OTHERS, "interval", *SUMMARIES}
    assert metrics["held_out"] == {"samples": 60, "groups": SUBJECTS, "folds": 3}
    assert metrics["interval"]["nominal_coverage"] == 0.9
    fifths = metrics["interval"]["quintiles"]
    assert sum(part["samples"] for part in fifths) == len(table)
    within = table["actual"].between(table["lower"], table["upper"])
    assert metrics["aam"]["coverage"] == pytest.approx(within.mean())
    folds = [fold["held_out"] for fold in metrics["per_fold"]]
    assert [fold["samples"] for fold in folds] == table["fold"].value_counts(sort=False).tolist()
    assert sum(fold["groups"] for fold in folds) == SUBJECTS
    for name, column in (("aam", "prediction"), *zip(OTHERS, OTHERS, strict=True)):
        expected = regression_metrics(table["actual"], table[column])
        assert {key: metrics[name][key] for key in expected} == pytest.approx(expected, nan_ok=True)
        assert [fold["fold"] for fold in metrics["per_fold"]] == [1, 2, 3]
        for fold in metrics["per_fold"]:
            part = table[table["fold"] == fold["fold"]]
            expected = regression_metrics(part["actual"], part[column])
            assert {key: fold[name][key] for key in expected} == pytest.approx(
                expected, nan_ok=True
            )


def test_what_is_written(ages, groups):
    for result, out in (ages, groups):
        names = sorted(item.name for item in out.iterdir())
        assert names == [
            *("comparison.tsv", "folds.tsv"),
            *(["importance.tsv"] if result.importance is not None else []),
            *("metrics.json", "predictions.png", "predictions.tsv"),
        ]
        assert set(json.loads((out / "metrics.json").read_text())) == set(result.metrics)
        table = pd.read_csv(out / "predictions.tsv", sep="\t", index_col="sample-id")
        assert list(table.columns) == list(result.predictions.columns)
        assert table["prediction"].tolist() == pytest.approx(
            result.predictions["prediction"].tolist()
        )


def test_importances_are_of_all_folds(ages, groups, small):
    assert ages[0].importance is None
    result, out = groups
    written = pd.read_csv(out / "importance.tsv", sep="\t", index_col="feature-id")
    assert written["importance"].tolist() == pytest.approx(result.importance.tolist())
    assert set(written.index) == set(small.feature_ids) and (written["importance"] != 0).any()
    assert written["importance"].is_monotonic_decreasing


def test_classification(groups, small):
    table, metrics = groups[0].predictions, groups[0].metrics
    others = [name for o in OTHERS for name in (o, f"{o}_case", f"{o}_control")]
    assert list(table.columns) == ["fold", "actual", "prediction", "case", "control", *others]
    for name in OTHERS:
        probabilities = table[[f"{name}_case", f"{name}_control"]]
        assert probabilities.sum(axis=1).to_numpy() == pytest.approx(1)
        expected = classification_metrics(
            table["actual"], table[name], probabilities.set_axis(["case", "control"], axis=1)
        )
        assert {key: metrics[name][key] for key in expected} == pytest.approx(expected, nan_ok=True)
    assert table["actual"].tolist() == small.metadata["group"].tolist()
    expected = classification_metrics(
        table["actual"], table["prediction"], table[["case", "control"]]
    )
    assert {key: metrics["aam"][key] for key in expected} == pytest.approx(expected, nan_ok=True)
    assert 0.6 < metrics["random_forest"]["auc"] <= 1


def test_the_forest_is_optional_and_the_frozen_encoder_too(small, encoder, brief):
    config = brief("fitting", QUICK)
    options = {"encoder": encoder.folder, "freeze_encoder": True, "baseline": False, "folds": 2}
    plain = ["fold", "actual", "prediction", "lower", "upper"]
    for trees, more in ((10, ["network"]), (0, [])):
        config = config.replace({"forest.trees": trees})
        result = cross_validate(small, "gradient", config=config, **options)
        assert set(result.metrics) == {"held_out", "aam", *more, "interval", *SUMMARIES}
        assert result.metrics["held_out"] == {"samples": 60, "folds": 2}
        assert list(result.predictions.columns) == [*plain, *more]


def test_the_networks_alone_are_those_of_a_fit_without_trees(ages, small, brief):
    config = brief("fitting", {**QUICK, "forest.trees": 0})
    options = {"group_by": "host_subject_id", "folds": 3, "baseline": False}
    bare = cross_validate(small, "gradient", config=config, **options)
    result, expected = ages[0].predictions["network"], bare.predictions["prediction"]
    assert result.to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-6)


DEPTH = "The number of reads of a sample alone predicts"


@pytest.mark.parametrize(
    "task, predicts",
    [("regression", False), ("regression", True), ("classification", True)],
)
def test_where_depth_predicts_the_target_there_is_a_warning(small, brief, caplog, task, predicts):
    """Cases were sequenced more deeply: every method can know them by it."""
    reads = np.asarray(small.counts.sum(axis=1)).ravel()
    values = pd.Series(reads if predicts else np.random.default_rng(0).permutation(reads))
    if task == "classification":
        values = (values > values.median()).map({True: "deep", False: "shallow"})
    values = values.set_axis(small.sample_ids).rename("depth")
    options = {"task": task, "folds": 3, "config": brief("fitting", {**QUICK, "forest.trees": 0})}
    result = cross_validate(small, values, **options)
    lines = [item.getMessage() for item in caplog.records if item.levelname == "WARNING"]
    lines = [line for line in lines if DEPTH in line]
    value = result.metrics["reads"]["r2" if task == "regression" else "auc"]
    if predicts:
        assert value > 0.9
        (line,) = lines
        assert f"{value:.3f}" in line and "'depth'" in line and "Rarefy the table" in line
    else:
        assert value < 0.2 and not lines


def test_an_encoder_that_has_seen_tested_samples(small, encoder, regressor, brief, caplog):
    config = brief("fitting", QUICK)
    options = {"baseline": False, "folds": 2, "config": config}
    model = replace(encoder.model, train_samples=small.sample_ids[:7], val_samples=["elsewhere"])
    cross_validate(small, "gradient", encoder=model, **options)
    lines = [item.getMessage() for item in caplog.records if item.levelname == "WARNING"]
    lines = [line for line in lines if "The encoder was" in line]
    assert len(lines) == 1
    assert "pretrained (without labels) on 7 of the 60 samples: " in lines[0]
    assert all(name in lines[0] for name in small.sample_ids[:5])
    assert small.sample_ids[5] not in lines[0]
    caplog.clear()
    cross_validate(small, "gradient", encoder=replace(model, train_samples=[]), **options)
    assert "The encoder was" not in caplog.text
    cross_validate(small, "gradient", encoder=regressor.folder, **options)
    assert "was fitted (with labels) on 60 of the 60 samples" in caplog.text


def test_classes_called_as_the_bounds_of_an_interval(small, brief):
    airway = small.metadata["group"].map({"case": "lower", "control": "upper"}).rename("airway")
    options = {"folds": 2, "task": "classification", "config": brief("fitting", QUICK)}
    result = cross_validate(small, airway, **options)
    assert list(result.predictions.columns)[2:5] == ["prediction", "lower", "upper"]
    for name in ("aam", *OTHERS):
        assert 0 <= result.metrics[name]["auc"] <= 1  # not NaN


def test_classes_called_as_another_method(small, brief, capsys):
    """Their columns would clash; those of a plain fit do not."""
    names = {"case": "network", "control": "reads_1"}
    values = small.metadata["group"].map(names).rename("source")
    config = brief("fitting", QUICK)
    capsys.readouterr()
    words = "'source' has classes that are columns of a cross.* predictions: network, reads_1. Give"
    with pytest.raises(InputError, match=words):
        cross_validate(small, values, task="classification", folds=2, config=config)
    assert capsys.readouterr().err == ""
    model = fitting.fit_classifier(small, values, config=config)
    predictions = predict(model, small)
    assert list(predictions.columns)[:3] == ["prediction", "network", "reads_1"]
    assert "auc" in evaluate(predictions, values.to_frame(), "source")


def test_a_test_sample_has_no_part_in_its_training(small, brief):
    """Its value may be anything: its prediction stays."""
    config = brief("fitting", QUICK)
    values = small.metadata["gradient"].copy()
    before = cross_validate(small, values, folds=3, baseline=True, config=config).predictions
    odd = before.index[before["fold"] == 2]
    values[odd] = 1000.0 + np.arange(len(odd))
    after = cross_validate(small, values, folds=3, baseline=True, config=config).predictions
    columns = ["prediction", "lower", "upper", *OTHERS]
    pd.testing.assert_frame_equal(before.loc[odd, columns], after.loc[odd, columns])
    other = before.index.difference(odd)
    assert (before.loc[other, "prediction"] != after.loc[other, "prediction"]).all()


def test_validation_within_a_fold_honours_the_groups(small, brief, monkeypatch, capsys):
    """Three hosts: one to test, and either other to train and to validate on."""
    models, fit = [], fitting.fit_regressor

    def kept(*args, **options):
        models.append((fit(*args, **options), options["split"]))
        return models[-1][0]

    monkeypatch.setitem(fitting.FITS, "regression", kept)
    host = pd.Series([f"host {i % 3}" for i in range(60)], small.sample_ids)
    for members in (1, 2):
        models.clear()
        changes = {"model.members": members, "train.val_fraction": 0.5}
        config = brief("fitting", {**QUICK, **changes})
        options = {"group_by": host, "folds": 3, "config": config, "baseline": False}
        fold = cross_validate(small, "gradient", **options).predictions["fold"]
        for number, (model, split) in enumerate(models, start=1):
            tested = set(host[fold.index[fold == number]])
            names = np.unique(split.train + split.val)
            for held_out in split.held_out(names, members):
                train, val = set(host[names[~held_out]]), set(host[names[held_out]])
                assert len(train) == len(val) == 1 and tested | train | val == set(host)
            assert model.val_samples == split.val
    said = capsys.readouterr().err
    assert "fold 1/3: epoch" in said and "fold 3/3: epoch" in said


def test_a_class_that_a_fold_never_trains_on_has_probability_0_there(small, brief, monkeypatch):
    """Two hosts have it, and are tested together, as StratifiedGroupKFold may do."""
    hosts = pd.Series([f"host {i // 10}" for i in range(60)], small.sample_ids)
    values = pd.Series(["common", "other"] * 30, small.sample_ids)
    values.iloc[[0, 1, 10, 11]] = "another"
    halves = small.sample_ids[:30], small.sample_ids[30:]
    folds = [halves, halves[::-1]]
    monkeypatch.setattr("aam_core.data.folds.make_folds", lambda *_, **__: folds)
    options = {"group_by": hosts, "folds": 2, "task": "classification"}
    result = cross_validate(small, values, config=brief("fitting", QUICK), **options)
    table = result.predictions
    classes = ["another", "common", "other"]
    others = [[o, *(f"{o}_{name}" for name in classes)] for o in OTHERS]
    assert list(table.columns) == ["fold", "actual", "prediction", *classes, *sum(others, [])]
    for columns in (classes, *(other[1:] for other in others)):
        assert table[columns].sum(axis=1).to_numpy() == pytest.approx(1)
        assert (table.loc[halves[0], columns[0]] == 0).all()
        assert (table.loc[halves[1], columns[0]] > 0).any()
    for name in ("aam", "network", "random_forest"):
        assert 0 < result.metrics[name]["auc"] < 1


def test_what_is_inferred_and_what_conditions_leave_open_is_said(small, brief, capsys):
    site = pd.Series(np.where(np.arange(60) < 40, "here", "there"), small.sample_ids)
    columns = {"site": site.mask(np.arange(60) == 1), "sick": np.arange(60) % 2}
    study = replace(small, metadata=small.metadata.assign(**columns))
    config = brief("fitting", {**QUICK, "forest.trees": 0})
    cross_validate(study, "sick", test_where="site=there", config=config, baseline=False)
    said = capsys.readouterr().err
    assert "1 of 60 samples have no value in site, and are trained on: S001.02" in said
    assert "'sick' holds the numbers 0 and 1 alone, which are learned as numbers" in said
    settings = {"train.val_where": "site=there", "train.max_steps": 1}
    fitting.fit_regressor(study, "sick", config=config.replace(settings))
    said = capsys.readouterr().err
    assert "1 of 60 samples have no value in site" in said and "learned as numbers" not in said


def test_a_class_that_no_fold_trains_on_is_said_and_has_probability_0(small, brief, capsys):
    site = np.where(np.arange(60) < 40, "here", "there")
    values = np.where(site == "there", "late", small.metadata["group"])
    study = replace(small, metadata=small.metadata.assign(site=site, stage=values))
    options = {"config": brief("fitting", QUICK), "baseline": ["random_forest"]}
    result = cross_validate(study, "stage", test_where="site=there", **options)
    assert "that is never predicted there: late (fold 1)" in capsys.readouterr().err
    for prefix in ("", "random_forest_"):
        assert (result.predictions[f"{prefix}late"] == 0).all()
    assert result.metrics["aam"]["accuracy"] == 0
    assert np.isfinite(result.by_method["late"]).all()


@pytest.mark.parametrize(
    "target, settings, words",
    [
        ("gradient", {"loss.sample_weight": "w"}, "'w' is blank for 1 of 30"),
        ("stage", {"loss.class_weight": "rare=3"}, "class_weight has 1 classes"),
        (
            "stage",
            {"loss.classes": "ordinal", "loss.class_order": "a,b,rare"},
            "class_order has rare",
        ),
    ],
)
def test_what_a_fold_cannot_learn_is_said_before_the_first_is_trained(
    small, brief, monkeypatch, target, settings, words
):
    monkeypatch.setattr(fitting, "FITS", {})  # nothing can be trained
    first = np.arange(60) < 30
    columns = {
        "site": np.where(first, "x", "y"),
        "w": np.where(np.arange(60) > 0, 1.0, np.nan),  # of a sample that the last fold trains on
        "stage": np.where(np.arange(60) % 2, "a", np.where(first, "rare", "b")),
    }
    study = replace(small, metadata=small.metadata.assign(**columns))
    options = {"fold_by": "site", "config": brief("fitting", {**QUICK, **settings})}
    with pytest.raises(InputError, match=f"In the 30 training samples of fold [12]: .*{words}"):
        cross_validate(study, target, **options)


def test_an_output_that_is_a_file_or_of_a_model(small, brief, tmp_path, capsys):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(InputError, match="taken is a file"):
        options = {"config": brief("fitting", QUICK), "output": tmp_path / "taken"}
        cross_validate(small, "gradient", **options)
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"format": "aam", "kind": "encoder"}')
    with pytest.raises(InputError, match="model holds a model, which a cross-validation would"):
        cross_validate(small, "gradient", **{**options, "output": model})
    assert "epoch" not in capsys.readouterr().err


def test_a_later_fold_that_cannot_be_split_says_so_before_the_first_is_trained(
    small, brief, monkeypatch, capsys
):
    """A class of two samples leaves one to train on where the other is tested.

    Members that hold this one out never see the class, as trees that did not draw it; for a single
    network that is an error.
    """
    ids = small.sample_ids
    values = pd.Series(["rare"] * 2 + ["common"] * 58, ids)
    folds = [(ids[:30], ids[30:]), (ids[1:], ids[:1])]
    options = {"task": "classification", "folds": 2, "baseline": False}
    monkeypatch.setattr("aam_core.data.folds.make_folds", lambda *_, **__: folds)
    capsys.readouterr()
    with pytest.raises(InputError, match="in one sample only.*: rare"):
        single = brief("fitting", {**QUICK, "model.members": 1})
        cross_validate(small, values, config=single, **options)
    assert capsys.readouterr().err == ""
    folds[1] = ids[1:], [ids[0], *ids[30:]]
    folds[0] = ids[:30], ids[30:]
    one = pd.Series(["rare"] * 31 + ["common"] * 29, ids)
    with pytest.raises(InputError, match="In the 30 training samples of fold 1: .* one class only"):
        cross_validate(small, one, config=brief("fitting", QUICK), **options)
    assert capsys.readouterr().err == ""


def test_a_class_of_two_samples_is_cross_validated(small, brief):
    values = pd.Series(["rare"] * 2 + ["common"] * 58, small.sample_ids)
    options = {"task": "classification", "folds": 2, "config": brief("fitting", QUICK)}
    table = cross_validate(small, values, **options).predictions
    assert table[["rare", "common"]].sum(axis=1).to_numpy() == pytest.approx(1)


@pytest.mark.parametrize(
    "given, words",
    [
        ({"folds": 1}, "Folds must be at least 2"),
        ({"folds": 61}, "There are 60 samples, fewer than the 61 folds"),
        ({"folds": 16, "group_by": "host_subject_id"}, "15 groups .of 60 samples., fewer than"),
        ({"folds": 2, "group_by": "two"}, "All 30 samples are of one group"),
        ({"target": "lone", "task": "classification"}, "1 classes are found in one sample only"),
        ({"target": "gradiant"}, "'gradient'"),
        ({"target": "constant"}, "one value only"),
        ({"target": "group", "task": "regression"}, "is text"),
        ({"target": "comma"}, "decimal comma"),
        ({"target": "code"}, r"30 values that are not numbers.*--task classification"),
        ({"covariates": "group", "target": "group"}, "cannot be a covariate"),
    ],
)
def test_what_cannot_be_split_says_so_before_anything_is_trained(
    small, brief, tmp_path, capsys, given, words
):
    metadata = small.metadata.assign(
        two=["a", "b"] * 30,
        lone=["rare"] + ["common"] * 59,
        constant=1.0,
        comma=[f"{k},5" for k in range(60)],
        code=["1", "A"] * 30,
    )
    study = replace(small, metadata=metadata)
    options = {"target": "gradient", "config": brief("fitting", QUICK), **given}
    capsys.readouterr()
    with pytest.raises(InputError, match=words) as caught:
        cross_validate(study, output=tmp_path / "out", **options)
    assert "\n" not in str(caught.value)
    assert "epoch" not in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_target_of_text_is_a_classification(small, brief, capsys):
    capsys.readouterr()
    options = {"folds": 2, "baseline": False, "config": brief("fitting", QUICK)}
    result = cross_validate(small, "group", covariates=["gradient"], **options)
    err = capsys.readouterr().err
    assert "Column 'group' is text: its values are classes" in err
    assert "fold 1/2: classes: case " in err
    assert {"accuracy", "auc", "f1"} <= set(result.metrics["aam"])


def test_a_covariate_is_the_same_in_every_fold(small, brief, capsys):
    """A value that is no number in one fold's samples makes the column categories in all."""
    ids = small.sample_ids
    levels = pd.Series([f"0{k % 3}" for k in range(60)], ids)
    levels[ids[:2]] = "A"
    study = replace(small, metadata=small.metadata.assign(site=levels))
    options = {"folds": 3, "baseline": True, "config": brief("fitting", QUICK)}
    capsys.readouterr()
    table = cross_validate(study, "gradient", covariates="site", **options).predictions
    assert table["prediction"].notna().all()
    err = capsys.readouterr().err
    assert err.count("covariate site is read as categories (4 levels): 2 of 60 values") == 1


def test_groups_are_compared_letter_for_letter(small, brief):
    """15 subjects called 1.1 and 1.10 in turn: as numbers they would be 8."""
    order = {name: k for k, name in enumerate(small.metadata["host_subject_id"].unique())}
    named = small.metadata["host_subject_id"].map(
        lambda name: f"{order[name] // 2 + 1}.{(1, 10)[order[name] % 2]}"
    )
    study = replace(small, metadata=small.metadata.assign(subject=named))
    options = {"group_by": "subject", "baseline": False, "config": brief("fitting", QUICK)}
    table = cross_validate(study, "gradient", folds=9, **options).predictions
    assert table["fold"].nunique() == 9
    assert (table["fold"].groupby(named).nunique() == 1).all()


# --- divided in other ways -----------------------------------------------------------------------

FEW = {"forest.trees": 0, "model.members": 1}


def test_a_column_divides_the_samples_and_groups_stay_together(small, brief):
    """Every subject is of one class here; the interval is over subjects."""
    config = brief("fitting", {**QUICK, **FEW})
    options = {"config": config, "baseline": ["dummy"], "group_by": "host_subject_id"}
    result = cross_validate(small, "gradient", fold_by="group", **options)
    group = small.metadata["group"]
    assert (result.predictions["fold"] == group.map({"case": 1, "control": 2})).all()
    assert result.metrics["comparison"]["groups"] == SUBJECTS
    assert result.metrics["comparison"]["target"] == "gradient"
    assert result.folds["fold"].to_dict() == result.predictions["fold"].to_dict()
    part = cross_validate(small, "gradient", test_where="group=control", **options)
    assert part.predictions.index.tolist() == group.index[group == "control"].tolist()
    assert part.metrics["held_out"]["folds"] == 1
    expected = small.metadata["gradient"][group == "case"].median()
    assert part.predictions["dummy"].to_numpy() == pytest.approx(expected)
    odd = pd.Series(["a", "b"] * 30, small.sample_ids, name="odd")
    with pytest.raises(InputError, match="15 groups of column 'host_subject_id' .* both sides"):
        cross_validate(small, "gradient", fold_by=odd, **options)


def test_repeats_have_metrics_of_their_own(small, brief, tmp_path):
    config = brief("fitting", {**QUICK, **FEW})
    options = {"folds": 2, "config": config, "baseline": ["linear"], "repeat": 2}
    result = cross_validate(small, "gradient", output=tmp_path / "cv", **options)
    metrics, table = result.metrics, result.predictions
    assert metrics["held_out"] == {"samples": 60, "folds": 2, "repeats": 2}
    assert table["repeat"].tolist() == [1] * 60 + [2] * 60
    for number, part in table.groupby("repeat"):
        expected = regression_metrics(part["actual"], part["linear"])
        assert metrics["per_repeat"][number - 1]["linear"] == pytest.approx(expected)
    both = [each["linear"]["mae"] for each in metrics["per_repeat"]]
    assert both[0] != both[1]
    assert metrics["linear"]["mae"] == pytest.approx(np.mean(both))
    assert metrics["spread"]["linear"]["mae"] == pytest.approx(np.std(both, ddof=1))
    assert [fold["repeat"] for fold in metrics["per_fold"]] == [1, 1, 2, 2]
    # the first is what one alone would be, and what its file says
    folds = pd.read_csv(tmp_path / "cv" / "folds.tsv", sep="\t")
    assert len(folds) == 120
    one = cross_validate(small, "gradient", **{**options, "repeat": 1})
    first = table[table["repeat"] == 1].drop(columns="repeat")
    pd.testing.assert_frame_equal(first, one.predictions)


def test_folds_at_a_time_give_the_same(small, brief):
    config = brief("fitting", {**QUICK, **FEW})
    options = {"folds": 2, "config": config, "baseline": ["linear"], "importance_repeats": 1}
    alone = cross_validate(small, "gradient", **options)
    several = cross_validate(small, "gradient", jobs=2, **options)
    pd.testing.assert_frame_equal(alone.predictions, several.predictions)
    pd.testing.assert_series_equal(alone.importance, several.importance)
    assert alone.metrics == several.metrics
    with pytest.raises(InputError, match="jobs=2 beside several processes"):
        cross_validate(small, "gradient", jobs=2, devices=2, **options)


def test_a_fold_that_fails_names_itself(small, brief, monkeypatch):
    def fails(*_, label, **__):
        raise InputError(f"no luck in {label}")

    monkeypatch.setitem(fitting.FITS, "regression", fails)
    options = {"folds": 2, "config": brief("fitting", QUICK), "baseline": False}
    with pytest.raises(InputError, match="^fold 1/2: no luck in fold 1/2$"):
        cross_validate(small, "gradient", **options)


def test_test_samples_are_predicted_where_the_fits_are(small, brief, monkeypatch):
    devices = []

    def recorded(model, study, config):
        devices.append(config.train.device)
        return target_frames(model, study, config)

    monkeypatch.setattr("aam_core.fold_fits.target_frames", recorded)
    config = brief("fitting", QUICK | {"forest.trees": 0, "train.device": "cpu:0"})
    cross_validate(small, "gradient", config=config, folds=2, baseline=False)
    assert devices == ["cpu:0"] * 2


# --- several targets -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(small):
    """A study with a second target, which the last 20 of its 60 samples lack."""
    second = (1000 - 10 * small.metadata["gradient"]).where(np.arange(60) < 40)
    return replace(small, metadata=small.metadata.assign(second=second))


def test_several_targets_are_scored_on_the_same_folds(two, brief, tmp_path):
    settings = {**QUICK, "forest.trees": 0, "ensemble.interval_by": "group"}
    config, out = brief("fitting", settings), tmp_path / "cv"
    options = {"group_by": "host_subject_id", "folds": 2, "baseline": ["random_forest", "dummy"]}
    result = cross_validate(two, ["gradient", "second"], config=config, output=out, **options)
    (second,) = result.more
    assert (result.target, second.target) == ("gradient", "second")
    assert (
        len(result.predictions) == 60 and second.predictions.index.tolist() == two.sample_ids[:40]
    )
    same = result.predictions.loc[second.predictions.index, "fold"]
    assert second.predictions["fold"].equals(same)
    lines = repr(result).splitlines()
    assert lines[1].split()[:2] == ["gradient:", "AAM"] and any(
        "second: median" in it for it in lines
    )
    # The baselines of a target learn from the samples that have a value of it.
    fold, known = second.predictions["fold"], two.metadata["second"].dropna()
    sides = [list(fold.index[mine]) for mine in (fold != 1, fold == 1)]
    alone = predict_baseline("random_forest", two, *sides, known, threads=1)["prediction"]
    found = second.predictions.loc[sides[1], "random_forest"]
    assert found.to_numpy() == pytest.approx(alone.to_numpy())
    written = json.loads((out / "metrics.json").read_text())
    assert list(written["targets"]) == ["gradient", "second"]
    assert written["targets"]["second"]["held_out"]["samples"] == 40
    below = out / "targets" / "2-second"
    assert sorted(it.name for it in below.iterdir()) == sorted(
        it.name for it in out.iterdir() if it.is_file()
    )
    assert len(pd.read_csv(below / "predictions.tsv", sep="\t")) == 40


def test_targets_of_an_earlier_output_are_removed(tmp_path):
    folder = tmp_path / "targets"
    for name in ("2-second", "3-third", "mine"):
        (folder / name).mkdir(parents=True)
        for table in ("comparison.tsv", "folds.tsv"):
            (folder / name / table).write_text("")
    crossval._remove_others(folder, ["2-second"])
    assert sorted(it.name for it in folder.iterdir()) == ["2-second", "mine"]


@pytest.mark.parametrize(
    "options, words",
    [
        ({"task": "classification"}, "A classification has one target, and 2 are given"),
        ({"target": ["gradient", "gradient"]}, "named twice"),
        ({"target": ["gradient", "group"]}, "'group'"),
        ({"covariates": "second"}, "'second' cannot be a covariate"),
        ({"test_where": "late=yes"}, "'second' has no value in the tested samples"),
        ({"test_where": "late=no"}, "training samples of fold 1: .* 'second' has no value"),
        ({"config": {"train.strata": 3}}, "train.strata is for one numeric target"),
        ({"config": {"ensemble.interval_by": "second"}}, "target 'second'"),
    ],
)
def test_several_targets_that_cannot_be_scored(two, brief, options, words):
    late = np.where(np.arange(60) < 40, "no", "yes")
    study = replace(two, metadata=two.metadata.assign(late=late))
    config = brief("fitting", {**QUICK, **options.get("config", {})})
    given = {"target": ["gradient", "second"], **options, "config": config}
    with pytest.raises(InputError, match=words) as caught:
        cross_validate(study, given.pop("target"), baseline=False, **given)
    assert "\n" not in str(caught.value) and "fold 1" not in str(caught.value).lower()[:6]


def test_a_fold_without_values_of_a_target_does_not_test_it(two, brief):
    site = np.where(np.arange(60) < 20, "a", np.where(np.arange(60) < 40, "b", "c"))
    study = replace(two, metadata=two.metadata.assign(site=site))
    config = brief("fitting", {**QUICK, "forest.trees": 0})
    options = {"fold_by": "site", "baseline": False, "config": config}
    result = cross_validate(study, ["gradient", "second"], **options)
    assert [len(one.metrics["per_fold"]) for one in result.each] == [3, 2]
    assert set(result.more[0].predictions["fold"]) == {1, 2}


def test_a_fold_that_holds_out_no_value_of_a_target_has_no_intervals(small, brief):
    """Nothing calibrates them there: the second is known of 3 samples that this fold trains on."""
    first = np.arange(60) < 30
    second = small.metadata["gradient"].where(first | (np.arange(60) > 56))
    columns = {"site": np.where(first, "x", "y"), "second": second}
    study = replace(small, metadata=small.metadata.assign(**columns))
    changes = {"model.members": 1, "train.val_fraction": 0.1, "forest.trees": 0}
    options = {"fold_by": "site", "repeat": 2, "config": brief("fitting", {**QUICK, **changes})}
    targets = ["gradient", "second"]
    whole, part = cross_validate(study, targets, baseline=False, **options).each
    folds = [fold["aam"] for fold in part.metrics["per_fold"]]
    assert {"coverage" in fold for fold in folds} == {False, True}
    assert "coverage" in whole.metrics["aam"] and "coverage" not in part.metrics["aam"]
    assert np.isfinite(part.metrics["aam"]["mae"]) and "mae" in part.metrics["spread"]["aam"]
    again = metrics_of_table(part.by_method, "regression", "second")
    assert again["aam"] == pytest.approx(part.metrics["aam"])


def test_intervals_by_a_blank_column_are_refused_before_the_first_fold(small, brief, monkeypatch):
    monkeypatch.setattr(fitting, "FITS", {})  # nothing can be trained
    study = replace(small, metadata=small.metadata.assign(site="gut"))
    study.metadata.loc[small.sample_ids[3], "site"] = None
    config = brief("fitting", QUICK | {"ensemble.interval_by": "site"})
    with pytest.raises(InputError, match="site"):
        cross_validate(study, "gradient", config=config, folds=2)
