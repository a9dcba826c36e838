"""Registrations of splits, cross-validations and comparisons."""

from __future__ import annotations

from q2_types.feature_table import (
    Balance,
    Design,
    FeatureTable,
    Frequency,
    PercentileNormalized,
    PresenceAbsence,
    RelativeFrequency,
)
from q2_types.sample_data import SampleData
from qiime2.plugin import (
    Bool,
    Categorical,
    Float,
    MetadataColumn,
    Numeric,
    Plugin,
    Range,
    TypeMatch,
)

from q2_aam import _parameters, _predictions
from q2_aam.actions import evaluation as actions
from q2_aam.examples import evaluation as examples
from q2_aam.registrations.shared import GROUP_BY

__all__ = ["register"]

TrueTargets = SampleData[_predictions.TrueTargets]

TEST_SIZE = Float % Range(0.0, 1.0, inclusive_start=False)
TEST_SIZE_DESCRIPTION = "Share of the samples to test with; whole groups come as near as they can."
RANDOM_STATE = _parameters.primitive("train.seed")
RANDOM_STATE_DESCRIPTION = "Seed of the random choice of samples: the same seed, the same split."


def register(plugin: Plugin) -> None:
    """Register the actions of `q2_aam.actions.evaluation`."""
    _register_split_table(plugin)


def _register_split_table(plugin: Plugin) -> None:
    kinds = (
        Frequency,
        RelativeFrequency,
        PresenceAbsence,
        Balance,
        PercentileNormalized,
        Design,
    )
    kind = TypeMatch(list(kinds))
    plugin.methods.register_function(
        function=actions.split_table,
        inputs={"table": FeatureTable[kind]},
        parameters={
            "metadata": MetadataColumn[Numeric | Categorical],
            "group_by": GROUP_BY,
            "test_size": TEST_SIZE,
            "random_state": RANDOM_STATE,
            "stratify": Bool,
            **_parameters.MISSING,
        },
        outputs=[
            ("training_table", FeatureTable[kind]),
            ("test_table", FeatureTable[kind]),
            ("training_targets", TrueTargets),
            ("test_targets", TrueTargets),
        ],
        input_descriptions={"table": "Samples to divide."},
        parameter_descriptions={
            "metadata": "Metadata column to be predicted.",
            "group_by": "Column whose value samples of one group share (a host, a site): all "
            "samples of a group are on the same side, so that a model is tested on hosts that it "
            "has never seen.",
            "test_size": TEST_SIZE_DESCRIPTION,
            "random_state": RANDOM_STATE_DESCRIPTION,
            "stratify": "Whether both sides get the same shares of each class, or of each fifth of "
            "a numeric column, as far as whole groups allow.",
            **_parameters.MISSING_DESCRIPTION,
        },
        output_descriptions={
            "training_table": "Training samples.",
            "test_table": "Test samples, to be predicted and compared with the truth.",
            "training_targets": "Values of the metadata column of the training samples.",
            "test_targets": "Values of the metadata column of the test samples.",
        },
        name="Divide a feature table into training and test samples.",
        description="Divide the samples of a feature table into a training and a test table. With "
        "group_by the samples of one host (or site) stay together: otherwise a model may recognize "
        "the host, and looks better than it is. Samples without a value in the metadata column are "
        "in neither table.",
        examples={"split_table": examples.split_table_example},
    )
