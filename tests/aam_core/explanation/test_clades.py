from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from aam_core.errors import InputError
from aam_core.explanation.clades import clades, clusters, consensus, levels_of, taxa
from aam_core.phylogeny.tree import Phylogeny


def groups(level):
    """Places of the features of each group."""
    return {
        name: np.flatnonzero(level.of == number).tolist() for number, name in enumerate(level.names)
    }


def test_a_tree_is_cut_at_its_deepest_clades():
    phylogeny = Phylogeny.from_tree("(((a:1,b:1):4,(c:2,d:2):1):1,(e:1,f:1):1);", list("fedcba"))
    two, three = clades(phylogeny, np.arange(6), 6, [3, 2])
    assert groups(two) == {"clade-2-1": [2, 3, 4, 5], "clade-2-2": [0, 1]}
    assert list(groups(three).values()) == [[4, 5], [2, 3], [0, 1]]
    # A feature that the tree lacks has no clade.
    (other,) = clades(phylogeny, np.array([6, 5, 4, 3, 2, 1]), 7, [2])
    assert other.of[0] == -1 and (other.of[1:] >= 0).all()


def test_taxa_are_lineages_by_rank():
    found = taxa(["d__A; p__B; c__C", "d__A; p__B; c__D", "d__A; p__", ""])
    assert [level.kind for level in found] == ["domain", "phylum", "class"]
    assert groups(found[1]) == {"d__A; p__B": [0, 1]}


def test_like_sequences_are_a_cluster(monkeypatch):
    rng = np.random.default_rng(0)
    roots = ["".join(rng.choice(list("ACGT"), 80)) for _ in range(2)]
    sequences = [root[:k] + "A" + root[k + 1 :] for k in (5, 40, 70) for root in roots]
    (level,) = clusters(sequences, [2], np.ones(6))
    assert len(set(level.of)) == 2 and len(set(level.of[::2])) == len(set(level.of[1::2])) == 1
    # Of too many, the most abundant.
    monkeypatch.setattr("aam_core.explanation.clades._MOST_CLUSTERED", 4)
    (level,) = clusters(sequences, [2], np.array([1, 9, 9, 1, 9, 9]))
    assert level.of[0] == level.of[3] == -1
    assert level.of[1] == level.of[5] != level.of[2] == level.of[4]


def test_no_group_twice_and_none_of_one(small):
    taxonomy = ["d__A; p__B; c__C", "d__A; p__B; c__D"] + [""] * (len(small.feature_ids) - 2)
    by_taxon = levels_of(dataclasses.replace(small, taxonomy=taxonomy, phylogeny=None))
    assert [groups(level) for level in by_taxon] == [{"d__A": [0, 1]}]
    for study, kind in ((small, "clade"), (dataclasses.replace(small, phylogeny=None), "cluster")):
        levels = levels_of(study, [4, 8])
        assert {level.kind for level in levels} == {kind}
        members = [tuple(part) for level in levels for part in groups(level).values()]
        assert len(members) == len(set(members)) and min(map(len, members)) > 1
    assert levels_of(small, ()) == []
    with pytest.raises(InputError, match="1 clades or clusters are no division"):
        levels_of(small, [1])


def test_what_half_of_the_members_share():
    taxonomy = ["d__A; p__B; g__X", "d__A; p__B; g__Y", "d__A; p__C", "d__A; p__B; g__X"]
    assert consensus(taxonomy, range(4)) == "d__A; p__B; g__X"
    assert consensus(taxonomy, [0, 1, 2]) == "d__A; p__B"
    assert consensus(["", ""], [0, 1]) == ""
