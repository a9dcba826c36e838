"""Attention block, rotary positions, attention pooling.

Letters: N sequences or samples, S positions, D width, H heads, Q queries.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from aam_core.models.draws import dropout, mix

__all__ = ["AttentionPool", "Block", "rotary", "rotate", "run_blocks"]


def rotary(length: int, size: int, device, base: float = 10000.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions (Su et al. 2021, RoFormer, eq. 15).

    Parameters
    ----------
    length : int
        Positions S.
    size : int
        Width of one head, even.

    Returns
    -------
    tuple of Tensor
        Two ``[S, size / 2]`` tensors.
    """
    rates = base ** (-torch.arange(0, size, 2, device=device, dtype=torch.float32) / size)
    angles = torch.arange(length, device=device, dtype=torch.float32)[:, None] * rates
    return angles.cos(), angles.sin()


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate the halves of each head's channels ``[N, H, S, D / H]`` by their position's angles."""
    # float32 angles would promote q and k under autocast, and attention wants the dtype of v.
    cos, sin = (part.to(x.dtype) for part in turn)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class Block(nn.Module):
    """Pre-norm transformer block: attention, then a feed-forward part.

    Parameters
    ----------
    width, heads : int
        D and H.
    mlp_ratio : float
        Hidden width of the feed-forward part over D.
    dropout : float
        On both branches, while training.

    Attributes
    ----------
    recompute : bool
        Recompute the activations in the backward pass instead of keeping them.
    """

    recompute: bool = False

    def __init__(self, width: int, heads: int, mlp_ratio: float, dropout: float):
        super().__init__()
        hidden = max(1, round(width * mlp_ratio))
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.dropout = dropout

    def forward(self, x_NSD: Tensor, mask: Tensor | None = None, turn=None, keys=None) -> Tensor:
        """Apply the block.

        Parameters
        ----------
        mask : Tensor, optional
            ``[N, S]``, true where a position is real.
        turn : tuple of Tensor, optional
            What `rotary` gives, where positions have an order.
        keys : Tensor, optional
            ``[N, S]`` int32, of the dropout; no keys, no dropout.
        """
        if self.recompute and torch.is_grad_enabled():
            # Dropout is keyed, so that there is no state of a generator to restore.
            options = {"use_reentrant": False, "preserve_rng_state": False}
            return checkpoint(self._run, x_NSD, mask, turn, keys, **options)
        return self._run(x_NSD, mask, turn, keys)

    def _run(self, x_NSD, mask, turn, keys):
        rate = self.dropout if self.training else 0.0
        mixed = self._attend(self.norm_attention(x_NSD), mask, turn)
        x_NSD = x_NSD + dropout(mixed, rate, keys, 0)
        hidden = F.gelu(self.up(self.norm_mlp(x_NSD)), approximate="tanh")
        return x_NSD + dropout(self.down(hidden), rate, keys, 1)

    def attention(self, x_NSD: Tensor, mask: Tensor | None = None, turn=None) -> Tensor:
        """Share of each position in what the real positions attend to, ``[N, S]`` float32.

        The mean over heads and real positions; it sums to 1. For evaluation: in ``forward`` the
        shares, S by S, are never in memory.
        """
        q, k, _ = self._heads(self.norm_attention(x_NSD), turn)
        real = x_NSD.new_ones(x_NSD.shape[:2], dtype=torch.bool) if mask is None else mask
        shares = x_NSD.new_zeros(x_NSD.shape[:2], dtype=torch.float32)
        for row, there in enumerate(real):  # one at a time, for S by S may be large
            q_HSC, k_HSC = q[row][:, there].float(), k[row][:, there].float()
            logits_HSS = q_HSC @ k_HSC.transpose(1, 2) * q.shape[-1] ** -0.5
            shares[row, there] = logits_HSS.softmax(-1).mean((0, 1))
        return shares

    def _heads(self, x_NSD, turn):
        n, s, d = x_NSD.shape
        qkv = self.qkv(x_NSD).view(n, s, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if turn is not None:
            q, k = rotate(q, turn), rotate(k, turn)
        return q, k, v

    def _attend(self, x_NSD, mask, turn):
        n, s, d = x_NSD.shape
        q, k, v = self._heads(x_NSD, turn)
        visible = None if mask is None else mask[:, None, None, :]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        return self.out(mixed.transpose(1, 2).reshape(n, s, d))


def run_blocks(blocks, x_NSD: Tensor, mask=None, turn=None, keys=None) -> Tensor:
    """Apply some `Block` in turn, each with draws of its own from the keys ``[N, S]``.

    A block does not know its number: compiled once, it serves for all of its kind.
    """
    for number, block in enumerate(blocks):
        own = None if keys is None else mix(keys, number)
        x_NSD = block(x_NSD, mask, turn, own)
    return x_NSD


class AttentionPool(nn.Module):
    """Pool a set with learned queries; a prior may be added to the logits.

    Each query attends over the whole width; the Q results are joined by a linear map.

    Parameters
    ----------
    width, queries : int
        D and Q.
    prior : float, optional
        Where one learned weight a query starts, of a prior that ``forward`` is given (log
        abundance): 0 pools by presence, 1 by abundance. Without it there is none.
    """

    def __init__(self, width: int, queries: int, prior: float | None = None):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, queries, bias=False)  # a softmax does not see one
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(queries * width, width)
        self.prior = None if prior is None else nn.Parameter(torch.full((queries,), prior))

    def forward(self, x_NSD: Tensor, mask: Tensor | None = None, prior_NS: Tensor | None = None):
        """Return ``[N, D]``; ``mask`` is ``[N, S]``, true where an element is real."""
        x_NSD = self.norm(x_NSD)
        weight_NQS = self._shares(x_NSD, mask, prior_NS)
        # The weights sum to 1: mapping after pooling equals mapping before it, and is cheaper.
        pooled_NQD = self.value(weight_NQS @ x_NSD)
        return self.out(pooled_NQD.flatten(1))

    def shares(self, x_NSD: Tensor, mask: Tensor | None = None, prior_NS: Tensor | None = None):
        """Share of each element in what each query pools, ``[N, Q, S]``; as ``forward`` takes it.

        Over the elements it sums to 1; one that is masked has none.
        """
        return self._shares(self.norm(x_NSD), mask, prior_NS)

    def _shares(self, x_NSD, mask, prior_NS):
        logits_NSQ = self.score(x_NSD)
        if self.prior is not None:
            assert prior_NS is not None, "a learned prior needs log abundances"
            # In full precision: a bfloat16 has two digits, and logarithms reach -14.
            logits_NSQ = logits_NSQ.float() + prior_NS[..., None] * self.prior
        if mask is not None:
            logits_NSQ = logits_NSQ.masked_fill(~mask[..., None], float("-inf"))
        return logits_NSQ.softmax(dim=1).transpose(1, 2)
