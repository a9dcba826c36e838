"""Usage examples of `q2_aam.actions.predictions`."""

from __future__ import annotations

from q2_aam.examples.study import (
    classifier_details,
    classifier_predictions,
    classifier_probabilities,
    column,
    metadata,
    regressor_details,
    regressor_predictions,
)

__all__ = [
    "confusion_matrix_alone_example",
    "confusion_matrix_example",
    "scatterplot_alone_example",
    "scatterplot_example",
]


def _call(use, action, output, **inputs):
    (visualization,) = use.action(
        use.UsageAction("aam", action),
        use.UsageInputs(**inputs),
        use.UsageOutputNames(visualization=output),
    )
    visualization.assert_output_type("Visualization")


def scatterplot_example(use):
    """Plot the predictions of held-out samples against the truth, coloured by any column."""
    samples = use.init_metadata("sample_metadata", metadata)
    _call(
        use,
        "scatterplot",
        "scatterplot",
        predictions=use.init_artifact("predictions", regressor_predictions),
        details=use.init_artifact("details", regressor_details),
        truth=use.get_metadata_column("gradient", "gradient", samples),
        metadata=samples,
        units="days",
    )


def scatterplot_alone_example(use):
    """Plot predictions of which nothing else is known, such as those of another plugin."""
    _call(
        use,
        "scatterplot",
        "scatterplot_alone",
        predictions=use.init_artifact("predictions", regressor_predictions),
        truth=column(use, "gradient", "gradient"),
    )


def confusion_matrix_example(use):
    """Count the predictions of held-out samples against the truth."""
    samples = use.init_metadata("sample_metadata", metadata)
    _call(
        use,
        "confusion_matrix",
        "confusion_matrix",
        predictions=use.init_artifact("predictions", classifier_predictions),
        details=use.init_artifact("details", classifier_details),
        truth=use.get_metadata_column("group", "group", samples),
        metadata=samples,
    )


def confusion_matrix_alone_example(use):
    """Count predictions of which nothing else is known, such as those of another plugin."""
    _call(
        use,
        "confusion_matrix",
        "confusion_matrix_alone",
        predictions=use.init_artifact("predictions", classifier_predictions),
        probabilities=use.init_artifact("probabilities", classifier_probabilities),
        truth=column(use, "group", "group"),
    )
