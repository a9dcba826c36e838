"""From a pretrained encoder to the network of another run."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from aam_core.artifact import Model
from aam_core.config import Config, paths
from aam_core.errors import InputError, first_five
from aam_core.models.model import Network


def adopt(config: Config, encoder: Model | None) -> Config:
    """The configuration with the sizes of ``encoder``, so that its weights fit.

    Dropout, and everything that holds no weights, stays as configured.
    """
    if encoder is None:
        return config
    theirs, ours = encoder.config.model, config.model
    model = replace(
        theirs,
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
    before, after = asked.to_dict(), adopted.to_dict()
    changes = []
    for path in paths():
        ours, theirs = _at(before, path), _at(after, path)
        if ours != theirs:
            changes.append(f"{path.removeprefix('model.')} {theirs} (not {ours})")
    return f"sizes are the encoder's: {', '.join(changes)}" if changes else ""


def _at(nested: dict, path: str):
    for name in path.split("."):
        nested = nested[name]
    return nested


ENCODER_PARTS = ("bases", "samples", "nucleotide", "distance")
"""Parts of a network that an encoder gives to another."""


def common_tensors(network: Network, encoder: Model) -> dict[str, Tensor]:
    """The encoder's tensors that the network takes over, by name.

    A fitted model may serve as encoder; its target's layers belong to that target and stay.
    """
    held = encoder.network.state_dict()
    return {
        name: held[name]
        for name in network.state_dict()
        if name in held and name.split(".")[0] in ENCODER_PARTS
    }


def load_encoder(network: Network, encoder: Model) -> str:
    """Copy every weight that both networks have; say how many that were.

    Raises
    ------
    InputError
        If nothing fits, or a tensor of the same name has another shape.
    """
    common, wanted = common_tensors(network, encoder), network.state_dict()
    other = [name for name, tensor in common.items() if tensor.shape != wanted[name].shape]
    if other or not common:
        what = "no tensor in common"
        if other:
            what = f"{len(other)} tensors have another shape ({first_five(other)})"
        raise InputError(f"The encoder does not fit this model: {what}.")
    network.load_state_dict(common, strict=False)
    parameters = sum(tensor.numel() for tensor in common.values())
    fresh = sorted({name.split(".")[0] for name in wanted if name not in common})
    text = f"loaded {len(common)} of {len(wanted)} tensors ({parameters:,} parameters)"
    return f"{text}; new: {', '.join(fresh)}." if fresh else f"{text}."
