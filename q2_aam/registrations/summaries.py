"""Registrations of the pages on a model itself."""

from __future__ import annotations

from qiime2.plugin import Plugin

from q2_aam._types_formats import AAMClassifier, AAMEncoder, AAMRegressor
from q2_aam.actions import summaries as actions
from q2_aam.examples import summaries as examples

__all__ = ["register"]


def register(plugin: Plugin) -> None:
    """Register the actions of `q2_aam.actions.summaries`."""
    plugin.visualizers.register_function(
        function=actions.summarize,
        inputs={"model": AAMEncoder | AAMRegressor | AAMClassifier},
        parameters={},
        input_descriptions={"model": "Model from fit-regressor, fit-classifier or pretrain."},
        parameter_descriptions={},
        name="Summarize a model.",
        description="What a model is, in words: what it predicts, the samples and inputs that it "
        "was trained on, how it was validated (samples, groups, folds, seed), its metrics, how "
        "much its networks and its random forest count, every setting, versions, and the notes "
        "of the training.",
        examples={"summarize": examples.summarize_example},
    )

    plugin.visualizers.register_function(
        function=actions.training_curves,
        inputs={"model": AAMEncoder | AAMRegressor | AAMClassifier},
        parameters={},
        input_descriptions={"model": "Model from fit-regressor, fit-classifier or pretrain."},
        parameter_descriptions={},
        name="Show how the training of a model went.",
        description="Losses and metrics of the networks by epoch, of training and validation "
        "samples, as interactive curves: whether the training was long enough, and whether the "
        "networks learned the training samples by heart. The numbers can be downloaded as CSV "
        "and as event files of TensorBoard.",
        examples={"training_curves": examples.training_curves_example},
    )
