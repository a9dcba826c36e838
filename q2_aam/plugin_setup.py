"""Registrations, and nothing else: types and formats, transformers, methods, visualizers."""

from __future__ import annotations

from q2_types.distance_matrix import DistanceMatrix
from q2_types.feature_data import FeatureData, Sequence, Taxonomy
from q2_types.feature_table import FeatureTable, Frequency
from q2_types.sample_data import SampleData
from q2_types.tree import Phylogeny, Rooted
from qiime2.plugin import (
    Bool,
    Categorical,
    Citations,
    List,
    Metadata,
    MetadataColumn,
    Numeric,
    Plugin,
    Str,
    TypeMap,
)

import q2_aam
from aam_core.config.presets import ENCODER_SIZES
from q2_aam import (
    _examples,
    _methods,
    _parameters,
    _predictions,
    _transformers,
    _types_formats,
    _visualizers,
)

__all__ = ["plugin"]

citations = Citations.load("citations.bib", package="q2_aam")

plugin = Plugin(
    name="aam",
    version=q2_aam.__version__,
    website="https://library.qiime2.org",
    package="q2_aam",
    short_description="Predict metadata from amplicon sequences with a transformer.",
    description="Attention All Microbes reads the bases of each ASV and the ASVs of each sample "
    "with a hierarchical transformer. An encoder is pretrained without labels, on masked bases and "
    "on the phylogenetic distances between samples, and fine-tuned to a numeric or categorical "
    "metadata column.",
    citations=[citations["vaswani2017attention"]],
)

# Types and formats ----------------------------------------------------------------------------

plugin.register_semantic_types(
    _types_formats.AAMEncoder, _types_formats.AAMRegressor, _types_formats.AAMClassifier
)
plugin.register_formats(
    _types_formats.AAMEncoderDirectoryFormat,
    _types_formats.AAMRegressorDirectoryFormat,
    _types_formats.AAMClassifierDirectoryFormat,
)
plugin.register_artifact_class(
    _types_formats.AAMEncoder,
    _types_formats.AAMEncoderDirectoryFormat,
    description="A pretrained encoder: from the sequences and reads of a sample to a vector.",
)
plugin.register_artifact_class(
    _types_formats.AAMRegressor,
    _types_formats.AAMRegressorDirectoryFormat,
    description="A model that predicts a numeric metadata column of a sample.",
)
plugin.register_artifact_class(
    _types_formats.AAMClassifier,
    _types_formats.AAMClassifierDirectoryFormat,
    description="A model that predicts a categorical metadata column of a sample.",
)

if _predictions.OWNED:
    plugin.register_semantic_types(
        _predictions.ClassifierPredictions,
        _predictions.RegressorPredictions,
        _predictions.Probabilities,
    )
    plugin.register_formats(
        _predictions.PredictionsFormat,
        _predictions.PredictionsDirectoryFormat,
        _predictions.ProbabilitiesFormat,
        _predictions.ProbabilitiesDirectoryFormat,
    )
    plugin.register_artifact_class(
        SampleData[_predictions.ClassifierPredictions],
        _predictions.PredictionsDirectoryFormat,
        description="The predicted class of each sample.",
    )
    plugin.register_artifact_class(
        SampleData[_predictions.RegressorPredictions],
        _predictions.PredictionsDirectoryFormat,
        description="The predicted number of each sample.",
    )
    plugin.register_artifact_class(
        SampleData[_predictions.Probabilities],
        _predictions.ProbabilitiesDirectoryFormat,
        description="The predicted probability of each class, of each sample.",
    )

for transformer in _transformers.TRANSFORMERS:
    plugin.register_transformer(transformer)

# What several actions share -------------------------------------------------------------------

RegressorPredictions = SampleData[_predictions.RegressorPredictions]
ClassifierPredictions = SampleData[_predictions.ClassifierPredictions]
Probabilities = SampleData[_predictions.Probabilities]

GROUP_BY = MetadataColumn[Numeric | Categorical]

INPUTS = {
    "table": "Counts of each feature in each sample. Feature ids may be the sequences themselves.",
    "sequences": "Sequence of each feature. Not needed where the feature ids are the sequences.",
    "phylogeny": "Tree whose tips are the features. With the setting 'loss.distance=50' the "
    "UniFrac distances between the samples are learned together with the target, unless the "
    "encoder is frozen; without that setting the tree has no effect, which --verbose shows.",
    "distances": "Distances between the samples, to learn instead of UniFrac (with the same "
    "setting).",
    "encoder": f"Pretrained encoder to start from. {ENCODER_SIZES}",
    "init_from": "Fitted model that goes on training, as a whole, on these samples: its networks, "
    "and its target head where that has the same outputs; the forest is a new one. Its sizes and "
    "number of networks replace those of the preset. Not together with an encoder.",
}
GROUP_BY_DESCRIPTION = (
    "Column whose value samples of one group share (a host, a site): the samples of a group are "
    "always in the same fold."
)

FIT_INPUTS = {
    "table": FeatureTable[Frequency],
    "sequences": FeatureData[Sequence],
    "phylogeny": Phylogeny[Rooted],
    "distances": DistanceMatrix,
    "encoder": _types_formats.AAMEncoder,
    "init_from": _types_formats.AAMRegressor | _types_formats.AAMClassifier,
}
FIT_PARAMETERS = {
    "group_by": GROUP_BY,
    **_parameters.MISSING,
    "freeze_encoder": Bool,
    "covariates": Metadata,
    "covariate_columns": List[Str],
    **_parameters.TRAINING,
}
FIT_PARAMETER_DESCRIPTIONS = {
    "target": "Metadata column to predict.",
    "group_by": GROUP_BY_DESCRIPTION,
    **_parameters.MISSING_DESCRIPTION,
    "freeze_encoder": "Do not train the pretrained encoder: the vector of each ASV is computed "
    "once, and an epoch takes seconds. Needs an encoder.",
    "covariates": "Metadata with the covariates. The model needs these columns to predict, too.",
    "covariate_columns": "Columns of the covariates metadata that the model reads.",
    **_parameters.training_descriptions("fitting"),
}
FIT_DESCRIPTION = (
    " The model is an ensemble of small networks, trained by cross-fitting: each member is trained "
    "without one fold of the samples (from an encoder that is not frozen, all without the same "
    "fold). A random forest is fitted, too, and their predictions are averaged. The predictions "
    "returned are out-of-fold: each sample's come from members and trees that were not trained on "
    "it. They cover all samples under the preset small without an encoder, else the folds that "
    "were held out. The ensemble weights, the blend weight and the settings of the forest were "
    "chosen on these samples; for an unbiased metric, predict samples that were not in the table."
)
PREDICT_INPUTS = {
    "table": "Counts of the samples to predict. They may have features that the model was not "
    "trained on.",
    "sequences": INPUTS["sequences"],
}
PREDICT_PARAMETERS = {"metadata": Metadata, **_parameters.PREDICTING}
PREDICT_PARAMETER_DESCRIPTIONS = {
    "metadata": "The covariates that the model was fitted with; other columns are ignored, and all "
    "are by a model without covariates.",
    **_parameters.PREDICTING_DESCRIPTIONS,
}

OF_TARGET = {"target": Str}
OF_TARGET_DESCRIPTION = {
    "target": "Of a model of several targets, the one to predict; the first where not given."
}

# Methods --------------------------------------------------------------------------------------

plugin.methods.register_function(
    function=_methods.pretrain,
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
        "taxonomy": "Taxa of the features, to learn rank by rank as well. Unknown ranks are "
        "masked, and features without a taxon allowed.",
        "initial_encoder": f"Pretrained encoder to start from. {ENCODER_SIZES}",
    },
    parameter_descriptions={
        "group_by": GROUP_BY_DESCRIPTION,
        **_parameters.training_descriptions("pretraining"),
    },
    output_descriptions={"encoder": "Pretrained encoder."},
    name="Pretrain an encoder without labels.",
    description="Train an encoder to predict masked bases from their neighbours, and distances "
    "between samples (unweighted UniFrac, unless settings say otherwise) from their counts. "
    "fit-regressor and fit-classifier can start from it.",
    citations=[citations["lozupone2005unifrac"]],
    examples={"pretrain": _examples.pretrain_example},
)

plugin.methods.register_function(
    function=_methods.fit_regressor,
    inputs=FIT_INPUTS,
    parameters={
        "target": MetadataColumn[Numeric],
        **FIT_PARAMETERS,
        "more_targets": List[Str],
    },
    outputs=[("regressor", _types_formats.AAMRegressor), ("predictions", RegressorPredictions)],
    input_descriptions=INPUTS,
    parameter_descriptions={
        **FIT_PARAMETER_DESCRIPTIONS,
        "more_targets": "Further targets, numeric columns of the covariates metadata: one network "
        "learns all, and a blank value of one of them counts in nothing. The predictions returned "
        "are those of 'target'.",
    },
    output_descriptions={
        "regressor": "Fitted model.",
        "predictions": "Out-of-fold predictions, in the column's own units.",
    },
    name="Fit a numeric metadata column.",
    description="Train a model that predicts a numeric metadata column." + FIT_DESCRIPTION,
    examples={"fit_regressor": _examples.fit_regressor_example},
)

plugin.methods.register_function(
    function=_methods.fit_classifier,
    inputs=FIT_INPUTS,
    parameters={"target": MetadataColumn[Categorical], **FIT_PARAMETERS},
    outputs=[
        ("classifier", _types_formats.AAMClassifier),
        ("predictions", ClassifierPredictions),
        ("probabilities", Probabilities),
    ],
    input_descriptions=INPUTS,
    parameter_descriptions=FIT_PARAMETER_DESCRIPTIONS,
    output_descriptions={
        "classifier": "Fitted model.",
        "predictions": "Out-of-fold predicted classes.",
        "probabilities": "Out-of-fold probabilities of the classes.",
    },
    name="Fit a categorical metadata column.",
    description="Train a model that predicts a categorical metadata column." + FIT_DESCRIPTION,
    examples={"fit_classifier": _examples.fit_classifier_example},
)

plugin.methods.register_function(
    function=_methods.predict_regression,
    inputs={
        "table": FeatureTable[Frequency],
        "regressor": _types_formats.AAMRegressor,
        "sequences": FeatureData[Sequence],
    },
    parameters={**PREDICT_PARAMETERS, **OF_TARGET},
    outputs=[("predictions", RegressorPredictions)],
    input_descriptions={**PREDICT_INPUTS, "regressor": "Model from fit-regressor."},
    parameter_descriptions={**PREDICT_PARAMETER_DESCRIPTIONS, **OF_TARGET_DESCRIPTION},
    output_descriptions={"predictions": "Predictions in the units of the column fitted."},
    name="Predict a numeric column of new samples.",
    description="Predict samples with a fitted regressor.",
    examples={"predict_regression": _examples.predict_regression_example},
)

plugin.methods.register_function(
    function=_methods.predict_classification,
    inputs={
        "table": FeatureTable[Frequency],
        "classifier": _types_formats.AAMClassifier,
        "sequences": FeatureData[Sequence],
    },
    parameters=PREDICT_PARAMETERS,
    outputs=[("predictions", ClassifierPredictions), ("probabilities", Probabilities)],
    input_descriptions={**PREDICT_INPUTS, "classifier": "Model from fit-classifier."},
    parameter_descriptions=PREDICT_PARAMETER_DESCRIPTIONS,
    output_descriptions={
        "predictions": "Most probable class of each sample.",
        "probabilities": "Probability of each class.",
    },
    name="Predict a categorical column of new samples.",
    description="Predict samples with a fitted classifier.",
    examples={"predict_classification": _examples.predict_classification_example},
)

Predictor, Predicted = TypeMap(
    {
        _types_formats.AAMRegressor: RegressorPredictions,
        _types_formats.AAMClassifier: ClassifierPredictions,
    }
)
plugin.methods.register_function(
    function=_methods.predict,
    inputs={
        "table": FeatureTable[Frequency],
        "predictor": Predictor,
        "sequences": FeatureData[Sequence],
    },
    parameters={**PREDICT_PARAMETERS, **OF_TARGET},
    outputs=[("predictions", Predicted)],
    input_descriptions={
        **PREDICT_INPUTS,
        "predictor": "Model from fit-regressor or fit-classifier.",
    },
    parameter_descriptions={**PREDICT_PARAMETER_DESCRIPTIONS, **OF_TARGET_DESCRIPTION},
    output_descriptions={"predictions": "Predicted number or class of each sample."},
    name="Predict new samples with a model of either kind.",
    description="Predict samples with a fitted regressor or classifier. predict-classification "
    "returns the probabilities of the classes as well.",
    examples={"predict": _examples.predict_example},
)

# Visualizers ----------------------------------------------------------------------------------

plugin.visualizers.register_function(
    function=_visualizers.scatterplot,
    inputs={"predictions": RegressorPredictions},
    parameters={"truth": MetadataColumn[Numeric], **_parameters.MISSING},
    input_descriptions={"predictions": "Predicted numbers."},
    parameter_descriptions={
        "truth": "Metadata column with the true values. It may have more samples.",
        **_parameters.MISSING_DESCRIPTION,
    },
    name="Plot predicted against true values.",
    description="Scatter plot of a regressor's predictions against the true values, with R2, mean "
    "absolute error, the line of equality and the fitted line. Plot and table can be downloaded.",
    examples={"scatterplot": _examples.scatterplot_example},
)

plugin.visualizers.register_function(
    function=_visualizers.confusion_matrix,
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
    description="Confusion matrix of a classifier's predictions, with accuracy, F1 and the recall "
    "and precision of each class. Plot and tables can be downloaded.",
    examples={"confusion_matrix": _examples.confusion_matrix_example},
)
