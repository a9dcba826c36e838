"""Train, save, and predict in a fresh process from the folder alone: the same numbers.

On samples and ASVs never seen, in another order of samples and of features, in any batch size.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

FRESH = """
import sys
from pathlib import Path

from aam_core import load_model, load_study, predict
from aam_core.prediction import predicted_distances

here = Path.cwd()
studies = [load_study(here / f"{name}.biom", sequences=here / f"{name}.fasta",
                      metadata=here / f"{name}.tsv") for name in ("known", "unseen", "turned")]
for kind in ("regressor", "classifier", "covariates", "frozen", "split"):
    for name, study in zip(("known", "unseen", "turned"), studies):
        for size in (None, 1, 5):
            predicted = predict(load_model(here / kind), study, batch_size=size)
            predicted.to_csv(here / f"{kind}-{name}-{size}.tsv", sep="\\t")
predicted_distances(here / "encoder", studies[1]).to_csv(here / "distances.tsv", sep="\\t")
assert "sklearn" not in sys.modules and "matplotlib" not in sys.modules
"""
KINDS = ("regressor", "classifier", "covariates", "frozen", "split")


def write(table, sequences, metadata, folder, name):
    from biom.util import biom_open

    with biom_open(str(folder / f"{name}.biom"), "w") as file:
        table.to_hdf5(file, "test")
    fasta = "".join(f">{feature}\n{dna}\n" for feature, dna in sequences.items())
    (folder / f"{name}.fasta").write_text(fasta)
    metadata.to_csv(folder / f"{name}.tsv", sep="\t")


def fit_all(folder, known):
    """Every kind of model, trained for a few steps and saved under ``folder``."""
    from aam_core import fit_classifier, fit_regressor, load_study, pretrain
    from aam_core.config import presets

    study = load_study(
        known.table, sequences=known.sequences, tree=known.tree, metadata=known.metadata
    )
    brief = {
        "data.rarefaction": "redraw",
        "data.sampling_depth": 400,
        "data.sampling_depth_max": 0,
        "data.full_depth": 0.0,
        "data.max_asvs": 12,
        "train.min_steps": 0,
        "train.max_steps": 4,
        "train.batch_size": 12,
        "train.device": "cpu",
        "train.threads": 1,
        "train.trackers": "none",
    }
    ensemble = {"model.members": 3, "train.val_fraction": 0.3, "forest.trees": 12}
    fitting = presets.fitting("tiny").replace({**brief, **ensemble})
    pretraining = presets.pretraining("tiny").replace(brief)
    encoder = pretrain(study, config=pretraining, output=folder / "encoder")
    ids = study.sample_ids

    def fitted(name, fit, target, **options):
        model = fit(study, target, config=fitting, output=folder / name, **options)
        if name == "split":
            return model
        model.network_weight = 0.4  # after a few steps the blend weight may be 0
        model.save(folder / name)
        return model

    warm = {"encoder": folder / "encoder", "freeze_encoder": True}
    models = {
        "regressor": fitted("regressor", fit_regressor, "gradient"),
        "classifier": fitted("classifier", fit_classifier, "sequencing_run"),
        "covariates": fitted("covariates", fit_regressor, "gradient", covariates=["group"]),
        "frozen": fitted("frozen", fit_regressor, "gradient", **warm),
        "split": fitted("split", fit_regressor, "gradient", split=(ids[:24], ids[24:])),
    }
    return encoder, models


@pytest.fixture(scope="module")
def trip(tmp_path_factory):
    """(models, studies, folder) after a fresh process has predicted from the folders."""
    from aam_core import load_study
    from aam_core.simulate.study import simulate

    folder = tmp_path_factory.mktemp("roundtrip")
    known = simulate(36, 40, 3, sequence_length=50, depth=1200)
    unseen = simulate(20, 50, 77, sequence_length=64, depth=1200)
    cut = {name: dna[: 64 - 7 * (i % 3)] for i, (name, dna) in enumerate(unseen.sequences.items())}
    assert not set(cut.values()) & set(known.sequences.values())
    rng = np.random.default_rng(0)
    turned = unseen.table.sort_order(rng.permutation(unseen.table.ids()))
    turned = turned.sort_order(rng.permutation(turned.ids(axis="observation")), axis="observation")
    encoder, models = fit_all(folder, known)
    write(known.table, known.sequences, known.metadata, folder, "known")
    write(unseen.table, cut, unseen.metadata, folder, "unseen")
    write(turned, dict(reversed(cut.items())), unseen.metadata, folder, "turned")
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FRESH], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    studies = {
        "known": load_study(known.table, sequences=known.sequences, metadata=known.metadata),
        "unseen": load_study(unseen.table, sequences=cut, metadata=unseen.metadata),
    }
    return encoder, models, studies, folder


def fresh(folder, name):
    """Predictions of the other process."""
    text = {"sample-id": str, "prediction": str} if name.startswith("classifier") else {}
    table = pd.read_csv(folder / f"{name}.tsv", sep="\t", dtype={"sample-id": str, **text})
    return table.set_index("sample-id")


def assert_same(predicted, expected):
    assert list(predicted.columns) == list(expected.columns)
    for name in expected:
        if expected[name].dtype == object or str(expected[name].dtype).startswith("str"):
            assert predicted[name].tolist() == expected[name].tolist()
        else:
            np.testing.assert_allclose(predicted[name], expected[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [None, 1, 5])
@pytest.mark.parametrize("name", ["known", "unseen"])
def test_a_fresh_process_predicts_the_same_numbers(trip, kind, name, size):
    from aam_core import predict

    _, models, studies, folder = trip
    expected = predict(models[kind], studies[name])
    predicted = fresh(folder, f"{kind}-{name}-{size}")
    assert predicted.index.tolist() == studies[name].sample_ids
    assert kind == "split" or expected.iloc[:, 1].nunique() > 5
    assert_same(predicted, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [None, 1, 5])
def test_the_order_of_samples_and_features_has_no_effect(trip, kind, size):
    from aam_core import predict

    _, models, studies, folder = trip
    expected = predict(models[kind], studies["unseen"])
    predicted = fresh(folder, f"{kind}-turned-{size}")
    assert predicted.index.tolist() != expected.index.tolist()
    assert_same(predicted.loc[expected.index], expected)


def test_predictions_of_validation_samples_are_those_of_the_fit(trip):
    _, models, _, folder = trip
    model = models["split"]
    predicted = fresh(folder, "split-known-None").loc[model.val_samples]
    assert_same(predicted[["prediction"]], model.val_predictions[["prediction"]])


def test_an_encoder_predicts_the_same_distances(trip):
    from aam_core.prediction import predicted_distances

    encoder, _, studies, folder = trip
    predicted = pd.read_csv(folder / "distances.tsv", sep="\t", index_col=0)
    expected = predicted_distances(encoder, studies["unseen"])
    np.testing.assert_allclose(predicted.to_numpy(), expected.to_numpy(), rtol=1e-5, atol=1e-5)
    assert expected.to_numpy().std() > 0.001
