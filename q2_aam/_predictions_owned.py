"""Prediction types and formats for a QIIME 2 without q2-sample-classifier.

Same names, same file names, same columns as that plugin's, so that an artifact written here opens
there. Imported only where that plugin is absent.
"""

from __future__ import annotations

from q2_types.feature_data import FeatureData
from q2_types.sample_data import SampleData
from qiime2.plugin import SemanticType, ValidationError, model

__all__ = [
    "ClassifierPredictions",
    "Importance",
    "ImportanceDirectoryFormat",
    "ImportanceFormat",
    "PredictionsDirectoryFormat",
    "PredictionsFormat",
    "Probabilities",
    "ProbabilitiesDirectoryFormat",
    "ProbabilitiesFormat",
    "RegressorPredictions",
    "TrueTargets",
    "TrueTargetsDirectoryFormat",
]

ClassifierPredictions = SemanticType("ClassifierPredictions", variant_of=SampleData.field["type"])
RegressorPredictions = SemanticType("RegressorPredictions", variant_of=SampleData.field["type"])
Probabilities = SemanticType("Probabilities", variant_of=SampleData.field["type"])
TrueTargets = SemanticType("TrueTargets", variant_of=SampleData.field["type"])
Importance = SemanticType("Importance", variant_of=FeatureData.field["type"])

_FEW = 5
"""Records that minimal validation reads."""


def _records(table: model.TextFileFormat, level: str):
    """Line number and cells of each line below the header of a TSV; of the first five at 'min'."""
    number = 1
    with table.open() as lines:
        next(lines, None)
        for number, line in enumerate(lines, start=2):
            if level == "min" and number > _FEW + 1:
                break
            yield number, [cell.strip() for cell in line.rstrip("\n").split("\t")]
    if number == 1:
        raise ValidationError("The table has a header at most: it needs one record or more.")


class PredictionsFormat(model.TextFileFormat):
    """A sample id and its predicted value, whatever the header names them."""

    def _validate_(self, level):
        for number, cells in _records(self, level):
            if len(cells) != 2:
                raise ValidationError(f"Line {number} has {len(cells)} fields; it must have two.")


class _NumbersFormat(model.TextFileFormat):
    """An id, then a number or more, whatever the header names them."""

    def _validate_(self, level):
        for number, cells in _records(self, level):
            if len(cells) < 2:
                got = len(cells)
                raise ValidationError(f"Line {number} has {got} fields; it needs two or more.")
            for cell in cells[1:]:
                try:
                    float(cell)
                except ValueError:
                    raise ValidationError(f"Line {number}: {cell!r} is not a number.") from None


class ProbabilitiesFormat(_NumbersFormat):
    """A sample id, then the probability of each class; the header names the classes."""


class ImportanceFormat(_NumbersFormat):
    """A feature id, then its importance."""


PredictionsDirectoryFormat = model.SingleFileDirectoryFormat(
    "PredictionsDirectoryFormat", "predictions.tsv", PredictionsFormat
)
ProbabilitiesDirectoryFormat = model.SingleFileDirectoryFormat(
    "ProbabilitiesDirectoryFormat", "class_probabilities.tsv", ProbabilitiesFormat
)
TrueTargetsDirectoryFormat = model.SingleFileDirectoryFormat(
    "TrueTargetsDirectoryFormat", "true_targets.tsv", PredictionsFormat
)
ImportanceDirectoryFormat = model.SingleFileDirectoryFormat(
    "ImportanceDirectoryFormat", "importance.tsv", ImportanceFormat
)
