"""Usage examples of `q2_aam.actions.summaries`."""

from __future__ import annotations

from q2_aam.examples.study import regressor

__all__ = ["summarize_example", "training_curves_example"]


def summarize_example(use):
    """What a fitted model is, and how good it is."""
    (visualization,) = use.action(
        use.UsageAction("aam", "summarize"),
        use.UsageInputs(model=use.init_artifact("regressor", regressor)),
        use.UsageOutputNames(visualization="summary"),
    )
    visualization.assert_output_type("Visualization")


def training_curves_example(use):
    """Whether a fit was long enough."""
    (visualization,) = use.action(
        use.UsageAction("aam", "training_curves"),
        use.UsageInputs(model=use.init_artifact("regressor", regressor)),
        use.UsageOutputNames(visualization="training_curves"),
    )
    visualization.assert_output_type("Visualization")
