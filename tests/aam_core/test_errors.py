"""Tests of aam_core.errors."""

from __future__ import annotations

import pickle

import pytest

from aam_core.errors import LONGEST, AAMError, InputError, Preempted, first_five, lookup, one_line


def test_preempted_goes_from_process_to_process_with_its_signal():
    error = pickle.loads(pickle.dumps(Preempted("stopped.", 10)))
    assert (type(error), str(error), error.signal) == (Preempted, "stopped.", 10)
    assert isinstance(error, AAMError)


def test_a_message_is_one_line_of_bounded_length():
    error = InputError("first:\n" + "x" * 10**7 + "\r\nlast.")
    assert str(error).startswith("first: xxx") and str(error).endswith("xxx last.")
    assert len(str(error)) <= LONGEST
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert len(one_line("\x1b" * 10**6)) <= LONGEST


def test_a_message_does_not_steer_the_terminal():
    shown = one_line("a\tb \x1b[31m \u202e \ud800 Köln 北京\u2028c\x85d")
    assert shown == r"a\tb \x1b[31m \u202e \ud800 Köln 北京 c d"
    assert one_line("two  blanks") == "two  blanks"


def test_five_are_named_and_each_is_short():
    assert first_five(["x" * 10**6, "b"]) == "x" * 97 + "..., b"
    assert first_five(str(i) for i in range(7)) == "0, 1, 2, 3, 4 and 2 more"


def test_an_unknown_name_of_a_registry_lists_those_there_are():
    assert lookup({"a": 1, "b": 2}, "b", "letter") == 2
    for name in ("c", None, ["a"]):
        with pytest.raises(InputError, match="The letter must be one of a, b, not"):
            lookup({"a": 1, "b": 2}, name, "letter")
