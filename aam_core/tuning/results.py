"""Results of a search so far: a message per trial, a table, the best settings and a plot."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from aam_core import plots
from aam_core.config import Config
from aam_core.errors import AAMError
from aam_core.files.folders import replacing_in
from aam_core.log import logger
from aam_core.tuning.trial import Objective

__all__ = [
    "FINISHED_STATES",
    "TrialsReport",
    "TuningResult",
    "as_yaml",
    "best_row",
    "counted",
    "trial_state",
    "trials_table",
]

FINISHED_STATES = ("complete", "pruned", "failed", "interrupted")
"""States of the trials in the table."""

_FIRST_TRIALS = 3
"""If so many trials all fail, the search ends."""

_COLUMNS = ("number", "state", "value", "epochs")


@dataclass
class TuningResult:
    """The result of a search.

    Attributes
    ----------
    config : Config
        The configuration of the search, with the best settings.
    settings : dict
        These settings alone, by ``section.field``.
    value : float
        Metric of the best trial.
    metric : str
        Name of the metric, without ``val/``.
    trials : DataFrame
        A row per trial: ``number``, ``state``, ``value``, ``epochs``, the settings, and ``error``.
    """

    config: Config
    settings: dict
    value: float
    metric: str
    trials: pd.DataFrame


def trial_state(trial) -> str:
    """One of `FINISHED_STATES`, or 'running' or 'waiting'."""
    if trial.state.name == "FAIL":  # a trial whose settings cannot be fitted has a reason noted
        return "failed" if "error" in trial.user_attrs else "interrupted"
    return trial.state.name.lower()


def trials_table(trials, objective: Objective) -> pd.DataFrame:
    """A row for each finished trial of Optuna's; the ``value`` of a pruned one is its best.

    The states are in `FINISHED_STATES`; interrupted trials do not count, see `counted`.
    """
    rows = []
    for trial in trials:
        state = trial_state(trial)
        if state not in FINISHED_STATES:
            continue
        reached = [v for v in trial.intermediate_values.values() if np.isfinite(v)]
        value = trial.value if state == "complete" else None
        if state == "pruned" and reached:
            value = objective.best(reached)
        epochs = trial.user_attrs.get("epochs", 0)
        settings = {path: trial.params.get(path) for path in objective.space}
        head = dict(zip(_COLUMNS, (trial.number, state, value, epochs), strict=True))
        rows.append({**head, **settings, "error": trial.user_attrs.get("error")})
    frame = pd.DataFrame(rows, columns=[*_COLUMNS, *objective.space, "error"])
    return frame.astype({"value": float})


def counted(frame: pd.DataFrame) -> pd.DataFrame:
    """The trials that count: those that were not interrupted."""
    return frame[frame["state"] != "interrupted"]


def best_row(frame: pd.DataFrame, objective: Objective) -> pd.Series | None:
    """The best complete trial, the first of equals; None where there is none."""
    done = frame[frame["state"] == "complete"]
    if not len(done):
        return None
    values = done["value"]
    return done.loc[values.idxmax() if objective.direction == "maximize" else values.idxmin()]


class TrialsReport:
    """Reports finished trials, and writes the files of a search after each.

    Parameters
    ----------
    optuna_study : optuna.Study
    objective : Objective
    trials : int
        Number of trials of the search.
    folder : Path
    """

    def __init__(self, optuna_study, objective: Objective, trials: int, folder: Path):
        # Imported here, so that Ctrl-C cannot leave half of it imported when the last plot is made.
        import matplotlib.figure  # noqa: F401

        self.optuna_study = optuna_study
        self.objective = objective
        self.trials = trials
        self.folder = folder
        self.reported = set(self.table()["number"])

    def table(self) -> pd.DataFrame:
        """All finished trials, as in `trials_table`."""
        return trials_table(self.optuna_study.get_trials(deepcopy=False), self.objective)

    def update(self) -> None:
        """Report the trials that finished since the last call, and write the files again.

        Raises
        ------
        AAMError
            If every one of the first trials failed.
        """
        frame = self.table()
        finished = counted(frame)
        new = finished[~finished["number"].isin(self.reported)]
        if len(frame) == len(self.reported):
            return
        self.reported = set(frame["number"])
        best = best_row(frame, self.objective)
        for place, (_, row) in enumerate(new.iterrows(), start=len(finished) - len(new) + 1):
            logger.info(f"tune: {place}/{self.trials}  {self._message(row, best)}")
        self.write(frame, best)
        if len(finished) >= _FIRST_TRIALS and (finished["state"] == "failed").all():
            error = finished["error"].iloc[-1]
            raise AAMError(f"The first {len(finished)} trials all failed; the last: {error}")

    def write(self, frame: pd.DataFrame, best: pd.Series | None) -> None:
        """Replace ``trials.tsv`` and ``best.yaml`` together, and then ``trials.png``."""
        names = ("trials.tsv", "best.yaml", "trials.png")
        with replacing_in(self.folder, names, durable=False) as folder:  # Optuna's file has it all
            frame.to_csv(folder / "trials.tsv", sep="\t", index=False)
            if best is not None:
                text = (
                    f"# val/{self.objective.metric} {best['value']:.6g} in trial {best['number']}\n"
                )
                text += as_yaml(self.settings(best["number"]))
                (folder / "best.yaml").write_text(text, encoding="utf-8")
        if best is not None:
            rising = self.objective.direction == "maximize"
            draw = functools.partial(plots.trials, frame, self.objective.metric, rising)
            plots.attempt(self.folder / "trials.png", draw)

    def settings(self, number: int) -> dict:
        """Settings of a trial, by ``section.field``."""
        trials = self.optuna_study.get_trials(deepcopy=False)
        (trial,) = (trial for trial in trials if trial.number == number)
        return self.objective.settings(trial.params)

    def _message(self, row, best) -> str:
        number, metric = row["number"], self.objective.metric
        if row["state"] == "failed":
            return f"trial {number} failed: {row['error']}"
        text = f"trial {number}: {metric} {row['value']:.4g}"
        if row["state"] == "pruned":
            text += f", pruned after {row['epochs']} epochs"
        return f"{text}  (best {best['value']:.4g}, trial {best['number']})"


def as_yaml(settings: dict) -> str:
    """Settings as YAML for ``--config``."""
    import yaml

    nested: dict = {}
    for path, value in settings.items():
        *parents, leaf = path.split(".")
        node = nested
        for name in parents:
            node = node.setdefault(name, {})
        node[leaf] = value
    return yaml.safe_dump(nested, sort_keys=False)
