"""How good predictions are: metrics in the target's units, and a random forest to compare with."""

from __future__ import annotations

import csv
import functools
import io
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from aam_core import plots
from aam_core.data.columns import as_classes, as_numbers, missing_ids
from aam_core.data.covariates import fit_covariates
from aam_core.data.ids import check_ids, short
from aam_core.data.metadata import column, from_frame, read_metadata
from aam_core.data.readers import is_path, read_text
from aam_core.errors import InputError, first_five
from aam_core.familiarity import trained_on, warn
from aam_core.files.folders import replacing_in
from aam_core.files.writing import write_json
from aam_core.tasks.metrics import classification_metrics, regression_metrics
from aam_core.tasks.targets import IN_TRAINING, KINDS, RESERVED

MOST_COLUMNS = 5000
"""Columns of a table of predictions: one a class, and some more."""

TREES = 200
"""Trees of the random forest."""

MISSING_SAMPLES = ("error", "ignore")
"""What becomes of samples without a value."""

INTERVAL = ("lower", "upper")
"""Columns of a regression's predictions; classes may be called so too."""

BESIDE = ("network", "random_forest", "reads")
"""What a cross-validation scores beside the model; its columns start with these names."""


def evaluate(
    predictions,
    metadata,
    target: str,
    output=None,
    *,
    task: str | None = None,
    missing_samples: str = "ignore",
    say: Callable[[str], None] | None = None,
) -> dict:
    """Compare predictions with the metadata column that they predict.

    Parameters
    ----------
    predictions : pandas.DataFrame or path
        As `aam_core.predict` returns or `aam predict` writes it: by sample id, the column
        ``prediction``; ``lower`` and ``upper`` of a regression or a column of probabilities per
        class may follow, and behind these other columns, of which ``in_training`` is read.
    metadata : pandas.DataFrame or path
    target : str
        Metadata column.
    output : path, optional
        Folder that receives ``metrics.json``, ``predictions.tsv`` (sample-id, actual, prediction)
        and ``predictions.png``.
    task : {'regression', 'classification'}, optional
        Told from the predictions where not given: text, or probabilities, mean classes.
    missing_samples : {'error', 'ignore'}
        Whether predicted samples may lack a value; where they may, they are not compared.
    say : callable, optional
        Called with a line on samples that the model was trained on, which warns; by default it is
        given by `warnings.warn`.

    Returns
    -------
    dict
        ``samples`` compared and ``left_out`` (predicted, but without a known value); r2, mae and
        rmse in the target's units, and ``coverage``, the share of samples within [lower, upper];
        or accuracy, auc and f1. Where the predictions tell it, ``in_training``: on how many of the
        samples the model was trained.

    Raises
    ------
    InputError
        If a column is absent or unusable, or no predicted sample has a known value.
    """
    if task is not None:
        check_task(task)
    if missing_samples not in MISSING_SAMPLES:
        raise InputError(
            f"missing_samples must be {' or '.join(MISSING_SAMPLES)}, not {missing_samples!r}."
        )
    predictions = _predictions(predictions, task)
    truth = column(read_metadata(metadata) if is_path(metadata) else from_frame(metadata), target)
    task = _task(predictions) if task is None else task
    unknown = set(missing_ids(truth))
    known = [i for i in predictions.index if i in truth.index and i not in unknown]
    gone = [i for i in predictions.index if i not in truth.index or i in unknown]
    if not known:
        raise InputError(
            f"None of the {len(predictions)} predicted samples has a value in column {target!r}: "
            f"predictions are of {first_five(predictions.index)}; metadata of "
            f"{first_five(truth.index)}."
        )
    if gone and missing_samples == "error":
        raise InputError(
            f"{len(gone)} of {len(predictions)} predicted samples have no value in column "
            f"{target!r}: {first_five(gone)}. Give them one, or leave them out "
            "(--missing-samples ignore)."
        )
    if task == "classification":
        _check_classes(predictions, truth.loc[known], target)
    table, metrics = compare(predictions.loc[known], truth.loc[known], task)
    metrics = {"samples": len(known), "left_out": len(gone), **metrics}
    if IN_TRAINING in predictions.columns:
        metrics[IN_TRAINING] = _tell_trained_on(predictions.loc[known, IN_TRAINING], say or warn)
    if output is not None:
        write_scores(table, metrics, task, target, output)
    return metrics


def _tell_trained_on(column: pd.Series, say: Callable[[str], None]) -> int:
    """How many samples the model was trained on; a line where there are some."""
    seen = column.astype(str).str.lower().isin(["true", "1", "1.0"]).to_numpy()
    if seen.any():
        say(trained_on(list(column.index), seen))
    return int(seen.sum())


def write_scores(table: pd.DataFrame, metrics: dict, task: str, target: str, output) -> None:
    """Write ``metrics.json``, ``predictions.tsv`` and, once these are safe, ``predictions.png``."""
    with replacing_in(output, ("metrics.json", "predictions.tsv", "predictions.png")) as folder:
        write_json(folder / "metrics.json", metrics)
        table.to_csv(folder / "predictions.tsv", sep="\t", index_label="sample-id")
    picture = Path(output, "predictions.png")
    plots.attempt(picture, functools.partial(draw, table, task, target))


def random_forest(
    study,
    train_ids,
    test_ids,
    y: pd.Series,
    task: str = "regression",
    seed: int = 0,
    covariates: Sequence[str] = (),
    reads_alone: bool = False,
) -> pd.DataFrame:
    """Predictions of a random forest on relative abundances: the baseline.

    Parameters
    ----------
    study : Study
    train_ids, test_ids : sequence of str
    y : pandas.Series
        Metadata column by sample id; only the training samples are read.
    task : {'regression', 'classification'}
    seed : int
    covariates : sequence of str
        Metadata columns that it reads too, so that a model with covariates meets its equal.
    reads_alone : bool
        Read the number of reads of each sample instead of the abundances: what the depth of
        sequencing tells.

    Returns
    -------
    pandas.DataFrame
        Index 'sample-id' in the order of test_ids; ``prediction``, and of a classification a
        column of probabilities per class.
    """
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    check_task(task)
    train_ids, test_ids = list(train_ids), list(test_ids)
    known = fit_covariates(study.metadata, covariates, train_ids)
    sides = (study.select(ids) for ids in (train_ids, test_ids))
    train, test = (_forest_inputs(side, known, reads_alone) for side in sides)
    index = pd.Index(test_ids, name="sample-id")
    settings = {"n_estimators": TREES, "random_state": seed, "n_jobs": -1}
    if task == "regression":
        forest = RandomForestRegressor(**settings).fit(train, as_numbers(y.loc[train_ids]))
        return pd.DataFrame({"prediction": forest.predict(test)}, index=index)
    forest = RandomForestClassifier(**settings).fit(train, as_classes(y.loc[train_ids]).to_numpy())
    chances = pd.DataFrame(forest.predict_proba(test), index=index, columns=forest.classes_)
    chances.insert(0, "prediction", forest.classes_[chances.to_numpy().argmax(axis=1)])
    return chances


def _forest_inputs(study, covariates, reads_alone=False):
    """[N, F + V] sparse: relative abundances and covariates; or [N, 1], the number of reads."""
    from scipy.sparse import csr_matrix, hstack

    if reads_alone:
        return csr_matrix(study.counts.sum(axis=1))
    shares = relative_abundances(study.counts)
    if covariates is None:
        return shares
    return hstack([shares, csr_matrix(covariates.matrix(study.metadata))], format="csr")


def relative_abundances(counts):
    """[N, F] sparse reads -> shares of each sample's reads; a sample without reads stays 0."""
    from scipy.sparse import diags

    reads = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    return (diags(1.0 / np.maximum(reads, 1.0)) @ counts).tocsr()


def is_beside(name: str) -> bool:
    """Whether a cross-validation may have a column of this name of what it scores beside."""
    return name in BESIDE or name.startswith(tuple(f"{other}_" for other in BESIDE))


def probabilities(predictions: pd.DataFrame) -> pd.DataFrame | None:
    """The columns that give the probability of each class; None where there are none.

    Of a regression the interval must not be among the columns.
    """
    names = [name for name in predictions.columns if name not in RESERVED]
    # The classes of a plain fit may be called as what only a cross-validation has beside them.
    for some in (names, [name for name in names if not is_beside(name)]):
        chances = predictions[some].select_dtypes("number")
        if chances.shape[1] >= 2 and np.allclose(chances.sum(axis=1), 1.0, atol=1e-3):
            return chances
    return _leading(predictions)


def _leading(predictions: pd.DataFrame) -> pd.DataFrame | None:
    """The probabilities that follow the prediction where other numbers were put behind them.

    They name every class that is predicted; numbers that do not are no probabilities. A class of
    a model that an earlier AAM fitted may have a name that is reserved now.
    """
    behind = predictions.iloc[:, list(predictions.columns).index("prediction") + 1 :]
    numbers = [pd.api.types.is_numeric_dtype(kind) for kind in behind.dtypes] + [False]
    chances = behind.iloc[:, : numbers.index(False)]
    sums = np.isclose(chances.to_numpy(np.float64).cumsum(axis=1), 1.0, atol=1e-3).all(axis=0)
    if sums[1:].any():
        chances = chances.iloc[:, : 1 + int(np.flatnonzero(sums)[-1])]
        if set(as_classes(predictions["prediction"])) <= set(chances.columns):
            return chances
    return None


def draw(table: pd.DataFrame, task: str, target: str, path, title: str | None = None) -> None:
    """The plot of ``actual`` and ``prediction`` that suits the task."""
    if task == "regression":
        plots.scatter(table, path, label=target, title=title)
    else:
        plots.confusion(table, path, label=target, title=title)


def compare(predictions: pd.DataFrame, truth: pd.Series, task: str) -> tuple[pd.DataFrame, dict]:
    """``actual`` beside ``prediction`` of the same samples, and the metrics that suit the task."""
    return (_compare_numbers if task == "regression" else _compare_classes)(predictions, truth)


def _compare_numbers(predictions, truth):
    table = pd.DataFrame(
        {"actual": as_numbers(truth), "prediction": as_numbers(predictions["prediction"])},
        index=predictions.index,
    )
    metrics = regression_metrics(table["actual"], table["prediction"])
    if set(INTERVAL) <= set(predictions.columns):
        lower, upper = (as_numbers(predictions[name]) for name in INTERVAL)
        within = table["actual"].between(lower, upper)
        metrics["coverage"] = float(within.mean())
    return table, metrics


def _compare_classes(predictions, truth):
    table = pd.DataFrame(
        {"actual": as_classes(truth), "prediction": as_classes(predictions["prediction"])},
        index=predictions.index,
    )
    chances = probabilities(predictions)
    return table, classification_metrics(table["actual"], table["prediction"], chances)


def check_task(task: str) -> None:
    """Raise `InputError` unless the task is one that there is."""
    if task not in KINDS:
        raise InputError(f"The task must be one of {', '.join(KINDS)}, not {task!r}.")


def _check_classes(predictions, truth, target):
    """Predictions of one column against another are no mistakes of the model."""
    chances = probabilities(predictions)
    predicted = set(as_classes(predictions["prediction"])) | set(() if chances is None else chances)
    actual = sorted(set(as_classes(truth)))
    if not predicted & set(actual):
        raise InputError(
            f"None of the {len(actual)} classes in column {target!r} ({first_five(actual)}) is "
            f"among those predicted ({first_five(sorted(predicted))}), letter for letter: is it "
            "another column, or written otherwise?"
        )


def _read_predictions(path, task) -> pd.DataFrame:
    """A TSV that AAM or QIIME 2 wrote. Classes stay text, be they written 007."""
    text = read_text(path, "predictions", "SampleData")
    _check_header(text.partition("\n")[0].split("\t"), path)
    try:
        cells = pd.read_csv(
            io.StringIO(text),
            sep="\t",
            dtype=str,
            keep_default_na=False,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is not a table of predictions: {reason[:200]}.") from None
    if cells.shape[1] < 2:
        raise InputError(f"{path} is not a table of predictions: it has {cells.shape[1]} columns.")
    cells = cells.set_index(cells.columns[0])
    numbers = {name: pd.to_numeric(cells[name], errors="coerce") for name in cells.columns}
    frame = pd.DataFrame({k: v if v.notna().all() else cells[k] for k, v in numbers.items()})
    _check_columns(frame, path)
    if task == "classification" or (task is None and _task(frame) == "classification"):
        names = [name for name in ("actual", "prediction") if name in cells.columns]
        frame[names] = cells[names].astype(object)
    return frame


def _check_header(names: list[str], where) -> None:
    """Before pandas reads it, which gives repeated names others, and takes long over many."""
    if len(names) > MOST_COLUMNS:
        raise InputError(f"{where} is not a table of predictions: it has {len(names):,} columns.")
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise InputError(
            f"{where}: {len(repeated):,} column names occur more than once: {first_five(repeated)}."
        )


def _check_columns(frame, where) -> None:
    if "prediction" not in frame.columns:
        raise InputError(
            f"{where}: there is no column 'prediction'; there are: "
            f"{first_five([short(name) for name in frame.columns])}."
        )


def _predictions(given, task) -> pd.DataFrame:
    if is_path(given):
        frame, where = _read_predictions(given, task), str(given)
        if not len(frame):
            raise InputError(f"{where} (predictions) has a header but no samples.")
    elif isinstance(given, pd.DataFrame):
        where = "The predictions"
        check_ids(given.index, "sample", where)
        frame = from_frame(given)
        _check_columns(frame, where)
    else:
        raise InputError(
            f"The predictions must be a path or a DataFrame, not {type(given).__name__}."
        )
    ids = check_ids(frame.index, "sample", where)
    return frame.set_axis(pd.Index(ids, dtype=object, name="sample-id"))


def _task(predictions) -> str:
    if not pd.api.types.is_numeric_dtype(predictions["prediction"]):
        return "classification"
    # Classes may be called 0 and 1; but what has both bounds of an interval predicts numbers.
    if set(INTERVAL) <= set(predictions.columns) or probabilities(predictions) is None:
        return "regression"
    return "classification"
