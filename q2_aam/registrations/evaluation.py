"""Registrations of splits, cross-validations and comparisons."""

from __future__ import annotations

from q2_types.feature_data import FeatureData
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
    Choices,
    Float,
    Int,
    List,
    MetadataColumn,
    Numeric,
    Plugin,
    Range,
    Str,
    TypeMatch,
)

from aam_core.baseline import BASELINES
from aam_core.comparison import LABELS
from q2_aam import _parameters, _predictions
from q2_aam.actions import evaluation as actions
from q2_aam.examples import evaluation as examples
from q2_aam.registrations.shared import (
    DETAILS,
    FIT_INPUTS,
    FIT_PARAMETER_DESCRIPTIONS,
    FIT_PARAMETERS,
    GROUP_BY,
    INPUTS,
    JOBS,
    ClassifierPredictions,
    DetailedPredictions,
    Probabilities,
    RegressorPredictions,
)

__all__ = [
    "CV",
    "CV_DESCRIPTIONS",
    "IMPORTANCE",
    "RANDOM_STATE",
    "RANDOM_STATE_DESCRIPTION",
    "TEST_SIZE",
    "TEST_SIZE_DESCRIPTION",
    "TrueTargets",
    "register",
]

TrueTargets = SampleData[_predictions.TrueTargets]

TEST_SIZE = Float % Range(0.0, 1.0, inclusive_start=False)
TEST_SIZE_DESCRIPTION = "Share of the samples that are test samples; with groups, as near to it "
"as whole groups allow."
RANDOM_STATE = _parameters.primitive("train.seed")
RANDOM_STATE_DESCRIPTION = "Seed of the random choice of samples: the same seed gives the same "
"split."

CV = {
    "cv": Int % Range(2, None),
    "fold_by": GROUP_BY,
    "repeats": Int % Range(1, None),
    "baselines": List[Str % Choices("none", *BASELINES)],
    "importance_repeats": Int % Range(0, None),
    "n_jobs": JOBS,
}
"""Parameters of a cross-validation, beside those of a fit."""

CV_DESCRIPTIONS = {
    "cv": "Number of folds. Each sample is predicted by a model fitted to the other folds.",
    "fold_by": "Instead of cv folds: a fold for each value of this column (leave one site, or one "
    "study, out).",
    "repeats": "Number of repeats of the cross-validation, each with the next random_state. "
    "Metrics are then means; the predictions returned are those of the first repeat.",
    "baselines": "Methods to compare with, fitted to the same samples: "
    + ", ".join(f"{name} ({LABELS[name]})" for name in BASELINES)
    + "; or none. If not given, all.",
    "importance_repeats": "How often each feature is permuted among the test samples of a fold; "
    "the increase of the error is its importance. More permutations reduce its random variation.",
    "n_jobs": "Number of folds that are fitted at a time, each with a share of the cores; results "
    "do not depend on it.",
}


IMPORTANCE = (
    "Permutation importance of each feature: the increase of the error if the feature is permuted "
    "among the test samples of a fold, averaged over the folds, in units of the column or as log "
    "loss of classes. 'heatmap', and that of q2-sample-classifier, show the most important "
    "features."
)


def register(plugin: Plugin) -> None:
    """Register the actions of `q2_aam.actions.evaluation`."""
    _register_split_table(plugin)
    _register_cross_validate(plugin)
    _register_joins(plugin)
    _register_compare(plugin)


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
            "group_by": "Column that says which samples belong together (such as a host or a "
            "site): all samples of a group are on the same side, so that a model is tested on "
            "hosts that it has never seen.",
            "test_size": TEST_SIZE_DESCRIPTION,
            "random_state": RANDOM_STATE_DESCRIPTION,
            "stratify": "Whether both tables get the same shares of each class, or of each fifth "
            "of a numeric column, as far as whole groups allow.",
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
        "group-by the samples of one host (or site) stay together; otherwise a model may "
        "recognize the host, and looks better than it is. With missing-samples 'ignore', samples "
        "without a value in the metadata column are in neither table.",
        examples={"split_table": examples.split_table_example},
    )


def _register_cross_validate(plugin: Plugin) -> None:
    plugin.methods.register_function(
        function=actions.cross_validate,
        inputs=FIT_INPUTS,
        parameters={
            **FIT_PARAMETERS,
            "metadata": MetadataColumn[Numeric | Categorical],
            **CV,
            "fold": Int % Range(1, None),
        },
        outputs=[("details", DetailedPredictions)],
        input_descriptions=INPUTS,
        parameter_descriptions={
            **FIT_PARAMETER_DESCRIPTIONS,
            "metadata": "Metadata column to predict, numeric or categorical.",
            **CV_DESCRIPTIONS,
            "importance_repeats": CV_DESCRIPTIONS["importance_repeats"] + " 0 for none; "
            "join-importances makes FeatureData[Importance] of the details.",
            "fold": "Fit only this fold (the folds of all repeats are counted from 1), for "
            "example as one job of a cluster; join-regression-folds or join-classification-folds "
            "then joins the details of all folds. If not given, all folds.",
        },
        output_descriptions={
            "details": f"Cross-validated predictions of AAM and of the baselines. {DETAILS}"
        },
        name="Cross-validate: predict each sample by models that never saw it.",
        description="Divide the samples into folds, whole groups together, and predict each fold "
        "with a model that was fitted to the others, and with baselines. All choices of a fit "
        "(weights, settings of the forest) are made within the training folds (nested "
        "cross-validation). 'compare' makes a page of the result. regress-samples-ncv and "
        "classify-samples-ncv do the same, return predictions that q2-sample-classifier's "
        "visualizers open, and make the pages.",
        examples={"cross_validate": examples.cross_validate_example},
    )


def _register_joins(plugin: Plugin) -> None:
    shared = {
        "inputs": {"folds": List[DetailedPredictions]},
        "parameters": {},
        "input_descriptions": {
            "folds": "Details of all folds of one cross-validation, from cross-validate with "
            "'fold'; or those of a whole cross-validation."
        },
    }
    outputs = {
        "predictions": "Cross-validated predictions of each sample (of the first repeat).",
        "details": DETAILS,
    }
    plugin.methods.register_function(
        function=actions.join_regression_folds,
        outputs=[("predictions", RegressorPredictions), ("details", DetailedPredictions)],
        output_descriptions=outputs,
        name="Join the folds of a cross-validated regression.",
        description="Join folds that were fitted separately to one cross-validation, with the "
        "comparison of the methods, as if all had been fitted at once.",
        examples={"join_regression_folds": examples.join_regression_folds_example},
        **shared,
    )
    plugin.methods.register_function(
        function=actions.join_classification_folds,
        outputs=[
            ("predictions", ClassifierPredictions),
            ("probabilities", Probabilities),
            ("details", DetailedPredictions),
        ],
        output_descriptions={
            **outputs,
            "probabilities": "Cross-validated probabilities of the classes.",
        },
        name="Join the folds of a cross-validated classification.",
        description="Join folds that were fitted separately to one cross-validation, with the "
        "comparison of the methods, as if all had been fitted at once.",
        examples={"join_classification_folds": examples.join_classification_folds_example},
        **shared,
    )
    plugin.methods.register_function(
        function=actions.join_importances,
        outputs=[("feature_importance", FeatureData[_predictions.Importance])],
        output_descriptions={"feature_importance": IMPORTANCE},
        name="Join the feature importances of the folds of a cross-validation.",
        description="Average the importances of the folds, which cross-validate computes with "
        "importance-repeats, weighted by their numbers of test samples.",
        examples={"join_importances": examples.join_importances_example},
        **shared,
    )


def _register_compare(plugin: Plugin) -> None:
    plugin.visualizers.register_function(
        function=actions.compare,
        inputs={"details": DetailedPredictions},
        parameters={"units": Str},
        input_descriptions={"details": "Details of a cross-validation."},
        parameter_descriptions={
            "units": "Unit of the column, such as 'days'. If not given, that of the fits' "
            "settings (figure.units)."
        },
        name="Compare the methods of a cross-validation.",
        description="A page that compares AAM, its networks alone, a random forest and other "
        "baselines: metrics with intervals, paired differences from the random forest with p, "
        "errors of each group, metrics of each fold, how the folds were made, and the notes of "
        "the fits.",
        examples={"compare": examples.compare_example},
    )
