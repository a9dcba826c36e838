"""Newick text -> arrays, by way of iow (plain text, fast) or scikit-bio (all other text).

Nodes stand in postorder and tips in the order of the text, so the tips below a node are an interval
``[start, end)``: the whole topology is two integer arrays. Letters: T tips, K nodes.
"""

from __future__ import annotations

import io
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aam_core.errors import InputError, first_five
from aam_core.files.reading import as_text, read_bytes

__all__ = ["Tree", "parse_newick", "read_newick", "tip_names"]

# iow does not check for errors: it reads the tip of `b:2:3` as `b:2`, an absent length as 0, and
# breaks off at a comment. It is given only text that it reads correctly: every node but the root
# has a length; no comments, escaped or double quotes; no spaces except within quoted names. This is
# that grammar, except that brackets may be unbalanced (`_is_one_tree` counts them).
_BARE = r"[^\s()\[\]{},:;'\"]+"
_QUOTED = r"'(?!\s)[^'\"\n]+(?<!\s)'"
_NODE = rf"(?:{_BARE}|{_QUOTED})?:[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_PLAIN = re.compile(rf"\(+{_NODE}(?:,\(*{_NODE}|\){_NODE})*\)(?:(?P<root>{_NODE})|{_BARE})?;")

# Replaced by \1, a quoted name leaves one quotation mark and a comment nothing.
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
        A Newick file, Newick text (begins with a parenthesis or ends with a semicolon), or a tree.

    Raises
    ------
    InputError
        If there is no such file, it is not Newick, it has more than one tree, a branch length is
        not a finite number, or two tips share a name.
    """
    if isinstance(tree, Tree):
        return tree
    if isinstance(tree, str) and (tree.lstrip()[:1] == "(" or tree.rstrip()[-1:] == ";"):
        return parse_newick(tree)
    if isinstance(tree, (str, Path)):
        return parse_newick(as_text(read_bytes(tree, "tree"), tree), Path(tree).name)
    return _from_treenode(tree, "The tree")


def parse_newick(text: str, source: str = "The tree") -> Tree:
    """Parse Newick text; ``source`` is what errors call it. Raises as `read_newick`."""
    text = text.removeprefix("\ufeff").strip()
    plain = _PLAIN.fullmatch(text)
    tree = _with_iow(plain, source) if plain and _is_one_tree(text) else None
    return tree or _from_treenode(_with_skbio(text, source), source)


def tip_names(tree) -> list[str]:
    """Names of the tips of ``tree`` (anything that `read_newick` takes), in its order."""
    return read_newick(tree).tip_names


def _is_one_tree(plain: str) -> bool:
    """Whether one pair of brackets encloses two tips or more: iow reads nothing else."""
    text = re.sub(_QUOTED, "", plain).encode()
    code = np.frombuffer(text, np.uint8)
    depth = np.cumsum((code == ord("(")).astype(np.int64) - (code == ord(")")))
    # argmin is the first minimum: a depth of 0 before the last bracket would be a second tree.
    return b"," in text and depth[-1] == 0 and depth.argmin() == text.rindex(b")")


def _with_iow(plain: re.Match, source: str) -> Tree | None:
    """Read plain text; None where iow is not installed."""
    try:
        from bp import parse_newick as parse
    except ImportError:
        return None
    tree = parse(plain.string)
    opening = tree.B.astype(bool)
    is_tip = opening & ~np.append(opening[1:], False)
    tips_so_far = np.cumsum(is_tip)
    nodes = np.flatnonzero(opening)
    closing = np.array([tree.close(k) for k in nodes.tolist()])
    # Postorder is the order of the closing brackets.
    nodes, closing = nodes[np.argsort(closing)], np.sort(closing)
    names = [tree.name(k) or "" for k in np.flatnonzero(is_tip).tolist()]
    lengths = [tree.length(k) for k in nodes.tolist()]
    # iow reads a root without a length as one of length 0.
    lengths[-1] = lengths[-1] if plain["root"] else None
    starts, ends = tips_so_far[nodes] - is_tip[nodes], tips_so_far[closing]
    return _checked(names, starts, ends, lengths, source)


def _with_skbio(text: str, source: str):
    """Read any Newick as a `skbio.TreeNode`, after checks that scikit-bio does not make."""
    from skbio import TreeNode
    from skbio.io import NewickFormatError

    structure, _, rest = _QUOTED_OR_COMMENT.sub(r"\1", text).partition(";")
    if rest.strip():
        raise InputError(f"{source} has text after its first tree; give a file of one tree.")
    # Underscores stay: `find_tips` decides where they mean spaces.
    options = {"format": "newick", "verify": False, "convert_underscores": False}
    try:
        if re.search(r"[^\s(,]\s*\(|:[^(),]*:", structure):
            raise NewickFormatError(
                "A bracket opens where no node begins, or a node has two colons."
            )
        return TreeNode.read(io.StringIO(text), **options)
    except NewickFormatError as error:
        why = str(error)
    except IndexError:  # what the reader raises then
        why = "A comma stands outside all brackets."
    raise InputError(f"{source} is not a whole tree in Newick format: {why} Export the tree again.")


def _from_treenode(tree, source: str) -> Tree:
    names, starts, ends, lengths = [], [], [], []
    open_nodes: list[int] = []  # first tips of the nodes whose parent has not been visited
    for node in tree.postorder(include_self=True):
        below = [open_nodes.pop() for _ in node.children]
        if not below:
            names.append(node.name or "")
        # Children are popped from the last to the first: below[-1] is of the first.
        starts.append(below[-1] if below else len(names) - 1)
        ends.append(len(names))
        lengths.append(node.length)
        open_nodes.append(starts[-1])
    return _checked(names, np.array(starts), np.array(ends), lengths, source)


def _checked(names, starts, ends, lengths, source: str) -> Tree:
    """The tree, if its lengths and names are valid; ``lengths`` has None where there is none."""
    wrong = [x for x in lengths if x is not None and not math.isfinite(x)]
    if wrong:
        raise InputError(
            f"{source}: {len(wrong):,} branch lengths are not finite: {first_five(wrong)}."
        )
    twice = [name for name, times in Counter(filter(None, names)).items() if times > 1]
    if twice:
        raise InputError(
            f"{source}: {len(twice):,} names stand on more than one tip: {first_five(twice)}. "
            "Tips must be unique."
        )
    if not any(names):
        raise InputError(f"{source} has no tip with a name, so no feature can be found in it.")
    return Tree(names, starts, ends, np.array(lengths, np.float64), source)
