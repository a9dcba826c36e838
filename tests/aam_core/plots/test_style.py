from __future__ import annotations

import itertools

import matplotlib
import numpy as np
import pandas as pd
import pytest

from aam_core import plots
from aam_core.errors import InputError
from aam_core.plots.style import contrast, legible

STARTS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.mark.parametrize("suffix", plots.SUFFIXES)
def test_every_plot_in_every_format(numbers, classes, tmp_path, suffix):
    log = pd.DataFrame({"step": [1, 2], "train/total_loss": [2.0, 1.0]})
    for draw, table in (
        (plots.scatter, numbers),
        (plots.distances, numbers / 1000),
        (plots.confusion, classes),
        (plots.curves, log),
    ):
        path = tmp_path / "plots" / f"{draw.__name__}{suffix}"
        draw(table, path)
        assert path.read_bytes().startswith(STARTS[suffix])
        assert path.stat().st_size > 3000
    assert len(list((tmp_path / "plots").iterdir())) == 4


def test_another_format_is_refused_and_nothing_written(numbers, tmp_path):
    with pytest.raises(InputError, match=r"\.png, \.svg, \.pdf"):
        plots.scatter(numbers, tmp_path / "plot.docx")
    assert not list(tmp_path.iterdir())


def test_plots_leave_the_style_of_the_caller_alone(numbers):
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.scatter(numbers)
    assert dict(matplotlib.rcParams) == before


NAMES = (
    r"delta15N ($\permil$)",
    "$0-$10k",
    r"\frac{1}{2}$",
    r"a\$b",
    "n" * 20_000,
    "new\nline\x00\ttab",
    "_underscore^",
    "\u6e29\u5ea6",
    "\ud800",
)


@pytest.mark.parametrize("name", NAMES)
def test_names_are_drawn_as_they_stand(numbers, name, tmp_path):
    classes = pd.DataFrame({"actual": [name, "b", name], "prediction": [name, name, "b"]})
    log = pd.DataFrame({"epoch": [1, 2], f"val/{name}": [1.0, 0.5]})
    for suffix in ("png", "svg", "pdf"):
        path = tmp_path / f"plot.{suffix}"
        words = {"label": name, "title": name}
        for figure in (
            plots.scatter(numbers, path, units=name, **words),
            plots.distances(numbers / numbers.to_numpy().max(), path, **words),
            plots.confusion(classes, path, **words),
            plots.curves(log, path, x="epoch", title=name),
        ):
            assert path.stat().st_size > 1000
            width, height = figure.get_size_inches()
            assert max(width, height) < 20


def test_a_formula_is_none(numbers, tmp_path):
    path = tmp_path / "plot.svg"
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        plots.scatter(numbers, path, label="$x^2$ and a\\$b")
    assert "Actual $x^2$ and a\\$b" in path.read_text()


def test_what_cannot_be_drawn_is_one_warning(tmp_path, caplog):
    def draw(path):
        raise ValueError("Image size of 2000000x100 pixels\nis too large")

    assert not plots.attempt(tmp_path / "a.png", draw)
    lines = [caplog.messages[0]]
    assert caplog.records[0].levelname == "WARNING" and caplog.records[0].name == "aam_core"
    assert not plots.attempt(tmp_path / "b.png", draw, lines.append)
    assert len(lines) == 2 and len(caplog.records) == 1
    assert all("could not be drawn (ValueError: Image size" in line for line in lines)
    assert not any("\n" in line for line in lines)
    assert plots.attempt(tmp_path / "c.png", lambda path: path.write_text("drawn"))
    assert [path.name for path in tmp_path.iterdir()] == ["c.png"]


def test_text_on_any_colour_is_legible():
    levels = np.linspace(0, 1, 9)
    for colour in itertools.product(levels, repeat=3):
        text = (0, 0, 0) if legible(colour) == "black" else (1, 1, 1)
        assert contrast(colour, text) >= 4.5
