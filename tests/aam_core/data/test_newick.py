"""Newick text -> arrays."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest

from aam_core.data.newick import parse_newick, read_newick, tip_names
from aam_core.errors import InputError


def nodes(text):
    tree = parse_newick(text)
    return list(zip(tree.starts.tolist(), tree.ends.tolist(), tree.lengths.tolist(), strict=True))


def test_nodes_are_postorder_intervals():
    tree = parse_newick("((a:1,b:2)x:3,c:4e-1)root:5;")
    assert tree.tip_names == ["a", "b", "c"]
    assert nodes("((a:1,b:2)x:3,c:4e-1)root:5;") == [
        (0, 1, 1.0), (1, 2, 2.0), (0, 2, 3.0), (2, 3, 0.4), (0, 3, 5.0)
    ]  # fmt: skip


def test_missing_lengths_are_not_zeros():
    lengths = parse_newick("((a:0,b)x:3,c:4);").lengths
    assert np.isnan(lengths).tolist() == [False, True, False, False, True]
    assert lengths[0] == 0


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("('it''s':1,b:2);", ["it's", "b"]),
        ("('a:b':1,'c(d,e);f':2);", ["a:b", "c(d,e);f"]),
        ("('a_b':1,c_d:2);", ["a_b", "c_d"]),
        ("(a[x[y],(]:1[z;],'b[1]':2)[&R];", ["a", "b[1]"]),
        ("( a : 1 ,\n  b:2 )\n;\n", ["a", "b"]),
        ("(a:1,(b:2,,d:1):1);", ["a", "b", "", "d"]),
        ("(é:1,'ü–':2,c:3);", ["é", "ü–", "c"]),
        ("\ufeff(a:1,b:2);", ["a", "b"]),
        ("(((a:1)));", ["a"]),
        ("a;", ["a"]),
    ],
)
def test_names(text, names):
    tree = parse_newick(text)
    assert tree.tip_names == names
    assert (tree.starts[-1], tree.ends[-1]) == (0, len(names))


def test_lengths_behind_quoted_colons():
    assert nodes("('a:7':1,'b:8')'c:9':2;")[:2] == [
        (0, 1, 1.0),
        pytest.approx((1, 2, np.nan), nan_ok=True),
    ]
    assert nodes("('a:7':1,'b:8')'c:9':2;")[2] == (0, 2, 2.0)


def test_agrees_with_scikit_bio(tmp_path):
    skbio = pytest.importorskip("skbio")
    text = "(((a:1,b:2,'c d':0)0.99:1,(('e_f')),g:2)'k__X; p__Y':0.5,((h:1):2):3);\n"
    (tmp_path / "tree.nwk").write_text(text)
    ours = read_newick(tmp_path / "tree.nwk")
    theirs = read_newick(skbio.TreeNode.read(io.StringIO(text)))
    assert ours.source == "tree.nwk"
    assert ours.tip_names == theirs.tip_names == ["a", "b", "c d", "e_f", "g", "h"]
    np.testing.assert_array_equal(ours.starts, theirs.starts)
    np.testing.assert_array_equal(ours.ends, theirs.ends)
    np.testing.assert_array_equal(ours.lengths, theirs.lengths)


def test_takes_what_it_gave_and_paths_as_text(tmp_path):
    path = tmp_path / "t.nwk"
    path.write_text("(a:1,b:2);")
    tree = read_newick(str(path))
    assert read_newick(tree) is tree
    assert tip_names(path) == ["a", "b"]


def test_depth_and_size_do_not_matter():
    count = 100_000
    text = "(" * count + "t" + "".join(f":1,t{k}:1)" for k in range(count)) + ";"
    start = time.process_time()
    tree = parse_newick(text)
    assert time.process_time() - start < 3
    assert len(tree.tip_names) == count + 1
    assert (tree.starts[-2], tree.ends[-2]) == (count, count + 1)
    assert (tree.ends - tree.starts).max() == count + 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("((a:1,b:2):3,c:4)", "semicolon"),
        ("hello world", "semicolon"),
        ("", "semicolon"),
        ("((a:1,b:2):3,c:4;", "1 opening brackets are never closed"),
        ("(a:1,b:2)):3,c:4);", "closes more brackets"),
        (")(;", "closes more brackets"),
        ("a,b;", "comma outside"),
        ("(a:1,b:2)(c:1,d:2);", "a bracket opens where no node begins"),
        ("(a:1,b(c:1,d:2));", "a bracket opens where no node begins"),
        ("(a:b:1,c:2);", "a name holds a colon"),
        ("(a:(b:1,c:2),d:1);", "a bracket opens where no node begins"),
        ("(:(b:1,c:2),d:1);", "a bracket opens where no node begins"),
        ("(a'b:1,c:2);", "never closed"),
        ("(a:1,b:2);(c:1,d:2);", "text behind its first tree"),
        ("(a:x,b:,c:1);", "2 branch lengths are not numbers: 'x', ''"),
        ("(a:nan,b:1e400,c:1);", "2 branch lengths are not finite: nan, 1e400"),
        ("(a:1,b:2,(a:1,b:3):1,c:1);", "2 names stand on more than one tip: a, b"),
        ("(,);", "no tip with a name"),
    ],
)
def test_malformed(text, why):
    with pytest.raises(InputError, match="^rep.nwk ?.*") as error:
        parse_newick(text, "rep.nwk")
    assert why in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_not_newick(tmp_path):
    with pytest.raises(InputError, match="no tree file .*absent.nwk"):
        read_newick(tmp_path / "absent.nwk")
    with pytest.raises(InputError, match="is a folder"):
        read_newick(tmp_path)
    (tmp_path / "table.biom").write_bytes(b"\x89HDF\r\n\x1a\n\xff\xfe")
    with pytest.raises(InputError, match="table.biom is not text"):
        read_newick(tmp_path / "table.biom")
