"""Vectors of samples and features, and nearest neighbours of features, as artifacts.

No type of QIIME 2 holds vectors with negative numbers. These are tables that open as metadata, so
that whatever takes metadata opens them; what ordinates or compares takes `PCoAResults` and
`DistanceMatrix`, which the same actions return.

QIIME 2 reads the annotations as objects, so this file does without postponed annotations.
"""

import itertools

import pandas as pd
import qiime2
from q2_types.feature_data import FeatureData
from q2_types.sample_data import SampleData
from qiime2.plugin import SemanticType, ValidationError, model

__all__ = [
    "TRANSFORMERS",
    "AAMNeighbours",
    "AAMNeighboursDirectoryFormat",
    "AAMNeighboursFormat",
    "AAMVectors",
    "AAMVectorsDirectoryFormat",
    "AAMVectorsFormat",
    "write_vectors",
]

AAMVectors = SemanticType(
    "AAMVectors", variant_of=[SampleData.field["type"], FeatureData.field["type"]]
)
AAMNeighbours = SemanticType("AAMNeighbours", variant_of=FeatureData.field["type"])

_LINES = {"min": 6, "max": None}
"""Level -> lines that are read, the header among them."""


class AAMVectorsFormat(model.TextFileFormat):
    """A header, then an id and its vector on each line: numbers, as many on each."""

    def _validate_(self, level):
        width = _check(self, level)
        with self.open() as lines:
            for number, line in enumerate(itertools.islice(lines, 1, _LINES[level]), start=2):
                try:
                    values = [float(cell) for cell in line.rstrip("\n").split("\t")[1:]]
                except ValueError:
                    raise ValidationError(f"Line {number} has a cell that is no number.") from None
                assert len(values) == width, "`_check` counts them"


class AAMNeighboursFormat(model.TextFileFormat):
    """A header, then a feature and its nearest neighbours on each line."""

    def _validate_(self, level):
        _check(self, level)


AAMVectorsDirectoryFormat = model.SingleFileDirectoryFormat(
    "AAMVectorsDirectoryFormat", "vectors.tsv", AAMVectorsFormat
)
AAMNeighboursDirectoryFormat = model.SingleFileDirectoryFormat(
    "AAMNeighboursDirectoryFormat", "neighbours.tsv", AAMNeighboursFormat
)


def _check(file: model.TextFileFormat, level: str) -> int:
    """Columns besides the id, which all lines must have."""
    with file.open() as lines:
        width = next(lines, "").count("\t")
        if width < 1:
            raise ValidationError("The table needs a header: the name of the ids, then a column.")
        count = 0
        for count, line in enumerate(itertools.islice(lines, _LINES[level]), start=1):
            if line.count("\t") != width:
                raise ValidationError(
                    f"Line {count + 1} has {line.count(chr(9)) + 1} fields, the header {width + 1}."
                )
    if not count:
        raise ValidationError("The table has a header at most: it needs a line or more.")
    return width


def write_vectors(table: pd.DataFrame, file_format):
    """Write ``table`` to a new file of ``file_format``, six digits of each number."""
    file = file_format()
    table.to_csv(str(file), sep="\t", float_format="%.6g")
    return file


def _vectors_to_frame(file: AAMVectorsFormat) -> pd.DataFrame:
    table = pd.read_csv(str(file), sep="\t", dtype={0: str}, na_filter=False)
    return table.set_index(table.columns[0])


def _vectors_to_metadata(file: AAMVectorsFormat) -> qiime2.Metadata:
    return qiime2.Metadata(_vectors_to_frame(file))


def _neighbours_to_frame(file: AAMNeighboursFormat) -> pd.DataFrame:
    table = pd.read_csv(str(file), sep="\t", dtype=str, keep_default_na=False)
    table = table.set_index(table.columns[0])
    numbers = [name for name in table if name.startswith("distance_")]
    return table.assign(**{name: table[name].astype(float) for name in numbers})


def _neighbours_to_metadata(file: AAMNeighboursFormat) -> qiime2.Metadata:
    table = _neighbours_to_frame(file)
    for name in table:
        if not name.startswith("distance_"):
            values = table[name].astype(object).str.strip()
            table[name] = values.where(values != "", None)
    return qiime2.Metadata(table)


TRANSFORMERS = [
    _vectors_to_frame,
    _vectors_to_metadata,
    _neighbours_to_frame,
    _neighbours_to_metadata,
]
