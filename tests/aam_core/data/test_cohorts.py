"""Which studies share samples, and are held out together."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix, vstack

from aam_core.data.cohorts import find_cohorts, shared_samples


def reads(samples, seed, features=30):
    """Abundances that differ a lot, so that two samples are alike by no chance."""
    rng = np.random.default_rng(seed)
    return csr_matrix(rng.lognormal(3, 3, (samples, features)).astype(np.int64))


def dna(count, length=100):
    rng = np.random.default_rng(9)
    return ["".join(rng.choice(list("ACGT"), length)) for _ in range(count)]


def test_identical_profiles_and_samples_of_one_id_that_are_alike():
    a, b = reads(5, 1), reads(5, 2)
    same_profile = vstack([b[:1], a[3:4]]).tocsr()
    same_ids = csr_matrix(a[:3].toarray() * 2)
    counts = vstack([a, b, same_profile, same_ids]).tocsr()
    # Those of the second study are called so by chance: the reads differ.
    ids = [["1", "2", "3", "4", "5"], ["1", "2", "3", "y", "z"], ["p", "q"], ["1", "2", "3"]]
    assert shared_samples(ids, counts, dna(30)) == {(0, 2): 1, (0, 3): 3, (1, 2): 1}


def test_asvs_of_other_lengths_are_compared_by_their_first_bases():
    short = dna(30)
    sequences = [*short, *(it + "ACGT" for it in short)]
    a = reads(3, 1)
    nothing = csr_matrix(a.shape, dtype=int)
    counts = vstack([csr_matrix(np.hstack([a.toarray(), nothing.toarray()])),
                     csr_matrix(np.hstack([nothing.toarray(), a.toarray()]))]).tocsr()  # fmt: skip
    assert shared_samples([["a", "b", "c"], ["d", "e", "f"]], counts, sequences) == {(0, 1): 3}


def test_most_ids_of_a_study_in_another_one_are_its_samples():
    ids = [f"SRR60008{i:02}" for i in range(12)]
    counts = vstack([reads(12, 1), reads(12, 2)]).tocsr()
    assert shared_samples([ids, ids], counts, dna(30)) == {(0, 1): 12}
    assert shared_samples([ids, ids[:5] + list("abcdefg")], counts, dna(30)) == {}
    numbers = [str(i) for i in range(12)]
    assert shared_samples([numbers, numbers], counts, dna(30)) == {}


def test_cohorts_that_are_given_stay_apart():
    names = ["a", "b", "c", "d"]
    assert find_cohorts(names, ["x", "y", "", ""], [""] * 4, [(0, 1), (1, 2)]) == [
        *("x", "y"),
        *("y", "d"),
    ]
    assert find_cohorts(names, [""] * 4, ["r", "", "r", ""], []) == ["a", "b", "a", "d"]
    assert find_cohorts(names, [""] * 4, [""] * 4, [(0, 1), (1, 3)]) == ["a", "a", "c", "a"]
