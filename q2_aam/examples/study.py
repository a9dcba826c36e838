"""The study of the usage examples: simulated and tiny; its models are trained for two steps."""

from __future__ import annotations

import functools

__all__ = [
    "QUICK",
    "classifier",
    "classifier_details",
    "classifier_predictions",
    "classifier_probabilities",
    "classifier_fold",
    "column",
    "cross_validated",
    "encoder",
    "explanation",
    "feature_importance",
    "metadata",
    "new_metadata",
    "new_table",
    "phylogeny",
    "quick",
    "reads",
    "regressor",
    "regressor_details",
    "regressor_fold",
    "regressor_predictions",
    "sequences",
    "table",
    "test_targets",
    "training_targets",
]

_SHORT = ["train.max_steps=2", "train.batch_size=8", "train.val_fraction=0.5"]

QUICK = {"preset": "tiny", "sampling_depth": 100, "settings": _SHORT}
"""Parameters of a training that takes a second or two."""


def quick(*settings, **parameters):
    """`QUICK` with further settings and parameters."""
    return {**QUICK, **parameters, "settings": [*_SHORT, *settings]}


@functools.lru_cache(maxsize=1)
def _study():
    from aam_core.simulate.study import simulate

    return simulate(samples=24, features=30, seed=1, sequence_length=40, depth=500)


def table():
    """The simulated reads."""
    import qiime2

    return qiime2.Artifact.import_data("FeatureTable[Frequency]", _study().table)


def sequences():
    """The simulated sequences."""
    import pandas as pd
    import qiime2
    import skbio

    dna = {name: skbio.DNA(text) for name, text in _study().sequences.items()}
    return qiime2.Artifact.import_data("FeatureData[Sequence]", pd.Series(dna))


def phylogeny():
    """The simulated tree."""
    import io

    import qiime2
    import skbio

    tree = skbio.TreeNode.read(io.StringIO(_study().tree), format="newick")
    return qiime2.Artifact.import_data("Phylogeny[Rooted]", tree)


def metadata():
    """The simulated metadata."""
    import qiime2

    return qiime2.Metadata(_study().metadata)


@functools.lru_cache(maxsize=1)
def _new():
    """Reads and metadata of further samples, of the same features."""
    from aam_core.simulate.study import simulate

    more = simulate(samples=16, features=30, seed=1, sequence_length=40, depth=500)
    names = {name: f"new-{name}" for name in more.metadata.index}
    return more.table.update_ids(names, inplace=False), more.metadata.rename(index=names)


def new_table():
    """Reads of samples that no model was trained on."""
    import qiime2

    return qiime2.Artifact.import_data("FeatureTable[Frequency]", _new()[0])


def new_metadata():
    """Their metadata."""
    import qiime2

    return qiime2.Metadata(_new()[1])


def _run(action, **arguments):
    from qiime2.sdk import PluginManager

    action = PluginManager().get_plugin(id="aam").actions[action]
    return action(table=table(), sequences=sequences(), **arguments, **QUICK)


@functools.lru_cache(maxsize=2)
def _fitted(kind):
    target = {"regressor": "gradient", "classifier": "group"}[kind]
    return _run(f"fit_{kind}", metadata=metadata().get_column(target))


@functools.lru_cache(maxsize=1)
def encoder():
    """An encoder pretrained on the simulated study."""
    return _run("pretrain", phylogeny=phylogeny()).encoder


def regressor():
    """A regressor of the simulated gradient."""
    return _fitted("regressor").regressor


def regressor_predictions():
    """Its out-of-fold predictions."""
    return _fitted("regressor").predictions


def regressor_details():
    """The same with intervals and folds."""
    return _fitted("regressor").details


def classifier():
    """A classifier of the simulated group."""
    return _fitted("classifier").classifier


def classifier_predictions():
    """Its out-of-fold predictions."""
    return _fitted("classifier").predictions


def classifier_probabilities():
    """Its out-of-fold probabilities of the classes."""
    return _fitted("classifier").probabilities


def classifier_details():
    """Predictions and probabilities together, with folds."""
    return _fitted("classifier").details


@functools.lru_cache(maxsize=4)
def _fold(target, number):
    study = metadata()
    return _run(
        "cross_validate",
        metadata=study.get_column(target),
        group_by=study.get_column("host_subject_id"),
        cv=2,
        fold=number,
        baselines=["random_forest", "dummy"],
        importance_repeats=1,
    ).details


def regressor_fold(number):
    """Makes the details of a fold of two: of the gradient."""
    return functools.partial(_fold, "gradient", number)


def classifier_fold(number):
    """Makes the details of a fold of two: of the group."""
    return functools.partial(_fold, "group", number)


def _targets(tested):
    import pandas as pd
    import qiime2

    test = _fold("gradient", 1).view(pd.DataFrame).index
    values = metadata().get_column("gradient").to_series()
    return qiime2.Artifact.import_data(
        "SampleData[TrueTargets]", values[values.index.isin(test) == tested]
    )


def training_targets():
    """The gradient of samples that the fits of the first fold learned from."""
    return _targets(False)


def test_targets():
    """The gradient of the samples of the first fold."""
    return _targets(True)


@functools.lru_cache(maxsize=1)
def cross_validated():
    """Details of a cross-validation of the gradient."""
    from qiime2.sdk import PluginManager

    join = PluginManager().get_plugin(id="aam").actions["join_regression_folds"]
    return join(folds=[_fold("gradient", number) for number in (1, 2)]).details


@functools.lru_cache(maxsize=2)
def _explained(kind):
    from qiime2.sdk import PluginManager

    explain = PluginManager().get_plugin(id="aam").actions["explain"]
    return explain(
        table=new_table(),
        sequences=sequences(),
        phylogeny=phylogeny(),
        predictor=_fitted(kind)[0],
        metadata=new_metadata(),
        group_by=new_metadata().get_column("host_subject_id"),
        repeats=2,
        references=2,
        n_jobs=1,
    )


def explanation():
    """What the regressor's predictions of further samples depend on."""
    return _explained("regressor").explanation


def feature_importance():
    """The importance of each feature alone, as q2-sample-classifier has it."""
    return _explained("regressor").feature_importance


def reads(use):
    return {
        "table": use.init_artifact("table", table),
        "sequences": use.init_artifact("sequences", sequences),
    }


def column(use, name, column):
    return use.get_metadata_column(name, column, use.init_metadata("sample_metadata", metadata))
