"""What plots of a run say, and how they are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aam_core.config.fields import Checked, names_in, option
from aam_core.errors import InputError, first_five

__all__ = ["FIGURE_FORMATS", "FigureConfig"]

FIGURE_FORMATS = ("png", "svg", "pdf")


@dataclass(frozen=True)
class FigureConfig(Checked):
    """Plots of held-out samples."""

    units: str = option(
        "", "Unit of the target in plots, such as 'days'; of several targets, joined by commas."
    )
    title: str = option("", "Title of the plots of predictions.")
    format: str = option(
        "png", "Format of the plots; text in svg and pdf stays text.", choices=FIGURE_FORMATS
    )

    def units_of(self, targets: Sequence[str]) -> list[str]:
        """Unit of each target; '' where there is none.

        >>> FigureConfig(units="days, kg").units_of(["age", "weight"])
        ['days', 'kg']

        Raises
        ------
        InputError
            If there are several targets, and not as many units.
        """
        if len(targets) == 1 or not self.units:
            return [self.units.strip()] * len(targets)
        units = names_in(self.units)
        if len(units) != len(targets):
            raise InputError(
                f"figure.units has {len(units)} units ({first_five(units)}), and there are "
                f"{len(targets)} targets ({first_five(targets)}): give one each, joined by commas."
            )
        return units
