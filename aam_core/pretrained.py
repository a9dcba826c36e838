"""A pretrained encoder: its sizes for a new configuration, its weights for a new network."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from aam_core.config import Config
from aam_core.data.study import Study
from aam_core.errors import InputError, first_five
from aam_core.model import Model
from aam_core.models.network import Network, part_of

__all__ = [
    "MOST_MEMBERS",
    "load_encoder",
    "log_known_asvs",
    "pretrained_tensors",
    "sizes_in_words",
    "with_sizes_of",
]

MOST_MEMBERS = 3
"""Members that start from one encoder, at most: they start alike, so that more of them add little,
and layers between ASVs are costly."""

_ENCODER_PARTS = ("bases", "profile", "project", "samples", "nucleotide", "distance", "count")
"""Parts of a network that an encoder gives to another."""


def with_sizes_of(config: Config, encoder: Model | None) -> Config:
    """The configuration with the sizes of ``encoder``, so that its weights fit.

    Dropout, and everything that has no weights, stays as configured; there are at most
    `MOST_MEMBERS` members.
    """
    if encoder is None:
        return config
    theirs, ours = encoder.config.model, config.model
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


def sizes_in_words(config: Config, resized: Config) -> str:
    """A line on the settings that `with_sizes_of` replaced; empty if there are none."""
    differences = config.differences(resized)
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

    A fitted model may serve as encoder; the layers of its target belong to that target and stay.
    """
    theirs = _weights(encoder.network)
    return {
        name: theirs[source]
        for name, source in _sources(network, encoder.network).items()
        if source in theirs and part_of(name) in _ENCODER_PARTS
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
    common, ours = pretrained_tensors(network, encoder), _weights(network)
    theirs = _weights(encoder.network)
    fitting = {name: tensor for name, tensor in common.items() if tensor.shape == ours[name].shape}
    if not fitting:
        raise InputError(
            f"The encoder does not fit this model: of its {len(theirs)} "
            f"tensors none has the name and the shape of one of the model's {len(ours)}."
        )
    # Not strict: heads of the target and other shapes stay new, and are named below.
    network.load_state_dict(fitting, strict=False)
    parameters = sum(p.numel() for name, p in network.named_parameters() if name in fitting)
    sources = _sources(network, encoder.network).items()
    used = {source for name, source in sources if name in common}
    others = {
        "missing in the encoder, new": [name for name in ours if name not in common],
        "unexpected, not used": [name for name in theirs if name not in used],
        "of another shape, new": [name for name in common if name not in fitting],
    }
    lines = [f"loaded {len(fitting)} of {len(ours)} tensors ({parameters:,} parameters)"]
    lines += [
        f"{len(names)} tensors {what}: {first_five(sorted(names))}"
        for what, names in others.items()
        if names
    ]
    return lines


def log_known_asvs(encoder: Model, study: Study, log: logging.LoggerAdapter) -> None:
    """Log what share of a study's ASVs the encoder was pretrained on; warn where it is little."""
    if encoder.known is None:
        log.info("an earlier AAM saved the encoder: which ASVs it was trained on is not known")
        return
    comparison = encoder.known.compare(study)
    log.info(comparison.note("the encoder was trained on"))
    warning = comparison.warning("the encoder was trained on", similar=True)
    if warning:
        log.warning(warning)


def _weights(network: Network) -> Mapping[str, Tensor]:
    """Tensors by name, without the weights of the members, which belong to their target."""
    return {k: value for k, value in network.state_dict().items() if k != "member_weight"}


def _sources(network: Network, encoder: Network) -> dict[str, str]:
    """Name of each tensor, and of the encoder's tensor that it starts from.

    Every member starts from the encoder's first one, or, with random Fourier features, from its
    first one that has them too.
    """
    first = {False: "0", True: str(encoder.fourier_members.argmax())}  # 0, too, where none has them
    sources = {}
    for name in _weights(network):
        part, *inner = name.split(".")
        if part == "members":
            inner[0] = first[bool(network.fourier_members[int(inner[0])])]
        sources[name] = ".".join([part, *inner])
    return sources
