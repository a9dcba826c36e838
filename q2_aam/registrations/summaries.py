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
        description="What a model is, in words: what it predicts, the samples and inputs that it "
        "was trained on, how it was validated (samples, groups, folds, seed), its metrics, how "
        "much its networks, random forest and linear model count, every setting, versions, and "
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
        description="Losses and metrics of the networks by epoch, of training and validation "
        "samples, as interactive curves: whether the training was long enough, and whether the "
        "networks learned the training samples by heart. The numbers can be downloaded as CSV "
        "and as event files of TensorBoard.",
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
            "samples": "Which samples of the table are compared: 'held-out' are those that the "
            "encoder was not trained on, 'all' shows what it remembers as well. Of more than 500, "
            "500 are drawn.",
            "random_state": "Seed of the samples that are drawn, and of the permutations.",
            "max_lost_reads": _parameters.training_descriptions("pretraining")["max_lost_reads"],
        },
        name="Compare an encoder's distances with UniFrac.",
        description="Distances between samples, as an encoder predicts them without a tree, "
        "against the true ones: R2 and error over all pairs, Mantel's test, and Procrustes of both "
        "ordinations, with a page that names the samples that fit least.",
        examples={"distance_fit": examples.distance_fit_example},
    )
