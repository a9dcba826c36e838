"""A pretrained encoder: its sizes for a new configuration, its weights for a new network.

The same of a fitted model that goes on training as a whole: `with_sizes_of_model`, `load_fitted`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from aam_core.config import Config, ModelConfig
from aam_core.data.covariates import Covariates
from aam_core.data.study import Study
from aam_core.errors import InputError, first_five
from aam_core.model import Model, as_model
from aam_core.models.network import Network, part_of
from aam_core.tasks import Task

__all__ = [
    "ENCODER_PARTS",
    "MOST_MEMBERS",
    "load_encoder",
    "load_fitted",
    "log_known_asvs",
    "model_to_go_on_from",
    "pretrained_tensors",
    "sizes_in_words",
    "with_sizes_of",
    "with_sizes_of_model",
]

MOST_MEMBERS = 3
"""Members that start from one encoder, at most: they start alike, so that more of them add little,
and layers between ASVs are costly."""

ENCODER_PARTS = ("bases", "profile", "project", "samples", "nucleotide", "distance", "count")
"""Parts of a network that an encoder gives to another."""


def with_sizes_of(config: Config, encoder: Model | None) -> Config:
    """The configuration with the sizes of ``encoder``, so that its weights fit.

    Dropout, and everything that has no weights, stays as configured; there are at most
    `MOST_MEMBERS` members.
    """
    if encoder is None:
        return config
    theirs, ours = encoder.config.model, config.model
    if encoder.network.of_many_studies:
        return replace(config, model=_of_many_studies(theirs, ours))
    model = replace(
        theirs,
        members=min(ours.members, MOST_MEMBERS),
        encoder=replace(theirs.encoder, dropout=ours.encoder.dropout),
        sample=replace(
            theirs.sample, dropout=ours.sample.dropout, asv_dropout=ours.sample.asv_dropout
        ),
        head=replace(
            ours.head,
            distance=theirs.head.distance,
            distance_width=theirs.head.distance_width,
        ),
        # The heads of the fusion must divide the width; its weights are always new.
        fusion=replace(ours.fusion, heads=theirs.fusion.heads),
    )
    return replace(config, model=model)


def _of_many_studies(theirs: ModelConfig, ours: ModelConfig) -> ModelConfig:
    """`with_sizes_of` an encoder of many studies: its members start half of those of the fit.

    The second half reads random Fourier features, too, starts from random weights, and is weighed
    against the first by held-out samples: what does not help is weighed out.
    """
    codes = ours.encoder.codes if theirs.encoder.features != "bases" else 0
    return replace(
        theirs,
        members=ours.members,
        encoder=replace(theirs.encoder, codes=codes, dropout=ours.encoder.dropout),
        sample=replace(
            theirs.sample, dropout=ours.sample.dropout, asv_dropout=ours.sample.asv_dropout
        ),
        head=ours.head,
        fusion=replace(ours.fusion, heads=theirs.fusion.heads),
    )


def with_sizes_of_model(config: Config, fitted: Model | None, kind: str) -> Config:
    """The configuration with the sizes and the number of members of a fitted model.

    Dropout stays as configured; so does the target head, where the model is not of ``kind``.
    """
    if fitted is None:
        return config
    theirs, ours = fitted.config.model, config.model
    head = replace(theirs.head, target_dropout=ours.head.target_dropout)
    if fitted.kind != kind:
        distance = (theirs.head.distance, theirs.head.distance_width)
        head = replace(ours.head, distance=distance[0], distance_width=distance[1])
    model = replace(
        theirs,
        encoder=replace(theirs.encoder, dropout=ours.encoder.dropout),
        sample=replace(
            theirs.sample, dropout=ours.sample.dropout, asv_dropout=ours.sample.asv_dropout
        ),
        head=head,
    )
    return replace(config, model=model)


def model_to_go_on_from(init_from: Model | str | Path | None, encoder: Model | None):
    """The `Model` that ``init_from`` is, or None.

    Raises
    ------
    InputError
        If it is an encoder, or there is an encoder beside it.
    """
    if init_from is None:
        return None
    if encoder is not None:
        raise InputError(
            "encoder and init_from are two starts for one model: give one of them (--encoder, "
            "--init-from)."
        )
    model = as_model(init_from)
    if model.target is None:
        raise InputError(
            "init_from takes a fitted model, and this is an encoder: give it as encoder "
            "(--encoder)."
        )
    return model


def sizes_in_words(config: Config, resized: Config, whose: str = "the encoder's") -> str:
    """A line on the settings that `with_sizes_of` replaced; empty if there are none."""
    differences = config.differences(resized)
    if whose != "the encoder's":
        changes = [
            f"{path.removeprefix('model.')} {theirs} (not {ours})"
            for path, (ours, theirs) in differences.items()
        ]
        return f"sizes are {whose}: {', '.join(changes)}" if changes else ""
    members = differences.pop("model.members", None)  # no size of the encoder
    changes = [
        f"{path.removeprefix('model.')} {theirs} (not {ours})"
        for path, (ours, theirs) in differences.items()
    ]
    parts = [f"sizes are the encoder's: {', '.join(changes)}"] if changes else []
    if members is not None:
        parts.append(f"at most {MOST_MEMBERS} members from an encoder (not {members[0]})")
    return "; ".join(parts)


def pretrained_tensors(network: Network, encoder: Model) -> dict[str, Tensor]:
    """The encoder's tensors that a network takes over, by their name in the network.

    A fitted model may serve as encoder; the layers of its target belong to that target and stay. An
    encoder of many studies gives the hidden layers of their columns to the target head.
    """
    theirs = _weights(encoder.network)
    return {
        name: theirs[source]
        for name, source in _sources(network, encoder.network).items()
        if source in theirs and (part_of(name) in ENCODER_PARTS or ".columns." in source)
    }


def load_encoder(network: Network, encoder: Model) -> list[str]:
    """Copy every weight that fits; say how many these are, and name the others.

    Returns
    -------
    list of str
        One sentence each; first how many tensors and parameters were loaded.

    Raises
    ------
    InputError
        If nothing fits.
    """
    common, theirs = pretrained_tensors(network, encoder), _weights(encoder.network)
    if encoder.network.of_many_studies:
        return _load_members(network, encoder, common)
    sources = _sources(network, encoder.network).items()
    used = {source for name, source in sources if name in common}
    unused = [name for name in theirs if name not in used]
    if not any(tensor.shape == _weights(network)[name].shape for name, tensor in common.items()):
        raise InputError(
            f"The encoder does not fit this model: of its {len(theirs)} tensors none has the name "
            f"and the shape of one of the model's {len(_weights(network))}."
        )
    return _load(network, common, unused, "the encoder")


def _load_members(network: Network, encoder: Model, common: dict[str, Tensor]) -> list[str]:
    """`load_encoder` of one of many studies: heads are new, and so is half of the members."""
    lines = _load(network, common, [], "the encoder")
    ours = _weights(network)
    fitting = [name for name, tensor in common.items() if tensor.shape == ours[name].shape]
    started = {name.split(".")[1] for name in fitting if name.startswith("members.")}
    if not started:
        raise InputError(
            "The encoder does not fit this model: no member of it has the shape of one of the "
            "encoder's."
        )
    studies = encoder.run.get("studies", [])
    line = (
        f"{len(started)} of {len(network.members)} members start from an encoder of "
        f"{len(studies)} studies"
    )
    if len(started) < len(network.members):
        line += "; the others, with random Fourier features, from random weights"
    others = [text for text in lines[1:] if "of another shape" in text]
    return [line, *others]


def load_fitted(network: Network, fitted: Model, task: Task, covariates: Covariates | None):
    """Copy the weights of a fitted model into a network of its sizes.

    Its target head is copied where the task has the same outputs, and what reads covariates where
    these are the model's own.

    Parameters
    ----------
    network : Network
    fitted : Model
    task : Task
        Of the new network.
    covariates : Covariates or None
        Of the new network.

    Returns
    -------
    list of str
        As `load_encoder`.
    """
    new = set() if covariates == fitted.covariates else {"fusion"}
    if not task.continues(fitted.task):
        new.add("target")
    theirs = _weights(fitted.network)
    common = {
        name: theirs[name]
        for name in _weights(network)
        if name in theirs
        and part_of(name) not in new
        # Rows of its own categories.
        and not ("fusion" in new and ".by_category." in name)
    }
    unused = [name for name in theirs if name not in common]
    return _load(network, common, unused, "the model")


def _load(network: Network, common: dict[str, Tensor], unused: list[str], whose: str) -> list[str]:
    """Copy the tensors that have the same shape; say how many, and which others there are."""
    ours = _weights(network)
    fitting = {name: tensor for name, tensor in common.items() if tensor.shape == ours[name].shape}
    # Not strict: heads of the target and other shapes stay new, and are named below.
    network.load_state_dict(fitting, strict=False)
    parameters = sum(p.numel() for name, p in network.named_parameters() if name in fitting)
    others = {
        f"missing in {whose}, new": [name for name in ours if name not in common],
        "unexpected, not used": unused,
        "of another shape, new": [name for name in common if name not in fitting],
    }
    lines = [f"loaded {len(fitting)} of {len(ours)} tensors ({parameters:,} parameters)"]
    lines += [
        f"{len(names)} tensors {what}: {first_five(sorted(names))}"
        for what, names in others.items()
        if names
    ]
    return lines


def log_known_asvs(
    encoder: Model, study: Study, log: logging.LoggerAdapter, whose: str = "the encoder"
) -> None:
    """Log what share of a study's ASVs a model was trained on; warn where it is little."""
    if encoder.known is None:
        log.info(f"an earlier AAM saved {whose}: which ASVs it was trained on is not known")
        return
    bases = encoder.config.model.encoder.profile_bases
    # Sequences that were cut to the bases that it reads, or to fewer.
    if encoder.network.of_many_studies and 0 < encoder.known.lengths.max() <= bases:
        cut = [dna[:bases] for dna in study.required_sequences()]
        study = replace(study, sequences=cut)
    comparison = encoder.known.compare(study)
    log.info(comparison.note(f"{whose} was trained on"))
    warning = comparison.warning(f"{whose} was trained on", similar=True)
    if warning:
        log.warning(warning)


def _weights(network: Network) -> Mapping[str, Tensor]:
    """Tensors by name, without the weights of the members, which belong to their target."""
    return {k: value for k, value in network.state_dict().items() if k != "member_weight"}


def _sources(network: Network, encoder: Network) -> dict[str, str]:
    """Name of each tensor, and of the encoder's tensor that it starts from.

    Every member starts from the encoder's first one, or, with random Fourier features, from its
    first one that has them too. Of an encoder of many studies each member without them starts from
    one of its own (in turn, where there are fewer), and those with them from none.
    """
    if encoder.of_many_studies:
        return _sources_of_many(network, encoder)
    first = {False: "0", True: str(encoder.fourier_members.argmax())}  # 0, too, where none has them
    sources = {}
    for name in _weights(network):
        part, *inner = name.split(".")
        if part == "members":
            inner[0] = first[bool(network.fourier_members[int(inner[0])])]
        sources[name] = ".".join([part, *inner])
    return sources


_HIDDEN_LAYERS = ("hidden", "further")
"""Modules of a `TargetHead` that are layers before its outputs."""


def _sources_of_many(network: Network, encoder: Network) -> dict[str, str]:
    """`_sources` of an encoder of many studies."""
    fourier, members = network.fourier_members, len(encoder.members)
    sources = {}
    for name in _weights(network):
        part, *inner = name.split(".")
        if part != "members":
            sources[name] = name
        elif not fourier[int(inner[0])]:
            inner[0] = str(int(inner[0]) % members)
            if inner[1] == "target" and inner[2] in _HIDDEN_LAYERS:
                inner[1] = "columns"
            sources[name] = ".".join([part, *inner])
    return sources
