from __future__ import annotations

import pytest
import torch.distributed as dist


@pytest.fixture
def mesh():
    """A mesh of this process alone, over which tensors can be sharded."""
    from torch.distributed.device_mesh import init_device_mesh

    try:
        from torch.distributed.tensor import DTensor  # noqa: F401
    except ImportError:
        pytest.skip("sharded tensors are public from torch 2.5 on")

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()
