"""Codes of ASVs: what two of them share tells how many bases differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from aam_core.data.tokens import tokenize
from aam_core.models.fourier import BANDWIDTH, STRENGTH, codes
from aam_core.models.network import Network, Parts, vector_size

RNG = np.random.default_rng(0)
DNA = ["".join(RNG.choice(list("ACGT"), 100)) for _ in range(4)]
SAMPLES = {"s1": {dna: i + 1 for i, dna in enumerate(DNA)}, "s2": {DNA[0]: 3, DNA[2]: 1}}


def tokens_of(sequences):
    return torch.from_numpy(tokenize(sequences, [str(i) for i in range(len(sequences))]))


def changed(dna, places):
    """The sequence with another base at each of the places."""
    other = dna.translate(str.maketrans("ACGT", "CGTA"))
    return "".join(other[i] if i in places else base for i, base in enumerate(dna))


@pytest.mark.parametrize("differing", [0, 1, 4, 12])
def test_products_tell_how_many_bases_differ(differing):
    pair = codes(tokens_of([DNA[0], changed(DNA[0], set(range(3, 3 + differing)))]), 20_000)
    expected = STRENGTH**2 * np.exp(-(BANDWIDTH**2) * differing)
    assert (pair[0] * pair[1]).mean().item() == pytest.approx(expected, abs=0.01)


def test_a_code_is_the_same_beside_any_others_and_at_any_length():
    whole = codes(tokens_of([*DNA, DNA[0] + "ACGTACGT"]), 8)
    assert whole.shape == (5, 8) and whole.dtype == torch.float32
    torch.testing.assert_close(codes(tokens_of(DNA[:1]), 8)[0], whole[0])
    assert (whole[4] - whole[0]).abs().max() > 0.1


def test_what_is_no_base_adds_nothing():
    plain, ambiguous, nothing = codes(tokens_of([DNA[0][:50], DNA[0][:50] + "NNN", "N"]), 8)
    torch.testing.assert_close(plain, ambiguous)
    assert nothing.isfinite().all()


def test_half_precision_does_not_blur_them():
    tokens = tokens_of(DNA)
    with torch.autocast("cpu", torch.bfloat16):
        found = codes(tokens, 8)
    assert torch.equal(found, codes(tokens, 8))


# --- in the network ------------------------------------------------------------------------------


def network_of(config, members, features="profile", size=5):
    encoder = replace(config.encoder, features=features, components=6, codes=size)
    return Network(replace(config, members=members, encoder=encoder), Parts(outputs=1)).eval()


@pytest.mark.parametrize("members, reading", [(1, 0), (2, 1), (3, 1), (10, 5)])
def test_the_latter_half_of_the_members_reads_them(config, members, reading):
    network = network_of(config, members)
    assert network.coded.tolist() == [False] * (members - reading) + [True] * reading
    sizes = [member.project.in_features for member in network.members]
    assert sizes == [6] * (members - reading) + [11] * reading
    assert not network_of(config, members, size=0).coded.any()


@torch.no_grad()
def test_members_without_them_do_not_see_them(config, batch_of, shaken):
    network, batch = shaken(network_of(config, 2, features="both")), batch_of(SAMPLES)
    network.profile.find(batch.asv_tokens)
    vectors = network.vectors(batch.asv_tokens)
    assert vectors.shape == (4, vector_size(network.config)) == (4, 6 + 16 + 5)
    before = network(batch_of(SAMPLES, asv_vectors=vectors)).target
    vectors = torch.cat([vectors[:, :-5], vectors[:, -5:] + 1], 1)
    after = network(batch_of(SAMPLES, asv_vectors=vectors)).target
    assert torch.equal(before[0], after[0]) and not torch.allclose(before[1], after[1])


def test_beside_learned_bases_alone_there_are_none(config):
    network = network_of(config, 4, features="bases")
    assert vector_size(network.config) == 16 and not network.coded.any()
    assert all(member.project is None for member in network.members)


@pytest.mark.parametrize("share, coded", [(0.3, 0.3), (0.0, 0.05), (1.0, 0.95)])
def test_what_they_count(config, share, coded):
    network = network_of(config, 3)
    target = torch.tensor([2.0, 4.0, 10.0])[:, None, None]
    assert network.average(target).item() == pytest.approx(16 / 3)
    network.weigh_codes(share)
    assert network.average(target).item() == pytest.approx(3 * (1 - coded) + 10 * coded)
    alone = network.average(target, torch.tensor([[1.0], [0.0], [0.0]]))
    assert alone.item() == pytest.approx(2)
