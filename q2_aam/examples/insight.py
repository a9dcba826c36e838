"""Usage examples of `q2_aam.actions.insight`."""

from __future__ import annotations

from q2_aam.examples.study import new_metadata, new_table, phylogeny, regressor, sequences

__all__ = ["explain_example"]


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
            repeats=2,
            references=2,
        ),
        use.UsageOutputNames(feature_importance="feature_importance", explanation="explanation"),
    )
    importance.assert_output_type("FeatureData[Importance]")
    explanation.assert_output_type("FeatureData[AAMImportance]")
