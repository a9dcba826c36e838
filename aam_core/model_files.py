"""The files of a saved model: JSON and safetensors. Opening them cannot run code.

``config.json`` (format, version, kind, vocabulary, parts, configuration), ``model.safetensors``,
``run.json`` (where it came from), of a regressor or classifier ``targets.json`` and, where its
ensemble has a forest, ``forest.json`` and ``forest.safetensors``. A model is rebuilt from these
alone. ``known.safetensors`` (since format 5) tells the ASVs that it was fitted on,
``novelty.safetensors`` (since format 6) which samples are usual. Beside them are
records: ``metrics.json``, ``train_samples.txt``, ``val_samples.txt``, ``folds.tsv``,
``val_predictions.tsv``, ``history.tsv``, which may be taken away.

``model_card.md`` (`model_card`) is for people: no program reads it, and it may be edited.

``manifest.json`` (since format 5) lists the size and SHA-256 of all of them but the card: whatever
`write` writes. `read` and `check` refuse a folder in which one differs. Numbers that are not
finite are refused when a model is saved and when it is opened.

A new, renamed or removed configuration field, part or file that a model is rebuilt from raises
``FORMAT_VERSION``, so that an older AAM says "upgrade" instead of naming what it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from aam_core import vocab
from aam_core.config import Config
from aam_core.data.covariates import Covariates
from aam_core.data.folds import read_folds, split_table
from aam_core.data.known_asvs import KnownASVs
from aam_core.data.qza import refuse_artifact
from aam_core.data.splits import Split
from aam_core.ensemble.conformal import PredictionSets, Scores
from aam_core.ensemble.forest import Forest, covariate_inputs
from aam_core.ensemble.intervals import Interval
from aam_core.ensemble.novelty import Novelty
from aam_core.ensemble.probabilities import Calibrator, Isotonic
from aam_core.ensemble.probabilities import from_dict as calibrator_from_dict
from aam_core.errors import InputError, first_five
from aam_core.files.folders import STAGE, check_manifest
from aam_core.files.reading import member, read_json
from aam_core.files.writing import write_json
from aam_core.plots import figure_names
from aam_core.tasks import TASKS, task_from_dict, task_of_model

if TYPE_CHECKING:
    from aam_core.model import Model

__all__ = [
    "FILES",
    "FORMAT_VERSION",
    "RECORDS",
    "check",
    "check_is_model",
    "is_name_of_more",
    "names_of_more",
    "read",
    "write",
]

_FORMAT = "aam"
FORMAT_VERSION = 6

_OTHERS = {
    "metrics.json": "scores of a cross-validation, an evaluation or a baseline",
    "tune.db": "a search for settings",
    "lr.tsv": "a range test of the learning rate",
    "vectors.tsv": "vectors (aam embed)",
    "table.biom": "a study",
}
"""File of a folder that holds no model -> what the folder holds."""

_KINDS = ("encoder", *(task.model_kind for task in TASKS.values()))
FILES = (
    "config.json",
    "model.safetensors",
    "run.json",
    "targets.json",
    "forest.json",
    "forest.safetensors",
    "known.safetensors",
    "novelty.safetensors",
    "metrics.json",
    "train_samples.txt",
    "val_samples.txt",
    "folds.tsv",
    "val_predictions.tsv",
    "history.tsv",
    *figure_names("val_predictions", "val_distances", "losses"),
)
"""Names of all that a run may write; none of an earlier run's stays beside a new model."""

_NAME_OF_MORE = re.compile(r"[0-9]+-[A-Za-z0-9_-]*-[0-9a-f]{16}")
"""Number and column of a target, digest of its model's manifest."""

RECORDS = (
    "metrics.json",
    "train_samples.txt",
    "val_samples.txt",
    "folds.tsv",
    "val_predictions.tsv",
    "history.tsv",
)
"""Files that may be taken away from a saved model."""


def write(
    model: Model, folder: Path, weights: dict | None = None, more: Sequence[str] = ()
) -> None:
    """Write every file of a model into ``folder``, which exists and belongs to the caller.

    ``more`` are names of folders of models of further targets, as `names_of_more` reads them.
    """
    from safetensors.numpy import save as save_arrays
    from safetensors.torch import save

    weights = model.network.state_dict() if weights is None else weights
    _check_finite(weights, "The training diverged (lower optim.lr), and its model is not saved")
    config = {
        "format": _FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": model.kind,
        "vocabulary": list(vocab.TOKENS),
        "parts": model.network.parts.to_dict(),
        "config": model.config.to_dict(),
    }
    write_json(folder / "config.json", config, strict=True)
    weights = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    # save_file would make a file that its owner alone can read.
    (folder / "model.safetensors").write_bytes(save(weights))
    write_json(folder / "run.json", model.run, strict=True)
    if model.target is not None:
        targets = {
            "target": model.target.to_dict(),
            "interval": _intervals_to_json(model.intervals),
            "covariates": None if model.covariates is None else model.covariates.to_dict(),
            "forest": model.forest is not None,
        }
        if model.sets is not None:
            targets["sets"] = model.sets.scores.to_dict()
        if model.calibrator is not None:
            targets["calibrator"] = model.calibrator.to_dict()
        if more:
            targets["more"] = list(more)
        write_json(folder / "targets.json", targets, strict=True)
    if model.forest is not None:
        _write_forest(model.forest, model.network_weight, folder)
    if model.known is not None:
        _write_known(model.known, folder)
    if model.novelty is not None:
        (folder / "novelty.safetensors").write_bytes(save_arrays(model.novelty.to_tensors()))
    if model.metrics is not None:
        # Not strict: metrics may be NaN, such as R2 of one value.
        write_json(folder / "metrics.json", model.metrics)
    for name, ids in (("train", model.train_samples), ("val", model.val_samples)):
        if ids:
            text = "".join(f"{sample}\n" for sample in ids)
            (folder / f"{name}_samples.txt").write_text(text, encoding="utf-8")
    if model.val_folds:
        split = Split(model.train_samples, model.val_samples, model.val_folds)
        split_table(split).to_csv(folder / "folds.tsv", sep="\t")
    if model.val_predictions is not None:
        model.val_predictions.to_csv(
            folder / "val_predictions.tsv", sep="\t", index_label="sample-id"
        )
    if model.history:
        pd.DataFrame(model.history).to_csv(folder / "history.tsv", sep="\t", index=False)


def read(folder: Path) -> dict:
    """All fields of the saved `Model`.

    Raises
    ------
    InputError
        If something is missing, damaged, edited or of a newer format.
    """
    from safetensors.torch import load_file

    kind, config, parts, targets = _read(folder)
    _check_tensors(folder, config, parts)
    network = _build(config, parts)
    weights = load_file(str(folder / "model.safetensors"))
    _check_finite(weights, f"{folder / 'model.safetensors'} was damaged or edited")
    network.load_state_dict({_name(name): value for name, value in weights.items()})
    network.eval()
    return dict(
        kind=kind,
        config=config,
        network=network,
        target=None if targets is None else task_from_dict(targets["target"]),
        intervals=() if targets is None else _intervals(targets["interval"]),
        sets=None if targets is None else _sets(targets),
        calibrator=None if targets is None else _calibrator(targets),
        covariates=None if targets is None else _covariates(targets),
        **_read_forest(folder, parts, targets),
        known=_read_known(folder),
        novelty=_read_novelty(folder, config),
        **_read_records(folder),
        **_read_samples(folder, kind),
    )


def names_of_more(folder: Path) -> list[str]:
    """Names of the folders of models of further targets; mostly none.

    Raises
    ------
    InputError
        If they are no such names.
    """
    path = folder / "targets.json"
    if not path.is_file():
        return []
    names = _read_json(path).get("more", [])
    if not isinstance(names, list) or not all(
        isinstance(name, str) and is_name_of_more(name) for name in names
    ):
        raise InputError(f"{path} was edited: its further targets are {names!r:.200}.")
    return names


def is_name_of_more(name: str) -> bool:
    """Whether a folder of a further target may have this name."""
    return _NAME_OF_MORE.fullmatch(name) is not None


def check(folder: Path, level: str) -> str:
    """The kind of the saved model, once its files are sound; see `aam_core.model.validate`."""
    from safetensors.torch import load_file

    kind, config, parts, targets = _read(folder)
    _read_records(folder)
    if level == "max":
        _check_tensors(folder, config, parts)
        path = folder / "model.safetensors"
        _check_finite(load_file(str(path)), f"{path} was damaged or edited")
        _read_forest(folder, parts, targets)
        _read_known(folder)
        _read_novelty(folder, config)
        _read_samples(folder, kind)
    else:
        _shapes(folder)
    return kind


def _write_forest(forest: Forest, network_weight: float, folder: Path) -> None:
    from safetensors.numpy import save

    words = {
        "network_weight": network_weight,
        "covariates": forest.covariates,
        "sequences": forest.sequences,
    }
    write_json(folder / "forest.json", words, strict=True)
    # Made anew from its parts it is checked as when it is opened.
    arrays = forest.to_tensors()
    Forest.from_parts(forest.sequences, forest.covariates, arrays)
    (folder / "forest.safetensors").write_bytes(save(arrays))


def _write_known(known: KnownASVs, folder: Path) -> None:
    from safetensors.numpy import save

    (folder / "known.safetensors").write_bytes(save(known.to_tensors()))


def check_is_model(folder: Path) -> None:
    """Refuse, in one line that says what it is, a folder of something else."""
    if not folder.is_dir():
        refuse_artifact(folder)
        raise InputError(f"There is no model folder at {folder}.")
    if any((folder / name).exists() for name in ("config.json", "model.safetensors", STAGE)):
        return  # a model, which may be damaged
    best = folder / "checkpoint" / "best"
    if best.is_dir():
        raise InputError(
            f"{folder} is a run that has not ended: resume it (--resume), or take its best model "
            f"so far, which is in {best}."
        )
    what = next((text for name, text in _OTHERS.items() if (folder / name).exists()), "")
    names = first_five(sorted(path.name for path in folder.iterdir())) or "nothing"
    raise InputError(f"{folder} holds {what or names}, and no model (config.json is missing).")


def _read(folder: Path):
    """Kind, Config, parts and the content of targets.json (None for an encoder), checked."""
    if not folder.is_dir():
        raise InputError(f"There is no model folder at {folder}.")
    head = _read_json(folder / "config.json")
    where = folder / "config.json"
    if head.get("format") != _FORMAT:
        raise InputError(f"{where} is not that of an AAM model.")
    version = head.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise InputError(f"{where} has no valid format_version.")
    if version > FORMAT_VERSION:
        raise InputError(
            f"{folder} has format {version}, newer than this AAM reads ({FORMAT_VERSION}): "
            "upgrade AAM to open it."
        )
    if version >= 5:
        check_manifest(folder, optional=RECORDS)
    kind = head.get("kind")
    if kind not in _KINDS:
        raise InputError(f"{where} has kind {kind!r}; it must be one of {', '.join(_KINDS)}.")
    if head.get("vocabulary") != list(vocab.TOKENS):
        raise InputError(
            f"{where} has another vocabulary ({head.get('vocabulary')}) than this AAM "
            f"({', '.join(vocab.TOKENS)}): its tokens would be misread."
        )
    settings: Any = head.get("config")  # if it is no mapping, from_saved says so
    config = Config.from_saved(settings, str(where))
    parts = _parts(head.get("parts"), where)
    targets = None
    if kind != "encoder":
        targets = _read_json(folder / "targets.json")
        if version < 3:  # which knew no forests
            targets.setdefault("forest", False)
        _check_targets(targets, kind, parts, folder / "targets.json")
    return kind, config, parts, targets


def _parts(values, where: Path) -> dict:
    legal = {"nucleotide": bool, "distance": bool, "outputs": int, "sizes": list, "numbers": int}
    # Those of format 6 are written where they say something.
    optional = {
        **{"scale_sizes": [], "ranks": [], "columns": []},
        **dict.fromkeys(("count", "faith_pd", "unbounded", "presence", "halves"), False),
    }
    if isinstance(values, dict):
        values = {**optional, **values}
    # Those of format 6 are there where a link is.
    linked = {"link": str, "below": int, "above": int}
    if isinstance(values, dict) and "link" in values:
        legal |= linked
    legal |= {name: type(default) for name, default in optional.items()}
    # By type, as isinstance takes true for a number.
    sound = isinstance(values, dict) and {k: type(v) for k, v in values.items()} == legal
    lists = [name for name, kind in legal.items() if kind is list]
    if not sound or any(type(n) is not int or n < 1 for name in lists for n in values[name]):
        raise InputError(f"{where} has unreadable parts: {values!r}.")
    numbers = [values[name] for name, kind in legal.items() if kind is int]
    if min(numbers) < 0:
        raise InputError(f"{where} has unreadable parts: {values!r}.")
    return values | {name: tuple(values[name]) for name in lists}


def _covariates(targets: dict) -> Covariates | None:
    values = targets["covariates"]
    return None if values is None else Covariates.from_dict(values)


def _check_targets(targets, kind, parts, where):
    later = {"sets", "calibrator", "more"}  # that an earlier AAM did not write
    if set(targets) - later != {"target", "interval", "covariates", "forest"}:
        raise InputError(
            f"{where} was edited: it must hold target, interval, covariates and forest."
        )
    if type(targets["forest"]) is not bool:
        raise InputError(f"{where} was edited: its forest is {targets['forest']!r}.")
    covariates = _covariates(targets) or Covariates()
    if (covariates.sizes, len(covariates.numeric)) != (parts["sizes"], parts["numbers"]):
        raise InputError(f"{where} does not belong to this model: its covariates differ.")
    target = task_from_dict(targets["target"])
    theirs = {name: parts.get(name) for name in target.parts}
    linked = parts.get("link", "") == target.parts.get("link", "")
    if kind != target.model_kind or theirs != target.parts or not linked:
        expected = target.model_kind
        raise InputError(f"{where} does not belong to this model: it is of a {expected}.")
    _check_calibration(targets, len(target.classes), where)


def _check_calibration(targets: dict, classes: int, where: Path) -> None:
    """Refuse what was edited of the intervals, prediction sets and probabilities."""
    readers = {
        "interval": lambda: _intervals(targets["interval"]),
        "sets": lambda: _sets(targets),
        "calibrator": lambda: _calibrator(targets),
    }
    for name, read_part in readers.items():
        try:
            part = read_part()
            if isinstance(part, Isotonic) and len(part.steps) != classes:
                raise ValueError
        except ValueError:
            value = f"{targets.get(name)!r:.200}"
            raise InputError(f"{where} has an unreadable {name}: {value}.") from None


def _calibrator(targets: dict) -> Calibrator | None:
    values = targets.get("calibrator")
    return None if values is None else calibrator_from_dict(values)


def _intervals_to_json(intervals: tuple[Interval, ...]) -> Any:
    """One as such, as earlier formats have it; several as a list; None for none."""
    values = [interval.to_dict() for interval in intervals]
    return values if len(values) > 1 else values[0] if values else None


def _intervals(values: Any) -> tuple[Interval, ...]:
    """The inverse; `ValueError` where it cannot be one."""
    parts = values if isinstance(values, list) else [] if values is None else [values]
    return tuple(Interval.from_dict(part) for part in parts)


def _sets(targets: dict) -> PredictionSets | None:
    values = targets.get("sets")
    return None if values is None else PredictionSets(Scores.from_dict(values))


def _check_finite(weights: dict, what: str) -> None:
    """Raise `InputError`, which begins with ``what``, where a tensor has NaN or an infinity."""
    wrong = sorted(name for name, value in weights.items() if not value.isfinite().all())
    if wrong:
        raise InputError(
            f"{what}: {len(wrong)} of its {len(weights)} tensors have values that are not finite "
            f"({first_five(wrong)})."
        )


def _build(config: Config, parts: dict):
    from aam_core.models.network import Network, Parts

    return Network(config.model, Parts(**parts))


def _name(name: str) -> str:
    """Name of a saved tensor; up to format 2 that of the only member did not tell whose it is."""
    return f"members.0.{name}" if name.split(".")[0] in ("samples", "fusion", "target") else name


def _shapes(folder: Path) -> dict[str, list[int]]:
    """Names and shapes of the saved tensors, from the header alone."""
    from safetensors import SafetensorError, safe_open

    path = member(folder, "model.safetensors")
    if not path.is_file():
        raise InputError(f"{path} is missing.")
    try:
        with safe_open(str(path), framework="np") as file:
            return {_name(name): list(file.get_slice(name).get_shape()) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is truncated or not a safetensors file: {error}") from None


def _check_tensors(folder: Path, config: Config, parts: dict) -> None:
    """The saved tensors must be exactly those of the configuration."""
    import torch

    shapes, model = _shapes(folder), config.model
    # Before anything is built: each block and member has a tensor at least, so that edited numbers
    # cannot ask for millions of modules.
    if model.encoder.depth + model.members * (1 + model.sample.depth) > len(shapes):
        raise InputError(
            f"{folder / 'model.safetensors'} does not fit its config.json, which has more blocks "
            f"and members than there are tensors ({len(shapes)}). The folder was edited or mixed."
        )
    # Shapes without memory: an edited width must not allocate anything.
    with torch.device("meta"):
        wanted = {k: list(v.shape) for k, v in _build(config, parts).state_dict().items()}
    wrong = {
        "missing": sorted(set(wanted) - set(shapes)),
        "unexpected": sorted(set(shapes) - set(wanted)),
        "of another shape": sorted(k for k in wanted if k in shapes and wanted[k] != shapes[k]),
    }
    for what, names in wrong.items():
        if names:
            raise InputError(
                f"{folder / 'model.safetensors'} does not fit its config.json: {len(names)} "
                f"tensors are {what} ({first_five(names)}). The folder was edited or mixed."
            )


def _read_forest(folder: Path, parts: dict, targets: dict | None) -> dict:
    """The forest and the blend weight, as `Model` has them."""
    if targets is None or not targets["forest"]:
        return {}
    path = folder / "forest.json"
    values = _read_json(path)
    weight, sequences = values.get("network_weight"), values.get("sequences")
    whole = set(values) == {"network_weight", "covariates", "sequences"}
    texts = isinstance(sequences, list) and all(isinstance(dna, str) for dna in sequences)
    if not whole or not texts or type(values["covariates"]) is not int:
        raise InputError(f"{path} was edited: it must hold network_weight, covariates, sequences.")
    if not isinstance(weight, float) or not 0 <= weight <= 1:
        raise InputError(f"{path} has the network_weight {weight!r}; it must be from 0 to 1.")
    path = member(folder, "forest.safetensors")
    arrays = _read_arrays(path)
    try:
        forest = Forest.from_parts(sequences, values["covariates"], arrays)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    inputs = covariate_inputs(_covariates(targets))
    outputs = task_from_dict(targets["target"]).forest_outputs
    if (forest.outputs, forest.covariates) != (outputs, inputs):
        raise InputError(f"{path} does not belong to this model: its outputs or covariates differ.")
    return {"forest": forest, "network_weight": weight}


def _read_known(folder: Path) -> KnownASVs | None:
    path = member(folder, "known.safetensors")
    if not path.exists():  # of an earlier format: the manifest names what there must be
        return None
    try:
        return KnownASVs.from_tensors(_read_arrays(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _read_novelty(folder: Path, config: Config) -> Novelty | None:
    from aam_core.models.network import composition_size

    path = member(folder, "novelty.safetensors")
    if not path.exists():
        return None
    try:
        sizes = config.model.members, config.model.encoder.width, composition_size(config.model)
        return Novelty.from_tensors(_read_arrays(path), *sizes)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _read_arrays(path: Path) -> dict:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.is_file():
        raise InputError(f"{path} is missing.")
    try:
        return load_file(str(path))
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is truncated or not a safetensors file: {error}") from None


def _read_json(path: Path) -> dict:
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path} must hold a JSON object.")
    return value


def _read_folds(path: Path, samples: list[str]) -> list[int]:
    """The fold of each validation sample, from 0; none where a record of either is not there."""
    if not path.exists() or not samples:
        return []
    try:
        table = read_folds(path, samples)
        if table["repeat"].nunique() > 1:
            raise InputError(f"{path} has several repeats: a fit has one split.")
    except InputError as error:
        raise InputError(f"{error} It was edited: the model opens without it.") from None
    fold = dict(zip(table["sample-id"], table["fold"] - 1, strict=True))
    lost = [name for name in samples if name not in fold]
    if lost:
        raise InputError(
            f"{path} was damaged or edited: it has no fold for {len(lost)} of {len(samples)} "
            f"samples of val_samples.txt: {first_five(lost)}. The model opens without it."
        )
    return [int(fold[name]) for name in samples]


def _read_records(folder: Path) -> dict:
    """run.json and metrics.json, as `Model` has them."""
    metrics = folder / "metrics.json"
    return {
        "run": _read_json(folder / "run.json"),
        "metrics": _read_json(metrics) if metrics.exists() else None,
    }


def _read_samples(folder: Path, kind: str) -> dict:
    """The samples, their predictions and the history, as `Model` has them."""
    predictions = member(folder, "val_predictions.tsv")
    val_samples = _read_lines(member(folder, "val_samples.txt"))
    return {
        "train_samples": _read_lines(member(folder, "train_samples.txt")),
        "val_samples": val_samples,
        "val_folds": _read_folds(member(folder, "folds.tsv"), val_samples),
        "val_predictions": _read_predictions(predictions, kind) if predictions.exists() else None,
        "history": _read_history(member(folder, "history.tsv")),
    }


def _read_history(path: Path) -> list[dict]:
    """Losses and metrics of each epoch; none where the record is not there."""
    if not path.exists():
        return []
    try:
        # Of text, as Python reads numbers: to the last digit.
        table = pd.read_csv(path, sep="\t", dtype=str).astype(float)
        rows = table.astype({"epoch": int, "step": int}).to_dict("records")
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path} cannot be read: {reason}. It was edited: the model opens without it."
        ) from None
    # Not every epoch has a validation: what it lacks is blank in the table.
    return [{name: value for name, value in row.items() if value == value} for row in rows]


def _read_lines(path: Path) -> list[str]:
    # A record, which may have been taken away.
    if not path.exists():
        return []
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def _read_predictions(path: Path, kind: str) -> pd.DataFrame:
    task = task_of_model(kind)
    values_are_text = task is not None and task.text_values
    text = ("sample-id", "actual", "prediction") if values_are_text else ("sample-id",)
    try:
        # Ids and classes are text, be they written 007 or NA; numbers come back to the last digit.
        frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        frame = frame.astype({name: float for name in frame.columns if name not in text})
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    if "sample-id" not in frame:
        raise InputError(f"{path} was edited: it has no column 'sample-id'.")
    return frame.set_index("sample-id")
