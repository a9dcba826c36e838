"""Registrations of the pages that show predictions beside the truth."""

from __future__ import annotations

from qiime2.plugin import Categorical, Metadata, MetadataColumn, Numeric, Plugin, Str

from q2_aam import _parameters
from q2_aam.actions import predictions as actions
from q2_aam.examples import predictions as examples
from q2_aam.registrations.shared import (
    GROUP_BY,
    ClassifierPredictions,
    DetailedPredictions,
    Probabilities,
    RegressorPredictions,
)

__all__ = ["register"]

_DETAILS = (
    "Details of the same predictions, from the action that made them. With them the page says "
    "whether the samples were held out and by which group, and shows {what}, known reads, the "
    "blend weights and the notes of the run."
)
_PARAMETERS = {"metadata": Metadata, "group_by": GROUP_BY, **_parameters.MISSING}
_PARAMETER_DESCRIPTIONS = {
    "metadata": "Metadata of the samples: the chart can be {used} by any of its columns. If it "
    "has the group column of the fit, which the details name, intervals are over its groups.",
    "group_by": "Column that says which samples belong together (such as a host or a site): "
    "intervals of metrics are then over groups. Not needed if details and metadata are given.",
    **_parameters.MISSING_DESCRIPTION,
}


def _descriptions(used: str) -> dict[str, str]:
    return {
        name: text.format(used=used) if name == "metadata" else text
        for name, text in _PARAMETER_DESCRIPTIONS.items()
    }


def register(plugin: Plugin) -> None:
    """Register the actions of `q2_aam.actions.predictions`."""
    plugin.visualizers.register_function(
        function=actions.scatterplot,
        inputs={"predictions": RegressorPredictions, "details": DetailedPredictions},
        parameters={"truth": MetadataColumn[Numeric], "units": Str, **_PARAMETERS},
        input_descriptions={
            "predictions": "Predicted numbers.",
            "details": _DETAILS.format(what="prediction intervals"),
        },
        parameter_descriptions={
            "truth": "Metadata column with the true values. It may have more samples than the "
            "predictions.",
            "units": "Unit of the column, such as 'days', for axes and errors; that of the "
            "details if not given.",
            **_descriptions("coloured and filtered"),
        },
        name="Plot predicted against true values.",
        description="An interactive scatter plot of a regressor's predictions, or of their "
        "residuals, against the true values, with R2 and mean absolute error, their bootstrap "
        "intervals, a baseline and the largest errors. All numbers can be downloaded as tables, "
        "and the plots as PNG, SVG and PDF.",
        examples={
            "scatterplot": examples.scatterplot_example,
            "predictions_alone": examples.scatterplot_alone_example,
        },
    )

    plugin.visualizers.register_function(
        function=actions.confusion_matrix,
        inputs={
            "predictions": ClassifierPredictions,
            "probabilities": Probabilities,
            "details": DetailedPredictions,
        },
        parameters={"truth": MetadataColumn[Categorical], **_PARAMETERS},
        input_descriptions={
            "predictions": "Predicted classes.",
            "probabilities": "Probabilities of the classes, for curves (ROC, precision-recall) "
            "and calibration. Not needed with details, which have them, too.",
            "details": _DETAILS.format(what="the probabilities"),
        },
        parameter_descriptions={
            "truth": "Metadata column with the true classes. It may have more samples than the "
            "predictions.",
            **_descriptions("filtered"),
        },
        name="Count predicted against true classes.",
        description="Confusion matrix of a classifier's predictions, with accuracy, F1, recall "
        "and precision of each class, ROC and precision-recall curves with bootstrap intervals, "
        "calibration and the misclassified samples. All numbers can be downloaded as tables, and "
        "the plots as PNG, SVG and PDF.",
        examples={
            "confusion_matrix": examples.confusion_matrix_example,
            "predictions_alone": examples.confusion_matrix_alone_example,
        },
    )
