"""Prediction types and formats for a QIIME 2 without q2-sample-classifier.

Same names, same file names, same columns as that plugin's, so that an artifact written here opens
there. Imported only where that plugin is absent.
"""

from __future__ import annotations

from q2_types.sample_data import SampleData
from qiime2.plugin import SemanticType, ValidationError, model

ClassifierPredictions = SemanticType("ClassifierPredictions", variant_of=SampleData.field["type"])
RegressorPredictions = SemanticType("RegressorPredictions", variant_of=SampleData.field["type"])
Probabilities = SemanticType("Probabilities", variant_of=SampleData.field["type"])

_FEW = 5
"""Records that minimal validation reads."""


class _SampleTable(model.TextFileFormat):
    """TSV: a header, then a sample id and values on each line."""

    def _check(self, cells: list[str], number: int) -> None:
        raise NotImplementedError

    def _validate_(self, level):
        count = 0
        with self.open() as lines:
            next(lines, None)
            for count, line in enumerate(lines, start=1):
                if level == "min" and count > _FEW:
                    break
                self._check([cell.strip() for cell in line.rstrip("\n").split("\t")], count + 1)
        if count == 0:
            raise ValidationError("The table has a header at most: it needs one record or more.")


class PredictionsFormat(_SampleTable):
    """A sample id and its predicted value, whatever the header names them."""

    def _check(self, cells, number):
        if len(cells) != 2:
            raise ValidationError(f"Line {number} has {len(cells)} fields; it must have two.")


class ProbabilitiesFormat(_SampleTable):
    """A sample id, then the probability of each class; the header names the classes."""

    def _check(self, cells, number):
        if len(cells) < 2:
            raise ValidationError(f"Line {number} has {len(cells)} fields; it needs two or more.")
        for cell in cells[1:]:
            try:
                float(cell)
            except ValueError:
                raise ValidationError(f"Line {number}: {cell!r} is not a number.") from None


PredictionsDirectoryFormat = model.SingleFileDirectoryFormat(
    "PredictionsDirectoryFormat", "predictions.tsv", PredictionsFormat
)
ProbabilitiesDirectoryFormat = model.SingleFileDirectoryFormat(
    "ProbabilitiesDirectoryFormat", "class_probabilities.tsv", ProbabilitiesFormat
)
