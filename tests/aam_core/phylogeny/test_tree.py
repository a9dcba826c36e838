"""Shearing a tree to features."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest

from aam_core.errors import InputError
from aam_core.phylogeny.newick import read_newick
from aam_core.phylogeny.tree import Phylogeny, find_tips

TREE = "(((a:1,b:2):1,(c:3,x:9):0.5):0.25,((d:1):2,y:7):4,z:1):0.125;"


def branches(phylogeny):
    """{features below: length}."""
    incidence = phylogeny.incidence.toarray()
    names = np.array(phylogeny.tip_ids)
    below = [frozenset(names[column > 0].tolist()) for column in incidence.T]
    assert len(set(below)) == len(below)
    return dict(zip(below, phylogeny.lengths.tolist(), strict=True))


def test_shears_and_joins_unifurcations():
    assert branches(Phylogeny.from_tree(TREE, ["d", "c", "a", "b"])) == {
        frozenset("a"): 1,
        frozenset("b"): 2,
        frozenset("ab"): 1,
        frozenset("c"): 3.5,
        frozenset("abc"): 0.25,
        frozenset("d"): 7,
        frozenset("abcd"): 0.125,
    }


def test_keeps_the_stem_to_the_root():
    assert branches(Phylogeny.from_tree(TREE, ["b", "a"])) == {
        frozenset("a"): 1,
        frozenset("b"): 2,
        frozenset("ab"): 1.375,
    }
    assert branches(Phylogeny.from_tree(TREE, ["d"])) == {frozenset("d"): 7.125}


def test_take_is_from_tree_of_the_same_features():
    whole = Phylogeny.from_tree(TREE, ["z", "d", "c", "a", "b", "x"])
    taken = whole.take(np.array([4, 2, 1]))
    direct = Phylogeny.from_tree(TREE, ["b", "c", "d"])
    assert taken.tip_ids == direct.tip_ids == ["b", "c", "d"]
    np.testing.assert_array_equal(taken.incidence.toarray(), direct.incidence.toarray())
    np.testing.assert_array_equal(taken.lengths, direct.lengths)
    assert branches(whole.take([])) == {}


def test_incidence_is_the_path_to_the_root():
    phylogeny = Phylogeny.from_tree(TREE, ["d", "a", "c"])
    assert phylogeny.incidence.format == "csr"
    # From each tip to the root, the root's own length included.
    np.testing.assert_allclose(phylogeny.incidence @ phylogeny.lengths, [7.125, 2.375, 3.875])


def test_scikit_bio_trees():
    skbio = pytest.importorskip("skbio")
    tree = skbio.TreeNode.read(io.StringIO(TREE))
    assert branches(Phylogeny.from_tree(tree, list("abcd"))) == branches(
        Phylogeny.from_tree(TREE, list("abcd"))
    )


@pytest.mark.parametrize(
    ("tip", "feature", "same"),
    [
        ("s_1", "s_1", True),  # as UniFrac and QIIME 2 match
        ("'s_1'", "s_1", True),
        ("'s 1'", "s 1", True),
        ("s_1", "s 1", True),  # as scikit-bio writes a space
        ("'s 1'", "s_1", True),  # as scikit-bio reads an underscore
        ("'it''s'", "it's", True),
        ("S_1", "s_1", False),
    ],
)
def test_names_match_through_quotes_and_underscores(tip, feature, same):
    tree = read_newick(f"({tip}:1,b:2);")
    assert find_tips(tree, ["b", feature, "absent"]).tolist() == [1, 0 if same else -1, -1]


def test_names_match_exactly_first_and_never_by_guess():
    tree = read_newick("(s_1:1,'s 1':1,'t 1':1,u_1:1,'v 1_':1,'v_1 ':1);")
    assert find_tips(tree, ["s 1", "s_1"]).tolist() == [1, 0]
    assert find_tips(tree, ["u 1", "u_1"]).tolist() == [-1, 3]
    assert find_tips(tree, ["t_1", "v_1_"]).tolist() == [2, -1]


def test_missing_features():
    with pytest.raises(InputError, match="lacks 2 of 3 features: p, q"):
        Phylogeny.from_tree(TREE, ["p", "a", "q"])
    with pytest.raises(InputError, match="none of the table's 2 features.* p, q; tips are a, b, c"):
        Phylogeny.from_tree(TREE, ["p", "q"])


@pytest.mark.parametrize("text", ["((a,b),c);", "((a:0,b:0):0,c:0);", "((a,b):0,c);"])
def test_tree_without_lengths(text):
    with pytest.raises(InputError, match="no branch lengths, and UniFrac"):
        Phylogeny.from_tree(text, ["a", "b"])


def test_some_lengths_missing_count_as_zero():
    assert branches(Phylogeny.from_tree("((a:1,b):1,c);", ["a", "b", "c"])) == {
        frozenset("a"): 1,
        frozenset("b"): 0,
        frozenset("ab"): 1,
        frozenset("c"): 0,
        frozenset("abc"): 0,
    }


def test_negative_lengths_matter_over_the_features():
    text = "((a:1,b:-2):1,(c:1,d:1):-0.5);"
    with pytest.raises(InputError, match=r"2 negative branch lengths .*\(-2.0, -0.5\)"):
        Phylogeny.from_tree(text, ["b", "c"])
    assert len(Phylogeny.from_tree(text.replace("d:1):-0.5", "d:1):1"), ["a", "c"]).lengths) == 3


def test_large_trees_take_a_moment():
    count = 20_000
    names = [f"feature{k}" for k in range(count)]
    text = "(" * (count - 1) + names[0] + "".join(f":1,{n}:1)" for n in names[1:]) + ";"
    start = time.process_time()
    phylogeny = Phylogeny.from_tree(text, names)
    taken = phylogeny.take(np.arange(count - 1, 0, -3))
    assert time.process_time() - start < 1
    assert len(phylogeny.lengths) == 2 * count - 1
    assert len(taken.lengths) == 2 * len(taken.tip_ids) - 1


def test_repr_is_two_lines():
    phylogeny = Phylogeny.from_tree("((a:1,b:2):0.5,c:3);", ["a", "c"])
    assert repr(phylogeny) == "Phylogeny: 2 tips, 3 branches\n  length  4.5 in all"
