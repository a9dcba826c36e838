from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from aam_core.config import DataConfig, LossConfig
from aam_core.data.batch import Batcher
from aam_core.data.distances import distance_matrix
from aam_core.losses import (
    Term,
    compute,
    distance_terms,
    nucleotide_terms,
    target_terms,
    true_distance,
    weighted,
)
from aam_core.models.model import ModelOutput, Network, Parts

CONFIG = LossConfig()
READS = DataConfig(rarefaction="none")


def mean(terms, name):
    return float(terms[name].mean().detach())


# --- target --------------------------------------------------------------------------------------

OUTPUT = torch.tensor([[0.0], [1.0], [5.0]])
TRUTH = torch.tensor([0.5, 1.0, 2.0])


@pytest.mark.parametrize(
    "name, delta, expected",
    [
        ("mse", 1.0, (0.25 + 0 + 9) / 3),
        ("mae", 1.0, (0.5 + 0 + 3) / 3),
        ("huber", 1.0, (0.125 + 0 + (3 - 0.5)) / 3),
        ("huber", 2.0, (0.125 + 0 + 2 * (3 - 1)) / 3),
    ],
)
def test_regression(name, delta, expected):
    config = LossConfig(target=name, huber_delta=delta)
    terms = target_terms(OUTPUT, TRUTH, config)
    assert mean(terms, "target") == pytest.approx(expected)
    assert float(terms["target"].count) == 3


CHANCES = torch.tensor([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25]])


@pytest.mark.parametrize(
    "weight, expected",
    [
        (None, -(math.log(0.1) + math.log(0.5)) / 2),
        ([1.0, 1.0, 3.0], -(3 * math.log(0.1) + math.log(0.5)) / 4),
    ],
)
def test_classification(weight, expected):
    weight = None if weight is None else torch.tensor(weight)
    terms = target_terms(CHANCES.log(), torch.tensor([2, 1]), CONFIG, weight)
    assert mean(terms, "target") == pytest.approx(expected)


def test_label_smoothing():
    config = LossConfig(label_smoothing=0.3)
    found = mean(target_terms(CHANCES.log(), torch.tensor([2, 1]), config), "target")
    aim = torch.tensor([[0.1, 0.1, 0.8], [0.1, 0.8, 0.1]])
    assert found == pytest.approx(float(-(aim * CHANCES.log()).sum(1).mean()))


def test_parts_of_a_batch_add_up():
    """What distributed and accumulated training relies on."""
    weight = torch.tensor([1.0, 1.0, 3.0])
    cases = (
        (CHANCES.log(), torch.tensor([2, 1]), weight),
        (torch.randn(2, 1), torch.randn(2), None),
    )
    for output, truth, weight in cases:
        whole = target_terms(output, truth, CONFIG, weight)["target"]
        parts = [
            target_terms(output[i : i + 1], truth[i : i + 1], CONFIG, weight)["target"]
            for i in (0, 1)
        ]
        joined = Term(parts[0].total + parts[1].total, parts[0].count + parts[1].count)
        assert float(joined.mean()) == pytest.approx(float(whole.mean()))


# --- distances -----------------------------------------------------------------------------------


def pairs(rows):
    return torch.tensor(rows, dtype=torch.float32)


def test_each_pair_once_and_no_diagonal():
    truth = pairs([[0, 0.2, 0.4], [0.2, 0, 0.6], [0.4, 0.6, 0]])
    predicted = pairs([[9, 0.3, 0.4], [7, 9, 0.9], [7, 7, 9]])
    terms = distance_terms(predicted, truth, CONFIG)
    assert float(terms["distance"].total) == pytest.approx(0.1**2 + 0.3**2)
    assert float(terms["distance"].count) == 3


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_pairs_at_no_distance_have_a_weight_of_their_own(weight):
    truth = pairs([[0, 0, 0.4], [0, 0, 0.6], [0.4, 0.6, 0]])
    predicted = truth + pairs([[0, 0.5, 0.1], [0, 0, 0.2], [0, 0, 0]])
    terms = distance_terms(predicted, truth, replace(CONFIG, zero_pair_weight=weight))
    expected = (weight * 0.25 + 0.01 + 0.04) / (weight + 2)
    assert mean(terms, "distance") == pytest.approx(expected, rel=1e-5)


def test_one_sample_has_no_pairs():
    terms = distance_terms(pairs([[0.3]]), pairs([[0.0]]), CONFIG)
    assert mean(terms, "distance") == 0


def test_given_distances_come_before_computed_ones(small):
    batch = Batcher(small, READS, 0, distances=True).batch(np.arange(5))
    found = true_distance(batch, small.phylogeny, CONFIG)
    expected = distance_matrix(
        batch.table, batch.table_features, small.phylogeny, CONFIG.metric, alpha=CONFIG.alpha
    )
    assert torch.equal(found, expected) and 0 < float(found.max()) <= 1
    given = torch.rand(5, 5)
    assert torch.equal(true_distance(replace(batch, distance=given), None, CONFIG), given)
    jaccard = replace(CONFIG, metric="jaccard")
    assert not torch.equal(true_distance(batch, None, jaccard), found)


# --- nucleotides ---------------------------------------------------------------------------------


def test_nucleotides_and_their_accuracy():
    chances = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    output = ModelOutput(nucleotide=chances.log(), nucleotide_truth=torch.tensor([0, 2]))
    terms = nucleotide_terms(output)
    expected = -(math.log(0.5) + math.log(0.1)) / 2
    assert mean(terms, "nucleotide") == pytest.approx(expected)
    assert mean(terms, "nucleotide_accuracy") == 0.5


def test_no_hidden_base_is_no_loss():
    output = ModelOutput(
        nucleotide=torch.zeros(0, 8), nucleotide_truth=torch.zeros(0, dtype=torch.int64)
    )
    terms = nucleotide_terms(output)
    assert mean(terms, "nucleotide") == 0 and mean(terms, "nucleotide_accuracy") == 0


# --- together ------------------------------------------------------------------------------------


def test_penalties():
    def term(total, count):
        return Term(torch.tensor(total), torch.tensor(count))

    terms = {
        "nucleotide": term(4.0, 2.0),
        "nucleotide_accuracy": term(100.0, 1.0),
        "distance": term(3.0, 6.0),
        "target": term(5.0, 1.0),
    }
    config = LossConfig(nucleotide=10.0, distance=100.0)
    assert float(weighted(terms, config)) == pytest.approx(10 * 2 + 100 * 0.5 + 5)
    del terms["nucleotide"], terms["distance"]
    assert float(weighted(terms, config)) == pytest.approx(5)


def test_terms_of_the_heads_that_there_are(small, brief):
    config = brief("pretraining")
    batcher = Batcher(small, config.data, 0, distances=True, target=np.zeros(60, np.float32))
    batch = batcher.batch(np.arange(6))
    for parts, names in (
        (Parts(nucleotide=True), {"nucleotide", "nucleotide_accuracy"}),
        (Parts(distance=True, outputs=1), {"distance", "target"}),
    ):
        network = Network(config.model, parts)
        output = network(batch, config.masking, torch.Generator().manual_seed(0))
        terms = compute(network, output, batch, config.loss, small.phylogeny)
        assert set(terms) == names
        assert all(math.isfinite(mean(terms, name)) for name in names)
