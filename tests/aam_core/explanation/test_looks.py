"""Where the networks look, as ``aam explain`` writes it."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from aam_core.errors import InputError
from aam_core.explanation.looks import check_looks, look


@pytest.fixture(scope="module")
def named(small):
    """The study with a taxon of each ASV."""
    taxa = [f"d__Bacteria; g__Blautia {i}" for i in range(len(small.feature_ids))]
    return dataclasses.replace(small, taxonomy=taxa)


def test_attention_of_a_regressor(regressor, named, tmp_path):
    looks = look(regressor.model, named, attention=True)
    assert looks.fusion is None and looks.bases is None and looks.has_units
    (tmp_path / "bases.tsv").write_text("of an earlier run")
    looks.save(tmp_path)
    looks.draw(tmp_path, units="m", title="Sites")
    names = {"attention.tsv", "attention_by_sample.tsv", "attention.svg", "attention.pdf"}
    assert {path.name for path in tmp_path.iterdir()} == names
    table = pd.read_csv(tmp_path / "attention.tsv", sep="\t", index_col="feature-id")
    assert table["attention"].sum() == pytest.approx(1, abs=1e-4)
    assert table.loc[named.feature_ids[0], "taxon"] == "d__Bacteria; g__Blautia 0"
    text = (tmp_path / "attention.svg").read_text()
    assert "g__Blautia" in text and "Sites" in text and "d__Bacteria" not in text


def test_bases_of_an_encoder(encoder, named, tmp_path):
    looks = look(encoder.model, named, bases=["top"])
    reads = (named.counts / named.counts.sum(axis=1)).sum(axis=0)
    assert looks.bases["feature-id"].iloc[0] == named.feature_ids[int(reads.argmax())]
    assert not looks.has_units
    looks.save(tmp_path)
    looks.draw(tmp_path)
    names = {"bases.tsv", "bases.svg", "bases.pdf"}
    assert {path.name for path in tmp_path.iterdir()} == names
    two = look(encoder.model, named, bases=named.feature_ids[:2], ranking=["another"])
    assert two.bases["feature-id"].unique().tolist() == named.feature_ids[:2]
    first = look(encoder.model, named, bases=["top"], ranking=[named.feature_ids[3]])
    assert first.bases["feature-id"].iloc[0] == named.feature_ids[3]


def test_what_a_model_does_not_have_is_refused_before_any_work(regressor, encoder):
    with pytest.raises(InputError, match="--attention is of the output of 'aam fit"):
        check_looks(encoder.model, attention=True)
    with pytest.raises(InputError, match="nothing is learned along the bases"):
        check_looks(regressor.model, attention=True, bases=["top"])
    check_looks(encoder.model, bases=["top"])
    check_looks(regressor.model, attention=True)
