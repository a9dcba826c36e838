"""The ablations: rows, draws of subjects, comparisons, results; the fits themselves take long."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aam_core import statistics
from aam_core.config.presets import fitting

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("ablation_rows", "ablation_encoders", "ablation_fits", "ablation_results")


@pytest.fixture
def modules(monkeypatch):
    """The script and its parts, as it imports them."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    names = (*NAMES, "ablation_tables", "ablations")
    by_name = {name.split("_")[-1]: importlib.import_module(name) for name in names}
    return argparse.Namespace(**by_name)


# --- rows ----------------------------------------------------------------------------------------


def test_rows_serve_every_question(modules):
    rows = modules.rows.rows()
    assert {row.questions[0] for row in rows.values()} == set(modules.rows.QUESTIONS)
    assert not {name for row in rows.values() for name in row.against} - set(rows)
    place = {name: i for i, name in enumerate(rows)}
    assert all(place[other] < place[name] for name, row in rows.items() for other in row.against)


def test_reference_is_the_default_of_fewer_networks_alone(modules):
    row = modules.rows.rows()["network"]
    changed = modules.rows.fit_config(row).differences(fitting())
    assert set(changed) == set(modules.rows.REFERENCE)
    assert changed["forest.trees"][0] == 0
    seeded = modules.rows.fit_config(row, seed=3, threads=2, steps=7)
    assert (seeded.train.seed, seeded.train.threads, seeded.train.max_steps) == (3, 2, 7)


def test_what_the_reference_has_is_no_row(modules):
    rows, config = modules.rows.rows(), modules.rows.fit_config
    same = [
        name for name, row in rows.items() if row.changes and config(row) == config(rows["network"])
    ]
    assert not same
    tried = modules.rows.TRIED["model.sample.asv_dropout"]
    present = [f"sample.asv_dropout {value}" in rows for value in tried]
    assert present.count(True) in (len(tried) - 1, len(tried))


def test_pretrained_rows_have_the_architecture_of_the_untrained(modules):
    rows = modules.rows.rows()
    for name, row in rows.items():
        if row.parts and 1 in row.questions:
            none = rows[row.against[-1]]
            assert (none.parts, none.samples) == ((), row.samples), name
            rate = {"optim.encoder_lr_ratio": 1.0} if "as fast" in name else {}
            assert none.changes | rate == row.changes, name
    row = rows["learned on v4 and UniFrac, 50 samples"]
    fit = modules.rows.fit_config(row)
    for part in row.parts:
        config = modules.encoders.pretraining_config(row, part, fit)
        assert config.model.encoder == fit.model.encoder
        assert config.model.sample.pool_queries == fit.model.sample.pool_queries
        assert config.train.max_steps == modules.encoders.STEPS[part]
        assert (config.loss.nucleotide > 0) == (part == "v4")


def test_rows_come_after_what_they_are_compared_with(modules):
    chosen = modules.rows.with_references(["learned on UniFrac, 50 samples"])
    assert [row.name for row in chosen] == [
        "forest, 50 samples",
        "network, 50 samples",
        "learned, 50 samples",
        "learned on UniFrac, 50 samples",
    ]


# --- who is drawn --------------------------------------------------------------------------------

OF = pd.Series(
    np.repeat([f"S{i:02d}" for i in range(20)], [4, 8, 12, 16] * 5),
    index=[f"sample-{i:03d}" for i in range(200)],
)


def drawn(modules, seed=0, classes=None, ids=OF.index, **wanted) -> list[str]:
    return modules.fits.draw(ids, OF, classes, np.random.default_rng(seed), **wanted)


def test_whole_subjects_until_the_number_is_reached(modules):
    for seed in range(10):
        names = drawn(modules, seed, samples=50)
        own = OF[names]
        assert 50 <= len(names) < 50 + 16
        assert all((OF == subject).sum() == n for subject, n in own.value_counts().items())
        assert names == [name for name in OF.index if name in set(names)]
        assert set(names) <= set(drawn(modules, seed, samples=100))
    assert drawn(modules, 1, samples=50) != drawn(modules, 2, samples=50)
    assert drawn(modules) == list(OF.index) == drawn(modules, samples=1000)


def test_number_that_a_subject_reaches_exactly(modules):
    names = drawn(modules, samples=10**6)
    order = np.random.default_rng(0).permutation(np.unique(OF))
    first = (OF == order[0]).sum()
    assert len(drawn(modules, samples=first)) == first
    assert len(drawn(modules, samples=first + 1)) == first + (OF == order[1]).sum()
    assert len(names) == 200


def test_number_of_subjects(modules):
    assert OF[drawn(modules, subjects=5)].nunique() == 5
    side = OF.index[:40]
    assert set(drawn(modules, ids=side, subjects=3)) <= set(side)


def test_each_class_keeps_its_share_of_the_subjects(modules):
    ill = OF.map(lambda name: "ill" if name < "S05" else "well")  # 5 of 20 subjects
    for seed in range(10):
        for subjects, expected in ((4, 1), (8, 2), (20, 5)):
            names = drawn(modules, seed, ill, subjects=subjects)
            assert OF[[n for n in names if ill[n] == "ill"]].nunique() == expected


def test_folds_are_joined_in_the_order_of_the_samples(modules):
    values = pd.Series(["b", "a", "c", "a"], index=list("wxyz"), name="kind")
    frames = [
        pd.DataFrame({"prediction": ["a", "b"], "a": [0.9, 0.2], "b": [0.1, 0.8]}, list("xw")),
        pd.DataFrame({"prediction": ["a", "a"], "a": [1.0, 0.6], "c": [0.0, 0.4]}, list("zy")),
    ]
    table = modules.fits.joined(frames, values, "classification")
    assert table.index.tolist() == list("wxyz")
    assert table["actual"].tolist() == ["b", "a", "c", "a"]
    assert table["c"].tolist() == [0.0, 0.0, 0.4, 0.0]
    run = statistics.predictions_of(table, "aam", "classification")
    assert run.metrics()["accuracy"] == 0.75
    numbers = pd.Series([1.0, 2.0], index=["p", "q"])
    halves = [
        pd.DataFrame({"prediction": [v], "lower": [0.0]}, [k]) for k, v in (("q", 5), ("p", 4))
    ]
    table = modules.fits.joined(halves, numbers, "regression")
    assert table["prediction"].tolist() == [4, 5] and table["actual"].tolist() == [1.0, 2.0]


def test_what_cannot_be_run(modules, tmp_path):
    rows, missing_data = modules.rows.rows(), modules.fits.missing_data
    assert missing_data(rows["loss.target mse"], "ibd", tmp_path) == "a regression"
    assert missing_data(rows["all reads, always"], "ibd-rarefied", tmp_path)
    assert missing_data(rows["learned on UniFrac"], "ecam", tmp_path) == "a tree"
    assert missing_data(rows["learned on UniFrac"], "simulated-200", tmp_path) == "a tree"
    assert missing_data(rows["learned on v4"], "ecam", tmp_path).startswith("v4/")
    assert missing_data(rows["learned on another study"], "ecam", tmp_path) == "another study"
    (tmp_path / "ecam").mkdir()
    (tmp_path / "ecam" / "tree.nwk").touch()
    assert not missing_data(rows["learned on UniFrac"], "ecam", tmp_path)
    assert not missing_data(rows["learned on another study"], "ibd-rarefied", tmp_path)


def test_sizes_that_a_fold_does_not_have(modules):
    source = "simulated-200"  # 160 samples and 40 subjects on a training side
    study = modules.encoders.load(source, Path("nowhere"))
    row = modules.rows.rows()["network"]
    for size, beyond in (({"samples": 50}, 0), ({"samples": 200}, 1), ({"subjects": 40}, 1)):
        assert (
            modules.fits.too_few_samples(dataclasses.replace(row, **size), source, study) == beyond
        )
    assert not modules.fits.too_few_samples(row, source, study)


# --- what is kept --------------------------------------------------------------------------------


def result(modules, name: str, mae: float, against: dict | None = None, **settings) -> dict:
    row = modules.rows.rows()[name]
    compared = {
        other: {
            "difference": -1.5,
            "difference_interval": (-3.0, 0.5),
            "p": 0.04,
            "by_seed": [{"mae": theirs, "r2": 0.5}],
        }
        for other, theirs in (against or {}).items()
    }
    return {
        "settings": modules.results.settings(row, settings.get("seeds", 1), settings.get("steps")),
        "task": "regression",
        "figures": {"mae": mae, "r2": 0.5},
        "by_seed": [{"mae": mae, "r2": 0.5}],
        "samples": 559.2,
        "subjects": 33.6,
        "cpu_s": 1234.5,
        "pretraining_cpu_s": 60.0 if row.parts else 0.0,
        "peak_gb": 0.61,
        "predictions": ["1 2 3"],
        "against": compared,
    }


def test_rows_with_results_are_recognized(modules):
    row, settings = modules.rows.rows()["network"], modules.results.settings
    results = {
        "forest": result(modules, "forest", 85.0),
        "network": result(modules, "network", 80.0, {"forest": 85.0}),
    }
    results = json.loads(json.dumps(results))
    is_done = modules.results.is_done
    assert is_done(row, settings(row, 1), results)
    assert not is_done(row, settings(row, 3), results)
    assert not is_done(row, settings(row, 1, steps=5), results)
    changed = dataclasses.replace(row, changes={"optim.lr": 0.5})
    assert not is_done(changed, settings(changed, 1), results)
    kept = results["network"].pop("predictions")  # others could not be compared with it
    assert not is_done(row, settings(row, 1), results)
    results["network"]["predictions"] = kept
    results["forest"]["by_seed"] = [{"mae": 84.0, "r2": 0.5}]  # it was run again
    assert not is_done(row, settings(row, 1), results)
    assert not is_done(row, settings(row, 1), {"network": results["network"]})


def test_predictions_are_packed(modules):
    numbers = statistics.Numbers(np.zeros(4), np.array([1.5, 123.4567891, -2e-9, 0]))
    back = modules.results.unpack(modules.results.pack(numbers), numbers)
    assert back.predicted == pytest.approx(numbers.predicted, rel=1e-6)
    probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], 6)
    classes = statistics.Classes(np.arange(6) % 3, probabilities.argmax(1), probabilities)
    back = modules.results.unpack(modules.results.pack(classes), classes)
    assert back.probabilities == pytest.approx(probabilities, rel=1e-6)
    assert (back.predicted == classes.predicted).all()


def test_results_are_kept_row_by_row(modules, tmp_path):
    save, rows = modules.ablations.save, modules.rows.rows()
    output, docs = tmp_path / "results" / "ablations.json", tmp_path / "page.md"
    docs.write_text("# Benchmarks\n\nText.\n")
    results = result(modules, "network", 80.0, {"forest": 85.0})
    save("ecam", rows["network"], results, output, docs)
    docs.write_text(docs.read_text() + "\n## More\n")
    save("ecam", rows["forest"], result(modules, "forest", 85.0), output, docs)
    save("ecam", rows["forest"], result(modules, "forest", 86.0), output, None)
    saved = json.loads(output.read_text())
    assert list(saved["ecam"]) == ["forest", "network"]
    assert saved["ecam"]["forest"]["figures"]["mae"] == 86.0
    page = docs.read_text()
    assert page.startswith("# Benchmarks\n\nText.\n\n## What was tried\n")
    assert page.endswith(f"{modules.tables.END}\n\n## More\n")
    assert page.count(modules.tables.BEGIN) == page.count("## What was tried") == 1
    assert "| 85.0 |" in page and "86.0" not in page


def test_tables(modules):
    results = {
        "forest": result(modules, "forest", 85.0),
        "network": result(modules, "network", 80.0, {"forest": 85.0}),
        "blend": result(modules, "blend", 78.5, {"network": 80.0, "forest": 85.0}),
        "learned": result(modules, "learned", 90.0, {"network": 80.0}),
        "learned on v4": result(modules, "learned on v4", 88.5, {"learned": 90.0}),
    }
    made = modules.tables.all_tables({"ecam": results})
    rows = [line for line in made.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {rows[0].count("|")}
    assert (
        "| network | 559 (34) | 80.0 | 0.500 | forest | -1.5 [-3.0, 0.5] | 0.040 | 1,234 | 0.61 |"
    ) in rows
    assert "|  |  |  |  | forest | -1.5 [-3.0, 0.5] | 0.040 |  |  |" in rows
    assert any(row.startswith("| learned on v4 |") and "| 1,234 + 60 |" in row for row in rows)
    titles = [line for line in made.splitlines() if line.startswith("###")]
    # What only lends its rows to a question does not open it.
    assert [title[4] for title in titles] == ["1", "5"]


def test_studies_and_rows_are_chosen(modules, tmp_path, capsys):
    words = ["--study", "simulated-200", "--data", str(tmp_path)]
    args = modules.ablations.arguments([*words, "--row", "members 1", "--row", "learned on v4"])
    chosen = modules.ablations.choose(args)
    assert [(name, row.name) for name, row in chosen] == [
        ("simulated-200", name) for name in ("forest", "network", "members 1")
    ]
    messages = capsys.readouterr().err
    assert messages.count("\n") == 1 and "v4" in messages
    args = modules.ablations.arguments([*words, "--question", "5"])
    names = [row.name for _, row in modules.ablations.choose(args)]
    assert "forest, 100 samples" in names and "network, 200 samples" not in names
    assert "learned" not in names and "members 1" not in names
    assert "more samples: forest, 200 samples" in capsys.readouterr().err
    args = modules.ablations.arguments(["--data", str(tmp_path)])
    assert modules.ablations.choose(args) == []
    assert "ecam, ibd-rarefied" in capsys.readouterr().err


def test_unknown_row(modules, capsys):
    with pytest.raises(SystemExit):
        modules.ablations.arguments(["--row", "nothing"])
    assert "there is no row 'nothing'" in capsys.readouterr().err


def test_forests_are_run_once_and_kept(modules, tmp_path, monkeypatch, capsys):
    """The whole way, of rows that train nothing."""
    monkeypatch.setattr("aam_core.baseline._TREES", 5)
    rows = modules.rows.rows()
    small = {name: dataclasses.replace(rows[name], fresh=False) for name in rows}
    for module in (modules.rows, modules.ablations):
        monkeypatch.setattr(module, "rows", lambda: small)
    words = ["--study", "simulated-200", "--row", "forest", "--row", "forest, 50 samples"]
    args = modules.ablations.arguments([*words, "--threads", "1"])
    output = tmp_path / "ablations.json"
    modules.ablations.run_all(args, output, None)
    first = output.read_text()
    saved = json.loads(first)["simulated-200"]
    assert list(saved) == ["forest", "forest, 50 samples"]
    assert (saved["forest"]["samples"], saved["forest, 50 samples"]["samples"]) == (160, 52)
    assert saved["forest"]["figures"]["mae"] < saved["forest, 50 samples"]["figures"]["mae"]
    modules.ablations.run_all(args, output, None)
    assert output.read_text() == first
    assert capsys.readouterr().err.count("done already") == 2
    again = modules.ablations.arguments([*words, "--again"])
    modules.ablations.run_all(again, output, None)
    assert "done already" not in capsys.readouterr().err
