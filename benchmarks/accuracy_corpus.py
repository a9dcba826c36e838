"""Accuracy on public studies that the default was not chosen on: AAM beside the forest it contains.

Each fold of each target is measured by itself, and its result written as soon as it is there, so
that a run that ends goes on where it was: the first folds of all targets come before the second
ones. The networks take nearly all of the time, and no forest is part of their training; they are
kept in a folder (``--networks``), so that another forest is measured in minutes (``--again``).
The studies may be studied, not passed on: nothing of them is written but errors.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from accuracy_corpus_studies import MOST, SOURCES, CorpusSource, Loaded

from aam_core.baseline import baseline_forest
from aam_core.config.presets import fitting
from aam_core.data.splits import make_folds
from aam_core.ensemble.assemble import Trained, assemble
from aam_core.ensemble.calibration import calibrate
from aam_core.ensemble.forest_training import Progress
from aam_core.files.writing import replacing, write_json
from aam_core.fitting import FITS
from aam_core.log import labelled
from aam_core.model import Model, load_model
from aam_core.prediction import predict
from aam_core.preparation import splitter
from aam_core.tasks import task_named
from aam_core.training.parallel import ProcessGroup

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
RESULTS = ROOT / "benchmarks" / "results" / "accuracy_corpus.json"
NETWORKS = ROOT / "build" / "corpus"
DOCS = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- corpus: begin -->", "<!-- corpus: end -->"
FOLDS = 5

METHODS = {"forest": "random forest", "network": "AAM's networks alone", "aam": "**AAM**"}

LEGEND = f"""\
MAE: mean absolute error, in the target's units. Brier: Brier score of classes. Ratio: AAM's error
divided by the forest's. Random forest: 200 trees on all ASVs (`aam_core.baseline`). AAM: the
default fit, with no flags but the inputs. Folds: how many of {FOLDS} are measured; the samples are
the test samples of these. Where the metadata tell persons or animals apart, all samples of one are
in one fold. At most {MOST} samples of a study were drawn by seed, 2,500 of the pooled
adults. Networks' share: their blend weight, mean over the folds."""


class Silent(Progress):
    """Nobody watches."""

    def begin(self, trees: int) -> None: ...

    def advance(self, trees: int) -> None: ...

    def end(self) -> None: ...


@dataclasses.dataclass(frozen=True, eq=False)
class Fold:
    """One fold of a target.

    Attributes
    ----------
    source : CorpusSource
    loaded : Loaded
    train, test : list of str
    """

    source: CorpusSource
    loaded: Loaded
    train: list[str]
    test: list[str]

    @classmethod
    def of(cls, source: CorpusSource, number: int, corpus: Path) -> Fold:
        """The fold of a number from 0: as a cross-validation makes it."""
        loaded, kind = source.load(corpus), task_named(source.task)
        values = loaded.values
        options = {"groups": loaded.groups, "strata": kind.strata(values)}
        sides = make_folds(list(values.index), folds=FOLDS, seed=0, **options)
        return cls(source, loaded, *sides[number])

    def networks(self, folder: Path) -> Model:
        """The networks of the default fit, from the folder if they are there."""
        if not (folder / "manifest.json").exists():
            FITS[self.source.task](
                self.loaded.study.select(self.train),
                self.loaded.values.loc[self.train],
                group_by=self.groups,
                config=fitting().replace({"forest.trees": 0, "train.threads": 1}),
                output=folder,
            )
        return load_model(folder)

    @property
    def groups(self) -> pd.Series | None:
        """Of the training samples."""
        return None if self.loaded.groups is None else self.loaded.groups.loc[self.train]

    def assembled(self, model: Model) -> Model:
        """The default fit that has these networks, as `aam_core.fitting` makes it of them."""
        config = model.config.replace({"forest.trees": fitting().forest.trees})
        task = model.task
        values = self.loaded.values.loc[self.train]
        split = splitter(config)(self.train, groups=self.groups, strata=task.strata(values))
        assert split.val == model.val_samples
        if model.network.member_weight is not None:
            model.network.member_weight.fill_(1.0)  # they were chosen without a forest
        study = self.loaded.study.select(self.train)
        trained = Trained(model.network, study, split, values, config, task)
        group = ProcessGroup.single(config.train)
        ensemble = assemble(trained, group, labelled("corpus"), Silent())
        return dataclasses.replace(
            model,
            config=config,
            forest=ensemble.forest,
            network_weight=ensemble.network_weight,
            metrics={"trees": ensemble.trees},
            calibrator=calibrate(trained, ensemble).calibrator,
            intervals=(),
            sets=None,
        )

    def errors(self, frame: pd.DataFrame) -> list[float]:
        """Of each test sample: absolute, or the Brier score."""
        truth = self.loaded.values.loc[frame.index]
        if self.source.task == "regression":
            return (frame["prediction"] - truth).abs().tolist()
        classes = sorted(set(self.loaded.values))
        known = frame.reindex(columns=classes, fill_value=0.0).to_numpy(float)
        actual = (truth.to_numpy()[:, None] == np.array(classes)[None]).astype(float)
        return ((known - actual) ** 2).sum(axis=1).tolist()


def network_alone(model: Model) -> Model:
    """The model without its forest."""
    return dataclasses.replace(model, forest=None, network_weight=1.0, calibrator=None)


def timed(work: Callable[..., Model], *given) -> tuple[Model, float]:
    """A model, and the CPU seconds that it took."""
    start = time.process_time()
    return work(*given), time.process_time() - start


def measure(name: str, number: int, corpus: Path, networks: Path, known: dict) -> dict:
    """Errors of every method on the test samples; those ``known`` of the baseline stay."""
    fold = Fold.of(SOURCES[name], number, corpus)
    model, networks_s = timed(fold.networks, networks / f"{name}-{number}")
    model, forest_s = timed(fold.assembled, model)
    test = fold.loaded.study.select(fold.test)
    loaded, task = fold.loaded, fold.source.task
    errors = {
        "aam": sum(fold.errors(predict(model, test))),
        "network": sum(fold.errors(predict(network_alone(model), test))),
        "forest": known.get("errors", {}).get("forest"),
    }
    if errors["forest"] is None:
        sides = fold.train, fold.test
        frame = baseline_forest(loaded.study, *sides, loaded.values, task)
        errors["forest"] = sum(fold.errors(frame))
    return {
        "samples": len(fold.test),
        "training": len(fold.train),
        "errors": errors,
        "network_weight": model.network_weight,
        "trees": model.metrics["trees"],
        "cpu_s": {
            "networks": known.get("cpu_s", {}).get("networks", networks_s),
            "forest": forest_s,
        },
        "date": date.today().isoformat(),
    }


# --- output --------------------------------------------------------------------------------------


def table(results: dict[str, dict[str, dict]]) -> str:
    """A Markdown table with a row a target, and what it amounts to."""
    head = ["study: target", "", "folds", "samples", *METHODS.values(), "ratio", "networks' share"]
    rows, ratios = [head, ["---"] * len(head)], []
    for name, source in SOURCES.items():
        folds = list(results.get(name, {}).values())
        if not folds:
            continue
        samples = sum(each["samples"] for each in folds)
        errors = {m: sum(each["errors"][m] for each in folds) / samples for m in METHODS}
        ratios.append(errors["aam"] / errors["forest"])
        kind = "MAE" if source.task == "regression" else "Brier"
        digits = [f"{error:.3g}" for error in errors.values()]
        share = np.mean([each["network_weight"] for each in folds])
        row = [source.label, kind, str(len(folds)), f"{samples:,}", *digits]
        rows.append([*row, f"{ratios[-1]:.3f}", f"{share:.2f}"])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", in_words(np.array(ratios))])


def in_words(ratios: np.ndarray) -> str:
    """How often AAM is ahead, and how far behind at most."""
    if not len(ratios):
        return "Nothing is measured yet."
    return (
        f"Of {len(ratios)} targets AAM's error is below the forest's on {(ratios < 1).sum()} "
        f"({(ratios < 1).mean():.0%}), more than 1 % above it on {(ratios > 1.01).sum()} "
        f"(at most {max(ratios.max() - 1, 0):.1%}); the ratio is {ratios.mean():.3f} in the mean, "
        f"{np.median(ratios):.3f} in the median."
    )


def write_docs(results: dict, docs: Path) -> None:
    """Renew the table between the markers."""
    before, rest = docs.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    page = f"{before}{BEGIN}\n{table(results)}\n\n{LEGEND}\n{END}{after}"
    with replacing(docs) as file:
        file.write_text(page, encoding="utf-8")


def main() -> None:
    """Measure what is missing, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--corpus", type=Path, default=DATA / "corpus", help="Folder of the studies."
    )
    parser.add_argument("--networks", type=Path, default=NETWORKS, help="Where networks are kept.")
    parser.add_argument("--target", choices=SOURCES, action="append", help="This one; repeatable.")
    parser.add_argument("--folds", type=int, default=FOLDS, help=f"The first ones of {FOLDS}.")
    parser.add_argument("--again", action="store_true", help="Measure anew what has networks.")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON file.")
    parser.add_argument("--no-docs", action="store_true", help=f"Leave docs/{DOCS.name} alone.")
    args = parser.parse_args()

    def read() -> dict[str, dict[str, dict]]:
        return json.loads(args.output.read_text("utf-8")) if args.output.exists() else {}

    for number in range(args.folds):
        for name in args.target or SOURCES:
            there = (args.networks / f"{name}-{number}" / "manifest.json").exists()
            known = read().get(name, {}).get(str(number), {})
            if known and not (args.again and there):
                continue
            result = measure(name, number, args.corpus, args.networks, known)
            results = read()
            results[name] = results.get(name, {}) | {str(number): result}
            with replacing(args.output) as file:
                write_json(file, {each: results[each] for each in SOURCES if each in results})
            if not args.no_docs and args.output == RESULTS:
                write_docs(results, DOCS)
    print(table(read()))


if __name__ == "__main__":
    main()
