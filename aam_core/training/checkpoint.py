"""All that a killed run is resumed from: a folder of JSON and safetensors. Opening it runs no code.

``checkpoint.json`` (format, version, what the run is, how far it is) and, as safetensors,
``weights``, ``optimizer``, ``sums`` and, of a run that has them, ``average``, ``best`` and
``inputs``. ``manifest.json`` lists the size and SHA-256 of each.

What fills it: `trainer` (progress), `step` (tensors), `run.Run` (what the run is). A new key that
must be there raises `FORMAT_VERSION`.

No state of a random generator: every draw is keyed by seed, step and sample (`models.draws`). Older
checkpoints have one (``rng``), which is not read.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from aam_core.errors import AAMError, InputError, first_five
from aam_core.files.folders import (
    MANIFEST,
    check_manifest,
    current_folder,
    replacing_folder,
    write_manifest,
)
from aam_core.files.reading import member, read_json

__all__ = [
    "Checkpoint",
    "check_fields",
    "check_weights",
    "exists",
    "find",
    "load",
    "read_run",
    "save",
]

FORMAT, FORMAT_VERSION = "aam-checkpoint", 1
LAST = Path("checkpoint", "last")  # in the output folder of a run
HEAD = "checkpoint.json"
FIELDS = {"run": dict, "progress": dict, "average": bool, "best": bool}


@dataclass
class Checkpoint:
    """A run between two steps.

    Attributes
    ----------
    run, progress : dict
        What the run is and how far, as JSON has it: string keys, lists, no tuples. Floats come
        back to the last bit, infinite and nan too.
    weights, average, best : dict of str to Tensor
        Unsharded, by parameter name: the present weights, their moving average or None, and the
        best so far or None.
    optimizer : dict of str to dict of str to Tensor
        By parameter name, then by the name of a state (``exp_avg``, ``step``; without a slash).
        Parameters without state are absent after `load`.
    sums : dict of str to Tensor
        `LossSums` of the current epoch.
    folder : Path, optional
        Where it was loaded from.
    inputs : dict of str to Tensor, optional
        Fingerprint of the inputs (`aam_core.data.fingerprint`); None in checkpoints of before
        there was one.
    """

    run: dict
    progress: dict
    weights: dict[str, Tensor]
    optimizer: dict[str, dict[str, Tensor]]
    average: dict[str, Tensor] | None
    best: dict[str, Tensor] | None
    sums: dict[str, Tensor]
    folder: Path | None = None
    inputs: dict[str, Tensor] | None = None


def save(checkpoint: Checkpoint, folder: Path, reuse_best: bool = False) -> None:
    """Replace the checkpoint in ``folder``; whenever the process dies, one of the two is complete.

    Parameters
    ----------
    reuse_best : bool
        The best weights did not change: the file of the replaced checkpoint is linked, and
        ``checkpoint.best`` is written only if there is none.
    """
    tensors = {
        "weights": checkpoint.weights,
        "optimizer": _flat(checkpoint.optimizer),
        "sums": checkpoint.sums,
        "average": checkpoint.average,
        "best": checkpoint.best,
        "inputs": checkpoint.inputs,
    }
    with replacing_folder(folder) as new:
        best_file = Path(folder, "best.safetensors")
        assert not reuse_best or best_file.is_file() or checkpoint.best, "no best weights to reuse"
        if reuse_best and best_file.is_file():
            del tensors["best"]
            try:
                os.link(best_file, new / best_file.name)
            except OSError:  # a file system without links
                shutil.copyfile(best_file, new / best_file.name)
        head = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "run": checkpoint.run,
            "progress": checkpoint.progress,
            "average": checkpoint.average is not None,
            # Where the file was linked, `tensors` has no such key.
            "best": tensors.get("best", best_file) is not None,
            "inputs": checkpoint.inputs is not None,
        }
        # Python's JSON: Infinity and NaN are written and read, floats are exact.
        (new / HEAD).write_text(json.dumps(head, indent=1) + "\n", encoding="utf-8")
        for name, named in tensors.items():
            if named is not None:
                _write(new, name, named)
        write_manifest(new)


def load(folder) -> Checkpoint:
    """Open the checkpoint in ``folder``, however the run that saved it ended.

    Raises
    ------
    InputError
        If something is missing, truncated, edited, of another format or of a newer one.
    """
    folder = current_folder(folder)
    head = _read_head(folder / HEAD)
    if (folder / MANIFEST).exists():  # checkpoints of earlier releases have none
        check_manifest(folder)
    return Checkpoint(
        run=head["run"],
        progress=head["progress"],
        weights=_read(folder, "weights"),
        optimizer=_grouped(_read(folder, "optimizer")),
        average=_read(folder, "average") if head["average"] else None,
        best=_read(folder, "best") if head["best"] else None,
        sums=_read(folder, "sums"),
        folder=Path(os.path.abspath(folder)),
        inputs=_read(folder, "inputs") if head.get("inputs") else None,
    )


def read_run(folder) -> dict:
    """Description of the run of the checkpoint in ``folder``; no tensors; raises as `load`."""
    return _read_head(current_folder(folder) / HEAD)["run"]


def exists(directory) -> bool:
    """Whether there is a checkpoint in the output folder of a run."""
    return (current_folder(Path(directory, LAST)) / HEAD).is_file()


def find(directory) -> Path:
    """The folder to `load`, from the output folder of a run or from the checkpoint's own.

    Raises
    ------
    InputError
        If there is no checkpoint; it says what there is.
    """
    directory = Path(os.path.abspath(directory))
    # Weights without a head are a checkpoint too, a damaged one: `load` then names what is missing.
    for folder in (directory / LAST, directory / LAST.name, directory):
        if any((current_folder(folder) / name).is_file() for name in (HEAD, "weights.safetensors")):
            return folder
    what, advice = "is not a folder", f"name the output folder of a run, in which there is {LAST}."
    if (directory / "model.safetensors").is_file():
        what = "holds a finished model and no checkpoint"
        advice = "to train it further, give it as the encoder of a new run."
    elif (directory / LAST.parent).is_dir():
        what, advice = "is of a run that ended before its first checkpoint", "start it anew."
    elif directory.is_dir():
        names = first_five(sorted(item.name for item in directory.iterdir()))
        what = f"holds no checkpoint but {names or 'nothing'}"
    raise InputError(f"{directory} {what}: {advice}")


def check_fields(where: Path | None, part: str, fields: dict, wanted: Iterable[str]) -> None:
    """Raise an `InputError` that names the fields that a part of a checkpoint lacks."""
    missing = sorted(set(wanted) - set(fields))
    if missing:
        raise InputError(
            f"The checkpoint {where} is damaged or of another AAM: its {part} lacks "
            f"{first_five(missing)}."
        )


def check_weights(checkpoint: Checkpoint, wanted: Mapping[str, Tensor | Sequence[int]]) -> None:
    """Compare the weights with ``wanted``: tensors, or their shapes, by parameter name.

    Raises
    ------
    InputError
        If they are not of the same model; it says how many differ, how, and which.
    """
    saved = {name: list(tensor.shape) for name, tensor in checkpoint.weights.items()}
    shapes = {k: list(v.shape if isinstance(v, Tensor) else v) for k, v in wanted.items()}
    other = [k for k in sorted(saved.keys() & shapes.keys()) if saved[k] != shapes[k]]
    differing = {
        "missing": sorted(shapes.keys() - saved.keys()),
        "unexpected": sorted(saved.keys() - shapes.keys()),
        "of another shape": [f"{name} {saved[name]}, not {shapes[name]}" for name in other],
    }
    differences = [f"{len(k)} {how} ({first_five(k)})" for how, k in differing.items() if k]
    if differences:
        raise InputError(
            f"The checkpoint is of another model; of its tensors, {', '.join(differences)}. "
            "Resume with the model settings that the run was started with."
        )


def _flat(groups: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """``{"layer.weight": {"step": t}}`` as ``{"step/layer.weight": t}``."""
    return {
        f"{name}/{group}": t for group, tensors in groups.items() for name, t in tensors.items()
    }


def _grouped(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The reverse of `_flat`."""
    groups: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        # At the first slash: the name of a state has none.
        name, _, group = key.partition("/")
        groups.setdefault(group, {})[name] = tensor
    return groups


def _write(folder: Path, name: str, tensors: dict[str, Tensor]) -> None:
    path = folder / f"{name}.safetensors"
    try:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, path)
    except (SafetensorError, OSError) as error:
        raise AAMError(
            f"{path} could not be written ({' '.join(str(error).split())}): make room; if there is "
            "a checkpoint of before, it stays, and --resume goes on from it."
        ) from None
    # save_file makes a file that its owner alone can read; Python's own has the mode of the umask.
    path.chmod((folder / HEAD).stat().st_mode & 0o777)


def _read(folder: Path, name: str) -> dict[str, Tensor]:
    path = member(folder, f"{name}.safetensors")
    try:
        # A copy: what load_file gives keeps the file open, which bars its removal on NFS.
        return {key: tensor.clone() for key, tensor in load_file(path).items()}
    except FileNotFoundError:
        raise InputError(f"{path} is missing: the checkpoint is not whole.") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is truncated or not a safetensors file: {error}") from None


def _read_head(path: Path) -> dict:
    head = read_json(path, infinite=True)
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise InputError(f"{path} is not that of an AAM checkpoint.")
    version = head.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        newer = f"format {version}, newer than this AAM reads ({FORMAT_VERSION})"
        raise InputError(f"{path} has {newer}: upgrade AAM to resume from it.")
    fields = {"format_version": int} | FIELDS
    # Not isinstance, which takes true for a number of the format.
    if lacking := [name for name, kind in fields.items() if type(head.get(name)) is not kind]:
        raise InputError(f"{path} was edited: it has no valid {', '.join(lacking)}.")
    return head
