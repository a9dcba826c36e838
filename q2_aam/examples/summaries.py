"""Usage examples of `q2_aam.actions.summaries`."""

from __future__ import annotations

from q2_aam.examples.study import encoder, phylogeny, reads, regressor

__all__ = ["distance_fit_example", "summarize_example", "training_curves_example"]


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


def distance_fit_example(use):
    """How well an encoder predicts the UniFrac of samples that it was not trained on."""
    (visualization,) = use.action(
        use.UsageAction("aam", "distance_fit"),
        use.UsageInputs(
            encoder=use.init_artifact("encoder", encoder),
            **reads(use),
            phylogeny=use.init_artifact("phylogeny", phylogeny),
        ),
        use.UsageOutputNames(visualization="distance_fit"),
    )
    visualization.assert_output_type("Visualization")
