"""Registrations of what trains models and predicts with them."""

from __future__ import annotations

from q2_types.distance_matrix import DistanceMatrix
from q2_types.feature_data import FeatureData, Sequence, Taxonomy
from q2_types.feature_table import FeatureTable, Frequency
from q2_types.tree import Phylogeny, Rooted
from qiime2.plugin import Categorical, List, MetadataColumn, Numeric, Plugin, Str, TypeMap

from q2_aam import _parameters, _types_formats
from q2_aam.actions import models as actions
from q2_aam.examples import models as examples
from q2_aam.registrations.shared import (
    DETAILS,
    FIT_DESCRIPTION,
    FIT_INPUTS,
    FIT_PARAMETER_DESCRIPTIONS,
    FIT_PARAMETERS,
    GROUP_BY,
    GROUP_BY_DESCRIPTION,
    INPUTS,
    OF_TARGET,
    OF_TARGET_DESCRIPTION,
    PREDICT_INPUTS,
    PREDICT_PARAMETER_DESCRIPTIONS,
    PREDICT_PARAMETERS,
    ClassifierPredictions,
    DetailedPredictions,
    Probabilities,
    RegressorPredictions,
    citations,
)

__all__ = ["register"]


def register(plugin: Plugin) -> None:
    """Register the actions of `q2_aam.actions.models`."""
    plugin.methods.register_function(
        function=actions.pretrain,
        inputs={
            "table": FeatureTable[Frequency],
            "phylogeny": Phylogeny[Rooted],
            "sequences": FeatureData[Sequence],
            "distances": DistanceMatrix,
            "taxonomy": FeatureData[Taxonomy],
            "initial_encoder": _types_formats.AAMEncoder,
        },
        parameters={"group_by": GROUP_BY, **_parameters.TRAINING},
        outputs=[("encoder", _types_formats.AAMEncoder)],
        input_descriptions={
            "table": INPUTS["table"],
            "sequences": INPUTS["sequences"],
            "phylogeny": "Tree whose tips are the features: the UniFrac distances that pretraining "
            "learns are computed from it for each batch. Needed, unless distances are given, or "
            "settings choose a distance without a tree (loss.metric=braycurtis or jaccard) or none "
            "(loss.distance=0).",
            "distances": "Distances between the samples, to learn instead of UniFrac.",
            "taxonomy": "Taxa of the features, to be learned rank by rank, too. Unknown ranks are "
            "masked; features without a taxon are allowed.",
            "initial_encoder": "Pretrained encoder to start from. Its sizes replace those of the "
            "preset.",
        },
        parameter_descriptions={
            "group_by": GROUP_BY_DESCRIPTION,
            **_parameters.training_descriptions("pretraining"),
        },
        output_descriptions={"encoder": "Pretrained encoder."},
        name="Pretrain an encoder without labels.",
        description="Train an encoder of sequences and samples without metadata: it learns "
        "to predict masked bases from their neighbours, and the distances between samples "
        "(unweighted UniFrac, unless settings say otherwise) from their reads. fit-regressor and "
        "fit-classifier can start from it. --verbose shows how long the training will take, and "
        "its progress.",
        citations=[citations["lozupone2005unifrac"]],
        examples={"pretrain": examples.pretrain_example},
    )

    plugin.methods.register_function(
        function=actions.fit_regressor,
        inputs=FIT_INPUTS,
        parameters={
            "metadata": MetadataColumn[Numeric],
            **FIT_PARAMETERS,
            "more_targets": List[Str],
        },
        outputs=[
            ("regressor", _types_formats.AAMRegressor),
            ("predictions", RegressorPredictions),
            ("details", DetailedPredictions),
        ],
        input_descriptions=INPUTS,
        parameter_descriptions={
            **FIT_PARAMETER_DESCRIPTIONS,
            "more_targets": "Further numeric columns of the covariates metadata to predict: the "
            "networks learn all of them together, and a sample may lack some. The predictions and "
            "details returned are of the column 'metadata'.",
        },
        output_descriptions={
            "regressor": "Fitted model.",
            "predictions": "Out-of-fold predictions, in the column's own units.",
            "details": DETAILS,
        },
        name="Fit a numeric metadata column.",
        description="Train a model that predicts a numeric metadata column, such as an age, from "
        "the sequences and counts of a sample's features." + FIT_DESCRIPTION,
        examples={"fit_regressor": examples.fit_regressor_example},
    )

    plugin.methods.register_function(
        function=actions.fit_classifier,
        inputs=FIT_INPUTS,
        parameters={"metadata": MetadataColumn[Categorical], **FIT_PARAMETERS},
        outputs=[
            ("classifier", _types_formats.AAMClassifier),
            ("predictions", ClassifierPredictions),
            ("probabilities", Probabilities),
            ("details", DetailedPredictions),
        ],
        input_descriptions=INPUTS,
        parameter_descriptions=FIT_PARAMETER_DESCRIPTIONS,
        output_descriptions={
            "classifier": "Fitted model.",
            "predictions": "Out-of-fold predicted classes.",
            "probabilities": "Out-of-fold probabilities of the classes.",
            "details": DETAILS,
        },
        name="Fit a categorical metadata column.",
        description="Train a model that predicts a categorical metadata column, such as a "
        "diagnosis, from the sequences and counts of a sample's features." + FIT_DESCRIPTION,
        examples={"fit_classifier": examples.fit_classifier_example},
    )

    plugin.methods.register_function(
        function=actions.predict_regression,
        inputs={
            "table": FeatureTable[Frequency],
            "regressor": _types_formats.AAMRegressor,
            "sequences": FeatureData[Sequence],
        },
        parameters={**PREDICT_PARAMETERS, **OF_TARGET},
        outputs=[("predictions", RegressorPredictions), ("details", DetailedPredictions)],
        input_descriptions={**PREDICT_INPUTS, "regressor": "Model from fit-regressor."},
        parameter_descriptions={**PREDICT_PARAMETER_DESCRIPTIONS, **OF_TARGET_DESCRIPTION},
        output_descriptions={
            "predictions": "Predictions in the units of the metadata column.",
            "details": DETAILS,
        },
        name="Predict a numeric column of new samples.",
        description="Predict a numeric metadata column of samples with a model of fit-regressor. "
        "The samples may be of another study, if their sequences are of the same region. The "
        "details show how certain each prediction is: its interval, the share of reads in "
        "features that the model knows, and how unlike the training samples the sample is.",
        examples={"predict_regression": examples.predict_regression_example},
    )

    plugin.methods.register_function(
        function=actions.predict_classification,
        inputs={
            "table": FeatureTable[Frequency],
            "classifier": _types_formats.AAMClassifier,
            "sequences": FeatureData[Sequence],
        },
        parameters=PREDICT_PARAMETERS,
        outputs=[
            ("predictions", ClassifierPredictions),
            ("probabilities", Probabilities),
            ("details", DetailedPredictions),
        ],
        input_descriptions={**PREDICT_INPUTS, "classifier": "Model from fit-classifier."},
        parameter_descriptions=PREDICT_PARAMETER_DESCRIPTIONS,
        output_descriptions={
            "predictions": "Most probable class of each sample.",
            "probabilities": "Probability of each class.",
            "details": DETAILS,
        },
        name="Predict a categorical column of new samples.",
        description="Predict a categorical metadata column of samples with a model of "
        "fit-classifier. The samples may be of another study, if their sequences are of the same "
        "region. The details show how certain each prediction is: the probability of each class, "
        "the share of reads in features that the model knows, and how unlike the training samples "
        "the sample is.",
        examples={"predict_classification": examples.predict_classification_example},
    )

    Predictor, Predicted = TypeMap(
        {
            _types_formats.AAMRegressor: RegressorPredictions,
            _types_formats.AAMClassifier: ClassifierPredictions,
        }
    )
    plugin.methods.register_function(
        function=actions.predict,
        inputs={
            "table": FeatureTable[Frequency],
            "predictor": Predictor,
            "sequences": FeatureData[Sequence],
        },
        parameters={**PREDICT_PARAMETERS, **OF_TARGET},
        outputs=[("predictions", Predicted), ("details", DetailedPredictions)],
        input_descriptions={
            **PREDICT_INPUTS,
            "predictor": "Model from fit-regressor or fit-classifier.",
        },
        parameter_descriptions={**PREDICT_PARAMETER_DESCRIPTIONS, **OF_TARGET_DESCRIPTION},
        output_descriptions={
            "predictions": "Predicted number or class of each sample.",
            "details": DETAILS,
        },
        name="Predict new samples with a model of either kind.",
        description="Predict samples with a fitted regressor or classifier. predict-classification "
        "returns the probabilities of the classes as well.",
        examples={"predict": examples.predict_example},
    )
