"""What a model has learned: which features tell its predictions, and samples and ASVs as vectors.

QIIME 2 reads the annotations as objects, so this file does without postponed annotations.
"""

import biom
import pandas as pd
import qiime2
from q2_types.feature_data import DNAFASTAFormat
from q2_types.tree import NewickFormat

from aam_core.data.metadata import column
from aam_core.explanation.result import Explanation
from aam_core.log import logger, showing
from aam_core.model import Model
from q2_aam._predictions import ImportanceFormat, write_table
from q2_aam._studies import column_values, read_study

__all__ = ["explain"]


def explain(
    table: biom.Table,
    predictor: Model,
    metadata: qiime2.Metadata,
    sequences: DNAFASTAFormat = None,
    phylogeny: NewickFormat = None,
    taxonomy: pd.DataFrame = None,
    target: str = None,
    group_by: qiime2.MetadataColumn = None,
    missing_samples: str = "error",
    repeats: int = 10,
    clades: list = None,
    references: int = 10,
    random_state: int = 0,
    n_jobs: int = 0,
    device: str = "auto",
    max_lost_reads: float = 0.5,
) -> (ImportanceFormat, Explanation):  # type: ignore[syntax]
    """Which features and clades the predictions of samples depend on."""
    from aam_core.explanation.clades import SIZES
    from aam_core.explanation.explain import explain, one_target

    with showing():
        model = one_target(predictor, target)
        frame = metadata.to_dataframe()
        column(frame, model.task.column)
        truth = metadata.get_column(model.task.column)
        values = column_values(table.ids(), truth, missing_samples, "the table")
        study = read_study(
            table,
            sequences,
            phylogeny,
            taxonomy=taxonomy,
            metadata=frame.loc[values.index],
            max_lost_reads=max_lost_reads,
        )
        explanation = explain(
            model,
            study,
            group_by=_group(model, frame.loc[values.index], group_by),
            repeats=repeats,
            clades=SIZES if clades is None else [it for it in clades if it],
            references=references,
            seed=random_state,
            device=device,
            threads=n_jobs or None,
        )
    numbers = explanation.importance[["importance"]]
    return write_table(numbers, ImportanceFormat, "feature-id"), explanation


def _group(model: Model, metadata: pd.DataFrame, group_by) -> pd.Series | None:
    """Group of each sample: by the column that is given, or by that of the fit."""
    if group_by is not None:
        return group_by.to_series()
    name = model.run.get("group_by")
    if not isinstance(name, str) or name not in metadata:
        return None
    groups = metadata[name]
    if groups.isna().any() or groups.nunique() < 2:
        logger.warning(f"samples are not grouped by {name!r}: it is blank, or has a single value")
        return None
    logger.info(f"samples are grouped by {name!r}, as in the fit of the model")
    return groups
