"""Bases -> ASV vectors -> sample vectors.

Letters: U distinct ASVs, L bases (+1 START), P positions after the convolution (+1 START),
B samples, A ASVs of a sample, D width.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aam_core import vocab
from aam_core.config import EncoderConfig, SampleConfig
from aam_core.models.abundance import NUM_FEATURES, abundance_features
from aam_core.models.draws import bernoulli, mix
from aam_core.models.kmers import kmers
from aam_core.models.layers import AttentionPool, Block, rotary, run_blocks

__all__ = ["BaseEncoder", "KmerBag", "PooledASVs", "SampleASVs", "SampleEncoder"]


class KmerBag(nn.Module):
    """Sum of learned vectors of the k-mers of a sequence, whatever their order.

    It is trained in a few hundred steps, where the transformer needs thousands; the transformer
    adds what k-mers do not contain. K-mers with letters other than A, C, G and T are ignored, and
    those that were not trained on contribute nothing: vectors start at zero.
    """

    def __init__(self, length: int, width: int):
        super().__init__()
        self.length = length
        self.none = len(vocab.BASES) ** length
        # One row more, of k-mers that are ignored: as padding_idx it has no gradient, and stays 0.
        self.vectors = nn.Parameter(torch.zeros(self.none + 1, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens_UL: Tensor, shown_UL: Tensor | None = None) -> Tensor:
        """Return ``[U, D]`` from tokens ``[U, L + 1]``; ``shown_UL`` as of `BaseEncoder.partly`."""
        numbers, weights = kmers(tokens_UL, self.length), None
        if shown_UL is not None:
            shown_UL = F.pad(shown_UL, (0, max(0, self.length - shown_UL.shape[1])))
            weights = shown_UL.unfold(1, self.length, 1).prod(-1)
        total_UD = F.embedding_bag(
            numbers, self.vectors, mode="sum", padding_idx=self.none, per_sample_weights=weights
        )
        return self.norm(total_UD)


class BaseEncoder(nn.Module):
    """Transformer over the bases of each distinct ASV.

    The tokens are embedded by a convolution that sees ``kernel`` neighbours and keeps one position
    every ``stride`` bases (1 and 1: an ordinary token embedding). START stays a position of its
    own, so that no sequence consists of padding alone.
    """

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        width = config.width
        # A kernel shorter than the stride would skip bases.
        self.kernel = max(config.kernel, config.stride)
        self.embed = nn.Parameter(torch.empty(self.kernel * vocab.SIZE, width))
        # The sum over the kernel then has variance 1.
        nn.init.normal_(self.embed, std=self.kernel**-0.5)
        self.start = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(
            Block(width, config.heads, config.mlp_ratio, config.dropout)
            for _ in range(config.depth)
        )
        self.pool = AttentionPool(width, config.heads)
        self.norm = nn.LayerNorm(width)
        self.kmers = KmerBag(config.kmer, width) if config.kmer else None

    def forward(
        self, tokens_UL: Tensor, ragged: bool = True, keys_U: Tensor | None = None
    ) -> Tensor:
        """Encode tokens.

        Parameters
        ----------
        tokens_UL : Tensor
            ``[U, L + 1]`` uint8, START first, PAD after the end.
        ragged : bool
            Whether any of the tokens is PAD. Sequences of one length need no mask, and attention
            without one is faster; the caller knows this without a transfer from the device.
        keys_U : Tensor, optional
            ``[U]`` int32, of the dropout in training; without keys there is none.

        Returns
        -------
        Tensor
            ASV vectors ``[U, D]``.
        """
        states_UPD, mask_UP = self.states(tokens_UL, ragged, keys_U)
        vectors_UD = self.norm(self.pool(states_UPD, mask_UP))
        if self.kmers is not None:
            vectors_UD = vectors_UD + self.kmers(tokens_UL)
        return vectors_UD

    def partly(self, tokens_UL: Tensor, shown_UL: Tensor) -> Tensor:
        """ASV vectors ``[U, D]`` of sequences whose bases are partly hidden, in evaluation.

        Parameters
        ----------
        tokens_UL : Tensor
            As of ``forward``.
        shown_UL : Tensor
            ``[U, L]`` from 0 to 1, without START: the embedding of a base is this share of its own
            and the rest of MASK's, and a k-mer counts as much as its bases, multiplied. With ones
            it is ``forward``; with zeros, all bases are MASK.
        """
        x_UPD, mask_UP = self._embed(tokens_UL, True, shown_UL)
        turn = rotary(x_UPD.shape[1], self.config.width // self.config.heads, x_UPD.device)
        vectors_UD = self.norm(self.pool(run_blocks(self.blocks, x_UPD, mask_UP, turn), mask_UP))
        if self.kmers is not None:
            vectors_UD = vectors_UD + self.kmers(tokens_UL, shown_UL)
        return vectors_UD

    def attention(self, tokens_UL: Tensor) -> Tensor:
        """Share of START and of each base in what is pooled, ``[U, L + 1]``, in evaluation.

        The mean over the queries; the share of a position is divided among its bases. It sums to 1;
        PAD has none.
        """
        states_UPD, mask_UP = self.states(tokens_UL)
        share_UP = self.pool.shares(states_UPD, mask_UP).mean(1)
        real_UL, stride = tokens_UL[:, 1:].ne(vocab.PAD), self.config.stride
        short = -real_UL.shape[1] % stride
        real_UPS = F.pad(real_UL, (0, short)).unflatten(1, (-1, stride)).to(share_UP.dtype)
        each_UPS = real_UPS / real_UPS.sum(-1, keepdim=True).clamp_min(1) * share_UP[:, 1:, None]
        return torch.cat((share_UP[:, :1], each_UPS.flatten(1)[:, : real_UL.shape[1]]), dim=1)

    def states(
        self, tokens_UL: Tensor, ragged: bool = True, keys_U: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """States ``[U, P + 1, D]`` of the positions, and their mask (None if all are real)."""
        x_UPD, mask_UP = self._embed(tokens_UL, ragged)
        positions, device = x_UPD.shape[1], x_UPD.device
        turn = rotary(positions, self.config.width // self.config.heads, device)
        keys_UP = None
        if self.training and keys_U is not None and self.config.dropout > 0:
            keys_UP = mix(keys_U[:, None], torch.arange(positions, device=device))
        return run_blocks(self.blocks, x_UPD, mask_UP, turn, keys_UP), mask_UP

    def _embed(self, tokens_UL, ragged, shown_UL=None):
        stride = self.config.stride
        bases = tokens_UL[:, 1:].int()
        short = -bases.shape[1] % stride
        left = (self.kernel - stride) // 2
        around = (left, short + self.kernel - stride - left)
        bases = F.pad(bases, around, value=vocab.PAD)
        windows = bases.unfold(1, self.kernel, stride)
        slots = torch.arange(self.kernel, device=bases.device, dtype=torch.int32) * vocab.SIZE
        u, p, k = windows.shape
        tokens, weights = (windows + slots).reshape(u * p, k), None
        if shown_UL is not None:
            shown = F.pad(shown_UL, around).unfold(1, self.kernel, stride)
            shown = shown.masked_fill(windows == vocab.PAD, 1.0)
            hidden = (slots + vocab.MASK).expand(u, p, k)
            tokens = torch.cat((tokens, hidden.reshape(u * p, k)), dim=1)
            weights = torch.cat((shown, 1 - shown), dim=-1).reshape(u * p, 2 * k)
        x_UPD = F.embedding_bag(tokens, self.embed, mode="sum", per_sample_weights=weights)
        x_UPD = x_UPD.view(u, p, -1)
        x_UPD = torch.cat((self.start.expand(u, 1, -1).to(x_UPD.dtype), x_UPD), dim=1)
        if not ragged:
            return x_UPD, None
        # By its own bases, not by all that the kernel sees: beside a longer sequence there would be
        # more real positions than alone.
        real = windows[:, :, left : left + stride].ne(vocab.PAD).any(-1)
        return x_UPD, F.pad(real, (1, 0), value=True)


@dataclass(frozen=True)
class SampleASVs:
    """The ASVs of some samples, in the context of their sample.

    Attributes
    ----------
    vectors : Tensor
        ``[B, A, D]``.
    mask : Tensor
        ``[B, A]``, true where an ASV counts: real, and (in training) not dropped.
    log_abundance : Tensor
        ``[B, A]``, of the share of the reads.
    pool : callable
        Makes sample vectors of a `SampleASVs`.
    """

    vectors: Tensor
    mask: Tensor
    log_abundance: Tensor
    pool: Callable[[SampleASVs], Tensor]

    # Not at once: where covariates change the ASVs, only the changed ones may be pooled.
    @functools.cached_property
    def sample(self) -> Tensor:
        """Sample vectors ``[B, D]``, pooled when first asked for."""
        return self.pool(self)

    def changed(self, vectors_BAD: Tensor) -> SampleASVs:
        """The same ASVs with other vectors."""
        return dataclasses.replace(self, vectors=vectors_BAD)


@dataclass
class PooledASVs:
    """Sample vectors where the ASVs' own are not needed.

    Attributes
    ----------
    sample : Tensor
        ``[B, D]``.
    """

    sample: Tensor


class SampleEncoder(nn.Module):
    """Set transformer over the ASVs of each sample: without positions, so that order has no effect.

    Abundance enters twice; see `aam_core.models.abundance`.
    """

    def __init__(self, width: int, config: SampleConfig):
        super().__init__()
        self.asv_dropout = config.asv_dropout
        self.abundance = nn.Linear(NUM_FEATURES, width)
        self.blocks = nn.ModuleList(
            Block(width, config.heads, config.mlp_ratio, config.dropout)
            for _ in range(config.depth)
        )
        self.pool = AttentionPool(width, config.pool_queries, config.pool_prior)
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        asv_BAD: Tensor,
        counts_BA: Tensor,
        mask_BA: Tensor,
        keys_BA: Tensor | None = None,
    ) -> SampleASVs:
        """Encode samples.

        Parameters
        ----------
        asv_BAD : Tensor
            ASV vectors gathered to samples, ``[B, A, D]``.
        counts_BA : Tensor
            Reads, ``[B, A]``; 0 where padded.
        mask_BA : Tensor
            ``[B, A]``, true where an ASV is real. Every sample has at least one.
        keys_BA : Tensor, optional
            ``[B, A]`` int32, of an ASV in its sample: of the dropout of channels and of ASVs in
            training; without keys there is none.

        Returns
        -------
        SampleASVs
            With its ``sample``, the sample vectors.
        """
        if self.training and keys_BA is not None and self.asv_dropout > 0:
            mask_BA = self._drop(mask_BA, keys_BA)
        x_BAD, log_BA = self._with_abundance(asv_BAD, counts_BA, mask_BA)
        x_BAD = run_blocks(self.blocks, x_BAD, mask_BA, keys=keys_BA)
        return SampleASVs(x_BAD, mask_BA, log_BA, self.pooled)

    def attention(self, asv_BAD: Tensor, counts_BA: Tensor, mask_BA: Tensor) -> list[Tensor]:
        """Of each block, the share ``[B, A]`` of each ASV in what the ASVs of its sample attend to.

        Arguments as of ``forward``, in evaluation; see `Block.attention`.
        """
        x_BAD, _ = self._with_abundance(asv_BAD, counts_BA, mask_BA)
        shares = []
        for block in self.blocks:
            assert isinstance(block, Block)
            shares.append(block.attention(x_BAD, mask_BA))
            x_BAD = block(x_BAD, mask_BA)
        return shares

    def _with_abundance(self, asv_BAD, counts_BA, mask_BA):
        features_BA3, log_BA = abundance_features(counts_BA, mask_BA)
        return asv_BAD + self.abundance(features_BA3.to(asv_BAD.dtype)), log_BA

    def pooled(self, asvs: SampleASVs) -> Tensor:
        """Sample vectors ``[B, D]``."""
        return self.norm(self.pool(asvs.vectors, asvs.mask, asvs.log_abundance))

    def _drop(self, mask_BA, keys_BA):
        kept = mask_BA & ~bernoulli(keys_BA, 0, 1, self.asv_dropout)[..., 0]
        # A sample all of whose ASVs would be dropped keeps them all.
        return torch.where(kept.any(1, keepdim=True), kept, mask_BA)
