"""Saved models: a folder of JSON and safetensors. Opening one cannot run code.

``config.json`` (format, version, kind, vocabulary, parts, configuration), ``model.safetensors``,
``run.json`` (where it came from), and of a predictor ``targets.json`` and, where trees are blended
with the network, ``forest.json`` and ``forest.safetensors``. A model is rebuilt from these alone.
``known.safetensors`` (since format 5) tells the ASVs that it was fitted on. Beside them are
records: ``metrics.json``, ``train_samples.txt``, ``val_samples.txt``, ``val_predictions.tsv``,
which may be taken away.

``manifest.json`` (since format 5) lists the size and SHA-256 of all of them: whatever `Model.write`
writes. `load_model` and `validate` refuse a folder in which one differs. Numbers that are not
finite are refused when a model is saved and when it is opened.

A new, renamed or removed configuration field, part or file that a model is rebuilt from raises
``FORMAT_VERSION``, so that an older AAM says "upgrade" instead of naming what it does not know.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from aam_core import vocab
from aam_core.config import Config
from aam_core.data.covariates import Covariates
from aam_core.data.known_asvs import KnownASVs
from aam_core.ensemble.forest import Forest, covariate_inputs
from aam_core.errors import InputError, first_five
from aam_core.files.folders import check_manifest, read_consistent, replacing_in
from aam_core.files.reading import member, read_json
from aam_core.files.writing import write_json
from aam_core.tasks import TASKS, Task, task_from_dict, task_of_model

FORMAT = "aam"
FORMAT_VERSION = 5
KINDS = ("encoder", *(task.model_kind for task in TASKS.values()))
FILES = (
    "config.json",
    "model.safetensors",
    "run.json",
    "targets.json",
    "forest.json",
    "forest.safetensors",
    "known.safetensors",
    "metrics.json",
    "train_samples.txt",
    "val_samples.txt",
    "val_predictions.tsv",
    "val_predictions.png",
    "val_distances.png",
    "losses.png",
)
"""Names of all that a run may write; none of an earlier run's stays beside a new model."""

RECORDS = ("metrics.json", "train_samples.txt", "val_samples.txt", "val_predictions.tsv")
"""Files that may be taken away from a saved model."""


@dataclass
class Model:
    """A trained network and all that is needed to use it.

    Attributes
    ----------
    kind : {'encoder', 'regressor', 'classifier'}
    config : Config
        The resolved configuration of the run.
    network : aam_core.models.network.Network
        In evaluation mode, on the CPU.
    target : Task or None
        None for an encoder.
    interval : dict or None
        Of a regressor: ``coverage`` of its prediction interval, and the interval's ``half_width``
        in the target's units.
    covariates : Covariates or None
        Metadata columns that the model reads beside the reads.
    forest : Forest or None
        Trees that predict beside the network.
    network_weight : float
        Share of the network in what both predict together, in [0, 1].
    known : KnownASVs or None
        What it was fitted or pretrained on; None where an AAM of format 4 or earlier saved it.
    run : dict
        Where the model came from: versions, seed, samples, the encoder it started from.
    metrics : dict or None
        On the validation samples.
    train_samples, val_samples : list of str
    val_predictions : DataFrame or None
        Index ``sample-id``; ``actual`` and ``prediction``, in real units; of a classifier a column
        of probabilities per class too.
    history : list of dict
        Losses of each epoch. Not saved.
    """

    kind: str
    config: Config
    network: object
    target: Task | None = None
    interval: dict | None = None
    covariates: Covariates | None = None
    forest: Forest | None = None
    network_weight: float = 1.0
    known: KnownASVs | None = None
    run: dict = field(default_factory=dict)
    metrics: dict | None = None
    train_samples: list[str] = field(default_factory=list)
    val_samples: list[str] = field(default_factory=list)
    val_predictions: pd.DataFrame | None = None
    history: list[dict] = field(default_factory=list)

    def save(self, directory, weights: dict | None = None, durable: bool = True) -> Path:
        """Write the folder, all or nothing; files of other names in it stay.

        Parameters
        ----------
        directory : path
        weights : dict of Tensor, optional
            To be written instead of the network's own.
        durable : bool
            As `aam_core.files.folders.replacing_in` takes it.

        Raises
        ------
        InputError
            If a number of the model is not finite, or the folder cannot be written.
        """
        with replacing_in(directory, FILES, manifest=True, durable=durable) as folder:
            self.write(folder, weights)
        return Path(directory)

    def write(self, folder: Path, weights: dict | None = None) -> None:
        """Write every file into ``folder``, which exists and belongs to the caller."""
        from safetensors.torch import save

        weights = self.network.state_dict() if weights is None else weights
        _check_finite(weights, "The training diverged (lower optim.lr), and its model is not saved")
        config = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "kind": self.kind,
            "vocabulary": list(vocab.TOKENS),
            "parts": self.network.parts.to_dict(),
            "config": self.config.to_dict(),
        }
        write_json(folder / "config.json", config, strict=True)
        weights = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
        # save_file would make a file that its owner alone can read.
        (folder / "model.safetensors").write_bytes(save(weights))
        write_json(folder / "run.json", self.run, strict=True)
        if self.target is not None:
            targets = {
                "target": self.target.to_dict(),
                "interval": self.interval,
                "covariates": None if self.covariates is None else self.covariates.to_dict(),
                "forest": self.forest is not None,
            }
            write_json(folder / "targets.json", targets, strict=True)
        if self.forest is not None:
            self._write_forest(folder)
        if self.known is not None:
            self._write_known(folder)
        if self.metrics is not None:
            write_json(folder / "metrics.json", self.metrics)
        for name, ids in (("train", self.train_samples), ("val", self.val_samples)):
            if ids:
                text = "".join(f"{sample}\n" for sample in ids)
                (folder / f"{name}_samples.txt").write_text(text, encoding="utf-8")
        if self.val_predictions is not None:
            self.val_predictions.to_csv(
                folder / "val_predictions.tsv", sep="\t", index_label="sample-id"
            )

    def _write_forest(self, folder: Path) -> None:
        from safetensors.numpy import save

        words = {
            "network_weight": self.network_weight,
            "covariates": self.forest.covariates,
            "sequences": self.forest.sequences,
        }
        write_json(folder / "forest.json", words, strict=True)
        # Made anew from its parts it is checked as when it is opened.
        arrays = self.forest.to_tensors()
        Forest.from_parts(self.forest.sequences, self.forest.covariates, arrays)
        (folder / "forest.safetensors").write_bytes(save(arrays))

    def _write_known(self, folder: Path) -> None:
        from safetensors.numpy import save

        (folder / "known.safetensors").write_bytes(save(self.known.to_tensors()))


def load_model(directory) -> Model:
    """Open a saved model from its folder alone.

    Parameters
    ----------
    directory : path
        Folder that ``aam pretrain`` or a fit wrote.

    Raises
    ------
    InputError
        If something is missing, truncated, edited, damaged, not finite, of a newer format or
        another vocabulary.
    """
    return read_consistent(directory, _load)


def _load(folder: Path) -> Model:
    from safetensors.torch import load_file

    kind, config, parts, targets = _read(folder)
    _check_tensors(folder, config, parts)
    network = _build(config, parts)
    weights = load_file(str(folder / "model.safetensors"))
    _check_finite(weights, f"{folder / 'model.safetensors'} was damaged or edited")
    network.load_state_dict({_name(name): value for name, value in weights.items()})
    network.eval()
    return Model(
        kind=kind,
        config=config,
        network=network,
        target=None if targets is None else task_from_dict(targets["target"]),
        interval=None if targets is None else targets["interval"],
        covariates=None if targets is None else _covariates(targets),
        **_read_forest(folder, parts, targets),
        known=_read_known(folder),
        **_read_records(folder),
        **_read_samples(folder, kind),
    )


def validate(directory, level: str = "max") -> str:
    """Check a folder without building its network.

    Parameters
    ----------
    directory : path
    level : {'min', 'max'}
        'min' compares every file with the manifest, and reads the JSON files and the header of the
        weights; 'max' reads all, and compares the names and shapes of the tensors with the
        configuration: what it accepts, `load_model` opens.

    Returns
    -------
    str
        Kind of the model.

    Raises
    ------
    InputError
        As `load_model`.
    """
    return read_consistent(directory, lambda folder: _validate(folder, level))


def _validate(folder: Path, level: str) -> str:
    from safetensors.torch import load_file

    kind, config, parts, targets = _read(folder)
    _read_records(folder)
    if level == "max":
        _check_tensors(folder, config, parts)
        path = folder / "model.safetensors"
        _check_finite(load_file(str(path)), f"{path} was damaged or edited")
        _read_forest(folder, parts, targets)
        _read_known(folder)
        _read_samples(folder, kind)
    else:
        _shapes(folder)
    return kind


def _read(folder: Path):
    """Kind, Config, parts and the content of targets.json (None for an encoder), checked."""
    if not folder.is_dir():
        raise InputError(f"There is no model folder at {folder}.")
    head = _read_json(folder / "config.json")
    where = folder / "config.json"
    if head.get("format") != FORMAT:
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
    if kind not in KINDS:
        raise InputError(f"{where} has kind {kind!r}; it must be one of {', '.join(KINDS)}.")
    if head.get("vocabulary") != list(vocab.TOKENS):
        raise InputError(
            f"{where} has another vocabulary ({head.get('vocabulary')}) than this AAM "
            f"({', '.join(vocab.TOKENS)}): its tokens would be misread."
        )
    config = Config.from_dict(head.get("config"), str(where))
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
    sound = isinstance(values, dict) and {k: type(v) for k, v in values.items()} == legal
    if not sound or any(type(n) is not int or n < 1 for n in values["sizes"]):
        raise InputError(f"{where} has unreadable parts: {values!r}.")
    if min(values["outputs"], values["numbers"]) < 0:
        raise InputError(f"{where} has unreadable parts: {values!r}.")
    return values | {"sizes": tuple(values["sizes"])}


def _covariates(targets: dict) -> Covariates | None:
    values = targets["covariates"]
    return None if values is None else Covariates.from_dict(values)


def _check_targets(targets, kind, parts, where):
    if set(targets) != {"target", "interval", "covariates", "forest"}:
        raise InputError(
            f"{where} was edited: it must hold target, interval, covariates and forest."
        )
    if type(targets["forest"]) is not bool:
        raise InputError(f"{where} was edited: its forest is {targets['forest']!r}.")
    covariates = _covariates(targets) or Covariates()
    if (covariates.sizes, len(covariates.numeric)) != (parts["sizes"], parts["numbers"]):
        raise InputError(f"{where} does not belong to this model: its covariates differ.")
    target = task_from_dict(targets["target"])
    if kind != target.model_kind or target.outputs != parts["outputs"]:
        raise InputError(f"{where} does not belong to this model: it is of a {target.model_kind}.")
    interval = targets["interval"]
    if interval is not None and not (
        isinstance(interval, dict)
        and set(interval) == {"coverage", "half_width"}
        and all(isinstance(value, float) and 0 <= value < math.inf for value in interval.values())
    ):
        raise InputError(f"{where} has an unreadable interval: {interval!r}.")


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
        with safe_open(str(path), framework="np") as held:
            return {_name(name): list(held.get_slice(name).get_shape()) for name in held.keys()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is truncated or not a safetensors file: {error}") from None


def _check_tensors(folder: Path, config: Config, parts: dict) -> None:
    """The saved tensors must be exactly those of the configuration."""
    import torch

    found, model = _shapes(folder), config.model
    if model.encoder.depth + model.members * (1 + model.sample.depth) > len(found):
        raise InputError(
            f"{folder / 'model.safetensors'} does not fit its config.json, which has more blocks "
            f"and members than there are tensors ({len(found)}). The folder was edited or mixed."
        )
    with torch.device("meta"):
        wanted = {k: list(v.shape) for k, v in _build(config, parts).state_dict().items()}
    wrong = {
        "missing": sorted(set(wanted) - set(found)),
        "unexpected": sorted(set(found) - set(wanted)),
        "of another shape": sorted(k for k in wanted if k in found and wanted[k] != found[k]),
    }
    for what, names in wrong.items():
        if names:
            raise InputError(
                f"{folder / 'model.safetensors'} does not fit its config.json: {len(names)} "
                f"tensors are {what} ({first_five(names)}). The folder was edited or mixed."
            )


def _read_forest(folder: Path, parts: dict, targets: dict | None) -> dict:
    """The forest and the network's weight, as `Model` has them."""
    if targets is None or not targets["forest"]:
        return {}
    path = folder / "forest.json"
    held = _read_json(path)
    weight, sequences = held.get("network_weight"), held.get("sequences")
    whole = set(held) == {"network_weight", "covariates", "sequences"}
    texts = isinstance(sequences, list) and all(isinstance(dna, str) for dna in sequences)
    if not whole or not texts or type(held["covariates"]) is not int:
        raise InputError(f"{path} was edited: it must hold network_weight, covariates, sequences.")
    if not isinstance(weight, float) or not 0 <= weight <= 1:
        raise InputError(f"{path} has the network_weight {weight!r}; it must be from 0 to 1.")
    path = member(folder, "forest.safetensors")
    arrays = _read_arrays(path)
    try:
        forest = Forest.from_parts(sequences, held["covariates"], arrays)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    inputs = covariate_inputs(_covariates(targets))
    if (forest.outputs, forest.covariates) != (parts["outputs"], inputs):
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


def _read_records(folder: Path) -> dict:
    """run.json and metrics.json, as `Model` has them."""
    metrics = folder / "metrics.json"
    return {
        "run": _read_json(folder / "run.json"),
        "metrics": _read_json(metrics) if metrics.exists() else None,
    }


def _read_samples(folder: Path, kind: str) -> dict:
    """The samples and their predictions, as `Model` has them."""
    predictions = member(folder, "val_predictions.tsv")
    return {
        "train_samples": _read_lines(member(folder, "train_samples.txt")),
        "val_samples": _read_lines(member(folder, "val_samples.txt")),
        "val_predictions": _read_predictions(predictions, kind) if predictions.exists() else None,
    }


def _read_lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def _read_predictions(path: Path, kind: str) -> pd.DataFrame:
    task = task_of_model(kind)
    text = (
        ("sample-id",) if task and not task.text_values else ("sample-id", "actual", "prediction")
    )
    try:
        # Ids and classes are text, be they written 007 or NA; numbers come back to the last digit.
        frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        frame = frame.astype({name: float for name in frame.columns if name not in text})
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    if "sample-id" not in frame:
        raise InputError(f"{path} was edited: it has no column 'sample-id'.")
    return frame.set_index("sample-id")
