"""Pages of where a model fails and of samples at distance 0."""

from __future__ import annotations

import html
import re

import pandas as pd
import pytest
import qiime2

from aam_core.errors import InputError
from q2_aam._details import Details
from q2_aam.actions.insight_pages import find_zero_distances, report
from q2_aam.examples import study as examples


@pytest.fixture
def page(tmp_path):
    """Call a visualizer by views of artifacts; the text of its page."""

    def show(action, **arguments):
        folder = tmp_path / "page"
        folder.mkdir(exist_ok=True)
        action(str(folder), **arguments)
        text = (folder / "index.html").read_text(encoding="utf-8")
        return folder, html.unescape(re.sub(r"<[^>]+>", " ", text))

    return show


def views(*names):
    import biom
    import skbio

    kinds = {"table": biom.Table, "new_table": biom.Table, "encoder": skbio.TreeNode}
    return [getattr(examples, name)().view(kinds[name]) for name in names]


def model(kind="regressor"):
    from aam_core.model import Model

    return getattr(examples, kind)().view(Model)


def test_out_of_fold_predictions_of_a_fit(page):
    metadata = examples.metadata()
    group = metadata.get_column("host_subject_id")
    folder, text = page(
        report, model=model(), metadata=metadata, group_by=group, units="weeks", title="Own title"
    )
    assert "Own title" in text and "6 groups of host_subject_id" in text
    assert "in weeks" in text and "Errors by group" in text
    samples = pd.read_csv(folder / "samples.tsv", sep="\t", index_col=0)
    expected = model().val_predictions["prediction"]
    assert samples.loc[expected.index, "prediction"].to_numpy() == pytest.approx(
        expected.to_numpy(), rel=1e-6
    )
    assert {it.suffix for it in folder.glob("figure-predictions.*")} == {".png", ".svg", ".pdf"}


def test_new_samples_are_predicted(page):
    (table,) = views("new_table")
    from q2_types.feature_data import DNAFASTAFormat

    sequences = examples.sequences().view(DNAFASTAFormat)
    folder, text = page(
        report,
        model=model(),
        table=table,
        sequences=sequences,
        metadata=examples.new_metadata(),
    )
    assert "Predictions of samples that are new to the model" in text
    samples = pd.read_csv(folder / "samples.tsv", sep="\t", index_col=0)
    assert len(samples) == 16 and all(name.startswith("new-") for name in samples.index)


def details_of_a_cross_validation():
    table = examples.metadata().to_dataframe()
    names = pd.Index(table.index, name="sample-id")
    ours = pd.DataFrame({"prediction": table["gradient"] + 1.0, "fold": 1}, index=names)
    methods = pd.concat(
        [
            ours.reset_index().assign(method="aam", repeat=1),
            ours.reset_index().assign(method="random_forest", repeat=1, prediction=50.0),
            ours.reset_index().assign(method="random_forest", repeat=2, prediction=0.0),
        ]
    )
    return Details.of(
        ours,
        methods,
        None,
        task="regression",
        column="gradient",
        source="cross-validation",
        group_by="host_subject_id",
        groups=6,
        folds=2,
        blend={"networks": 0.25, "forest": 0.75},
        notes=["3 samples were dropped"],
    )


def test_details_of_a_cross_validation(page):
    folder, text = page(
        report, details=details_of_a_cross_validation(), metadata=examples.metadata()
    )
    assert "Out-of-fold predictions of a cross-validation" in text
    assert "3 samples were dropped" in text and "25%" in text
    assert "Baseline: random forest" in text.replace("Random", "random")
    metrics = pd.read_csv(folder / "metrics.tsv", sep="\t")
    ours = metrics[(metrics["metric"] == "mae") & (metrics["method"] == "AAM")]
    assert ours["value"].item() == pytest.approx(1)
    gradient = examples.metadata().to_dataframe()["gradient"]
    other = metrics[(metrics["metric"] == "mae") & (metrics["method"] != "AAM")]
    assert other["value"].item() == pytest.approx((gradient - 50).abs().mean())


def test_what_a_report_refuses(tmp_path):
    for pattern, arguments in (
        ("of a model or of the details", {}),
        ("give metadata with the column 'gradient'", {"details": details_of_a_cross_validation()}),
        ("give the table, too", {"model": model(), "sequences": "file"}),
        ("needs the model and the table", {"model": model(), "learning_curve": True}),
    ):
        with pytest.raises(InputError, match=pattern):
            report(str(tmp_path), **arguments)
    assert not list(tmp_path.iterdir())


def test_pairs_at_distance_zero(page):
    (table,) = views("table")
    copy = table.update_ids({name: f"copy-{name}" for name in table.ids()}, inplace=False)
    copy.filter([copy.ids()[0]], inplace=True)
    both = table.concat([copy])
    folder, text = page(find_zero_distances, table=both, metric="jaccard")
    pairs = pd.read_csv(folder / "pairs.tsv", sep="\t")
    name = table.ids()[0]
    assert {*pairs.iloc[0][["sample-a", "sample-b"]]} == {name, f"copy-{name}"}
    assert "2 samples have exactly the counts of another one" in text
    with pytest.raises(InputError, match="computed on a phylogeny"):
        find_zero_distances(str(folder), table)


def test_given_distances_are_looked_at(page):
    import numpy as np
    import skbio

    (table,) = views("table")
    ids = list(table.ids())
    values = np.ones((len(ids), len(ids))) - np.eye(len(ids))
    values[0, 1] = values[1, 0] = 0
    _, text = page(
        find_zero_distances,
        table=table,
        distances=skbio.DistanceMatrix(values, ids),
        metadata=qiime2.Metadata(examples.metadata().to_dataframe()[["host_subject_id"]]),
    )
    assert "the given distances" in text and "Samples at distance zero" in text
