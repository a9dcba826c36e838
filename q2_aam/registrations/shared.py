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
    "phylogeny": "Tree whose tips are the features. A fit needs none: it has an effect only with "
    "the setting 'loss.distance=50', with which the networks also learn the UniFrac distances "
    "between the samples (unless the encoder is frozen).",
    "distances": "Distances between the samples, to learn instead of UniFrac (with the same "
    "setting).",
    "encoder": f"Pretrained encoder to start from. {ENCODER_SIZES}",
    "init_from": "Fitted model whose training is continued on these samples. All its networks are "
    "kept, and its target head if that has the same outputs; random forest and linear model are "
    "new. Its sizes and number of networks replace those of the preset. Not together with an "
    "encoder.",
}
GROUP_BY_DESCRIPTION = (
    "Column that says which samples belong together (such as a host or a site): all samples of a "
    "group are on the same side of every split, so that held-out samples are of groups that were "
    "not trained on. Give it if a host has several samples."
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
    "metadata": "Metadata column to predict. It may have more samples than the table.",
    "group_by": GROUP_BY_DESCRIPTION,
    **_parameters.MISSING_DESCRIPTION,
    "freeze_encoder": "Do not train the pretrained encoder, which is faster. Needs an encoder.",
    "covariates": "Metadata with columns to predict from, in addition to the features (such as "
    "age or diet). The samples to predict need the same columns.",
    "covariate_columns": "Columns of the covariates metadata to predict from.",
    **_parameters.training_descriptions("fitting"),
}
FIT_DESCRIPTION = (
    " Several small neural networks, a random forest and a linear model are trained, each without "
    "a part of the samples (a fold), and their predictions are averaged with weights that are "
    "chosen on the held-out samples. The predictions and details returned are of the held-out "
    "samples: each is predicted by models that were not trained on it (out-of-fold), nor on its "
    "group. Without an encoder and with the preset small, these are all samples. As the weights "
    "were chosen on these predictions, they are a little too good: for an unbiased error use "
    "cross-validate, or predict samples that were not in the table. --verbose shows how long the "
    "training will take, and its progress."
)
DETAILS = (
    "The predictions with intervals or probabilities, how much of each sample the model knows "
    "(share of reads in known ASVs, how unlike the training samples it is), and how the "
    "predictions were made. 'qiime metadata tabulate' shows them, and the visualizers of this "
    "plugin read them."
)

PREDICT_INPUTS = {
    "table": "Counts of the samples to predict. They may have features that the model was not "
    "trained on.",
    "sequences": INPUTS["sequences"],
}
PREDICT_PARAMETERS = {"metadata": Metadata, **_parameters.PREDICTING}
PREDICT_PARAMETER_DESCRIPTIONS = {
    "metadata": "The covariates that the model was fitted with. Other columns are ignored; a "
    "model without covariates ignores all.",
    **_parameters.PREDICTING_DESCRIPTIONS,
}

OF_TARGET = {"target": Str}
OF_TARGET_DESCRIPTION = {
    "target": "Target to predict, if the model has several (the first if not given)."
}
