"""Two processes compute what one does: losses, gradients, metrics, weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import cases  # noqa: E402


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """``computed(case, strategy, processes)``; all are computed once, in two runs."""
    folder = tmp_path_factory.mktemp("cases")
    script = [str(HERE / "cases.py"), str(folder)]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
    for how in ([], torchrun):
        done = subprocess.run(
            [sys.executable, *how, *script], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-4000:]
    return lambda case, strategy, size: torch.load(folder / f"{case} {strategy} {size}.pt")


@pytest.fixture(params=cases.STRATEGIES)
def strategy(request):
    return request.param


@pytest.mark.parametrize("case", cases.CASES)
def test_two_processes_compute_what_one_does(computed, case, strategy):
    one, two = computed(case, "ddp", 1), computed(case, strategy, 2)
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)
    assert set(two["gradients"]) == set(one["gradients"])
    largest = max(float(gradient.abs().max()) for gradient in one["gradients"].values())
    # Without another sample there is nothing to tell one from.
    alone = ("one sample", "many studies, halves alone, of one sample")
    assert largest > 0 or case in alone
    for name, gradient in one["gradients"].items():
        torch.testing.assert_close(
            two["gradients"][name], gradient, rtol=1e-4, atol=2e-6 * max(1.0, largest), msg=name
        )


@pytest.mark.parametrize("case", cases.CASES)
def test_training_and_its_metrics_are_the_same(computed, case, strategy):
    one, two = computed(case, "ddp", 1), computed(case, strategy, 2)
    for ours, theirs in zip(one["history"], two["history"], strict=True):
        assert theirs == pytest.approx(ours, rel=1e-3, abs=1e-5)
    for name, weight in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], weight, rtol=1e-3, atol=1e-5, msg=name)
