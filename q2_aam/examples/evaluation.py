"""Usage examples of `q2_aam.actions.evaluation`."""

from __future__ import annotations

from q2_aam.examples.models import LOOK
from q2_aam.examples.study import (
    classifier_fold,
    cross_validated,
    metadata,
    reads,
    regressor_fold,
    table,
)

__all__ = [
    "compare_example",
    "cross_validate_example",
    "join_classification_folds_example",
    "join_importances_example",
    "join_regression_folds_example",
    "split_table_example",
]


def split_table_example(use):
    """Keep a fifth of the samples for a test; each subject is on one side."""
    sample_metadata = use.init_metadata("sample_metadata", metadata)
    training, test, *targets = use.action(
        use.UsageAction("aam", "split_table"),
        use.UsageInputs(
            table=use.init_artifact("table", table),
            metadata=use.get_metadata_column("gradient", "gradient", sample_metadata),
            group_by=use.get_metadata_column("subject", "host_subject_id", sample_metadata),
            test_size=0.2,
        ),
        use.UsageOutputNames(
            training_table="training_table",
            test_table="test_table",
            training_targets="training_targets",
            test_targets="test_targets",
        ),
    )
    for part in (training, test):
        part.assert_output_type("FeatureTable[Frequency]")
    for values in targets:
        values.assert_output_type("SampleData[TrueTargets]")


def cross_validate_example(use):
    """Predict each subject's samples by models of the other subjects."""
    sample_metadata = use.init_metadata("sample_metadata", metadata)
    (details,) = use.action(
        use.UsageAction("aam", "cross_validate"),
        use.UsageInputs(
            **reads(use),
            metadata=use.get_metadata_column("gradient", "gradient", sample_metadata),
            group_by=use.get_metadata_column("subject", "host_subject_id", sample_metadata),
            cv=2,
            **LOOK,
        ),
        use.UsageOutputNames(details="details"),
    )
    details.assert_output_type("SampleData[AAMPredictions]")


def join_regression_folds_example(use):
    """Join two folds that were fitted apart from each other."""
    predictions, details = use.action(
        use.UsageAction("aam", "join_regression_folds"),
        use.UsageInputs(folds=[use.init_artifact(f"fold_{n}", regressor_fold(n)) for n in (1, 2)]),
        use.UsageOutputNames(predictions="predictions", details="details"),
    )
    predictions.assert_output_type("SampleData[RegressorPredictions]")
    details.assert_output_type("SampleData[AAMPredictions]")


def join_classification_folds_example(use):
    """Join two folds that were fitted apart from each other."""
    predictions, probabilities, details = use.action(
        use.UsageAction("aam", "join_classification_folds"),
        use.UsageInputs(folds=[use.init_artifact(f"fold_{n}", classifier_fold(n)) for n in (1, 2)]),
        use.UsageOutputNames(
            predictions="predictions", probabilities="probabilities", details="details"
        ),
    )
    predictions.assert_output_type("SampleData[ClassifierPredictions]")
    probabilities.assert_output_type("SampleData[Probabilities]")
    details.assert_output_type("SampleData[AAMPredictions]")


def join_importances_example(use):
    """Average the importances of two folds that were fitted apart from each other."""
    (importance,) = use.action(
        use.UsageAction("aam", "join_importances"),
        use.UsageInputs(folds=[use.init_artifact(f"fold_{n}", regressor_fold(n)) for n in (1, 2)]),
        use.UsageOutputNames(feature_importance="feature_importance"),
    )
    importance.assert_output_type("FeatureData[Importance]")


def compare_example(use):
    """Compare the methods of a cross-validation."""
    (visualization,) = use.action(
        use.UsageAction("aam", "compare"),
        use.UsageInputs(details=use.init_artifact("details", cross_validated)),
        use.UsageOutputNames(visualization="comparison"),
    )
    visualization.assert_output_type("Visualization")
