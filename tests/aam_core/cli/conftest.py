"""The ``aam`` command in this process, and a small simulated study."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from aam_core.cli import cli


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def aam(capsys):
    """Run ``aam`` with these arguments; returns its exit status, stdout and stderr."""

    def run(*args) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main([str(arg) for arg in args], prog_name="aam")
        return Outcome(stop.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def refuses(aam):
    """Run ``aam`` and check that it refuses in one line; returns that line."""

    def run(*args) -> str:
        outcome = aam(*args)
        lines = outcome.err.splitlines()
        assert outcome.status == 2 and outcome.out == ""
        assert len(lines) == 1 and lines[0].startswith("aam: error: ")
        return lines[0]

    return run


@pytest.fixture(scope="session")
def study_dir(tmp_path_factory):
    """Folder with the files of a small simulated study."""
    from aam_core.simulate.study import simulate

    folder = tmp_path_factory.mktemp("study")
    simulate(40, 60, 1).write(folder)
    return folder
