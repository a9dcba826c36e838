from __future__ import annotations

import pandas as pd
import pytest

from aam_core import plots
from aam_core.errors import InputError


def test_attention_beside_reads(tmp_path):
    shares = {"attention": [0.5, 0.3, 0.2], "reads": [0.1, 0.6, 0.3]}
    table = pd.DataFrame(shares, index=["a", "b", "c"])
    path = tmp_path / "attention.svg"
    axes = plots.attention(table, path, names={"b": "g__Blautia"}, title="Age").axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([50, 30, 20])
    assert list(axes.collections[0].get_offsets()[:, 0]) == pytest.approx([10, 60, 30])
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a", "g__Blautia", "c"]
    assert axes.get_xlabel() == "Mean share of a sample (%)"
    assert "g__Blautia" in path.read_text()  # text stays text
    many = pd.concat([table] * 10)
    assert len(plots.attention(many).axes[0].patches) == 20
    with pytest.raises(InputError, match="Nothing to draw"):
        plots.attention(table.head(0))
