"""How all plots look: colours, sizes, names as they stand; and how a figure is made and written.

Colours are those of Okabe and Ito, which colour-blind readers tell apart.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aam_core.errors import InputError
from aam_core.files.writing import replacing
from aam_core.log import logger

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "COLOURS",
    "GREEN",
    "GREY",
    "ORANGE",
    "PALE",
    "RED",
    "SUFFIXES",
    "attempt",
    "contrast",
    "figure_names",
    "legible",
    "named_metric",
    "new_figure",
    "plain",
    "save",
    "style",
]

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
"""Formats that a figure is written in."""

PALE = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none"}
"""Box behind text that lies on points, which stay visible."""

_STYLE = {
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.labelsize": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.dpi": 150,
    "pdf.fonttype": 42,  # TrueType: journals refuse the default, Type 3
    "svg.fonttype": "none",  # text stays text, to search and to edit
    "svg.hashsalt": "aam",  # else two files of the same figure differ
    "text.usetex": False,
}

_WORDS = {
    **{"mae": "MAE", "rmse": "RMSE", "r2": "R²", "auc": "AUC", "f1": "F1", "pd": "PD"},
    **{"ece": "calibration error", "lr": "learning rate", "gb": "(GB)", "faith": "Faith's"},
    "spearman": "Spearman's correlation",
}
"""Parts of the names of metrics in the logs that readers call otherwise."""

_LONGEST = 60
"""Characters of a name that are drawn: of a column, say, whose name may have thousands."""


def attempt(
    path: str | Path,
    draw: Callable[[Any], object],
    warn: Callable[[str], None] = logger.warning,
) -> bool:
    """``draw(path)`` after the results are written: a plot that fails must not cost those.

    Parameters
    ----------
    path : path
    draw : callable
        One of the functions of `aam_core.plots`, but for ``path``.
    warn : callable
        Takes the one line that says why there is no plot.

    Returns
    -------
    bool
        Whether it was drawn.
    """
    try:
        draw(path)
    except Exception as error:  # whatever stops matplotlib: a font, a size, the memory, the disk
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
        warn(f"{path} could not be drawn ({reason}); nothing else is missing")
        return False
    return True


def figure_names(*stems: str) -> tuple[str, ...]:
    """Names of the files of some figures, in each format.

    >>> figure_names("pcoa")
    ('pcoa.png', 'pcoa.svg', 'pcoa.pdf')
    """
    return tuple(f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES)


def style() -> AbstractContextManager[None]:
    """Context in which figures look like AAM's."""
    import matplotlib

    return matplotlib.rc_context(_STYLE)


def new_figure(
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    heights: Sequence[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """A figure, its sizes in inches, and its axes; ``heights`` are those of the rows, in parts.

    It is outside pyplot, so that there is nothing to close and no backend to choose.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    grid = None if heights is None else {"height_ratios": heights}
    return figure, list(figure.subplots(rows, columns, squeeze=False, gridspec_kw=grid).flat)


def save(figure: Figure, path: str | Path | None) -> Figure:
    """Write the figure, where a path is given; returns it.

    Raises
    ------
    InputError
        If the path's suffix is not one of `SUFFIXES`.
    """
    if path is None:
        return figure
    if Path(path).suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: a figure is written as {', '.join(SUFFIXES)}.")
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in a script without a font
        figure.savefig(temporary, bbox_inches="tight", pad_inches=0.15)
    return figure


def contrast(first: Sequence[float], second: Sequence[float]) -> float:
    """Contrast of two colours, each red, green and blue from 0 to 1: 1 to 21.

    (Web Content Accessibility Guidelines 2.1; text needs 4.5.)

    >>> contrast((0, 0, 0), (1, 1, 1))
    21.0
    """

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def legible(background: Sequence[float]) -> str:
    """'black' or 'white', whichever has more contrast to a colour: 4.58 at least.

    >>> legible((1.0, 0.9, 0.2)), legible((0.0, 0.1, 0.4))
    ('black', 'white')
    """
    black, white = (contrast(background, (level,) * 3) for level in (0.0, 1.0))
    return "black" if black >= white else "white"


def named_metric(name: str) -> str:
    """A metric or quantity of the logs in words.

    >>> named_metric("memory_gb"), named_metric("distance_loss"), named_metric("faith_pd_r2")
    ('memory (GB)', 'distance loss', "Faith's PD R²")
    """
    return " ".join(_WORDS.get(part, part) for part in name.split("_"))


def plain(name: object, longest: int = _LONGEST) -> str:
    """A name as it stands, cut in its middle; of ``$x^2$`` matplotlib would make a formula."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(name))
    if len(text) > longest:
        text = f"{text[: longest - longest // 4 - 1]}…{text[-(longest // 4) :]}"
    return text.replace("$", r"\$")
