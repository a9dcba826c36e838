"""Batches made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from aam_core.config import DataConfig, EncoderConfig, HeadConfig, ModelConfig, SampleConfig
from aam_core.data.batches import EVALUATION, Batcher
from aam_core.data.study import Study
from aam_core.data.tokens import tokenize


@pytest.fixture
def tokens_of():
    """Tokens of some sequences, as one tensor."""

    def make(*sequences):
        names = [str(i) for i in range(len(sequences))]
        return torch.from_numpy(tokenize(sequences, names))

    return make


@pytest.fixture
def batch_of():
    """The batch of all samples, as it is: ``batch_of({"s1": {"ACGT": 3, "GGC": 1}, ...})``.

    ``only`` are the positions of some: their batch, in the study of all. Other options are those of
    `Batcher`.
    """

    def make(samples, only=None, epoch=EVALUATION, **options):
        sequences = list(dict.fromkeys(name for counts in samples.values() for name in counts))
        counts = np.array([[c.get(name, 0) for name in sequences] for c in samples.values()])
        study = Study(list(samples), sequences, csr_matrix(counts.astype(np.int64)), sequences)
        batcher = Batcher(study, DataConfig(rarefaction="none"), 0, **options)
        chosen = np.arange(len(samples)) if only is None else np.array(only)
        return batcher.batch(chosen, epoch)

    return make


@pytest.fixture
def config():
    """Sizes of a small network without dropout."""
    return ModelConfig(
        encoder=EncoderConfig(width=16, heads=2, depth=1, stride=4, kernel=9, kmer=3),
        sample=SampleConfig(heads=2, depth=1, dropout=0.0, pool_queries=2),
        head=HeadConfig(distance_width=12, target_hidden=8, target_dropout=0.0),
    )


@pytest.fixture
def noisy(config):
    """The same with every kind of dropout."""
    return replace(
        config,
        encoder=replace(config.encoder, dropout=0.3),
        sample=replace(config.sample, dropout=0.3, asv_dropout=0.3),
        head=replace(config.head, target_dropout=0.3),
    )


@pytest.fixture
def shaken():
    """Give every parameter, those that start at zero or one too, a random value."""

    def shake(module, seed=0, size=0.3):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(size * torch.randn(parameter.shape, generator=generator))
        return module.eval()

    return shake
