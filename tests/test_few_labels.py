"""The benchmark of few labels: its draws, what it measures, what it says of the results."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aam_core.data.study import load_study
from aam_core.model import load_model
from aam_core.pretraining import pretrain
from aam_core.simulate.study import simulate

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def module(monkeypatch):
    """Imports modules of the benchmark by their names."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


@pytest.fixture
def draws(module):
    return module("few_labels_draws")


def loaded(draws, samples=60, groups=None):
    """A small study with a number, or with three classes."""
    made = simulate(samples=samples, features=40, seed=1)
    study = load_study(made.table, sequences=made.sequences)
    numbers = pd.Series(np.arange(samples, dtype=float), study.sample_ids, name="number")
    if groups is not None:
        groups = pd.Series(np.arange(samples) // groups, study.sample_ids).astype(str)
    return draws.Loaded(study, numbers, groups)


def classes(one, draws):
    values = one.values.mod(10).map(lambda digit: "abc"[int(digit > 4) + int(digit > 7)])
    return draws.Loaded(one.study, values.rename("class"), one.groups)


def test_groups_stay_on_one_side_and_a_third_is_tested(draws):
    one = loaded(draws, groups=4)
    problem = draws.Problem.of(one, "regression")
    assert not set(one.groups[problem.rest]) & set(one.groups[problem.test])
    assert len(problem.test) == 20 and len(problem.rest) == 40


def test_a_draw_has_as_many_samples_as_asked_for_and_those_of_smaller_ones(draws):
    problem = draws.Problem.of(loaded(draws), "regression")
    drawn = {size: problem.draw(size, 0) for size in ("25", draws.ALL)}
    assert len(drawn["25"].train) == 25 and drawn[draws.ALL].train == problem.rest
    assert set(drawn["25"].train) < set(problem.rest)
    assert drawn["25"].train == problem.draw("25", 0).train != problem.draw("25", 1).train
    assert [problem.has(size) for size in ("25", "50", draws.ALL)] == [True, False, True]


def test_classes_have_their_shares_in_each_draw(draws):
    problem = draws.Problem.of(classes(loaded(draws), draws), "classification")
    for number in range(3):
        counts = problem.draw("25", number).values.value_counts()
        whole = problem.loaded.values[problem.rest].value_counts()
        assert (abs(counts - whole * 25 / len(problem.rest)) <= 1).all()


def test_no_two_studies_are_of_one_table_and_each_third_has_both_tasks(draws):
    tables = [draws.tables(name)[0] for name in draws.NAMES]
    assert len(set(tables)) == len(tables) >= 15 and len(draws.QUICK) == 15
    for number in range(draws.THIRDS):
        tasks = {draws.task_of(name) for name in draws.NAMES if draws.third(name) == number}
        assert tasks == {"regression", "classification"}


def test_errors_of_classes_have_a_floor(module, draws):
    methods = module("few_labels_methods")
    problem = draws.Problem.of(classes(loaded(draws), draws), "classification")
    draw = problem.draw("25", 0)
    truth = draw.loaded.values[draw.test]
    right = pd.get_dummies(truth).astype(float)
    wrong = right.rename(columns={"a": "b", "b": "c", "c": "a"})
    good = methods.errors(draw, right.assign(prediction=truth))
    assert good["balanced"] == good["brier"] == 0 and 0 < good["log_loss"] < 0.02
    bad = methods.errors(draw, wrong.assign(prediction=wrong.idxmax(axis=1)))
    assert bad["balanced"] == 1 and bad["log_loss"] == pytest.approx(-np.log(0.005 / 1.015))


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_a_fit_is_measured_whole_and_by_its_parts(module, draws, task):
    methods = module("few_labels_methods")
    one = loaded(draws, groups=2)
    problem = draws.Problem.of(one if task == "regression" else classes(one, draws), task)
    changes = {
        "model.members": 2,
        "forest.trees": 5,
        "train.max_steps": 2,
        "train.val_fraction": 0.5,
    }
    setting = methods.Setting(changes)
    result = methods.measure("scratch", problem.draw("25", 0), setting)
    main = methods.MAIN[task]
    parts = [result["parts"][name][main] for name in ("network", "forest")]
    assert result["errors"][main] > 0 and len(set(parts)) == 2
    assert (result["train"], result["test"], result["members"]) == (25, 20, 2)
    assert 0 <= result["network_weight"] <= 1 and result["cpu_s"] > 0
    plain = methods.measure("forest", problem.draw("25", 0), setting)
    assert plain["errors"][main] > 0 and "parts" not in plain
    assert result["configuration"] != methods.configuration(methods.Setting().config())


def results(ratios):
    """Two draws a study whose error with the encoder is a multiple of that from scratch."""
    one = {"train": 25, "test": 9, "cpu_s": 2.0}

    def draw(scale, ratio):
        return {
            name: one | {"errors": {"mae": scale * factor, "log_loss": scale * factor}}
            for name, factor in (("scratch", 1), ("pretrained", ratio), ("forest", 1.1))
        }

    return {
        name: {"25": {"0": draw(3, ratio**2), "1": draw(5, 1)}, "50": {"0": draw(2, ratio)}}
        for name, ratio in ratios.items()
    }


def test_ratios_are_geometric_means_over_draws_then_over_studies(module):
    tables = module("few_labels_tables")
    made = results({"mice-age": 0.8, "parkinson": 0.9, "ms-age": 1.1})
    logs = tables.log_ratios(made, "pretrained", ["25"])
    assert np.exp(logs).to_dict() == pytest.approx(
        {"mice-age": 0.8, "parkinson": 0.9, "ms-age": 1.1}
    )
    it = tables.compared(logs)
    assert it.ratio == pytest.approx((0.8 * 0.9 * 1.1) ** (1 / 3))
    assert (it.better, it.studies) == (2, 3) and it.worst == pytest.approx(1.1)
    assert it.low < it.ratio < it.high and it.p > 0.05


def test_the_tables_have_what_is_measured(module):
    tables = module("few_labels_tables")
    made = results({"mice-age": 0.8, "parkinson": 0.9})
    made["mice-age"]["25"]["0"]["linear"] = {"failed": "one class"}
    text = tables.all_tables(made)
    rows = [line for line in text.splitlines() if line.startswith("| 25 |")]
    assert len(rows) == 3 and "| 2 | 1.100 | 1.100 | 1.100 | 0 (0%) | 1.10 |  |" in rows[0]
    assert "1 fits were refused: mice: age in days, 25 labels, draw 0: linear (one class)" in text
    assert "25 to 100" not in text
    assert tables.all_tables({})


def six(module):
    names = module("few_labels_draws").NAMES[:6]
    made = results(dict.fromkeys(names, 0.8) | {names[0]: 0.9})
    for each in made.values():
        each["100"] = each["50"]
    return made


def test_the_aim_is_told_of_studies_with_all_of_its_sizes(module):
    tables = module("few_labels_tables")
    made = six(module)
    text = tables.all_tables(made)
    assert "0.816 of that from scratch" in text and "lower on 100% of 6 studies" in text
    assert any(
        line.startswith("| 25 to 100 |") and "0.816 [0.800, 0.849]" in line
        for line in text.splitlines()
    )
    del made["mice-age"]["100"]
    assert len(tables.log_ratios(made, "pretrained", tables.FEW)) == 5
    assert "of that from scratch" not in tables.all_tables(made)


def test_final_studies_have_rows_of_their_own_and_are_in_no_mean(module):
    tables = module("few_labels_tables")
    made = six(module)
    before = tables.table(made), tables.in_words(made)
    made |= results({"ecam": 3.0})
    assert (tables.table(made), tables.in_words(made)) == before
    (row,) = (
        line for line in tables.by_study(made).splitlines() if "`ecam`" in line and "| 50 |" in line
    )
    assert row.endswith("| 3.000 |")


def test_the_plot_has_sizes_with_enough_studies_and_not_all_labels(module, draws, tmp_path):
    plot = module("few_labels_plot")
    made = six(module)
    for each in made.values():
        each[draws.ALL] = each["50"]
    assert plot.points(made, "pretrained")["size"].tolist() == [25, 50, 100]
    plot.draw(made, tmp_path / "few.png")
    assert (tmp_path / "few.png").stat().st_size > 5000
    for size in ("50", "100"):
        del made["mice-age"][size]
    plot.draw(made, tmp_path / "one.png")
    assert not (tmp_path / "one.png").exists()


def test_results_go_on_where_they_ended(module, draws, tmp_path, monkeypatch):
    few = module("few_labels")
    problem = draws.Problem.of(loaded(draws), "regression")
    monkeypatch.setattr(few, "problem", lambda name, data: problem)
    args = few.arguments(
        [
            "--study",
            "mice-age",
            "--size",
            "25",
            "--draws",
            "2",
            "--output",
            str(tmp_path / "r.json"),
        ]
    )
    wanted = list(few.jobs(args))
    assert len(wanted) == 2 * 6 and wanted[-1] == ("mice-age", "25", 1, "scratch")
    few.save(args.output, wanted[0], {"errors": {"mae": 1.0}})
    few.save(args.output, wanted[-1], {"errors": {"mae": 2.0}})
    read = few.read(args.output)
    assert few.known(read, wanted[0])["errors"]["mae"] == 1.0 and not few.known(read, wanted[1])
    assert set(json.loads(args.output.read_text())) == {"machine", "studies"}


def test_methods_with_an_encoder_need_a_folder_of_encoders(module, capsys):
    few = module("few_labels")
    assert set(few.arguments(["--encoders", "x"]).method) == set(few.METHODS)
    assert not set(few.arguments([]).method) & set(few.WITH_ENCODER)
    with pytest.raises(SystemExit):
        few.arguments(["--method", "pretrained"])
    assert "need --encoders" in capsys.readouterr().err


def test_fits_with_an_encoder_and_like_one_have_the_same_sizes(module, draws):
    methods = module("few_labels_methods")
    one = loaded(draws, groups=2)
    small = {"loss.distance": 0.0, "model.encoder.width": 16, "model.encoder.heads": 2}
    encoder = pretrain(one.study, preset="tiny", config=small, max_steps=1)
    draw = draws.Problem.of(one, "regression").draw("25", 0)
    setting = methods.Setting(
        {"forest.trees": 5, "train.max_steps": 1}, {"model.members": 2, "optim.lr": 1e-4}
    )
    with_one, like = (
        methods.measure(name, draw, setting, encoder) for name in ("pretrained", "like")
    )
    assert with_one["members"] == like["members"] == 2
    assert with_one["errors"] != like["errors"]
    assert with_one["parts"]["forest"] == pytest.approx(like["parts"]["forest"])


@pytest.fixture
def corpus(tmp_path):
    """Three tables whose feature ids are sequences, with a column of numbers each."""
    from biom import Table
    from biom.util import biom_open

    folder = tmp_path / "corpus"
    folder.mkdir()
    for seed, name in enumerate(("one", "two", "three")):
        rng = np.random.default_rng(seed)
        sequences = ["".join(rng.choice(list("ACGT"), 120)) for _ in range(10)]
        ids = [f"{name}.{place}" for place in range(24)]
        with biom_open(str(folder / f"{name}.biom"), "w") as file:
            Table(rng.integers(60, 90, (10, 24)), sequences, ids).to_hdf5(file, "test")
        metadata = pd.DataFrame({"ph": rng.normal(7, 1, 24)}, pd.Index(ids, name="sample-id"))
        metadata.to_csv(folder / f"{name}.tsv", sep="\t")
    return folder


def test_an_encoder_is_pretrained_once_without_what_it_is_tested_on(module, corpus, tmp_path):
    encoders = module("few_labels_encoders")
    settings = {"train.max_steps": 1, "model.members": 1, "model.encoder.width": 32}
    made = encoders.Encoders(tmp_path / "encoders", corpus, settings)
    path = made.path(["two"])
    names = [study["name"] for study in load_model(path).run["studies"]]
    assert sorted(names) == ["one", "three"]
    when = (path / "manifest.json").stat().st_mtime_ns
    assert made.path(["two"]) == path
    assert (path / "manifest.json").stat().st_mtime_ns == when
    assert len({path, made.path([]), made.path(["two"], shuffle=True)}) == 3
