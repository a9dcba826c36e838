"""AAM as scikit-learn estimators: what they take, and the tools of scikit-learn on them."""

from __future__ import annotations

import copy
import functools
import inspect
import io
import pickle
import pickletools
import zipfile
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import check_array, estimator_checks
from sklearn.utils.estimator_checks import check_estimator

import aam_core
from aam_core.config.config import find
from aam_core.estimators import _SETTINGS, AAMClassifier, AAMRegressor, EstimatorInputError

VERSION = tuple(map(int, sklearn.__version__.split(".")[:2]))
QUICK = {
    "preset": "tiny",
    "members": 2,
    "trees": 2,
    "device": "cpu",
    "threads": 1,
    "settings": {
        "train.max_steps": 1,
        "train.val_fraction": 0.5,
        "model.encoder.width": 8,
        "model.encoder.codes": 8,
        "model.head.target_hidden": 8,
    },
}
"""A fit of a step, of networks of 8 numbers a sample."""


@pytest.fixture(scope="module")
def study(small):
    """The small study without its tree, which fits do not read."""
    return small[:40]


@pytest.fixture(scope="module")
def gradient(study):
    return study.metadata["gradient"]


@pytest.fixture(scope="module")
def subjects(study):
    return study.metadata["host_subject_id"]


@pytest.fixture(scope="module")
def frame(study):
    """The reads of the study, with sequences as columns."""
    counts = study.counts.toarray()
    return pd.DataFrame(counts, index=study.sample_ids, columns=study.sequences)


@pytest.fixture(scope="module")
def regressor(study, gradient):
    return AAMRegressor(**QUICK, group_by="host_subject_id").fit(study, gradient)


@pytest.fixture(scope="module")
def classifier(study):
    """Of classes that are numbers, and in another order as text."""
    numbers = study.metadata["group"].map({"case": 10, "control": 9})
    return AAMClassifier(**QUICK, group_by="host_subject_id").fit(study, numbers)


# --- what they do --------------------------------------------------------------------------------


def test_a_regressor_is_the_fit_of_its_settings(regressor, study, gradient):
    settings = {name: value for name, value in QUICK.items() if name not in ("members", "trees")}
    config = {**settings.pop("settings"), "model.members": 2, "forest.trees": 2}
    options = {"group_by": "host_subject_id", "config": config, **settings}
    model = aam_core.fit_regressor(study, gradient, **options)
    assert model.config == regressor.model_.config
    frame = aam_core.predict(model, study, confidence=0.8)
    assert regressor.predict(study).tolist() == frame["prediction"].tolist()
    assert (regressor.predict_interval(study, 0.8) == frame[["lower", "upper"]]).all(axis=None)
    assert regressor.score(study, gradient) == r2_score(gradient, frame["prediction"])
    assert regressor.n_features_in_ == study.shape[1]
    assert regressor.feature_names_in_.tolist() == study.feature_ids


def test_a_classifier_predicts_its_classes_as_they_are_in_y(classifier, study):
    frame = aam_core.predict(classifier.model_, study, confidence=0.8)
    assert classifier.classes_.tolist() == [9, 10] and classifier.classes_.dtype.kind == "i"
    assert classifier.model_.task.classes == ("10", "9")
    assert classifier.predict(study).tolist() == frame["prediction"].astype(int).tolist()
    assert (classifier.predict_proba(study) == frame[["9", "10"]]).all(axis=None)
    sets = [set(text.split("|")) for text in frame["prediction_set"]]
    assert classifier.predict_set(study, 0.8).tolist() == [["9" in it, "10" in it] for it in sets]


def test_vectors_are_of_all_members(regressor, study):
    vectors = regressor.transform(study)
    assert vectors.shape == (len(study), 2 * 8) and np.isfinite(vectors).all()
    assert len(np.unique(vectors, axis=0)) == len(study)
    assert len(regressor.get_feature_names_out()) == vectors.shape[1]


@pytest.mark.parametrize("kind", ["frame", "numbered", "table", "anndata"])
def test_all_kinds_of_tables_are_read_alike(kind, regressor, study, frame, made):
    tables = {
        "frame": frame,
        "numbered": frame.reset_index(drop=True),
        "table": made.table.filter(study.sample_ids, inplace=False),
        "anndata": type("AnnData", (SimpleNamespace,), {})(
            X=study.counts,
            obs=study.metadata,
            var=pd.DataFrame({"dna": study.sequences}, index=study.feature_ids),
            obs_names=study.sample_ids,
            var_names=study.feature_ids,
        ),
    }
    reader = copy.copy(regressor)
    if kind == "table":  # whose ids are no sequences
        reader.set_params(sequences=made.sequences)
    np.testing.assert_allclose(reader.predict(tables[kind]), regressor.predict(study))


def test_every_setting_of_the_constructor_is_one_of_the_configuration():
    assert set(inspect.signature(AAMRegressor).parameters) > set(_SETTINGS)
    assert all(find(path) for path in _SETTINGS.values())
    changes = {"members": np.int64(3), "random_state": np.int32(7), "settings": {"optim.lr": 0.1}}
    config = AAMRegressor(**{**QUICK, **changes})._config()
    assert (config.model.members, config.train.seed, config.optim.lr) == (3, 7, 0.1)
    states = [np.random.RandomState(i) for i in (0, 1, 1)]
    seeds = [AAMRegressor(random_state=state)._config().train.seed for state in states]
    assert seeds[0] != seeds[1] == seeds[2]


# --- what they refuse ----------------------------------------------------------------------------


def test_what_cannot_be_read_is_refused_in_one_line(frame, gradient):
    numbers = frame.to_numpy()
    shares = frame / frame.sum(axis=1).to_numpy()[:, None]
    empty = frame.copy()
    empty.iloc[3] = 0
    for X, message in (
        (numbers, "DataFrame with DNA sequences as columns, .*not ndarray"),
        (shares, "not whole numbers.*before it was made relative"),
        (empty, r"1 of 40 samples have no reads \(.*\): drop them from X"),
        (frame.set_axis([f"asv{i}" for i in range(frame.shape[1])], axis=1), "are not DNA"),
    ):
        for error in (ValueError, aam_core.InputError):
            with pytest.raises(error, match=message) as refusal:
                AAMRegressor(**QUICK).fit(X, gradient)
            assert isinstance(refusal.value, EstimatorInputError)


def test_samples_in_another_order_are_refused_whatever_their_names(frame, gradient):
    numbered, y = frame.reset_index(drop=True), gradient.reset_index(drop=True)
    with pytest.raises(EstimatorInputError, match="of y are those of X in another order"):
        AAMRegressor(**QUICK).fit(numbered, y[::-1])
    with pytest.raises(EstimatorInputError, match="of groups are those of X in another order"):
        AAMRegressor(**QUICK).fit(numbered, y, groups=y[::-1])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (lambda y: None, "requires y to be passed"),
        (lambda y: y[::-1], "in another order"),
        (lambda y: y[:-1], "inconsistent numbers of samples"),
        (lambda y: y.where(y > y.min()), "NaN"),
    ],
)
@pytest.mark.parametrize("kind", [AAMRegressor, AAMClassifier])
def test_wrong_targets_are_refused(kind, y, message, frame, gradient):
    if kind is AAMClassifier:
        gradient = gradient.round(-1)
    with pytest.raises(ValueError, match=message):
        kind(**QUICK).fit(frame, y(gradient))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"settings": {"model.members": 3}, "members": 2}, r"members \(model.members\)"),
        ({"settings": {"train.seed": 3}, "random_state": 2}, r"random_state \(train.seed\)"),
        ({"settings": {"model.member": 3}}, "did you mean 'model.members'"),
        ({"preset": "huge"}, "There is no preset 'huge'"),
        ({"members": 0}, "model.members must be at least 1"),
        ({"sequences": {"h1": "ACGT"}}, "a Study is complete"),
        ({"covariates": ["sex"]}, "There is no metadata column 'sex'"),
    ],
    ids=lambda it: str(it)[:30],
)
def test_wrong_parameters_are_refused_when_it_is_fitted(params, message, study, gradient):
    with pytest.raises(EstimatorInputError, match=message):
        AAMRegressor(**{**QUICK, **params}).fit(study, gradient)


def test_groups_are_given_once(study, gradient, subjects):
    with pytest.raises(EstimatorInputError, match="grouped by group_by already"):
        AAMRegressor(**QUICK, group_by="host_subject_id").fit(study, gradient, groups=subjects)


# --- pickle, clone -------------------------------------------------------------------------------


def test_a_pickle_holds_the_saved_model_and_no_module(regressor, study):
    content = pickle.dumps(regressor)
    again = pickle.loads(content)
    assert again.predict(study).tolist() == regressor.predict(study).tolist()
    assert again.get_params() == regressor.get_params()
    # Classes that are named in it: none of torch, of the network or of the model.
    names = {str(text) for _, text, _ in pickletools.genops(content) if isinstance(text, str)}
    assert {it for it in names if it.startswith("aam_core")} == {"aam_core.estimators"}
    assert not any("torch" in it for it in names)
    saved = zipfile.ZipFile(io.BytesIO(regressor.__getstate__()["model_"]))
    assert {"config.json", "model.safetensors", "manifest.json"} <= set(saved.namelist())
    assert {name.rpartition(".")[2] for name in saved.namelist()} <= {
        *("json", "safetensors", "tsv", "txt", "md")
    }


def test_a_clone_is_not_fitted(regressor, study):
    again = clone(regressor)
    assert again.get_params() == regressor.get_params()
    with pytest.raises(NotFittedError):
        again.predict(study)


# --- scikit-learn's tools ------------------------------------------------------------------------


def test_cross_validation_with_groups(study, gradient, subjects):
    estimator = AAMRegressor(**QUICK, group_by="host_subject_id")
    given = {"groups": subjects, "cv": GroupKFold(2)}
    predictions = cross_val_predict(estimator, study, gradient, **given)
    assert len(predictions) == len(study) and np.isfinite(predictions).all()


def test_groups_of_a_fit_by_its_parameter(frame, gradient, subjects):
    """Without metadata: as values by sample id, or as a parameter of fit."""
    splits = []
    params = "params" if "params" in inspect.signature(cross_val_score).parameters else "fit_params"
    for group_by, more in ((subjects, {}), (None, {params: {"groups": subjects.to_numpy()}})):
        models = []

        class Kept(AAMRegressor):
            def score(self, X, y):
                models.append(self.model_)  # noqa: B023
                return super().score(X, y)

        estimator = Kept(**QUICK, group_by=group_by)
        cross_val_score(estimator, frame, gradient, cv=2, **more)
        for model in models:
            folds = pd.Series(model.val_folds, index=model.val_samples)
            assert folds.groupby(subjects[folds.index]).nunique().eq(1).all()
        splits.append([model.val_folds for model in models])
    assert splits[0] == splits[1]


def test_grid_search_with_groups(frame, gradient, subjects):
    search = GridSearchCV(AAMRegressor(**QUICK), {"trees": [2, 3]}, cv=GroupKFold(2))
    search.fit(frame, gradient, groups=subjects)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.model_.config.forest.trees == search.best_params_["trees"]


@pytest.mark.skipif(VERSION < (1, 4), reason="searches route metadata since scikit-learn 1.4")
def test_grid_search_routes_groups_to_the_fit(frame, gradient, subjects):
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = AAMRegressor(**QUICK).set_fit_request(groups=True)
        search = GridSearchCV(estimator, {"trees": [2]}, cv=GroupKFold(2))
        search.fit(frame, gradient, groups=subjects)
    model = search.best_estimator_.model_
    folds = pd.Series(model.val_folds, index=model.val_samples)
    assert folds.groupby(subjects[folds.index]).nunique().eq(1).all()


def test_pipelines_before_and_after(frame, gradient):
    select = VarianceThreshold().set_output(transform="pandas")
    pipeline = make_pipeline(select, AAMRegressor(**QUICK), Ridge())
    constant = frame.assign(ACGTACGTACGT=1)
    assert np.isfinite(pipeline.fit(constant, gradient).predict(constant)).all()
    assert "ACGTACGTACGT" not in pipeline[1].feature_names_in_
    assert len(pipeline[:-1].transform(constant)[0]) == len(pipeline[-1].coef_)


# --- the checks of scikit-learn ------------------------------------------------------------------


class OnArrays:
    """Arrays of any numbers are read as counts of invented sequences, one a column.

    The estimators refuse arrays, which have no sequences, so that the checks pass over them.
    Another number of features is refused here as the checks want it; the estimators read whatever
    features the samples to predict have.
    """

    def _study(self, X, prefix=""):
        numbers = check_array(X, dtype=np.float64)
        size, fitted = numbers.shape[1], getattr(self, "n_features_in_", None)
        if prefix and size != fitted:
            name = type(self).__name__
            raise ValueError(
                f"X has {size} features, but {name} is expecting {fitted} features as input"
            )
        # Whole and above 0; of each number by itself, as samples are predicted apart, too.
        counts = np.round(10 + np.exp(numbers.clip(-5, 5))).astype(int)
        return super()._study(pd.DataFrame(counts, columns=self._features(numbers)), prefix)

    def _features(self, X):
        if hasattr(X, "columns"):
            return [str(name) for name in X.columns]
        width = check_array(X, dtype=None, ensure_min_samples=0).shape[1]
        return ["".join("ACGT"[i // 4**place % 4] * 4 for place in range(5)) for i in range(width)]

    def _more_tags(self):
        return {**super()._more_tags(), "X_types": ["2darray"], "poor_score": True}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.positive_only = False
        (tags.regressor_tags or tags.classifier_tags).poor_score = True  # of a step
        return tags


class RegressorOnArrays(OnArrays, AAMRegressor):
    pass


class ClassifierOnArrays(OnArrays, AAMClassifier):
    pass


DO_NOT_APPLY = {
    "check_array_api_input": "reads are sparse counts on the CPU",
    "check_estimators_dtypes": "it would check the casts of `OnArrays` alone",
    "check_readonly_memmap_input": "as above: what is read is a copy",
    "check_regressor_data_not_an_array": "as that of the classifier",
    "check_transformer_data_not_an_array": "as that of the classifier",
}
"""Checks -> why they are not run."""


def checks_of(estimator):
    """scikit-learn's checks of an estimator, as functions without arguments, by their names."""
    if VERSION < (1, 6):
        each = check_estimator(estimator, generate_only=True)
    else:
        each = estimator_checks.estimator_checks_generator(estimator)
    for copy_, check in each:
        yield getattr(check, "func", check).__name__, functools.partial(check, copy_)


REGRESSOR = dict(checks_of(RegressorOnArrays(**QUICK)))
CLASSIFIER = dict(checks_of(ClassifierOnArrays(**QUICK)))
# What they share once; a check of a memory map beside the same check goes by the same name.
CHECKS = {
    name: check for name, check in {**CLASSIFIER, **REGRESSOR}.items() if name not in DO_NOT_APPLY
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CHECKS)
def test_check_estimator(name, caplog):
    CHECKS[name]()


def test_the_estimators_themselves_need_more_than_arrays():
    for kind in (AAMRegressor, AAMClassifier):
        with pytest.warns(SkipTestWarning, match="Can't test estimator"):
            assert set(dict(checks_of(kind()))) <= {"check_estimator_cloneable"}
    assert set(DO_NOT_APPLY) >= (set(REGRESSOR) | set(CLASSIFIER)) - set(CHECKS)
