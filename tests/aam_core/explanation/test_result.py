"""Explanations are read as they were written, and as one table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from aam_core.errors import InputError
from aam_core.explanation.result import Explanation, read_explanation


def rows(ids, name, **more):
    count = len(ids)
    columns = {
        "importance": np.linspace(2, -1, count),
        "importance_sd": [np.nan] * count,
        "p": 0.5,
        "q": 0.5,
        "effect_01": 0.25,
        "direction": (["NA", "none", "01"] * count)[:count],
        "prevalence": 1.0,
        "abundance": 0.1,
        "dropped": 0,
    }
    return pd.DataFrame({**columns, **more}, index=pd.Index(ids, name=name))


@pytest.fixture
def explanation():
    names = ["007", "NA", "c"]
    groups = rows(["clade-1", "k__A; p__B"], "group-id", asvs=[2, 2], members=["007;NA", "NA;c"])
    groups.insert(0, "kind", ["clade", "phylum"])
    moved = pd.DataFrame(
        {
            "sample-id": ["01", "01"],
            "feature-id": ["007", "(others)"],
            "contribution": [1.0, 0.5],
            "se": [0.1, np.nan],
            "abundance": [0.2, np.nan],
        }
    )
    samples = pd.DataFrame(
        {"class": ["01"], "prediction": [0.9]}, index=pd.Index(["01"], name="sample-id")
    )
    deletion = pd.DataFrame({"importance": [1.0, 1.5]}, index=pd.Index([0, 1], name="removed"))
    return Explanation(
        rows(names, "feature-id", taxon=["k__A; p__B", "", "k__A"]),
        groups,
        deletion,
        contributions=moved,
        samples=samples,
        target="age",
        error="log loss",
        counts={"samples": 1},
        notes=["all samples are of the fit"],
    )


def test_what_was_written_is_read(explanation, tmp_path):
    explanation.save(tmp_path / "out")
    again = read_explanation(tmp_path / "out")
    for name in ("importance", "groups", "deletion", "contributions", "samples"):
        assert_frame_equal(getattr(again, name), getattr(explanation, name), check_dtype=False)
    assert (again.target, again.error, again.counts) == ("age", "log loss", {"samples": 1})
    assert again.notes == ["all samples are of the fit"]


def test_one_table_of_asvs_and_their_groups(explanation):
    table = explanation.whole()
    assert list(table.index) == ["007", "NA", "c", "clade-1", "k__A; p__B"]
    assert list(table["kind"]) == ["asv"] * 3 + ["clade", "phylum"]
    assert list(table["asvs"]) == [1, 1, 1, 2, 2]
    assert list(table["groups"]) == ["clade-1", "clade-1, k__A; p__B", "k__A; p__B", "", ""]
    assert "members" not in table


def test_ids_with_semicolons_are_found_in_their_groups(explanation):
    renamed = {"007": "ASV1", "NA": "ASV1;size=9", "c": "a;b;c"}
    members = ["ASV1;ASV1;size=9", "ASV1;size=9;a;b;c"]
    groups = explanation.groups.assign(members=members)
    table = replace(
        explanation, importance=explanation.importance.rename(renamed), groups=groups
    ).whole()
    assert list(table.index[:3]) == list(renamed.values())
    assert list(table["groups"][:3]) == ["clade-1", "clade-1, k__A; p__B", "k__A; p__B"]


def test_what_cannot_be_read(explanation, tmp_path):
    out = explanation.save(tmp_path / "out")
    path = out / "groups.tsv"
    path.write_text(path.read_text().replace("\t0.5\t", "\tmany\t"))
    with pytest.raises(InputError, match=r"Column 'p' of .*groups.tsv is not numeric"):
        read_explanation(out)
    path.unlink()
    with pytest.raises(InputError, match="is not a table"):
        read_explanation(out)
    with pytest.raises(InputError, match="has no importances"):
        read_explanation(tmp_path)
