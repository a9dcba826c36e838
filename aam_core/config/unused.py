"""Settings that cannot act in a run, and why: one line names those that somebody set.

`RULES` has an entry for each field of `Config`: a field that always acts says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aam_core.config.sections import AUTO, WITHOUT_TREE, Config
from aam_core.errors import first_five


@dataclass(frozen=True)
class Setup:
    """What a run is beside its configuration.

    Attributes
    ----------
    task : {"pretraining", "regression", "classification"}
    job : {"train", "folds", "trials", "range test"}
        One run, those of a cross-validation or of a search for settings, or a learning-rate test.
    corpus : bool
        Sequences without samples are pretrained on.
    encoder, frozen : bool
        Weights come from a pretrained encoder; that stays as it is.
    covariates : bool
        Metadata columns are read beside the reads.
    tree, distances : bool
        There is a phylogeny; there are given distances.
    validates : bool
        Some samples are held out to validate on.
    split : str
        Why nothing is left to be split off; empty where `val_fraction` decides.
    output : bool
        There is a folder to write to.
    processes : int
        How many train together.
    torchrun : bool
        The processes were started from outside.
    richest : int or None
        Most ASVs of a sample, where known.
    """

    task: str
    job: str = "train"
    corpus: bool = False
    encoder: bool = False
    frozen: bool = False
    covariates: bool = False
    tree: bool = False
    distances: bool = False
    validates: bool = True
    split: str = ""
    output: bool = True
    processes: int = 1
    torchrun: bool = False
    richest: int | None = None

    @property
    def fits(self) -> bool:
        """Whether there is a target."""
        return self.task != "pretraining"


Rule = Callable[[Config, Setup], str]
"""Why a setting does not act; empty where it does."""


def idle(config: Config, setup: Setup) -> list[str]:
    """A sentence for each reason why settings that were given do not act.

    >>> idle(Config().replace({"optim.cycles": 5}), Setup("regression"))
    ["optim.cycles has no effect: optim.schedule is 'cosine'."]
    """
    found: dict[str, list[str]] = {}
    for path, rule in RULES.items():
        if path in config.given and (reason := rule(config, setup)):
            found.setdefault(reason, []).append(path)
    return [
        f"{first_five(names)} {'has' if len(names) == 1 else 'have'} no effect: {reason}."
        for reason, names in found.items()
    ]


def learns_distances(config: Config, setup: Setup) -> bool:
    """Whether distances between samples are learned."""
    return not why_no_distances(config, setup)


def why_no_distances(config: Config, setup: Setup) -> str:
    """Why distances between samples are not learned; empty where they are."""
    if setup.corpus:
        return "sequences without samples have no distances"
    if config.loss.distance == 0:
        return f"loss.distance is 0, so no distances are learned{_beside(setup)}"
    if setup.fits and setup.frozen:
        return "the encoder is frozen, so no distances are learned"
    nothing = not (setup.tree or setup.distances or config.loss.metric in WITHOUT_TREE)
    if nothing:
        return f"{config.loss.metric} distances need a tree, and none is given"
    return ""


def _beside(setup: Setup) -> str:
    return " beside the target ('loss.distance=50' turns them on)" if setup.fits else ""


# --- what rules are made of ----------------------------------------------------------------------


def _acts(config: Config, setup: Setup) -> str:
    return ""


def _any(*rules: Rule) -> Rule:
    """The first reason that there is."""
    return lambda config, setup: next((why for rule in rules if (why := rule(config, setup))), "")


def _where(path: str, *values, least=None) -> Rule:
    """Acts where another setting has one of these values, or at least this one."""

    def rule(config, setup):
        value = config.at(path)
        acts = value >= least if least is not None else value in values
        return "" if acts else f"{path} is {value!r}"

    return rule


def _if(test: Callable[[Config, Setup], bool], reason: str) -> Rule:
    """Does not act where ``test`` holds."""
    return lambda config, setup: reason if test(config, setup) else ""


_of_a_fit = _if(lambda c, at: not at.fits, "it is of a fit, and this is a pretraining")
_of_a_pretraining = _if(lambda c, at: at.fits, "it is of a pretraining, and this is a fit")
_regression = _any(_of_a_fit, _if(lambda c, at: at.task == "classification", "it is of numbers"))
_classification = _any(_of_a_fit, _if(lambda c, at: at.task == "regression", "it is of classes"))
_covariates = _any(_of_a_fit, _if(lambda c, at: not at.covariates, "there are no covariates"))
_bases = _where("model.encoder.features", "bases", "both")
_base_blocks = _any(_bases, _where("model.encoder.depth", least=1))
_profile = _where("model.encoder.features", "profile", "both")
_sample_blocks = _where("model.sample.depth", least=1)
_samples = _if(
    lambda c, at: not at.fits and not learns_distances(c, at),
    "nothing is learned of samples: no distances, and no target",
)
_nucleotides = _any(
    _if(lambda c, at: at.fits, "a fit learns no nucleotides, which pretraining does"),
    _if(lambda c, at: c.loss.nucleotide == 0, "loss.nucleotide is 0"),
)
_not_in_a_test = _if(lambda c, at: at.job == "range test", "a range test has a course of its own")
_not_in_trials = _if(lambda c, at: at.job == "trials", "every trial of a search has its own")
_validation = _any(
    _not_in_a_test, _if(lambda c, at: not at.validates, "there are no validation samples")
)
_folder = _any(
    _not_in_a_test,
    _if(
        lambda c, at: at.job in ("folds", "trials") or not at.output,
        "nothing of the training is written",
    ),
)
_draws = _where("data.rarefaction", "redraw", "fixed")
_redraws = _where("data.rarefaction", "redraw")
_mixes = _any(_redraws, _if(lambda c, at: c.data.full_depth == 1, "data.full_depth is 1"))


def _distances(config: Config, setup: Setup) -> str:
    return why_no_distances(config, setup)


def _distances_of_a_fit(config: Config, setup: Setup) -> str:
    return why_no_distances(config, setup) if setup.fits else ""


def _fusion_heads(config: Config, setup: Setup) -> str:
    attends = _where("model.fusion.kind", "cross-attention", "perceiver")
    return _any(_covariates, attends)(config, setup) if setup.fits else ""


def _metric(config: Config, setup: Setup) -> str:
    why = why_no_distances(config, setup)
    return why or ("the distances are given" if setup.distances else "")


def _distance_penalty(config: Config, setup: Setup) -> str:
    return "" if config.loss.distance == 0 and not setup.corpus else _distances(config, setup)


def _sampling_depth(config: Config, setup: Setup) -> str:
    data = config.data
    if data.rarefaction == "redraw" and data.full_depth == 1 and data.shallow_samples == "keep":
        return "data.full_depth is 1"
    return _draws(config, setup)


def _depth_max(config: Config, setup: Setup) -> str:
    data, why = config.data, _mixes(config, setup)
    if not why and 0 < data.sampling_depth_max <= data.sampling_depth:
        return f"it is not above data.sampling_depth, {data.sampling_depth}"
    return why


def _min_reads(config: Config, setup: Setup) -> str:
    data = config.data
    drops = data.rarefaction != "none" and data.shallow_samples == "drop"
    if drops and data.min_reads <= data.sampling_depth:
        return f"samples with fewer reads than data.sampling_depth, {data.sampling_depth}, are gone"
    return ""


def _selection(config: Config, setup: Setup) -> str:
    most = config.data.max_asvs
    if setup.richest is not None and setup.richest <= most:
        return f"no sample has more ASVs than data.max_asvs, {most}"
    return ""


def _codes(config: Config, setup: Setup) -> str:
    if setup.fits and config.model.members == 1:
        return "model.members is 1"
    return _profile(config, setup)


def _kernel(config: Config, setup: Setup) -> str:
    encoder = config.model.encoder
    if encoder.kernel < encoder.stride:
        return f"it is below model.encoder.stride, {encoder.stride}, which holds for both"
    return _bases(config, setup)


def _direction(config: Config, setup: Setup) -> str:
    needed = config.train.patience > 0 or config.optim.schedule == "plateau"
    if config.train.best_metric == "none" and not needed:
        return "train.best_metric is 'none'"
    return _validation(config, setup)


def _val_fraction(config: Config, setup: Setup) -> str:
    return setup.split


def _devices(config: Config, setup: Setup) -> str:
    if setup.torchrun and config.train.devices != setup.processes:
        return f"torchrun started the processes, {setup.processes}"
    return ""


_blocks = _if(
    lambda c, at: (
        c.model.sample.depth == 0
        and (c.model.encoder.features == "profile" or c.model.encoder.depth == 0 or at.frozen)
    ),
    "the network has no transformer blocks to train",
)
_attention = _if(
    lambda c, at: (
        bool(_blocks(c, at))
        and not (at.covariates and c.model.fusion.kind in ("cross-attention", "perceiver"))
    ),
    "the network has no transformer blocks to train",
)

RULES: dict[str, Rule] = {
    # A limit acts where it is met.
    "data.rarefaction": _if(lambda c, at: at.corpus, "sequences without samples have no reads"),
    "data.sampling_depth": _sampling_depth,
    "data.sampling_depth_max": _depth_max,
    "data.full_depth": _redraws,
    "data.shallow_samples": _draws,
    "data.min_reads": _min_reads,
    "data.max_asvs": _acts,
    "data.asv_selection": _selection,
    "data.max_bp": _acts,
    "data.long_sequences": _acts,
    # Sizes of a pretraining are those of the fits from it, which has them act there.
    "model.members": _of_a_fit,
    "model.encoder.features": _acts,
    "model.encoder.components": _profile,
    "model.encoder.codes": _codes,
    "model.encoder.width": _acts,
    "model.encoder.heads": _bases,
    "model.encoder.depth": _bases,
    "model.encoder.stride": _bases,
    "model.encoder.kernel": _kernel,
    "model.encoder.kmer": _bases,
    "model.encoder.mlp_ratio": _base_blocks,
    "model.encoder.dropout": _any(
        _base_blocks, _if(lambda c, at: at.frozen, "the encoder is frozen")
    ),
    "model.sample.heads": _sample_blocks,
    "model.sample.depth": _acts,
    "model.sample.mlp_ratio": _sample_blocks,
    "model.sample.dropout": _any(_sample_blocks, _samples),
    "model.sample.pool_queries": _acts,
    "model.sample.pool_prior": _acts,
    "model.sample.asv_dropout": _samples,
    "model.head.distance": _distances_of_a_fit,
    "model.head.distance_width": _distances_of_a_fit,
    "model.head.target_hidden": _of_a_fit,
    "model.head.target_dropout": _of_a_fit,
    "model.fusion.kind": _covariates,
    "model.fusion.heads": _fusion_heads,
    "model.fusion.latents": _any(_covariates, _where("model.fusion.kind", "perceiver")),
    "masking.mask_ratio": _nucleotides,
    "masking.strategy": _nucleotides,
    "masking.span_length": _any(_nucleotides, _where("masking.strategy", "span")),
    "masking.asv_fraction": _any(
        _nucleotides, _if(lambda c, at: at.corpus, "sequences without samples are all read")
    ),
    "loss.nucleotide": _if(
        lambda c, at: at.fits and c.loss.nucleotide > 0,
        "a fit learns no nucleotides, which pretraining does",
    ),
    "loss.distance": _distance_penalty,
    "loss.metric": _metric,
    "loss.alpha": _any(_metric, _where("loss.metric", "generalized")),
    "loss.zero_pair_weight": _distances,
    "loss.target": _regression,
    "loss.transform": _regression,
    "loss.huber_delta": _any(_regression, _where("loss.target", "huber")),
    "loss.label_smoothing": _classification,
    "loss.class_weight": _classification,
    "optim.optimizer": _acts,
    "optim.lr": _if(lambda c, at: at.job == "range test", "it is what is looked for"),
    "optim.encoder_lr_ratio": _if(lambda c, at: not at.encoder, "there is no pretrained encoder"),
    "optim.head_lr_ratio": _acts,
    "optim.metadata_lr_ratio": _covariates,
    "optim.weight_decay": _acts,
    "optim.beta1": _acts,
    "optim.beta2": _where("optim.optimizer", "adamw", "adam", "lion"),
    "optim.schedule": _any(
        _not_in_a_test,
        _if(
            lambda c, at: c.optim.schedule == "plateau" and not at.validates,
            "there are no validation samples that could stall",
        ),
    ),
    "optim.warmup": _not_in_a_test,
    "optim.cycles": _any(_not_in_a_test, _where("optim.schedule", "restarts")),
    "optim.power": _any(_not_in_a_test, _where("optim.schedule", "polynomial")),
    "optim.plateau_factor": _any(_validation, _where("optim.schedule", "plateau")),
    "optim.plateau_patience": _any(_validation, _where("optim.schedule", "plateau")),
    "optim.clip": _acts,
    "optim.ema": _not_in_a_test,
    "forest.trees": _any(_of_a_fit, _not_in_a_test, _not_in_trials),
    "train.epochs": _not_in_a_test,
    "train.min_steps": _not_in_a_test,
    "train.max_steps": _not_in_a_test,
    "train.batch_size": _acts,
    "train.max_asvs_per_batch": _acts,
    "train.max_memory_gb": _where("train.batch_size", AUTO),
    "train.accumulate": _acts,
    "train.patience": _validation,
    "train.best_metric": _any(_not_in_trials, _validation),
    "train.best_direction": _any(_not_in_trials, _direction),
    "train.val_fraction": _val_fraction,
    "train.seed": _acts,
    "train.device": _acts,
    "train.devices": _devices,
    "train.strategy": _if(lambda c, at: at.processes == 1, "one process trains"),
    "train.max_restarts": _any(
        _not_in_trials,
        _if(lambda c, at: at.torchrun, "torchrun restarts (its --max-restarts)"),
    ),
    "train.checkpoint_every": _folder,
    "train.precision": _acts,
    "train.compile": _blocks,
    "train.gradient_checkpointing": _blocks,
    "train.attention": _attention,
    "train.threads": _acts,
    "train.log_every": _any(_not_in_a_test, _not_in_trials),
    "train.trackers": _folder,
    "train.histograms": _any(
        _folder,
        _if(
            lambda c, at: "tensorboard" not in c.train.trackers,
            "train.trackers has no tensorboard, which draws them",
        ),
    ),
}
