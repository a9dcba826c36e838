"""Usage examples of `q2_aam.actions.maturity`."""

from __future__ import annotations

from q2_aam.examples.study import metadata, regressor_predictions

__all__ = ["maturity_index_example", "maturity_plot_example"]


def maturity_index_example(use):
    """Score samples against controls of their age."""
    (scores,) = _run(use, "maturity_index", maz_scores="maz_scores")
    scores.assert_output_type("SampleData[RegressorPredictions]")


def maturity_plot_example(use):
    """Plot samples over the band of controls."""
    (page,) = _run(use, "maturity_plot", visualization="maturity")
    page.assert_output_type("Visualization")


def _run(use, action, **outputs):
    sample_metadata = use.init_metadata("sample_metadata", metadata)
    return use.action(
        use.UsageAction("aam", action),
        use.UsageInputs(
            predictions=use.init_artifact("held_out_predictions", regressor_predictions),
            age=use.get_metadata_column("gradient", "gradient", sample_metadata),
            group=use.get_metadata_column("group", "group", sample_metadata),
            control="control",
            bin_width=50.0,
        ),
        use.UsageOutputNames(**outputs),
    )
