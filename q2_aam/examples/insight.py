"""Usage examples of `q2_aam.actions.insight`."""

from __future__ import annotations

from q2_aam.examples.study import (
    encoder,
    explanation,
    feature_importance,
    metadata,
    new_metadata,
    new_table,
    phylogeny,
    reads,
    regressor,
    sequences,
    table,
)

__all__ = [
    "embed_features_example",
    "embed_samples_example",
    "explain_example",
    "find_zero_distances_example",
    "heatmap_example",
    "importance_example",
    "report_example",
]


def explain_example(use):
    """Which features and clades the predictions of new samples depend on."""
    samples = use.init_metadata("new_metadata", new_metadata)
    importance, explanation = use.action(
        use.UsageAction("aam", "explain"),
        use.UsageInputs(
            table=use.init_artifact("new_table", new_table),
            sequences=use.init_artifact("sequences", sequences),
            phylogeny=use.init_artifact("phylogeny", phylogeny),
            predictor=use.init_artifact("regressor", regressor),
            metadata=samples,
            group_by=use.get_metadata_column("subject", "host_subject_id", samples),
        ),
        use.UsageOutputNames(feature_importance="feature_importance", explanation="explanation"),
    )
    importance.assert_output_type("FeatureData[Importance]")
    explanation.assert_output_type("FeatureData[AAMImportance]")


def embed_samples_example(use):
    """Predict UniFrac without a tree, and ordinate the samples by it."""
    pcoa, distances, vectors = use.action(
        use.UsageAction("aam", "embed_samples"),
        use.UsageInputs(
            table=use.init_artifact("new_table", new_table),
            sequences=use.init_artifact("sequences", sequences),
            model=use.init_artifact("encoder", encoder),
        ),
        use.UsageOutputNames(
            pcoa="pcoa", distance_matrix="predicted_unifrac", vectors="sample_vectors"
        ),
    )
    pcoa.assert_output_type("PCoAResults")
    distances.assert_output_type("DistanceMatrix")
    vectors.assert_output_type("SampleData[AAMVectors]")


def embed_features_example(use):
    """The features that are most alike, as an encoder sees them."""
    vectors, neighbours, pcoa = use.action(
        use.UsageAction("aam", "embed_features"),
        use.UsageInputs(**reads(use), model=use.init_artifact("encoder", encoder)),
        use.UsageOutputNames(
            vectors="feature_vectors", neighbours="neighbours", pcoa="feature_pcoa"
        ),
    )
    vectors.assert_output_type("FeatureData[AAMVectors]")
    neighbours.assert_output_type("FeatureData[AAMNeighbours]")
    pcoa.assert_output_type("PCoAResults")


def report_example(use):
    """Where the model fails, and what tells its errors."""
    samples = use.init_metadata("sample_metadata", metadata)
    (visualization,) = use.action(
        use.UsageAction("aam", "report"),
        use.UsageInputs(
            **reads(use),
            model=use.init_artifact("regressor", regressor),
            metadata=samples,
            group_by=use.get_metadata_column("subject", "host_subject_id", samples),
        ),
        use.UsageOutputNames(visualization="report"),
    )
    visualization.assert_output_type("Visualization")


def find_zero_distances_example(use):
    """Find copies of samples, and samples of too few reads."""
    (visualization,) = use.action(
        use.UsageAction("aam", "find_zero_distances"),
        use.UsageInputs(
            table=use.init_artifact("table", table),
            phylogeny=use.init_artifact("phylogeny", phylogeny),
            metadata=use.init_metadata("sample_metadata", metadata),
        ),
        use.UsageOutputNames(visualization="zero_distances"),
    )
    visualization.assert_output_type("Visualization")


def heatmap_example(use):
    """Abundance of the most important features by group."""
    samples = use.init_metadata("new_metadata", new_metadata)
    (visualization,) = use.action(
        use.UsageAction("aam", "heatmap"),
        use.UsageInputs(
            table=use.init_artifact("new_table", new_table),
            importance=use.init_artifact("feature_importance", feature_importance),
            sample_metadata=use.get_metadata_column("group", "group", samples),
        ),
        use.UsageOutputNames(visualization="heatmap"),
    )
    visualization.assert_output_type("Visualization")


def importance_example(use):
    """Which features predict the target, and how abundant they are along it."""
    (visualization,) = use.action(
        use.UsageAction("aam", "importance"),
        use.UsageInputs(
            explanation=use.init_artifact("explanation", explanation),
            table=use.init_artifact("new_table", new_table),
            metadata=use.get_metadata_column(
                "gradient", "gradient", use.init_metadata("new_metadata", new_metadata)
            ),
        ),
        use.UsageOutputNames(visualization="importance"),
    )
    visualization.assert_output_type("Visualization")
