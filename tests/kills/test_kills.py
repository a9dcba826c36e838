"""A few of the kills of `kills.py`, which has many."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import kills  # noqa: E402


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return kills.prepare(tmp_path_factory.mktemp("kills"))


@pytest.mark.parametrize("over", [False, True])
def test_a_killed_fit(shop, over):
    result = kills.kill_fits(shop, 2, over)
    assert result["clean after the next run"] == 1


@pytest.mark.parametrize("over", [False, True])
def test_a_save_killed_at_each_file_operation(shop, over):
    result = kills.kill_saves(shop, over, every=5)
    assert result["old" if over else "none"] > 3 and result["new"] > 3


def test_a_reader_during_saves(shop):
    result = kills.read_while_saving(shop, 6)
    assert result["old"] and result["new"]
