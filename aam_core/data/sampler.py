"""Which samples make which batch, and which process takes which of them.

A batch is global: it is shared out among the processes, and every sample of an epoch is in exactly
one. Letters: N samples of the study.
"""

from __future__ import annotations

import numpy as np

from aam_core.config import TrainConfig


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
        """Batches of an epoch: another order in each, the same whenever it is asked for."""
        rng = np.random.default_rng((self.config.seed, number))
        return self._cut(rng.permutation(self.samples))

    def batches(self, number: int) -> int:
        """How many batches an epoch has."""
        if self.config.max_asvs_per_batch:
            return len(self.epoch(number))
        return -(-len(self.samples) // self.config.batch_size)

    def in_order(self) -> list[np.ndarray]:
        """Batches of an evaluation."""
        return self._cut(self.samples)

    def _cut(self, order: np.ndarray) -> list[np.ndarray]:
        """Alike in size, so that no batch is left over; within the budget, if there is one."""
        if not len(order):
            return []
        size, budget = self.config.batch_size, self.config.max_asvs_per_batch
        if not budget:
            return np.array_split(order, -(-len(order) // size))
        cuts, most, held = [], 0, 0
        for place, sample in enumerate(order):
            # What a batch costs is its padded table: its samples times the richest of them.
            most = max(most, self.richness[sample])
            if held and (held == size or (held + 1) * most > budget):
                cuts.append(place)
                most, held = self.richness[sample], 0
            held += 1
        return np.split(order, cuts)


def split_by_rank(samples: np.ndarray, richness: np.ndarray, processes: int) -> list[np.ndarray]:
    """Share a batch among processes: alike in number, and in ASVs.

    The richest samples are dealt first, back and forth.

    Parameters
    ----------
    samples : ndarray
        Positions in the study.
    richness : ndarray
        ``[N]``.

    Returns
    -------
    list of ndarray
        One for each process; with fewer samples than processes some are empty.
    """
    if processes == 1:
        return [samples]
    order = samples[np.argsort(-richness[samples], kind="stable")]
    turn = np.arange(len(order)) % (2 * processes)
    owner = np.minimum(turn, 2 * processes - 1 - turn)
    return [order[owner == process] for process in range(processes)]
