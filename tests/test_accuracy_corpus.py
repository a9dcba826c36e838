"""The corpus benchmark: what it loads of a table, what it measures, what it says of the results."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import accuracy_corpus_studies as studies


@pytest.fixture
def accuracy_corpus(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module("accuracy_corpus")


def write(folder, name, seed, column):
    """A table whose feature ids are sequences, and its metadata, as the corpus has them."""
    from biom import Table
    from biom.util import biom_open

    rng = np.random.default_rng(seed)
    sequences = ["".join(rng.choice(list("ACGT"), 120)) for _ in range(5)]
    sequences[0] = "A" * 100 + "ACGT" * (4 + seed)
    ids = [f"{name}.{i}" for i in range(6)]
    with biom_open(str(folder / f"{name}.biom"), "w") as file:
        Table(rng.integers(1, 9, (5, 6)), sequences, ids).to_hdf5(file, "test")
    values = ["20", "30", "not collected", "40", "50", "7"]
    metadata = {column: values, "site": list("aabbab"), "host": list("xxyyzz")}
    index = pd.Index(ids, name="sample-id")
    pd.DataFrame(metadata, index).to_csv(folder / f"{name}.tsv", sep="\t")


def test_samples_with_a_number_in_the_span_stay(tmp_path):
    write(tmp_path, "one", 0, "age")
    source = studies.CorpusSource("one", "one", "age", group=("host", "site"), span=(18, 100))
    loaded = source.load(tmp_path)
    assert loaded.values.tolist() == [20, 30, 40, 50]
    assert (
        loaded.study.sample_ids == list(loaded.values.index) == ["one.0", "one.1", "one.3", "one.4"]
    )
    assert loaded.groups.tolist() == ["x|a", "x|a", "y|b", "z|a"]


def test_samples_of_some_values_and_no_more_than_the_most(tmp_path):
    write(tmp_path, "one", 0, "age")
    source = studies.CorpusSource(
        "one", "one", "host", "classification", where=("site", ("a",)), most=2
    )
    loaded = source.load(tmp_path)
    assert len(loaded.values) == 2 and set(loaded.values.index) < {"one.0", "one.1", "one.4"}
    assert loaded.study.counts.getnnz(axis=0).all()


def test_pooled_studies_are_matched_by_their_first_bases(tmp_path):
    write(tmp_path, "one", 0, "age")
    write(tmp_path, "two", 1, "years")
    source = studies.CorpusSource("both", {"one": "age", "two": "years"}, "age")
    loaded = source.load(tmp_path)
    assert loaded.values.tolist() == [20, 30, 40, 50, 7] * 2
    assert len(loaded.study.sequences) == 9
    shared = loaded.study.sequences.index("A" * 100)
    assert (loaded.study.counts[:, shared].toarray() > 0).all()


def result(forest, aam, weight=0.5):
    return {
        "samples": 10,
        "errors": {"forest": forest, "network": 5.0, "aam": aam},
        "network_weight": weight,
    }


def test_the_table_has_a_row_a_target_over_its_folds(accuracy_corpus):
    results = {
        "tanzania-age": {"0": result(10, 8), "1": result(10, 10)},
        "parkinson": {"0": result(4, 4.2)},
    }
    lines = accuracy_corpus.table(results).splitlines()
    assert len(lines) == 2 + 2 + 2
    assert lines[2].split("|")[2:6] == [" MAE ", " 2 ", " 20 ", " 1 "] and "| 0.900 |" in lines[2]
    assert " Brier " in lines[3] and "| 1.050 |" in lines[3]
    assert "on 1 (50%), more than 1 % above it on 1 (at most 5.0%)" in lines[-1]
    assert "0.975 in the mean" in lines[-1]


def test_the_names_and_labels_are_each_of_one_target():
    labels = [source.label for source in studies.SOURCES.values()]
    assert len(set(labels)) == len(labels) >= 15


@pytest.fixture
def accuracy_curves(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module("accuracy_curves")


def test_training_samples_of_a_curve_are_nested(accuracy_curves, monkeypatch, tmp_path):
    def of(source, number, corpus):
        assert (number, source.most) == (0, accuracy_curves.MOST)
        return fold(source, None, [f"s{place}" for place in range(10)], ["t"])

    fold = accuracy_curves.Fold
    monkeypatch.setattr(fold, "of", of)
    made = accuracy_curves.folds("hiv-age", tmp_path, sizes=(99, 2, 5, 50))
    assert {size: len(it.train) for size, it in made.items()} == {2: 2, 5: 5, 10: 10}
    assert set(made[2].train) < set(made[5].train) < set(made[10].train)


def test_learning_curves_are_a_table_and_a_figure_in_the_docs(
    accuracy_curves, monkeypatch, tmp_path
):
    def result(error):
        errors = dict.fromkeys(accuracy_curves.METHODS, error) | {"aam": error / 2}
        return {"errors": errors, "network_weight": 0.25, "cpu_s": {"networks": 1, "forest": 2}}

    docs, figure = tmp_path / "docs.md", tmp_path / "curves.png"
    docs.write_text(f"a\n{accuracy_curves.BEGIN}\nLAST\n{accuracy_curves.END}\nb\n")
    monkeypatch.setattr(accuracy_curves, "DOCS", docs)
    monkeypatch.setattr(accuracy_curves, "FIGURE", figure)
    accuracy_curves.write_docs({"hiv-age": {"50": result(8.0), "1600": result(4.0)}})
    text = docs.read_text()
    assert "LAST" not in text and text.startswith("a\n") and text.endswith("\nb\n")
    rows = [line.split(" | ") for line in text.splitlines() if "| MAE |" in line]
    assert [row[2] for row in rows] == ["50", "1,600"]
    assert [row[-3] for row in rows] == ["0.500", "0.500"]
    assert figure.stat().st_size and "(images/curves.png)" in text
