"""Usage examples of `q2_aam.actions.evaluation`."""

from __future__ import annotations

from q2_aam.examples.study import metadata, table

__all__ = ["split_table_example"]


def split_table_example(use):
    """Keep a fifth of the samples for a test; each subject is on one side."""
    sample_metadata = use.init_metadata("sample_metadata", metadata)
    training, test, *targets = use.action(
        use.UsageAction("aam", "split_table"),
        use.UsageInputs(
            table=use.init_artifact("table", table),
            metadata=use.get_metadata_column("gradient", "gradient", sample_metadata),
            group_by=use.get_metadata_column("subject", "host_subject_id", sample_metadata),
            test_size=0.2,
        ),
        use.UsageOutputNames(
            training_table="training_table",
            test_table="test_table",
            training_targets="training_targets",
            test_targets="test_targets",
        ),
    )
    for part in (training, test):
        part.assert_output_type("FeatureTable[Frequency]")
    for values in targets:
        values.assert_output_type("SampleData[TrueTargets]")
