"""Registrations of pipelines, and of what they alone need."""

from __future__ import annotations

from q2_types.feature_data import FeatureData, Sequence
from q2_types.feature_table import FeatureTable, Frequency
from qiime2.plugin import (
    Bool,
    Categorical,
    Int,
    List,
    Metadata,
    MetadataColumn,
    Numeric,
    Plugin,
    Range,
    Str,
    Visualization,
)

from q2_aam import _explanations, _parameters, _predictions, _types_formats
from q2_aam.actions import pipelines as actions
from q2_aam.examples import pipelines as examples
from q2_aam.registrations.evaluation import (
    CV,
    CV_DESCRIPTIONS,
    IMPORTANCE,
    RANDOM_STATE,
    TEST_SIZE,
    TEST_SIZE_DESCRIPTION,
    TrueTargets,
)
from q2_aam.registrations.shared import (
    DETAILS,
    FIT_INPUTS,
    FIT_PARAMETER_DESCRIPTIONS,
    FIT_PARAMETERS,
    GROUP_BY,
    INPUTS,
    ClassifierPredictions,
    DetailedPredictions,
    Probabilities,
    RegressorPredictions,
)

__all__ = ["register"]

_NCV_DESCRIPTION = (
    " All choices of a fit (weights, settings of the forest) are made within the training folds "
    "(nested cross-validation). Each sample is predicted by a model that never saw it or another "
    "sample of its group. n_jobs fits several folds at a time, and so does --parallel in versions "
    "of QIIME 2 that have it (then give each fit a share of the cores, such as by the setting "
    "'train.threads=4')."
)
_PAGES = {
    "comparison": "Page: AAM compared with the baselines, with intervals and paired differences.",
    "accuracy_results": "Page: predictions against true values.",
}


def register(plugin: Plugin) -> None:
    """Register the actions of `q2_aam.actions.pipelines`."""
    _register_cross_validations(plugin)
    _register_tested_models(plugin)
    _register_score_baselines(plugin)


def _register_cross_validations(plugin: Plugin) -> None:
    descriptions = {
        **FIT_PARAMETER_DESCRIPTIONS,
        **CV_DESCRIPTIONS,
        "n_jobs": CV_DESCRIPTIONS["n_jobs"] + " With more than 1, or with fold_by, all folds are "
        "one action, which --parallel does not divide.",
    }
    shared = {"inputs": FIT_INPUTS, "input_descriptions": INPUTS}
    validating = {**FIT_PARAMETERS, **CV, "importance_repeats": Int % Range(1, None)}
    plugin.pipelines.register_function(
        function=actions.regress_samples_ncv,
        parameters={**validating, "metadata": MetadataColumn[Numeric], "stratify": Bool},
        parameter_descriptions={
            **descriptions,
            "stratify": "Whether all folds get the same shares of each fifth of the values, as "
            "far as whole groups allow.",
        },
        outputs=[
            ("predictions", RegressorPredictions),
            ("feature_importance", FeatureData[_predictions.Importance]),
            ("details", DetailedPredictions),
            ("comparison", Visualization),
            ("accuracy_results", Visualization),
        ],
        output_descriptions={
            "predictions": "Predicted value of each sample, by a model that never saw it.",
            "feature_importance": IMPORTANCE,
            "details": DETAILS,
            **_PAGES,
        },
        name="Cross-validate the prediction of a numeric column, with its pages.",
        description="Predict a numeric metadata column of every sample by cross-validation, and "
        "compare with a random forest and other baselines." + _NCV_DESCRIPTION,
        examples={"regress_samples_ncv": examples.regress_samples_ncv_example},
        **shared,
    )
    plugin.pipelines.register_function(
        function=actions.classify_samples_ncv,
        parameters={**validating, "metadata": MetadataColumn[Categorical]},
        parameter_descriptions=descriptions,
        outputs=[
            ("predictions", ClassifierPredictions),
            ("feature_importance", FeatureData[_predictions.Importance]),
            ("probabilities", Probabilities),
            ("details", DetailedPredictions),
            ("comparison", Visualization),
            ("accuracy_results", Visualization),
        ],
        output_descriptions={
            "predictions": "Predicted class of each sample, by a model that never saw it.",
            "feature_importance": IMPORTANCE,
            "probabilities": "Probability of each class, by the same model.",
            "details": DETAILS,
            **_PAGES,
        },
        name="Cross-validate the prediction of a categorical column, with its pages.",
        description="Predict a categorical metadata column of every sample by cross-validation, "
        "and compare with a random forest and other baselines." + _NCV_DESCRIPTION,
        examples={"classify_samples_ncv": examples.classify_samples_ncv_example},
        **shared,
    )


def _register_tested_models(plugin: Plugin) -> None:
    parameters = {
        **FIT_PARAMETERS,
        "test_size": TEST_SIZE,
        "stratify": Bool,
        "pretrain": Bool,
        "baselines": CV["baselines"],
    }
    descriptions = {
        **FIT_PARAMETER_DESCRIPTIONS,
        "test_size": TEST_SIZE_DESCRIPTION,
        "stratify": "Whether training and test samples get the same shares of each class, or of "
        "each fifth of a numeric column, as far as whole groups allow.",
        "pretrain": "First pretrain an encoder on the training samples, without their labels; "
        "with a phylogeny also on the UniFrac distances between them. The parameters of the "
        "training and the settings apply to both, except train.best_metric, which names a metric "
        "of the fit.",
        "baselines": CV_DESCRIPTIONS["baselines"],
    }
    shared = {
        "inputs": FIT_INPUTS,
        "input_descriptions": INPUTS,
        "parameter_descriptions": descriptions,
    }
    last = [
        ("training_targets", TrueTargets),
        ("test_targets", TrueTargets),
        ("details", DetailedPredictions),
        ("explanation", FeatureData[_explanations.AAMImportance]),
        ("comparison", Visualization),
        ("importance", Visualization),
        ("report", Visualization),
        ("training_curves", Visualization),
    ]
    described = {
        "sample_estimator": "Fitted model: predict-regression, predict-classification and explain "
        "take it.",
        "feature_importance": "Permutation importance: the increase of the error if a feature is "
        "permuted among the test samples.",
        "predictions": "Predictions of the test samples alone.",
        "model_summary": "Page: what the model is and how it was fitted.",
        "training_targets": "True values of the training samples.",
        "test_targets": "True values of the test samples.",
        "details": f"Of the test samples: {DETAILS}",
        "explanation": "The importances with their spread, significance and direction, and those "
        "of clades.",
        "importance": "Page: the most important features and clades, with a heat map of their "
        "abundances.",
        "report": "Page: where the model fails.",
        "training_curves": "Page: losses and metrics by epoch of the training.",
        **_PAGES,
    }
    text = (
        " Divide the samples into training and test samples, whole groups together; fit a model "
        "to the training samples; predict the test samples, also with a random forest and other "
        "baselines; and make every page. The pages show only the test samples. Metrics of few "
        "test samples are uncertain (see their intervals); cross-validation tests on every "
        "sample."
    )
    plugin.pipelines.register_function(
        function=actions.regress_samples,
        parameters={**parameters, "metadata": MetadataColumn[Numeric]},
        outputs=[
            ("sample_estimator", _types_formats.AAMRegressor),
            ("feature_importance", FeatureData[_predictions.Importance]),
            ("predictions", RegressorPredictions),
            ("model_summary", Visualization),
            ("accuracy_results", Visualization),
            *last,
        ],
        output_descriptions=described,
        name="Train and test a model of a numeric column, with every page.",
        description="Predict a numeric metadata column." + text,
        examples={"regress_samples": examples.regress_samples_example},
        **shared,
    )
    plugin.pipelines.register_function(
        function=actions.classify_samples,
        parameters={**parameters, "metadata": MetadataColumn[Categorical]},
        outputs=[
            ("sample_estimator", _types_formats.AAMClassifier),
            ("feature_importance", FeatureData[_predictions.Importance]),
            ("predictions", ClassifierPredictions),
            ("model_summary", Visualization),
            ("accuracy_results", Visualization),
            ("probabilities", Probabilities),
            ("heatmap", Visualization),
            *last,
        ],
        output_descriptions={
            **described,
            "probabilities": "Probabilities of the classes of the test samples.",
            "heatmap": "Page: the abundances of the 50 most important features in the samples of "
            "each class.",
        },
        name="Train and test a model of a categorical column, with every page.",
        description="Predict a categorical metadata column." + text,
        examples={"classify_samples": examples.classify_samples_example},
        **shared,
    )


def _register_score_baselines(plugin: Plugin) -> None:
    plugin.methods.register_function(
        function=actions.score_baselines,
        inputs={
            "table": FeatureTable[Frequency],
            "training_targets": TrueTargets,
            "test_targets": TrueTargets,
            "details": DetailedPredictions,
            "sequences": FeatureData[Sequence],
            "started_from": _types_formats.AAMEncoder
            | _types_formats.AAMRegressor
            | _types_formats.AAMClassifier,
        },
        parameters={
            "group_by": GROUP_BY,
            "baselines": CV["baselines"],
            "covariates": Metadata,
            "covariate_columns": List[Str],
            "random_state": RANDOM_STATE,
            "n_jobs": _parameters.primitive("train.threads"),
            "max_lost_reads": _parameters.PREDICTING["max_lost_reads"],
        },
        # q2cli takes an input and an output of one name for each other.
        outputs=[("details_with_baselines", DetailedPredictions)],
        input_descriptions={
            "table": "Counts of training and test samples.",
            "training_targets": "True values of the training samples, from split-table.",
            "test_targets": "True values of the test samples, from split-table.",
            "details": "Predictions of the test samples by a model of the training samples.",
            "sequences": INPUTS["sequences"],
            "started_from": "Encoder, or fitted model, that the fit started from: if it was "
            "trained on test samples, the details say so.",
        },
        parameter_descriptions={
            "group_by": "Group column of the split: intervals and tests are over these groups.",
            "baselines": CV_DESCRIPTIONS["baselines"],
            "covariates": FIT_PARAMETER_DESCRIPTIONS["covariates"],
            "covariate_columns": "Columns of the covariates metadata that the baselines read, too.",
            "random_state": "Seed of the baselines: with the same seed a run can be repeated.",
            "n_jobs": "CPU threads of a forest (0: all cores).",
            "max_lost_reads": _parameters.PREDICTING_DESCRIPTIONS["max_lost_reads"],
        },
        output_descriptions={
            "details_with_baselines": "The same predictions and those of the baselines: 'compare' "
            "shows them."
        },
        name="Compare a model with baselines on the same test samples.",
        description="Fit a random forest and other baselines to the training samples, and compare "
        "their predictions of the test samples with those of a model.",
        examples={"score_baselines": examples.score_baselines_example},
    )
