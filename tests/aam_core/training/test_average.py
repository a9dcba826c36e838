from __future__ import annotations

import pytest
import torch
from torch import nn

from aam_core.training.average import Average
from aam_core.training.parallel import full_tensor


def module(*values):
    """Two parameters: one that is trained, and one that is not."""
    result = nn.Linear(len(values), 1)
    result.bias.requires_grad_(False)
    put(result, values)
    return result


@torch.no_grad()
def put(network, values):
    network.weight.copy_(torch.tensor([values]))


def values(tensor):
    return full_tensor(tensor.detach()).flatten().tolist()


def test_by_hand():
    network = module(1.0, -2.0)
    average = Average(network, 0.15)
    assert values(average.weights["weight"]) == [1.0, -2.0]
    result = []
    for new in ((2.0, 8.0), (3.0, 0.0), (0.0, 1.0)):
        put(network, new)
        average.update()
        result.append(values(average.weights["weight"]))
    # Decays of 1/10, then of .15, which is less than 2/11.
    assert result[0] == pytest.approx([0.1 * 1 + 0.9 * 2, 0.1 * -2 + 0.9 * 8])
    assert result[1] == pytest.approx([0.15 * 1.9 + 0.85 * 3, 0.15 * 7.0])
    assert result[2] == pytest.approx([0.15 * 2.835, 0.15 * 1.05 + 0.85])
    assert average.count == 3


def test_a_young_average_follows_closely():
    network = module(0.0)
    average = Average(network, 0.999)
    expected = 0.0
    for n in range(30):
        put(network, (float(n),))
        average.update()
        decay = (1 + n) / (10 + n)
        expected = decay * expected + (1 - decay) * n
    assert values(average.weights["weight"]) == pytest.approx([expected])


def test_swapped():
    network = module(0.1, 0.7)
    average = Average(network, 0.9)
    put(network, (1 / 3, 2 / 3))
    average.update()
    checkpoint, trained, parameter = (
        values(average.weights["weight"]),
        values(network.weight),
        network.weight,
    )
    with average.swapped():
        assert values(network.weight) == checkpoint != trained
        assert values(network(torch.eye(2)) - network.bias) == pytest.approx(checkpoint)
        put(network, (5.0, 5.0))  # what happens to the network here is not the average's
    assert values(network.weight) == trained
    assert values(average.weights["weight"]) == checkpoint
    assert network.weight is parameter and parameter.requires_grad


def test_an_error_within_leaves_the_trained_weights():
    network = module(1.0)
    average = Average(network, 0.9)
    put(network, (2.0,))
    with pytest.raises(KeyboardInterrupt), average.swapped():
        raise KeyboardInterrupt
    assert values(network.weight) == [2.0]


def test_only_what_is_trained_is_averaged():
    assert set(Average(module(1.0), 0.9).weights) == {"weight"}


def test_the_network_trains_on():
    network = module(1.0, 2.0)
    average = Average(network, 0.9)
    optimizer = torch.optim.SGD([network.weight], lr=0.1)
    for _ in range(2):
        network(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        average.update()
        with average.swapped(), torch.no_grad():
            network(torch.ones(1, 2))
        optimizer.zero_grad()
    assert values(network.weight) == pytest.approx([0.8, 1.8])
    assert not average.weights["weight"].requires_grad


def test_it_resumes_from_its_state():
    network, other = module(1.0), module(9.0)
    average, resumed = Average(network, 0.9), Average(other, 0.9)
    for new in (2.0, 3.0):
        put(network, (new,))
        average.update()
    resumed.load_state_dict(average.state_dict())
    for each, its in ((average, network), (resumed, other)):
        put(its, (7.0,))
        each.update()
    assert values(resumed.weights["weight"]) == values(average.weights["weight"])
    assert resumed.count == average.count == 3
    assert values(other.weight) == [7.0]


def test_a_sharded_network(mesh):
    from torch.distributed.tensor import distribute_module

    network = distribute_module(module(1.0, 3.0), mesh)
    average = Average(network, 0.9)
    with torch.no_grad():
        network.weight.mul_(2)
    average.update()
    assert values(average.weights["weight"]) == pytest.approx([1.9, 5.7])
    with average.swapped():
        assert values(network.weight) == pytest.approx([1.9, 5.7])
    assert values(network.weight) == [2.0, 6.0]
    average.load_state_dict({"count": 5, "weights": {"weight": network.weight.detach()}})
    assert values(average.weights["weight"]) == [2.0, 6.0]
