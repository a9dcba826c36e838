"""CPU, versions and peak memory."""

from __future__ import annotations

import platform
import resource
import sys
from pathlib import Path

import numpy as np
import torch

import aam_core


def peak_rss() -> int:
    """Peak resident bytes of this process.

    Linux lets a process inherit the ``ru_maxrss`` of its parent, but not ``VmHWM``.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def versions() -> dict[str, str]:
    """Versions of the packages that compute."""
    return {
        "aam": aam_core.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def cpu() -> dict[str, str]:
    """Kind of CPU, and the instruction set that torch uses."""
    return {"machine": platform.machine(), "torch": torch.backends.cpu.get_cpu_capability()}
