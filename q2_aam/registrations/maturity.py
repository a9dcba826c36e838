"""Registrations of microbial maturity."""

from __future__ import annotations

from qiime2.plugin import Categorical, Float, MetadataColumn, Numeric, Plugin, Range, Str

from q2_aam import _parameters
from q2_aam.actions import maturity as actions
from q2_aam.examples import maturity as examples
from q2_aam.registrations.shared import DetailedPredictions, RegressorPredictions, citations

__all__ = ["register"]

_PARAMETERS = {
    "age": MetadataColumn[Numeric],
    "group": MetadataColumn[Categorical],
    "control": Str,
    "bin_width": Float % Range(0.0, None, inclusive_start=False),
    **_parameters.MISSING,
}
_DESCRIPTIONS = {
    "age": "Column with the true ages, in the unit of the predicted ones.",
    "group": "Column that distinguishes control samples from others (such as a diagnosis or a "
    "treatment).",
    "control": "Value of this column in control samples (such as 'healthy').",
    "bin_width": "Width of an age bin, in the unit of the ages (such as 30.4 for months, if ages "
    "are in days): a sample is compared with the controls of its bin. If not given, with those of "
    "exactly the same age.",
    **_parameters.MISSING_DESCRIPTION,
}
_PREDICTIONS = (
    "Predicted ages of samples that the model was not trained on: from regress-samples-ncv, the "
    "out-of-fold predictions of fit-regressor, or predictions of new samples."
)
_MEANING = (
    "How far the microbiota of a sample is ahead of, or behind, that of control samples of the "
    "same age: the microbiota-for-age z-score (MAZ) is the predicted age minus the median "
    "predicted age of controls of that age, divided by their standard deviation."
)


def register(plugin: Plugin) -> None:
    """Register the actions of `q2_aam.actions.maturity`."""
    plugin.methods.register_function(
        function=actions.maturity_index,
        inputs={"predictions": RegressorPredictions},
        parameters=_PARAMETERS,
        outputs=[("maz_scores", RegressorPredictions)],
        input_descriptions={"predictions": _PREDICTIONS},
        parameter_descriptions=_DESCRIPTIONS,
        output_descriptions={
            "maz_scores": "z-score of each sample, which opens as metadata. Samples with fewer "
            "than two controls of their age have no z-score."
        },
        name="Compute microbial maturity: z-scores of predicted against expected age.",
        description=_MEANING,
        citations=[citations["subramanian2014persistent"]],
        examples={"maturity_index": examples.maturity_index_example},
    )
    plugin.visualizers.register_function(
        function=actions.maturity_plot,
        inputs={"predictions": RegressorPredictions, "details": DetailedPredictions},
        parameters={**_PARAMETERS, "units": Str},
        input_descriptions={
            "predictions": _PREDICTIONS,
            "details": "Details of these predictions: the page then says whether the samples were "
            "held out.",
        },
        parameter_descriptions={**_DESCRIPTIONS, "units": "Unit of the ages, such as 'days'."},
        name="Plot microbial maturity.",
        description=f"{_MEANING} A page with predicted and true ages over the band of controls, "
        "the z-scores over age, and their means by group.",
        citations=[citations["subramanian2014persistent"]],
        examples={"maturity_plot": examples.maturity_plot_example},
    )
