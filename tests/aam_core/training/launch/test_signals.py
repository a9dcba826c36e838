"""Tests of aam_core.training.launch.signals."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from aam_core.training.launch.signals import Stopper


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_noted_and_nothing_else(number):
    before = signal.getsignal(number)
    with Stopper() as stopper:
        assert not stopper.signal
        os.kill(os.getpid(), number)
        assert stopper.signal == number
    assert signal.getsignal(number) is before


def test_other_signals_are_left_alone():
    with Stopper(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_another_thread_changes_no_handler():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def inside():
        with Stopper() as stopper:
            seen.append((stopper.signal, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [(0, before)]
    assert signal.getsignal(signal.SIGTERM) is before
