"""Fields: declared, checked, found by name."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as part

import pytest

from aam_core.config import OptimConfig
from aam_core.config.fields import Checked, build, check, find, option, parse, paths, unknown
from aam_core.errors import InputError


@dataclass(frozen=True)
class Leaf(Checked):
    size: int = option(3, "Size.", minimum=1, maximum=9)
    kind: str = option("a", "Kind.", choices=("a", "b"))
    on: bool = option(False, "Whether.")
    most: int = option(5, "Most.", minimum=2, words={"none": 0, "all": -1})


@dataclass(frozen=True)
class Tree(Checked):
    leaf: Leaf = part(default_factory=Leaf)
    share: float = option(0.5, "Share.", minimum=0.0)


def test_paths_in_order_and_the_fields_there():
    assert paths(Tree) == ["leaf.size", "leaf.kind", "leaf.on", "leaf.most", "share"]
    assert find(Tree, "leaf.size").metadata["maximum"] == 9
    with pytest.raises(InputError, match="did you mean 'leaf.size'"):
        find(Tree, "leaf.sise")


def test_construction_checks_and_converts():
    assert Leaf(size="4", on="yes") == Leaf(4, "a", True)
    for wrong in ({"size": 0}, {"size": 10}, {"kind": "c"}, {"on": "perhaps"}, {"size": 1.5}):
        with pytest.raises(InputError, match=f"^{next(iter(wrong))} must be"):
            Leaf(**wrong)


@pytest.mark.parametrize(
    "given, value", [("none", 0), (" ALL ", -1), (0, 0), (-1, -1), ("7", 7), (2, 2)]
)
def test_words_stand_for_values_beyond_the_bounds(given, value):
    assert Leaf(most=given).most == value
    assert Leaf(most=Leaf(most=given).most).most == value  # as a file holds it


@pytest.mark.parametrize("given", [1, "1", -2, "some", False, 0.0, None, ""])
def test_no_other_words(given):
    with pytest.raises(InputError, match="most must be"):
        Leaf(most=given)


def test_build_names_source_and_path():
    assert build(Tree, {"leaf": {"size": 5}}, "here") == Tree(Leaf(5))
    with pytest.raises(InputError, match="^here: .*'leaf.sise'; did you mean 'leaf.size'"):
        build(Tree, {"leaf": {"sise": 5}}, "here")
    with pytest.raises(InputError, match="^here: leaf must be a mapping"):
        build(Tree, {"leaf": 5}, "here")


def test_far_from_every_name():
    assert "there are: a, b." in str(unknown("zzzz", ["a", "b"], "thing"))


@pytest.mark.parametrize(
    "text, kind, value",
    [("3", int, 3), ("1e-3", float, 0.001), ("Yes", bool, True), ("0", bool, False)],
)
def test_typed_values(text, kind, value):
    assert parse(text, kind, "x") == value


@pytest.mark.parametrize("text, kind", [("3.5", int), ("many", float), ("maybe", bool), ("", int)])
def test_typed_nonsense(text, kind):
    with pytest.raises(InputError, match="x must be .*, not "):
        parse(text, kind, "x")


def test_whole_numbers_are_numbers():
    lr = find(OptimConfig, "lr")
    assert check(lr, 1) == 1.0 and type(check(lr, 1)) is float
