from __future__ import annotations

import io
import json

from aam_core.train.report import Reporter


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_line_an_epoch_where_there_is_no_terminal(capsys):
    reporter = Reporter(label="fold 1/5")
    reporter.begin(10)
    for _ in range(10):
        reporter.advance({"loss": 0.5})
    reporter.epoch(1, 20, {"train/loss": 0.123456, "val/loss": 1234.4})
    reporter.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "fold 1/5: epoch 1/20  train/loss 0.1235  val/loss 1234\n"


def test_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    reporter = Reporter(label="pretrain")
    reporter.begin(3)
    for _ in range(3):
        reporter.advance({"loss": 0.25})
    reporter.epoch(1, 1, {"train/loss": 0.25})
    reporter.close()
    shown = screen.getvalue()
    assert "pretrain" in shown and "3/3" in shown and "loss=0.25" in shown
    assert "epoch 1/1" not in shown


def test_values_are_logged_at_once_for_people_and_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reporter = Reporter(tmp_path / "new" / "logs")
    reporter.record(10, {"train/loss": 0.5, "train/lr": 1e-3})
    assert lines(tmp_path / "new" / "logs") == [{"step": 10, "train/loss": 0.5, "train/lr": 1e-3}]
    reporter.record(20, {"val/loss": 0.25})
    reporter.close()
    events = EventAccumulator(str(tmp_path / "new" / "logs")).Reload()
    assert set(events.Tags()["scalars"]) == {"train/loss", "train/lr", "val/loss"}
    assert [(e.step, e.value) for e in events.Scalars("val/loss")] == [(20, 0.25)]


def test_nothing_is_written_where_no_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reporter = Reporter()
    reporter.record(1, {"train/loss": 1.0})
    reporter.close()
    assert list(tmp_path.iterdir()) == []
