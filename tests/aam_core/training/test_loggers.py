from __future__ import annotations

import importlib.util
import json
import math
import os
import struct
import subprocess
import sys
import time

import pytest
import torch
from matplotlib.figure import Figure

from aam_core.errors import InputError
from aam_core.training import loggers as all_loggers
from aam_core.training.loggers import carry_over, check_trackers, make_loggers, write_events

SETTINGS = {"model": {"width": 32}, "train": {"trackers": "all", "seed": None}}


def plot():
    figure = Figure(figsize=(2, 2))
    figure.subplots().plot([1, 2])
    return figure


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def run(folder, steps, trackers="none", resume_step=None, first=0.0):
    """A run that logs, and plots at its last step.

    Runs in one process, in one second, may be read in the wrong order: TensorBoard goes by the
    names of its files, which count the writers of a process without leading zeros.
    """
    if resume_step is not None and "tensorboard" in trackers:
        time.sleep(1.1)
    loggers = make_loggers(trackers, folder, SETTINGS, "a run", resume_step)
    for logger in loggers:
        for step in steps:
            logger.record(step, {"train/total_loss": first + step / 2, "train/lr": 1e-3})
        logger.figure(steps[-1], "val/scatter", plot())
        logger.close()


def board(folder, side="train"):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder / side)).Reload()


def scalars(folder, name="loss/total_loss", side="train"):
    return [(event.step, event.value) for event in board(folder, side).Scalars(name)]


def plots(folder):
    return [image.step for image in board(folder, "val").Images("networks/scatter")]


def contents(folder):
    return sorted((str(i.relative_to(folder)), i.read_bytes()) for i in folder.rglob("*.*"))


def test_trackers_are_named_by_commas():
    assert check_trackers("tensorboard") == ["tensorboard"]
    assert check_trackers(" TensorBoard, tensorboard") == ["tensorboard"]
    assert check_trackers("none") == []


@pytest.mark.parametrize("text", ["", "tensorbord", "none,tensorboard", "tensorboard,comet"])
def test_another_tracker_is_refused_before_anything_is_written(tmp_path, text):
    with pytest.raises(InputError, match=r"tensorboard, wandb, mlflow, joined .* or 'none'") as e:
        make_loggers(text, tmp_path / "logs", {}, "a run")
    assert repr(text) in str(e.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_tracker_that_is_not_installed_says_how_to_install_it(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=rf"^The tracker {name} is not .*: pip install {name}\.$"):
        make_loggers(f"tensorboard,{name}", tmp_path / "logs", {}, "a run")
    assert not list(tmp_path.iterdir())


def test_a_folder_of_a_trackers_name_is_no_tracker(tmp_path, monkeypatch):
    """W&B leaves ``wandb/`` where it ran, which Python then takes for a package."""
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    assert importlib.util.find_spec("wandb")
    with pytest.raises(InputError, match="wandb is not installed"):
        check_trackers("wandb")


def test_lines_are_there_at_once_and_valid_json(tmp_path):
    (logger,) = make_loggers("none", tmp_path / "new" / "logs", {}, "a run")
    logger.record(
        10, {"train/total_loss": 0.5, "train/gradient_norm": math.inf, "val/r2": math.nan}
    )
    result = {"train/total_loss": 0.5, "train/gradient_norm": None, "val/r2": None}
    assert lines(tmp_path / "new" / "logs") == [{"step": 10, **result}]
    logger.close()


def test_a_new_run_begins_the_logs_anew(tmp_path):
    run(tmp_path, [1, 2, 3], "tensorboard")
    run(tmp_path, [1, 5], "tensorboard", first=7.0)
    assert [line["step"] for line in lines(tmp_path)] == [1, 5]
    assert scalars(tmp_path) == [(1, 7.5), (5, 9.5)] and plots(tmp_path) == [5]
    run(tmp_path, [1])
    assert [item.name for item in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_resumed_run_continues_after_its_step(tmp_path):
    run(tmp_path, [1, 2, 3, 4], "tensorboard")
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 2, "train/tot')  # its process died here
    run(tmp_path, [3, 4, 5], "tensorboard", resume_step=2, first=1.0)
    wanted = [(1, 0.5), (2, 1.0), (3, 2.5), (4, 3.0), (5, 3.5)]
    assert [(line["step"], line["train/total_loss"]) for line in lines(tmp_path)] == wanted
    assert scalars(tmp_path) == wanted
    assert plots(tmp_path) == [5]  # that of step 4 was of a future that did not come
    assert not list(tmp_path.glob(".*"))


def test_an_event_file_cut_short_does_not_hide_the_resumed_run(tmp_path):
    run(tmp_path, [1, 2, 3], "tensorboard")
    (events,) = tmp_path.glob("train/events*")
    events.write_bytes(events.read_bytes()[:-7])
    run(tmp_path, [3], "tensorboard", resume_step=2)
    assert scalars(tmp_path) == [(1, 0.5), (2, 1.0), (3, 1.5)]


def test_a_run_resumes_in_another_folder_with_its_logs(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    run(old, [1, 2], "tensorboard")
    run(old, [3, 4], "tensorboard", resume_step=2)
    before = contents(old)
    run(new, [1, 9], "tensorboard")  # what was there before goes
    carry_over(old, new, 3)
    run(new, [4, 5], "tensorboard", resume_step=3)
    wanted = [(step, step / 2) for step in (1, 2, 3, 4, 5)]
    assert [(line["step"], line["train/total_loss"]) for line in lines(new)] == wanted
    assert scalars(new) == wanted and plots(new) == [2, 5]
    assert contents(old) == before


def test_carrying_logs_into_their_own_folder_changes_nothing(tmp_path):
    run(tmp_path, [1, 2], "tensorboard")
    before = contents(tmp_path)
    carry_over(tmp_path, tmp_path / ".." / tmp_path.name, 1)
    assert contents(tmp_path) == before


def test_a_run_resumes_where_no_logs_were_kept(tmp_path):
    carry_over(tmp_path / "old", tmp_path / "new", 3)
    run(tmp_path / "new", [4], "tensorboard", resume_step=3)
    assert [line["step"] for line in lines(tmp_path / "new")] == [4]


def test_a_new_tracker_gets_the_steps_before(tmp_path):
    run(tmp_path, [1, 2])
    run(tmp_path, [3], "tensorboard", resume_step=2)
    assert scalars(tmp_path) == [(1, 0.5), (2, 1.0), (3, 1.5)]


def test_train_and_val_are_two_runs_of_the_same_tags(tmp_path):
    """So that TensorBoard draws both lines in one chart; and all of its tags are in few groups."""
    names = ("total_loss", "distance_loss", "distance_loss_weighted", "nucleotide_accuracy")
    both = {f"{side}/{name}": 0.5 for side in ("train", "val") for name in names}
    more = {"train/lr": 1e-3, "train/encoder_lr": 1e-4, "train/memory_gb": 1.0}
    scored = {f"val/{name}": 0.5 for name in ("r2", "distance_mae", "auc")}
    _, logger = make_loggers("tensorboard", tmp_path, {}, "a run")
    logger.record(1, both | more | scored)
    logger.close()
    train, val = (board(tmp_path, side).Tags()["scalars"] for side in ("train", "val"))
    shared = ["distance_loss", "distance_loss_weighted", "total_loss"]
    shared = {*(f"loss/{name}" for name in shared), "networks/nucleotide_accuracy"}
    assert set(train) & set(val) == shared
    alone = {"training/lr", "training/encoder_lr", "training/memory_gb"}
    assert set(train) == shared | alone
    assert set(val) == shared | {"networks/r2", "networks/distance_mae", "networks/auc"}
    assert {item.name for item in tmp_path.iterdir()} == {"metrics.jsonl", "train", "val"}


def test_a_run_that_does_not_validate_is_one_run(tmp_path):
    _, logger = make_loggers("tensorboard", tmp_path, {}, "a run")
    logger.record(1, {"train/total_loss": 0.5})
    logger.close()
    assert {item.name for item in tmp_path.iterdir()} == {"metrics.jsonl", "train"}


@pytest.mark.parametrize("resume_step", [None, 2])
def test_files_of_an_earlier_layout_are_no_third_run(tmp_path, resume_step):
    run(tmp_path, [1, 2])
    (tmp_path / "events.out.tfevents.1.host.1.0").write_bytes(b"")
    run(tmp_path, [3], "tensorboard", resume_step=resume_step)
    assert not list(tmp_path.glob("events*"))
    assert scalars(tmp_path) == [(1, 0.5), (2, 1.0), (3, 1.5)][0 if resume_step else 2 :]


def test_what_was_validated_in_a_future_that_did_not_come_is_dropped(tmp_path):
    """Even if the resumed run has not validated yet."""
    for resume_step, steps in ((None, [1, 2, 3]), (1, [])):
        loggers = make_loggers("tensorboard", tmp_path, {}, "a run", resume_step)
        for logger in loggers:
            for step in steps:
                logger.record(step, {"train/total_loss": 0.5, "val/total_loss": step / 2})
            logger.close()
        time.sleep(1.1)
    assert scalars(tmp_path, side="val") == [(1, 0.5)]


def test_histograms_are_of_the_finite_values(tmp_path):
    _, logger = make_loggers("tensorboard", tmp_path, {}, "a run")
    weight = torch.nn.Parameter(torch.tensor([[1.0, 2.0], [math.inf, math.nan]]).bfloat16())
    logger.histograms(4, {"weights/a": weight, "gradients/a": torch.tensor([math.nan])})
    logger.close()
    (event,) = board(tmp_path).Histograms("weights/a")
    assert event.step == 4 and event.histogram_value.num == 2
    assert event.histogram_value.sum == 3 and board(tmp_path).Tags()["histograms"] == ["weights/a"]


def wandb_records(folder):
    """What W&B would send of a run that was offline: the history, and the settings."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("run-*.wandb")
    for _ in range(100):  # another process writes them
        records = [Record.FromString(data) for data in leveldb(path.read_bytes()[7:])]
        if any(record.HasField("exit") for record in records):
            break
        time.sleep(0.1)
    history, settings = [], {}
    for record in records:
        items = record.history.item
        row = {i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items}
        history.append({k: v for k, v in row.items() if not k.startswith("_")})
        settings |= {i.key: json.loads(i.value_json) for i in record.run.config.update}
    return [row for row in history if row], settings


def leveldb(data):
    """Records of a log of LevelDB, whose first block lacks 7 bytes here."""
    place, checkpoint = 0, b""
    while place < len(data):
        left = 32768 - (place + 7) % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        checkpoint += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last piece of one
            yield checkpoint
            checkpoint = b""


def test_wandb(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run(tmp_path, [1, 2], "wandb")
    known = (tmp_path / "wandb.run").read_text()
    (first,) = (tmp_path / "wandb").glob(f"offline-run-*-{known}")
    (one, two, shown), settings = wandb_records(first)
    assert one == {"step": 1, "train/total_loss": 0.5, "train/lr": 1e-3}
    assert two == {"step": 2, "train/total_loss": 1.0, "train/lr": 1e-3}
    assert shown["step"] == 2 and shown["val/scatter._type"] == "image-file"
    assert (first / "files" / shown["val/scatter.path"]).read_bytes().startswith(b"\x89PNG")
    assert settings["model"] == {"width": 32}
    run(tmp_path, [2, 3], "wandb", resume_step=1)
    assert (tmp_path / "wandb.run").read_text() == known
    carry_over(tmp_path, tmp_path / "new", 1)
    run(tmp_path / "new", [2], "wandb", resume_step=1)
    assert (tmp_path / "new" / "wandb.run").read_text() != known
    (other,) = (tmp_path / "new" / "wandb").glob("offline-run-*")
    assert [row["step"] for row in wandb_records(other)[0]] == [1, 2, 2]


def test_wandb_without_an_account_is_one_line(tmp_path):
    pytest.importorskip("wandb")
    code = (
        "from aam_core.training.loggers import make_loggers\n"
        "make_loggers('wandb', 'logs', {}, 'a run')"
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(["", *sys.path])},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert "InputError: W&B cannot log: " in last and last.endswith(" Or WANDB_MODE=offline.")


def test_metrics_of_columns_that_mlflow_could_not_name():
    assert all_loggers._mlflow("val/b.m.i (kg/m²), %/r2") == "val/b.m.i _kg/m²__ _/r2"
    assert all_loggers._mlflow("val/a//b/r2") == "val/a/b/r2"  # what a path would be is refused
    assert len(all_loggers._mlflow("val/" + 300 * "x" + "/r2")) == 250


def test_mlflow(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    logs, new = tmp_path / "a run" / "logs", tmp_path / "new"
    store = f"sqlite:///{logs}/mlflow.db"
    run(logs, [1, 2], "mlflow")
    known = (logs / "mlflow.run").read_text()
    client = mlflow.MlflowClient(store)

    def history(name):
        return [(m.step, m.value) for m in client.get_metric_history(name, "train/total_loss")]

    assert history(known) == [(1, 0.5), (2, 1.0)]
    result = client.get_run(known)
    assert result.info.run_name == "a run" and result.info.status == "FINISHED"
    assert result.data.params == {
        "model.width": "32",
        "train.trackers": "all",
        "train.seed": "None",
    }
    assert len(list(logs.glob("mlartifacts/**/val/scatter/00000002.png"))) == 1
    run(logs, [2, 3], "mlflow", resume_step=1)
    assert (logs / "mlflow.run").read_text() == known and history(known)[-1] == (3, 1.5)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    carry_over(logs, new, 1)
    run(new, [2], "mlflow", resume_step=1)
    assert history((new / "mlflow.run").read_text()) == [(1, 0.5), (2, 1.0)]
    (new / "mlflow.run").write_text("0" * 32)  # a run that this store does not have
    run(new, [3], "mlflow", resume_step=2)
    assert history((new / "mlflow.run").read_text()) == [(1, 0.5), (2, 1.0), (3, 1.5)]
    assert {item.name for item in new.iterdir()} == {"metrics.jsonl", "mlflow.run"}
    files = [item.relative_to(tmp_path) for item in tmp_path.rglob("*") if item.is_file()]
    assert {item.parts[0] for item in files} == {"a run", "new"}  # none where the command ran


def test_an_mlflow_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://here")
    with pytest.raises(InputError, match="^MLflow cannot log: ") as error:
        make_loggers("mlflow", tmp_path, {}, "a run")
    assert "\n" not in str(error.value)


def test_a_history_becomes_event_files(tmp_path):
    history = [
        {"epoch": 1, "step": 5, "train/total_loss": 2.0},
        {"epoch": 2, "step": 10, "train/total_loss": 1.0, "val/total_loss": 1.5},
    ]
    write_events(tmp_path, history)
    assert scalars(tmp_path) == [(5, 2.0), (10, 1.0)]
    assert scalars(tmp_path, side="val") == [(10, 1.5)]
    assert board(tmp_path).Tags()["scalars"] == ["loss/total_loss"]
