"""Newick text -> arrays, by way of iow (plain text, fast) or scikit-bio (everything else).

Nodes stand in postorder and tips in the order of the text, so the tips below a node are an interval
``[start, end)``: the whole topology is two integer arrays. Letters: T tips, K nodes.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aam_core.errors import InputError, first_five

# iow looks for no errors and takes what it does not know for something else. It is given only text
# that it is known to read rightly: each node but the root has a length, and there are no comments,
# escaped or double quotes, nor spaces outside quotation marks or at the ends of a quoted name.
_BARE = r"[^\s()\[\]{},:;'\"]+"
_QUOTED = r"'(?!\s)[^'\"\n]+(?<!\s)'"
_NODE = rf"(?:{_BARE}|{_QUOTED})?:[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_PLAIN = re.compile(rf"\(+{_NODE}(?:,\(*{_NODE}|\){_NODE})*\)(?:(?P<root>{_NODE})|{_BARE})?;")

_QUOTED_OR_COMMENT = re.compile(r"(')(?:[^']|'')*'|\[(?:[^\[\]]|\[[^\[\]]*\])*\]")


@dataclass(frozen=True, eq=False)
class Tree:
    """A rooted tree as arrays.

    Attributes
    ----------
    tip_names : list of str
        T names, as written (quotes undone, underscores kept); ``""`` for a tip without a name.
    starts, ends : numpy.ndarray
        [K] int64. The tips below node k are ``starts[k]`` up to, not including, ``ends[k]``.
        Nodes are in postorder: the root is the last.
    lengths : numpy.ndarray
        [K] float64, of the branch above each node; NaN where the tree has none.
    source : str
        What errors call this tree: its file name, or "The tree".
    """

    tip_names: list[str]
    starts: np.ndarray
    ends: np.ndarray
    lengths: np.ndarray
    source: str = "The tree"


def read_newick(tree) -> Tree:
    """Read a tree.

    Parameters
    ----------
    tree : str, path, skbio.TreeNode or Tree
        A Newick file, Newick text (begins with a parenthesis or ends with a semicolon), or a tree
        that was read before.

    Returns
    -------
    Tree

    Raises
    ------
    InputError
        Where there is no such file, it is not Newick (the message says why), a branch length is not
        a finite number, or two tips share a name.
    """
    if isinstance(tree, Tree):
        return tree
    if isinstance(tree, str) and (tree.lstrip()[:1] == "(" or tree.rstrip()[-1:] == ";"):
        return parse_newick(tree)
    if isinstance(tree, (str, Path)):
        return parse_newick(_text(Path(tree)), Path(tree).name)
    return _checked(_from_treenode(tree))


def parse_newick(text: str, source: str = "The tree") -> Tree:
    """Parse the text of a Newick file; as `read_newick`, where the text is at hand.

    Parameters
    ----------
    text : str
        One tree. Names may be quoted (``'it''s'``); ``[comments]`` are skipped.
    source : str
        What errors call it.
    """
    text = text.removeprefix("\ufeff").strip()
    plain = _plain(text)
    tree = _with_iow(text, plain["root"] is not None, source) if plain else None
    return _checked(tree or _from_treenode(_with_skbio(text, source), source))


def tip_names(tree) -> list[str]:
    """Names of the tips of ``tree`` (anything that `read_newick` takes), in its order."""
    return read_newick(tree).tip_names


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"There is no tree file {path}.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, not a tree in Newick format.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path.name} is not text, so it is no tree in Newick format.") from None


def _not_newick(source: str, why: str) -> InputError:
    return InputError(
        f"{source} is not a tree in Newick format: {why}. Is the file complete? Export it again."
    )


def _plain(text: str) -> re.Match | None:
    """Whether iow reads ``text`` rightly: plain, two tips or more, one pair of brackets round all.
    """
    plain = _PLAIN.fullmatch(text)
    if not plain:
        return None
    structure = re.sub(_QUOTED, "", text).encode()
    code = np.frombuffer(structure, np.uint8)
    depth = np.cumsum((code == ord("(")).astype(np.int64) - (code == ord(")")))
    one = depth[-1] == 0 and depth.argmin() == structure.rindex(b")")
    return plain if one and b"," in structure else None


def _with_iow(text: str, root_has_length: bool, source: str) -> Tree | None:
    """Read plain text; None where iow is not installed."""
    try:
        from bp import parse_newick as parse
    except ImportError:
        return None
    tree = parse(text)
    opening = tree.B.astype(bool)
    is_tip = opening & ~np.append(opening[1:], False)
    tips_so_far = np.cumsum(is_tip)
    nodes = np.flatnonzero(opening)
    closing = np.array([tree.close(k) for k in nodes.tolist()])
    postorder = np.argsort(closing)
    nodes, closing = nodes[postorder], closing[postorder]
    names = [tree.name(k) or "" for k in np.flatnonzero(is_tip).tolist()]
    lengths = np.array([tree.length(k) for k in nodes.tolist()])
    _check_finite(lengths, source)
    if not root_has_length:
        lengths[-1] = np.nan
    return Tree(names, tips_so_far[nodes] - is_tip[nodes], tips_so_far[closing], lengths, source)


def _with_skbio(text: str, source: str):
    """Read any Newick as a `skbio.TreeNode`, after what scikit-bio passes over in silence."""
    from skbio import TreeNode
    from skbio.io import NewickFormatError

    structure, end, rest = _QUOTED_OR_COMMENT.sub(r"\1", text).partition(";")
    if rest.strip():
        raise InputError(f"{source} has text behind its first tree; give a file of one tree.")
    if not end:
        raise _not_newick(source, "it does not end with a semicolon")
    if re.search(r"[^\s(,]\s*\(", structure):
        raise _not_newick(source, "a bracket opens where no node begins")
    try:
        return TreeNode.read(
            io.StringIO(text), format="newick", verify=False, convert_underscores=False
        )
    except NewickFormatError as error:
        raise _not_newick(source, str(error).rstrip(".")) from None


def _from_treenode(tree, source: str = "The tree") -> Tree:
    """Arrays of a `skbio.TreeNode`."""
    names, starts, ends, lengths, open_nodes = [], [], [], [], []
    for node in tree.postorder(include_self=True):
        if node.children:
            start = open_nodes[-len(node.children)]
            del open_nodes[-len(node.children) :]
        else:
            start = len(names)
            names.append(node.name or "")
        open_nodes.append(start)
        starts.append(start)
        ends.append(len(names))
        lengths.append(node.length)
    _check_finite(np.array([x for x in lengths if x is not None]), source)
    return Tree(names, np.array(starts), np.array(ends), np.array(lengths, np.float64), source)


def _check_finite(lengths: np.ndarray, source: str):
    wrong = lengths[~np.isfinite(lengths)]
    if len(wrong):
        raise InputError(
            f"{source}: {len(wrong):,} branch lengths are not finite: {first_five(wrong)}."
        )


def _checked(tree: Tree) -> Tree:
    names = [name for name in tree.tip_names if name]
    if not names:
        raise InputError(f"{tree.source} has no tip with a name, so no feature can be found in it.")
    if len(set(names)) < len(names):
        twice = [name for name, times in Counter(names).items() if times > 1]
        raise InputError(
            f"{tree.source}: {len(twice):,} names stand on more than one tip: {first_five(twice)}. "
            "Tips must be unique."
        )
    return tree
