"""Going on from a checkpoint: its configuration, its split, and whether the inputs are the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from aam_core.config import Config
from aam_core.config.presets import as_config
from aam_core.data.fingerprint import Fingerprint
from aam_core.data.splits import Split
from aam_core.errors import InputError, first_five
from aam_core.runs import DESCRIBED, check_same_run
from aam_core.training import checkpoint
from aam_core.training.checkpoint import Checkpoint
from aam_core.training.parallel import ProcessGroup

NOT_RECORDED = (
    "the checkpoint was written before inputs were recorded: whether they changed cannot be told"
)


def resumed(
    kind: str, resume: str | Path | None, config: Config | str | None, preset: Callable[..., Config]
) -> tuple[Checkpoint | None, Config]:
    """The checkpoint to go on from, if any, and the configuration that is asked for.

    Parameters
    ----------
    kind : str
        Of the model, which must be the checkpoint's.
    resume : path or None
        Output folder of an earlier run, whose configuration holds where none is given.
    preset : callable
        Makes the configuration where there is neither.

    Raises
    ------
    InputError
        If the checkpoint is damaged, or of another kind.
    """
    config = asked(resume, config, preset)
    if resume is None:
        return None, config
    held = checkpoint.load(checkpoint.find(resume))
    checkpoint.check_fields(held.folder, "run", held.run, DESCRIBED)
    check_same_run({"kind": kind}, held.run)
    before = Config.from_dict(held.run["config"], "the checkpoint's configuration")
    # What the run had already it has said already.
    return held, replace(config, given=config.given & set(before.differences(config)))


def asked(
    resume: str | Path | None, config: Config | str | None, preset: Callable[..., Config]
) -> Config:
    """The configuration that `resumed` gives, without the checkpoint's tensors."""
    if config is not None or resume is None:
        return as_config(config, preset)
    folder = checkpoint.find(resume)
    run = checkpoint.read_run(folder)
    checkpoint.check_fields(folder, "run", run, ["config"])
    return Config.from_dict(run["config"], f"the configuration in {resume}")


def check_accepted(accept: bool, resume) -> None:
    """Refuse to accept changed inputs where no run goes on."""
    if accept and resume is None:
        raise InputError(
            "Changed inputs are accepted where a run goes on: accept_changed_inputs needs resume."
        )


class Inputs:
    """The inputs of a run, and of the one that it goes on from.

    Parameters
    ----------
    now : Fingerprint
    held : Checkpoint, optional
        Where the run goes on.
    accept : bool
        Whether inputs may have changed.
    """

    def __init__(self, now: Fingerprint, held: Checkpoint | None = None, accept: bool = False):
        self.held, self.accept = held, accept
        self.before = None
        if held is not None and held.inputs is not None:
            arrays = {name: tensor.numpy() for name, tensor in held.inputs.items()}
            self.before = Fingerprint.from_arrays(arrays)
        self.now = now.keeping(self.before)

    def check(self, process_group: ProcessGroup, *more: str) -> str:
        """Compare; every process must ask.

        Parameters
        ----------
        process_group : ProcessGroup
            Its processes may each have read the inputs.
        *more : str
            Other changes, as clauses.

        Returns
        -------
        str
            What there is to say of it; empty if nothing is.

        Raises
        ------
        InputError
            If something changed and that is not accepted; it names each change.
        """
        if self.held is None:
            return ""
        own = [] if self.before is None else self.before.changes(self.now)
        changed = next(
            (found for found in process_group.all_gather([*own, *filter(None, more)]) if found), []
        )
        told = "; ".join(changed)
        if changed and not self.accept:
            raise InputError(
                f"The inputs changed since the checkpoint was written: {told}. Give those that it "
                "was started with, or accept the change (--accept-changed-inputs)."
            )
        if changed:
            return f"the inputs changed since the checkpoint was written, which is accepted: {told}"
        return NOT_RECORDED if self.before is None else ""

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a checkpoint holds of them."""
        return {name: torch.tensor(array) for name, array in self.now.to_arrays().items()}


def moved(held: Checkpoint, given: Split, samples: list[str]) -> str:
    """A clause on samples that a given split has elsewhere than the run's; empty for none."""
    usable, run = set(samples), held.run
    sides = ((given.train, run["train_samples"]), (given.val, run["val_samples"]))
    differ = set().union(*((set(ours) & usable) ^ set(theirs) for ours, theirs in sides))
    folds = dict(zip(given.val, given.folds, strict=True))
    old = dict(zip(run["val_samples"], run["val_folds"], strict=True))
    if max(folds.values(), default=0):
        differ |= {name for name in old if name in folds and folds[name] != old[name]}
    if not differ:
        return ""
    return (
        f"{len(differ):,} samples are elsewhere in the given split ({first_five(sorted(differ))})"
    )


def split_of(held: Checkpoint, samples: list[str], accept: bool = False) -> Split:
    """The split that a checkpoint's run was started with.

    Parameters
    ----------
    samples : list of str
        Those that can be used.
    accept : bool
        Go on without those that are gone.

    Raises
    ------
    InputError
        If some of its samples are not among ``samples``, or all of a side.
    """
    split = Split(*(held.run[name] for name in ("train_samples", "val_samples", "val_folds")))
    known = set(samples)
    gone = [name for name in dict.fromkeys([*split.train, *split.val]) if name not in known]
    if not gone:
        return split
    train = [name for name in split.train if name in known]
    fold = {n: f for n, f in zip(split.val, split.folds, strict=True) if n in known}
    if not accept or not train or (split.val and not fold):
        raise InputError(
            f"{len(gone)} samples of the checkpoint's run are not (or no longer) usable here: "
            f"{first_five(gone)}. Give the inputs that it was started with."
        )
    return Split(train, list(fold), list(fold.values()))
