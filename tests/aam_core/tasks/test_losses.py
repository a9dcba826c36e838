from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from aam_core.config import DataConfig, LossConfig
from aam_core.data.batches import EVALUATION, Batcher
from aam_core.errors import InputError
from aam_core.models import masking
from aam_core.models.network import ModelOutput, Network, Parts
from aam_core.phylogeny.distances import distance_matrix
from aam_core.tasks import Classification, Regression
from aam_core.tasks.losses import (
    LOSSES,
    counts,
    distance_total,
    loss_named,
    pair_weights,
    sample_weights,
    totals,
    true_distance,
    weighted,
)

CONFIG = LossConfig()
NUMBER, CLASS = Regression("age", 0.0, 1.0), Classification("site", ("a", "b", "c"))
READS = DataConfig(rarefaction="none")


@pytest.fixture
def batch_of(small):
    """Make a batch: ``batch_of(samples, **options of Batcher)``."""

    def make(samples, epoch=EVALUATION, **options):
        return Batcher(small, READS, 0, **options).batch(np.asarray(samples), epoch)

    return make


# --- target --------------------------------------------------------------------------------------

OUTPUT = torch.tensor([[[0.0], [1.0], [5.0]], [[0.5], [1.0], [2.0]]])
TRUTH = torch.tensor([0.5, 1.0, 2.0])


def target_total(output, batch, config=CONFIG, class_weight=None):
    task = NUMBER if batch.target.dtype.is_floating_point else CLASS
    return float(totals(ModelOutput(target=output), batch, config, task, class_weight)["target"])


@pytest.mark.parametrize(
    "name, delta, expected",
    [
        ("mse", 1.0, [0.25, 0, 9]),
        ("mae", 1.0, [0.5, 0, 3]),
        ("huber", 1.0, [0.125, 0, 3 - 0.5]),
        ("huber", 2.0, [0.125, 0, 2 * (3 - 1)]),
    ],
)
def test_regression(name, delta, expected):
    config = LossConfig(target=name, huber_delta=delta)
    result = NUMBER.loss(OUTPUT, TRUTH, config)
    assert result.tolist() == [pytest.approx(expected), [0, 0, 0]]


def test_errors_on_each_side_have_their_penalty():
    config = LossConfig(target="asymmetric", over=3.0, under=0.5)
    result = NUMBER.loss(torch.tensor([[[2.0], [0.0]]]), torch.tensor([1.0, 2.0]), config)
    assert result.tolist() == [[3.0, 1.0]]
    same = LossConfig(target="asymmetric")
    assert torch.equal(NUMBER.loss(OUTPUT, TRUTH, same), (OUTPUT[..., 0] - TRUTH).abs())


def test_the_quantile_loss_is_least_at_the_quantiles():
    truth = torch.linspace(0, 1, 1001)
    config = LossConfig(target="quantile", quantiles="0.9, 0.1")
    assert config.levels == (0.1, 0.5, 0.9)

    def loss(*levels):
        return float(NUMBER.loss(torch.tensor(levels).expand(1, 1001, 3), truth, config).mean())

    least = loss(0.1, 0.5, 0.9)
    assert all(loss(*other) > least for other in [(0.2, 0.5, 0.9), (0.1, 0.6, 0.9), (0, 0.5, 1)])
    alone = LossConfig(target="quantile", quantiles="0.5")
    assert torch.allclose(NUMBER.loss(OUTPUT, TRUTH, alone), (OUTPUT[..., 0] - TRUTH).abs())


def test_the_target_has_a_weight_beside_the_others():
    sums = {"target": torch.tensor(6.0), "distance": torch.tensor(1.0)}
    parts = weighted(
        sums,
        {"target": torch.tensor(2.0), "distance": torch.tensor(1.0)},
        LossConfig(target_weight=0.5, distance=10.0),
    )
    assert {name: float(value) for name, value in parts.items()} == {"target": 1.5, "distance": 10}


def test_weights_of_samples(batch_of, small):
    weights = sample_weights(small, small.sample_ids[:9], LossConfig(sample_weight="gradient"))
    assert weights[:9] == pytest.approx(small.metadata["gradient"][:9].to_numpy())
    assert (weights[9:] == 1).all() and sample_weights(small, [], CONFIG) is None
    batch = batch_of(range(3), target=np.arange(60, dtype=np.float32), sample_weight=weights)
    output = torch.zeros(2, 3, 1)
    each = NUMBER.loss(output, batch.target, CONFIG)[0]
    expected = float((each * torch.from_numpy(weights[:3])).sum())
    assert target_total(output, batch) == pytest.approx(expected)
    assert float(counts(batch, None, None)["target"]) == pytest.approx(weights[:3].sum())


@pytest.mark.parametrize(
    "values, message",
    [
        ([1.0, 0.0], r"1 weights that are not above 0: S.*'0'"),
        ([1.0, None], "blank for 1"),
    ],
)
def test_what_is_no_weight(small, values, message):
    ids = small.sample_ids[:2]
    study = replace(small.select(ids), metadata=small.metadata.loc[ids].assign(w=values))
    with pytest.raises(InputError, match=message):
        sample_weights(study, ids, LossConfig(sample_weight="w"))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"quantiles": "0.1,1"}, "between 0 and 1"),
        ({"quantiles": "low"}, "quantiles must be"),
        ({"target_range": "5"}, "LOW,HIGH"),
        ({"target_range": "5,1"}, "no room"),
        ({"class_weight": "even"}, "CLASS=WEIGHT"),
        ({"class_weight": "a=1,a=2"}, "CLASS=WEIGHT"),
        ({"class_weight": "a=-1"}, "weights above 0"),
    ],
)
def test_settings_that_cannot_be_read(settings, message):
    with pytest.raises(InputError, match=message):
        LossConfig(**settings)


CHANCES = torch.tensor([[[0.7, 0.2, 0.1], [0.25, 0.5, 0.25]]])
CLASSES = torch.tensor([2, 1])


def test_classification():
    result = CLASS.loss(CHANCES.log(), CLASSES, CONFIG)
    assert result.tolist() == [pytest.approx([-math.log(0.1), -math.log(0.5)])]


def test_label_smoothing():
    config = LossConfig(label_smoothing=0.3)
    (result,) = CLASS.loss(CHANCES.log(), CLASSES, config)
    aim = torch.tensor([[0.1, 0.1, 0.8], [0.1, 0.8, 0.1]])
    torch.testing.assert_close(result, -(aim * CHANCES[0].log()).sum(1))


@pytest.mark.parametrize("members", [1, 3])
def test_members_without_weights_count_by_their_mean(batch_of, members):
    """Which is what equal weights are: the losses do not grow with the members."""
    batch = batch_of(range(4), target=np.arange(60, dtype=np.float32))
    output = torch.randn(members, 4, 1, generator=torch.Generator().manual_seed(0))
    each = NUMBER.loss(output, batch.target, CONFIG)
    assert target_total(output, batch) == pytest.approx(float(each.mean(0).sum()))
    equal = replace(batch, weight=torch.ones(members, 4))
    for case in (batch, equal):
        mean = target_total(output, case) / float(counts(case, None, None)["target"])
        assert mean == pytest.approx(float(each.mean()))


@pytest.mark.parametrize("class_weight", [None, torch.tensor([0.5, 2.0])])
def test_samples_count_for_the_members_that_do_not_leave_them_out(batch_of, class_weight):
    held_out = np.zeros((2, 60), bool)
    held_out[0, 0] = held_out[1, 2:4] = True
    batcher = {"target": np.array([0, 0, 1, 0] * 15), "held_out": held_out}
    training, scoring = batch_of(range(4), epoch=0, **batcher), batch_of(range(4), **batcher)
    logits = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(0))
    each = -logits.log_softmax(-1)[:, range(4), training.target]
    weigh = [1.0] * 4 if class_weight is None else class_weight[training.target].tolist()
    for batch, places in (
        (training, [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]),
        (scoring, [(0, 0), (1, 2), (1, 3)]),
    ):
        expected = sum(weigh[b] * float(each[k, b]) for k, b in places)
        result = target_total(logits, batch, class_weight=class_weight)
        assert result == pytest.approx(expected, rel=1e-5)
        counted = counts(batch, None, class_weight)["target"]
        assert float(counted) == sum(weigh[b] for _, b in places)


def test_parts_of_a_batch_add_up(batch_of):
    """What distributed and accumulated training relies on."""
    held_out = np.random.default_rng(0).random((3, 60)) < 0.4
    classes, values = np.arange(60) % 2, np.linspace(-1, 1, 60, dtype=np.float32)
    for target, weight, outputs in ((classes, torch.tensor([1.0, 3.0]), 2), (values, None, 1)):
        given = {"target": target, "held_out": held_out, "epoch": 0}
        output = torch.randn(3, 6, outputs, generator=torch.Generator().manual_seed(0))
        whole = target_total(output, batch_of(range(6), **given), class_weight=weight)
        parts = [
            target_total(output[:, a:b], batch_of(range(a, b), **given), class_weight=weight)
            for a, b in ((0, 2), (2, 6))
        ]
        assert sum(parts) == pytest.approx(whole, rel=1e-5)


def test_an_unknown_loss():
    with pytest.raises(InputError, match="must be one of huber.*, not 'cross_entropy'"):
        loss_named("cross_entropy", Regression.losses)
    with pytest.raises(InputError, match="not 'hinge'"):
        loss_named("hinge")


def test_the_choices_of_the_configuration():
    field = LossConfig.__dataclass_fields__["target"]
    assert Regression.losses == field.metadata["choices"]
    assert {*Regression.losses, *Classification.losses} == set(LOSSES)


# --- distances -----------------------------------------------------------------------------------


def pairs(rows):
    return torch.tensor(rows, dtype=torch.float32)


def of(predicted, truth, first=0, config=CONFIG):
    """Sum of the errors, and what they count."""
    weight = pair_weights(truth, first, config)
    return float(distance_total(predicted, truth, weight)), float(weight.sum())


def test_each_pair_once_and_no_diagonal():
    truth = pairs([[0, 0.2, 0.4], [0.2, 0, 0.6], [0.4, 0.6, 0]])
    predicted = pairs([[9, 0.3, 0.4], [7, 9, 0.9], [7, 7, 9]])
    assert of(predicted, truth) == pytest.approx((0.1**2 + 0.3**2, 3))


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_pairs_at_no_distance_have_a_weight_of_their_own(weight):
    truth = pairs([[0, 0, 0.4], [0, 0, 0.6], [0.4, 0.6, 0]])
    predicted = truth + pairs([[0, 0.5, 0.1], [0, 0, 0.2], [0, 0, 0]])
    result = of(predicted, truth, config=replace(CONFIG, zero_pair_weight=weight))
    assert result == pytest.approx((weight * 0.25 + 0.01 + 0.04, weight + 2))


@pytest.mark.parametrize("sizes", [(5,), (2, 3), (1, 0, 4), (1, 1, 1, 1, 1)])
def test_processes_share_the_pairs(sizes):
    """Each compares its own samples with all: every pair is counted by one of them."""
    truth, predicted = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(0))
    truth, predicted = truth + truth.T, predicted + predicted.T
    result, first = [], 0
    for size in sizes:
        rows = slice(first, first + size)
        result.append(of(predicted[rows], truth[rows], first))
        first += size
    assert np.sum(result, axis=0) == pytest.approx(of(predicted, truth), rel=1e-6)
    assert of(predicted, truth)[1] == 10


def test_one_sample_has_no_pairs():
    assert of(pairs([[0.3]]), pairs([[0.0]])) == (0, 0)


def test_given_distances_come_before_computed_ones(small, batch_of):
    batch = batch_of(range(5), distances=True)
    result = true_distance(batch, small.phylogeny, CONFIG)
    expected = distance_matrix(
        batch.table, batch.table_features, small.phylogeny, CONFIG.metric, alpha=CONFIG.alpha
    )
    assert torch.equal(result, expected) and 0 < float(result.max()) <= 1
    given = torch.rand(5, 5)
    assert torch.equal(true_distance(replace(batch, distance=given), None, CONFIG), given)
    jaccard = replace(CONFIG, metric="jaccard")
    assert not torch.equal(true_distance(batch, None, jaccard), result)


def test_a_process_has_the_rows_of_its_own_samples(small):
    batcher = Batcher(small, READS, 0, distances=True)
    whole = true_distance(batcher.batch(np.arange(5)), small.phylogeny, CONFIG)
    draws = [batcher.draw(np.array(part)) for part in ([0, 1], [2, 3, 4])]
    shared = [batcher.share(draw) for draw in draws]
    parts = [
        true_distance(batcher.assemble(draw, shared, process), small.phylogeny, CONFIG)
        for process, draw in enumerate(draws)
    ]
    assert [part.shape for part in parts] == [(2, 5), (3, 5)]
    torch.testing.assert_close(torch.cat(parts), whole)


# --- nucleotides ---------------------------------------------------------------------------------


def test_nucleotides_and_their_accuracy(batch_of):
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    output = ModelOutput(nucleotide=probabilities.log(), nucleotide_truth=torch.tensor([0, 2]))
    result = totals(output, batch_of([0]), CONFIG)
    assert set(result) == {"nucleotide", "nucleotide_accuracy"}
    assert float(result["nucleotide"]) == pytest.approx(-(math.log(0.5) + math.log(0.1)))
    assert float(result["nucleotide_accuracy"]) == 1


def test_no_hidden_base_is_no_loss(batch_of):
    none = torch.zeros(0, dtype=torch.int64)
    output = ModelOutput(nucleotide=torch.zeros(0, 8), nucleotide_truth=none)
    batch = replace(batch_of([0]), masked_truth=none)
    result, counted = totals(output, batch, CONFIG), counts(batch, None, None)
    assert float(counted["nucleotide"]) == 0
    assert float(weighted(result, counted, CONFIG)["nucleotide"]) == 0
    assert float(result["nucleotide_accuracy"]) == 0


# --- together ------------------------------------------------------------------------------------


def test_penalties():
    sums = {"nucleotide": 4.0, "nucleotide_accuracy": 100.0, "distance": 3.0, "target": 5.0}
    counted = {"nucleotide": 2.0, "distance": 6.0, "target": 1.0}
    sums, counted = ({k: torch.tensor(v) for k, v in part.items()} for part in (sums, counted))
    config = LossConfig(nucleotide=10.0, distance=100.0)
    result = {name: float(value) for name, value in weighted(sums, counted, config).items()}
    assert result == pytest.approx({"nucleotide": 20, "distance": 50, "target": 5})
    alone = weighted({"target": sums["target"]}, counted, config)
    assert list(alone) == ["target"]


@pytest.mark.parametrize(
    "weight, expected", [(None, 4.0), (torch.tensor([0.5, 2.0]), 0.5 + 0.5 + 2.0 + 0.5)]
)
def test_what_a_target_counts(batch_of, weight, expected):
    classes = np.array([0, 0, 1, 0] * 15)
    counted = counts(batch_of(range(4), target=classes), None, weight)
    assert {name: float(count) for name, count in counted.items()} == {"target": expected}


def test_losses_of_the_heads_that_there_are(small, brief):
    config = brief("pretraining")
    for parts, names in (
        (Parts(nucleotide=True), {"nucleotide"}),
        (Parts(distance=True, outputs=1), {"distance", "target"}),
    ):
        values = np.zeros(60, np.float32) if parts.outputs else None
        batcher = Batcher(small, config.data, 0, distances=parts.distance, target=values)
        batch = batcher.batch(np.arange(6))
        if parts.nucleotide:
            masking.mask(batch, np.arange(3), config.masking, 0)
        output = Network(config.model, parts)(batch)
        sums, pairs_BG = totals(output, batch, config.loss, NUMBER), None
        if parts.distance:
            truth = true_distance(batch, small.phylogeny, config.loss)
            pairs_BG = pair_weights(truth, 0, config.loss)
            sums["distance"] = distance_total(torch.rand(6, 6), truth, pairs_BG)
        counted = counts(batch, pairs_BG, None)
        assert set(counted) == names == set(weighted(sums, counted, config.loss))
        assert set(sums) - names == ({"nucleotide_accuracy"} if parts.nucleotide else set())
        assert all(float(count) > 1 for count in counted.values())


def test_who_stands_in_counts_nothing(small, brief):
    """And yet every weight has a gradient, which the other processes wait for."""
    config = brief("pretraining")
    parts = Parts(nucleotide=True, distance=True, outputs=1)
    batcher = Batcher(small, config.data, 0, distances=True, target=np.ones(60, np.float32))
    placeholder = batcher.draw(np.array([3]), placeholder=True)
    others = batcher.draw(np.array([1, 2]))
    shared = [batcher.share(draw) for draw in (others, placeholder)]
    batch = batcher.assemble(placeholder, shared, 1)
    masking.mask(batch, np.arange(0), config.masking, 0)
    network = Network(config.model, parts)
    output = network(batch)
    sums = totals(output, batch, config.loss, NUMBER)
    truth = true_distance(batch, small.phylogeny, config.loss)
    pairs_BG = pair_weights(truth, batch.offset, config.loss)
    own = output.distance[: batch.num_samples]
    predicted = network.distance.compare(own, torch.rand(2, own.shape[1]))
    sums["distance"] = distance_total(predicted, truth, pairs_BG)
    counted = counts(batch, pairs_BG, None)
    assert not any(value.detach().any() for value in (*sums.values(), *counted.values()))
    sum(weighted(sums, counted, config.loss).values()).backward()
    learned = {name for name, p in network.named_parameters() if p.grad is not None}
    assert learned == {name for name, _ in network.named_parameters()}
    assert not any(p.grad.any() for p in network.parameters())
