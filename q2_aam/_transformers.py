"""Model folders <-> `aam_core.Model`; prediction files where this plugin owns them.

QIIME 2 reads the annotations as objects, so this file does without postponed annotations.
"""

from collections.abc import Callable

import pandas as pd
import qiime2

from aam_core.model import Model, load_model
from q2_aam import _explanations, _vectors
from q2_aam._details import AAMPredictionsDirectoryFormat, Details
from q2_aam._predictions import (
    OWNED,
    ImportanceFormat,
    PredictionsFormat,
    ProbabilitiesFormat,
    as_numbers,
    read_importances,
    read_predictions,
    read_probabilities,
    write_table,
)
from q2_aam._types_formats import (
    AAMClassifierDirectoryFormat,
    AAMEncoderDirectoryFormat,
    AAMRegressorDirectoryFormat,
    ModelFolder,
)

__all__ = ["TRANSFORMERS"]


def _model_transformers(directory_format: type) -> tuple[Callable, ...]:
    """Readers and writer of one kind of model folder."""

    def read(folder) -> Model:
        return load_model(str(folder))

    def write(model: Model):
        folder = directory_format()
        model.save(str(folder))
        return folder

    def place(folder) -> ModelFolder:
        return ModelFolder(str(folder))

    place.__annotations__ = {"folder": directory_format, "return": ModelFolder}
    read.__annotations__ = {"folder": directory_format, "return": Model}
    write.__annotations__ = {"model": Model, "return": directory_format}
    return read, write, place


def _predictions_to_series(file: PredictionsFormat) -> pd.Series:
    return as_numbers(read_predictions(file))


def _predictions_to_metadata(file: PredictionsFormat) -> qiime2.Metadata:
    return qiime2.Metadata(as_numbers(read_predictions(file)).to_frame())


def _series_to_predictions(values: pd.Series) -> PredictionsFormat:
    return write_table(values.to_frame(), PredictionsFormat)


def _probabilities_to_frame(file: ProbabilitiesFormat) -> pd.DataFrame:
    return read_probabilities(file)


def _probabilities_to_metadata(file: ProbabilitiesFormat) -> qiime2.Metadata:
    return qiime2.Metadata(read_probabilities(file))


def _frame_to_probabilities(values: pd.DataFrame) -> ProbabilitiesFormat:
    return write_table(values, ProbabilitiesFormat)


def _importances_to_frame(file: ImportanceFormat) -> pd.DataFrame:
    return read_importances(file)


def _importances_to_metadata(file: ImportanceFormat) -> qiime2.Metadata:
    return qiime2.Metadata(read_importances(file))


def _frame_to_importances(values: pd.DataFrame) -> ImportanceFormat:
    return write_table(values, ImportanceFormat, "feature-id")


def _read_details(folder: AAMPredictionsDirectoryFormat) -> Details:
    return Details.read(str(folder))


def _write_details(details: Details) -> AAMPredictionsDirectoryFormat:
    folder = AAMPredictionsDirectoryFormat()
    details.write(str(folder))
    return folder


def _details_to_frame(folder: AAMPredictionsDirectoryFormat) -> pd.DataFrame:
    return Details.read(str(folder)).table


def _details_to_metadata(folder: AAMPredictionsDirectoryFormat) -> qiime2.Metadata:
    return Details.read(str(folder)).to_metadata()


TRANSFORMERS = [
    *_model_transformers(AAMEncoderDirectoryFormat),
    *_model_transformers(AAMRegressorDirectoryFormat),
    *_model_transformers(AAMClassifierDirectoryFormat),
    *_explanations.TRANSFORMERS,
    *_vectors.TRANSFORMERS,
    _read_details,
    _write_details,
    _details_to_frame,
    _details_to_metadata,
]
if OWNED:
    TRANSFORMERS += [
        _predictions_to_series,
        _predictions_to_metadata,
        _series_to_predictions,
        _probabilities_to_frame,
        _probabilities_to_metadata,
        _frame_to_probabilities,
        _importances_to_frame,
        _importances_to_metadata,
        _frame_to_importances,
    ]
