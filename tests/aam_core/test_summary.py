from __future__ import annotations

from aam_core.summary import Summarized


class Bag(Summarized):
    def _summary(self):
        return "A <Bag>", {"apples": "3", "weight": "1 & 2 kg"}


def test_names_are_aligned():
    assert repr(Bag()) == "A <Bag>\n  apples  3\n  weight  1 & 2 kg"


def test_notebooks_show_a_table_without_foreign_markup():
    page = Bag()._repr_html_()
    assert ">A &lt;Bag&gt;</caption>" in page
    assert ">weight</th>" in page and ">1 &amp; 2 kg</td></tr>" in page
