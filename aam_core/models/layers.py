"""Attention block, rotary positions, attention pooling.

Letters: N sequences or samples, S positions, D width, H heads, Q queries.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
    """Turn the halves of each head's channels ``[N, H, S, D / H]`` by their position's angles."""
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
        On both branches.
    """

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
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_NSD: Tensor, mask: Tensor | None = None, turn=None) -> Tensor:
        """Apply the block; ``mask`` is ``[N, S]``, true where a position is real."""
        x_NSD = x_NSD + self.dropout(self._attend(self.norm_attention(x_NSD), mask, turn))
        hidden = F.gelu(self.up(self.norm_mlp(x_NSD)), approximate="tanh")
        return x_NSD + self.dropout(self.down(hidden))

    def _attend(self, x_NSD, mask, turn):
        n, s, d = x_NSD.shape
        qkv = self.qkv(x_NSD).view(n, s, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if turn is not None:
            q, k = rotate(q, turn), rotate(k, turn)
        keys = None if mask is None else mask[:, None, None, :]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=keys)
        return self.out(mixed.transpose(1, 2).reshape(n, s, d))


class AttentionPool(nn.Module):
    """Pool a set with learned queries; a prior may be added to the logits.

    Each query attends over the whole width; the Q results are joined by a linear map.

    Parameters
    ----------
    width, queries : int
        D and Q.
    prior : bool
        Learn one weight a query for a prior that ``forward`` is given (log abundance).
    """

    def __init__(self, width: int, queries: int, prior: bool = False):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, queries)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(queries * width, width)
        # Half the log abundance weighs an ASV by the square root of its share: between presence
        # (0) and abundance (1), and each query may move either way.
        self.prior = nn.Parameter(torch.full((queries,), 0.5)) if prior else None

    def forward(self, x_NSD: Tensor, mask: Tensor | None = None, prior_NS: Tensor | None = None):
        """Return ``[N, D]``; ``mask`` is ``[N, S]``, true where an element is real."""
        x_NSD = self.norm(x_NSD)
        logits_NSQ = self.score(x_NSD)
        if self.prior is not None:
            logits_NSQ = logits_NSQ + prior_NS[..., None].to(logits_NSQ.dtype) * self.prior
        if mask is not None:
            logits_NSQ = logits_NSQ.masked_fill(~mask[..., None], float("-inf"))
        share_NQS = logits_NSQ.softmax(dim=1).transpose(1, 2)
        pooled_NQD = share_NQS @ self.value(x_NSD)
        return self.out(pooled_NQD.flatten(1))
