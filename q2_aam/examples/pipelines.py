"""Usage examples of `q2_aam.actions.pipelines`."""

from __future__ import annotations

from q2_aam.examples.models import LOOK
from q2_aam.examples.study import (
    metadata,
    reads,
    regressor_fold,
    test_targets,
    training_targets,
)

__all__ = [
    "classify_samples_example",
    "classify_samples_ncv_example",
    "regress_samples_example",
    "regress_samples_ncv_example",
    "score_baselines_example",
]


def regress_samples_ncv_example(use):
    """Predict each subject's samples by models of the other subjects, with the pages."""
    _run(
        use,
        "regress_samples_ncv",
        "gradient",
        ("predictions", "feature_importance", "details", "comparison", "accuracy_results"),
        cv=2,
        baselines=["random_forest"],
    )


def classify_samples_ncv_example(use):
    """Predict each subject's samples by models of the other subjects, with the pages."""
    _run(
        use,
        "classify_samples_ncv",
        "group",
        (
            *("predictions", "feature_importance", "probabilities", "details"),
            *("comparison", "accuracy_results"),
        ),
        cv=2,
        baselines=["random_forest"],
    )


def regress_samples_example(use):
    """Train on some subjects and test on the others, with every page."""
    _run(
        use,
        "regress_samples",
        "gradient",
        (
            *("sample_estimator", "feature_importance", "predictions", "model_summary"),
            *("accuracy_results", "training_targets", "test_targets", "details"),
            *("explanation", "comparison", "importance", "report", "training_curves"),
        ),
        baselines=["random_forest"],
        test_size=0.5,
    )


def classify_samples_example(use):
    """Train on some subjects and test on the others, with every page."""
    _run(
        use,
        "classify_samples",
        "group",
        (
            *("sample_estimator", "feature_importance", "predictions", "model_summary"),
            *("accuracy_results", "probabilities", "heatmap", "training_targets", "test_targets"),
            *("details", "explanation", "comparison", "importance", "report", "training_curves"),
        ),
        baselines=["random_forest"],
        test_size=0.5,
    )


def score_baselines_example(use):
    """Compare a random forest with a model, on samples that neither was fitted to."""
    sample_metadata = use.init_metadata("sample_metadata", metadata)
    (scored,) = use.action(
        use.UsageAction("aam", "score_baselines"),
        use.UsageInputs(
            **reads(use),
            training_targets=use.init_artifact("training_targets", training_targets),
            test_targets=use.init_artifact("test_targets", test_targets),
            details=use.init_artifact("details", regressor_fold(1)),
            group_by=use.get_metadata_column("subject", "host_subject_id", sample_metadata),
            baselines=["random_forest"],
        ),
        use.UsageOutputNames(details_with_baselines="details_with_baselines"),
    )
    scored.assert_output_type("SampleData[AAMPredictions]")


def _run(use, action: str, target: str, outputs: tuple[str, ...], **options) -> None:
    use.comment("A quick look: without preset and epochs the fits take longer, and are better.")
    sample_metadata = use.init_metadata("sample_metadata", metadata)
    use.action(
        use.UsageAction("aam", action),
        use.UsageInputs(
            **reads(use),
            metadata=use.get_metadata_column(target, target, sample_metadata),
            group_by=use.get_metadata_column("subject", "host_subject_id", sample_metadata),
            **options,
            **LOOK,
        ),
        use.UsageOutputNames(**{name: name for name in outputs}),
    )
