"""Usage examples of `q2_aam.actions.predictions`."""

from __future__ import annotations

from q2_aam.examples.study import (
    classifier_predictions,
    classifier_probabilities,
    column,
    regressor_predictions,
)

__all__ = [
    "confusion_matrix_example",
    "scatterplot_example",
]


def scatterplot_example(use):
    """Plot the predictions of held-out samples against the truth."""
    (visualization,) = use.action(
        use.UsageAction("aam", "scatterplot"),
        use.UsageInputs(
            predictions=use.init_artifact("held_out_predictions", regressor_predictions),
            truth=column(use, "gradient", "gradient"),
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
            truth=column(use, "group", "group"),
        ),
        use.UsageOutputNames(visualization="confusion_matrix"),
    )
    visualization.assert_output_type("Visualization")
