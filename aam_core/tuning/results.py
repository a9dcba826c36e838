"""What a search has found so far: a line a trial, a table, the best settings and a plot."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from aam_core import plots
from aam_core.config import Config
from aam_core.errors import AAMError
from aam_core.files.folders import replacing_in
from aam_core.tuning.trial import Task

ENDED = ("complete", "pruned", "failed", "interrupted")
"""States of trials that are shown."""

FIRST = 3
"""Trials of which at least one must succeed."""

COLUMNS = ("number", "state", "value", "epochs")


@dataclass
class Tuned:
    """The outcome of a search.

    Attributes
    ----------
    config : Config
        The configuration searched from, with the best settings.
    settings : dict
        Those alone, by ``section.field``.
    value : float
        Their figure.
    metric : str
        Its name in the logs.
    trials : DataFrame
        A row a trial: ``number``, ``state``, ``value``, ``epochs``, the settings, and ``error``.
    """

    config: Config
    settings: dict
    value: float
    metric: str
    trials: pd.DataFrame


def state_of(trial) -> str:
    """One of `ENDED`, or 'running' or 'waiting'."""
    if trial.state.name == "FAIL":  # one that was given up has noted why
        return "failed" if "error" in trial.user_attrs else "interrupted"
    return trial.state.name.lower()


def table(trials, task: Task) -> pd.DataFrame:
    """The finished ones of Optuna's trials; of a pruned one, ``value`` is the best it reached.

    States are complete, pruned, failed, and interrupted, which counts as no trial.
    """
    rows = []
    for trial in trials:
        state = state_of(trial)
        if state not in ENDED:
            continue
        reached = [v for v in trial.intermediate_values.values() if np.isfinite(v)]
        value = trial.value if state == "complete" else None
        if state == "pruned" and reached:
            value = task.best(reached)
        epochs = trial.user_attrs.get("epochs", 0)
        settings = {path: trial.params.get(path) for path in task.space}
        head = dict(zip(COLUMNS, (trial.number, state, value, epochs), strict=True))
        rows.append({**head, **settings, "error": trial.user_attrs.get("error")})
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *task.space, "error"])
    return frame.astype({"value": float})


def counted(frame: pd.DataFrame) -> pd.DataFrame:
    """The trials that ran to an end of their own."""
    return frame[frame["state"] != "interrupted"]


def best_row(frame: pd.DataFrame, task: Task) -> pd.Series | None:
    """The best complete trial, the first of equals; None where there is none."""
    done = frame[frame["state"] == "complete"]
    if not len(done):
        return None
    values = done["value"]
    return done.loc[values.idxmax() if task.direction == "maximize" else values.idxmin()]


class Board:
    """Reports finished trials, and keeps the files of a search up to them.

    Parameters
    ----------
    search : optuna.Study
    task : Task
    trials : int
        How many are asked for.
    folder : Path
    """

    def __init__(self, search, task: Task, trials: int, folder: Path):
        # Now, so that Ctrl-C cannot leave half of it when the last plot is made.
        import matplotlib.figure  # noqa: F401

        self.search = search
        self.task = task
        self.trials = trials
        self.folder = folder
        self.shown = set(self.table()["number"])

    def table(self) -> pd.DataFrame:
        """All finished trials, as `table` has them."""
        return table(self.search.get_trials(deepcopy=False), self.task)

    def update(self) -> None:
        """Show what has finished since the last call, a line each, and write the files anew.

        Raises
        ------
        AAMError
            If every one of the first trials failed.
        """
        frame = self.table()
        ended = counted(frame)
        fresh = ended[~ended["number"].isin(self.shown)]
        if len(frame) == len(self.shown):
            return
        self.shown = set(frame["number"])
        best = best_row(frame, self.task)
        for place, (_, row) in enumerate(fresh.iterrows(), start=len(ended) - len(fresh) + 1):
            say(f"tune: {place}/{self.trials}  {self._line(row, best)}")
        self.write(frame, best)
        if len(ended) >= FIRST and (ended["state"] == "failed").all():
            raise AAMError(
                f"The first {len(ended)} trials all failed; the last: {ended['error'].iloc[-1]}"
            )

    def write(self, frame: pd.DataFrame, best: pd.Series | None) -> None:
        """Replace ``trials.tsv`` and ``best.yaml`` together, and then ``trials.png``."""
        names = ("trials.tsv", "best.yaml", "trials.png")
        with replacing_in(self.folder, names, durable=False) as folder:  # all is in Optuna's file
            frame.to_csv(folder / "trials.tsv", sep="\t", index=False)
            if best is not None:
                text = f"# val/{self.task.metric} {best['value']:.6g} in trial {best['number']}\n"
                text += as_yaml(self.settings(best["number"]))
                (folder / "best.yaml").write_text(text, encoding="utf-8")
        if best is not None:
            draw = functools.partial(
                plots.trials, frame, self.task.metric, self.task.direction == "maximize"
            )
            plots.attempt(self.folder / "trials.png", draw)

    def settings(self, number: int) -> dict:
        """The settings of a trial, by ``section.field``."""
        (found,) = (t for t in self.search.get_trials(deepcopy=False) if t.number == number)
        return self.task.settings(found.params)

    def _line(self, row, best) -> str:
        number, metric = row["number"], self.task.metric
        if row["state"] == "failed":
            return f"trial {number} failed: {row['error']}"
        text = f"trial {number}: {metric} {row['value']:.4g}"
        if row["state"] == "pruned":
            text += f", pruned after {row['epochs']} epochs"
        return f"{text}  (best {best['value']:.4g}, trial {best['number']})"


def as_yaml(settings: dict) -> str:
    """Settings as ``--config`` reads them."""
    import yaml

    nested: dict = {}
    for path, value in settings.items():
        *parents, leaf = path.split(".")
        node = nested
        for name in parents:
            node = node.setdefault(name, {})
        node[leaf] = value
    return yaml.safe_dump(nested, sort_keys=False)


def say(text: str) -> None:
    """One line on stderr; nothing for an empty text."""
    if text:
        print(text, file=sys.stderr, flush=True)
