"""Registrations of the pages that show predictions beside the truth."""

from __future__ import annotations

from qiime2.plugin import Categorical, MetadataColumn, Numeric, Plugin

from q2_aam import _parameters
from q2_aam.actions import predictions as actions
from q2_aam.examples import predictions as examples
from q2_aam.registrations.shared import (
    ClassifierPredictions,
    Probabilities,
    RegressorPredictions,
)

__all__ = ["register"]


def register(plugin: Plugin) -> None:
    """Register the actions of `q2_aam.actions.predictions`."""
    plugin.visualizers.register_function(
        function=actions.scatterplot,
        inputs={"predictions": RegressorPredictions},
        parameters={"truth": MetadataColumn[Numeric], **_parameters.MISSING},
        input_descriptions={"predictions": "Predicted numbers."},
        parameter_descriptions={
            "truth": "Metadata column with the true values. It may have more samples.",
            **_parameters.MISSING_DESCRIPTION,
        },
        name="Plot predicted against true values.",
        description="Scatter plot of a regressor's predictions against the true values, with R2, "
        "mean absolute error, the line of equality and the fitted line. Plot and table can be "
        "downloaded.",
        examples={"scatterplot": examples.scatterplot_example},
    )

    plugin.visualizers.register_function(
        function=actions.confusion_matrix,
        inputs={"predictions": ClassifierPredictions, "probabilities": Probabilities},
        parameters={"truth": MetadataColumn[Categorical], **_parameters.MISSING},
        input_descriptions={
            "predictions": "Predicted classes.",
            "probabilities": "Probabilities of the classes; with them the area under the ROC curve "
            "is reported.",
        },
        parameter_descriptions={
            "truth": "Metadata column with the true classes. It may have more samples.",
            **_parameters.MISSING_DESCRIPTION,
        },
        name="Count predicted against true classes.",
        description="Confusion matrix of a classifier's predictions, with accuracy, F1 and the "
        "recall and precision of each class. Plot and tables can be downloaded.",
        examples={"confusion_matrix": examples.confusion_matrix_example},
    )
