"""From a pretrained encoder to the network of another run."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from aam_core.config import Config
from aam_core.errors import InputError, first_five
from aam_core.model import Model
from aam_core.models.network import Network, part_of

MOST_MEMBERS = 3
"""Networks that start from one encoder, at most: they start alike, and layers between ASVs cost."""


def adopt(config: Config, encoder: Model | None) -> Config:
    """The configuration with the sizes of ``encoder``, so that its weights fit.

    Dropout, and everything that holds no weights, stays as configured; there are at most
    `MOST_MEMBERS` of its networks.
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
            theirs.head,
            target_hidden=ours.head.target_hidden,
            target_dropout=ours.head.target_dropout,
        ),
        # Heads that divide their width; what holds the weights of the fusion is always new.
        fusion=replace(ours.fusion, heads=theirs.fusion.heads),
    )
    return replace(config, model=model)


def replaced(asked: Config, adopted: Config) -> str:
    """A line on the settings of the model that `adopt` replaced; empty if there are none."""
    differences = asked.differences(adopted)
    members = differences.pop("model.members", None)  # no size of the encoder
    changes = [
        f"{path.removeprefix('model.')} {theirs} (not {ours})"
        for path, (ours, theirs) in differences.items()
    ]
    parts = [f"sizes are the encoder's: {', '.join(changes)}"] if changes else []
    if members is not None:
        parts.append(f"at most {MOST_MEMBERS} networks from an encoder (not {members[0]})")
    return "; ".join(parts)


ENCODER_PARTS = ("bases", "profile", "project", "samples", "nucleotide", "distance")
"""Parts of a network that an encoder gives to another."""


def _sources(network: Network, encoder: Network) -> dict[str, str]:
    """Name of each tensor, and of the encoder's that serves as it.

    Every member starts from its first one, or the first one that reads codes where it does, too.
    """
    first = {False: "0", True: str(encoder.coded.argmax())}  # 0, too, where none reads them
    found = {}
    for name in _weights(network):
        part, *inner = name.split(".")
        if part == "members":
            inner[0] = first[bool(network.coded[int(inner[0])])]
        found[name] = ".".join([part, *inner])
    return found


def _weights(network: Network) -> dict[str, Tensor]:
    """What there is to hand over, by name; what members count is of their target alone."""
    return {k: value for k, value in network.state_dict().items() if k != "member_weight"}


def common_tensors(network: Network, encoder: Model) -> dict[str, Tensor]:
    """The encoder's tensors that the network takes over, by name.

    A fitted model may serve as encoder; its target's layers belong to that target and stay.
    """
    held = _weights(encoder.network)
    return {
        name: held[source]
        for name, source in _sources(network, encoder.network).items()
        if source in held and part_of(name) in ENCODER_PARTS
    }


def load_encoder(network: Network, encoder: Model) -> list[str]:
    """Copy every weight that fits; say how many that were, and name what did not.

    Returns
    -------
    list of str
        One sentence each; first how many tensors and parameters were loaded.

    Raises
    ------
    InputError
        If nothing fits.
    """
    common, wanted = common_tensors(network, encoder), _weights(network)
    held = _weights(encoder.network)
    fits = {name: tensor for name, tensor in common.items() if tensor.shape == wanted[name].shape}
    if not fits:
        raise InputError(
            f"The encoder does not fit this model: of its {len(held)} "
            f"tensors none has the name and the shape of one of the model's {len(wanted)}."
        )
    network.load_state_dict(fits, strict=False)
    parameters = sum(p.numel() for name, p in network.named_parameters() if name in fits)
    used = {source for name, source in _sources(network, encoder.network).items() if name in common}
    left = {
        "missing in the encoder, new": [name for name in wanted if name not in common],
        "unexpected, not used": [name for name in held if name not in used],
        "of another shape, new": [name for name in common if name not in fits],
    }
    lines = [f"loaded {len(fits)} of {len(wanted)} tensors ({parameters:,} parameters)"]
    lines += [
        f"{len(names)} tensors {what}: {first_five(sorted(names))}"
        for what, names in left.items()
        if names
    ]
    return lines
