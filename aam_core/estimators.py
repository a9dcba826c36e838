"""AAM as scikit-learn estimators: `AAMRegressor` and `AAMClassifier`.

They are thin: `fit` is `aam_core.fit_regressor` or `fit_classifier`, the others are
`aam_core.predict` and the vectors of the networks. Letters: N samples, K members, D size of a
sample vector, C classes.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    RegressorMixin,
    TransformerMixin,
)
from sklearn.utils import check_array, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from aam_core.config import Config
from aam_core.config.resolve import ConfigLike, resolve
from aam_core.data.annotated import is_anndata
from aam_core.data.columns import as_name
from aam_core.data.ids import listing
from aam_core.data.study import Study, load_study
from aam_core.embedding import embed
from aam_core.ensemble.conformal import labels
from aam_core.errors import InputError
from aam_core.fitting import fit_classifier, fit_regressor
from aam_core.log import logger
from aam_core.model import Model, load_model
from aam_core.prediction import predict
from aam_core.tasks.prediction_columns import BOUNDS

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AAMClassifier", "AAMRegressor", "EstimatorInputError"]

_SETTINGS = {
    "epochs": "train.epochs",
    "members": "model.members",
    "trees": "forest.trees",
    "lr": "optim.lr",
    "batch_size": "train.batch_size",
    "device": "train.device",
    "threads": "train.threads",
}
"""Parameters that are settings -> their ``section.field``."""


class EstimatorInputError(InputError, ValueError):
    """An `InputError` that is a `ValueError` too, which scikit-learn's tools expect."""


class _SavedModel(bytes):
    """The folder of a saved model as a zip file: JSON and safetensors."""

    @classmethod
    def of(cls, model: Model) -> _SavedModel:
        with tempfile.TemporaryDirectory() as folder:
            model.save(folder, durable=False)
            content = io.BytesIO()
            with zipfile.ZipFile(content, "w") as archive:
                for path in sorted(Path(folder).rglob("*")):
                    archive.write(path, path.relative_to(folder))
        return cls(content.getvalue())

    def open(self) -> Model:
        with tempfile.TemporaryDirectory() as folder:
            zipfile.ZipFile(io.BytesIO(self)).extractall(folder)
            return load_model(folder)


class _AAMEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """What `AAMRegressor` and `AAMClassifier` share."""

    _fit: Callable[..., Model]

    def __init__(
        self,
        *,
        preset: str | None = None,
        epochs: int | None = None,
        members: int | None = None,
        trees: int | None = None,
        lr: float | None = None,
        batch_size: int | None = None,
        device: str | None = None,
        threads: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        group_by: str | pd.Series | None = None,
        covariates: Sequence[str] = (),
        sequences: Any = None,
        encoder: Any = None,
        freeze_encoder: bool = False,
        settings: ConfigLike = None,
    ):
        self.preset = preset
        self.epochs = epochs
        self.members = members
        self.trees = trees
        self.lr = lr
        self.batch_size = batch_size
        self.device = device
        self.threads = threads
        self.random_state = random_state
        self.group_by = group_by
        self.covariates = covariates
        self.sequences = sequences
        self.encoder = encoder
        self.freeze_encoder = freeze_encoder
        self.settings = settings

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Fit to a target.

        Parameters
        ----------
        X : DataFrame, biom.Table, AnnData or Study
            Reads of N samples; see the class.
        y : array-like
            [N] values of the target, in the order of the samples.
        groups : array-like, optional
            [N] groups: samples of one (a subject, a site) are never on both sides of the splits
            that the fit makes by itself. In the place of ``group_by``.

        Returns
        -------
        self

        Raises
        ------
        EstimatorInputError
            If the samples or the target cannot be used; a `ValueError`, too.
        """
        with _as_value_errors():
            study = self._study(X)
            values = self._target(y, study)
            model = type(self)._fit(
                study,
                values,
                group_by=self._groups(groups, study),
                covariates=self.covariates,
                encoder=self.encoder,
                freeze_encoder=self.freeze_encoder,
                config=self._config(),
            )
        self.model_ = model
        names = self._features(X)
        self.n_features_in_ = len(names)
        self.feature_names_in_ = np.array(names, dtype=object)
        self._n_features_out = model.config.model.members * model.config.model.encoder.width
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Vectors of the samples, as the networks see them (`aam_core.embed`).

        Returns
        -------
        ndarray
            ``[N, K D]`` float32, those of the members side by side.
        """
        check_is_fitted(self, "model_")
        with _as_value_errors():
            vectors = embed(self.model_, self._study(X, "new "), device=self.device)
        return vectors.to_numpy()

    def _predictions(self, X: Any, confidence: float | None = None) -> tuple[Study, pd.DataFrame]:
        """The samples, and what `aam_core.predict` says of them."""
        check_is_fitted(self, "model_")
        with _as_value_errors():
            study = self._study(X, "new ")
            frame = predict(self.model_, study, device=self.device, confidence=confidence)
        return study, frame

    def _study(self, X: Any, prefix: str = "") -> Study:
        """The samples of ``X``, all of them and in their order.

        Parameters
        ----------
        prefix : str
            Before numbers that stand for the ids of samples: those of two tables are no sign that
            their samples are the same.
        """
        if isinstance(X, Study):
            if self.sequences is not None:
                raise InputError("Give the sequences to load_study: a Study is complete.")
            return X
        if isinstance(X, pd.DataFrame) and not all(isinstance(name, str) for name in X.index):
            X = X.set_axis(pd.Index([f"{prefix}{as_name(name)}" for name in X.index], dtype=object))
        names = _sample_names(X)
        study = load_study(X, sequences=self.sequences)
        for line in study.report:
            logger.info(line)
        if len(study) < len(names):
            lost = [name for name in names if name not in set(study.sample_ids)]
            raise InputError(
                f"{len(lost):,} of {len(names):,} samples have no reads ({listing(lost)}): drop "
                "them from X, and their values from y."
            )
        return study

    def _features(self, X: Any) -> list:
        """Ids of the features of ``X``, also of those that no sample has."""
        if isinstance(X, Study):
            return X.feature_ids
        if isinstance(X, pd.DataFrame):
            return list(X.columns)
        return list(X.var_names) if is_anndata(X) else list(X.ids(axis="observation"))

    def _target(self, y: Any, study: Study) -> pd.Series:
        """``y`` by sample id."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        _check_order(y, "y", study)
        values = column_or_1d(y, warn=True)
        check_consistent_length(study, values)
        if len(values) < 2:
            raise InputError("n_samples = 1: a fit needs two samples at least, and many more.")
        name = getattr(y, "name", None)
        values = self._checked_target(values)
        name = name if isinstance(name, str) and name else "target"
        return pd.Series(values, index=pd.Index(study.sample_ids, dtype=object), name=name)

    def _checked_target(self, values: np.ndarray) -> Any:
        raise NotImplementedError

    def _groups(self, groups: Any, study: Study) -> str | pd.Series | None:
        """What the samples are grouped by, as the fit takes it."""
        if groups is None:
            return self.group_by
        if self.group_by is not None:
            raise InputError("Samples are grouped by group_by already: leave groups out of fit.")
        _check_order(groups, "groups", study)
        groups = column_or_1d(groups)
        check_consistent_length(study, groups)
        return pd.Series(groups, index=pd.Index(study.sample_ids, dtype=object), name="groups")

    def _config(self) -> Config:
        """All settings of a fit, of which each is given once."""
        start = resolve("fitting", preset=self.preset, config=self.settings)
        values = {name: getattr(self, name) for name in _SETTINGS}
        given = {name: value for name, value in values.items() if value is not None}
        twice = [
            f"{name} ({_SETTINGS[name]})" for name in given if _SETTINGS[name] in start.explicit
        ]
        if self.random_state is not None and "train.seed" in start.explicit:
            twice.append("random_state (train.seed)")
        if twice:
            raise InputError(f"Given as parameters and in settings: {listing(twice)}; give one.")
        # Searches draw numbers of NumPy.
        changes = {
            _SETTINGS[name]: value.item() if isinstance(value, np.generic) else value
            for name, value in given.items()
        }
        if self.random_state is not None:
            changes["train.seed"] = _seed(self.random_state)
        return start.replace(changes)

    def __getstate__(self) -> dict[str, Any]:
        """Attributes, in which a model is a saved one: no module is ever pickled."""
        state = super().__getstate__()
        return {
            name: _SavedModel.of(value) if isinstance(value, Model) else value
            for name, value in state.items()
        }

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__(
            {
                name: value.open() if isinstance(value, _SavedModel) else value
                for name, value in state.items()
            }
        )

    def _more_tags(self) -> dict[str, Any]:
        """What scikit-learn up to 1.5 asks for instead of `__sklearn_tags__`."""
        return {"X_types": ["reads of named features"], "requires_y": True, "preserves_dtype": []}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Columns need names that are DNA, which an array does not have.
        tags.input_tags.two_d_array = False
        tags.input_tags.positive_only = True
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = []
        return tags


class AAMRegressor(RegressorMixin, _AAMEstimator):
    """Predict a number from the reads of a sample.

    ``X`` is a table of reads with samples as rows: a DataFrame whose columns are DNA sequences, a
    `biom.Table` or an AnnData (ids that are no sequences need ``sequences``, or a column of
    ``var``), or a `Study`. Samples to predict may have other features than those of the fit. A
    cross-validation takes apart DataFrame, AnnData and Study, not a `biom.Table`.

    Parameters
    ----------
    preset : {'tiny', 'small', 'base', 'large'}, optional
        'small' where not given.
    epochs, members, trees, lr, batch_size, device, threads : optional
        The settings ``train.epochs``, ``model.members`` (networks), ``forest.trees``, ``optim.lr``,
        ``train.batch_size``, ``train.device`` and ``train.threads``; as the preset has them where
        not given. `predict` uses the device, too.
    random_state : int or RandomState, optional
        Of splits, first weights and training: as in ``settings`` (0) where not given, so that two
        fits are the same.
    group_by : str or Series, optional
        Metadata column of a Study or AnnData, or groups by sample id: samples of a group are never
        on both sides of the splits that a fit makes by itself.
    covariates : sequence of str
        Metadata columns of a Study or AnnData that the model reads beside the reads.
    sequences : dict, Series, path or str, optional
        Sequences of the features, where ``X`` has other ids: as of `load_study`.
    encoder : Model or path, optional
        Pretrained encoder to start from.
    freeze_encoder : bool
        Whether it stays as it is.
    settings : mapping, path or Config, optional
        All other settings, as ``config`` of `fit_regressor`:
        ``{"loss.transform": "none", "loss.sample_weight": "weight"}``.

    Attributes
    ----------
    model_ : Model
        With ``metrics`` of held-out samples; ``model_.save("folder")`` writes it for ``aam``
        and QIIME 2.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Of the features of the fit.

    Notes
    -----
    ``fit`` has no ``sample_weight``: name a metadata column by ``loss.sample_weight``, which weighs
    the samples in networks and forest, but not in the choice of the blend weight. Pickled
    estimators hold the model as JSON and safetensors, as its folder has it.

    Examples
    --------
    >>> from sklearn.model_selection import GroupKFold, cross_val_score
    >>> estimator = AAMRegressor(group_by="host_subject_id")
    >>> cross_val_score(  # doctest: +SKIP
    ...     estimator, study, study.metadata["age"], groups=study.metadata["host_subject_id"],
    ...     cv=GroupKFold(5),
    ... )
    """

    _fit = staticmethod(fit_regressor)

    def predict(self, X: Any) -> np.ndarray:
        """[N] values of the target, in its units."""
        return self._predictions(X)[1]["prediction"].to_numpy()

    def predict_interval(self, X: Any, confidence: float = 0.9) -> np.ndarray:
        """Prediction intervals.

        Parameters
        ----------
        X : DataFrame, biom.Table, AnnData or Study
        confidence : float
            In (0, 1): with which probability an interval holds the value.

        Returns
        -------
        ndarray
            ``[N, 2]``: lower and upper bounds, in the target's units.

        Raises
        ------
        EstimatorInputError
            Also where the fit held out no samples (``train.val_fraction``).
        """
        return self._predictions(X, confidence)[1][list(BOUNDS)].to_numpy()

    def _checked_target(self, values: np.ndarray) -> np.ndarray:
        return check_array(values, ensure_2d=False, dtype=np.float64, input_name="y")


class AAMClassifier(ClassifierMixin, _AAMEstimator):
    """Predict a class from the reads of a sample; parameters as of `AAMRegressor`.

    Attributes
    ----------
    classes_ : ndarray
        [C] sorted, as they are in ``y``.
    model_ : Model
        Its classes are text.
    n_features_in_, feature_names_in_
        As of `AAMRegressor`.
    """

    _fit = staticmethod(fit_classifier)

    def predict(self, X: Any) -> np.ndarray:
        """[N] the likeliest class."""
        likeliest = self.predict_proba(X).argmax(axis=1)
        return self.classes_[likeliest]

    def predict_proba(self, X: Any) -> np.ndarray:
        """[N, C] probabilities, in the order of ``classes_``."""
        _, frame = self._predictions(X)
        return frame[self._names()].to_numpy()

    def predict_set(self, X: Any, confidence: float = 0.9) -> np.ndarray:
        """Prediction sets.

        Parameters
        ----------
        X : DataFrame, biom.Table, AnnData or Study
        confidence : float
            In (0, 1): with which probability a set holds the class.

        Returns
        -------
        ndarray
            ``[N, C]`` bool, whether a class is in the set.

        Raises
        ------
        EstimatorInputError
            Also where the fit held out no samples (``train.val_fraction``).
        """
        study, frame = self._predictions(X, confidence)
        model, classes = self.model_, list(self.model_.task.classes)
        assert model.sets is not None, "`predict` refuses a confidence without"
        groups = labels(study.metadata, model.interval_by) if model.interval_by else None
        # Not by the column of the frame: names of classes may hold what stands between them.
        sets = model.sets.members(frame[classes].to_numpy(), confidence, groups)
        return sets[:, [classes.index(name) for name in self._names()]]

    def _names(self) -> list[str]:
        """Names of ``classes_`` in the model."""
        return [as_name(value) for value in self.classes_]

    def _checked_target(self, values: np.ndarray) -> list[str]:
        if pd.isna(values).any():
            raise ValueError(f"y contains NaN: {int(pd.isna(values).sum())} samples have no class.")
        check_classification_targets(values)
        self.classes_ = np.unique(values)
        return [as_name(value) for value in values]


@contextmanager
def _as_value_errors() -> Iterator[None]:
    """Raise an `InputError` as one that is a `ValueError`."""
    try:
        yield
    except InputError as error:
        raise EstimatorInputError(str(error)) from None


def _check_order(values: Any, name: str, study: Study) -> None:
    """Refuse a Series with the samples of X in another order: values are taken by place."""
    if isinstance(values, pd.Series):
        ids = [as_name(each) for each in values.index]
        if ids != study.sample_ids and set(ids) == set(study.sample_ids):
            raise InputError(
                f"The samples of {name} are those of X in another order: give "
                f"{name}.loc[samples of X]."
            )


def _seed(random_state: Any) -> int:
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def _is_biom(X: Any) -> bool:
    from biom import Table

    return isinstance(X, Table)


def _sample_names(X: Any) -> list:
    """Ids of the samples of a table."""
    if isinstance(X, pd.DataFrame):
        return list(X.index)
    if is_anndata(X):
        return list(X.obs_names)
    if _is_biom(X):
        return list(X.ids())
    raise InputError(
        "X must be a DataFrame with DNA sequences as columns, a biom.Table, an AnnData or a Study, "
        f"not {type(X).__name__}: the model reads the sequence of each column."
    )
