from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.distributed as dist

from aam_core.data.batches import Batcher
from aam_core.models.network import Network, Parts
from aam_core.tasks import Regression, task_named
from aam_core.training.job import TrainingJob

PRETRAINING = Parts(nucleotide=True, distance=True)


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


@pytest.fixture
def job(small, brief):
    """Make a job of the small study: ``job(settings, parts, train, val, target)``.

    The target is a metadata column, or a number as the network learns it.
    """

    def make(changes=(), parts=PRETRAINING, train=40, val=20, target=None, **more):
        batcher, weights = more.pop("batcher", Batcher), more.pop("weights", 0)
        held_out = more.pop("held_out", None)
        changes = {"train.max_steps": 0, "train.patience": 0, **dict(changes)}
        config = brief("pretraining", changes)
        torch.manual_seed(weights)
        network = Network(config.model, parts)
        if network.profile is not None:
            network.profile.fit(torch.from_numpy(small.tokens(config.data)))
        named = values = None
        if isinstance(target, str):
            kind = "regression" if parts.outputs == 1 else "classification"
            named = task_named(kind).fit(small.metadata[target], small.sample_ids[:train])
            values = named.encode(small.metadata[target])
        elif target is not None:
            values, named = target, Regression("values", 0.0, 1.0)
        return TrainingJob(
            network=network,
            config=config,
            batcher=batcher(
                small,
                config.data,
                config.train.seed,
                distances=parts.distance,
                target=values,
                held_out=held_out,
            ),
            train=np.arange(train),
            val=np.arange(train, train + val),
            target=named,
            **more,
        )

    return make
