"""Usage examples: shown by QIIME 2 beside each action, executed by the tests.

The study is simulated and tiny, and the models are trained for two steps: an example shows how an
action is called.
"""

from __future__ import annotations

import functools

QUICK = {
    "preset": "tiny",
    "max_steps": 2,
    "batch_size": 8,
    "sampling_depth": 100,
    "val_fraction": 0.5,
}
"""Parameters of a training that takes a second or two."""


@functools.lru_cache(maxsize=1)
def _study():
    from aam_core.simulate.study import simulate

    return simulate(samples=24, features=30, seed=1, sequence_length=40, depth=500)


def table():
    """The simulated reads."""
    import qiime2

    return qiime2.Artifact.import_data("FeatureTable[Frequency]", _study().table)


def sequences():
    """The simulated sequences."""
    import pandas as pd
    import qiime2
    import skbio

    dna = {name: skbio.DNA(text) for name, text in _study().sequences.items()}
    return qiime2.Artifact.import_data("FeatureData[Sequence]", pd.Series(dna))


def phylogeny():
    """The simulated tree."""
    import io

    import qiime2
    import skbio

    tree = skbio.TreeNode.read(io.StringIO(_study().tree), format="newick")
    return qiime2.Artifact.import_data("Phylogeny[Rooted]", tree)


def metadata():
    """The simulated metadata."""
    import qiime2

    return qiime2.Metadata(_study().metadata)


def _run(action, **arguments):
    from qiime2.sdk import PluginManager

    action = PluginManager().get_plugin(id="aam").actions[action]
    return action(table=table(), sequences=sequences(), **arguments, **QUICK)


@functools.lru_cache(maxsize=2)
def _fitted(kind):
    target = {"regressor": "gradient", "classifier": "group"}[kind]
    return _run(f"fit_{kind}", target=metadata().get_column(target))


@functools.lru_cache(maxsize=1)
def encoder():
    """An encoder pretrained on the simulated study."""
    return _run("pretrain", phylogeny=phylogeny()).encoder


def regressor():
    """A regressor of the simulated gradient."""
    return _fitted("regressor").regressor


def regressor_predictions():
    """Its out-of-fold predictions."""
    return _fitted("regressor").predictions


def classifier():
    """A classifier of the simulated group."""
    return _fitted("classifier").classifier


def classifier_predictions():
    """Its out-of-fold predictions."""
    return _fitted("classifier").predictions


def classifier_probabilities():
    """Its out-of-fold probabilities of the classes."""
    return _fitted("classifier").probabilities


def _reads(use):
    return {
        "table": use.init_artifact("table", table),
        "sequences": use.init_artifact("sequences", sequences),
    }


def _column(use, name, column):
    return use.get_metadata_column(name, column, use.init_metadata("sample_metadata", metadata))


def pretrain_example(use):
    """Pretrain an encoder on a table and its phylogeny."""
    (encoder,) = use.action(
        use.UsageAction("aam", "pretrain"),
        use.UsageInputs(
            **_reads(use), phylogeny=use.init_artifact("phylogeny", phylogeny), **QUICK
        ),
        use.UsageOutputNames(encoder="encoder"),
    )
    encoder.assert_output_type("AAMEncoder")


def fit_regressor_example(use):
    """Fit a numeric column; a subject's samples are in the same fold."""
    sample_metadata = use.init_metadata("sample_metadata", metadata)
    fitted, predictions = use.action(
        use.UsageAction("aam", "fit_regressor"),
        use.UsageInputs(
            **_reads(use),
            target=use.get_metadata_column("gradient", "gradient", sample_metadata),
            group_by=use.get_metadata_column("subject", "host_subject_id", sample_metadata),
            **QUICK,
        ),
        use.UsageOutputNames(regressor="regressor", predictions="held_out_predictions"),
    )
    fitted.assert_output_type("AAMRegressor")
    predictions.assert_output_type("SampleData[RegressorPredictions]")


def fit_classifier_example(use):
    """Fit a categorical column; a subject's samples are in the same fold."""
    sample_metadata = use.init_metadata("sample_metadata", metadata)
    fitted, predictions, probabilities = use.action(
        use.UsageAction("aam", "fit_classifier"),
        use.UsageInputs(
            **_reads(use),
            target=use.get_metadata_column("group", "group", sample_metadata),
            group_by=use.get_metadata_column("subject", "host_subject_id", sample_metadata),
            **QUICK,
        ),
        use.UsageOutputNames(
            classifier="classifier",
            predictions="held_out_predictions",
            probabilities="held_out_probabilities",
        ),
    )
    fitted.assert_output_type("AAMClassifier")
    predictions.assert_output_type("SampleData[ClassifierPredictions]")
    probabilities.assert_output_type("SampleData[Probabilities]")


def predict_regression_example(use):
    """Predict a numeric column of samples."""
    (predictions,) = use.action(
        use.UsageAction("aam", "predict_regression"),
        use.UsageInputs(**_reads(use), regressor=use.init_artifact("regressor", regressor)),
        use.UsageOutputNames(predictions="predictions"),
    )
    predictions.assert_output_type("SampleData[RegressorPredictions]")


def predict_classification_example(use):
    """Predict a categorical column of samples."""
    predictions, probabilities = use.action(
        use.UsageAction("aam", "predict_classification"),
        use.UsageInputs(**_reads(use), classifier=use.init_artifact("classifier", classifier)),
        use.UsageOutputNames(predictions="predictions", probabilities="probabilities"),
    )
    predictions.assert_output_type("SampleData[ClassifierPredictions]")
    probabilities.assert_output_type("SampleData[Probabilities]")


def predict_example(use):
    """Predict samples with a model of either kind."""
    (predictions,) = use.action(
        use.UsageAction("aam", "predict"),
        use.UsageInputs(**_reads(use), predictor=use.init_artifact("regressor", regressor)),
        use.UsageOutputNames(predictions="predictions"),
    )
    predictions.assert_output_type("SampleData[RegressorPredictions]")


def scatterplot_example(use):
    """Plot the predictions of held-out samples against the truth."""
    (visualization,) = use.action(
        use.UsageAction("aam", "scatterplot"),
        use.UsageInputs(
            predictions=use.init_artifact("held_out_predictions", regressor_predictions),
            truth=_column(use, "gradient", "gradient"),
        ),
        use.UsageOutputNames(visualization="scatterplot"),
    )
    visualization.assert_output_type("Visualization")


def confusion_matrix_example(use):
    """Count the predictions of held-out samples against the truth."""
    (visualization,) = use.action(
        use.UsageAction("aam", "confusion_matrix"),
        use.UsageInputs(
            predictions=use.init_artifact("held_out_predictions", classifier_predictions),
            probabilities=use.init_artifact("held_out_probabilities", classifier_probabilities),
            truth=_column(use, "group", "group"),
        ),
        use.UsageOutputNames(visualization="confusion_matrix"),
    )
    visualization.assert_output_type("Visualization")
