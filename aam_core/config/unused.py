"""Settings that have no effect in a run, and why: one line names those that a person set.

`RULES` has an entry for each field of `Config`; one that always has an effect says so. A rule takes
the configuration and the context of the run, and returns the reason why the setting has no effect,
or an empty text. A new field needs a rule here, and an entry in its test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aam_core.config.config import Config
from aam_core.config.loss import WITHOUT_TREE
from aam_core.config.training import AUTO
from aam_core.errors import first_five

__all__ = [
    "RULES",
    "RunContext",
    "learns_counts",
    "learns_distances",
    "learns_diversity",
    "learns_nucleotides",
    "learns_taxonomy",
    "unused_settings",
    "why_no_distances",
    "why_no_taxonomy",
]


@dataclass(frozen=True)
class RunContext:
    """A run, as far as it is not described by its configuration.

    Attributes
    ----------
    task : {"pretraining", "regression", "classification"}
    job : {"train", "folds", "trials", "range test"}
        One run, those of a cross-validation or of a search for settings, or a learning-rate test.
    corpus : bool
        Whether the data are sequences without samples.
    encoder, frozen : bool
        Whether there is a pretrained encoder; whether it is frozen.
    covariates : bool
        Whether the model reads covariates.
    targets : int
        Number of targets.
    studies : bool
        Whether the data are many studies.
    tree, distances, taxonomy : bool
        Whether there is a phylogeny; whether distances are given; whether a taxonomy is.
    validates : bool
        Whether samples are held out.
    split : str
        Why `train.val_fraction` does not decide on the split; empty where it does.
    output : bool
        Whether there is an output folder.
    processes : int
        World size.
    torchrun : bool
        Whether torchrun started the processes.
    richest : int or None
        Number of ASVs of the richest sample, where known.
    """

    task: str
    job: str = "train"
    corpus: bool = False
    encoder: bool = False
    frozen: bool = False
    covariates: bool = False
    targets: int = 1
    studies: bool = False
    tree: bool = False
    distances: bool = False
    taxonomy: bool = False
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

    @property
    def predicts(self) -> bool:
        """Whether every member predicts metadata: a target, or columns of many studies."""
        return self.fits or self.studies


Rule = Callable[[Config, RunContext], str]


def unused_settings(config: Config, context: RunContext) -> list[str]:
    """A sentence for each reason why settings that a person set have no effect.

    >>> unused_settings(Config().replace({"optim.cycles": 5}), RunContext("regression"))
    ["optim.cycles has no effect: optim.schedule is 'cosine'."]
    """
    by_reason: dict[str, list[str]] = {}
    for path, rule in RULES.items():
        if path in config.explicit and (reason := rule(config, context)):
            by_reason.setdefault(reason, []).append(path)
    return [
        f"{first_five(names)} {'has' if len(names) == 1 else 'have'} no effect: {reason}."
        for reason, names in by_reason.items()
    ]


def learns_distances(config: Config, context: RunContext) -> bool:
    """Whether distances between samples are learned."""
    return not why_no_distances(config, context)


def why_no_distances(config: Config, context: RunContext) -> str:
    """Why distances between samples are not learned; empty where they are."""
    if context.corpus:
        return "sequences without samples have no distances"
    if config.loss.distance == 0:
        how = " besides the target ('loss.distance=50' turns them on)" if context.fits else ""
        return f"loss.distance is 0, so no distances are learned{how}"
    if context.fits and context.frozen:
        return "the encoder is frozen, so no distances are learned"
    if not (context.tree or context.distances or config.loss.metric in WITHOUT_TREE):
        return f"{config.loss.metric} distances need a tree, and none is given"
    return ""


def learns_nucleotides(config: Config, context: RunContext) -> bool:
    """Whether masked nucleotides are learned."""
    return not _why_no_nucleotides(config, context)


def learns_counts(config: Config, context: RunContext) -> bool:
    """Whether masked abundances are learned."""
    return not _why_no_counts(config, context)


def _why_no_nucleotides(config: Config, context: RunContext) -> str:
    if config.loss.nucleotide == 0:
        return "loss.nucleotide is 0"
    if context.fits and config.model.encoder.features == "profile":
        return "model.encoder.features is 'profile', which has no weights to learn nucleotides with"
    if context.fits and context.frozen:
        return "the encoder is frozen, so no nucleotides are learned"
    return ""


def _why_no_counts(config: Config, context: RunContext) -> str:
    if context.corpus:
        return "sequences without samples have no abundances"
    return "loss.count is 0" if config.loss.count == 0 else ""


def learns_diversity(config: Config, context: RunContext) -> bool:
    """Whether Faith's phylogenetic diversity is learned."""
    return not _why_no_diversity(config, context)


def learns_taxonomy(config: Config, context: RunContext) -> bool:
    """Whether the taxonomy is learned."""
    return not why_no_taxonomy(config, context)


def why_no_taxonomy(config: Config, context: RunContext) -> str:
    """Why the taxonomy is not learned; empty where it is."""
    if context.fits:
        return "only a pretraining learns a taxonomy, and this is a fit"
    if config.loss.taxonomy == 0:
        return "loss.taxonomy is 0"
    return "" if context.taxonomy else "no taxonomy is given"


def _why_no_diversity(config: Config, context: RunContext) -> str:
    if context.fits:
        return _of_a_pretraining(config, context)
    if context.corpus:
        return "sequences without samples have no diversity"
    if context.studies:
        return "a pretraining on many studies does not learn it"
    return "loss.faith_pd is 0" if config.loss.faith_pd == 0 else ""


# --- building blocks of rules --------------------------------------------------------------------


def _always_used(config: Config, context: RunContext) -> str:
    return ""


def _any(*rules: Rule) -> Rule:
    """The reason of the first rule that has one."""

    def rule(config: Config, context: RunContext) -> str:
        return next((reason for each in rules if (reason := each(config, context))), "")

    return rule


def _needs(path: str, *values: Any, minimum: float | None = None) -> Rule:
    """Has an effect where another setting has one of these values, or at least ``minimum``."""

    def rule(config: Config, context: RunContext) -> str:
        value = config.at(path)
        met = value >= minimum if minimum is not None else value in values
        return "" if met else f"{path} is {value!r}"

    return rule


def _unless(test: Callable[[Config, RunContext], bool], reason: str) -> Rule:
    """Has no effect where ``test`` is true."""
    return lambda config, context: reason if test(config, context) else ""


_of_a_fit = _unless(lambda c, at: not at.fits, "only a fit has it, and this is a pretraining")
_of_a_pretraining = _unless(lambda c, at: at.fits, "only a pretraining has it, and this is a fit")
_of_head = _unless(
    lambda c, at: not at.predicts, "only a fit has it, and this is a pretraining of another kind"
)
_of_studies = _unless(lambda c, at: not at.studies, "only a pretraining on many studies draws them")
_regression = _any(
    _of_a_fit, _unless(lambda c, at: at.task == "classification", "it is for a numeric target")
)
_classification = _any(
    _of_a_fit, _unless(lambda c, at: at.task == "regression", "it is for classes")
)
_covariates = _any(_of_a_fit, _unless(lambda c, at: not at.covariates, "there are no covariates"))
_hidden = _any(
    _of_head,
    _unless(lambda c, at: not c.model.head.hidden_widths, "model.head.hidden_layers is 'none'"),
)
_bases = _needs("model.encoder.features", "bases", "both")
_base_blocks = _any(_bases, _needs("model.encoder.depth", minimum=1))
_profile = _needs("model.encoder.features", "profile", "both")
_sample_blocks = _needs("model.sample.depth", minimum=1)
_samples = _unless(
    lambda c, at: (
        not at.fits
        and not (
            learns_distances(c, at)
            or learns_counts(c, at)
            or learns_diversity(c, at)
            or (at.studies and (c.loss.columns or c.loss.presence or c.loss.halves))
        )
    ),
    "nothing is learned from samples: no distances, abundances, diversity or metadata",
)
_not_in_a_test = _unless(
    lambda c, at: at.job == "range test", "a range test has its own number of steps and schedule"
)
_not_in_trials = _unless(lambda c, at: at.job == "trials", "the trials of a search have their own")
_validation = _any(
    _not_in_a_test, _unless(lambda c, at: not at.validates, "there are no validation samples")
)
_calibrates = _any(_not_in_trials, _validation)
_folder = _any(
    _not_in_a_test,
    _unless(
        lambda c, at: at.job in ("folds", "trials") or not at.output,
        "nothing is written while training",
    ),
)
_draws = _needs("data.rarefaction", "redraw", "fixed")
_redraws = _needs("data.rarefaction", "redraw")
_mixes = _any(_redraws, _unless(lambda c, at: c.data.full_depth == 1, "data.full_depth is 1"))


def _distances(config: Config, context: RunContext) -> str:
    return why_no_distances(config, context)


def _nucleotide_weight(config: Config, context: RunContext) -> str:
    return "" if config.loss.nucleotide == 0 else _why_no_nucleotides(config, context)


def _faith_weight(config: Config, context: RunContext) -> str:
    idle = config.loss.faith_pd == 0 and not (context.fits or context.corpus)
    return "" if idle else _why_no_diversity(config, context)


def _taxonomy_weight(config: Config, context: RunContext) -> str:
    return (
        "" if config.loss.taxonomy == 0 and not context.fits else why_no_taxonomy(config, context)
    )


def _count_weight(config: Config, context: RunContext) -> str:
    return "" if config.loss.count == 0 and not context.corpus else _why_no_counts(config, context)


def _distances_of_a_fit(config: Config, context: RunContext) -> str:
    return why_no_distances(config, context) if context.fits else ""


_LATENT = ("perceiver", "sample-perceiver")
"""Kinds of fusion with latent vectors; with 'sample-attention', those with torch's attention."""


def _fusion_heads(config: Config, context: RunContext) -> str:
    attends = _needs("model.fusion.kind", "cross-attention", "sample-attention", *_LATENT)
    return _any(_covariates, attends)(config, context) if context.fits else ""


def _metric(config: Config, context: RunContext) -> str:
    why = why_no_distances(config, context)
    if why or not context.distances:
        return why
    # Of given distances it says that they have no upper bound.
    return "" if config.loss.metric == "weighted" else "the distances are given"


def _distance_weight(config: Config, context: RunContext) -> str:
    return "" if config.loss.distance == 0 and not context.corpus else _distances(config, context)


def _sampling_depth(config: Config, context: RunContext) -> str:
    data = config.data
    if data.rarefaction == "redraw" and data.full_depth == 1 and data.shallow_samples == "keep":
        return "data.full_depth is 1"
    return _draws(config, context)


def _depth_max(config: Config, context: RunContext) -> str:
    data, why = config.data, _mixes(config, context)
    if not why and 0 < data.sampling_depth_max <= data.sampling_depth:
        return f"it is not above data.sampling_depth ({data.sampling_depth})"
    return why


def _min_reads(config: Config, context: RunContext) -> str:
    data = config.data
    drops = data.rarefaction != "none" and data.shallow_samples == "drop"
    if drops and data.min_reads <= data.sampling_depth:
        return (
            f"samples with fewer reads than data.sampling_depth ({data.sampling_depth}) are dropped"
        )
    return ""


def _selection(config: Config, context: RunContext) -> str:
    most = config.data.max_asvs
    if context.richest is not None and context.richest <= most:
        return f"no sample has more ASVs than data.max_asvs ({most})"
    return ""


def _codes(config: Config, context: RunContext) -> str:
    if context.fits and config.model.members == 1:
        return "model.members is 1"
    return _profile(config, context)


def _kernel(config: Config, context: RunContext) -> str:
    encoder = config.model.encoder
    if encoder.kernel < encoder.stride:
        return f"it is less than model.encoder.stride, {encoder.stride}, which is used for both"
    return _bases(config, context)


def _direction(config: Config, context: RunContext) -> str:
    needed = config.train.patience > 0 or config.optim.schedule == "plateau"
    if config.train.best_metric == "none" and not needed:
        return "train.best_metric is 'none'"
    return _validation(config, context)


def _val_fraction(config: Config, context: RunContext) -> str:
    if context.fits and config.train.val_where and context.job not in ("folds", "trials"):
        return context.split or "train.val_where chooses the validation samples"
    return context.split


def _val_where(config: Config, context: RunContext) -> str:
    if not config.train.val_where:
        return ""
    if context.job in ("folds", "trials"):
        return "only a single fit reads it"
    return _of_a_fit(config, context) or context.split


def _strata(config: Config, context: RunContext) -> str:
    if config.train.strata == 0:
        return ""
    if context.task == "classification":
        return "classes are stratified by themselves"
    return _of_a_fit(config, context) or _val_fraction(config, context)


def _devices(config: Config, context: RunContext) -> str:
    if context.torchrun and config.train.devices != context.processes:
        return f"torchrun started the processes ({context.processes})"
    return ""


_blocks = _unless(
    lambda c, at: (
        c.model.sample.depth == 0
        and (c.model.encoder.features == "profile" or c.model.encoder.depth == 0 or at.frozen)
    ),
    "the network has no transformer blocks to train",
)
_attention = _unless(
    lambda c, at: (
        bool(_blocks(c, at))
        and not (at.covariates and c.model.fusion.kind in ("sample-attention", *_LATENT))
    ),
    "the network has no transformer blocks to train",
)

_drawn = _any(
    _not_in_a_test,
    _not_in_trials,
    _unless(lambda c, at: at.job == "train" and not at.output, "there is no output folder"),
)


def _title(config: Config, context: RunContext) -> str:
    if why := _any(_drawn, _validation)(config, context):
        return why
    if context.studies:
        return "a pretraining on many studies plots no predictions"
    return "" if context.fits else why_no_distances(config, context)


RULES: dict[str, Rule] = {
    # A limit has an effect where it is met.
    "data.rarefaction": _unless(lambda c, at: at.corpus, "sequences without samples have no reads"),
    "data.sampling_depth": _sampling_depth,
    "data.sampling_depth_max": _depth_max,
    "data.full_depth": _redraws,
    "data.shallow_samples": _draws,
    "data.min_reads": _min_reads,
    "data.max_asvs": _always_used,
    "data.asv_selection": _selection,
    "data.max_bp": _always_used,
    "data.long_sequences": _always_used,
    # Sizes of a pretraining are those of the fits from it: they have an effect there.
    "model.members": _of_head,
    "model.encoder.features": _always_used,
    "model.encoder.components": _profile,
    "model.encoder.profile_bases": _profile,
    "model.encoder.codes": _codes,
    "model.encoder.width": _always_used,
    "model.encoder.heads": _bases,
    "model.encoder.depth": _bases,
    "model.encoder.stride": _bases,
    "model.encoder.kernel": _kernel,
    "model.encoder.kmer": _bases,
    "model.encoder.mlp_ratio": _base_blocks,
    "model.encoder.dropout": _any(
        _base_blocks, _unless(lambda c, at: at.frozen, "the encoder is frozen")
    ),
    "model.sample.heads": _sample_blocks,
    "model.sample.depth": _always_used,
    "model.sample.mlp_ratio": _sample_blocks,
    "model.sample.dropout": _any(_sample_blocks, _samples),
    "model.sample.pool_queries": _always_used,
    "model.sample.pool_prior": _always_used,
    "model.sample.asv_dropout": _samples,
    "model.head.distance": _distances_of_a_fit,
    "model.head.distance_width": _distances_of_a_fit,
    "model.head.target_hidden": _any(_of_head, _needs("model.head.hidden_layers", "one")),
    "model.head.hidden_layers": _of_head,
    "model.head.target_dropout": _of_head,
    "model.head.layer_norm": _hidden,
    "model.head.residual": _hidden,
    "model.head.initialization": _of_head,
    "model.head.output": _of_a_fit,
    "model.head.scale": _of_a_fit,
    "model.head.scale_by": _of_a_fit,
    "model.fusion.kind": _covariates,
    "model.fusion.heads": _fusion_heads,
    "model.fusion.latents": _any(_covariates, _needs("model.fusion.kind", *_LATENT)),
    "model.fusion.layers": _any(_covariates, _needs("model.fusion.kind", "perceiver")),
    "masking.mask_ratio": _why_no_nucleotides,
    "masking.strategy": _why_no_nucleotides,
    "masking.span_length": _any(_why_no_nucleotides, _needs("masking.strategy", "span")),
    "masking.count_ratio": _why_no_counts,
    "masking.presence_ratio": _any(
        _of_studies, _unless(lambda c, at: c.loss.presence == 0, "loss.presence is 0")
    ),
    "masking.asv_fraction": _any(
        _why_no_nucleotides,
        _unless(lambda c, at: at.corpus, "sequences without samples are all masked"),
    ),
    "loss.nucleotide": _nucleotide_weight,
    "loss.count": _count_weight,
    "loss.faith_pd": _faith_weight,
    "loss.taxonomy": _taxonomy_weight,
    "loss.taxonomy_min_asvs": why_no_taxonomy,
    "loss.columns": _of_studies,
    "loss.presence": _of_studies,
    "loss.halves": _of_studies,
    "loss.halves_temperature": _any(
        _of_studies, _unless(lambda c, at: c.loss.halves == 0, "loss.halves is 0")
    ),
    "loss.distance": _distance_weight,
    "loss.metric": _metric,
    "loss.alpha": _any(_metric, _needs("loss.metric", "generalized")),
    "loss.zero_pair_weight": _distances,
    "loss.target": _regression,
    "loss.target_weight": _of_a_fit,
    "loss.target_weights": _any(
        _regression, _unless(lambda c, at: at.targets == 1, "there is one target")
    ),
    "loss.transform": _regression,
    "loss.residual_on": _regression,
    "loss.normalize_by": _any(_regression, _needs("loss.transform", "zscore-by-category")),
    "loss.target_range": _regression,
    "loss.quantiles": _any(_regression, _needs("loss.target", "quantile")),
    "loss.over": _any(_regression, _needs("loss.target", "asymmetric")),
    "loss.under": _any(_regression, _needs("loss.target", "asymmetric")),
    "loss.sample_weight": _of_a_fit,
    "loss.huber_delta": _any(_regression, _needs("loss.target", "huber")),
    "loss.label_smoothing": _classification,
    "loss.class_weight": _classification,
    "loss.classes": _classification,
    "loss.class_order": _any(_classification, _needs("loss.classes", "ordinal")),
    "optim.optimizer": _always_used,
    "optim.lr": _unless(lambda c, at: at.job == "range test", "the range test looks for it"),
    "optim.encoder_lr_ratio": _unless(
        lambda c, at: not at.encoder, "there is no pretrained encoder"
    ),
    "optim.head_lr_ratio": _always_used,
    "optim.metadata_lr_ratio": _covariates,
    "optim.weight_decay": _always_used,
    "optim.beta1": _always_used,
    "optim.beta2": _needs("optim.optimizer", "adamw", "adam", "lion"),
    "optim.schedule": _any(
        _not_in_a_test,
        _unless(
            lambda c, at: c.optim.schedule == "plateau" and not at.validates,
            "there are no validation samples",
        ),
    ),
    "optim.warmup": _not_in_a_test,
    "optim.cycles": _any(_not_in_a_test, _needs("optim.schedule", "restarts")),
    "optim.power": _any(_not_in_a_test, _needs("optim.schedule", "polynomial")),
    "optim.plateau_factor": _any(_validation, _needs("optim.schedule", "plateau")),
    "optim.plateau_patience": _any(_validation, _needs("optim.schedule", "plateau")),
    "optim.clip": _always_used,
    "optim.ema": _not_in_a_test,
    "forest.trees": _any(_of_a_fit, _not_in_a_test, _not_in_trials),
    "ensemble.interval": _any(
        _regression,
        _calibrates,
        _unless(
            lambda c, at: c.loss.target == "quantile",
            "loss.target is 'quantile', and the quantiles make the intervals",
        ),
    ),
    "ensemble.calibration": _any(_classification, _calibrates),
    # Refused where nothing is random: `preparation.check_passes`.
    "ensemble.passes": _any(_of_a_fit, _not_in_trials),
    "ensemble.interval_by": _any(_of_a_fit, _calibrates),
    "train.epochs": _not_in_a_test,
    "train.min_steps": _not_in_a_test,
    "train.studies_per_batch": _of_studies,
    "train.study_power": _of_studies,
    "train.max_steps": _not_in_a_test,
    "train.batch_size": _always_used,
    "train.max_asvs_per_batch": _always_used,
    "train.max_memory_gb": _needs("train.batch_size", AUTO),
    "train.accumulate": _always_used,
    "train.unfreeze_from": _any(
        _not_in_a_test,
        _unless(lambda c, at: not at.encoder, "there is no pretrained encoder"),
        _unless(lambda c, at: at.frozen, "the encoder is frozen in all epochs"),
        _bases,
    ),
    "train.patience": _validation,
    "train.best_metric": _any(_not_in_trials, _validation),
    "train.best_direction": _any(_not_in_trials, _direction),
    "train.val_fraction": _val_fraction,
    "train.val_where": _val_where,
    "train.strata": _strata,
    "train.seed": _always_used,
    "train.device": _always_used,
    "train.devices": _devices,
    "train.strategy": _unless(lambda c, at: at.processes == 1, "one process trains"),
    "train.max_restarts": _any(
        _not_in_trials,
        _unless(lambda c, at: at.torchrun, "torchrun restarts (its --max-restarts)"),
    ),
    "train.checkpoint_every": _folder,
    "train.precision": _always_used,
    "train.compile": _blocks,
    "train.gradient_checkpointing": _blocks,
    "train.attention": _attention,
    "train.threads": _always_used,
    "train.log_every": _any(_not_in_a_test, _not_in_trials),
    "train.trackers": _folder,
    "train.histograms": _any(
        _folder,
        _unless(
            lambda c, at: "tensorboard" not in c.train.trackers,
            "only tensorboard draws them, and train.trackers lacks it",
        ),
    ),
    "figure.units": _regression,
    "figure.title": _title,
    "figure.format": _drawn,
}
