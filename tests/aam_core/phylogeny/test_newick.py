"""Newick text -> arrays, by both libraries."""

from __future__ import annotations

import io
import sys
import time

import numpy as np
import pytest
import skbio

from aam_core.errors import InputError
from aam_core.phylogeny.newick import parse_newick, read_newick, tip_names


@pytest.fixture(params=["iow", "scikit-bio"])
def reader(request, monkeypatch):
    """With iow, and as where it is not installed."""
    if request.param == "iow":
        pytest.importorskip("bp", reason="iow is not installed")
    else:
        monkeypatch.setitem(sys.modules, "bp", None)


def nodes(text):
    tree = parse_newick(text)
    return list(zip(tree.starts.tolist(), tree.ends.tolist(), tree.lengths.tolist(), strict=True))


def assert_same(one, other):
    assert one.tip_names == other.tip_names
    for name in ("starts", "ends", "lengths"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype


def by_both(text, monkeypatch):
    """The tree, once by iow alone and once by scikit-bio alone."""
    pytest.importorskip("bp", reason="iow is not installed")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "skbio", None)
        by_iow = parse_newick(text)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "bp", None)
        return by_iow, parse_newick(text)


@pytest.mark.usefixtures("reader")
def test_nodes_are_postorder_intervals():
    tree = parse_newick("((a:1,b:2)x:3,c:4e-1)root:5;")
    assert tree.tip_names == ["a", "b", "c"]
    assert nodes("((a:1,b:2)x:3,c:4e-1)root:5;") == [
        (0, 1, 1.0), (1, 2, 2.0), (0, 2, 3.0), (2, 3, 0.4), (0, 3, 5.0)
    ]  # fmt: skip


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("((a:0,b)x:3,c:4);", [False, True, False, False, True]),
        ("((a:0,b:1):3,c:4);", [False, False, False, False, True]),
        ("((a:0,b:1):3,c:4)root;", [False, False, False, False, True]),
        ("((a:0,b:1):3,c:4):0;", [False] * 5),
        ("((a,b),c);", [True] * 5),
    ],
)
def test_missing_lengths_are_not_zeros(text, missing):
    lengths = parse_newick(text).lengths
    assert np.isnan(lengths).tolist() == missing
    assert lengths[0] == 0 or missing[0]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("('it''s':1,b:2);", ["it's", "b"]),
        ("('a:b':1,'c(d,e);f':2);", ["a:b", "c(d,e);f"]),
        ("('a_b':1,c_d:2);", ["a_b", "c_d"]),
        ("(' a ':1,\"b\":2);", [" a ", '"b"']),
        ("(a[x[y],(]:1[z;],'b[1]':2)[&R];", ["a", "b[1]"]),
        ("[&R] (a[it's]:1,b:2);", ["a", "b"]),
        ("( a : 1 ,\n  b:2 )\n;\n", ["a", "b"]),
        ("(a:1,(b:2,,d:1):1);", ["a", "b", "", "d"]),
        ("(a:1,(b:2,:1):1);", ["a", "b", ""]),
        ("(a{1:1,b[2]{3}:1);", ["a{1", "b{3}"]),
        ("(é:1,'ü–':2,c:3);", ["é", "ü–", "c"]),
        ("\ufeff(a:1,b:2);", ["a", "b"]),
        ("(((a:1)));", ["a"]),
        ("('a,b':1);", ["a,b"]),
        ("(a:1);", ["a"]),
        ("a;", ["a"]),
    ],
)
@pytest.mark.usefixtures("reader")
def test_names(text, names, capfd):
    tree = parse_newick(text)
    assert tree.tip_names == names
    assert (tree.starts[-1], tree.ends[-1]) == (0, len(names))
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("reader")
def test_lengths_behind_quoted_colons():
    assert nodes("('a:7':1,'b:8')'c:9':2;")[:2] == [
        (0, 1, 1.0),
        pytest.approx((1, 2, np.nan), nan_ok=True),
    ]
    assert nodes("('a:7':1,'b:8')'c:9':2;")[2] == (0, 2, 2.0)


@pytest.mark.usefixtures("reader")
def test_a_treenode_is_read_as_its_text(tmp_path):
    text = "(((a:1,b:2,'c d':0)0.99:1,(('e_f')),g:2)'k__X; p__Y':0.5,((h:1):2):3);\n"
    (tmp_path / "tree.nwk").write_text(text)
    ours = read_newick(tmp_path / "tree.nwk")
    assert ours.source == "tree.nwk"
    assert ours.tip_names == ["a", "b", "c d", "e_f", "g", "h"]
    assert_same(ours, read_newick(skbio.TreeNode.read(io.StringIO(text))))


def random_plain_tree(rng):
    """Text, and names of the tips."""
    names = [
        ["t{}", "a_{}", "q {}", "x;{},(y)", "0.9:g__[Z{}] {{s}}", "é|{}-1.5"][
            rng.integers(6)
        ].format(k)
        for k in range(rng.integers(2, 30))
    ]

    def branch(name):
        length = ["1", "0", "0.25", "1e-5", "2.25E+3", ".5", "3."][rng.integers(7)]
        quoted = f"'{name}'" if set(name) & set(" ;,(:") else name
        return f"{quoted}:{length}"

    parts = [branch(name) for name in names]
    while len(parts) > 1 or rng.random() < 0.3:
        at, width = rng.integers(len(parts)), rng.choice([1, 2, 2, 3, 7])
        inner = branch("f__A; g__B" if rng.random() < 0.3 else "")
        parts[at : at + width] = ["(" + ",".join(parts[at : at + width]) + ")" + inner]
    root = parts[0] if rng.random() < 0.5 else parts[0][: parts[0].rindex(")") + 1]
    return root + ";", names


@pytest.mark.parametrize("seed", range(50))
def test_iow_and_scikit_bio_agree(seed, monkeypatch):
    text, names = random_plain_tree(np.random.default_rng(seed))
    by_iow, by_skbio = by_both(text, monkeypatch)
    assert by_iow.tip_names == names
    assert_same(by_iow, by_skbio)


def test_they_agree_on_damaged_text(monkeypatch, capfd):
    """What iow would misread never comes to it: with or without it, one tree or one error."""
    pytest.importorskip("bp", reason="iow is not installed")

    def outcome(text):
        try:
            return parse_newick(text)
        except InputError as error:
            return str(error)

    rng = np.random.default_rng(0)
    errors = 0
    for _ in range(400):
        text, _ = random_plain_tree(rng)
        at, character = rng.integers(len(text)), "(),:;'[]{}\" \n_a1e.-"[rng.integers(19)]
        text = text[:at] + character * rng.integers(2) + text[at + rng.integers(2) :]
        one = outcome(text)
        with monkeypatch.context() as without:
            without.setitem(sys.modules, "bp", None)
            other = outcome(text)
        if isinstance(one, str):
            assert one == other
            errors += 1
        else:
            assert_same(one, other)
    assert 50 < errors < 350
    assert capfd.readouterr().err == ""


@pytest.mark.real_data
@pytest.mark.parametrize(("study", "tips"), [("ecam", 2_777), ("ibd", 9_970)])
def test_they_agree_on_real_trees(study, tips, real_data, monkeypatch):
    by_iow, by_skbio = by_both((real_data / study / "tree.nwk").read_text(), monkeypatch)
    assert len(by_iow.tip_names) == tips
    assert_same(by_iow, by_skbio)


def test_takes_what_it_gave_and_paths_as_text(tmp_path):
    path = tmp_path / "t.nwk"
    path.write_text("(a:1,b:2);")
    tree = read_newick(str(path))
    assert read_newick(tree) is tree
    assert tip_names(path) == ["a", "b"]


@pytest.mark.usefixtures("reader")
def test_depth_does_not_matter():
    count = 20_000
    text = "(" * count + "t:1" + "".join(f",t{k}:1):1" for k in range(count)) + ";"
    start = time.process_time()
    tree = parse_newick(text)
    assert time.process_time() - start < 5
    assert len(tree.tip_names) == count + 1
    assert (tree.starts[-2], tree.ends[-2]) == (count, count + 1)
    assert (tree.starts[-1], tree.ends[-1]) == (0, count + 1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("((a:1,b:2):3,c:4)", "unbalanced"),
        ("hello world", "unescaped whitespace"),
        ("(a b:1,c:2);", "unescaped whitespace"),
        ("", "missing its root"),
        ("((a:1,b:2):3,c:4;", "unbalanced"),
        ("(a:1,b:2)):3,c:4);", "unbalanced"),
        (")(;", "where no node begins"),
        ("a,b;", "unbalanced"),
        ("a,b);", "comma stands outside"),
        ("(a:1,b:2),c:1;", "unbalanced"),
        ("(a:1,b:2)(c:1,d:2);", "where no node begins"),
        ("(a:1,b(c:1,d:2));", "where no node begins"),
        ("(a:(b:1,c:2),d:1);", "where no node begins"),
        ("(a:7:1,c:2);", "two colons"),
        ("(a:b:1,c:2);", "two colons"),
        ("(a'b:1,c:2);", "unbalanced"),
        ("(a:x,b:1,c:1);", "not read length as numeric type: x"),
        ("(a:,b:1,c:1);", "not read length as numeric type"),
        ("(a:1,b:2);(c:1,d:2);", "text after its first tree"),
        ("(a:1,b:2);\n(c:1,d:2);\n", "text after its first tree"),
        ("(a:nan,b:1e400,c:1);", "2 branch lengths are not finite: nan, inf"),
        ("(a:1,b:1e400,c:1);", "1 branch lengths are not finite: inf"),
        ("(a:1,b:2,(a:1,b:3):1,c:1);", "2 names stand on more than one tip: a, b"),
        ("(,);", "no tip with a name"),
        ("(:1,:1);", "no tip with a name"),
    ],
)
@pytest.mark.usefixtures("reader")
def test_malformed(text, why, capfd):
    with pytest.raises(InputError, match="^rep.nwk ?.*") as error:
        parse_newick(text, "rep.nwk")
    assert why in str(error.value)
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


def test_files_that_are_not_newick(tmp_path):
    with pytest.raises(InputError, match="no file .*absent.nwk"):
        read_newick(tmp_path / "absent.nwk")
    with pytest.raises(InputError, match="is a folder"):
        read_newick(tmp_path)
    (tmp_path / "table.biom").write_bytes(b"\x89HDF\r\n\x1a\n\xff\xfe")
    with pytest.raises(InputError, match="table.biom is not text"):
        read_newick(tmp_path / "table.biom")
