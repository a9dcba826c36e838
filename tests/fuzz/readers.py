"""The public readers, each with the seeds that it reads and some use of what it read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aam_core.cli.options import read_ids
from aam_core.config import presets
from aam_core.config.resolve import read_settings
from aam_core.data.corpus import load_corpus
from aam_core.data.covariates import fit_covariates
from aam_core.data.distance_files import read_distances
from aam_core.data.metadata import read_metadata
from aam_core.data.readers import read_sequences, read_tree
from aam_core.data.study import load_study
from aam_core.data.tables import read_table
from aam_core.errors import InputError
from aam_core.evaluation import evaluate
from aam_core.model import load_model, validate
from aam_core.phylogeny.newick import tip_names
from aam_core.phylogeny.tree import Phylogeny
from aam_core.prediction import predict
from aam_core.tasks import task_named
from aam_core.training import checkpoint
from aam_core.tuning import space


@dataclass(frozen=True)
class Reader:
    """A reader.

    Attributes
    ----------
    seeds : tuple of str
        Names of files or folders.
    read : callable
        Takes the path of what is damaged, and the folder of the seeds.
    """

    seeds: tuple[str, ...]
    read: Callable[[Path, Path], object]


def _table(path, seeds):
    read_table(path)


def _study(path, seeds):
    load_study(path, sequences=seeds / "rep-seqs.fasta", metadata=seeds / "metadata.tsv")


def _sequences(path, seeds):
    load_study(seeds / "table.biom", sequences=path)
    read_sequences(path)


def _corpus(path, seeds):
    load_corpus(path)


def _tree(path, seeds):
    tree = read_tree(path)
    Phylogeny.from_tree(tree, [name for name in tip_names(tree) if name][:10])


def _distances(path, seeds):
    read_distances(path)
    load_study(seeds / "table.biom", distances=path, require_sequences=False)


def _metadata(path, seeds):
    """Read it, and use every column as a target and as a covariate."""
    frame = read_metadata(path)
    ids = list(frame.index)
    for name in frame.columns:
        for use in (
            lambda name=name: task_named("regression").fit(frame[name], ids),
            lambda name=name: task_named("classification").fit(frame[name], ids),
            lambda name=name: fit_covariates(frame, [name], ids),
        ):
            _refusing(use)


def _settings(path, seeds):
    config = presets.fitting("small").replace(read_settings(path))
    assert type(config).from_dict(config.to_dict()) == config


def _space(path, seeds):
    space.read_space(path)


def _model(path, seeds):
    validate(path)
    model = load_model(path)
    predict(
        model,
        seeds / "table.biom",
        sequences=seeds / "rep-seqs.fasta",
        metadata=seeds / "metadata.tsv",
    )
    model.save(path.parent / "again")
    shutil.rmtree(path.parent / "again")


def _checkpoint(path, seeds):
    checkpoint.load(checkpoint.find(path))


def _predictions(path, seeds):
    _refusing(lambda: evaluate(path, seeds / "metadata.tsv", "gradient"))
    evaluate(path, seeds / "metadata.tsv", "group")


def _ids(path, seeds):
    read_ids(path)


def _refusing(use) -> None:
    """One use of what was read may be refused, and the next is still tried."""
    try:
        use()
    except InputError as error:
        assert "\n" not in str(error)


READERS = {
    "table": Reader(
        ("table.biom", "table.json", "dense.json", "table.biom.qza", "table.biom.gz"), _table
    ),
    "study": Reader(("table.biom", "table.json"), _study),
    "sequences": Reader(("rep-seqs.fasta", "rep-seqs.fasta.qza", "rep-seqs.fasta.gz"), _sequences),
    "corpus": Reader(("rep-seqs.fasta", "corpus.txt"), _corpus),
    "tree": Reader(("tree.nwk", "quoted.nwk", "tree.nwk.qza", "tree.nwk.gz"), _tree),
    "distances": Reader(
        ("distances.tsv", "distances.csv", "distances.h5", "distances.tsv.qza"), _distances
    ),
    "metadata": Reader(("metadata.tsv", "declared.tsv"), _metadata),
    "configuration": Reader(("config.yaml",), _settings),
    "search space": Reader(("space.yaml",), _space),
    "model": Reader(("regressor", "classifier"), _model),
    "checkpoint": Reader(("checkpoint",), _checkpoint),
    "predictions": Reader(("regressor.tsv", "classifier.tsv"), _predictions),
    "sample ids": Reader(("ids.txt",), _ids),
}
