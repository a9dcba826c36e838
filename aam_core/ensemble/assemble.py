"""From trained members to the ensemble: a forest, and the weights of all by held-out samples."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from aam_core.config import Config
from aam_core.data.covariates import Covariates
from aam_core.data.splits import Split
from aam_core.data.study import Study
from aam_core.ensemble.blending import (
    LEAST,
    blend,
    forest_in_words,
    stable_weights,
    unknown_weight,
)
from aam_core.ensemble.cross_fitting import HeldOut, predict_held_out
from aam_core.ensemble.forest import Forest
from aam_core.ensemble.forest_training import (
    CrossFitted,
    ForestSettings,
    Progress,
    cross_fit_forest,
    estimated_seconds,
)
from aam_core.ensemble.novelty import Novelty
from aam_core.models.network import Network
from aam_core.tasks import Task
from aam_core.tasks.losses import sample_weights
from aam_core.training.parallel import ProcessGroup

__all__ = ["Ensemble", "Trained", "assemble", "forest_seconds"]


@dataclass(frozen=True, eq=False)
class Trained:
    """Members that are trained, and what they were trained on.

    Attributes
    ----------
    network : Network
        On the CPU, in evaluation mode.
    study : Study
    split : Split
    values : Series
        Target by sample id.
    config : Config
    task : Task
    covariates : Covariates or None
    """

    network: Network
    study: Study
    split: Split
    values: pd.Series
    config: Config
    task: Task
    covariates: Covariates | None = None


@dataclass(frozen=True, eq=False)
class Ensemble:
    """What predicts together, and how well each part did on held-out samples.

    Attributes
    ----------
    forest : Forest or None
    trees : dict
        Numbers of its trees by kind, where these were chosen.
    network_weight : float
        Blend weight of the networks, in [0, 1]; the forest has the rest.
    out_of_fold : dict of ndarray
        ``[N, T]`` predictions of ``split.val``, in the target's units or as probabilities: of the
        ``model`` as a whole and, where there is a forest, of its ``network`` and ``forest``. Empty
        where no sample was held out.
    spread : ndarray or None
        ``[N, T]`` standard deviation over the trees of the forest's, in the same units.
    quantiles : ndarray or None
        ``[N, Q]`` that the networks predict, where they predict some, in units.
    passes : ndarray or None
        ``[P, N, T]`` out-of-fold predictions of the networks by each of several draws.
    novelty : Novelty or None
        What samples are usual; None where few or none were held out.
    """

    forest: Forest | None = None
    network_weight: float = 1.0
    out_of_fold: dict[str, np.ndarray] = field(default_factory=dict)
    spread: np.ndarray | None = None
    quantiles: np.ndarray | None = None
    trees: dict[str, int] = field(default_factory=dict)
    novelty: Novelty | None = None
    passes: np.ndarray | None = None


def assemble(
    trained: Trained, group: ProcessGroup, log: logging.LoggerAdapter, progress: Progress
) -> Ensemble:
    """Train the forest and choose all weights; every process must call it.

    Parameters
    ----------
    trained : Trained
        Its network receives the ensemble weights of its members.
    group : ProcessGroup
        Rank 0 trains the forest, and broadcasts it and all weights.
    log : LoggerAdapter
    progress : Progress
        Of the trees.
    """
    held_out = None
    if trained.split.val:
        log.info("predicting held-out samples")
        held_out = predict_held_out(
            trained.network,
            trained.study,
            trained.split,
            trained.config,
            trained.task,
            trained.covariates,
        )
    cross_fitted = None
    if trained.config.forest.trees:
        by_networks = None if held_out is None else held_out.out_of_fold(trained.network)
        cross_fitted = _fit_forest(trained, group, progress, by_networks)
        if cross_fitted.trees:
            shares = kind_shares(cross_fitted.forest, cross_fitted.trees)
            name = forest_in_words(cross_fitted.forest.linear_share)
            log.info("%s: %s", name, ", ".join(f"{kind} {it:.2f}" for kind, it in shares.items()))
    forest = None if cross_fitted is None else cross_fitted.forest
    if held_out is None:
        return Ensemble(forest, 1.0 if forest is None else unknown_weight(forest))
    by_forest = None
    if cross_fitted is not None:
        rows = trained.study.select(trained.split.val).metadata
        by_forest = trained.task.restored(cross_fitted.out_of_fold, rows)
    _weigh_members(trained, group, held_out, by_forest)
    by_networks = held_out.out_of_fold(trained.network)
    quantiles = held_out.quantiles(trained.network)
    passes = held_out.each_pass(trained.network)
    assert held_out.samples is not None
    # As below: that of rank 0 holds.
    seen = held_out.samples, held_out.masks, held_out.composition
    novelty = group.broadcast(Novelty.fit(*seen))
    if cross_fitted is None or by_forest is None:
        return Ensemble(
            out_of_fold={"model": by_networks}, quantiles=quantiles, novelty=novelty, passes=passes
        )
    weight = unknown_weight(cross_fitted.forest)
    if len(by_networks) >= LEAST:
        truth = trained.task.forest_target(trained.values.loc[trained.split.val])
        # Each rank computes its own weight: that of rank 0 holds, so that all return one model.
        chosen = stable_weights([by_networks, by_forest], truth, trained.task)
        weight, _ = group.broadcast(chosen)
    out_of_fold = {
        "model": blend(weight, by_networks, by_forest),
        "network": by_networks,
        "forest": by_forest,
    }
    fitted = cross_fitted
    return Ensemble(
        forest, weight, out_of_fold, fitted.spread, quantiles, fitted.trees, novelty, passes
    )


def kind_shares(forest: Forest, trees: dict[str, int]) -> dict[str, float]:
    """What each kind of trees, and the linear model, counts in the predictions of a forest.

    Parameters
    ----------
    forest : Forest
    trees : dict
        Numbers of its trees by kind.
    """
    linear, total = forest.linear_share, sum(trees.values())
    shares = {kind: (1 - linear) * number / total for kind, number in trees.items()}
    return shares | ({"linear": linear} if linear else {})


def _fit_forest(
    trained: Trained, group: ProcessGroup, progress: Progress, by_networks: np.ndarray | None
) -> CrossFitted:
    """Train in one process for all: scikit-learn then has the threads of a machine to itself."""
    settings = _settings(trained)
    if len(trained.split.val) < LEAST:
        by_networks = None
    if by_networks is not None:  # of what the trees learn
        rows = trained.study.select(trained.split.val).metadata
        by_networks = by_networks - trained.task.restored(np.zeros_like(by_networks), rows)
    cross_fitted = None
    try:
        if group.is_first:
            cross_fitted = cross_fit_forest(
                trained.study,
                trained.split,
                trained.task.residual(trained.values, _rows(trained)),
                settings,
                by_networks=by_networks,
                progress=progress,
            )
        return group.broadcast(cross_fitted)
    finally:
        progress.end()


def forest_seconds(trained: Trained) -> float:
    """About how long the forest will take; its network need not be trained."""
    values = trained.task.residual(trained.values, _rows(trained))
    return estimated_seconds(trained.study, trained.split, values, _settings(trained))


def _settings(trained: Trained) -> ForestSettings:
    config = trained.config
    return ForestSettings(
        trained.task,
        config.forest.trees,
        config.train.seed,
        trained.covariates,
        jobs=config.train.threads or -1,
        weights=sample_weights(trained.study, trained.values.index, config.loss),
    )


def _rows(trained: Trained) -> pd.DataFrame | None:
    """Metadata of the samples of the target, in their order."""
    metadata = trained.study.metadata
    return None if metadata is None else metadata.loc[trained.values.index]


def _weigh_members(
    trained: Trained, group: ProcessGroup, held_out: HeldOut, by_forest: np.ndarray | None
) -> None:
    """Weigh the members with random Fourier features against those without."""
    network, fourier, masks = trained.network, trained.network.fourier_members, held_out.masks
    # Only samples that both kinds held out can be compared: of the others one prediction is NaN.
    both = masks[fourier].any(axis=0) & masks[~fourier].any(axis=0)
    if both.sum() < LEAST:
        return
    truth = trained.task.forest_target(trained.values.loc[trained.split.val])
    predictions = [held_out.out_of_fold(network, members) for members in (~fourier, fourier)]
    if by_forest is not None:  # the members complement the forest, so it takes part
        predictions.append(by_forest)
    chosen = stable_weights(predictions, truth, trained.task)
    plain, with_fourier, *_ = group.broadcast(chosen)
    # Both are 0 where the forest alone is best: the members then keep the weights that they have.
    if plain + with_fourier:
        network.set_fourier_weight(with_fourier / (plain + with_fourier))
