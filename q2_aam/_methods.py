"""Methods: annotated wrappers of the workflows.

QIIME 2 reads the annotations as objects, so this file does without postponed annotations; and
torch is imported only once a method runs.
"""

import biom
import qiime2
import skbio
from q2_types.feature_data import DNAFASTAFormat
from q2_types.tree import NewickFormat

from aam_core.errors import InputError
from aam_core.model import Model
from q2_aam._parameters import configure
from q2_aam._predictions import PredictionsFormat, ProbabilitiesFormat
from q2_aam._studies import described, grouped, read_study, targeted, with_covariates
from q2_aam._tables import write_table


def pretrain(
    table: biom.Table,
    phylogeny: NewickFormat = None,
    sequences: DNAFASTAFormat = None,
    distances: skbio.DistanceMatrix = None,
    initial_encoder: Model = None,
    group_by: qiime2.MetadataColumn = None,
    preset: str = "small",
    epochs: int = None,
    max_steps: int = None,
    batch_size: int = None,
    lr: float = None,
    sampling_depth: int = None,
    max_asvs: int = None,
    patience: int = None,
    val_fraction: float = None,
    seed: int = 0,
    device: str = "auto",
    devices: int = 1,
    precision: str = None,
    threads: int = 0,
    settings: list = None,
    max_lost_reads: float = 0.5,
) -> Model:
    """Pretrain an encoder: `aam_core.fitting.pretrain`."""
    arguments = locals()
    config = configure("pretraining", arguments)
    metadata, column = grouped(group_by)
    study = read_study(arguments, metadata=metadata, keep_unplaced=False)
    from aam_core import fitting

    return fitting.pretrain(study, config=config, encoder=initial_encoder, group_by=column)


def fit_regressor(
    table: biom.Table,
    target: qiime2.NumericMetadataColumn,
    sequences: DNAFASTAFormat = None,
    phylogeny: NewickFormat = None,
    distances: skbio.DistanceMatrix = None,
    encoder: Model = None,
    group_by: qiime2.MetadataColumn = None,
    missing_samples: str = "error",
    freeze_encoder: bool = False,
    covariates: qiime2.Metadata = None,
    covariate_columns: list = None,
    preset: str = "small",
    epochs: int = None,
    max_steps: int = None,
    batch_size: int = None,
    lr: float = None,
    sampling_depth: int = None,
    max_asvs: int = None,
    patience: int = None,
    val_fraction: float = None,
    seed: int = 0,
    device: str = "auto",
    devices: int = 1,
    precision: str = None,
    threads: int = 0,
    settings: list = None,
    max_lost_reads: float = 0.5,
) -> (Model, PredictionsFormat):
    """Fit a numeric column; the model, and predictions of samples that it left out."""
    model = _fit("fit_regressor", locals())
    return model, _values(model.val_predictions)


def fit_classifier(
    table: biom.Table,
    target: qiime2.CategoricalMetadataColumn,
    sequences: DNAFASTAFormat = None,
    phylogeny: NewickFormat = None,
    distances: skbio.DistanceMatrix = None,
    encoder: Model = None,
    group_by: qiime2.MetadataColumn = None,
    missing_samples: str = "error",
    freeze_encoder: bool = False,
    covariates: qiime2.Metadata = None,
    covariate_columns: list = None,
    preset: str = "small",
    epochs: int = None,
    max_steps: int = None,
    batch_size: int = None,
    lr: float = None,
    sampling_depth: int = None,
    max_asvs: int = None,
    patience: int = None,
    val_fraction: float = None,
    seed: int = 0,
    device: str = "auto",
    devices: int = 1,
    precision: str = None,
    threads: int = 0,
    settings: list = None,
    max_lost_reads: float = 0.5,
) -> (Model, PredictionsFormat, ProbabilitiesFormat):
    """Fit a categorical column; the model, and predictions of samples that it left out."""
    model = _fit("fit_classifier", locals())
    return model, _values(model.val_predictions), _chances(model, model.val_predictions)


def predict_regression(
    table: biom.Table,
    regressor: Model,
    sequences: DNAFASTAFormat = None,
    metadata: qiime2.Metadata = None,
    batch_size: int = None,
    device: str = "auto",
    precision: str = None,
    max_lost_reads: float = 0.5,
) -> PredictionsFormat:
    """Predict the number of each sample."""
    return _values(_predict(regressor, locals()))


def predict_classification(
    table: biom.Table,
    classifier: Model,
    sequences: DNAFASTAFormat = None,
    metadata: qiime2.Metadata = None,
    batch_size: int = None,
    device: str = "auto",
    precision: str = None,
    max_lost_reads: float = 0.5,
) -> (PredictionsFormat, ProbabilitiesFormat):
    """Predict the class of each sample, and the probability of every class."""
    predicted = _predict(classifier, locals())
    return _values(predicted), _chances(classifier, predicted)


def predict(
    table: biom.Table,
    predictor: Model,
    sequences: DNAFASTAFormat = None,
    metadata: qiime2.Metadata = None,
    batch_size: int = None,
    device: str = "auto",
    precision: str = None,
    max_lost_reads: float = 0.5,
) -> PredictionsFormat:
    """Predict the number or class of each sample."""
    return _values(_predict(predictor, locals()))


def _fit(workflow, arguments):
    """Run a workflow on the arguments of a fitting method."""
    config = configure("fitting", arguments)
    if config.train.val_fraction == 0:
        raise InputError(
            "val_fraction is 0, but the predictions returned are those of held-out samples: "
            "give it a value above 0."
        )
    target = arguments["target"]
    metadata = targeted(target, arguments["table"], arguments["missing_samples"])
    metadata, names = with_covariates(metadata, arguments)
    metadata, column = grouped(arguments["group_by"], metadata)
    study = read_study(arguments, metadata=metadata)
    from aam_core import fitting

    return getattr(fitting, workflow)(
        study,
        target.name,
        encoder=arguments["encoder"],
        freeze_encoder=arguments["freeze_encoder"],
        group_by=column,
        covariates=names,
        config=config,
    )


def _predict(model, arguments):
    """Predict the samples among the arguments of a predicting method."""
    study = read_study(arguments, metadata=described(model, arguments))
    from aam_core import prediction

    options = {name: arguments[name] for name in ("batch_size", "device", "precision")}
    return prediction.predict(model, study, say=_say, **options)


def _say(line):
    print(line, flush=True)


def _values(predicted):
    """The predicted value or class of each sample."""
    return write_table(predicted[["prediction"]], PredictionsFormat)


def _chances(classifier, predicted):
    """The probability of each class of each sample."""
    return write_table(predicted[list(classifier.target.classes)], ProbabilitiesFormat)
