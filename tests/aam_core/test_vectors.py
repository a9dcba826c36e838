from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import skbio
from skbio.stats.ordination import pcoa

from aam_core.errors import InputError
from aam_core.prediction import predicted_distances
from aam_core.vectors import (
    distances_between,
    nearest_neighbours,
    neighbours_by_feature,
    ordinate,
    principal_axes,
)


@pytest.fixture(scope="module")
def vectors():
    """Forty vectors, of which the second is the first."""
    values = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    values[1] = values[0]
    return pd.DataFrame(values, index=[f"f{i}" for i in range(40)])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_distances_between_vectors(vectors, metric, monkeypatch):
    from scipy.spatial.distance import pdist, squareform

    monkeypatch.setattr("aam_core.vectors._NUMBERS", 100)  # two rows at a time
    result = distances_between(vectors, metric)
    assert result.to_numpy() == pytest.approx(squareform(pdist(vectors, metric)), abs=1e-5)
    assert result.loc["f0", "f1"] == 0
    skbio.DistanceMatrix(result.to_numpy(), vectors.index)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_nearest_neighbours(vectors, metric):
    taxa = {"f0": "k__Bacteria", "f1": "k__Archaea"}
    result = nearest_neighbours(vectors, 3, metric, taxa)
    between = distances_between(vectors, metric)
    assert result.shape == (120, 5) and result.index.name == "feature-id"
    for name, rows in result.groupby(level=0):
        others = between[name].drop(name).sort_values()
        assert list(rows["rank"]) == [1, 2, 3]
        assert rows["distance"].to_numpy() == pytest.approx(others[:3].to_numpy(), abs=1e-5)
    first = result.loc["f0"].iloc[0]
    assert first[["neighbour", "taxon", "neighbour_taxon"]].tolist() == ["f1", *taxa.values()]


def test_neighbours_of_few_or_many_alike_asvs():
    same = pd.DataFrame(np.ones((30, 2)), index=[f"f{i}" for i in range(30)])
    result = nearest_neighbours(same, 4)
    assert len(result) == 120 and (result["neighbour"] != result.index).all()
    assert len(nearest_neighbours(same[:2], 4)) == 2
    for vectors, count, reason in ((same[:1], 1, "single ASV"), (same, 0, "at least 1")):
        with pytest.raises(InputError, match=reason):
            nearest_neighbours(vectors, count)
    with pytest.raises(InputError, match="30 vectors are zero, and have no cosine"):
        nearest_neighbours(same * 0)


@pytest.mark.parametrize("exact", [2000, 1])
def test_an_ordination_is_scikit_bios(encoder, small, exact, monkeypatch, tmp_path):
    monkeypatch.setattr("aam_core.vectors._EXACT", exact)
    distances = predicted_distances(encoder.model, small)
    result = ordinate(distances, 4)
    expected = pcoa(skbio.DistanceMatrix(distances.to_numpy(), small.sample_ids))
    axes = expected.samples.iloc[:, :4].to_numpy()
    assert np.abs(result.coordinates).to_numpy() == pytest.approx(np.abs(axes), abs=1e-3)
    if exact == 2000:
        shares = expected.proportion_explained[:4].to_numpy()
        assert result.explained == pytest.approx(shares, abs=1e-6)
    result.to_skbio().write(str(tmp_path / "ordination.txt"))
    again = skbio.OrdinationResults.read(str(tmp_path / "ordination.txt"))
    assert list(again.samples.index) == small.sample_ids


def test_what_has_no_ordination(vectors):
    between = distances_between(vectors)
    with pytest.raises(InputError, match="3 samples or more; there are 2"):
        ordinate(between.iloc[:2, :2])
    with pytest.raises(InputError, match="All distances are 0"):
        ordinate(between * 0)
    with pytest.raises(InputError, match="at least 1"):
        ordinate(between, 0)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_axes_of_vectors_are_those_of_their_distances(vectors, metric):
    result = principal_axes(vectors, metric, 4)
    squares = np.square(distances_between(vectors, "euclidean"))
    if metric == "cosine":
        squares = 2 * distances_between(vectors, "cosine")
    expected = ordinate(np.sqrt(squares), 4)
    assert result.coordinates.to_numpy() == pytest.approx(expected.coordinates.to_numpy(), abs=1e-4)
    assert result.explained == pytest.approx(expected.explained, abs=1e-5)


def test_what_has_no_axes(vectors):
    with pytest.raises(InputError, match="3 vectors or more; there are 2"):
        principal_axes(vectors[:2])
    with pytest.raises(InputError, match="All vectors are alike"):
        principal_axes(vectors * 0 + 1)
    with pytest.raises(InputError, match="at least 1"):
        principal_axes(vectors, axes=0)


def test_neighbours_with_a_row_a_feature(vectors):
    taxa = {name: f"k__{name}" for name in vectors.index}
    long = nearest_neighbours(vectors, 2, taxonomy=taxa)
    wide = neighbours_by_feature(long)
    parts = ["neighbour", "distance", "neighbour_taxon"]
    columns = [f"{part}_{rank}" for rank in (1, 2) for part in parts]
    assert list(wide.columns) == ["taxon", *columns] and list(wide.index) == list(vectors.index)
    assert list(wide["neighbour_2"]) == list(long.loc[long["rank"] == 2, "neighbour"])
    assert list(neighbours_by_feature(nearest_neighbours(vectors, 1)).columns) == columns[:2]
