"""Random Fourier features: their products depend on the number of bases that differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from aam_core.data.tokens import tokenize
from aam_core.models.fourier import BANDWIDTH, STRENGTH, fourier_features
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
def test_products_depend_on_the_number_of_bases_that_differ(differing):
    pair = fourier_features(
        tokens_of([DNA[0], changed(DNA[0], set(range(3, 3 + differing)))]), 20_000
    )
    expected = STRENGTH**2 * np.exp(-(BANDWIDTH**2) * differing)
    assert (pair[0] * pair[1]).mean().item() == pytest.approx(expected, abs=0.01)


def test_features_do_not_depend_on_other_sequences_or_padding():
    whole = fourier_features(tokens_of([*DNA, DNA[0] + "ACGTACGT"]), 8)
    assert whole.shape == (5, 8) and whole.dtype == torch.float32
    torch.testing.assert_close(fourier_features(tokens_of(DNA[:1]), 8)[0], whole[0])
    assert (whole[4] - whole[0]).abs().max() > 0.1


def test_letters_that_are_no_base_contribute_nothing():
    plain, ambiguous, nothing = fourier_features(
        tokens_of([DNA[0][:50], DNA[0][:50] + "NNN", "N"]), 8
    )
    torch.testing.assert_close(plain, ambiguous)
    assert nothing.isfinite().all()


def test_features_are_computed_in_full_precision():
    tokens = tokens_of(DNA)
    with torch.autocast("cpu", torch.bfloat16):
        features = fourier_features(tokens, 8)
    assert torch.equal(features, fourier_features(tokens, 8))


# --- in the network ------------------------------------------------------------------------------


def network_of(config, members, features="profile", size=5):
    encoder = replace(config.encoder, features=features, components=6, codes=size)
    return Network(replace(config, members=members, encoder=encoder), Parts(outputs=1)).eval()


@pytest.mark.parametrize("members, reading", [(1, 0), (2, 1), (3, 1), (10, 5)])
def test_the_second_half_of_the_members_reads_them(config, members, reading):
    network = network_of(config, members)
    assert network.fourier_members.tolist() == [False] * (members - reading) + [True] * reading
    sizes = [member.project.in_features for member in network.members]
    assert sizes == [6] * (members - reading) + [11] * reading
    assert not network_of(config, members, size=0).fourier_members.any()


@torch.no_grad()
def test_members_without_them_do_not_see_them(config, batch_of, shaken):
    network, batch = shaken(network_of(config, 2, features="both")), batch_of(SAMPLES)
    network.profile.fit(batch.asv_tokens)
    vectors = network.vectors(batch.asv_tokens)
    assert vectors.shape == (4, vector_size(network.config)) == (4, 6 + 16 + 5)
    before = network(batch_of(SAMPLES, asv_vectors=vectors)).target
    vectors = torch.cat([vectors[:, :-5], vectors[:, -5:] + 1], 1)
    after = network(batch_of(SAMPLES, asv_vectors=vectors)).target
    assert torch.equal(before[0], after[0]) and not torch.allclose(before[1], after[1])


def test_there_are_none_without_k_mer_components(config):
    network = network_of(config, 4, features="bases")
    assert vector_size(network.config) == 16 and not network.fourier_members.any()
    assert all(member.project is None for member in network.members)


@pytest.mark.parametrize("share, weight", [(0.3, 0.3), (0.0, 0.05), (1.0, 0.95)])
def test_ensemble_weight_of_members_with_fourier_features(config, share, weight):
    network = network_of(config, 3)
    target = torch.tensor([2.0, 4.0, 10.0])[:, None, None]
    assert network.average(target).item() == pytest.approx(16 / 3)
    network.set_fourier_weight(share)
    assert network.average(target).item() == pytest.approx(3 * (1 - weight) + 10 * weight)
    alone = network.average(target, torch.tensor([[1.0], [0.0], [0.0]]))
    assert alone.item() == pytest.approx(2)
