from __future__ import annotations

import io
import json
import re
import subprocess
import sys

import pytest
import torch
from matplotlib import pyplot

from aam_core.errors import InputError
from aam_core.training.reporter import Reporter


class Terminal(io.StringIO):
    def isatty(self):
        return True


def terminal(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    return sys.stderr


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_line_an_epoch_where_there_is_no_terminal(capsys):
    reporter = Reporter(label="fold 1/5")
    reporter.begin(10)
    for _ in range(10):
        reporter.advance({"total_loss": 0.5})
    reporter.epoch(1, 20, {"train/total_loss": 0.123456, "val/total_loss": 1234.4})
    reporter.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "fold 1/5: epoch 1/20  train/total_loss 0.1235  val/total_loss 1234\n"


def both(parts, **more):
    """Values of an epoch as they are logged, with the ``parts`` of the loss."""
    result = {}
    for side in ("train", "val"):
        result[f"{side}/total_loss"] = 0.6543
        for part in parts:
            result |= {f"{side}/{part}_loss": 0.4321, f"{side}/{part}_loss_weighted": 0.2}
    result |= {"train/lr": 1.234e-5, "train/gradient_norm": 2.0, "train/memory_gb": 1.0}
    return result | {f"val/{name}": 0.9876 for name in more.pop("val", ())}


def shown(capsys, values, label="regression"):
    Reporter(label=label).epoch(100, 100, values)
    line = capsys.readouterr().err.rstrip("\n")
    assert len(line) <= 170
    return [item.rsplit(" ", 1)[0] for item in line.split("  ")[1:]]


def test_an_epoch_in_pretraining_shows_the_parts_of_the_loss(capsys):
    values = both(["nucleotide", "distance"], val=["distance_r2", "nucleotide_accuracy"])
    wanted = ["train/total_loss", "val/total_loss", "val/distance_r2", "val/nucleotide_loss"]
    wanted += ["val/distance_loss", "train/lr"]
    assert shown(capsys, values, "pretrain") == wanted


def test_an_epoch_of_one_part_shows_what_was_reached_on_the_validation_samples(capsys):
    totals = ["train/total_loss", "val/total_loss"]
    values = both(["target"], val=["rmse", "mae", "r2"])
    assert shown(capsys, values) == [*totals, "val/r2", "val/mae", "train/lr"]
    values = both(["target"], val=["f1", "auc", "accuracy"])
    assert shown(capsys, values) == [*totals, "val/accuracy", "val/auc", "train/lr"]


def test_an_epoch_without_validation_shows_the_parts_of_training(capsys):
    values = both(["nucleotide", "distance"])
    values = {name: value for name, value in values.items() if name.startswith("train/")}
    wanted = ["train/total_loss", "train/nucleotide_loss", "train/distance_loss", "train/lr"]
    assert shown(capsys, values) == wanted


def test_an_epoch_of_everything_is_still_a_line(capsys):
    values = both(["nucleotide", "distance", "target"], val=["r2", "mae", "distance_r2"])
    wanted = ["train/total_loss", "val/total_loss", "val/r2", "val/mae", "val/distance_r2"]
    assert shown(capsys, values)[:6] == [*wanted, "val/target_loss"]


def test_a_bar_on_a_terminal_shows_what_there_is(monkeypatch):
    screen = terminal(monkeypatch)
    reporter = Reporter(label="pretrain")
    reporter.begin(30, start=10)
    values = {"lr": 1e-3, "total_loss": 0.25, "distance_loss": 0.125, "distance_loss_weighted": 9}
    reporter.advance(values)
    reporter.advance(None, steps=19)
    reporter.epoch(1, 1, {"train/total_loss": 0.25})
    reporter.close()
    last = frames(screen)[-1]
    assert last.startswith("pretrain: training   100%|") and "30/30" in last
    assert last.endswith(", loss 0.25, distance 0.125]")  # of lr there is no room in 80 columns
    assert "epoch" not in screen.getvalue()


def frames(screen):
    """What a terminal showed in the line of the bar, one after the other."""
    return [text.strip() for text in screen.getvalue().split("\r") if text.strip()]


@pytest.mark.parametrize("columns", [60, 80, 100, 160])
@pytest.mark.parametrize("label, steps", [("regression", 240), ("fold 12/20", 123456)])
def test_a_bar_fits_the_terminal(monkeypatch, columns, label, steps):
    """Nothing is cut off: what there is no room for is not shown, the least important first."""
    screen = terminal(monkeypatch)
    monkeypatch.setattr("aam_core.training.reporter._columns", lambda: columns)
    reporter = Reporter(label=label)
    reporter.begin(steps)
    values = {"total_loss": 0.123456, "distance_loss": 0.23, "target_loss": 1.5, "lr": 1.2e-4}
    reporter.epoch(1, 9, {"val/total_loss": 12.3456})
    reporter.advance(values, steps=steps // 2)
    reporter.set_stage("validating")
    reporter.close()
    shown = [frame for frame in frames(screen) if "/" in frame]
    assert all(len(frame) <= columns and frame.endswith("]") for frame in shown)
    assert any("validating" in frame for frame in shown)
    wanted = ["loss 0.123", "val 12.3", "distance 0.23", "target 1.5", "lr 0.00012"]
    behind = shown[-1].removesuffix("]").split(", ")[1:]
    assert behind == wanted[: len(behind)]
    assert {60: 0, 80: 1, 100: 2, 160: 5}[columns] <= len(behind)


def test_the_time_left_goes_by_the_mean_of_all_steps(monkeypatch):
    """A validation or a checkpoint between steps does not make it jump."""
    now = [100.0]
    terminal(monkeypatch)
    reporter = Reporter()
    reporter.begin(200)
    reporter.bar._time, reporter.bar.start_t = (lambda: now[0]), now[0]
    left = []
    for step in range(1, 201):
        now[0] += 1.0 + (4.0 if step % 10 == 0 else 0.0)
        reporter.advance({"total_loss": 0.5})
        minutes, seconds = re.search(r"<(\d+):(\d+)", str(reporter.bar)).groups()
        left.append(60 * int(minutes) + int(seconds))
    reporter.close()
    assert all(abs(b - a) < 30 for a, b in zip(left[20:], left[21:], strict=False))
    true = [(200 - step) * 1.4 for step in range(1, 201)]
    assert all(abs(a - b) < 30 for a, b in zip(left[20:], true[20:], strict=True))


@pytest.mark.parametrize("tty", [True, False])
def test_a_stage_has_a_bar_of_its_own(monkeypatch, capsys, tty):
    screen = terminal(monkeypatch) if tty else None
    reporter = Reporter(label="fold 2/5")
    reporter.begin(4)
    reporter.advance(steps=4)
    reporter.end()
    reporter.begin(500, stage="fitting forests", unit="trees")
    reporter.advance(steps=250)
    reporter.set_stage(
        "fitting forests"
    )  # shown at once, as it is in less than a tenth of a second
    reporter.end()
    reporter.log.info("done")
    if not tty:
        stage = "fold 2/5: fitting forests (500 trees)\n"
        assert capsys.readouterr().err == f"{stage}fold 2/5: done\n"
        return
    shown = frames(screen)
    assert any(text.startswith("fold 2/5: training   100%|") for text in shown)
    assert any(
        text.startswith("fold 2/5: fitting forests  50%|") and "250/500 trees [" in text
        for text in shown
    )
    assert (
        shown[-1] == "fold 2/5: done" and screen.getvalue().count("\n") == 2
    )  # that of training stays


@pytest.fixture
def clock(monkeypatch):
    """A clock of the reporter that is set by hand."""
    now = [100.0]
    monkeypatch.setattr("aam_core.training.reporter.time.perf_counter", lambda: now[0])
    return now


def test_a_training_says_once_how_long_it_will_take(clock, capsys):
    asked = []
    reporter = Reporter(label="fit", follows=lambda: asked.append(clock[0]) or 75.0)
    reporter.begin(1000, start=100)
    for step in range(300):
        clock[0] += 30.0 if step == 0 else 0.5  # the first one compiles
        reporter.advance()
    # After a twentieth of the 900 steps, and the first: 854 of half a second are left.
    assert capsys.readouterr().err == (
        "fit: about 7 min 7 s left for the networks, and 1 min 15 s for the rest\n"
    )
    assert len(asked) == 1
    alone = Reporter(label="fit")
    alone.begin(100)
    for _ in range(100):
        clock[0] += 0.5
        alone.advance()
    assert capsys.readouterr().err == "fit: about 44 s left\n"


@pytest.mark.parametrize("steps, seconds", [(10, 5.0), (1000, 0.001)])
def test_a_short_training_says_nothing_of_its_duration(clock, capsys, steps, seconds):
    reporter = Reporter(label="fit", follows=lambda: 1 / 0)
    reporter.begin(steps)
    for _ in range(steps):
        clock[0] += seconds
        reporter.advance()
    assert capsys.readouterr().err == ""


def test_a_stage_without_a_bar_says_now_and_then_how_far_it_is(clock, capsys):
    reporter = Reporter(label="fit")
    reporter.begin(600, stage="fitting forests", unit="trees")
    for _ in range(12):
        clock[0] += 6.0
        reporter.advance(steps=50)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "fit: fitting forests (600 trees)"
    assert lines[1] == "fit: fitting forests: 100 of 600 trees, about 1 min 0 s left"
    assert len(lines) == 6 and "500 of 600" in lines[-1]


def test_a_line_does_not_tear_the_bar(monkeypatch, capsys):
    screen = terminal(monkeypatch)
    reporter = Reporter()
    reporter.begin(2)
    reporter.log.info("halved the batch")
    assert "\r" in screen.getvalue()
    line = "training: halved the batch"
    assert [text for text in screen.getvalue().splitlines() if text == line]
    reporter.close()
    reporter.log.info("done")
    assert screen.getvalue().endswith("\ntraining: done\n") and capsys.readouterr().out == ""


def test_values_and_plots_are_logged_under_their_names(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reporter = Reporter(tmp_path / "logs")
    reporter.record(10, {"train/total_loss": 0.5, "train/lr": 1e-3})
    reporter.record(20, {"val/total_loss": 0.25})
    reporter.figure(20, "val/scatter", lambda: pyplot.figure(figsize=(1, 1)))
    assert not pyplot.get_fignums()
    reporter.histograms(20, {"weights/a": torch.arange(3.0)})
    reporter.close()
    assert lines(tmp_path / "logs") == [
        {"step": 10, "train/total_loss": 0.5, "train/lr": 1e-3},
        {"step": 20, "val/total_loss": 0.25},
    ]
    train, val = (EventAccumulator(str(tmp_path / "logs" / s)).Reload() for s in ("train", "val"))
    assert train.Tags()["scalars"] == ["loss/total_loss", "training/lr"]
    assert [(e.step, e.value) for e in val.Scalars("loss/total_loss")] == [(20, 0.25)]
    assert [image.step for image in val.Images("networks/scatter")] == [20]
    assert [item.step for item in train.Histograms("weights/a")] == [20]


def test_nothing_is_drawn_that_nothing_takes(tmp_path):
    def draw():
        raise AssertionError("drawn")

    for reporter in (Reporter(), Reporter(tmp_path, trackers="none")):
        reporter.figure(1, "val/scatter", draw)
        reporter.histograms(1, {"weights/a": torch.arange(3.0)})
        reporter.close()


def test_a_resumed_run_keeps_its_logs(tmp_path):
    for resume_step, step in ((None, 1), (1, 2), (1, 3)):
        reporter = Reporter(tmp_path, trackers="none", resume_step=resume_step)
        reporter.record(step, {"train/total_loss": 1.0})
        reporter.close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 3]


def test_a_tracker_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="tensorbord"):
        Reporter(tmp_path, trackers="tensorbord")


def test_nothing_is_written_where_no_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reporter = Reporter()
    reporter.record(1, {"train/total_loss": 1.0})
    reporter.close()
    assert list(tmp_path.iterdir()) == []


def test_a_silent_reporter_neither_shows_nor_writes(tmp_path, monkeypatch):
    screen = terminal(monkeypatch)
    reporter = Reporter(tmp_path / "logs", silent=True, trackers="tensorboard")
    reporter.begin(2)
    reporter.set_stage("validating")
    reporter.end()
    reporter.begin(2, stage="fitting forests")
    reporter.advance({"total_loss": 1.0})
    reporter.record(1, {"train/total_loss": 1.0})
    reporter.figure(1, "val/scatter", lambda: 1 / 0)
    reporter.epoch(1, 1, {"train/total_loss": 1.0})
    reporter.close()
    assert screen.getvalue() == "" and not list(tmp_path.iterdir())


def test_trackers_and_plots_are_imported_only_where_they_are_used():
    code = (
        "import sys, aam_core.training.reporter\n"
        "print([m for m in ('torch', 'tensorboard', 'matplotlib', 'wandb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
