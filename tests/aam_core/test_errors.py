"""Tests of aam_core.errors."""

from __future__ import annotations

import pickle

from aam_core.errors import AAMError, Preempted


def test_preempted_goes_from_process_to_process_with_its_signal():
    error = pickle.loads(pickle.dumps(Preempted("stopped.", 10)))
    assert (type(error), str(error), error.signal) == (Preempted, "stopped.", 10)
    assert isinstance(error, AAMError)
