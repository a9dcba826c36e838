"""The rows of the ablations: each a fit that differs from another one in one respect."""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass, field

from aam_core.config import Config
from aam_core.config.presets import fitting

QUESTIONS = {
    1: "What pretraining gives",
    2: "Learned nucleotide encoder, or fixed k-mer features",
    3: "Pooling, rarefaction, dropout, ensembles, loss, steps",
    4: "Distances between samples together with the target",
    5: "With the number of samples and of subjects",
}

SAMPLES, SUBJECTS = (50, 100, 200), (5, 10, 20)
"""Numbers of training samples and subjects that are tried instead of all."""

REFERENCE = {
    "forest.trees": 0,
    "model.members": 5,
    "model.encoder.codes": 0,
    "train.val_fraction": 0.1,
    "data.rarefaction": "redraw",
    "optim.encoder_lr_ratio": 0.3,
}
"""Changes of the default in all rows of networks: the questions are about networks. All but the
first two were the default until benchmarks showed otherwise, the last two those of this table."""

LEARNED = {
    "model.encoder.features": "bases",
    "model.encoder.width": 32,
    "model.encoder.depth": 1,
    "model.members": 2,
    "train.epochs": 1,
    "train.min_steps": 200,
}
"""Further changes in the rows of a learned encoder, which costs many times the default."""

NETWORK, FOREST, SMALL, ONE, TEN = "network", "forest", "learned", "members 1", "members 10"
"""Names of the rows that others are compared with."""


@dataclass(frozen=True)
class Row:
    """A cross-validation.

    Attributes
    ----------
    name : str
    questions : tuple of int
        Keys of `QUESTIONS`: first its own, then those whose tables show it, too.
    changes : dict
        Changes of the reference's configuration, as `Config.replace` takes them.
    against : tuple of str
        Rows that it is compared with, on the same test samples.
    parts : tuple of str
        Keys of `ablation_encoders.STEPS`: what the encoder is pretrained on, in this order.
    pretraining : dict
        Changes in the pretraining's configuration.
    frozen : bool
        Whether the encoder of bases is frozen.
    samples, subjects : int or None
        How many of the training samples of a fold are used, in whole subjects; all by default.
    tree : bool
        Whether the fit itself needs the phylogeny.
    task : str or None
        The only task that it applies to.
    even : bool
        Whether it applies where all samples have the same number of reads.
    fresh : bool
        Whether it runs in a process of its own, whose peak memory is recorded.
    """

    name: str
    questions: tuple[int, ...]
    changes: dict = field(default_factory=dict)
    against: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    pretraining: dict = field(default_factory=dict)
    frozen: bool = False
    samples: int | None = None
    subjects: int | None = None
    tree: bool = False
    task: str | None = None
    even: bool = True
    fresh: bool = False

    @property
    def is_forest(self) -> bool:
        """Whether it is the plain random forest, which has no configuration."""
        return self.name.split(",")[0] == FOREST


@functools.cache
def rows() -> dict[str, Row]:
    """Every row by its name, after those that it is compared with.

    A change to the value of the default is not a row.
    """
    made = [*_ages(), *_parts(), *_pretrained(), *_features(), *_distances()]
    default = fit_config(Row(NETWORK, ()))
    kept = [row for row in made if not row.changes or fit_config(row) != default]
    by_name = {row.name: row for row in kept}
    assert len(by_name) == len(kept), "names are not unique"
    return by_name


def with_references(chosen: Collection[str]) -> list[Row]:
    """The chosen rows, after all that they are compared with."""
    every, wanted, queue = rows(), set(), list(chosen)
    while queue:
        name = queue.pop()
        if name not in wanted:
            wanted.add(name)
            queue += every[name].against
    return [row for name, row in every.items() if name in wanted]


def is_reference(name: str) -> bool:
    """Whether some row is compared with this one."""
    return any(name in row.against for row in rows().values())


def fit_config(row: Row, seed: int = 0, threads: int = 0, steps: int | None = None) -> Config:
    """Configuration of the row's fits; ``steps``, of a trial run, replace its own."""
    changes = REFERENCE | row.changes | {"train.seed": seed, "train.threads": threads}
    return of_steps(fitting().replace(changes), steps)


def of_steps(config: Config, steps: int | None) -> Config:
    """The configuration with a fixed number of steps, where there is one."""
    if steps is None:
        return config
    names = ("train.epochs", "train.min_steps", "train.max_steps")
    return config.replace(dict(zip(names, (1, steps, steps), strict=True)))


# --- the rows of each question -------------------------------------------------------------------


SIZES = {
    "": {},
    **{f", {n} samples": {"samples": n} for n in SAMPLES},
    **{f", {n} subjects": {"subjects": n} for n in SUBJECTS},
}
"""End of a row's name -> how much of each training side it has."""


def _ages() -> list[Row]:
    """The forest, the networks and their blend."""
    made = []
    for end, size in SIZES.items():
        forest, network, blend = (f"{name}{end}" for name in (FOREST, NETWORK, "blend"))
        serves = (5, 1, 2, 3) if not end else (5, 1) if "samples" in size else (5,)
        given = {**size, "fresh": True}
        made += [
            Row(forest, (5,), **given),
            Row(network, serves, {}, (forest,), **given),
            Row(blend, (5,) if end else (5, 3), {"forest.trees": 200}, (network, forest), **given),
        ]
    return made


PRETRAININGS = {
    "v4": ("v4",),
    "UniFrac": ("unifrac",),
    "v4 and UniFrac": ("v4", "unifrac"),
    "another study": ("other",),
}
"""How the table calls the parts."""


def _pretrained() -> list[Row]:
    made = []
    for end, size in SIZES.items():
        if "subjects" in size:
            continue
        none, serves = f"{SMALL}{end}", (1,) if end else (1, 2)
        made.append(Row(none, serves, LEARNED, (f"{NETWORK}{end}",), **size))
        for name, parts in PRETRAININGS.items():
            also = (4,) if name == "UniFrac" and not end else ()
            own = f"{SMALL} on {name}{end}"
            made.append(Row(own, serves + also, LEARNED, (none,), parts, **size))
            if not end:  # a pretrained encoder learns more slowly than the rest, by default
                fast = LEARNED | {"optim.encoder_lr_ratio": 1.0}
                made.append(Row(f"{own}, as fast as the rest", (1,), fast, (own, none), parts))
    return made


def _features() -> list[Row]:
    """Rows of all samples: at the size and steps of the learned encoder, and of the default."""
    made = [
        Row(f"{SMALL}: {features}", (2,), LEARNED | {"model.encoder.features": kind}, (SMALL,))
        for features, kind in (("k-mer profile instead", "profile"), ("both", "both"))
    ]
    for width in (32, 64):
        both = {"model.encoder.features": "both", "model.encoder.depth": 1}
        name = f"{NETWORK}: bases and k-mers, width {width}"
        made.append(Row(name, (2,), both | {"model.encoder.width": width}, (NETWORK,)))
    fourier = {"model.members": 10, "model.encoder.codes": 64, "train.val_fraction": 0.2}
    made.append(Row(f"{TEN}, half with Fourier features", (2, 3), fourier, (TEN,)))
    for name, parts in PRETRAININGS.items():
        tuned = f"{SMALL} on {name}"
        made.append(Row(f"{tuned}, frozen", (2,), LEARNED, (tuned,), parts, frozen=True))
    return made


TRIED = {
    "model.sample.pool_prior": (0.0, 0.5),
    "model.sample.pool_queries": (1, 4, 8),
    "model.sample.asv_dropout": (0.0, 0.3, 0.6),
    "model.head.target_dropout": (0.0, 0.3, 0.6),
    "model.members": (1, 5, 10),
    "train.min_steps": (250, 500, 1000),
}
"""Settings that are changed one at a time."""


def _parts() -> list[Row]:
    made = []
    for path, values in TRIED.items():
        for value in values:
            name = f"{path.split('.', 1)[1]} {value}"
            questions = {ONE: (3, 4), TEN: (3, 2)}.get(name, (3,))
            made.append(Row(name, questions, {path: value}, (NETWORK,)))
    # Attention between ASVs takes seven times as long: with one network.
    deeper = {"model.members": 1, "model.sample.depth": 1}
    made.append(Row(f"{ONE}, sample.depth 1", (3,), deeper, (ONE,)))
    made += [
        Row(f"loss.target {loss}", (3,), {"loss.target": loss}, (NETWORK,), task="regression")
        for loss in ("huber", "mse", "mae")
    ]
    redraw = {"data.rarefaction": "redraw", "data.full_depth": 0.0}
    reads = {
        "all reads, always": {"data.rarefaction": "none"},
        "redraw of 1,000 reads": {**redraw, "data.sampling_depth_max": 0},
        "redraw of 1,000 to 10,000 reads": {**redraw, "data.sampling_depth_max": 10000},
    }
    made += [Row(name, (3,), given, (NETWORK,), even=False) for name, given in reads.items()]
    return made


def _distances() -> list[Row]:
    """The first member has the distance head: these rows have one member."""
    made = []
    for head in ("union", "ruzicka", "euclidean"):
        for metric in ("unweighted", "weighted_normalized"):
            name, form = f"{head}, {metric}", {"model.head.distance": head}
            changes = {"model.members": 1, "loss.distance": 5.0, "loss.metric": metric, **form}
            made.append(Row(f"{ONE}, with distances: {name}", (4,), changes, (ONE,), tree=True))
            if name != "union, unweighted":  # which is the pretraining of the first question
                before = f"{SMALL} on UniFrac"
                given = {"parts": ("unifrac",), "pretraining": {"loss.metric": metric}}
                made.append(Row(f"{before}: {name}", (4,), LEARNED | form, (before,), **given))
    return made
