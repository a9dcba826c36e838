"""Resuming from a checkpoint: its configuration, its split, and whether the inputs are the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from aam_core.config import Config
from aam_core.data.fingerprint import Fingerprint
from aam_core.data.splits import Split
from aam_core.errors import InputError, first_five
from aam_core.training import checkpoint
from aam_core.training.checkpoint import Checkpoint
from aam_core.training.parallel import ProcessGroup

__all__ = [
    "DESCRIBED",
    "Inputs",
    "check_accepted",
    "check_same_run",
    "moved_samples",
    "open_checkpoint",
    "saved_config",
    "split_of",
]

DESCRIBED = (
    *("kind", "config", "parts", "target", "covariates", "frozen", "encoder", "pretrained"),
    *("train_samples", "val_samples", "val_folds", "launch"),
)
"""What a checkpoint says of the run beside its progress: a saved format, which `run.Run` writes."""

_NOT_RECORDED = (
    "the checkpoint was written before inputs were recorded: whether they changed cannot be told"
)


def open_checkpoint(
    kind: str, resume: str | Path | None, config: Config
) -> tuple[Checkpoint | None, Config]:
    """The checkpoint to resume from, if any, and the configuration with what is new in it.

    Parameters
    ----------
    kind : str
        Of the model, which must be the checkpoint's.
    resume : path or None
        Output folder of an earlier run.
    config : Config
        Of this run.

    Raises
    ------
    InputError
        If the checkpoint is damaged, or of another kind.
    """
    if resume is None:
        return None, config
    resumed = checkpoint.load(checkpoint.find(resume))
    assert resumed.folder is not None
    checkpoint.check_fields(resumed.folder, "run", resumed.run, DESCRIBED)
    check_same_run({"kind": kind}, resumed.run)
    before = Config.from_saved(resumed.run["config"], "the checkpoint's configuration")
    # Settings that the first run had were reported by that run.
    return resumed, replace(config, explicit=config.explicit & set(before.differences(config)))


def saved_config(resume: str | Path) -> Config:
    """The configuration of the run whose output folder is ``resume``."""
    folder = checkpoint.find(resume)
    run = checkpoint.read_run(folder)
    checkpoint.check_fields(folder, "run", run, ["config"])
    return Config.from_saved(run["config"], f"the configuration in {resume}")


def check_accepted(accept: bool, resume) -> None:
    """Refuse to accept changed inputs where no run is resumed."""
    if accept and resume is None:
        raise InputError(
            "Changed inputs are accepted where a run is resumed: accept_changed_inputs needs "
            "resume."
        )


def check_same_run(ours: dict, theirs: dict) -> None:
    """Refuse to resume where a value of ``ours``, of `DESCRIBED`, differs from theirs."""
    for name, value in ours.items():
        if theirs[name] != value:
            was, now = _in_words(name, theirs[name]), _in_words(name, value)
            raise InputError(
                f"The checkpoint is of another run: {was}, and here {now}. Give the inputs and "
                "options that it was started with."
            )


class Inputs:
    """The inputs of a run, and of the one that it resumes.

    Parameters
    ----------
    now : Fingerprint
    resumed : Checkpoint, optional
    accept : bool
        Whether inputs may have changed.
    """

    def __init__(self, now: Fingerprint, resumed: Checkpoint | None = None, accept: bool = False):
        self.resumed, self.accept = resumed, accept
        self.before = None
        if resumed is not None and resumed.inputs is not None:
            arrays = {name: tensor.numpy() for name, tensor in resumed.inputs.items()}
            self.before = Fingerprint.from_arrays(arrays)
        self.now = now.keeping(self.before)

    def check(self, group: ProcessGroup, *more: str) -> str:
        """Compare; every process must call it.

        Parameters
        ----------
        group : ProcessGroup
            Its processes may each have read the inputs.
        *more : str
            Other changes, as clauses.

        Returns
        -------
        str
            A line on changes that are accepted; empty without changes.

        Raises
        ------
        InputError
            If something changed and that is not accepted; it names each change.
        """
        if self.resumed is None:
            return ""
        own = [] if self.before is None else self.before.changes(self.now)
        # Ranks may have read different files: if one refused alone, the others would wait for it.
        from_all = group.all_gather([*own, *filter(None, more)])
        changes: list[str] = next((changes for changes in from_all if changes), [])
        words = "; ".join(changes)
        if changes and not self.accept:
            raise InputError(
                f"The inputs changed since the checkpoint was written: {words}. Give those that it "
                "was started with, or accept the change (--accept-changed-inputs)."
            )
        if changes:
            return (
                f"the inputs changed since the checkpoint was written, which is accepted: {words}"
            )
        return _NOT_RECORDED if self.before is None else ""

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a checkpoint saves of them."""
        return {name: torch.tensor(array) for name, array in self.now.to_arrays().items()}


def moved_samples(resumed: Checkpoint, split: Split, samples: list[str]) -> str:
    """A clause on samples that ``split`` has elsewhere than the run; empty for none."""
    usable, run = set(samples), resumed.run
    sides = ((split.train, run["train_samples"]), (split.val, run["val_samples"]))
    # Samples with too few reads may be in a given split; the run has dropped them from its sides.
    differ = set().union(*((set(ours) & usable) ^ set(theirs) for ours, theirs in sides))
    folds = dict(zip(split.val, split.folds, strict=True))
    before = dict(zip(run["val_samples"], run["val_folds"], strict=True))
    # A pair (train, val) has fold 0 throughout, and tells nothing of the folds of members.
    if max(folds.values(), default=0):
        differ |= {name for name in before if name in folds and folds[name] != before[name]}
    if not differ:
        return ""
    return (
        f"{len(differ):,} samples are elsewhere in the given split ({first_five(sorted(differ))})"
    )


def split_of(resumed: Checkpoint, samples: list[str], accept: bool = False) -> Split:
    """The split that a checkpoint's run was started with.

    Parameters
    ----------
    samples : list of str
        Those that can be used.
    accept : bool
        Resume without those that are gone.

    Raises
    ------
    InputError
        If some of its samples are not among ``samples``, or all of a side.
    """
    split = Split(*(resumed.run[name] for name in ("train_samples", "val_samples", "val_folds")))
    usable = set(samples)
    # dict.fromkeys: cross-fitted samples are on both sides, and are named once.
    gone = [name for name in dict.fromkeys([*split.train, *split.val]) if name not in usable]
    if not gone:
        return split
    train = [name for name in split.train if name in usable]
    fold = {n: f for n, f in zip(split.val, split.folds, strict=True) if n in usable}
    if not accept or not train or (split.val and not fold):
        raise InputError(
            f"{len(gone)} samples of the checkpoint's run are not (or no longer) usable here: "
            f"{first_five(gone)}. Give the inputs that it was started with."
        )
    return Split(train, list(fold), list(fold.values()))


def _in_words(name: str, value) -> str:
    """A property of a run as a clause; ``name`` of `DESCRIBED`."""
    if name == "kind":
        return f"it trains {'an encoder' if value == 'encoder' else f'a {value}'}"
    if name == "frozen":
        return f"the encoder is {'frozen' if value else 'not frozen'} (--freeze-encoder)"
    if name == "covariates":
        columns = [item[0] for items in (value or {}).values() for item in items]
        return f"it reads {f'the covariates {first_five(columns)}' if columns else 'no covariates'}"
    if name == "target":
        return f"the target is {value!r}"
    parts = [part for part, there in value.items() if there]
    return f"the network has {first_five(parts)}"
