"""What was given to a run and cannot act in it: said in a line each, or refused."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import pandas as pd

from aam_core.config import WITHOUT_TREE, Config
from aam_core.config.unused import Setup, idle, learns_distances, why_no_distances
from aam_core.data.columns import as_classes, missing_ids
from aam_core.data.study import Study
from aam_core.errors import InputError
from aam_core.training.launch import spawn


def setup_of(task: str, study: Study, config: Config, **more) -> Setup:
    """What a run of this study is beside its configuration; ``more`` are fields of `Setup`."""
    asvs = study.counts.getnnz(axis=1)
    return Setup(
        task,
        tree=study.phylogeny is not None,
        distances=study.distances is not None,
        richest=int(asvs.max()) if len(asvs) else None,
        **processes(config),
        **more,
    )


def processes(config: Config) -> dict:
    """Of a `Setup`: how many processes train, and whether they were started from outside."""
    outside = spawn.started_outside()
    count = spawn.world_size() if outside else config.train.devices
    return {"processes": count, "torchrun": outside}


def learned(study: Study, config: Config, setup: Setup, searched=()) -> Study:
    """The study without tree and distances, where they have no effect on fits of it."""
    if "loss.distance" in searched or learns_distances(config, setup):
        return study
    return replace(study, phylogeny=None, distances=None)


def without_effect(study: Study, config: Config, setup: Setup, groups=None) -> list[str]:
    """A sentence for each setting and input that was given and cannot act."""
    found = idle(config, setup)
    given = [
        name
        for name, there in (("tree", setup.tree), ("given distances", setup.distances))
        if there
    ]
    why = why_no_distances(config, setup)
    if not why and setup.tree and setup.distances:
        given, why = ["tree"], "the given distances are learned in its place"
    elif not why and setup.tree and config.loss.metric in WITHOUT_TREE:
        given, why = ["tree"], f"{config.loss.metric} distances need none"
    if given and why:
        # A pretraining leaves out what is not in the tree, learned or not.
        less = "" if setup.fits or "tree" not in given else " (but on which features are read)"
        verb = "has" if len(given) == 1 and given[0] == "tree" else "have"
        found.append(f"The {' and the '.join(given)} {verb} no effect{less}: {why}.")
    if setup.frozen and config.model.encoder.features == "profile":
        found.append("freeze_encoder has no effect: the ASVs' vectors are fixed as it is.")
    if groups is not None:
        why = ""
        if setup.job in ("train", "range test"):  # the others divide the samples themselves
            why = setup.split or ("" if setup.validates else "no samples are held out")
        if not why and not groups.reindex(study.sample_ids).dropna().duplicated().any():
            why = "no two samples are of one group"
        if why:
            found.append(f"group_by ({groups.name!r}) has no effect: {why}.")
    return found


def check_columns(values: pd.Series, groups: pd.Series | None, covariates, samples) -> None:
    """Refuse a target that is a covariate, or that samples are grouped by.

    Raises
    ------
    InputError
    """
    if values.name in covariates:
        raise InputError(
            f"The target {values.name!r} cannot be a covariate: the answer would be given away."
        )
    if groups is None:
        return
    both = [column.reindex(samples) for column in (values, groups)]
    known = [column[~column.index.isin(missing_ids(column))] for column in both]
    same = known[0].index.equals(known[1].index) and len(known[0]) > 0
    if same and (as_classes(known[0]) == as_classes(known[1])).all():
        raise InputError(
            f"Samples are grouped by {groups.name!r}, which is the target {values.name!r}: no "
            "value would be both trained on and held out. Group by what is shared by samples of "
            "one origin (a subject, a site), or by nothing."
        )


def say(text: str) -> None:
    """One line on stderr; of several processes that do the same, the first says it."""
    if text and os.environ.get("RANK", "0") == "0":
        print(text, file=sys.stderr, flush=True)
