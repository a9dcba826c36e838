"""Fixtures shared by every suite."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


# A suite in the background of a shell ignores interrupts, and what it starts would as well.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def shown():
    """Show on stderr what the library says, as a notebook that asks for it."""
    from aam_core import log

    with log.showing():
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real studies (``ecam``, ``ibd``, ``v4``)."""
    if not SHARED.is_dir():
        pytest.skip("the real studies are not here: ../shared/data is absent")
    return SHARED
