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
            "explanation": "Explanation from explain.",
            "table": "Counts of samples, to show the abundances of the most important features.",
        },
        parameter_descriptions={
            "metadata": "Metadata column by which to group these samples, such as the target: by "
            "class, or, for a number, into eight groups with equal numbers of samples.",
            **_parameters.MISSING_DESCRIPTION,
            "feature_count": "Number of features to draw, the most important first.",
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
            "sample_metadata": "Metadata column by which to group the samples, such as the "
            "target: by class, or, for a number, into eight groups with equal numbers of samples.",
            "feature_metadata": "Name of each feature, such as the taxon, to show beside its id.",
            "feature_count": "Number of features to draw, the most important first.",
            **_parameters.MISSING_DESCRIPTION,
        },
        name="Show the abundances of the most important features.",
        description="An interactive heat map: the mean relative abundance of the most important "
        "features in groups of samples. The page of 'importance' has it, too, with the "
        "importances of each feature.",
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
            "model": "Model from fit-regressor or fit-classifier. The page shows its out-of-fold "
            "predictions, unless the table has samples that are new to it.",
            "details": "Predictions to report instead of the model's own: details of a fit, of "
            "predicted samples, or of a cross-validation (the page then has its baselines).",
            "table": "Counts of the samples that the model was fitted on, to show errors by "
            "depth, richness and known reads, and the training samples nearest to the worst "
            "predictions; or counts of new samples to predict, whose true values are in the "
            "metadata.",
            "sequences": INPUTS["sequences"],
        },
        parameter_descriptions={
            "metadata": "Metadata whose columns may be associated with the error. For new samples "
            "and for details, it must have the true values.",
            "target": "Target to report, if the model has several (the first if not given). With "
            "details, the metadata column of the true values, if it is not that of the fit.",
            "group_by": "Column that says which samples belong together (such as a host or a "
            "site): intervals and tests are over groups. If not given, the column of the fit, if "
            "the metadata has it.",
            "columns": "Metadata columns against which to draw errors. All columns are tested; if "
            "none is named, up to six that are associated with the error are drawn.",
            "units": "Unit of the target, such as days.",
            "title": "Title of the page.",
            "learning_curve": "Fit the model again on parts of its samples, to see how much more "
            "data would help. This takes about 20 fits.",
            "curve_members": "Number of networks of each of these fits: fewer than the model has "
            "take less time, with slightly larger errors.",
            "curve_folds": "Number of test folds of the learning curve.",
            "n_jobs": "Number of fits of the learning curve at a time.",
            **{name: _parameters.PREDICTING_DESCRIPTIONS[name] for name in _READING},
        },
        name="Report where a model fails.",
        description="A page of a model's errors: metrics with intervals and baseline; errors "
        "against the true value, depth, richness, known reads and metadata, with tests; errors by "
        "group; the worst predictions, with their nearest training samples; coverage of the "
        "intervals, or confusion matrix and calibration of classes.",
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
            "distances": "Distances between the samples, instead of computing them.",
        },
        parameter_descriptions={
            "metadata": "Metadata by which to count pairs, such as pairs of one subject or one "
            "batch.",
            "columns": "Columns of the metadata by which to count; all if none is named.",
            "metric": "Distance to compute.",
            "alpha": "Exponent of generalized UniFrac.",
            "bound": "Count pairs up to this distance. With a value above 0 all pairs are "
            "compared, which takes longer.",
            "depths": "Numbers of reads to draw from each sample, to see which pairs are at 0 "
            "because of too few reads. If not given, up to five depths that half of the samples "
            "reach.",
            "random_state": "Seed of the draws.",
            "max_lost_reads": _parameters.PREDICTING_DESCRIPTIONS["max_lost_reads"],
        },
        name="Find pairs of samples at distance 0.",
        description="Find pairs of samples at distance 0, and their cause: copies of one sample "
        "under several ids, which must not be on both sides of a split, or too few reads to tell "
        "samples apart. The page says what to do, and counts the pairs by metadata, by reads and "
        "at several sampling depths.",
        citations=[citations["lozupone2005unifrac"]],
        examples={"find_zero_distances": examples.find_zero_distances_example},
    )
