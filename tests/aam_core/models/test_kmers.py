from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from aam_core.data.tokens import tokenize
from aam_core.models import kmers as module
from aam_core.models.kmers import KMER, KmerProfile, kmers
from aam_core.models.network import Network, Parts


def random_dna(count, length=60, seed=0):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("ACGT"), length)) for _ in range(count)]


def tokens_of(sequences):
    return torch.from_numpy(tokenize(sequences, [str(i) for i in range(len(sequences))]))


def result(sequences, components=4):
    profile = KmerProfile(components)
    profile.fit(tokens_of(sequences))
    return profile


def roots(sequences):
    """Square roots of the shares of k-mers, counted one by one: ``[F, kinds]``."""
    counts = [Counter(dna[i : i + KMER] for i in range(len(dna) - KMER + 1)) for dna in sequences]
    counts = [
        {k: n for k, n in checkpoint.items() if set(k) <= set("ACGT")} for checkpoint in counts
    ]
    names = sorted(set().union(*counts))
    shares = [
        [checkpoint.get(k, 0) / max(1, sum(checkpoint.values())) for k in names]
        for checkpoint in counts
    ]
    return np.sqrt(shares)


SEQUENCES = random_dna(30)


# --- k-mers --------------------------------------------------------------------------------------


def test_every_kmer_has_a_number_and_an_ambiguous_one_that_of_none():
    tokens = tokens_of(["ACGTN", "CC"])
    numbers = kmers(tokens, 2)
    expected = [[0 + 4 * 1, 1 + 4 * 2, 2 + 4 * 3, 16], [1 + 4 * 1, 16, 16, 16]]
    assert numbers.tolist() == expected


def test_sequences_shorter_than_a_kmer_have_none():
    assert (kmers(tokens_of(["ACGT", "A"]), 6) == 4**6).all()


# --- components ----------------------------------------------------------------------------------


def test_the_components_are_those_of_the_profiles():
    """With all of them, distances between ASVs are Hellinger's, but for one scale."""
    profile = result(SEQUENCES, components=29)
    vectors = profile(tokens_of(SEQUENCES)).double()
    exact = torch.from_numpy(roots(SEQUENCES))
    apart, expected = torch.cdist(vectors, vectors), torch.cdist(exact, exact)
    ratio = (apart / expected)[~torch.eye(30, dtype=torch.bool)]
    assert ratio.std() < 1e-3 * ratio.mean()
    few = result(SEQUENCES, components=3)(tokens_of(SEQUENCES)).double()
    sizes = torch.linalg.svdvals(exact - exact.mean(0))[:3]
    shares = few.square().sum(0) / few.square().sum()
    torch.testing.assert_close(shares, sizes.square() / sizes.square().sum(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("components", [1, 4, 64])
def test_scaled_to_a_mean_square_of_one(components):
    vectors = result(SEQUENCES, components)(tokens_of(SEQUENCES))
    real = vectors.any(0)
    assert vectors.shape == (30, components) and real.sum() == min(components, 29)
    assert float(vectors[:, real].square().mean()) == pytest.approx(1, rel=1e-4)
    assert vectors.mean(0).abs().max() < 1e-4


def test_the_same_in_any_order_of_the_asvs_and_beside_any_others(monkeypatch):
    profile = result(SEQUENCES)
    drawn = torch.get_rng_state()
    turned = result([SEQUENCES[i] for i in np.random.default_rng(0).permutation(30)])
    assert torch.equal(profile.components, turned.components)
    assert torch.equal(profile.mean, turned.mean)
    assert torch.equal(drawn, torch.get_rng_state())
    alone = profile(tokens_of(SEQUENCES[3:4]))
    longer = profile(tokens_of([SEQUENCES[3], SEQUENCES[0] * 2]))
    torch.testing.assert_close(longer[0], alone[0])
    monkeypatch.setattr(module, "MAX_ASVS", 8)  # of a sample of the ASVs, too
    assert torch.equal(result(SEQUENCES).components, result(SEQUENCES[::-1]).components)


def test_nothing_of_it_learns():
    profile = result(SEQUENCES)
    assert list(profile.parameters()) == []
    before = profile.state_dict()
    again = KmerProfile(4)
    again.load_state_dict(before)
    tokens = tokens_of(random_dna(5, seed=1))
    assert torch.equal(again(tokens), profile(tokens)) and profile(tokens).any()


@pytest.mark.parametrize("sequences", [SEQUENCES[:1], [SEQUENCES[0]] * 3, ["ACG", "T"]])
def test_asvs_that_do_not_differ_have_no_components(sequences):
    profile = result(sequences)
    assert not profile(tokens_of([*sequences, *random_dna(3, seed=2)])).any()


def test_fewer_asvs_than_components():
    """What rounding leaves is no component: other ASVs would have great numbers there."""
    profile = result(SEQUENCES[:3], components=8)
    known, others = (profile(tokens_of(some)) for some in (SEQUENCES[:3], SEQUENCES[3:]))
    assert known.any(0).tolist() == [True, True] + [False] * 6
    assert not others[:, 2:].any() and others.abs().max() < 3


def test_more_components_than_kinds_of_kmers():
    profile = KmerProfile(4**KMER + 5)
    profile.fit(tokens_of(SEQUENCES))
    assert int(profile(tokens_of(SEQUENCES)).any(0).sum()) == 29


@torch.no_grad()
def test_ambiguous_and_short_sequences_have_vectors_too():
    profile = result(SEQUENCES)
    plain, ambiguous, short, other = profile(
        tokens_of([SEQUENCES[0], SEQUENCES[0][:30] + "N" + SEQUENCES[0][31:], "ACG", "NNNN"])
    )
    assert torch.equal(short, other) and short.isfinite().all()
    middle = torch.from_numpy(roots([SEQUENCES[0], SEQUENCES[0][:30] + "N" + SEQUENCES[0][31:]]))
    assert middle[1].square().sum() == pytest.approx(1)  # shares of what is not ambiguous
    assert 0 < (plain - ambiguous).norm() < (plain - short).norm()


# --- in the network ------------------------------------------------------------------------------

SAMPLES = {
    "s1": {dna: i + 1 for i, dna in enumerate(SEQUENCES[:5])},
    "s2": {dna: 3 for dna in SEQUENCES[3:7]},
}


@pytest.mark.parametrize("features, size", [("bases", 16), ("profile", 6), ("both", 22)])
@torch.no_grad()
def test_what_the_vectors_are_made_of(config, batch_of, features, size):
    encoder = replace(config.encoder, features=features, components=6)
    network = Network(replace(config, encoder=encoder), Parts(outputs=1)).eval()
    assert (network.bases is None) == (features == "profile")
    assert (network.profile is None) == (features == "bases")
    batch = batch_of(SAMPLES)
    if network.profile is not None:
        network.profile.fit(batch.asv_tokens)
    vectors = network.vectors(batch.asv_tokens)
    assert vectors.shape == (7, size) and vectors.any(0).all()
    given = network(batch_of(SAMPLES, asv_vectors=vectors))
    torch.testing.assert_close(given.target, network(batch).target)
