"""Tables -> figures; knows nothing of models.

Every function returns a `matplotlib.figure.Figure` and, given a path, writes it there: PNG, SVG
or PDF, by the suffix. Colours are those of Okabe and Ito, which colour-blind readers tell apart.
"""

from __future__ import annotations

import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from aam_core.errors import InputError
from aam_core.files.writing import replacing

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#595959",
)
COLOURS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, GREY)

SUFFIXES = (".png", ".svg", ".pdf")

CROWDED = 5000
"""Points above which a scatter is drawn as a density."""

MANY_CLASSES = 15
"""Classes above which the cells of a confusion matrix hold no text."""

PALE = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none"}
"""Box behind text that lies on points, which stay visible."""

STYLE = {
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.labelsize": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.dpi": 150,
    "svg.hashsalt": "aam",
    "text.usetex": False,
}

LONGEST = 60
"""Characters of a name that are drawn: of a column, say, whose name may have thousands."""


def attempt(path, draw: Callable, say: Callable[[str], None] | None = None) -> bool:
    """``draw(path)``, beside results that are safe already: a picture is never worth those.

    Parameters
    ----------
    path : path
    draw : callable
        One of this module's functions, but for ``path``.
    say : callable, optional
        Takes the one line that says why there is no picture; by default it goes to stderr.

    Returns
    -------
    bool
        Whether it was drawn.
    """
    try:
        draw(path)
    except Exception as error:  # whatever stops matplotlib: a font, a size, the memory, the disk
        why = textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
        line = f"{path} could not be drawn ({why}); nothing else is missing"
        if say is None:
            print(line, file=sys.stderr, flush=True)
        else:
            say(line)
        return False
    return True


def scatter(
    table: pd.DataFrame,
    path=None,
    *,
    label: str = "value",
    units: str | None = None,
    title: str | None = None,
):
    """Predicted against actual, with R2 and MAE, the fit line and the 1:1 line.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``actual`` and ``prediction``, in one unit; rows lacking either are left out.
        More than `CROWDED` rows are drawn as a density.
    path : path, optional
        File to write.
    label : str
        Name of what is predicted.
    units : str, optional
        Its unit, such as 'days'.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        If the path's suffix is not one of `SUFFIXES`, or no row has both values.
    """
    table = _points(table)
    low, high = table.to_numpy().min(), table.to_numpy().max()
    margin = 0.04 * (high - low) or 1.0
    with _style():
        figure, (axes,) = _figure(6.4, 6.4)
        _square(axes, low - margin, high + margin)
        _draw_points(figure, axes, table, "samples")
        _lines(axes, table)
        _note(axes, table, "samples", units=units)
        named = f"{plain(label)} ({plain(units)})" if units else plain(label)
        return _finish(figure, axes, path, f"Actual {named}", f"Predicted {named}", title)


def distances(table: pd.DataFrame, path=None, *, label: str = "UniFrac", title: str | None = None):
    """Predicted against true distances of sample pairs, as a density where they are many.

    Parameters
    ----------
    table : pandas.DataFrame
        A row a pair; columns ``actual`` and ``prediction``, both within [0, 1].
    path, label, title
        As in `scatter`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    table = _points(table)
    with _style():
        figure, (axes,) = _figure(6.4, 6.4)
        _square(axes, -0.02, 1.02)
        _draw_points(figure, axes, table, "pairs")
        _lines(axes, table)
        _note(axes, table, "pairs")
        return _finish(
            figure, axes, path, f"True {plain(label)}", f"Predicted {plain(label)}", title
        )


def confusion(
    table: pd.DataFrame, path=None, *, classes=None, label: str = "class", title: str | None = None
):
    """Confusion matrix: each cell gives the count and its share of the actual class.

    Of more than `MANY_CLASSES` classes the colours alone show the shares.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``actual`` and ``prediction``, class names.
    path : path, optional
        File to write.
    classes : sequence of str, optional
        Order of the classes; sorted as text where not given.
    label : str
        Name of what is predicted.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.ticker import PercentFormatter

    if classes is None:
        classes = sorted({*table["actual"], *table["prediction"]})
    counts = pd.crosstab(table["actual"], table["prediction"])
    counts = counts.reindex(index=classes, columns=classes, fill_value=0).to_numpy()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    crowded = len(classes) > MANY_CLASSES
    size = min(14.0, 3.0 + 0.3 * len(classes)) if crowded else max(4.6, 1.0 + 0.95 * len(classes))
    with _style():
        figure, (axes,) = _figure(size + 1.6, size)
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        if not crowded:
            _fill_cells(axes, counts, share)
        _name_classes(axes, classes, counts.sum(axis=1), crowded, size)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set_xlabel(f"Predicted {plain(label)}")
        axes.set_ylabel(f"Actual {plain(label)}")
        right = np.trace(counts) / max(counts.sum(), 1)
        summary = f"{right:.1%} of {counts.sum():,} samples right"
        axes.set_title(f"{plain(title)}\n{summary}" if title else summary)
        shrink = min(0.8, 4 / size)  # the bar of a large figure is no longer than that of a small
        bar = figure.colorbar(image, ax=axes, shrink=shrink, format=PercentFormatter(1))
        bar.set_label("Share of the actual class")
        bar.outline.set_visible(False)
        return _save(figure, path)


def _fill_cells(axes, counts, share):
    font = 12 if len(counts) <= 6 else 9 if len(counts) <= 12 else 7
    for (row, column), value in np.ndenumerate(share):
        axes.text(
            column,
            row,
            f"{counts[row, column]:,}\n{value:.0%}",
            ha="center",
            va="center",
            fontsize=font,
            color="white" if value > 0.55 else "black",
        )


def _name_classes(axes, classes, totals, crowded: bool, size: float):
    """Class names at both axes; where they are too many to be read, every second, third, ..."""
    names = [plain(name, 24) for name in classes]
    between = "\n"
    step, font = 1, None
    if crowded:
        room = 72 * 0.7 * size / len(names)  # points from one class to the next
        step = int(np.ceil(7 / room))
        font, between = min(11.0, 0.85 * room * step), " "
    slant = {"rotation": 45, "ha": "right"} if max(map(len, names)) > 8 else {}
    if crowded:
        slant = {"rotation": 90}
    rows = [f"{name}{between}(n = {n:,})" for name, n in zip(names, totals, strict=True)]
    places = range(0, len(names), step)
    axes.set_xticks(places, names[::step], fontsize=font, **slant)
    axes.set_yticks(places, rows[::step], fontsize=font)


def curves(log: pd.DataFrame, path=None, *, x: str = "step", title: str | None = None):
    """Training curves: a panel per quantity, a curve per name.

    Parameters
    ----------
    log : pandas.DataFrame
        A row an entry of ``metrics.jsonl``: the column ``x``, and a numeric column per name;
        blanks are skipped. 'train/total_loss' and 'val/total_loss' share a panel.
    path : path, optional
        File to write.
    x : str
        Column of the horizontal axis, such as 'step' or 'epoch'.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        If there is no column ``x`` or nothing to draw.
    """
    if x not in log.columns:
        raise InputError(
            f"The training log has no column {x!r}; there are: {', '.join(log.columns)}."
        )
    panels: dict[str, list[str]] = {}
    for name in log.select_dtypes("number").columns:
        if name not in (x, "step", "epoch", "time") and log[name].notna().any():
            panels.setdefault(str(name).rsplit("/", 1)[-1], []).append(name)
    if not panels:
        raise InputError("The training log has no numbers to draw.")
    wide = 2 if len(panels) == 4 else min(3, len(panels))
    high = -(-len(panels) // wide)
    with _style():
        figure, grid = _figure(4.6 * wide, 3.6 * high, rows=high, columns=wide)
        for axes, (panel, names) in zip(grid, panels.items(), strict=False):
            for place, name in enumerate(names):
                colour = COLOURS[place % len(COLOURS)]
                drawn = log[[x, name]].dropna().sort_values(x)
                dots = "o" if len(drawn) <= 30 else None
                axes.plot(
                    drawn[x],
                    drawn[name],
                    color=colour,
                    lw=1.8,
                    marker=dots,
                    ms=4,
                    label=plain(str(name).rsplit("/", 1)[0] if "/" in str(name) else panel),
                )
            axes.set_title(plain(panel.replace("_", " ")))
            axes.set_xlabel(plain(x))
            axes.grid(alpha=0.25)
            if len(names) > 1 or "/" in str(names[0]):
                axes.legend(frameon=False, fontsize=11)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        if title:
            figure.suptitle(plain(title))
        return _save(figure, path)


def learning_rates(table: pd.DataFrame, suggestion: float, path=None):
    """Loss against the learning rate of a range test, and the rate that it suggests.

    Where the loss grows beyond what it was before the suggestion, the plot is cut.

    Parameters
    ----------
    table : pandas.DataFrame
        A row a step; columns ``lr``, ``loss`` and ``smoothed``. Steps whose loss is not finite are
        left out.
    suggestion : float
        A learning rate.
    path : path, optional
        File to write.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        If no step has a finite loss.
    """
    table = table[["lr", "loss", "smoothed"]].astype(float).sort_values("lr")
    table = table[np.isfinite(table).all(axis=1)]
    if not len(table):
        raise InputError("Nothing to draw: the loss is finite at no learning rate.")
    losses = table[["loss", "smoothed"]].to_numpy()
    with _style():
        figure, (axes,) = _figure(7.0, 4.6)
        axes.plot(table["lr"], table["loss"], color=BLUE, alpha=0.45, lw=0.9, label="Loss")
        axes.plot(table["lr"], table["smoothed"], color=BLUE, lw=2.4, label="Smoothed")
        mark = f"Suggested: {suggestion:.2g}"
        axes.axvline(suggestion, color=RED, lw=1.8, ls="--", label=mark, zorder=3)
        low, high = losses.min(), losses[table["lr"] <= suggestion].max(initial=-np.inf)
        if low < high:
            margin = 0.15 * (high - low)
            axes.set_ylim(low - margin, min(losses.max(), high + 2 * margin) + margin)
        axes.set_xscale("log")
        axes.grid(alpha=0.25)
        axes.set_xlabel("Learning rate")
        axes.set_ylabel("Loss")
        axes.legend(loc="lower left", framealpha=PALE["alpha"], edgecolor="none", fontsize=11)
        return _save(figure, path)


def plain(name, longest: int = LONGEST) -> str:
    """Somebody's name as it stands, cut in its middle: of ``$x^2$`` matplotlib makes a formula."""
    name = "".join(letter if letter.isprintable() else " " for letter in str(name))
    if len(name) > longest:
        name = f"{name[: longest - longest // 4 - 1]}…{name[-(longest // 4) :]}"
    return name.replace("$", r"\$")


def _points(table) -> pd.DataFrame:
    table = table[["actual", "prediction"]].astype(float).dropna()
    if not len(table):
        raise InputError("Nothing to draw: no row has both an actual value and a prediction.")
    return table


def _draw_points(figure, axes, table, what):
    from matplotlib.ticker import StrMethodFormatter

    if len(table) <= CROWDED:
        size = 30 if len(table) <= 1000 else 12
        axes.scatter(
            table["actual"],
            table["prediction"],
            s=size,
            color=BLUE,
            alpha=0.55,
            linewidths=0,
            zorder=2,
        )
        return
    extent = (*axes.get_xlim(), *axes.get_ylim())
    image = axes.hexbin(
        table["actual"],
        table["prediction"],
        gridsize=70,
        bins="log",
        mincnt=1,
        extent=extent,
        cmap="viridis",
        linewidths=0.1,
        zorder=2,
    )
    bar = figure.colorbar(
        image, cax=axes.inset_axes([1.03, 0.0, 0.04, 1.0]), format=StrMethodFormatter("{x:,.0f}")
    )
    bar.set_label(f"{what.capitalize()} in a cell")
    bar.outline.set_visible(False)


def _lines(axes, table):
    from matplotlib.patheffects import withStroke

    crowded = len(table) > CROWDED  # lines stand out from a density by a white edge
    halo = [withStroke(linewidth=3.6, foreground="white", alpha=0.8)] if crowded else None
    ends = np.array(axes.get_xlim())
    axes.plot(ends, ends, color=GREY, lw=1.3, ls="--", label="1:1", zorder=3, path_effects=halo)
    if table["actual"].nunique() > 1:
        slope, start = np.polyfit(table["actual"], table["prediction"], 1)
        within = np.array([table["actual"].min(), table["actual"].max()])
        axes.plot(
            within,
            start + slope * within,
            color=RED,
            lw=2.2,
            label="Fit",
            zorder=4,
            path_effects=halo,
        )


def _note(axes, table, what, units=None):
    r2, mae = _r2_and_mae(table)
    unit = f" {plain(units)}" if units else ""
    axes.text(
        0.03,
        0.97,
        f"R² = {r2:.3f}\nMAE = {_readable(mae)}{unit}\nn = {len(table):,} {what}",
        transform=axes.transAxes,
        va="top",
        ha="left",
        zorder=5,
        bbox=PALE,
    )


def _r2_and_mae(table) -> tuple[float, float]:
    """R2 is NaN where the actual values are all one."""
    actual, error = table["actual"], table["prediction"] - table["actual"]
    spread = ((actual - actual.mean()) ** 2).sum()
    r2 = 1 - (error**2).sum() / spread if actual.nunique() > 1 else np.nan
    return float(r2), float(error.abs().mean())


def _readable(value: float) -> str:
    """Three digits, and never an exponent for what people read as a plain number."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _square(axes, low, high):
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def _style():
    import matplotlib

    return matplotlib.rc_context(STYLE)


def _figure(width, height, rows=1, columns=1):
    """A figure outside pyplot (nothing to close, no backend to choose) and its axes in a list."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _finish(figure, axes, path, xlabel, ylabel, title):
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.legend(loc="lower right", framealpha=PALE["alpha"], edgecolor="none", fontsize=11)
    if title:
        axes.set_title(plain(title))
    return _save(figure, path)


def _save(figure, path):
    if path is None:
        return figure
    if Path(path).suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: a figure is written as {', '.join(SUFFIXES)}.")
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in a script without a font
        figure.savefig(temporary, bbox_inches="tight", pad_inches=0.15)
    return figure
