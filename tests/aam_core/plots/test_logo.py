from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aam_core import plots
from aam_core.errors import InputError
from aam_core.plots.logo import information, mean_by_letter


@pytest.fixture
def bases():
    """Three ASVs, one of them shorter, with an ambiguous base."""
    rows = [
        (name, place, letter, value, 0.1)
        for name, dna, value in (("a", "ACGN", 1.0), ("b", "ACTA", 2.0), ("c", "AGT", -3.0))
        for place, letter in enumerate(dna, start=1)
    ]
    columns = ["feature-id", "position", "base", "attribution", "attention"]
    return pd.DataFrame(rows, columns=columns)


def test_a_letter_is_as_high_as_its_share_of_the_information(bases):
    bits = information(bases)
    assert list(bits) == list("ACGT") and list(bits.index) == [1, 2, 3, 4]
    assert bits.loc[1].tolist() == [2, 0, 0, 0]
    entropy = -(2 / 3) * np.log2(2 / 3) - (1 / 3) * np.log2(1 / 3)
    assert bits.loc[2, "C"] == pytest.approx(2 / 3 * (2 - entropy))
    assert bits.loc[4].tolist() == [2, 0, 0, 0]  # an ambiguous letter is not counted


def test_attributions_are_divided_among_the_letters_of_a_position(bases):
    mean = mean_by_letter(bases, "attribution")
    assert mean.loc[1, "A"] == 0 and mean.loc[2, "C"] == 1 and mean.loc[2, "G"] == -1
    assert mean.loc[4].to_dict() == {"A": 1.0, "C": 0, "G": 0, "N": 0.5, "T": 0}
    by_hand = bases.groupby("position")["attribution"].mean()
    assert mean.sum(axis=1).to_numpy() == pytest.approx(by_hand.to_numpy())


@pytest.mark.parametrize("suffix", [".svg", ".pdf"])
def test_a_logo_has_rows_of_three_panels(bases, suffix, tmp_path):
    path = tmp_path / f"logo{suffix}"
    figure = plots.logo(bases, path, units="days", title="$x$", per_row=2)
    assert len(figure.axes) == 6 and path.stat().st_size > 0
    above, middle, below = figure.axes[:3]
    assert middle.get_ylabel() == "Attribution\n(days)" and above.get_ylim() == (0, 2)
    assert figure.axes[-1].get_xlabel() == "Position (bases from the start)"
    assert figure._suptitle.get_text() == r"\$x\$ (3 ASVs)"
    # One letter at the first position, two at the second: C above, and G below the line.
    drawn = [path.get_extents() for path in middle.collections[0].get_paths()]
    assert [round((box.x0 + box.x1) / 2) for box in drawn] == [2, 2]
    assert [(box.y0, box.y1) for box in drawn] == [(0, pytest.approx(1)), (pytest.approx(-1), 0)]
    assert [bar.get_height() for bar in below.patches][:2] == pytest.approx([10, 10])


def test_nothing_to_draw(bases):
    with pytest.raises(InputError, match="Nothing to draw"):
        plots.logo(bases.head(0))
