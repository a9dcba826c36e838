"""A trained model: what it is made of, how it is saved, and how it is opened."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from aam_core import model_files
from aam_core.config import Config
from aam_core.data.covariates import Covariates
from aam_core.data.known_asvs import KnownASVs
from aam_core.ensemble.blending import parts_in_words
from aam_core.ensemble.conformal import PredictionSets, Scores
from aam_core.ensemble.forest import Forest
from aam_core.ensemble.intervals import Interval, in_words
from aam_core.ensemble.novelty import Novelty
from aam_core.ensemble.probabilities import Calibrator
from aam_core.errors import InputError
from aam_core.files.folders import MANIFEST, read_consistent, replacing_in
from aam_core.log import logger
from aam_core.summary import Summarized
from aam_core.tasks import Task

if TYPE_CHECKING:
    from aam_core.models.network import Network

__all__ = ["MORE", "Model", "as_model", "folders_of_more", "load_model", "validate"]


@dataclass(repr=False)
class Model(Summarized):
    """A trained network and all that is needed to use it.

    Attributes
    ----------
    kind : {'encoder', 'regressor', 'classifier'}
    config : Config
        The resolved configuration of the run.
    network : aam_core.models.network.Network
        In evaluation mode, on the CPU.
    target : Task or None
        The metadata column that is predicted; None for an encoder.
    intervals : tuple of Interval
        Of a regressor: how wide the prediction intervals of each target are; () where no sample was
        held out.
    sets : PredictionSets or None
        Of a classifier: what the prediction sets are made by.
    covariates : Covariates or None
        Metadata columns that the model reads beside the reads.
    forest : Forest or None
        Random forest of the ensemble, which may have a linear model beside its trees.
    network_weight : float
        Blend weight of the networks, in [0, 1]; the forest has the rest.
    known : KnownASVs or None
        What it was fitted or pretrained on; None where an AAM of format 4 or earlier saved it.
    calibrator : Calibrator or None
        Of a classifier: what makes its probabilities closer to frequencies; None where they stay.
    novelty : Novelty or None
        How far samples are from those of the training; None where few or none were held out, or an
        AAM of format 5 or earlier saved it.
    run : dict
        Where the model came from: versions, seed, samples, the encoder it started from.
    metrics : dict or None
        On the validation samples.
    train_samples, val_samples : list of str
    val_folds : list of int
        Fold of each of ``val_samples``, from 0: each member holds out one.
    val_predictions : DataFrame or None
        Index ``sample-id``; ``actual`` and ``prediction``, in real units; of a classifier a column
        of probabilities per class too.
    history : list of dict
        Losses and metrics of each epoch; empty where an AAM of before saved it.
    more : list of Model
        Of further targets that were learned together with this one.
    """

    kind: str
    config: Config
    network: Network
    target: Task | None = None
    intervals: tuple[Interval, ...] = ()
    sets: PredictionSets | None = None
    covariates: Covariates | None = None
    forest: Forest | None = None
    network_weight: float = 1.0
    known: KnownASVs | None = None
    calibrator: Calibrator | None = None
    novelty: Novelty | None = None
    run: dict = field(default_factory=dict)
    metrics: dict | None = None
    train_samples: list[str] = field(default_factory=list)
    val_samples: list[str] = field(default_factory=list)
    val_folds: list[int] = field(default_factory=list)
    val_predictions: pd.DataFrame | None = None
    history: list[dict] = field(default_factory=list)
    more: list[Model] = field(default_factory=list)

    @property
    def trained_samples(self) -> set[str]:
        """Ids of the samples that it was trained or validated on.

        Of an encoder of many studies, whose ids are ``STUDY:SAMPLE``, those within the studies too.
        """
        ids = {name for it in self.each for name in (*it.train_samples, *it.val_samples)}
        for study in self.run.get("studies", []):
            name = f"{study['name']}:"
            ids |= {one.removeprefix(name) for one in self.train_samples if one.startswith(name)}
        return ids

    @property
    def how_trained(self) -> str:
        """How it came to know its samples, as a clause."""
        if self.target is not None:
            return "fitted (with labels)"
        if self.run.get("studies"):
            return "pretrained (with labels of their study's metadata columns)"
        return "pretrained (without labels)"

    def unit_of(self, column: str) -> str:
        """Unit of a target, as the settings of the fit name it; '' where they name none."""
        columns = [one.task.column for one in self.each if one.target is not None]
        if len(columns) == 1 and "," in self.config.figure.units:
            return ""  # one of several targets, whose units these are
        return dict(zip(columns, self.config.figure.units_of(columns), strict=True)).get(column, "")

    @property
    def each(self) -> list[Model]:
        """A model of each target: itself, and `more`."""
        return [dataclasses.replace(self, more=[]), *self.more]

    @property
    def task(self) -> Task:
        """The target of a regressor or classifier; an encoder has none."""
        assert self.target is not None, self.kind
        return self.target

    def columns(self) -> tuple[str, ...]:
        """Metadata columns without a blank that it reads of each sample, beside the covariates."""
        needed = () if self.target is None else self.target.needs
        needed = (*needed, *(name for model in self.more for name in model.columns()))
        return tuple(dict.fromkeys([*needed, *self.interval_by]))

    @property
    def interval_by(self) -> tuple[str, ...]:
        """Metadata columns within whose groups intervals or prediction sets are calibrated."""
        scores = self.scores
        return () if scores is None else scores.by

    @property
    def scores(self) -> Scores | None:
        """What prediction sets, or the intervals of the first target, are calibrated by."""
        if self.sets is not None:
            return self.sets.scores
        return self.intervals[0].scores if self.intervals else None

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
        names = save_aside(directory, self.more, durable)
        with replacing_in(directory, model_files.FILES, manifest=True, durable=durable) as folder:
            model_files.write(self, folder, weights, names)
            _write_card(self, folder)
        remove_others(directory, names)
        return Path(directory)

    def _summary(self) -> tuple[str, dict[str, str]]:
        items = {}
        if self.target is not None:
            text, classes = self.target.column, self.target.classes
            items["target"] = f"{text} ({len(classes)} classes)" if classes else text
        if self.more:
            others = (model.task.column for model in self.more)
            items["further targets"] = ", ".join(others)
        if self.covariates is not None:
            items["covariates"] = str(self.covariates)
        size = sum(parameter.numel() for parameter in self.network.parameters())
        members = self.config.model.members
        parts = [f"{members} member{'s' * (members > 1)}, {size:,} parameters"]
        if self.forest is not None:
            parts.append(f"random forest of {len(self.forest.arrays['roots'])} trees")
            linear = self.forest.linear_share
            parts += ["linear model"] if linear else []
            parts.append(f"blend: {parts_in_words(self.network_weight, linear)}")
        items["ensemble"] = "; ".join(parts)
        items["samples"] = f"{len(self.train_samples)} training, {len(self.val_samples)} validation"
        for name in ("model", "distances", "nucleotides", "counts", "faith_pd", "taxonomy"):
            scores = (self.metrics or {}).get(name)
            if scores:
                label = "held-out metrics" if name == "model" else f"held-out {name}"
                items[label] = ", ".join(f"{key} {value:.4g}" for key, value in scores.items())
        for interval in self.intervals[:1]:
            width = (self.metrics or {}).get("model", {}).get("width")
            items[f"{interval.coverage:.0%} interval"] = in_words(interval.half_width, width)
        return f"Model: {self.kind}", items


def _write_card(model: Model, folder: Path) -> None:
    """Describe a model beside its weights; what fails here must not cost the model."""
    # Here, as it loads torch, which QIIME 2 would then do for every command.
    from aam_core import model_card

    try:
        text = model_card.card(model_card.facts(model))
    except Exception as error:
        logger.warning(
            f"the model is saved without a description ({type(error).__name__}: {error})"
        )
        text = f"# AAM {model.kind}\n\nIt could not be described.\n"  # not that of an earlier one
    (folder / model_card.CARD).write_text(text, encoding="utf-8")


MORE = "targets"
"""Folder, within that of a model of several targets, of the models of the further ones."""

DRAFT = ".new"
"""Folder there of a model that is being written."""


def save_aside(directory, models: list[Model], durable: bool) -> list[str]:
    """Save models of further targets below the folder of the first; return the folders' names.

    Each is called after its target and content: those of an earlier version stay until the first
    model, which names its own, is replaced.
    """
    names = []
    for number, model in enumerate(models, start=2):
        draft = Path(directory, MORE, DRAFT)
        shutil.rmtree(draft, ignore_errors=True)
        model.save(draft, durable=durable)
        digest = hashlib.sha256((draft / MANIFEST).read_bytes()).hexdigest()[:16]
        column = re.sub("[^A-Za-z0-9_-]", "_", model.task.column)[:40]
        name = f"{number}-{column}-{digest}"
        place = draft.with_name(name)
        if place.exists():
            shutil.rmtree(draft)
        else:
            draft.rename(place)
        names.append(name)
    return names


def remove_others(directory, names: list[str]) -> None:
    """Remove models of further targets that the model in ``directory`` does not name.

    What a user keeps in a folder of that name stays.
    """
    folder = Path(directory, MORE)
    if not folder.is_dir():
        return
    old = [
        place
        for place in folder.iterdir()
        if place.name not in names
        and (place.name == DRAFT or model_files.is_name_of_more(place.name))
    ]
    for place in old:
        shutil.rmtree(place, ignore_errors=True)
    if old and not any(folder.iterdir()):
        folder.rmdir()


def folders_of_more(folder: Path, directory: Path) -> list[Path]:
    """Folders of the further targets of the model in ``folder``, which belongs to ``directory``."""
    places = [directory / MORE / name for name in model_files.names_of_more(folder)]
    for place in places:
        manifest = place / MANIFEST
        digest = hashlib.sha256(manifest.read_bytes()).hexdigest() if manifest.is_file() else ""
        if not digest or not place.name.endswith(digest[:16]):
            raise InputError(
                f"{place}, of a further target of the model, is missing or was edited."
            )
    return places


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

    def read(folder: Path) -> Model:
        # Beside the stage of a version that is not published yet.
        more = [load_model(place) for place in folders_of_more(folder, Path(directory))]
        return Model(**model_files.read(folder), more=more)

    try:
        return read_consistent(directory, read)
    except InputError:
        model_files.check_is_model(Path(directory))  # says what the folder is instead
        raise


def as_model(model) -> Model:
    """A `Model`, opened if a folder was given."""
    return load_model(model) if isinstance(model, str | Path) else model


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

    def check(folder: Path) -> str:
        for place in folders_of_more(folder, Path(directory)):
            validate(place, level)
        return model_files.check(folder, level)

    return read_consistent(directory, check)
