"""What one process tells of `session`; what several compute is tested in tests/distributed."""

from __future__ import annotations

import datetime

import torch
import torch.distributed as dist

from aam_core.training import parallel


def test_whoever_waits_on_the_host_is_patient(monkeypatch):
    """Torch's own limit is shorter than the first process may take to fit a forest."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    for name in names:  # as if torchrun had started this process
        monkeypatch.setenv(name, "2")
    try:
        with parallel.session():
            backend = parallel._host._get_backend(torch.device("cpu"))
            assert backend.options._timeout >= datetime.timedelta(hours=12)
    finally:
        dist.destroy_process_group()
    assert parallel._host is None
