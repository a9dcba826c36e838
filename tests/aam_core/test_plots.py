from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import pytest

from aam_core import plots
from aam_core.errors import InputError
from aam_core.tasks.metrics import regression_metrics

STARTS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.fixture
def numbers():
    rng = np.random.default_rng(0)
    actual = rng.uniform(0, 700, 60)
    return pd.DataFrame({"actual": actual, "prediction": actual * 0.8 + rng.normal(50, 60, 60)})


@pytest.fixture
def classes():
    return pd.DataFrame({"actual": list("aaab") + ["c"], "prediction": list("aabb") + ["a"]})


def texts(axes):
    return [item.get_text() for item in axes.texts]


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


def test_scatter_says_how_good_it_is(numbers):
    figure = plots.scatter(numbers, label="day_of_life", units="days", title="Held out")
    axes = figure.axes[0]
    found = regression_metrics(numbers["actual"], numbers["prediction"])
    assert texts(axes) == [f"R² = {found['r2']:.3f}\nMAE = {found['mae']:.1f} days\nn = 60 samples"]
    assert axes.get_xlabel() == "Actual day_of_life (days)"
    assert axes.get_ylabel() == "Predicted day_of_life (days)"
    assert axes.get_title() == "Held out"


def test_scatter_has_equal_axes_a_one_to_one_line_and_a_fit(numbers):
    axes = plots.scatter(numbers).axes[0]
    assert axes.get_xlim() == axes.get_ylim() and axes.get_aspect() == 1
    low, high = axes.get_xlim()
    assert low < numbers.to_numpy().min() and high > numbers.to_numpy().max()
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    assert (lines["1:1"][:, 0] == lines["1:1"][:, 1]).all()
    (x0, y0), (x1, y1) = lines["Fit"]
    slope = np.polyfit(numbers["actual"], numbers["prediction"], 1)[0]
    assert (y1 - y0) / (x1 - x0) == pytest.approx(slope)


def test_points_are_those_of_the_table(numbers):
    points = plots.scatter(numbers).axes[0].collections[0].get_offsets()
    assert np.asarray(points) == pytest.approx(numbers.to_numpy())


def test_rows_without_both_values_are_left_out(numbers):
    numbers.loc[3, "prediction"] = np.nan
    assert "n = 59" in texts(plots.scatter(numbers).axes[0])[0]
    with pytest.raises(InputError, match="Nothing to draw"):
        plots.scatter(numbers.assign(actual=np.nan))


def test_a_crowd_is_drawn_as_a_density():
    actual = np.random.default_rng(0).random(plots.CROWDED + 1)
    table = pd.DataFrame({"actual": actual, "prediction": actual})
    axes = plots.distances(table, label="unweighted UniFrac").axes[0]
    counted = axes.collections[0].get_array()
    assert counted.sum() == len(table)
    assert axes.get_xlabel() == "True unweighted UniFrac"
    assert "n = 5,001 pairs" in texts(axes)[0]


def test_a_single_value_can_be_drawn():
    table = pd.DataFrame({"actual": [5.0, 5.0], "prediction": [5.0, 5.0]})
    axes = plots.scatter(table).axes[0]
    assert axes.get_xlim()[0] < 5 < axes.get_xlim()[1]
    assert "R² = nan" in texts(axes)[0]


def test_confusion_shows_counts_and_shares(classes):
    axes = plots.confusion(classes, label="site").axes[0]
    assert texts(axes) == [
        "2\n67%",
        "1\n33%",
        "0\n0%",
        "0\n0%",
        "1\n100%",
        "0\n0%",
        "1\n100%",
        "0\n0%",
        "0\n0%",
    ]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["a", "b", "c"]
    assert axes.get_yticklabels()[0].get_text() == "a\n(n = 3)"
    assert axes.get_title() == "60.0% of 5 samples right"
    assert axes.get_ylabel() == "Actual site"


def test_confusion_keeps_the_order_of_classes_and_shows_absent_ones(classes):
    axes = plots.confusion(classes, classes=["c", "b", "a", "z"], title="Folds").axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["c", "b", "a", "z"]
    assert len(texts(axes)) == 16
    assert axes.get_title().startswith("Folds\n")


@pytest.mark.parametrize("number", [plots.MANY_CLASSES, plots.MANY_CLASSES + 1, 40, 300])
def test_confusion_of_many_classes_stays_readable(number):
    names = [f"body site {place:03d}" for place in range(number)]
    figure = plots.confusion(pd.DataFrame({"actual": names, "prediction": names}))
    axes, bar = figure.axes
    few = number <= plots.MANY_CLASSES
    assert len(texts(axes)) == (number**2 if few else 0)
    assert max(figure.get_size_inches()) < 17
    figure.draw_without_rendering()
    assert bar.get_window_extent().height / figure.dpi < 5 or few
    for labels, side in ((axes.get_xticklabels(), "width"), (axes.get_yticklabels(), "height")):
        shown = [label.get_text().split(" (")[0].split("\n")[0] for label in labels]
        assert set(shown) <= set(names) and shown[0] == names[0]
        assert len(shown) == number or number == 300
        assert all(label.get_fontsize() >= 5.5 for label in labels)
        if not few:  # upright names beside each other, and none on another
            boxes = [label.get_window_extent() for label in labels]
            pitch = getattr(axes.get_window_extent(), side) / len(shown)
            assert max(getattr(box, side) for box in boxes) <= 1.05 * pitch


def test_curves_share_a_panel_by_quantity():
    log = pd.DataFrame(
        [
            {"step": 2, "epoch": 1, "train/total_loss": 1.0},
            {"step": 1, "epoch": 1, "train/total_loss": 3.0},
            {"step": 2, "epoch": 1, "val/total_loss": 2.0, "val/r2": 0.5, "phase": "val"},
        ]
    )
    panels = {axes.get_title(): axes for axes in plots.curves(log).axes if axes.get_title()}
    assert set(panels) == {"total loss", "r2"}
    loss = {line.get_label(): line.get_xydata().tolist() for line in panels["total loss"].lines}
    assert loss == {"train": [[1, 3], [2, 1]], "val": [[2, 2]]}
    assert panels["r2"].get_xlabel() == "step"
    by_epoch = plots.curves(log, x="epoch").axes[0]
    assert by_epoch.get_xlabel() == "epoch"


def test_curves_need_something_to_draw():
    with pytest.raises(InputError, match="no column 'step'; there are: loss"):
        plots.curves(pd.DataFrame({"loss": [1.0]}))
    with pytest.raises(InputError, match="no numbers"):
        plots.curves(pd.DataFrame({"step": [1], "loss": [np.nan]}))


@pytest.fixture
def swept():
    """A range test: the loss falls, and explodes at high rates."""
    lr = np.geomspace(1e-6, 1.0, 100)
    smooth = 3 - 1.8 / (1 + (2e-3 / lr) ** 1.2) + (lr / 0.05) ** 3
    noise = np.random.default_rng(0).normal(0, 0.1, 100)
    return pd.DataFrame({"lr": lr, "loss": smooth + noise, "smoothed": smooth})


def test_learning_rates_mark_the_suggestion(swept, tmp_path):
    axes = plots.learning_rates(swept.iloc[::-1], 1.5e-3, tmp_path / "lr.png").axes[0]
    assert (tmp_path / "lr.png").read_bytes().startswith(STARTS[".png"])
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "Learning rate"
    raw, smoothed, mark = axes.lines
    assert np.asarray(raw.get_xydata()) == pytest.approx(swept[["lr", "loss"]].to_numpy())
    assert np.asarray(smoothed.get_xydata()) == pytest.approx(swept[["lr", "smoothed"]].to_numpy())
    assert raw.get_linewidth() < smoothed.get_linewidth()
    assert set(mark.get_xdata()) == {1.5e-3} and mark.get_label() == "Suggested: 0.0015"


def test_learning_rates_show_the_fall_and_not_the_explosion(swept):
    low, high = plots.learning_rates(swept, 1.5e-3).axes[0].get_ylim()
    before = swept[swept["lr"] <= 1.5e-3]
    assert high < 6 < swept["loss"].max() and before["loss"].max() < high
    assert low < swept[["loss", "smoothed"]].to_numpy().min()
    falling = swept[swept["lr"] < 0.02]  # nothing to cut
    assert plots.learning_rates(falling, 0.01).axes[0].get_ylim()[1] > falling["loss"].max()


def test_learning_rates_without_a_finite_loss_are_left_out(swept):
    swept.loc[90:, "loss"] = np.inf
    swept.loc[80:89, "smoothed"] = np.nan
    assert len(plots.learning_rates(swept, 1e-3).axes[0].lines[0].get_xdata()) == 80
    plots.learning_rates(swept.head(1), 1e-9)
    with pytest.raises(InputError, match="Nothing to draw"):
        plots.learning_rates(swept.tail(20), 1e-3)


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


def test_what_cannot_be_drawn_is_one_line(tmp_path, capsys):
    def draw(path):
        raise ValueError("Image size of 2000000x100 pixels\nis too large")

    said = []
    assert not plots.attempt(tmp_path / "a.png", draw, said.append)
    assert not plots.attempt(tmp_path / "b.png", draw)
    said += capsys.readouterr().err.splitlines()
    assert len(said) == 2 and all("could not be drawn (ValueError: Image size" in x for x in said)
    assert plots.attempt(tmp_path / "c.png", lambda path: path.write_text("drawn"))
    assert [path.name for path in tmp_path.iterdir()] == ["c.png"]
