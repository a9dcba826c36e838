from __future__ import annotations

import pytest
import torch

from aam_core import vocab
from aam_core.config import HeadConfig
from aam_core.models.draws import mix
from aam_core.models.heads import (
    DISTANCE_HEADS,
    OUTPUTS,
    NucleotideHead,
    TargetHead,
    UnionDistance,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(params=DISTANCE_HEADS)
def head(request, shaken):
    return shaken(DISTANCE_HEADS[request.param](16, 12), size=1.0)


@pytest.fixture
def samples():
    """ASVs in context ``[7, 5, D]``, mask and sample vectors; the last two samples are equal."""
    asvs, vectors = 3 * torch.randn(7, 5, 16), 3 * torch.randn(7, 16)
    mask = torch.arange(5)[None] < torch.tensor([5, 4, 1, 3, 2, 5, 5])[:, None]
    asvs[6], vectors[6] = asvs[5], vectors[5]
    return asvs, mask, vectors


@torch.no_grad()
def test_distances_are_bounded_symmetric_and_in_pairs(head, samples):
    embedded = head.embed(*samples)
    distances = head.compare(embedded, embedded)
    assert distances.shape == (7, 7) and distances.dtype == torch.float32
    assert (distances >= 0).all() and (distances <= 1).all()
    assert distances.std() > 0.01
    torch.testing.assert_close(distances, distances.T, atol=1e-6, rtol=0)
    torch.testing.assert_close(head.compare(embedded[:3], embedded[3:]), distances[:3, 3:])
    torch.testing.assert_close(distances[5], distances[6])


@torch.no_grad()
def test_padding_and_order_of_asvs_change_nothing(head, samples):
    asvs, mask, vectors = samples
    embedded = head.embed(asvs, mask, vectors)
    torch.testing.assert_close(
        head.embed(asvs.masked_fill(~mask[..., None], 50.0), mask, vectors), embedded
    )
    order = torch.randperm(5)
    torch.testing.assert_close(head.embed(asvs[:, order], mask[:, order], vectors), embedded)


def test_gradients_are_finite_on_the_diagonal_and_between_equals(head, samples):
    asvs, mask, vectors = samples
    asvs.requires_grad_(), vectors.requires_grad_()
    embedded = head.embed(asvs, mask, vectors)
    head.compare(embedded, embedded).sum().backward()
    seen = [x.grad for x in (asvs, vectors, *head.parameters()) if x.grad is not None]
    assert seen and all(torch.isfinite(grad).all() for grad in seen)


@torch.no_grad()
@pytest.mark.parametrize("name", ["ruzicka", "euclidean"])
def test_equal_samples_are_at_no_distance(name, samples):
    head = DISTANCE_HEADS[name](16, 12)
    embedded = head.embed(*samples)
    distances = head.compare(embedded, embedded)
    assert distances.diagonal().max() < 1e-3 and distances[5, 6] < 1e-3


# --- union ---------------------------------------------------------------------------------------


@torch.no_grad()
def presence(head, rows):
    """What `embed` gives for samples that hold branches for certain."""
    rows, length = torch.tensor(rows), torch.nn.functional.softplus(head.length)
    return torch.cat((rows * length.sqrt(), (rows @ length)[:, None]), dim=1)


@torch.no_grad()
def test_union_is_unifrac_where_presence_is_certain(shaken):
    head = shaken(UnionDistance(16, 4), size=1.0)
    embedded = presence(head, [[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]])
    distances = head.compare(embedded, embedded)
    length = torch.nn.functional.softplus(head.length)
    unshared = float((length[0] + length[2]) / length[:3].sum())
    assert distances[0, 1] == pytest.approx(0, abs=1e-6)
    assert distances[0, 2] == pytest.approx(unshared, rel=1e-5)
    assert torch.allclose(distances[3, :3], torch.ones(3))
    assert distances.diagonal().abs().max() < 1e-6


@torch.no_grad()
def test_union_is_its_formula(samples, shaken):
    """Summed branch by branch, in double precision."""
    head = shaken(UnionDistance(16, 12), size=1.0)
    asvs, mask, vectors = samples
    under = torch.sigmoid(head.branch(asvs).double()) * mask[..., None]
    present = 1 - (1 - under).prod(1)
    length = torch.nn.functional.softplus(head.length.double())
    expected = torch.zeros(4, 7, dtype=torch.float64)
    for i in range(4):
        for j in range(7):
            total = ((present[i] + present[j]) * length).sum()
            shared = (present[i] * present[j] * length).sum()
            expected[i, j] = (total - 2 * shared) / (total - shared)
    embedded = head.embed(asvs, mask, vectors)
    result = UnionDistance.compare(embedded[:4], embedded)  # of the class: it needs no weights
    torch.testing.assert_close(result, expected.float(), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_union_joins_asvs_as_a_noisy_or():
    head = UnionDistance(1, 1)
    head.branch.weight.fill_(1.0)
    head.branch.bias.zero_()
    chance = torch.tensor([0.2, 0.5, 0.9])
    asvs = torch.logit(chance)[None, :, None]
    root = torch.nn.functional.softplus(head.length).sqrt()

    def checkpoint(shown):
        return float(head.embed(asvs, shown, None)[0, 0] / root)

    shown = torch.tensor([[True, True, False]])
    assert checkpoint(shown) == pytest.approx(1 - 0.8 * 0.5, rel=1e-5)
    shown = torch.tensor([[True, True, True]])
    assert checkpoint(shown) == pytest.approx(1 - 0.8 * 0.5 * 0.1, rel=1e-5)


# --- nucleotides ---------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("stride", [1, 4])
def test_logits_are_of_the_positions_asked_for(stride):
    head = NucleotideHead(16, stride)
    states = torch.randn(3, 1 + -(-10 // stride), 16)
    every = torch.arange(3).repeat_interleave(10), torch.arange(1, 11).repeat(3)
    logits = head(states, *every)
    assert logits.shape == (30, vocab.SIZE)
    chosen = torch.tensor([2, 0, 1]), torch.tensor([1, 2, 10])
    torch.testing.assert_close(head(states, *chosen), logits[[20, 1, 19]])
    # Bases that share a position have logits of their own, and depend on that position alone.
    assert len({tuple(row) for row in logits.tolist()}) == 30
    states[:, 1] += 1.0
    moved = (head(states, *every) != logits).any(-1).view(3, 10)
    assert moved[:, :stride].all() and not moved[:, stride:].any()


def test_nothing_hidden_gives_no_logits_and_a_gradient_of_zero():
    head, none = NucleotideHead(16, 4), torch.zeros(0, dtype=torch.int64)
    states = torch.randn(2, 3, 16, requires_grad=True)
    logits = head(states, none, none)
    assert logits.shape == (0, vocab.SIZE)
    torch.nn.functional.cross_entropy(logits, none, reduction="sum").backward()
    assert all(not x.grad.any() for x in (states, *head.parameters()))


# --- target --------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("outputs", [1, 3])
def test_target(outputs):
    head = TargetHead(16, HeadConfig(target_hidden=9, target_dropout=0.5), outputs)
    vectors, keys = torch.randn(5, 16), mix(torch.arange(5), 0)
    result = head(vectors, keys)
    assert result.shape == (5, outputs)
    torch.testing.assert_close(head(vectors[2:4], keys[2:4]), result[2:4])
    assert not torch.allclose(head(vectors, keys + 1), result)
    whole = head(vectors)  # no keys, no dropout
    assert not torch.allclose(whole, result)
    head.eval()
    assert torch.equal(head(vectors, keys), whole)
    with torch.autocast("cpu", torch.bfloat16):
        assert head(vectors).dtype == torch.float32


def names(head):
    return {name.split(".")[0] for name, _ in head.named_parameters()}


def test_by_default_there_is_one_hidden_layer_and_nothing_else():
    head = TargetHead(16, HeadConfig(target_hidden=9), 1)
    assert [tuple(p.shape) for p in head.parameters()] == [(9, 16), (9,), (1, 9), (1,)]
    assert {*head.state_dict()} == {
        *("hidden.weight", "hidden.bias", "out.weight", "out.bias"),
    }


@pytest.mark.parametrize("text, widths", [("none", []), ("7", [7]), ("16,12, 12", [16, 12, 12])])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_hidden_layers(text, widths, layer_norm, residual):
    config = HeadConfig(hidden_layers=text, layer_norm=layer_norm, residual=residual)
    head = TargetHead(16, config, 2)
    layers = [] if head.hidden is None else [head.hidden, *head.further]
    assert [layer.out_features for layer in layers] == widths
    assert [layer.norm is not None for layer in layers] == [layer_norm] * len(widths)
    inputs = [16, *widths][:-1]
    mapped = [residual and a != b for a, b in zip(inputs, widths, strict=True)]
    assert [layer.shortcut is not None for layer in layers] == mapped
    vectors = torch.randn(5, 16)
    head(vectors).square().sum().backward()
    assert all(parameter.grad.any() for parameter in head.parameters())
    if residual and len(widths) == 3:  # without its maps the layer leaves what it is given
        with torch.no_grad():
            layer = head.further[1]
            for parameter in layer.parameters():
                parameter.zero_()
        x = torch.randn(5, 12)
        torch.testing.assert_close(layer(x), x)


@torch.no_grad()
def test_xavier():
    torch.manual_seed(0)
    sizes = {"hidden_layers": "600", "initialization": "xavier"}
    head = TargetHead(400, HeadConfig(**sizes), 3)
    assert head.hidden.weight.abs().max() == pytest.approx((6 / 1000) ** 0.5, rel=1e-3)
    assert not head.hidden.bias.any() and not head.out.bias.any()
    own = TargetHead(400, HeadConfig(hidden_layers="600"), 3)
    assert own.hidden.weight.abs().max() == pytest.approx(400**-0.5, rel=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("output", OUTPUTS)
def test_outputs_keep_to_their_range(output):
    head = TargetHead(4, HeadConfig(output=output, hidden_layers="none", target_dropout=0.0), 2)
    vectors = 1000 * torch.randn(200, 4)
    if output == "identity":
        assert head.range is None and head(vectors).min() < -50
        return
    low, span = torch.tensor([-1.5, 0.5]), torch.tensor([2.0, 3.0])
    head.set_range(low, span)
    values = head(vectors)
    assert torch.isfinite(values).all() and (values >= low).all()
    if output == "sigmoid":
        assert (values <= low + span).all()
    else:
        assert (values.max(0).values > low + 10 * span).all()
    # Where the network says nothing: the middle, or the mean of the training samples.
    head.out.weight.zero_(), head.out.bias.zero_()
    start = low + (span / 2 if output == "sigmoid" else span)
    torch.testing.assert_close(head(vectors), start.expand(200, 2))
    again = TargetHead(4, HeadConfig(output=output, hidden_layers="none"), 2)
    again.load_state_dict(head.state_dict())
    assert torch.equal(again.eval()(vectors), head(vectors))


def fitted(head, vectors, ids, truth, steps=300, lr=1e-2):
    """Error of a head that was trained on these samples."""
    optimizer = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=0.1)
    for _ in range(steps):
        loss = (head(vectors, None, ids)[:, 0] - truth).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def test_a_scale_and_shift_by_category_is_learned_with_it_and_not_without():
    vectors = torch.randn(300, 8)
    ids = torch.arange(300)[:, None] % 3 + 1
    scale, shift = torch.tensor([0, 1.0, 2.0, -1.0]), torch.tensor([0, 0.0, 3.0, -3.0])
    signal = vectors[:, 0]
    truth = scale[ids[:, 0]] * signal + shift[ids[:, 0]]
    config = HeadConfig(hidden_layers="none", target_dropout=0.0)
    assert fitted(TargetHead(8, config, 1), vectors, ids, truth) > 1.0
    head = TargetHead(8, config, 1, (4,))
    assert fitted(head, vectors, ids, truth) < 0.1
    with torch.no_grad():
        unknown = head(vectors, None, torch.zeros_like(ids))
        known = [head(vectors, None, torch.full_like(ids, n)) for n in (1, 2, 3)]
    torch.testing.assert_close(unknown, sum(known) / 3)


def test_scales_begin_at_one_and_all_categories_have_gradients():
    torch.manual_seed(1)
    plain = TargetHead(8, HeadConfig(target_dropout=0.0), 2)
    torch.manual_seed(1)
    scaled = TargetHead(8, HeadConfig(target_dropout=0.0, scale=True), 2, (3, 5))
    vectors, ids = torch.randn(4, 8), torch.tensor([[1, 2]] * 4)
    assert torch.equal(plain(vectors), scaled(vectors, None, ids))
    scaled(vectors, None, ids).sum().backward()
    # A rank without a sample of a category must have a gradient, too: of zero.
    assert all(parameter.grad is not None for parameter in scaled.parameters())
    assert names(scaled) - names(plain) == {"scaling", "by_category"}
