"""What a folder of AAM holds: whether it is an earlier output of the same kind, to be replaced.

Each test takes the `pathlib.Path` of a folder that is not empty. Hidden files that a killed run
left in it count as that run's output.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aam_core.errors import InputError, lookup
from aam_core.files.folders import MANIFEST, STAGE, is_hidden
from aam_core.files.writing import check_folder

__all__ = [
    "EMBEDDING",
    "KINDS",
    "check_output",
    "is_any_model",
    "is_baseline",
    "is_cross_validation",
    "is_embedding",
    "is_empty",
    "is_evaluation",
    "is_explanation",
    "is_model",
    "is_range_test",
    "is_report",
    "is_search",
    "is_study",
]

EMBEDDING = {
    *("vectors.tsv", "neighbours.tsv", "distances.tsv", "ordination.txt"),
    *("pcoa.svg", "pcoa.pdf", "pcoa.png"),
}
"""Files that ``aam embed`` may write."""

_SCORES = ("metrics.json", "predictions.tsv")


def is_model(kind: str) -> Callable[[Path], bool]:
    """The test for a model of ``kind`` (encoder, regressor, classifier) or an interrupted run."""

    def test(folder: Path) -> bool:
        content = _configuration(folder)
        if content is not None:
            return (content.get("format"), content.get("kind")) == ("aam", kind)
        return _names(folder) <= {"checkpoint", "logs"}

    return test


def is_any_model(folder: Path) -> bool:
    """A model of whatever kind, or the checkpoints of an interrupted run."""
    content = _configuration(folder)
    return (folder / "checkpoint").is_dir() or bool(content and content.get("format") == "aam")


def is_study(folder: Path) -> bool:
    """The files of a simulated study."""
    files = ("table.biom", "rep-seqs.fasta", "tree.nwk", "metadata.tsv")
    return all((folder / name).is_file() for name in files)


def is_cross_validation(folder: Path) -> bool:
    """Predictions and metrics with folds."""
    return _has_scores(folder) and "per_fold" in _read_json(_complete(folder) / "metrics.json")


def is_baseline(folder: Path) -> bool:
    """Predictions and metrics of a baseline on a split."""
    folder = _complete(folder)
    names = ("metrics.json", "val_predictions.tsv")
    if (folder / "config.json").exists() or not all((folder / it).is_file() for it in names):
        return False
    return "method" in _read_json(folder / "metrics.json")


def is_evaluation(folder: Path) -> bool:
    """Predictions and metrics without folds."""
    return _has_scores(folder) and "per_fold" not in _read_json(_complete(folder) / "metrics.json")


def is_report(folder: Path) -> bool:
    """A page with its tables."""
    folder = _complete(folder)
    return (folder / "report.html").is_file() and (folder / MANIFEST).is_file()


def is_explanation(folder: Path) -> bool:
    """Importances of ASVs, or the attention of a model."""
    return (_complete(folder) / "explanation.json").is_file()


def is_search(folder: Path) -> bool:
    """A search for settings, wherever it was stopped."""
    storage = folder / "tune.db"
    if not storage.is_file():
        return False
    with open(storage, "rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def is_range_test(folder: Path) -> bool:
    """A range test of the learning rate."""
    return {"lr.tsv"} <= _names(_complete(folder)) <= {"lr.tsv", "lr.png"}


def is_embedding(folder: Path) -> bool:
    """Vectors, and what was made of them."""
    return {"vectors.tsv"} <= _names(_complete(folder)) <= EMBEDDING


def is_empty(folder: Path) -> bool:
    """No file but those hidden ones of a run that was killed before it had written any."""
    return not _names(folder) and not (folder / STAGE / MANIFEST).exists()


KINDS: dict[str, Callable[[Path], bool]] = {
    "a model": is_any_model,
    "a cross-validation": is_cross_validation,
    "an evaluation": is_evaluation,
    "a baseline": is_baseline,
    "a report": is_report,
    "an explanation": is_explanation,
    "an embedding": is_embedding,
    "a search for settings": is_search,
    "a range test": is_range_test,
    "a study": is_study,
}
"""What a folder may hold -> its test."""


def check_output(directory, kind: str) -> None:
    """Check, before the work is done, that an output of this kind may be written.

    A folder with files of the user's own is taken, unlike by the command line: they stay.

    Parameters
    ----------
    directory : path
        May be absent.
    kind : str
        One of `KINDS`.

    Raises
    ------
    InputError
        As `check_folder`; or if the folder holds an output of another kind, such as a model, whose
        files would be removed, or mixed with the new ones.
    """
    test = lookup(KINDS, kind, "kind of output")
    check_folder(directory)
    folder = Path(directory)
    if not folder.is_dir() or test(folder):
        return
    kinds = [name for name, other in KINDS.items() if other(folder)]
    if kinds:
        raise InputError(
            f"{directory} holds {kinds[0]}, which {kind} would replace in part: name a new or an "
            "empty folder."
        )


def _configuration(folder: Path) -> dict[str, Any] | None:
    """That of the model in a folder, or of the best checkpoint; None without one."""
    for place in (".", STAGE, "checkpoint/best", f"checkpoint/best/{STAGE}"):
        config = folder / place / "config.json"
        if config.exists():
            return _read_json(config)
    return None


def _has_scores(folder: Path) -> bool:
    folder = _complete(folder)
    is_model_folder = (folder / "config.json").exists()  # which has metrics of its own
    return not is_model_folder and all((folder / name).is_file() for name in _SCORES)


def _complete(folder: Path) -> Path:
    """The folder, or the stage in it where that was written completely but not yet renamed."""
    stage = folder / STAGE
    return stage if (stage / MANIFEST).is_file() else folder


def _names(folder: Path) -> set[str]:
    """Names of what is in a folder, without what writers hide there while they write."""
    return {entry.name for entry in folder.iterdir() if not is_hidden(entry.name)}


def _read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file; an empty one where the file is something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
