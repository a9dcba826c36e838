"""Every setting either acts, or is named in one line.

The tables here have an entry for each field of the configuration: one that is new fails until it
has one, too. Options of commands are in ``cli/test_every_option.py``.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from aam_core.config import find, paths, presets
from aam_core.config.unused import RULES, RunContext, unused_settings
from aam_core.fitting import fit_classifier, fit_regressor
from aam_core.pretraining import pretrain

FIT, CLASSES, PRETRAIN = (RunContext(it) for it in ("regression", "classification", "pretraining"))
TEST, TRIALS = replace(FIT, job="range test"), replace(FIT, job="trials")
BASES = {"model.encoder.features": "bases"}
DEEP = {"model.sample.depth": 1}
LEARNS = {"loss.distance": 50.0}
TREE = replace(FIT, tree=True)
COVARIATES = replace(FIT, covariates=True)
UNSEEN = replace(FIT, validates=False)
WHERE = {"train.val_where": "group=case"}
KEEPS = {"train.best_metric": "mae"}
REDRAW = {"data.rarefaction": "redraw"}

ALWAYS = {
    *("data.max_asvs", "data.max_bp", "data.long_sequences"),
    *("model.encoder.features", "model.encoder.width", "model.sample.depth"),
    *("model.sample.pool_queries", "model.sample.pool_prior"),
    *("optim.optimizer", "optim.head_lr_ratio", "optim.weight_decay", "optim.beta1", "optim.clip"),
    *("train.batch_size", "train.max_asvs_per_batch", "train.accumulate", "train.seed"),
    *("train.device", "train.precision", "train.threads"),
}
"""Fields that act in every run (a limit: where it is met)."""

SOMETIMES = {
    "data.rarefaction": ({}, replace(PRETRAIN, corpus=True), {}, PRETRAIN),
    "data.sampling_depth": (REDRAW | {"data.full_depth": 1.0}, FIT, {}, FIT),
    "data.sampling_depth_max": ({"data.rarefaction": "fixed"}, FIT, REDRAW, FIT),
    "data.full_depth": ({}, FIT, REDRAW, FIT),
    "data.shallow_samples": ({}, FIT, REDRAW, FIT),
    "data.min_reads": ({}, PRETRAIN, {}, FIT),
    "data.asv_selection": ({}, replace(FIT, richest=9), {"data.max_asvs": 8}, FIT),
    "model.members": ({}, PRETRAIN, {}, FIT),
    "model.encoder.components": (BASES, FIT, {}, FIT),
    "model.encoder.codes": ({"model.members": 1}, FIT, {}, FIT),
    **{
        f"model.encoder.{name}": ({}, FIT, BASES, FIT)
        for name in ("heads", "depth", "stride", "kernel", "kmer", "mlp_ratio")
    },
    "model.encoder.dropout": (BASES, replace(FIT, encoder=True, frozen=True), BASES, FIT),
    **{f"model.sample.{n}": ({}, FIT, DEEP, FIT) for n in ("heads", "mlp_ratio", "dropout")},
    "model.sample.asv_dropout": ({"loss.distance": 0.0}, PRETRAIN, {}, FIT),
    "model.head.distance": ({}, TREE, LEARNS, TREE),
    "model.head.distance_width": ({}, TREE, LEARNS, TREE),
    "model.head.target_hidden": ({"model.head.hidden_layers": "8,4"}, FIT, {}, FIT),
    "model.head.layer_norm": ({"model.head.hidden_layers": "none"}, FIT, {}, FIT),
    "model.head.residual": ({"model.head.hidden_layers": "none"}, CLASSES, {}, CLASSES),
    **{
        f"model.head.{name}": ({}, PRETRAIN, {}, FIT)
        for name in (
            *("hidden_layers", "target_dropout", "initialization", "output", "scale", "scale_by"),
        )
    },
    "model.fusion.kind": ({}, FIT, {}, COVARIATES),
    "model.fusion.heads": ({}, COVARIATES, {"model.fusion.kind": "perceiver"}, COVARIATES),
    **{
        f"model.fusion.{name}": ({}, COVARIATES, {"model.fusion.kind": "perceiver"}, COVARIATES)
        for name in ("latents", "layers")
    },
    "masking.mask_ratio": ({}, FIT, {"loss.nucleotide": 1.0} | BASES, FIT),
    "masking.strategy": ({"loss.nucleotide": 0.0}, PRETRAIN, {}, PRETRAIN),
    "masking.span_length": ({}, PRETRAIN, {"masking.strategy": "span"}, PRETRAIN),
    "masking.count_ratio": ({}, FIT, {"loss.count": 1.0}, FIT),
    "masking.asv_fraction": ({}, replace(PRETRAIN, corpus=True), {}, PRETRAIN),
    "loss.nucleotide": ({}, FIT, BASES, FIT),
    "loss.faith_pd": ({}, FIT, {}, PRETRAIN),
    "loss.taxonomy": ({}, PRETRAIN, {}, replace(PRETRAIN, taxonomy=True)),
    "loss.taxonomy_min_asvs": ({}, PRETRAIN, {}, replace(PRETRAIN, taxonomy=True)),
    "loss.count": ({}, replace(PRETRAIN, corpus=True), {}, FIT),
    "loss.presence": ({}, FIT, {}, replace(PRETRAIN, studies=True)),
    "masking.presence_ratio": (
        {},
        PRETRAIN,
        {"loss.presence": 1.0},
        replace(PRETRAIN, studies=True),
    ),
    "loss.halves": ({}, FIT, {}, replace(PRETRAIN, studies=True)),
    "loss.halves_temperature": (
        {},
        replace(PRETRAIN, studies=True),
        {"loss.halves": 1.0},
        replace(PRETRAIN, studies=True),
    ),
    "loss.columns": ({}, PRETRAIN, {}, replace(PRETRAIN, studies=True)),
    "model.encoder.profile_bases": (BASES, FIT, {}, FIT),
    "train.studies_per_batch": ({}, PRETRAIN, {}, replace(PRETRAIN, studies=True)),
    "train.study_power": ({}, FIT, {}, replace(PRETRAIN, studies=True)),
    "loss.distance": ({}, replace(TREE, encoder=True, frozen=True), {}, TREE),
    "loss.metric": ({}, replace(PRETRAIN, distances=True), {}, replace(PRETRAIN, tree=True)),
    "loss.alpha": ({}, PRETRAIN, {"loss.metric": "generalized"}, replace(PRETRAIN, tree=True)),
    "loss.zero_pair_weight": ({}, TREE, LEARNS, TREE),
    "loss.target": ({}, CLASSES, {}, FIT),
    "loss.transform": ({}, PRETRAIN, {}, FIT),
    "loss.residual_on": ({}, CLASSES, {}, FIT),
    "loss.target_weight": ({}, PRETRAIN, {}, FIT),
    "loss.target_weights": ({}, FIT, {}, replace(FIT, targets=2)),
    "loss.normalize_by": ({}, FIT, {"loss.transform": "zscore-by-category"}, FIT),
    "loss.target_range": ({}, CLASSES, {}, FIT),
    "loss.quantiles": ({}, FIT, {"loss.target": "quantile"}, FIT),
    "loss.over": ({}, FIT, {"loss.target": "asymmetric"}, FIT),
    "loss.under": ({}, FIT, {"loss.target": "asymmetric"}, FIT),
    "loss.sample_weight": ({}, PRETRAIN, {}, CLASSES),
    "loss.huber_delta": ({}, FIT, {"loss.target": "huber"}, FIT),
    "loss.label_smoothing": ({}, FIT, {}, CLASSES),
    "loss.class_weight": ({}, FIT, {}, CLASSES),
    "loss.classes": ({}, FIT, {}, CLASSES),
    "loss.class_order": ({}, CLASSES, {"loss.classes": "ordinal"}, CLASSES),
    "optim.lr": ({}, TEST, {}, FIT),
    "optim.encoder_lr_ratio": ({}, FIT, {}, replace(FIT, encoder=True)),
    "optim.metadata_lr_ratio": ({}, FIT, {}, COVARIATES),
    "optim.beta2": ({"optim.optimizer": "sgd"}, FIT, {}, FIT),
    "optim.schedule": ({}, TEST, {}, FIT),
    "optim.warmup": ({}, TEST, {}, FIT),
    "optim.cycles": ({}, FIT, {"optim.schedule": "restarts"}, FIT),
    "optim.power": ({}, FIT, {"optim.schedule": "polynomial"}, FIT),
    "optim.plateau_factor": ({}, FIT, {"optim.schedule": "plateau"}, FIT),
    "optim.plateau_patience": ({"optim.schedule": "plateau"}, UNSEEN, {}, None),
    "optim.ema": ({}, TEST, {}, FIT),
    "forest.trees": ({}, TRIALS, {}, FIT),
    "ensemble.interval": ({}, CLASSES, {}, FIT),
    "ensemble.calibration": ({}, FIT, {}, CLASSES),
    "ensemble.passes": ({}, PRETRAIN, {}, FIT),
    "ensemble.interval_by": ({}, UNSEEN, {}, CLASSES),
    "train.epochs": ({}, TEST, {}, FIT),
    "train.min_steps": ({}, TEST, {}, FIT),
    "train.max_steps": ({}, TEST, {}, FIT),
    "train.max_memory_gb": ({}, FIT, {"train.batch_size": "auto"}, FIT),
    "train.unfreeze_from": ({}, replace(FIT, encoder=True), BASES, replace(FIT, encoder=True)),
    "train.patience": ({}, UNSEEN, {}, FIT),
    "train.best_metric": ({}, UNSEEN, {}, FIT),
    "train.best_direction": ({"train.best_metric": "none"}, FIT, KEEPS, FIT),
    "train.val_fraction": ({}, replace(FIT, split="the split is given"), {}, FIT),
    "train.val_where": (WHERE, replace(FIT, job="folds"), WHERE, FIT),
    "train.strata": ({"train.strata": 4}, CLASSES, {"train.strata": 4}, FIT),
    "train.devices": ({}, replace(FIT, torchrun=True, processes=5), {}, FIT),
    "train.strategy": ({}, FIT, {}, replace(FIT, processes=2)),
    "train.max_restarts": ({}, replace(FIT, torchrun=True), {}, FIT),
    "train.checkpoint_every": ({}, replace(FIT, output=False), {}, FIT),
    "train.compile": ({}, FIT, DEEP, FIT),
    "train.gradient_checkpointing": ({}, FIT, BASES, FIT),
    "train.attention": ({}, FIT, {"model.fusion.kind": "perceiver"}, COVARIATES),
    "train.log_every": ({}, TRIALS, {}, FIT),
    "train.trackers": ({}, replace(FIT, job="folds"), {}, FIT),
    "figure.units": ({}, CLASSES, {}, FIT),
    "figure.title": ({}, TEST, {}, FIT),
    "figure.format": ({}, replace(FIT, output=False), {}, replace(FIT, job="folds", output=False)),
    "train.histograms": ({"train.trackers": "none"}, FIT, {}, FIT),
}
"""Field -> (settings, context) without effect, then with one (None: no simple context)."""

SPECIAL = {
    "model.encoder.width": 48,
    "model.encoder.kernel": 11,
    "model.head.hidden_layers": "16,8",
    "model.head.scale_by": "group",
    "loss.residual_on": "age",
    "train.device": "cpu:0",
    "train.trackers": "wandb",
    "train.best_metric": "mae",
    "data.sampling_depth_max": 5000,
    "loss.metric": "jaccard",
    "ensemble.interval_by": "site",
    "train.batch_size": 10,
    "train.val_fraction": 0.3,
    "train.val_where": "group=control",
    "loss.normalize_by": "group",
    "loss.target_weights": "a=1,b=2",
    "loss.target_range": "none",
    "loss.quantiles": "0.1,0.9",
    "loss.sample_weight": "gradient",
    "loss.class_weight": "balanced",
    "loss.class_order": "low,high",
    "figure.units": "days",
    "figure.title": "Age",
}
SPECIAL |= {f"model.{part}.heads": 8 for part in ("encoder", "sample", "fusion")}


def other(path, value):
    """Another legal value."""
    choices = find(path).metadata["choices"]
    if path in SPECIAL:
        return SPECIAL[path]
    if choices:
        return next(choice for choice in choices if choice != value)
    if isinstance(value, bool | int):
        return not value if isinstance(value, bool) else value + 1
    return value * 0.5 + 0.1


def lines_of(path, changes, context):
    """The lines of a run that has another value of this field, and ``changes``."""
    make = presets.pretraining if context.task == "pretraining" else presets.fitting
    base = make("small").adjust(changes)
    return unused_settings(base.replace({path: other(path, base.at(path))}), context)


def test_each_field_has_its_entry():
    assert set(paths()) == set(RULES) == ALWAYS | set(SOMETIMES)
    assert not ALWAYS & set(SOMETIMES)


@pytest.mark.parametrize("path", SOMETIMES)
def test_a_field_is_named_where_it_does_not_act_and_nowhere_else(path):
    changes, context, acting, there = SOMETIMES[path]
    (line,) = lines_of(path, changes, context)
    assert line.startswith(f"{path} has no effect: ") and "\n" not in line
    if there is not None:
        assert lines_of(path, acting, there) == []


@pytest.mark.parametrize("path", sorted(ALWAYS))
def test_what_always_acts_is_never_named(path):
    for context in (FIT, CLASSES, PRETRAIN, TEST, TRIALS, UNSEEN, COVARIATES, TREE):
        assert lines_of(path, {}, context) == []


def test_what_nobody_set_is_not_named():
    for make, context in ((presets.fitting, FIT), (presets.pretraining, PRETRAIN)):
        for name in presets.NAMES:
            assert unused_settings(make(name), context) == []
            whole = make(name).to_dict()
            again = {path: make(name).at(path) for path in paths()}
            assert (
                unused_settings(make(name).replace(again), context) == [] and "given" not in whole
            )


def test_where_quantiles_make_the_intervals_their_kind_is_named():
    (line,) = lines_of("ensemble.interval", {"loss.target": "quantile"}, FIT)
    assert line.endswith("loss.target is 'quantile', and the quantiles make the intervals.")


@pytest.mark.parametrize("path", ["loss.faith_pd", "figure.title"])
def test_what_a_pretraining_on_many_studies_does_not_do_is_named(path):
    tree = replace(PRETRAIN, tree=True)
    assert lines_of(path, {}, tree) == []
    (line,) = lines_of(path, {}, replace(tree, studies=True))
    assert "a pretraining on many studies" in line


@pytest.mark.parametrize(
    ("changes", "context"),
    [({"loss.distance": 0.0}, replace(PRETRAIN, tree=True)), ({}, UNSEEN)],
)
def test_a_title_without_a_plot_is_named(changes, context):
    (line,) = lines_of("figure.title", changes, context)
    assert line.startswith("figure.title has no effect: ")


def test_settings_with_one_reason_share_a_line():
    changes = {"optim.cycles": 5, "optim.power": 2.0, "model.encoder.kmer": 3}
    lines = unused_settings(presets.fitting().replace({**changes, "model.encoder.depth": 1}), FIT)
    assert lines == [
        "model.encoder.depth, model.encoder.kmer have no effect: model.encoder.features is "
        "'profile'.",
        "optim.cycles, optim.power have no effect: optim.schedule is 'one-cycle'.",
    ]


# --- in runs -------------------------------------------------------------------------------------

WORK = {
    "fit": (fit_regressor, "fitting", "gradient", {}),
    "classify": (fit_classifier, "fitting", "group", {}),
    "pretrain": (pretrain, "pretraining", None, {}),
}
REAL = [  # path, run, settings where it does not act, settings where it does
    ("optim.cycles", "fit", {}, {"optim.schedule": "restarts"}),
    ("optim.beta2", "fit", {"optim.optimizer": "sgd"}, {}),
    ("model.sample.heads", "fit", {"model.sample.depth": 0}, DEEP),
    ("model.encoder.kmer", "fit", {}, BASES),
    ("loss.huber_delta", "fit", {}, {"loss.target": "huber"}),
    ("loss.distance", "fit", None, {}),
    ("loss.nucleotide", "fit", {}, BASES),
    ("loss.count", "fit", None, {}),
    ("loss.label_smoothing", "classify", None, {}),
    ("data.sampling_depth_max", "fit", {}, REDRAW | {"data.full_depth": 0.0}),
    ("masking.span_length", "pretrain", {}, {"masking.strategy": "span"}),
    ("loss.alpha", "pretrain", {}, {"loss.metric": "generalized"}),
    ("model.head.target_hidden", "pretrain", {}, None),
]


@pytest.fixture(scope="module")
def trained(small, brief):
    """Weights of a short run, made once for each configuration."""
    made = {}

    def train(run, config):
        key = (run, repr(config))
        if key not in made:
            fit, _, target, options = WORK[run]
            targets = () if target is None else (target,)
            made[key] = fit(small, *targets, config=config, **options).network.state_dict()
        return made[key]

    return train


@pytest.mark.parametrize("path, run, idle_where, acts_where", REAL, ids=[it[0] for it in REAL])
def test_a_run_agrees_with_what_is_said(trained, brief, capsys, path, run, idle_where, acts_where):
    for changes, acts in ((idle_where, False), (acts_where, True)):
        if changes is None:
            continue
        short = {"train.max_steps": 3, "forest.trees": 0, "model.encoder.dropout": 0.1}
        base = brief(WORK[run][1], {**short, **changes})
        value = {"data.sampling_depth_max": 900, "loss.huber_delta": 0.01}.get(path)
        config = base.replace({path: value or other(path, base.at(path))})
        before = trained(run, base)
        capsys.readouterr()
        after = trained(run, config)
        assert (f"{path} has no effect: " in capsys.readouterr().err) == (not acts)
        shared = [name for name in before if name in after]
        same = all(torch.equal(before[name], after[name]) for name in shared)
        assert same == (not acts), path


def test_the_tree_of_a_fit(small, made, as_study, brief, capsys, encoder):
    """Learned where the penalty is above 0 and the encoder learns; else it changes no bit."""
    without = as_study(made, tree=None)
    config = brief("fitting", {"train.max_steps": 3, "forest.trees": 0})
    learns = config.replace({"loss.distance": 50.0})

    def weights(study, config, **options):
        capsys.readouterr()
        state = fit_regressor(study, "gradient", config=config, **options).network.state_dict()
        lines = [it for it in capsys.readouterr().err.splitlines() if "no effect" in it]
        return {name: value for name, value in state.items() if "distance" not in name}, lines

    def equal(a, b):
        return all(torch.equal(a[name], b[name]) for name in a)

    plain, lines = weights(without, config)
    assert lines == []
    idle_tree, (line,) = weights(small, config)
    assert equal(plain, idle_tree) and "The tree has no effect: loss.distance is 0" in line
    assert "'loss.distance=50' turns them on" in line
    learned, lines = weights(small, learns)
    assert not equal(plain, learned) and lines == []
    _, (line,) = weights(without, learns)
    assert "loss.distance has no effect: unweighted distances need a tree" in line
    alone, lines = weights(without, learns.replace({"loss.metric": "jaccard"}))
    assert not equal(plain, alone) and lines == []
    frozen = {"encoder": encoder.model, "freeze_encoder": True}
    a, _ = weights(without, config, **frozen)
    b, lines = weights(small, learns, **frozen)
    assert equal(a, b) and len(lines) == 2
    assert all("the encoder is frozen, so no distances are learned" in it for it in lines)
    starts, _ = weights(without, config, encoder=encoder.model)
    both, lines = weights(small, learns, encoder=encoder.model)
    assert lines == []
    assert not any(torch.equal(starts[n], both[n]) for n in starts if n == "bases.embed")
