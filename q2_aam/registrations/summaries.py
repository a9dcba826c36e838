"""Registrations of the pages on a model itself."""

from __future__ import annotations

from q2_types.distance_matrix import DistanceMatrix
from q2_types.feature_data import FeatureData, Sequence
from q2_types.feature_table import FeatureTable, Frequency
from q2_types.tree import Phylogeny, Rooted
from qiime2.plugin import Choices, Int, Plugin, Range, Str

from q2_aam import _parameters
from q2_aam._types_formats import AAMClassifier, AAMEncoder, AAMRegressor
from q2_aam.actions import summaries as actions
from q2_aam.examples import summaries as examples
from q2_aam.registrations.shared import INPUTS

__all__ = ["register"]

_MODEL = "Encoder from pretrain, or model from fit-regressor or fit-classifier."


def register(plugin: Plugin) -> None:
    """Register the actions of `q2_aam.actions.summaries`."""
    plugin.visualizers.register_function(
        function=actions.summarize,
        inputs={"model": AAMEncoder | AAMRegressor | AAMClassifier},
        parameters={},
        input_descriptions={"model": _MODEL},
        parameter_descriptions={},
        name="Summarize a model.",
        description="Show what a model is: what it predicts, the samples and inputs that it was "
        "trained on, how it was validated (samples, groups, folds, seed), its metrics, the "
        "weights of its networks, random forest and linear model, every setting, versions, and "
        "the notes of the training.",
        examples={"summarize": examples.summarize_example},
    )

    plugin.visualizers.register_function(
        function=actions.training_curves,
        inputs={"model": AAMEncoder | AAMRegressor | AAMClassifier},
        parameters={},
        input_descriptions={"model": _MODEL},
        parameter_descriptions={},
        name="Show how the training of a model went.",
        description="Interactive curves of the losses and metrics of the networks by epoch, for "
        "training and validation samples. They show whether the training was long enough, and "
        "whether the networks overfit. The numbers can be downloaded as CSV and as TensorBoard "
        "event files.",
        examples={"training_curves": examples.training_curves_example},
    )

    plugin.visualizers.register_function(
        function=actions.distance_fit,
        inputs={
            "encoder": AAMEncoder,
            "table": FeatureTable[Frequency],
            "sequences": FeatureData[Sequence],
            "phylogeny": Phylogeny[Rooted],
            "distances": DistanceMatrix,
        },
        parameters={
            "samples": Str % Choices("held-out", "all"),
            "random_state": Int % Range(0, None),
            "max_lost_reads": _parameters.TRAINING["max_lost_reads"],
        },
        input_descriptions={
            "encoder": "Encoder from pretrain that learned distances between samples.",
            "table": INPUTS["table"],
            "sequences": INPUTS["sequences"],
            "phylogeny": "Tree whose tips are the features: the true UniFrac distances are "
            "computed on it.",
            "distances": "True distances between the samples, instead of a phylogeny.",
        },
        parameter_descriptions={
            "samples": "Which samples of the table to compare: those that the encoder was not "
            "trained on ('held-out'), or 'all'. Of more than 500, 500 are drawn.",
            "random_state": "Seed of the samples that are drawn, and of the permutations.",
            "max_lost_reads": _parameters.training_descriptions("pretraining")["max_lost_reads"],
        },
        name="Compare an encoder's distances with UniFrac.",
        description="Compare the distances between samples that an encoder predicts without a "
        "tree with the true ones: R2 and error over all pairs, Mantel's test, and Procrustes of "
        "both ordinations. The page names the samples with the largest errors.",
        examples={"distance_fit": examples.distance_fit_example},
    )
