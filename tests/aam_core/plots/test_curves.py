from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aam_core import plots
from aam_core.errors import InputError


def test_curves_share_a_panel_by_quantity():
    log = pd.DataFrame(
        [
            {"step": 2, "epoch": 1, "train/total_loss": 1.0},
            {"step": 1, "epoch": 1, "train/total_loss": 3.0},
            {"step": 2, "epoch": 1, "val/total_loss": 2.0, "val/mae": 0.5, "phase": "val"},
        ]
    )
    panels = {
        axes.get_title(): axes for axes in plots.curves(log, units="d").axes if axes.get_title()
    }
    assert set(panels) == {"total loss", "MAE (d)"}
    loss = {line.get_label(): line.get_xydata().tolist() for line in panels["total loss"].lines}
    assert loss == {"train": [[1, 3], [2, 1]], "val": [[2, 2]]}
    assert panels["MAE (d)"].get_xlabel() == "step"
    by_epoch = plots.curves(log, x="epoch").axes[0]
    assert by_epoch.get_xlabel() == "epoch"


def test_a_side_has_its_colour_also_alone_and_epochs_are_whole():
    log = pd.DataFrame(
        {"epoch": [1, 2], "train/total_loss": [2.0, 1.0], "val/total_loss": [2.0, 1.5]}
        | {"val/mae": [3.0, 2.0]}
    )
    figure = plots.curves(log, x="epoch")
    loss, mae = figure.axes[:2]
    assert loss.lines[1].get_color() == mae.lines[0].get_color() != loss.lines[0].get_color()
    assert all(tick == round(tick) for axes in (loss, mae) for tick in axes.get_xticks())


def test_curves_need_something_to_draw():
    with pytest.raises(InputError, match="no column 'step'; there are: loss"):
        plots.curves(pd.DataFrame({"loss": [1.0]}))
    with pytest.raises(InputError, match="no numbers"):
        plots.curves(pd.DataFrame({"step": [1], "loss": [np.nan]}))
