"""Searches, complete and interrupted."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from aam_core.config.resolve import read_settings, resolve
from aam_core.errors import AAMError, InputError, Preempted
from aam_core.fitting import fit_regressor
from aam_core.tuning import space as spaces
from aam_core.tuning import tune

DRAWN = {"data.rarefaction": "redraw", "data.shallow_samples": "drop"}

SPACE = {
    "optim.lr": {"low": 1e-4, "high": 1e-2, "log": True},
    "model.sample.depth": {"low": 1, "high": 2},
}


def drawn(result):
    """What was tried, in order."""
    frame = result.trials[result.trials["state"] != "interrupted"]
    return frame.drop(columns=["number"]).reset_index(drop=True)


@pytest.fixture(scope="module")
def tuned(small, brief, tmp_path_factory):
    """A search of three real fits, its configuration and its folder."""
    folder = tmp_path_factory.mktemp("tune") / "search"
    config = brief("fitting", {"train.val_fraction": 0.3})
    options = {"config": config, "space": SPACE, "group_by": "host_subject_id"}
    return tune(small, "gradient", trials=3, output=folder, **options), options, folder


def test_the_best_settings_give_the_same_metric_in_a_fit(tuned, small):
    result, options, folder = tuned
    assert list(result.trials["state"]) == ["complete"] * 3
    assert result.metric == "mae" and result.value == result.trials["value"].min()
    config = options["config"].replace(read_settings(folder / "best.yaml"))
    assert config == result.config != options["config"]
    assert set(result.settings) == {*SPACE, "train.best_metric"}
    best = result.trials.set_index("value").loc[result.value]
    assert config.optim.lr == best["optim.lr"]
    model = fit_regressor(small, "gradient", config=config, group_by="host_subject_id")
    best = model.history[model.metrics["epoch"] - 1]
    assert best["val/mae"] == pytest.approx(result.value, abs=1e-12)


def test_the_first_trial_has_the_settings_of_the_configuration(tuned):
    result, options, _ = tuned
    assert result.trials["optim.lr"][0] == options["config"].optim.lr
    assert result.trials["model.sample.depth"][0] == options["config"].model.sample.depth
    assert result.trials["optim.lr"].nunique() == 3


DRAWS = {
    "data.rarefaction": {"choices": ["redraw"]},
    "data.sampling_depth": {"low": 200, "high": 900},
}


@pytest.mark.parametrize("flags, searched", [({}, 2), ({}, 1), ({"sampling_depth": 400}, 1)])
def test_searched_rarefaction_is_what_the_command_line_reads(small, tmp_path, flags, searched):
    few = ["train.max_steps=1", "train.val_fraction=0.5", "train.threads=1", "model.members=2"]
    config = resolve("fitting", preset="tiny", settings=flags, assignments=few)
    options = {"space": dict(list(DRAWS.items())[:searched]), "config": config}
    result = tune(small, "gradient", trials=1, output=tmp_path / "search", **options)
    data = result.config.data
    assert (data.rarefaction, data.full_depth) == ("redraw", 0.0 if flags else 0.75)
    best = tmp_path / "search" / "best.yaml"
    again = resolve("fitting", preset="tiny", config=best, settings=flags, assignments=few)
    assert again == result.config


def test_what_is_written(tuned):
    result, _, folder = tuned
    names = {path.name for path in folder.iterdir()}
    assert names == {"best.yaml", "trials.png", "trials.tsv", "tune.db"}
    table = pd.read_csv(folder / "trials.tsv", sep="\t")
    assert table.pop("error").isna().all()
    expected = result.trials.drop(columns="error")
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)
    assert list(table["epochs"]) == [2, 2, 2]
    again = resolve("fitting", preset="tiny", config=folder / "best.yaml")
    assert again.optim.lr == result.config.optim.lr


def test_the_same_call_has_nothing_left_to_do(tuned, small):
    result, options, folder = tuned
    again = tune(small, "gradient", trials=3, output=folder, **options)
    pd.testing.assert_frame_equal(again.trials, result.trials)
    assert again.config == result.config


def test_another_search_in_the_same_folder_is_named(tuned, small):
    _, options, folder = tuned
    before = (folder / "tune.db").read_bytes()
    wider = {**SPACE, "optim.lr": {"low": 1e-5, "high": 1e-2, "log": True}}
    longer = options["config"].replace({"train.epochs": 4, "train.threads": 2})
    for changes, words in (
        ({"target": "ph"}, "target .'gradient' there, 'ph' here"),
        ({"metric": "r2"}, "metric .'mae' there, 'r2' here"),
        ({"space": wider}, "space of optim.lr"),
        ({"config": longer}, r"differs in train.epochs .2 there, 4 here.: repeat"),
        ({"folds": 2}, "samples, their values or split"),
        ({"covariates": ["group"]}, "covariates"),
        (
            {"study": small.select(small.sample_ids[:-4])},
            "table .*reads.*, samples, their values or",
        ),
        (
            {"study": replace(small, sequences=[small.sequences[0][::-1], *small.sequences[1:]])},
            r"differs in reads or sequences \('[0-9a-f]{16}' there, '[0-9a-f]{16}' here\)",
        ),
    ):
        given = {"study": small, "target": "gradient", "trials": 4, **options, **changes}
        given["study"] = replace(
            given["study"], metadata=given["study"].metadata.assign(ph=small.metadata["gradient"])
        )
        with pytest.raises(InputError, match=words) as caught:
            tune(given.pop("study"), given.pop("target"), output=folder, **given)
        assert "\n" not in str(caught.value)
    assert (folder / "tune.db").read_bytes() == before


def test_classes_and_folds(small, brief, tmp_path):
    config = brief("fitting", {"train.max_steps": 2})
    options = {"task": "classification", "group_by": "host_subject_id", "config": config}
    result = tune(
        small, "group", trials=1, folds=2, space=SPACE, output=tmp_path / "search", **options
    )
    assert result.metric == "auc" and 0 <= result.value <= 1
    assert result.trials["epochs"].tolist() == [2]  # one in either fold
    assert result.settings["train.best_metric"] == "auc"


def test_several_targets_are_judged_by_their_mean_r2(small, brief, tmp_path):
    second = small.metadata["gradient"].where(np.arange(60) % 2 == 0)
    study = replace(small, metadata=small.metadata.assign(second=second))
    config = brief("fitting", {"train.max_steps": 1})
    names, options = ["gradient", "second"], {"space": SPACE, "config": config, "trials": 1}
    result = tune(study, names, output=tmp_path / "search", **options)
    assert result.metric == "r2" and result.value <= 1
    with pytest.raises(InputError, match="differs in target .'gradient,second' there"):
        tune(study, "gradient", metric="r2", output=tmp_path / "search", **options)
    with pytest.raises(InputError, match="A classification has one target, and 2 are given"):
        tune(study, names, task="classification", output=tmp_path / "other", **options)


def test_with_an_encoder_its_sizes_are_not_searched(small, brief, encoder, tmp_path):
    config = brief("fitting", {"train.max_steps": 1})
    options = {"encoder": encoder.folder, "freeze_encoder": True, "config": config}
    result = tune(small, "gradient", trials=2, output=tmp_path / "search", **options)
    assert "optim.encoder_lr_ratio" in result.settings
    assert "model.sample.depth" not in result.settings
    with pytest.raises(InputError, match="differs in freeze_encoder .True there, Fal"):
        options = {"space": spaces.default_space(True), "config": config, "encoder": encoder.model}
        tune(small, "gradient", output=tmp_path / "search", **options)
    with pytest.raises(InputError, match="pretrained encoder determines model.sample.depth"):
        tune(small, "gradient", output=tmp_path / "other", **{**options, "space": SPACE})


def test_samples_that_some_trial_could_not_use_are_in_none(small, brief, tmp_path, capsys):
    reads = sorted(np.asarray(small.counts.sum(1)).ravel())
    config = brief("fitting", DRAWN | {"train.max_steps": 1})
    space = {"data.sampling_depth": {"low": 100, "high": int(reads[10])}}
    tune(small, "gradient", trials=1, space=space, config=config, output=tmp_path / "search")
    assert "10 samples have too few reads for a trial" in capsys.readouterr().err


def test_a_trial_worse_than_the_median_is_pruned(whole):
    states = whole.trials["state"]
    assert set(states[:5]) == {"complete"} and "pruned" in set(states)
    pruned = whole.trials[states == "pruned"]
    assert set(pruned["epochs"]) == {3}
    assert pruned["value"].min() > whole.value
    assert whole.value == whole.trials[states == "complete"]["value"].min()


def test_a_search_in_two_calls_is_one(search, whole):
    search(2)
    pd.testing.assert_frame_equal(search(11).trials, whole.trials)


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Preempted("", 15)])
def test_an_interrupted_trial_is_done_again(search, curve, whole, tmp_path, capsys, stop):
    calls = []

    def interrupted(*args, **options):
        calls.append(1)
        if len(calls) == 3:
            raise stop
        curve.fit(*args, **options)

    with pytest.raises(type(stop), match="2 of 4 trials are in .*tune.db; the same command"):
        search(4, fit=interrupted)
    assert list(pd.read_csv(tmp_path / "trials.tsv", sep="\t")["state"])[2] == "interrupted"
    capsys.readouterr()
    result = search(4)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("tune: 2 of 4 trials are in ") and lines[1].startswith("tune: 3/4 ")
    assert len(lines) == 3
    pd.testing.assert_frame_equal(drawn(result), drawn(whole)[:4])


def test_a_trial_of_a_process_that_was_killed_is_done_again(search, tmp_path):
    import optuna

    from aam_core.tuning.storage import NAME, open_storage

    search(1)
    killed = optuna.load_study(study_name=NAME, storage=open_storage(tmp_path))
    killed.ask()
    result = search(2)
    assert list(result.trials["state"]) == ["complete", "interrupted", "complete"]


def test_settings_that_cannot_be_fitted_are_a_failed_trial(search, curve, capsys):
    def picky(*args, config, **options):
        if config.optim.lr > 0.002:
            raise AAMError("The loss is not a number:\nlower the learning rate.")
        curve.fit(*args, config=config, **options)

    result = search(6, fit=picky)
    failed = result.trials[result.trials["state"] == "failed"]
    assert len(result.trials) == 6 and 0 < len(failed) < 6
    assert set(failed["error"]) == {"The loss is not a number: lower the learning rate."}
    assert (failed["optim.lr"] > 0.002).all() and failed["value"].isna().all()
    lines = capsys.readouterr().err
    assert f"trial {failed['number'].iloc[0]} failed: The loss is not a number: lower" in lines


def test_a_search_whose_first_trials_all_fail_ends_and_may_start_again(search, tmp_path):
    def broken(*_, **__):
        raise InputError("The width must be a multiple of twice the heads.")

    with pytest.raises(AAMError, match="The first 3 trials all failed; the last: The width must"):
        search(8, fit=broken)
    assert len(pd.read_csv(tmp_path / "trials.tsv", sep="\t")) == 3
    result = search(2)  # of other settings, too
    assert list(result.trials["state"]) == ["complete"] * 2


def test_a_metric_that_is_not_a_number(search):
    def nan(*_, on_epoch, **__):
        on_epoch(1, {"val/mae": float("nan")})

    with pytest.raises(AAMError, match="val/mae is not a number in epoch 1"):
        search(3, fit=nan)


def test_a_bug_is_not_taken_for_a_failed_trial(search, tmp_path):
    def broken(*_, **__):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        search(3, fit=broken)


def test_fits_of_trials_show_nothing(search, curve, capsys):
    def loud(*args, **options):
        print("epoch 1", file=sys.stderr)
        curve.fit(*args, **options)

    search(1, fit=loud)
    assert capsys.readouterr().err.splitlines() == [
        "tune: 1/1  trial 0: mae 0.2667  (best 0.2667, trial 0)"
    ]


def test_two_at_once_in_a_folder(search, small, brief, tmp_path):
    code = f"import sys, aam_core.files.locks as l; held = l.lock_folder({str(tmp_path)!r})"
    code += "; held.__enter__()"
    code += "; print('held', flush=True); sys.stdin.read()"
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **streams) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=rf"another aam is writing .*process {other.pid}\)"):
            tune(small, "gradient", config=brief(), space=SPACE, output=tmp_path)
        other.kill()


def test_a_search_without_time(search):
    with pytest.raises(AAMError, match="None of 0 trials"):
        search(5, timeout=0)
    assert len(search(1, timeout=100).trials) == 1
    assert len(search(5, timeout=0).trials) == 1


@pytest.mark.slow
def test_workers_share_the_trials(search, curve, tmp_path, capsys, monkeypatch):
    """One dies; the other, or a later call, does the rest."""
    monkeypatch.setenv("AAM_TEST_KILLED", str(tmp_path / "killed"))
    search(1)
    with pytest.raises(AAMError, match="1 of 2 workers died with exit status -9"):
        search(6, jobs=2, fit=curve.killed)
    frame = pd.read_csv(tmp_path / "trials.tsv", sep="\t")
    assert list(frame["state"]).count("interrupted") == 1
    assert len(frame) == 6 and frame["optim.lr"].nunique() == 6
    capsys.readouterr()
    assert len(drawn(search(6))) == 6
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize(
    "given, words",
    [
        ({"trials": 0}, "number of trials must be at least 1, not 0"),
        ({"jobs": 0}, "number of jobs must be at least 1"),
        ({"folds": 1}, "number of folds must be at least 2"),
        ({"task": "ranking"}, "task must be one of"),
        ({"target": "gradiant"}, "'gradient'"),
        ({"target": "group", "task": "regression"}, "is text"),
        ({"metric": "auc"}, "no metric of a regression 'auc'"),
        ({"metric": "maee"}, "did you mean 'mae'"),
        (
            {"metric": "total_loss", "space": {"loss.distance": {"choices": [0, 5]}}},
            "cannot be compared by total_loss where the space has loss.distance",
        ),
        ({"space": {"optim.lr": 3}}, "space: optim.lr must have a range"),
        ({"changes": {"train.devices": 2}}, "one device"),
        ({"changes": {"train.val_fraction": 0.0}}, "train.val_fraction is 0"),
        ({"changes": DRAWN | {"data.sampling_depth": 10**6}}, "fewer than"),
        ({"space": {"data.sampling_depth": {"low": 1, "high": 9}}}, "no effect where data.rarefac"),
    ],
)
def test_bad_input_ends_before_anything_is_written(small, brief, tmp_path, given, words):
    given = {"target": "gradient", "space": SPACE, "changes": {}, **given}
    config = brief("fitting", given.pop("changes"))
    with pytest.raises(InputError, match=words) as caught:
        tune(small, given.pop("target"), config=config, output=tmp_path / "search", **given)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_without_optuna(small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match="Tuning needs Optuna: pip install optuna"):
        tune(small, "gradient", output=tmp_path / "search")
    assert list(tmp_path.iterdir()) == []


def test_a_target_of_text_is_a_classification(small, brief, tmp_path, capsys):
    metadata = small.metadata.assign(state=["NA", "ill", "well"] * 20)
    study = replace(small, metadata=metadata)
    space = {"optim.lr": {"low": 1e-4, "high": 1e-2, "log": True}}
    capsys.readouterr()
    result = tune(study, "state", trials=1, space=space, config=brief(), output=tmp_path / "search")
    assert result.metric == "auc"
    assert capsys.readouterr().err.count("'NA' (20) in column 'state' is read as a class") == 1
