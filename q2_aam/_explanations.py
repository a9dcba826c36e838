"""Explanations as artifacts: what `aam explain` writes of importances, whole.

`FeatureData[Importance]` has room for numbers alone. This has the direction, the taxon and the
groups as well, so that it opens as feature metadata, and the page of importances has all it draws.

QIIME 2 reads the annotations as objects, so this file does without postponed annotations.
"""

import pandas as pd
import qiime2
from q2_types.feature_data import FeatureData
from qiime2.plugin import SemanticType, ValidationError, model

from aam_core.errors import InputError
from aam_core.explanation.result import Explanation, read_explanation

__all__ = ["TRANSFORMERS", "AAMImportance", "AAMImportanceDirectoryFormat"]

AAMImportance = SemanticType("AAMImportance", variant_of=FeatureData.field["type"])


class _TextFormat(model.TextFileFormat):
    """A table or the description; the folder checks its files together."""

    def _validate_(self, level):
        pass


class _BinaryFormat(model.BinaryFileFormat):
    """A plot, or what else `aam explain` writes, which nothing reads."""

    def _validate_(self, level):
        pass


class AAMImportanceDirectoryFormat(model.DirectoryFormat):
    """A folder as `aam explain` writes it, so that it can be imported as it is."""

    importance = model.File("importance.tsv", format=_TextFormat)
    groups = model.File("groups.tsv", format=_TextFormat)
    deletion = model.File("deletion.tsv", format=_TextFormat)
    about = model.File("explanation.json", format=_TextFormat)
    contributions = model.File("contributions.tsv", format=_TextFormat, optional=True)
    samples = model.File("samples.tsv", format=_TextFormat, optional=True)
    looks = model.File(
        r"(attention|attention_by_sample|fusion|bases)\.(tsv|json)",
        format=_BinaryFormat,
        optional=True,
    )
    plots = model.File(r"[^/]+\.(png|svg|pdf)", format=_BinaryFormat, optional=True)

    def _validate_(self, level):
        try:
            read_explanation(str(self))
        except InputError as error:
            raise ValidationError(str(error)) from None


def _to_explanation(folder: AAMImportanceDirectoryFormat) -> Explanation:
    return read_explanation(str(folder))


def _to_folder(explanation: Explanation) -> AAMImportanceDirectoryFormat:
    folder = AAMImportanceDirectoryFormat()
    explanation.save(str(folder))
    return folder


def _to_frame(folder: AAMImportanceDirectoryFormat) -> pd.DataFrame:
    return read_explanation(str(folder)).whole()


def _to_metadata(folder: AAMImportanceDirectoryFormat) -> qiime2.Metadata:
    table = read_explanation(str(folder)).whole()
    # Metadata have no empty text: it is a missing value there.
    text = [name for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]
    for name in text:
        values = table[name].astype(object).str.strip()
        table[name] = values.where(values.notna() & (values != ""), None)
    return qiime2.Metadata(table)


TRANSFORMERS = [_to_explanation, _to_folder, _to_frame, _to_metadata]
