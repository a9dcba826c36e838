"""Registrations of what shows what a model has learned."""

from __future__ import annotations

from q2_types.distance_matrix import DistanceMatrix
from q2_types.feature_data import FeatureData, Sequence, Taxonomy
from q2_types.feature_table import FeatureTable, Frequency
from q2_types.ordination import PCoAResults
from q2_types.sample_data import SampleData
from q2_types.tree import Phylogeny, Rooted
from qiime2.plugin import Choices, Int, List, Metadata, Plugin, Range, Str

from q2_aam import _explanations, _parameters, _predictions, _types_formats, _vectors
from q2_aam.actions import insight as actions
from q2_aam.examples import insight as examples
from q2_aam.registrations.shared import GROUP_BY, INPUTS, citations

__all__ = ["register"]

_TARGET = "Target to explain, if the model has several."

_ANY_MODEL = _types_formats.AAMEncoder | _types_formats.AAMRegressor | _types_formats.AAMClassifier
_MODEL = "Encoder from pretrain, or model from fit-regressor or fit-classifier."
_READING = ("device", "precision", "max_lost_reads")
_DIMENSIONS = Int % Range(1, None)


def register(plugin: Plugin) -> None:
    """Register the actions of `q2_aam.actions.insight`."""
    _register_explain(plugin)
    _register_embed(plugin)


def _register_explain(plugin: Plugin) -> None:
    plugin.methods.register_function(
        function=actions.explain,
        inputs={
            "table": FeatureTable[Frequency],
            "predictor": _types_formats.AAMRegressor | _types_formats.AAMClassifier,
            "sequences": FeatureData[Sequence],
            "phylogeny": Phylogeny[Rooted],
            "taxonomy": FeatureData[Taxonomy],
        },
        parameters={
            "metadata": Metadata,
            "target": Str,
            "group_by": GROUP_BY,
            **_parameters.MISSING,
            "repeats": Int % Range(1, None),
            "clades": List[Int % Range(0, None)],
            "references": Int % Range(0, None),
            "random_state": _parameters.primitive("train.seed"),
            "n_jobs": _parameters.primitive("train.threads"),
            "device": _parameters.PREDICTING["device"],
            "max_lost_reads": _parameters.PREDICTING["max_lost_reads"],
        },
        outputs=[
            ("feature_importance", FeatureData[_predictions.Importance]),
            ("explanation", FeatureData[_explanations.AAMImportance]),
        ],
        input_descriptions={
            "table": "Counts of samples whose true values are known: samples that the model was "
            "not trained on, or all samples of its fit, each of which is then explained by the "
            "networks that were not trained on it.",
            "predictor": "Model from fit-regressor or fit-classifier.",
            "sequences": INPUTS["sequences"],
            "phylogeny": "Tree whose tips are the features: its clades are explained, too.",
            "taxonomy": "Taxa of the features: they are explained, too, and name the features.",
        },
        parameter_descriptions={
            "metadata": "Metadata with the column that the model predicts (true values, under the "
            "same name) and the covariates that it reads.",
            "target": _TARGET,
            "group_by": "Column that says which samples belong together (such as a host or a "
            "site). Such samples are not independent: abundances are exchanged between groups, "
            "and significance is computed over whole groups. If not given, the column that the "
            "model was fitted with, if the metadata has it.",
            **_parameters.MISSING_DESCRIPTION,
            "repeats": "Number of permutations of each feature. More reduce the random variation "
            "of importances.",
            "clades": "Numbers of clades into which the phylogeny is cut, one division for each "
            "number; without phylogeny and taxonomy, numbers of clusters of similar sequences. 0 "
            "for none. If not given, 10, 30 and 100.",
            "references": "Number of samples with which each sample is compared, to find what "
            "moved its own prediction. 0 skips this, which takes less time.",
            "random_state": "Seed of the permutations.",
            "n_jobs": "Number of CPU threads; each computes one sample at a time (0: all cores).",
            "device": _parameters.PREDICTING_DESCRIPTIONS["device"],
            "max_lost_reads": _parameters.PREDICTING_DESCRIPTIONS["max_lost_reads"],
        },
        output_descriptions={
            "feature_importance": "Permutation importance of each feature: the increase of the "
            "error of the predictions if the feature is permuted among the samples, in units of "
            "the target or as log loss of classes. q2-sample-classifier's heatmap opens it.",
            "explanation": "The same with its spread, significance and direction, prevalence, "
            "abundance and taxon of the features, and of clades, taxa or clusters. It opens as "
            "feature metadata (metadata tabulate, Empress), and in the visualizer importance.",
        },
        name="Explain which features and clades predictions depend on.",
        description="Permute the relative abundance of each feature, and of each clade as a "
        "whole, among samples: the increase of the error of a model's predictions is its "
        "importance. Features that carry the same information share their importance, so look at "
        "clades. A feature that is important to a prediction need not cause anything.",
        examples={"explain": examples.explain_example},
    )


def _register_embed(plugin: Plugin) -> None:
    plugin.methods.register_function(
        function=actions.embed_samples,
        inputs={
            "table": FeatureTable[Frequency],
            "model": _ANY_MODEL,
            "sequences": FeatureData[Sequence],
        },
        parameters={
            "metric": Str % Choices("predicted", "euclidean", "cosine"),
            "number_of_dimensions": _DIMENSIONS,
            **{name: _parameters.PREDICTING[name] for name in ("batch_size", *_READING)},
        },
        outputs=[
            ("pcoa", PCoAResults),
            ("distance_matrix", DistanceMatrix),
            ("vectors", SampleData[_vectors.AAMVectors]),
        ],
        input_descriptions={
            "table": "Counts of the samples. They may have features that the model was not trained "
            "on.",
            "model": _MODEL,
            "sequences": INPUTS["sequences"],
        },
        parameter_descriptions={
            "metric": "'predicted': the distances that an encoder learned, by default UniFrac, "
            "without a tree. 'euclidean' and 'cosine': distances between the vectors. If not "
            "given, 'predicted' for an encoder that learned distances, else 'euclidean'.",
            "number_of_dimensions": "Number of axes of the principal coordinates.",
            **{
                name: _parameters.PREDICTING_DESCRIPTIONS[name]
                for name in ("batch_size", *_READING)
            },
        },
        output_descriptions={
            "pcoa": "Principal coordinates of the distances, which emperor plots.",
            "distance_matrix": "Distances between the samples: with an encoder the UniFrac that "
            "it predicts. beta-group-significance and other actions of diversity read them.",
            "vectors": "The vector of each sample, which opens as metadata.",
        },
        name="Ordinate samples as a model sees them.",
        description="Predict the UniFrac distances between samples with a pretrained encoder, "
        "which needs no phylogeny, even for samples with features that are in no tree; or compare "
        "samples by the vectors from which a fitted model predicts. The distances of a fitted "
        "model follow its target: they are not independent of the metadata.",
        citations=[citations["lozupone2005unifrac"]],
        examples={"embed_samples": examples.embed_samples_example},
    )

    plugin.methods.register_function(
        function=actions.embed_features,
        inputs={
            "table": FeatureTable[Frequency],
            "model": _ANY_MODEL,
            "sequences": FeatureData[Sequence],
            "taxonomy": FeatureData[Taxonomy],
        },
        parameters={
            "metric": Str % Choices("cosine", "euclidean"),
            "number_of_neighbours": Int % Range(1, None),
            "number_of_dimensions": _DIMENSIONS,
            **{name: _parameters.PREDICTING[name] for name in _READING},
        },
        outputs=[
            ("vectors", FeatureData[_vectors.AAMVectors]),
            ("neighbours", FeatureData[_vectors.AAMNeighbours]),
            ("pcoa", PCoAResults),
        ],
        input_descriptions={
            "table": "Table whose features are embedded; their counts do not matter.",
            "model": _MODEL,
            "sequences": INPUTS["sequences"],
            "taxonomy": "Taxa to name beside the neighbours.",
        },
        parameter_descriptions={
            "metric": "Distance between feature vectors: 'cosine' or 'euclidean'.",
            "number_of_neighbours": "Number of nearest features to return for each feature.",
            "number_of_dimensions": "Number of axes of the principal coordinates.",
            **{name: _parameters.PREDICTING_DESCRIPTIONS[name] for name in _READING},
        },
        output_descriptions={
            "vectors": "The vector of each feature, which opens as metadata.",
            "neighbours": "The nearest features of each, with distances and taxa; it opens as "
            "metadata.",
            "pcoa": "Principal coordinates of the features, which emperor plots with feature "
            "metadata, such as a taxonomy.",
        },
        name="Embed features: vectors, and the nearest of each.",
        description="Compute the vector that a model makes of the sequence of each feature, "
        "independent of samples: features with similar vectors are similar to the model. The "
        "nearest neighbours show what an unknown feature is like.",
        examples={"embed_features": examples.embed_features_example},
    )
