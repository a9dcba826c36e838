"""What a model has learned: which features tell its predictions, and samples and ASVs as vectors.

QIIME 2 reads the annotations as objects, so this file does without postponed annotations.
"""

from dataclasses import replace

import biom
import pandas as pd
import qiime2
import skbio
from q2_types.feature_data import DNAFASTAFormat
from q2_types.tree import NewickFormat

from aam_core.data.metadata import column
from aam_core.explanation.result import Explanation
from aam_core.log import logger, recording
from aam_core.model import Model
from q2_aam._parameters import thread_count
from q2_aam._predictions import ImportanceFormat, write_table
from q2_aam._studies import column_values, read_study
from q2_aam._vectors import AAMNeighboursFormat, AAMVectorsFormat, write_vectors
from q2_aam._wording import speaking

__all__ = ["embed_features", "embed_samples", "explain"]


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

    with speaking(), recording() as notes:
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
            threads=thread_count(n_jobs) or None,
        )
    notes = list(dict.fromkeys([*notes, *explanation.notes]))
    explanation = replace(explanation, notes=notes)
    numbers = explanation.importance[["importance"]]
    return write_table(numbers, ImportanceFormat, "feature-id"), explanation


def embed_samples(
    table: biom.Table,
    model: Model,
    sequences: DNAFASTAFormat = None,
    metric: str = None,
    number_of_dimensions: int = 10,
    batch_size: int = None,
    device: str = "auto",
    precision: str = None,
    max_lost_reads: float = 0.5,
) -> (skbio.OrdinationResults, skbio.DistanceMatrix, AAMVectorsFormat):  # type: ignore[syntax]
    """Samples as vectors, their distances, and the principal coordinates of these."""
    from aam_core import embedding

    with speaking():
        embedding.check_level(model, "sample")
        metric = embedding.metric_of(model, metric)
        study = read_study(table, sequences, max_lost_reads=max_lost_reads)
        options: dict = {"batch_size": batch_size, "device": device, "precision": precision}
        vectors = embedding.embed(model, study, **options)
        distances = embedding.sample_distances(model, study, vectors, metric, **options)
        ordination = embedding.ordinate(distances, number_of_dimensions)
        _say_axes(ordination, f"{metric} distances between {len(vectors):,} samples")
    # Contiguous: scikit-bio refuses what is not.
    square = skbio.DistanceMatrix(distances.to_numpy(float, copy=True), list(distances.index))
    return ordination.to_skbio(), square, write_vectors(vectors, AAMVectorsFormat)


def embed_features(
    table: biom.Table,
    model: Model,
    sequences: DNAFASTAFormat = None,
    taxonomy: pd.DataFrame = None,
    metric: str = "cosine",
    number_of_neighbours: int = 5,
    number_of_dimensions: int = 10,
    device: str = "auto",
    precision: str = None,
    max_lost_reads: float = 0.5,
) -> (AAMVectorsFormat, AAMNeighboursFormat, skbio.OrdinationResults):  # type: ignore[syntax]
    """Features as vectors, their nearest neighbours, and their principal coordinates."""
    from aam_core import embedding, vectors

    with speaking():
        embedding.check_level(model, "asv")
        study = read_study(table, sequences, taxonomy=taxonomy, max_lost_reads=max_lost_reads)
        embedded = embedding.embed(model, study, level="asv", device=device, precision=precision)
        taxa = None
        if study.taxonomy is not None:
            taxa = dict(zip(study.feature_ids, study.taxonomy, strict=True))
        nearest = vectors.nearest_neighbours(embedded, number_of_neighbours, metric, taxa)
        ordination = vectors.principal_axes(embedded, metric, number_of_dimensions)
        _say_axes(ordination, f"{len(embedded):,} features by {metric}")
    by_feature = vectors.neighbours_by_feature(nearest)
    return (
        write_vectors(embedded, AAMVectorsFormat),
        write_vectors(by_feature, AAMNeighboursFormat),
        ordination.to_skbio(),
    )


def _say_axes(ordination, what: str) -> None:
    shares = ", ".join(
        f"{name} {share:.1%}"
        for name, share in zip(ordination.coordinates, ordination.explained[:3], strict=False)
    )
    logger.info(f"principal coordinates of {what}: {shares}")


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
