"""Registrations of the pages of what a model has learned and where it fails."""

from __future__ import annotations

from q2_types.distance_matrix import DistanceMatrix
from q2_types.feature_data import FeatureData, Sequence
from q2_types.feature_table import FeatureTable, Frequency
from q2_types.tree import Phylogeny, Rooted
from qiime2.plugin import (
    Bool,
    Categorical,
    Choices,
    Float,
    Int,
    List,
    Metadata,
    MetadataColumn,
    Numeric,
    Plugin,
    Range,
    Str,
)

from aam_core import config
from q2_aam import _explanations, _parameters, _predictions, _types_formats
from q2_aam.actions import insight_pages as actions
from q2_aam.examples import insight as examples
from q2_aam.registrations.shared import GROUP_BY, INPUTS, JOBS, DetailedPredictions, citations

__all__ = ["register"]

_READING = ("device", "max_lost_reads")


def register(plugin: Plugin) -> None:
    """Register the actions of `q2_aam.actions.insight_pages`."""
    plugin.visualizers.register_function(
        function=actions.importance,
        inputs={
            "explanation": FeatureData[_explanations.AAMImportance],
            "table": FeatureTable[Frequency],
        },
        parameters={
            "metadata": MetadataColumn[Numeric | Categorical],
            **_parameters.MISSING,
            "feature_count": Int % Range(1, 200, inclusive_end=True),
            "units": Str,
            "title": Str,
        },
        input_descriptions={
            "explanation": "What explain has found.",
            "table": "Counts of samples, to show where the most important features are.",
        },
        parameter_descriptions={
            "metadata": "Metadata column to group these samples by, such as the target: by its "
            "classes, or in eight groups of as many samples by a number.",
            **_parameters.MISSING_DESCRIPTION,
            "feature_count": "Features that are drawn, the most important first.",
            "units": "Unit of the target, such as days.",
            "title": "Title of the page.",
        },
        name="Show the importances of features and clades.",
        description="Bars of the most important features and groups of features (clades, taxa) "
        "with their spread, significance and direction; a heat map of the abundances of these "
        "features by a metadata column; what moved the prediction of each sample; and the error "
        "without the most important features.",
        examples={"importance": examples.importance_example},
    )

    plugin.visualizers.register_function(
        function=actions.heatmap,
        inputs={
            "table": FeatureTable[Frequency],
            "importance": FeatureData[_predictions.Importance],
        },
        parameters={
            "sample_metadata": MetadataColumn[Numeric | Categorical],
            "feature_metadata": MetadataColumn[Categorical],
            "feature_count": Int % Range(1, 200, inclusive_end=True),
            **_parameters.MISSING,
        },
        input_descriptions={
            "table": "Counts of each feature in each sample.",
            "importance": "Importances of the features, from explain, a cross-validation, or "
            "q2-sample-classifier.",
        },
        parameter_descriptions={
            "sample_metadata": "Metadata column to group the samples by, such as the target: by "
            "its classes, or in eight groups of as many samples by a number.",
            "feature_metadata": "A name of each feature, such as the taxon, to show beside its id.",
            "feature_count": "Features that are drawn, the most important first.",
            **_parameters.MISSING_DESCRIPTION,
        },
        name="Show where the most important features are.",
        description="An interactive heat map: the mean relative abundance of the most important "
        "features in groups of samples. The page of 'importance' has it, too, beside what explain "
        "has found of each feature.",
        examples={"heatmap": examples.heatmap_example},
    )

    plugin.visualizers.register_function(
        function=actions.report,
        inputs={
            "model": _types_formats.AAMRegressor | _types_formats.AAMClassifier,
            "details": DetailedPredictions,
            "table": FeatureTable[Frequency],
            "sequences": FeatureData[Sequence],
        },
        parameters={
            "metadata": Metadata,
            "target": Str,
            "group_by": GROUP_BY,
            "columns": List[Str],
            "units": Str,
            "title": Str,
            "learning_curve": Bool,
            "curve_members": Int % Range(1, None),
            "curve_folds": Int % Range(2, None),
            "n_jobs": JOBS,
            **{name: _parameters.PREDICTING[name] for name in _READING},
        },
        input_descriptions={
            "model": "Model from fit-regressor or fit-classifier. The page is of its out-of-fold "
            "predictions, unless the table has samples that are new to it.",
            "details": "Predictions to report in the place of the model's own: details of a fit, "
            "of predicted samples, or of a cross-validation, whose baselines the page then has.",
            "table": "Counts of the samples that the model was fitted on, for errors by depth, "
            "richness and known reads, and the training samples that are nearest to those "
            "predicted worst; or counts of new samples, which are predicted, and whose true values "
            "the metadata have.",
            "sequences": INPUTS["sequences"],
        },
        parameter_descriptions={
            "metadata": "Metadata whose columns may tell the error. New samples, and details, have "
            "their true values there.",
            "target": "Of a model of several targets, the one to report; the first where not "
            "given. Of details, the column of the metadata that has the true values, where it is "
            "not that of the fit.",
            "group_by": "Column whose value samples of one group share (a host, a site): intervals "
            "and tests are over its groups. Where not given, the column of the fit, if the "
            "metadata have it.",
            "columns": "Columns of the metadata to draw errors by. All are tested; where none is "
            "named, up to six that tell the error are drawn.",
            "units": "Unit of the target, such as days.",
            "title": "Title of the page.",
            "learning_curve": "Fit the model again on parts of its samples, to see how much more "
            "data would help. This takes some 20 fits.",
            "curve_members": "Networks of each of these fits: fewer than the model has take less "
            "time, and err a little more.",
            "curve_folds": "Test folds of the learning curve.",
            "n_jobs": "Fits of the learning curve at a time.",
            **{name: _parameters.PREDICTING_DESCRIPTIONS[name] for name in _READING},
        },
        name="Report where a model fails.",
        description="A page of a model's errors: metrics with intervals and baseline; errors "
        "against the true value, depth, richness, known reads and metadata, with tests; errors by "
        "group; the samples predicted worst, with their nearest training samples; coverage of the "
        "intervals, or confusion and calibration of classes.",
        examples={"report": examples.report_example},
    )

    plugin.visualizers.register_function(
        function=actions.find_zero_distances,
        inputs={
            "table": FeatureTable[Frequency],
            "phylogeny": Phylogeny[Rooted],
            "distances": DistanceMatrix,
        },
        parameters={
            "metadata": Metadata,
            "columns": List[Str],
            "metric": Str % Choices(*config.METRICS),
            "alpha": Float % Range(0, 1, inclusive_end=True),
            "bound": Float % Range(0, None),
            "depths": List[Int % Range(1, None)],
            "random_state": _parameters.primitive("train.seed"),
            "max_lost_reads": _parameters.PREDICTING["max_lost_reads"],
        },
        input_descriptions={
            "table": "Counts of each feature in each sample.",
            "phylogeny": "Tree whose tips are the features, for UniFrac.",
            "distances": "Distances between the samples, to look at instead of computing them.",
        },
        parameter_descriptions={
            "metadata": "Metadata to count pairs by: pairs of one subject, of one batch.",
            "columns": "Columns of the metadata to count by; all where none is named.",
            "metric": "Distance that is computed.",
            "alpha": "Exponent of generalized UniFrac.",
            "bound": "Greatest distance of a pair that is counted. Above 0 all pairs are compared, "
            "which takes longer.",
            "depths": "Reads to draw of each sample, to see which pairs lie at 0 for a lack of "
            "reads; up to five that half of the samples have where none is named.",
            "random_state": "Seed of the draws.",
            "max_lost_reads": _parameters.PREDICTING_DESCRIPTIONS["max_lost_reads"],
        },
        name="Find pairs of samples at distance 0.",
        description="Find pairs of samples without any distance between them, and what makes them: "
        "copies of one sample under several ids, which must not be on both sides of a split, or "
        "too few reads to tell samples apart. The page says what to do, and counts the pairs by "
        "metadata, by reads and at several sampling depths.",
        citations=[citations["lozupone2005unifrac"]],
        examples={"find_zero_distances": examples.find_zero_distances_example},
    )
