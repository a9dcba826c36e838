"""Pages of where a model fails and of samples at distance 0."""

from __future__ import annotations

import html
import re

import numpy as np
import pandas as pd
import pytest
import qiime2

from aam_core.errors import InputError
from aam_core.explanation.result import Explanation
from q2_aam._details import Details
from q2_aam._predictions import ImportanceFormat
from q2_aam.actions.insight_pages import find_zero_distances, heatmap, importance, report
from q2_aam.examples import study as examples
from q2_aam.pages.heatmap import _grouped, abundances_by_group


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
        blend={"networks": 0.25, "forest": 0.75, "linear_share": 0.2},
        notes=["3 samples were dropped"],
    )


def test_details_of_a_cross_validation(page):
    folder, text = page(
        report, details=details_of_a_cross_validation(), metadata=examples.metadata()
    )
    assert "Out-of-fold predictions of a cross-validation" in text
    assert "3 samples were dropped" in text and "networks 25%, random forest 60%, linear" in text
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


# --- importances ---------------------------------------------------------------------------------


def test_abundances_in_groups_of_samples():
    import biom

    table = biom.Table(
        np.array([[1.0, 3, 0, 4], [1, 1, 2, 0]]), ["f1", "f2"], ["s1", "s2", "s3", "s4"]
    )
    values = pd.Series({"s1": "10 weeks", "s2": "2 weeks", "s3": "10 weeks", "s9": "x"}, name="age")
    result = abundances_by_group(table, values).set_index(["feature-id", "group"])
    assert list(result.index.levels[1]) == ["2 weeks", "10 weeks"]  # in their natural order
    assert result.loc[("f1", "10 weeks"), "abundance"] == pytest.approx(0.25)
    assert result.loc[("f1", "10 weeks"), "prevalence"] == 0.5
    assert result.loc[("f2", "2 weeks"), "log10_abundance"] == pytest.approx(np.log10(0.25))
    numbers = pd.Series(np.arange(100.0), [f"s{i}" for i in range(100)], name="age")
    many = biom.Table(np.ones((1, 100)), ["f1"], list(numbers.index))
    groups = abundances_by_group(many, numbers)
    assert len(groups) == 8 and groups["samples"].between(12, 13).all()
    assert str(groups["group"][0]) == "0 to 12"
    with pytest.raises(InputError, match="No sample of the table has a value of 'age'"):
        abundances_by_group(table, pd.Series({"s9": 1.0}, name="age"))


def test_groups_that_are_numbers_are_named_as_they_were_written(page):
    metadata = examples.metadata().to_dataframe()
    group = metadata["host_subject_id"].str[1:].astype(float).rename("child")
    folder, text = page(
        report,
        model=model(),
        metadata=qiime2.Metadata(metadata),
        group_by=qiime2.NumericMetadataColumn(group),
    )
    assert "6 groups of child" in text
    names = set(pd.read_csv(folder / "groups.tsv", sep="\t", dtype=str).iloc[:, 0])
    assert names == {f"{int(value)}" for value in group}


def test_a_heat_map_of_the_most_important_features(page):
    (table,) = views("new_table")
    importances = examples.feature_importance()
    groups = examples.new_metadata().get_column("group")
    values = importances.view(pd.DataFrame).iloc[:, 0]
    first = values.sort_values(ascending=False, kind="stable").index[0]
    taxa = pd.Series("k__Some; g__Other", pd.Index([first], name="id"), name="Taxon")
    given = {"table": table, "importance": importances.view(ImportanceFormat)}
    folder, text = page(
        heatmap,
        sample_metadata=groups,
        feature_metadata=qiime2.CategoricalMetadataColumn(taxa),
        feature_count=5,
        **given,
    )
    assert "Important features by group" in text and f"g__Other {first[:9]}" in text
    features = pd.read_csv(folder / "features.tsv", sep="\t")
    assert list(features["importance"]) == sorted(values, reverse=True)[:5]
    shown = pd.read_csv(folder / "abundances.tsv", sep="\t", index_col="feature-id")
    assert set(shown["group"]) == set(groups.to_series()) and shown["samples"].sum() == 5 * 16
    of_first = table.data(first, axis="observation", dense=True) / table.sum("sample")
    own = shown.loc[first].set_index("group")["abundance"]
    expected = pd.Series(of_first, table.ids()).groupby(groups.to_series()).mean()
    pd.testing.assert_series_equal(own, expected[own.index], check_names=False)
    assert (folder / "heatmap.pdf").exists()
    table = table.update_ids({name: f"x{name}" for name in table.ids("observation")}, "observation")
    with pytest.raises(InputError, match="No feature of the importances is in the table"):
        page(heatmap, sample_metadata=groups, **given | {"table": table})


@pytest.mark.parametrize("kind", ["regressor", "classifier"])
def test_a_page_of_importances(page, kind):
    explanation = examples._explained(kind).explanation.view(Explanation)
    (table,) = views("new_table")
    column = {"regressor": "gradient", "classifier": "group"}[kind]
    folder, text = page(
        importance,
        explanation=explanation,
        table=table,
        metadata=examples.new_metadata().get_column(column),
        units="weeks",
    )
    assert f"Features that predict {column}" in text and "new to the model" in text
    assert ("(weeks)" in text) == (kind == "regressor")  # the log loss has no unit
    assert "no p is below 1/" in text.lower()
    written = pd.read_csv(folder / "importance.tsv", sep="\t", index_col=0)
    pd.testing.assert_series_equal(
        written["importance"], explanation.importance["importance"], check_names=False
    )
    for stem in ("figure-importance", "figure-deletion", "abundances"):
        assert {it.suffix for it in folder.glob(f"{stem}.*")} >= {".png", ".svg", ".pdf"}
    charts = {"features", "groups", "abundances", "contributions"}
    raw = (folder / "index.html").read_text()
    assert {name for name in charts if f'id="spec-{name}"' in raw} == charts


def test_what_a_page_of_importances_refuses(tmp_path):
    import biom

    explanation = examples.explanation().view(Explanation)
    (table,) = views("new_table")
    column = examples.new_metadata().get_column("gradient")
    with pytest.raises(InputError, match="go together"):
        importance(str(tmp_path), explanation, table)
    other = biom.Table(np.ones((1, 1)), ["another"], ["new-S001.01"])
    with pytest.raises(InputError, match="feature"):
        importance(str(tmp_path), explanation, other, column)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("values", "first", "count"),
    [
        (np.arange(2455000.0, 2455060.0), "2455000 to 2455007", 8),
        ([10317000100.0, 10317000101.0] * 4, "10317000100", 2),
        (1000 + np.arange(64) / 1e4, "1000 to 1000.0007", 8),
        ([0.1 + 0.2, 0.3, 0.4], "0.29999999999999999", 3),
        ([-1.0] * 40 + [*range(20)], "-1 to 4", 3),
    ],
)
def test_numbers_that_lie_close_are_groups_of_their_own(values, first, count):
    values = pd.Series(values, index=[f"s{i}" for i in range(len(values))])[::-1]
    groups = _grouped(values)
    names = list(groups.cat.categories)
    assert len(names) == count
    assert len(set(names)) == len(names) and names[0] == first
    # The order of the groups is that of the numbers.
    assert groups.cat.codes[values.sort_values(kind="stable").index].is_monotonic_increasing
