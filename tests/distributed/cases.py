"""What one process, and then two, compute of the same batches: run as a script, it writes them.

``python cases.py FOLDER`` alone, or started by torchrun with two processes.
"""

from __future__ import annotations

import gc
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from aam_core.config import presets
from aam_core.data.batches import Batcher
from aam_core.data.covariates import fit_covariates
from aam_core.data.study import load_study
from aam_core.data.taxonomy import Taxa, with_taxonomy
from aam_core.models.network import Network, Parts
from aam_core.simulate.study import simulate
from aam_core.tasks import Targets, task_named
from aam_core.training.job import TrainingJob
from aam_core.training.parallel import full_tensor, join_process_group, session
from aam_core.training.reporter import Reporter
from aam_core.training.trainer import Trainer
from aam_core.training.validation import LossSums

PRETRAIN = {"parts": {"nucleotide": True, "distance": True}}
REGRESS = {"parts": {"distance": True, "outputs": 1}, "target": "gradient"}
CLASSIFY = {"parts": {"outputs": 2}, "target": "group"}
FOLDS = CLASSIFY | {"held_out": True}
GOALS = {
    "parts": {"nucleotide": True, "distance": True, "count": True, "faith_pd": True},
    "taxonomy": True,
}
DROPOUT = {
    "model.encoder.dropout": 0.1,
    "model.sample.dropout": 0.2,
    "model.sample.asv_dropout": 0.2,
}

PROFILE = {"model.encoder.features": "profile", "model.encoder.components": 6}

STUDIES = {
    "parts": {"columns": (1, 2), "presence": True},
    **{"studies": True, "fixed": True},
    "changes": DROPOUT | PROFILE | {"model.members": 2, "train.studies_per_batch": 2},
}
BASES = {"nucleotide": True, "distance": True, "columns": (1, 2)}

CASES = {
    "pretraining": PRETRAIN,
    "pretraining with dropout": PRETRAIN | {"changes": DROPOUT},
    "nucleotides alone": {"parts": {"nucleotide": True}},
    "micro-steps": PRETRAIN | {"changes": DROPOUT | {"train.accumulate": 3}},
    "uneven": PRETRAIN | {"batch": 7},
    "one sample": PRETRAIN | {"batch": 1},
    "generalized UniFrac": PRETRAIN | {"changes": {"loss.metric": "generalized"}},
    "Ruzicka": PRETRAIN | {"changes": {"model.head.distance": "ruzicka"}},
    "given distances": PRETRAIN | {"given": True},
    "equal samples weigh less": PRETRAIN | {"changes": {"loss.zero_pair_weight": 0.25}},
    "regression": REGRESS,
    "regression, uneven micro-steps": REGRESS | {"batch": 9, "changes": {"train.accumulate": 2}},
    "classification": CLASSIFY | {"changes": {"loss.class_weight": "balanced"}},
    "frozen": REGRESS | {"parts": {"outputs": 1}, "frozen": True},
    "recomputed": PRETRAIN | {"changes": DROPOUT | {"train.gradient_checkpointing": True}},
    "averaged": REGRESS | {"changes": {"optim.ema": 0.5}},
    "members": FOLDS | {"changes": DROPOUT | {"model.members": 3}},
    "members, uneven micro-steps": REGRESS
    | {"held_out": True, "batch": 9, "changes": {"model.members": 3, "train.accumulate": 2}},
    "members that hold out all samples of a process": FOLDS
    | {"batch": 2, "changes": {"model.members": 3, "loss.class_weight": "balanced"}},
    "members of fixed vectors": FOLDS
    | {"fixed": True, "changes": DROPOUT | PROFILE | {"model.members": 3, "optim.ema": 0.5}},
    "profiles": FOLDS | {"changes": PROFILE | {"model.members": 2}},
    "profiles and bases": PRETRAIN
    | {"changes": PROFILE | {"model.encoder.features": "both", "data.full_depth": 0.5}},
    "categories": CLASSIFY | {"covariates": ["sequencing_run"]},
    "categories and numbers": CLASSIFY
    | {"covariates": ["sequencing_run", "gradient"], "changes": {"model.fusion.kind": "gmu"}},
    "ASVs that attend to covariates, and distances": REGRESS
    | {
        **{"covariates": ["sequencing_run", "group"], "batch": 9},
        "changes": DROPOUT
        | {"model.fusion.kind": "cross-attention", "model.head.distance": "ruzicka"},
    },
    "two targets, and weights of samples": {
        **{"parts": {"outputs": 2, "link": "values"}, "target": ["gradient", "second"]},
        **{"batch": 9, "held_out": True, "changes": {"model.members": 3, "loss.target": "mae"}},
    },
    "quantiles": REGRESS
    | {
        "parts": {"outputs": 3, "link": "quantiles", "below": 1, "above": 1},
        "changes": {"loss.target": "quantile"},
    },
    "scaled by categories": REGRESS
    | {
        **{"covariates": ["group"], "scale_by": ["sequencing_run"], "batch": 9},
        "changes": {
            **{"model.head.scale_by": "sequencing_run", "model.head.hidden_layers": "12,8"},
            **{"model.head.layer_norm": True, "model.head.residual": True},
        },
    },
    "goals": GOALS | {"changes": DROPOUT},
    "goals, uneven micro-steps": GOALS | {"batch": 9, "changes": {"train.accumulate": 2}},
    "goals of one sample": GOALS | {"batch": 1},
    "weighted UniFrac": {
        "parts": {"distance": True, "unbounded": True},
        "changes": {"loss.metric": "weighted"},
    },
    "abundances beside the target": FOLDS
    | {
        "parts": {"outputs": 2, "count": True},
        "changes": {"model.members": 3, "model.sample.depth": 0},
    },
    "many studies": STUDIES,
    "many studies, uneven micro-steps": STUDIES
    | {"batch": 9, "changes": STUDIES["changes"] | {"train.accumulate": 2}},
    "many studies, one sample": STUDIES | {"batch": 1},
    "many studies, hidden ASVs alone, of bases": {
        **{"parts": {"presence": True, "nucleotide": True}, "studies": True, "batch": 9},
        "changes": {"model.encoder.depth": 1, "loss.nucleotide": 1.0},
    },
    "many studies, halves": STUDIES | {"batch": 9, "parts": {"columns": (1, 2), "halves": True}},
    "many studies, halves alone, of one sample": STUDIES | {"batch": 1, "parts": {"halves": True}},
    "many studies, bases and distances": {
        **{"parts": BASES, "studies": True, "batch": 9},
        "changes": PROFILE
        | {"model.encoder.features": "both", "loss.metric": "braycurtis", "model.members": 2},
    },
    "latent vectors of ASVs and covariates": CLASSIFY
    | {"covariates": ["gradient"], "changes": {"model.fusion.kind": "perceiver"}},
}
STRATEGIES = ("ddp", "fsdp")


def study_of(given: bool):
    """Thirty samples; two of them are the same."""
    made = simulate(30, 40, 3, sequence_length=40, depth=600, effect=1.5)
    parts = {"sequences": made.sequences, "metadata": made.metadata}
    if not given:
        return load_study(made.table, tree=made.tree, **parts)
    import skbio

    points = np.random.default_rng(0).random((30, 2))
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1) / 2
    matrix = skbio.DistanceMatrix((apart + apart.T) / 2, list(made.table.ids()))
    return load_study(made.table, distances=matrix, **parts)


def taxa_of(study) -> Taxa:
    """Clades of the tree in the place of a taxonomy; validation scores a third of the ASVs."""
    ranks, size = study.phylogeny.ranks.tolist(), len(study.feature_ids)
    names = [f"p__{rank * 3 // size}; g__{rank * 6 // size}" for rank in ranks]
    names[0] = "p__0; g__"
    named = with_taxonomy(study, dict(zip(study.feature_ids, names, strict=True)))
    return replace(Taxa.fit(named, np.arange(21), 1), new=np.arange(size) % 3 == 0)


def columns_of(study) -> tuple[np.ndarray, tuple[int, ...]]:
    """A column of numbers and one of two classes, each unknown in a third of the samples."""
    values = np.full((30, 2), np.nan, np.float32)
    place = np.arange(30)
    values[place % 3 > 0, 0] = study.metadata["gradient"].to_numpy(float)[place % 3 > 0] / 100
    values[place % 3 < 2, 1] = (study.metadata["group"].to_numpy() == "case")[place % 3 < 2]
    return values, (1, 2)


def job_of(case: dict, strategy: str) -> TrainingJob:
    """The job of a case, on the CPU."""
    study = study_of(case.get("given", False))
    config = presets.pretraining("tiny").replace(
        {
            "data.sampling_depth": 200,
            "data.sampling_depth_max": 0,
            "train.batch_size": 8,
            "train.epochs": 1,
            "train.min_steps": 0,
            "train.device": "cpu",
            "train.strategy": strategy,
            "train.patience": 0,
            **({"loss.count": 1.0} if case["parts"].get("count") else {}),
            **({"loss.faith_pd": 1.0} if case["parts"].get("faith_pd") else {}),
            **({"loss.columns": 1.0} if case["parts"].get("columns") else {}),
            **({"loss.presence": 1.0} if case["parts"].get("presence") else {}),
            **({"loss.halves": 1.0} if case["parts"].get("halves") else {}),
            "optim.optimizer": "sgd",
            **case.get("changes", {}),
        }
    )
    names, scale_by = (case.get(name, ()) for name in ("covariates", "scale_by"))
    known = fit_covariates(study.metadata, names, study.sample_ids, scale_by)
    torch.manual_seed(0)
    sizes = {}
    if known:
        sizes = {"sizes": known.sizes, "numbers": len(known.numeric)}
        sizes["scale_sizes"] = known.scale_sizes
    taxa = taxa_of(study) if case.get("taxonomy") else None
    if taxa is not None:
        sizes["ranks"] = taxa.sizes
    network = Network(config.model, Parts(**case["parts"], **sizes))
    if network.faith_pd is not None:
        network.faith_pd.fit(torch.tensor([2.0, 3.0, 4.0]))
    target = truth = weight = vectors = held_out = None
    samples = None
    if isinstance(case.get("target"), list):
        second = (100 - study.metadata["gradient"]).where(np.arange(30) % 4 > 0)
        values = study.metadata.assign(second=second)[case["target"]]
        target = Targets.fit(values, config=config.loss)
        truth = target.encode(values)
        samples = target.known(truth) * np.linspace(0.5, 2, 30, dtype=np.float32)
    elif "target" in case:
        values = study.metadata[case["target"]]
        regression = case["target"] == "gradient"
        target = task_named("regression" if regression else "classification").fit(
            values, config=config.loss
        )
        truth = target.encode(values)
        weight = None if regression else torch.tensor([0.5, 2.0])
    if network.profile is not None:
        tokens = torch.from_numpy(study.tokens(config.data))
        network.profile.fit(tokens)
        vectors = network.vectors(tokens) if case.get("fixed") else None
    if case.get("held_out"):
        members = np.arange(config.model.members)
        held_out = np.arange(30) % 3 == members[:, None]
    if case.get("frozen"):
        network.bases.requires_grad_(False)
        vectors = torch.randn(len(study.feature_ids), config.model.encoder.width)
    # Samples in turn; the numbers and the classes are of studies of their own.
    source = np.arange(30) % 3 if case.get("studies") else None
    batcher = Batcher(
        study,
        config.data,
        0,
        distances=network.parts.distance,
        diversity=network.parts.faith_pd,
        taxa=taxa,
        target=truth,
        covariates=known.encode(study.metadata) if known else None,
        asv_vectors=vectors,
        held_out=held_out,
        sample_weight=samples,
        columns=columns_of(study) if case["parts"].get("columns") else None,
        source=source,
    )
    return TrainingJob(
        network=network,
        config=config,
        batcher=batcher,
        train=np.arange(21),
        val=np.arange(21, 30 if source is None else 21),
        source=source,
        target=target,
        class_weight=weight,
        covariates=known,
    )


def compute(case: dict, strategy: str) -> dict:
    """Losses and gradients of a batch, and the values of a short training."""
    job = job_of(case, strategy)
    group = join_process_group(job.config.train)
    trainer = Trainer(job, Reporter(silent=not group.is_first), group)
    sums, counts = trainer.stepper.gradients(np.arange(case.get("batch", 8)), 0, 0)
    step = LossSums(job.config.loss)
    step.add(sums, counts)
    gradients = {
        name: full_tensor(p.grad).clone()
        for name, p in job.network.named_parameters()
        if p.grad is not None
    }
    trainer.stepper.optimizer.zero_grad(set_to_none=True)
    result = trainer.fit()
    return {
        "losses": step.values(),
        "gradients": gradients,
        "history": result.history,
        "weights": result.weights,
    }


def main() -> None:
    torch.set_num_threads(1)
    with session():
        group = join_process_group(presets.fitting().train)
        for name, case in CASES.items():
            for strategy in STRATEGIES[: 1 if group.world_size == 1 else None]:
                actual = compute(case, strategy)
                gc.collect()
                if group.is_first:
                    torch.save(
                        actual, Path(sys.argv[1], f"{name} {strategy} {group.world_size}.pt")
                    )


if __name__ == "__main__":
    main()
