"""Tests of aam_core.log."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading

import pytest

from aam_core import log


@pytest.fixture
def quiet():
    """The logger without any handler, as after an import."""
    handlers, propagate, level = list(log.logger.handlers), log.logger.propagate, log.logger.level
    log.logger.handlers.clear()
    log.logger.propagate = True
    log.logger.setLevel(logging.NOTSET)
    yield
    log.logger.handlers[:] = handlers
    log.logger.propagate = propagate
    log.logger.setLevel(level)


def test_a_line_with_its_label_on_stderr(quiet, capsys):
    log.show()
    log.labelled("fold 1/5").info("50%% of %d", 3)
    log.labelled("100% sure").info("no arguments: 5 %")
    log.logger.warning("few samples")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "fold 1/5: 50% of 3",
        "100% sure: no arguments: 5 %",
        "warning: few samples",
    ]


def test_a_level_hides_what_is_below_it_and_twice_is_once(quiet, capsys):
    log.show()
    log.show("WARNING")
    log.logger.info("hidden")
    log.logger.warning("shown")
    assert capsys.readouterr().err == "warning: shown\n"


def test_a_block_leaves_the_logger_as_it_was(quiet, capsys):
    with log.showing():
        log.logger.info("within")
    log.logger.info("after")
    assert capsys.readouterr().err == "within\n"
    assert not log.logger.handlers and log.logger.propagate


def test_one_process_speaks(quiet, capsys, monkeypatch):
    log.show()
    monkeypatch.setenv("RANK", "1")
    log.logger.warning("rank 0 says it")
    assert capsys.readouterr().err == ""


def test_above_a_progress_bar(quiet, capsys):
    from tqdm.auto import tqdm

    log.show()
    with tqdm(total=2, file=sys.stderr) as bar:
        bar.update()
        log.logger.info("a whole line")
    assert "a whole line" in capsys.readouterr().err.replace("\r", "\n").splitlines()


def test_without_a_handler_python_shows_warnings_alone():
    code = (
        "import sys, aam_core.log as log; log.logger.info('hidden'); log.logger.warning('shown');"
        "assert not {'torch', 'tqdm'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "shown\n")


def test_notes_and_warnings_of_a_block_are_collected_whatever_is_shown(quiet):
    with log.recording() as lines, log.recording() as inner:
        assert not log.logger.handlers  # with one, Python would not show warnings by itself
        log.note("3 samples were dropped", log.labelled("fold 1"))
        log.logger.info("epoch 1")
        log.labelled("fold 1").warning("few samples")
        log.logger.warning("few samples")
        log.note("3 samples were dropped")
    log.logger.warning("after it")
    assert lines == inner == ["3 samples were dropped", "few samples"]
    assert not log.logger.filters


def test_another_thread_has_notes_of_its_own(quiet):
    with log.recording() as lines:
        other = threading.Thread(target=log.note, args=("of another job",))
        other.start()
        other.join()
    assert lines == []
