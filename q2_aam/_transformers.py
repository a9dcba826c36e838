"""Model folders <-> `aam_core.model.Model`; prediction files where this plugin owns them.

QIIME 2 reads the annotations as objects, so this file does without postponed annotations.
"""

import pandas as pd
import qiime2

from aam_core.model import Model, load_model
from q2_aam._predictions import OWNED, PredictionsFormat, ProbabilitiesFormat
from q2_aam._tables import as_numbers, read_predictions, read_probabilities, write_table
from q2_aam._types_formats import (
    AAMClassifierDirectoryFormat,
    AAMEncoderDirectoryFormat,
    AAMRegressorDirectoryFormat,
)
from q2_aam.plugin_setup import plugin


def _register_models(directory_format):
    """Register both directions between a kind's folder and the model."""

    @plugin.register_transformer
    def _read(folder: directory_format) -> Model:
        return load_model(str(folder))

    @plugin.register_transformer
    def _write(model: Model) -> directory_format:
        folder = directory_format()
        model.save(str(folder))
        return folder


for _format in (
    AAMEncoderDirectoryFormat,
    AAMRegressorDirectoryFormat,
    AAMClassifierDirectoryFormat,
):
    _register_models(_format)


if OWNED:

    @plugin.register_transformer
    def _1(file: PredictionsFormat) -> pd.Series:
        return as_numbers(read_predictions(file))

    @plugin.register_transformer
    def _2(file: PredictionsFormat) -> qiime2.Metadata:
        return qiime2.Metadata(as_numbers(read_predictions(file)).to_frame())

    @plugin.register_transformer
    def _3(values: pd.Series) -> PredictionsFormat:
        return write_table(values.to_frame(), PredictionsFormat)

    @plugin.register_transformer
    def _4(file: ProbabilitiesFormat) -> pd.DataFrame:
        return read_probabilities(file)

    @plugin.register_transformer
    def _5(file: ProbabilitiesFormat) -> qiime2.Metadata:
        return qiime2.Metadata(read_probabilities(file))

    @plugin.register_transformer
    def _6(values: pd.DataFrame) -> ProbabilitiesFormat:
        return write_table(values, ProbabilitiesFormat)
