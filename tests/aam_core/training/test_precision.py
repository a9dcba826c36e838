from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn

from aam_core.config import TrainConfig
from aam_core.errors import InputError
from aam_core.models.layers import Block
from aam_core.training.precision import (
    ATTENTION_KERNELS,
    attention,
    autocast,
    cpu_threads,
    find_device,
    grad_scaler,
    prepare_blocks,
    resolve_precision,
)

CPU = torch.device("cpu")


class Blocks(nn.Module):
    """Two blocks, as a network has them."""

    def __init__(self):
        super().__init__()
        self.held = nn.ModuleList(Block(8, 2, 2.0, 0.0) for _ in range(2))

    def blocks(self):
        return list(self.held)


def test_devices():
    assert find_device("cpu") == CPU
    assert find_device("auto").type in ("cpu", "cuda", "mps")
    for name in ("toaster", "cuda:99"):
        with pytest.raises(InputError, match=f"device '{name}' is not there") as caught:
            find_device(name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "precision, dtype",
    [
        ("fp32", torch.float32),
        ("auto", torch.float32),
        ("bf16", torch.bfloat16),
        ("fp16", torch.float16),
    ],
)
def test_precision_of_the_forward_pass_on_a_cpu(precision, dtype):
    layer = nn.Linear(2, 2)
    with autocast(CPU, precision):
        assert layer(torch.ones(1, 2)).dtype == dtype


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_auto_is_bf16_where_the_gpu_has_it():
    able = torch.cuda.is_bf16_supported()
    assert resolve_precision("auto", torch.device("cuda")) == ("bf16" if able else "fp32")


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16", "fp16"])
def test_only_fp16_scales_the_loss(precision):
    scaler = grad_scaler(CPU, precision)
    assert scaler.is_enabled() == (precision == "fp16")
    assert bool(scaler.state_dict()) == (precision == "fp16")


@pytest.mark.parametrize("choice", ["auto", "flash", "efficient", "cudnn", "math"])
def test_every_choice_of_attention_is_one_of_torch(choice):
    with attention(choice):
        pass


@pytest.mark.parametrize("choice", [*ATTENTION_KERNELS, "auto"])
def test_where_the_chosen_kernel_cannot_serve_another_does(choice):
    """A CPU has no kernel of CuDNN, and flash attention takes no mask on a GPU."""
    torch.manual_seed(0)
    x, mask = torch.randn(1, 2, 3, 8), torch.tensor([[[[True, True, False]]]])
    result = []
    for kernel in (choice, "math"):
        with attention(kernel):
            result.append(nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=mask))
    torch.testing.assert_close(*result)


def test_blocks_are_recomputed_as_configured():
    network = Blocks()
    assert not any(block.recompute for block in network.blocks())
    for recompute in (True, False):
        prepare_blocks(network, TrainConfig(gradient_checkpointing=recompute), CPU)
        assert [block.recompute for block in network.blocks()] == [recompute] * 2


def test_compiling_leaves_the_names(monkeypatch):
    """Nothing is compiled before it runs."""
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    network = Blocks()
    before = list(network.state_dict())
    prepare_blocks(network, TrainConfig(compile=True), CPU)
    assert list(network.state_dict()) == before
    assert not any("_orig_mod" in name for name, _ in network.named_parameters())


def test_a_missing_compiler_is_an_error_of_one_line(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    prepare_blocks(Blocks(), TrainConfig(), CPU)
    with pytest.raises(InputError, match=r"train.compile needs a C\+\+ compiler") as caught:
        prepare_blocks(Blocks(), TrainConfig(compile=True), CPU)
    assert "\n" not in str(caught.value)


def test_threads_are_set_for_a_block_only():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), cpu_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before
    with cpu_threads(0):
        assert torch.get_num_threads() == before
