"""Usage examples of `q2_aam.actions.models`."""

from __future__ import annotations

from q2_aam.examples.study import (
    classifier,
    metadata,
    phylogeny,
    reads,
    regressor,
)

__all__ = [
    "LOOK",
    "fit_classifier_example",
    "fit_regressor_example",
    "predict_classification_example",
    "predict_example",
    "predict_regression_example",
    "pretrain_example",
]

LOOK = {"preset": "tiny", "epochs": 30}
"""A quick look: the examples are run. The default is better, and takes minutes."""


def pretrain_example(use):
    """Pretrain an encoder on a table and its phylogeny."""
    use.comment("A quick look: without preset the training is longer, and better.")
    (encoder,) = use.action(
        use.UsageAction("aam", "pretrain"),
        use.UsageInputs(
            **reads(use),
            phylogeny=use.init_artifact("phylogeny", phylogeny),
            sampling_depth=300,
            preset="tiny",
        ),
        use.UsageOutputNames(encoder="encoder"),
    )
    encoder.assert_output_type("AAMEncoder")


def fit_regressor_example(use):
    """Fit a numeric column; a subject's samples are in the same fold."""
    use.comment("A quick look: without preset and epochs the training is longer, and better.")
    sample_metadata = use.init_metadata("sample_metadata", metadata)
    fitted, predictions, details = use.action(
        use.UsageAction("aam", "fit_regressor"),
        use.UsageInputs(
            **reads(use),
            metadata=use.get_metadata_column("gradient", "gradient", sample_metadata),
            group_by=use.get_metadata_column("subject", "host_subject_id", sample_metadata),
            **LOOK,
        ),
        use.UsageOutputNames(
            regressor="regressor",
            predictions="held_out_predictions",
            details="held_out_details",
        ),
    )
    fitted.assert_output_type("AAMRegressor")
    predictions.assert_output_type("SampleData[RegressorPredictions]")
    details.assert_output_type("SampleData[AAMPredictions]")


def fit_classifier_example(use):
    """Fit a categorical column; a subject's samples are in the same fold."""
    use.comment("A quick look: without preset and epochs the training is longer, and better.")
    sample_metadata = use.init_metadata("sample_metadata", metadata)
    fitted, predictions, probabilities, details = use.action(
        use.UsageAction("aam", "fit_classifier"),
        use.UsageInputs(
            **reads(use),
            metadata=use.get_metadata_column("group", "group", sample_metadata),
            group_by=use.get_metadata_column("subject", "host_subject_id", sample_metadata),
            **LOOK,
        ),
        use.UsageOutputNames(
            classifier="classifier",
            predictions="held_out_predictions",
            probabilities="held_out_probabilities",
            details="held_out_details",
        ),
    )
    fitted.assert_output_type("AAMClassifier")
    predictions.assert_output_type("SampleData[ClassifierPredictions]")
    probabilities.assert_output_type("SampleData[Probabilities]")
    details.assert_output_type("SampleData[AAMPredictions]")


def predict_regression_example(use):
    """Predict a numeric column of samples."""
    predictions, details = use.action(
        use.UsageAction("aam", "predict_regression"),
        use.UsageInputs(**reads(use), regressor=use.init_artifact("regressor", regressor)),
        use.UsageOutputNames(predictions="predictions", details="details"),
    )
    predictions.assert_output_type("SampleData[RegressorPredictions]")
    details.assert_output_type("SampleData[AAMPredictions]")


def predict_classification_example(use):
    """Predict a categorical column of samples."""
    predictions, probabilities, details = use.action(
        use.UsageAction("aam", "predict_classification"),
        use.UsageInputs(**reads(use), classifier=use.init_artifact("classifier", classifier)),
        use.UsageOutputNames(
            predictions="predictions", probabilities="probabilities", details="details"
        ),
    )
    predictions.assert_output_type("SampleData[ClassifierPredictions]")
    probabilities.assert_output_type("SampleData[Probabilities]")
    details.assert_output_type("SampleData[AAMPredictions]")


def predict_example(use):
    """Predict samples with a model of either kind."""
    predictions, details = use.action(
        use.UsageAction("aam", "predict"),
        use.UsageInputs(**reads(use), predictor=use.init_artifact("regressor", regressor)),
        use.UsageOutputNames(predictions="predictions", details="details"),
    )
    predictions.assert_output_type("SampleData[RegressorPredictions]")
    details.assert_output_type("SampleData[AAMPredictions]")
