"""Whether a folder holds what the same command wrote before, and so may be written again.

Each test takes a `pathlib.Path` of a folder that is not empty; what a killed run left hidden in it
is that run's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from aam_core.files.folders import MANIFEST, STAGE, is_hidden

SCORES = ("metrics.json", "predictions.tsv")


def model_of(kind: str) -> Callable[[Path], bool]:
    """The test for a model of ``kind`` (encoder, regressor, classifier), or a run cut short."""

    def holds(folder: Path) -> bool:
        for place in (".", STAGE, "checkpoint/best", f"checkpoint/best/{STAGE}"):
            head = folder / place / "config.json"
            if head.exists():
                content = _read(head)
                return (content.get("format"), content.get("kind")) == ("aam", kind)
        return _names(folder) <= {"checkpoint", "logs"}

    return holds


def study(folder: Path) -> bool:
    """The files of a simulated study."""
    files = ("table.biom", "rep-seqs.fasta", "tree.nwk", "metadata.tsv")
    return all((folder / name).is_file() for name in files)


def cross_validation(folder: Path) -> bool:
    """Predictions and figures, of folds."""
    return _scores(folder) and "per_fold" in _read(_whole(folder) / "metrics.json")


def evaluation(folder: Path) -> bool:
    """Predictions and figures, not of folds."""
    return _scores(folder) and "per_fold" not in _read(_whole(folder) / "metrics.json")


def search(folder: Path) -> bool:
    """A search for settings, at whatever trial it was stopped."""
    held = folder / "tune.db"
    if not held.is_file():
        return False
    with open(held, "rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def range_test(folder: Path) -> bool:
    """What a range test of the learning rate found."""
    return {"lr.tsv"} <= _names(_whole(folder)) <= {"lr.tsv", "lr.png"}


def nothing(folder: Path) -> bool:
    """What a run leaves that was killed before it wrote a file, whatever run it was."""
    return not _names(folder) and not (folder / STAGE / MANIFEST).exists()


def _scores(folder: Path) -> bool:
    folder = _whole(folder)
    # A model's folder has figures of its own.
    model = (folder / "config.json").exists()
    return not model and all((folder / name).is_file() for name in SCORES)


def _whole(folder: Path) -> Path:
    stage = folder / STAGE
    return stage if (stage / MANIFEST).is_file() else folder


def _names(folder: Path) -> set[str]:
    """Names of what is in a folder, but for what writers hide there while they write."""
    return {entry.name for entry in folder.iterdir() if not is_hidden(entry.name)}


def _read(path: Path) -> dict:
    """What a JSON file maps; nothing where it is not such a file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
