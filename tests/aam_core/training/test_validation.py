from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from aam_core.config import LossConfig
from aam_core.data.batches import Batcher
from aam_core.models.network import ModelOutput, Parts
from aam_core.phylogeny.distances import table_distances
from aam_core.tasks import losses
from aam_core.tasks.metrics import classification_metrics, merged, regression_metrics
from aam_core.training.parallel import join_process_group
from aam_core.training.step import Stepper
from aam_core.training.validation import FusionShares, LossSums, ValidationMetrics

CPU = torch.device("cpu")
HELD = np.arange(40, 60)
REGRESS = {"parts": Parts(distance=True, outputs=1), "target": "gradient"}
CLASSIFY = {"parts": Parts(outputs=2), "target": "group"}


@pytest.fixture
def evaluated(job):
    """Evaluate the 20 held samples in batches of ``size``; the job, and what was found."""

    def run(size=20, changes=(), **given):
        made = job(changes, **given)
        stepper = Stepper(made, join_process_group(made.config.train), steps=1)
        batches = np.split(HELD, range(size, len(HELD), size))
        return made, stepper.evaluate(batches)

    return run


def outputs(job):
    """What the network says of the held samples, in one batch."""
    job.network.eval()
    with torch.no_grad():
        return job.network(job.batcher.batch(HELD))


# --- losses --------------------------------------------------------------------------------------


def numbers(**values):
    return {name: torch.tensor(value) for name, value in values.items()}


def test_losses_are_means_over_all_that_was_added():
    checkpoint = LossSums(LossConfig(nucleotide=2.0, distance=3.0))
    assert checkpoint.values() == {}
    checkpoint.add(
        numbers(nucleotide=6.0, nucleotide_accuracy=2.0, target=5.0),
        numbers(nucleotide=4.0, target=1.0),
    )
    checkpoint.add(
        numbers(nucleotide=2.0, nucleotide_accuracy=1.0, target=1.0),
        numbers(nucleotide=0.0, target=2.0),
    )
    assert checkpoint.values() == pytest.approx(
        {
            "total_loss": 2 * 2 + 2,
            "nucleotide_loss": 2,
            "nucleotide_loss_weighted": 4,
            "nucleotide_accuracy": 0.75,
            "target_loss": 2,
            "target_loss_weighted": 2,
        }
    )


def test_nothing_counted_is_no_loss():
    checkpoint = LossSums(LossConfig())
    checkpoint.add(numbers(distance=0.0), numbers(distance=0.0))
    assert checkpoint.values()["total_loss"] == 0


def test_a_long_sum_keeps_its_digits():
    checkpoint = LossSums(LossConfig())
    checkpoint.add(numbers(target=float(2**24)), numbers(target=1.0))
    for _ in range(1000):
        checkpoint.add(numbers(target=1.0), numbers(target=0.0))
    assert checkpoint.values()["target_loss"] == 2**24 + 1000


def test_losses_go_on_from_their_state():
    whole, first, second = (LossSums(LossConfig()) for _ in range(3))
    parts = [
        (numbers(nucleotide=1 / 3, nucleotide_accuracy=1.0), numbers(nucleotide=3.0)),
        (numbers(nucleotide=0.1, nucleotide_accuracy=2.0), numbers(nucleotide=7.0)),
    ]
    for part in parts:
        whole.add(*part)
    first.add(*parts[0])
    state = first.state_dict()
    assert all(value.device == CPU for value in state.values())
    second.load_state_dict(state, CPU)
    second.add(*parts[1])
    assert second.values() == whole.values()
    assert first.values() != whole.values()  # the state is a copy


def test_no_state_is_a_beginning():
    checkpoint = LossSums(LossConfig())
    checkpoint.load_state_dict(LossSums(LossConfig()).state_dict(), CPU)
    assert checkpoint.values() == {}


# --- metrics -------------------------------------------------------------------------------------


def of_epochs(made, metrics):
    """Those that are logged in each epoch."""
    return {name: metrics[name] for name in made.target.metrics}


@pytest.mark.parametrize("size", [1, 6, 20])
def test_metrics_of_a_regression_are_exact(evaluated, small, size):
    made, result = evaluated(size, **REGRESS)
    predicted = made.target.decode(outputs(made).target[0, :, 0].numpy())
    actual = small.metadata["gradient"].to_numpy()[HELD]
    values = result.values()
    exact = regression_metrics(actual, predicted)
    assert of_epochs(made, values) == pytest.approx(of_epochs(made, exact), rel=1e-5)
    assert exact["mae"] > 1  # in the target's units
    assert "spearman" not in values  # which would need every sample
    error = outputs(made).target[0, :, 0].numpy() - made.batcher.target[HELD]
    huber = np.where(abs(error) < 1, error**2 / 2, abs(error) - 0.5).mean()
    assert made.config.loss.target == "huber" and made.config.loss.huber_delta == 1
    assert values["target_loss"] == pytest.approx(huber, rel=1e-5)


@pytest.mark.parametrize("size", [1, 6, 20])
def test_metrics_of_a_classification_are_exact(evaluated, small, size):
    """Even of an untrained network, which says nearly the same of all."""
    made, result = evaluated(size, **CLASSIFY)
    chances = outputs(made).target[0].double().softmax(-1).numpy()
    names = list(made.target.classes)
    actual = small.metadata["group"].to_numpy()[HELD].tolist()
    chances = pd.DataFrame(chances, columns=names)
    exact = classification_metrics(actual, chances.idxmax(axis=1).tolist(), chances)
    values = result.values()
    assert of_epochs(made, values) == pytest.approx(of_epochs(made, exact))
    assert exact["auc"] not in (0, 0.5, 1)


@pytest.mark.parametrize("size", [1, 6, 20])
def test_metrics_of_many_samples_are_nearly_exact(job, small, size, monkeypatch):
    """Unless the probabilities are nearer to each other than bins are wide."""
    monkeypatch.setattr("aam_core.training.validation._EXACT", 19)
    made = job(**CLASSIFY)
    logits = torch.randn(20, 2, generator=torch.Generator().manual_seed(0)) * 3
    result = ValidationMetrics(made)
    for rows in torch.arange(20).split(size):
        batch = made.batcher.batch(HELD[rows.numpy()])
        result.add(numbers(target=1.0), numbers(target=1.0))
        result.score(batch, ModelOutput(target=logits[None, rows]), None, None, None)
    names = list(made.target.classes)
    actual = small.metadata["group"].to_numpy()[HELD].tolist()
    chances = pd.DataFrame(logits.softmax(1).numpy(), columns=names)
    predicted = chances.idxmax(axis=1).tolist()
    exact = classification_metrics(actual, predicted, chances)
    values = result.values()
    assert of_epochs(made, values) == pytest.approx(of_epochs(made, exact), abs=1e-3)
    assert 0 < exact["auc"] < 1 and exact["auc"] != 0.5


@pytest.mark.parametrize("size", [6, 20])
@pytest.mark.parametrize("given", [REGRESS, CLASSIFY])
def test_a_sample_is_scored_by_the_members_that_left_it_out(evaluated, size, given):
    """The third and the fourth member hold out the same samples: their mean counts."""
    turns = np.arange(60) % 3
    held_out = turns == np.array([0, 1, 2, 2])[:, None]
    changes = {"model.members": 4}
    made, result = evaluated(size, changes, held_out=held_out, **given)
    with torch.no_grad():
        each = outputs(made).target.double()
    actual = torch.from_numpy(made.batcher.target[HELD])
    if given is REGRESS:
        mine = torch.stack([each[0], each[1], each[2:].mean(0)])[turns[HELD], range(20), 0]
        exact = regression_metrics(*(made.target.decode(v.numpy()) for v in (actual, mine)))
        losses_KB = torch.nn.functional.huber_loss(
            each[..., 0], actual.double().expand(4, -1), reduction="none"
        )
    else:
        chances = each.softmax(-1)
        mine = torch.stack([chances[0], chances[1], chances[2:].mean(0)])[turns[HELD], range(20)]
        frame = pd.DataFrame(mine.numpy(), columns=list(made.target.classes))
        named = made.target.decode(actual.numpy())
        exact = classification_metrics(named, frame.idxmax(axis=1).tolist(), frame)
        losses_KB = -each.log_softmax(-1)[:, range(20), actual]
    values = result.values()
    assert of_epochs(made, values) == pytest.approx(of_epochs(made, exact), rel=1e-4, abs=1e-6)
    assert values["target_loss"] == pytest.approx(
        float(losses_KB[torch.from_numpy(held_out[:, HELD])].mean()), rel=1e-5
    )


def test_metrics_of_pairs_are_exact(evaluated, small):
    """Of all 190 pairs in one batch; of smaller batches, of those within them."""
    changes = {"data.rarefaction": "none", "loss.metric": "weighted_normalized"}
    made, result = evaluated(20, changes, parts=Parts(distance=True))
    output = outputs(made)
    with torch.no_grad():
        predicted = made.network.distance.compare(output.distance, output.distance).numpy()
    matrix = table_distances(small.counts, small.phylogeny, "weighted_normalized")
    truth = matrix[np.ix_(HELD, HELD)]
    for size, seen in ((20, np.triu_indices(20, 1)), (10, within(20, 10))):
        _, result = evaluated(size, changes, parts=Parts(distance=True))
        exact = regression_metrics(truth[seen], predicted[seen])
        values = result.values()
        assert result.pairs.count == len(seen[0])
        assert values["distance_r2"] == pytest.approx(exact["r2"], rel=1e-4, abs=1e-6)
        assert values["distance_mae"] == pytest.approx(exact["mae"], rel=1e-4)
        error = (truth[seen] - predicted[seen]) ** 2
        assert values["distance_loss"] == pytest.approx(error.mean(), rel=1e-4)


def within(samples, size):
    """Places of the pairs of which both are in one batch."""
    rows, columns = np.triu_indices(samples, 1)
    kept = rows // size == columns // size
    return rows[kept], columns[kept]


def test_samples_that_are_alike_are_pairs_too(evaluated):
    """Unless they weigh nothing."""
    for weight, expected in ((1.0, 1), (0.25, 1), (0.0, 0)):
        changes = {"loss.zero_pair_weight": weight, "data.rarefaction": "none"}
        made, _ = evaluated(20, changes, parts=Parts(distance=True))
        stepper = Stepper(made, join_process_group(made.config.train), steps=1)
        result = stepper.evaluate([np.array([40, 40])])
        assert result.pairs.count == expected
        assert math.isfinite(result.values()["distance_loss"])


def test_an_empty_evaluation_has_no_metrics(job):
    for given in (REGRESS, CLASSIFY):
        made = job(**given)
        result = Stepper(made, join_process_group(made.config.train), steps=1).evaluate([])
        assert result.values() == {} and result.drawings() == {}


def test_processes_join_what_they_have_scored(evaluated, job):
    """As if two had evaluated ten samples each."""

    class Pair:
        """A process group whose other half has already said what it has."""

        def __init__(self, other):
            self.other = other

        def gather(self, mine):
            return [mine, self.other]

    for given in (REGRESS, CLASSIFY):
        made, whole = evaluated(10, **given)
        stepper = Stepper(made, join_process_group(made.config.train), steps=1)
        first, second = (stepper.evaluate([HELD[half]]) for half in (slice(10), slice(10, 20)))
        other = (second.pairs, second.some_pairs, second.shares, *second.targets)
        first.add(second.sums, second.counts)
        first.merge(Pair(other))
        assert first.values() == pytest.approx(whole.values(), rel=1e-6)
        for ours, theirs in zip(
            first.targets[0].some.rows(), whole.targets[0].some.rows(), strict=True
        ):
            np.testing.assert_allclose(ours, theirs)


def test_pairs_have_the_same_keys_on_every_rank(job):
    """Those that a plot shows are chosen by who they are, whoever has scored them."""
    made = job(parts=Parts(distance=True))
    truth = torch.rand(20, 20, generator=torch.Generator().manual_seed(0)) + 0.1
    for sizes in ((20,), (8, 12), (7, 6, 7)):
        draws = [made.batcher.draw(part) for part in np.split(HELD, np.cumsum(sizes)[:-1])]
        shared = [made.batcher.share(draw) for draw in draws]
        result = ValidationMetrics(made)
        for process, draw in enumerate(draws):
            batch = made.batcher.assemble(draw, shared, process)
            rows = truth[batch.offset : batch.offset + batch.num_samples]
            pairs = losses.pair_weights(rows, batch.offset, made.config.loss)
            result.score(batch, ModelOutput(), rows / 2, rows, pairs)
        _, keys, actual, predicted = result.some_pairs.kept
        expected = {60 * i + j: float(truth[i - 40, j - 40]) for i in HELD for j in HELD if i < j}
        assert dict(zip(keys.tolist(), actual.tolist(), strict=True)) == pytest.approx(expected)
        np.testing.assert_allclose(predicted, actual / 2)


# --- plots ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, names",
    [
        (REGRESS, ["val/distances", "val/predictions"]),
        (CLASSIFY, ["val/predictions"]),
        ({"parts": Parts(nucleotide=True)}, []),
    ],
)
def test_drawings_make_figures(evaluated, given, names):
    from matplotlib import pyplot

    _, result = evaluated(7, **given)
    drawings = result.drawings()
    assert sorted(drawings) == names
    for draw in drawings.values():
        figure = draw()
        assert isinstance(figure, Figure) and figure.axes
        figure.canvas.draw()
        pyplot.close(figure)


def test_a_plot_shows_the_samples_in_their_units(evaluated, small):
    made, result = evaluated(6, **REGRESS)
    frame = result.drawings()["val/predictions"].args[0]
    assert sorted(frame["actual"]) == pytest.approx(sorted(small.metadata["gradient"].iloc[HELD]))
    _, result = evaluated(6, **CLASSIFY)
    frame = result.drawings()["val/predictions"].args[0]
    actual = small.metadata["group"].iloc[HELD]
    assert sorted(frame["actual"]) == sorted(actual)
    assert set(frame["prediction"]) <= set(actual)


def test_memory_does_not_grow_with_the_samples(job):
    made = job(**REGRESS)
    result = ValidationMetrics(made)
    rng = np.random.default_rng(0)
    for start in range(0, 20_000, 1000):
        result.targets[0].some.update(np.arange(start, start + 1000), *rng.random((2, 1000)))
    assert len(result.drawings()["val/predictions"].args[0]) == 1000


def test_the_batcher_is_asked_for_the_same_draws_each_time(job):
    made = job({"data.rarefaction": "redraw"}, **REGRESS)
    assert isinstance(made.batcher, Batcher)
    stepper = Stepper(made, join_process_group(made.config.train), steps=1)
    first, second = (stepper.evaluate([HELD]).values() for _ in range(2))
    assert first == second


# --- fusion --------------------------------------------------------------------------------------


def test_shares_are_of_real_asvs_members_and_columns():
    attention = torch.tensor([[[[0.1, 0.2], [0.3, 0.4]], [[0.5, 0.1], [9.0, 9.0]]]])
    mask = torch.tensor([[True, True], [True, False]])
    whole, one, two = (FusionShares(["a", "b"]) for _ in range(3))
    whole.update(ModelOutput(attention=attention), mask)
    one.update(ModelOutput(attention=attention[:, :1]), mask[:1])
    two.update(ModelOutput(attention=attention[:, 1:]), mask[1:])
    expected = {
        **{"attention_a_mean": 0.3, "attention_a_std": np.std([0.1, 0.3, 0.5])},
        **{"attention_b_mean": 0.7 / 3, "attention_b_std": np.std([0.2, 0.4, 0.1])},
    }
    assert whole.compute() == pytest.approx(expected, rel=1e-5)
    assert merged([FusionShares(["a", "b"]), one, two]).compute() == pytest.approx(whole.compute())


def test_shares_of_latent_vectors_and_gates_are_of_samples():
    shares = FusionShares(["a"])
    output = ModelOutput(attention=torch.full((2, 3, 1, 1), 0.25), gate=torch.full((2, 3, 4), 0.5))
    shares.update(output, torch.ones(3, 5, dtype=torch.bool))
    assert shares.compute() == {
        **{"gate_mean": 0.5, "gate_std": 0.0},
        **{"attention_a_mean": 0.25, "attention_a_std": 0.0},
    }


def test_names_in_the_logs_are_such_as_every_tracker_takes():
    names = FusionShares(["age (days)", "age [days]", "site.1"]).names
    assert names == ["attention_age _days_", "attention_age _days__2", "attention_site.1"]
