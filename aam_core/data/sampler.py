"""Which samples make which batch, and which rank has which of them.

A batch is global: the ranks share its samples, and every sample of an epoch is in exactly one
batch. Letters: N samples of the study.
"""

from __future__ import annotations

import numpy as np

from aam_core.config import TrainConfig

__all__ = ["Sampler", "StudySampler", "make_sampler", "split_by_rank"]


class Sampler:
    """The batches of every epoch.

    Parameters
    ----------
    samples : ndarray
        Positions in the study of the samples to train on, or to evaluate.
    richness : ndarray
        ``[N]`` ASVs that the model may read of each sample of the study (`Batcher.richness`).
    config : TrainConfig
        Batch size, budget of ASVs, seed.
    """

    def __init__(self, samples: np.ndarray, richness: np.ndarray, config: TrainConfig):
        self.samples = samples
        self.richness = richness
        self.config = config

    def epoch(self, number: int) -> list[np.ndarray]:
        """Batches of an epoch; their order depends on the seed and ``number`` alone."""
        # No state between epochs: a resumed run has the batches of an uninterrupted one.
        rng = np.random.default_rng((self.config.seed, number))
        return self._cut(rng.permutation(self.samples))

    def batches(self, number: int) -> int:
        """How many batches an epoch has."""
        if self.config.max_asvs_per_batch:
            return len(self.epoch(number))  # with a budget the number depends on the order
        return -(-len(self.samples) // self.config.batch_size)

    def in_order(self) -> list[np.ndarray]:
        """Batches of an evaluation, in the order of ``samples``."""
        return self._cut(self.samples)

    def _cut(self, order: np.ndarray) -> list[np.ndarray]:
        """Equal sizes rather than a small last batch; within the budget, if there is one."""
        if not len(order):
            return []
        size, budget = self.config.batch_size, self.config.max_asvs_per_batch
        if not budget:
            return np.array_split(order, -(-len(order) // size))
        cuts, most, size_now = [], 0, 0
        for place, sample in enumerate(order):
            # A batch is padded to its richest sample, so it costs its samples times that.
            most = max(most, self.richness[sample])
            if size_now and (size_now == size or (size_now + 1) * most > budget):
                cuts.append(place)
                most, size_now = self.richness[sample], 0
            size_now += 1
        return np.split(order, cuts)


class StudySampler(Sampler):
    """The batches of every epoch of a pretraining on many studies.

    A batch has samples of ``train.studies_per_batch`` studies, about as many of each: what is
    learned within a study needs several of its samples. A study is drawn with a probability of its
    number of samples to ``train.study_power`` (temperature sampling; Conneau et al. 2020,
    doi:10.18653/v1/2020.acl-main.747), and its samples without replacement. An epoch has as many
    batches as if each sample were in one.

    Parameters
    ----------
    samples, richness, config
        As of `Sampler`.
    source : ndarray
        ``[N]`` which study each sample of the study is of.
    """

    def __init__(
        self, samples: np.ndarray, richness: np.ndarray, config: TrainConfig, source: np.ndarray
    ):
        super().__init__(samples, richness, config)
        names, which = np.unique(source[samples], return_inverse=True)
        self.studies = [samples[which == number] for number in range(len(names))]
        weights = np.array([len(each) for each in self.studies], float) ** config.study_power
        self.probability = weights / weights.sum()

    def epoch(self, number: int) -> list[np.ndarray]:
        """Batches of an epoch, which depend on the seed and ``number`` alone."""
        rng = np.random.default_rng((self.config.seed, number))
        size = self.config.batch_size
        several = min(self.config.studies_per_batch, len(self.studies), size)
        shares = [len(part) for part in np.array_split(np.arange(size), several)]
        batches = []
        for _ in range(-(-len(self.samples) // size)):
            drawn = rng.choice(len(self.studies), several, replace=False, p=self.probability)
            parts = [
                rng.choice(self.studies[study], min(share, len(self.studies[study])), replace=False)
                for study, share in zip(drawn, shares, strict=True)
            ]
            # Cut where there is a budget of ASVs.
            batches += self._cut(np.concatenate(parts))
        return batches


def make_sampler(
    samples: np.ndarray, richness: np.ndarray, config: TrainConfig, source: np.ndarray | None
) -> Sampler:
    """The sampler of the samples of one study (``source`` is None) or of many."""
    if source is None:
        return Sampler(samples, richness, config)
    return StudySampler(samples, richness, config, source)


def split_by_rank(samples: np.ndarray, richness: np.ndarray, world_size: int) -> list[np.ndarray]:
    """Divide a batch among ranks: about equal in samples, and in ASVs.

    The samples go to the ranks in order of their richness, back and forth.

    Parameters
    ----------
    samples : ndarray
        Positions in the study.
    richness : ndarray
        ``[N]``.

    Returns
    -------
    list of ndarray
        One for each rank; with fewer samples than ranks some are empty.
    """
    if world_size == 1:
        return [samples]
    order = samples[np.argsort(-richness[samples], kind="stable")]
    turn = np.arange(len(order)) % (2 * world_size)
    owner = np.minimum(turn, 2 * world_size - 1 - turn)
    return [order[owner == rank] for rank in range(world_size)]
