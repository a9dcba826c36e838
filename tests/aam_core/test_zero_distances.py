"""Planted copies and samples with few reads are told apart, counted, and written escaped."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix, vstack

from aam_core.errors import InputError
from aam_core.zero_distances import find_zero_distances

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def study(small):
    """60 samples, copies of the first three (one with a hostile id), and six of 2 reads."""
    ids = [*small.sample_ids, "copy-0", "copy-1", EVIL, *(f"shallow-{k}" for k in range(6))]
    common = int(np.argmax(small.counts.getnnz(axis=0)))
    shallow = np.zeros((6, small.counts.shape[1]), np.int64)
    shallow[:, common] = 2 + np.arange(6)
    counts = vstack([small.counts, small.counts[:3], csr_matrix(shallow)]).tocsr()
    rows = small.metadata.iloc[[*range(60), 0, 1, 2, *range(10, 16)]]
    metadata = rows.set_axis(pd.Index(ids, dtype=object, name="sample-id"))
    metadata = metadata.assign(**{EVIL: "x"})
    return dataclasses.replace(small, sample_ids=ids, counts=counts, metadata=metadata)


def test_copies_and_shallow_samples_are_told_apart(study, tmp_path):
    result = find_zero_distances(study, tmp_path / "out", depths=(20, 1000))
    values = result.summary["value"]
    assert values["pairs_of_same_counts"] == 3
    assert values["pairs_of_same_ASVs"] == 6 * 5 / 2  # of the shallow samples
    assert values["pairs_at_zero"] == 3 + 15 == len(result.pairs)
    assert set(result.duplicates.index) >= {"copy-0", "copy-1", EVIL, study.sample_ids[0]}
    assert len(result.duplicates) == 6 and result.duplicates["set"].nunique() == 3
    same = result.by_metadata.query("column == 'host_subject_id' and value == ''").iloc[0]
    assert same["share_same_of_near"] > same["share_same_of_all"]
    # The shallow samples are in the first fifth, and so is each pair of theirs.
    assert result.by_depth.loc[1, "near"] >= 15
    assert any("duplicates.tsv" in line for line in result.advice)
    assert any("sequence them deeper" in line for line in result.advice)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page and "&lt;script&gt;" in page
    assert {"pairs.tsv", "by_metadata.tsv", "by_depth.tsv", "by_sampling_depth.tsv"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


def test_pairs_that_few_reads_make_are_apart_by_all_of_them(study):
    rarefied = find_zero_distances(study, depths=(1, 1000)).rarefied
    few, many = rarefied.loc[1], rarefied.loc[1000]
    # With one read of each sample many have the same ASV, and none of these by all reads.
    assert few["near"] > 20 and few["near_for_lack_of_reads"] >= few["near"] - 18
    assert many["near_for_lack_of_reads"] == 0
    assert few["near_of_same_samples"] >= many["near_of_same_samples"] == many["near"]


def test_given_distances_are_counted_as_they_are(study):
    size = len(study.sample_ids)
    distances = np.ones((size, size), np.float32)
    np.fill_diagonal(distances, 0)
    distances[0, 5] = distances[5, 0] = 0.05
    given = dataclasses.replace(study, distances=distances)
    assert find_zero_distances(given).summary["value"]["pairs_at_zero"] == 0
    near = find_zero_distances(given, bound=0.1)
    assert near.pairs.index.tolist() == [study.sample_ids[0]]
    with pytest.raises(InputError, match="are for distances that are computed"):
        find_zero_distances(given, depths=(10,))


def test_what_cannot_be_counted_is_refused(study):
    with pytest.raises(InputError, match="needs a phylogeny"):
        find_zero_distances(dataclasses.replace(study, phylogeny=None))
    with pytest.raises(InputError, match="no metadata column 'no'"):
        find_zero_distances(study, columns=["no"])
    with pytest.raises(InputError, match="Fewer than two samples have 999,999 reads"):
        find_zero_distances(study, depths=(999_999,))
