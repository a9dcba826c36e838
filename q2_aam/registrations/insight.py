"""Registrations of what shows what a model has learned."""

from __future__ import annotations

from q2_types.feature_data import FeatureData, Sequence, Taxonomy
from q2_types.feature_table import FeatureTable, Frequency
from q2_types.tree import Phylogeny, Rooted
from qiime2.plugin import Int, List, Metadata, Plugin, Range, Str

from q2_aam import _explanations, _parameters, _predictions, _types_formats
from q2_aam.actions import insight as actions
from q2_aam.examples import insight as examples
from q2_aam.registrations.shared import GROUP_BY, INPUTS

__all__ = ["register"]

_TARGET = "Of a model of several targets, the one to explain. A model of one target needs none."


def register(plugin: Plugin) -> None:
    """Register the actions of `q2_aam.actions.insight`."""
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
            "not trained on, or those of its fit, each of which is then explained by the networks "
            "that were not trained on it.",
            "predictor": "Model from fit-regressor or fit-classifier.",
            "sequences": INPUTS["sequences"],
            "phylogeny": "Tree whose tips are the features: its clades are explained, too.",
            "taxonomy": "Taxa of the features: they are explained, too, and name the features.",
        },
        parameter_descriptions={
            "metadata": "Metadata with the true values of the column that the model predicts, "
            "under its name, and the covariates that it reads.",
            "target": _TARGET,
            "group_by": "Column whose value samples of one group share (a host, a site). Such "
            "samples are not independent: abundances are exchanged between groups, and the "
            "significance is by whole groups. Where not given, the column that the model was "
            "fitted with, if the metadata have it.",
            **_parameters.MISSING_DESCRIPTION,
            "repeats": "Permutations of each feature: more make importances steadier.",
            "clades": "Into how many clades the phylogeny is cut, one division for each number; "
            "without phylogeny and taxonomy, how many clusters like sequences make. 0 for none. "
            "Where not given, 10, 30 and 100.",
            "references": "Samples that each sample is compared with, to tell what moved its own "
            "prediction; 0 leaves this away, which takes less time.",
            "random_state": "Seed of the permutations.",
            "n_jobs": "CPU threads, each for a sample at a time (0: all cores).",
            "device": _parameters.PREDICTING_DESCRIPTIONS["device"],
            "max_lost_reads": _parameters.PREDICTING_DESCRIPTIONS["max_lost_reads"],
        },
        output_descriptions={
            "feature_importance": "By how much the error of the predictions rises where a feature "
            "is permuted among the samples: in units of the target, or as log loss of classes. "
            "q2-sample-classifier's heatmap opens it.",
            "explanation": "The same with its spread, significance and direction, prevalence, "
            "abundance and taxon of the features, and of clades, taxa or clusters. It opens as "
            "feature metadata (metadata tabulate, Empress), and in the visualizer importance.",
        },
        name="Which features and clades predictions depend on.",
        description="Permute the relative abundance of each feature, and of each clade as a whole, "
        "among samples: by how much the error of a model's predictions rises is its importance. "
        "Features that say the same share their importance, so look at clades. What is important "
        "to a prediction need cause nothing.",
        examples={"explain": examples.explain_example},
    )
