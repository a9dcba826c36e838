"""Types and descriptions that several registrations share."""

from __future__ import annotations

import qiime2.plugin
from q2_types.distance_matrix import DistanceMatrix
from q2_types.feature_data import FeatureData, Sequence
from q2_types.feature_table import FeatureTable, Frequency
from q2_types.sample_data import SampleData
from q2_types.tree import Phylogeny, Rooted
from qiime2.plugin import (
    Bool,
    Categorical,
    Citations,
    Int,
    List,
    Metadata,
    MetadataColumn,
    Numeric,
    Range,
    Str,
)

from aam_core.config.presets import ENCODER_SIZES
from q2_aam import _details, _parameters, _predictions, _types_formats

__all__ = [
    "DETAILS",
    "FIT_DESCRIPTION",
    "FIT_INPUTS",
    "FIT_PARAMETERS",
    "FIT_PARAMETER_DESCRIPTIONS",
    "GROUP_BY",
    "GROUP_BY_DESCRIPTION",
    "INPUTS",
    "JOBS",
    "OF_TARGET",
    "OF_TARGET_DESCRIPTION",
    "PREDICT_INPUTS",
    "PREDICT_PARAMETERS",
    "PREDICT_PARAMETER_DESCRIPTIONS",
    "ClassifierPredictions",
    "DetailedPredictions",
    "Probabilities",
    "RegressorPredictions",
    "citations",
]

citations = Citations.load("citations.bib", package="q2_aam")

JOBS = getattr(qiime2.plugin, "Jobs", Int % Range(1, None))
"""How many of something are done at a time, which newer versions of QIIME 2 have a type for."""

RegressorPredictions = SampleData[_predictions.RegressorPredictions]
ClassifierPredictions = SampleData[_predictions.ClassifierPredictions]
Probabilities = SampleData[_predictions.Probabilities]
DetailedPredictions = SampleData[_details.AAMPredictions]

GROUP_BY = MetadataColumn[Numeric | Categorical]

INPUTS = {
    "table": "Counts of each feature in each sample. Feature ids may be the sequences themselves.",
    "sequences": "Sequence of each feature. Not needed where the feature ids are the sequences.",
    "phylogeny": "Tree whose tips are the features. A fit needs none: with the setting "
    "'loss.distance=50' the networks learn the UniFrac distances between the samples beside the "
    "metadata column (unless the encoder is frozen), and without it the tree has no effect.",
    "distances": "Distances between the samples, to learn instead of UniFrac (with the same "
    "setting).",
    "encoder": f"Pretrained encoder to start from. {ENCODER_SIZES}",
    "init_from": "Fitted model that goes on training, as a whole, on these samples: its networks, "
    "and its target head where that has the same outputs; random forest and linear model are new. "
    "Its sizes and number of networks replace those of the preset. Not together with an encoder.",
}
GROUP_BY_DESCRIPTION = (
    "Column that says which samples belong together (such as a host or a site): all of a group are "
    "on the same side of every split, so that held-out samples are of groups that were not trained "
    "on. Give it wherever a host has several samples."
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
    **_parameters.FITTING,
}
FIT_PARAMETER_DESCRIPTIONS = {
    "metadata": "Metadata column to predict. It may have more samples.",
    "group_by": GROUP_BY_DESCRIPTION,
    **_parameters.MISSING_DESCRIPTION,
    "freeze_encoder": "Keep the pretrained encoder as it is, which is faster. Needs an encoder.",
    "covariates": "Metadata with columns to predict from, beside the features (such as age or "
    "diet). The model needs the same columns of the samples that it is to predict.",
    "covariate_columns": "Columns of the covariates metadata to predict from.",
    **_parameters.training_descriptions("fitting"),
}
FIT_DESCRIPTION = (
    " Several small neural networks, a random forest and a linear model are trained, each without "
    "a part of the samples (a fold), and their predictions are averaged with weights that were "
    "chosen on the samples that were held out. The predictions and details returned are of these: "
    "each sample is predicted by models that were not trained on it (out-of-fold), nor on its "
    "group. Without an encoder and with the preset small they are of all samples. As the weights "
    "were chosen on them, they are a little too good: cross-validate tells the error without bias, "
    "and so do predictions of samples that were not in the table. --verbose shows how long the "
    "training will take, and its progress."
)
DETAILS = (
    "The predictions with interval or probabilities, what the model knows of each sample (share of "
    "reads in known ASVs, how unlike the training samples it is), and how they came about. 'qiime "
    "metadata tabulate' shows them, and the pages of this plugin take them."
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
