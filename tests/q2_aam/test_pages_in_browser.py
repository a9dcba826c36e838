"""Pages in a real browser: opened from the extracted visualization, without a network.

One browser serves all tests. Skipped where there is no Chromium with its driver, or no Selenium.
"""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import biom
import numpy as np
import pandas as pd
import pytest
import qiime2
from q2_types.feature_data import DNAFASTAFormat
from q2_types.tree import NewickFormat
from qiime2.sdk import PluginManager

from aam_core.explanation.result import Explanation
from aam_core.model import Model
from aam_core.plots.style import contrast
from q2_aam._details import Details
from q2_aam._predictions import PredictionsFormat, write_table
from q2_aam.actions.insight_pages import importance
from q2_aam.actions.predictions import confusion_matrix, scatterplot
from q2_aam.actions.summaries import distance_fit, training_curves
from q2_aam.examples import study as examples

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
SECONDS = 20
HOSTILE = "</script><img src=x onerror=\"document.title='taken'\">"
ODD = "a.b[0], 'it' \"q\""
MONTHS = ["0-3 months", "3-6 months", "12-15 months"]

webdriver = pytest.importorskip("selenium.webdriver")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="no Chromium with its driver")


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    """Intervals of few draws: here they are shown, not tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aam_core.statistics.draws_of", lambda *sizes, **more: 20)
        patch.setattr("aam_core.reporting.class_scores.draws_of", lambda *sizes, **more: 20)
        yield


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium without a network: all that is not a file goes to a proxy that is not there."""
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1100"),
        "--proxy-server=127.0.0.1:9",
    ):
        options.add_argument(argument)
    downloads = tmp_path_factory.mktemp("downloads")
    several = "profile.default_content_setting_values.automatic_downloads"
    preferences = {"download.default_directory": str(downloads), several: 1}
    options.add_experimental_option("prefs", preferences)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.chrome.service.Service(DRIVER)
    driver = webdriver.Chrome(service=service, options=options)
    driver.downloads = downloads
    yield driver
    driver.quit()


def until(check, what):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        result = check()
        if result:
            return result
        time.sleep(0.05)
    raise AssertionError(f"not within {SECONDS} s: {what}")


class Page:
    """A page in the browser."""

    def __init__(self, browser, folder, *charts):
        self.browser = browser
        browser.get((Path(folder) / "index.html").as_uri())
        for chart in charts:
            until(lambda chart=chart: self.run("return !!aam.views[arguments[0]]", chart), chart)

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def choose(self, selector, text):
        """Choose the entry of a select, as a reader does; the chart is drawn anew."""
        script = """
            const select = document.querySelector(arguments[0]);
            const option = [...select.options].find((it) => it.text === arguments[1]);
            if (!option) return [...select.options].map((it) => it.text).join("; ");
            if (!select.multiple) select.value = option.value;
            option.selected = true;
            select.dispatchEvent(new Event("change"));
            return "";"""
        assert self.run(script, selector, text) == "", text

    def redraw(self, action, chart="scatterplot"):
        """Do something after which a chart is drawn anew, and wait for that."""
        self.run("window.before = aam.views[arguments[0]]", chart)
        action()
        script = "return aam.views[arguments[0]] !== window.before"
        until(lambda: self.run(script, chart), f"{chart} anew")

    def marks(self, chart, kind):
        """Marks of a kind that are drawn, in the scene of the chart."""
        script = """
            const count = (node) => (node.items || []).reduce((sum, it) => sum + count(it),
              node.marktype === arguments[1] && node.role === "mark" ? node.items.length : 0);
            return count(aam.views[arguments[0]].scenegraph().root);"""
        return self.run(script, chart, kind)

    def element(self, chart, kind, field, value):
        """The element of the mark whose datum has a value."""
        script = """
            const all = `#chart-${arguments[0]} .mark-${arguments[1]} path`;
            const marks = document.querySelectorAll(all);
            return [...marks].find((it) => it.__data__.datum[arguments[2]] === arguments[3]);"""
        return self.run(script, chart, kind, field, value)

    def hover(self, element, click=False):
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        actions = webdriver.ActionChains(self.browser).move_to_element(element)
        (actions.click() if click else actions).perform()

    def tooltip(self):
        script = """
            const it = document.querySelector("#vg-tooltip-element.visible");
            return it ? it.innerText : "";"""
        return until(lambda: self.run(script), "a tooltip")

    def download(self, selector, name):
        path = self.browser.downloads / name
        path.unlink(missing_ok=True)
        self.run("document.querySelector(arguments[0]).click()", selector)
        until(lambda: path.exists() and path.stat().st_size, f"the download {name}")
        return path

    def check(self):
        """Nothing of the user ran, nothing failed, nothing was asked of a network."""
        assert self.browser.title.startswith("aam : ")
        assert (
            self.run("return document.querySelectorAll('.aam-missing, main img[src=x]').length")
            == 0
        )
        assert [line["message"] for line in self.browser.get_log("browser")] == []
        loaded = self.run("return performance.getEntriesByType('resource').map((it) => it.name)")
        assert [name for name in loaded if not name.startswith(("file:", "data:", "blob:"))] == []


def column(kind, values, index, name):
    return kind(pd.Series(list(values), index=pd.Index(index, name="id"), name=name))


def samples(count):
    rng = np.random.default_rng(0)
    ids = [HOSTILE, 'a,"b"', "c.d[1]", *(f"s{i:05d}" for i in range(3, count))][:count]
    metadata = pd.DataFrame(
        {
            ODD: rng.choice(["x", "y", None], count),
            HOSTILE: rng.choice([HOSTILE, "two"], count),
            "depth": np.where(np.arange(count) % 7 == 1, np.nan, 1000.0 + np.arange(count)),
            "subject": [f"subject {i // 4}" for i in range(count)],
            "site": [f"site {i % 40}" for i in range(count)],
        },
        index=pd.Index(ids, name="id"),
    )
    return rng, ids, metadata


def numbers_page(folder, count=60):
    rng, ids, metadata = samples(count)
    actual = rng.gamma(3, 10, count)
    actual[0] = actual.max() + 20  # no other point covers it
    predicted = actual + rng.normal(0, 8, count)
    table = pd.DataFrame({"prediction": predicted}, index=pd.Index(ids, name="sample-id"))
    details = Details.of(
        table.assign(lower=predicted - 13, upper=predicted + 13, fold=1),
        **{"task": "regression", "column": "age", "source": "cross-validation"},
        **{"group_by": "subject", "groups": count // 4, "folds": 5, "confidence": 0.9},
    )
    predictions = qiime2.Artifact.import_data(
        "SampleData[RegressorPredictions]", write_table(table, PredictionsFormat), PredictionsFormat
    )
    page = (
        PluginManager()
        .get_plugin(id="aam")
        .visualizers["scatterplot"](
            predictions=predictions,
            details=qiime2.Artifact.import_data("SampleData[AAMPredictions]", details),
            truth=column(qiime2.NumericMetadataColumn, actual, ids, "age"),
            metadata=qiime2.Metadata(metadata),
            units="years",
        )
    )
    page.visualization.export_data(str(folder))
    return actual, predicted, metadata


def classes_page(folder, names, count=60):
    rng, ids, metadata = samples(count)
    actual = rng.integers(len(names), size=count)
    logits = rng.normal(size=(count, len(names)))
    logits[np.arange(count), actual] += 1.5
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    table = pd.DataFrame(shares, columns=names, index=pd.Index(ids, name="sample-id"))
    table["prediction"] = np.array(names)[shares.argmax(axis=1)]
    details = Details.of(
        table, task="classification", column="age", source="out-of-fold", classes=list(names)
    )
    truth = np.array(names)[actual]
    confusion_matrix(
        str(folder),
        write_table(table[["prediction"]], PredictionsFormat),
        column(qiime2.CategoricalMetadataColumn, truth, ids, "age"),
        details=details,
        metadata=qiime2.Metadata(metadata),
    )
    return pd.DataFrame({"actual": truth, "prediction": table["prediction"].to_numpy()}, index=ids)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("numbers")
    return (folder, *numbers_page(folder))


@pytest.fixture
def scatter(browser, numbers):
    page = Page(browser, numbers[0], "scatterplot")
    yield page
    page.check()


def shown(page):
    """How many samples the page says are shown."""
    return int(re.match(r"[\d,]+", page.text("#count"))[0].replace(",", ""))


def test_every_sample_is_a_mark_and_hovering_names_it(scatter, numbers):
    assert scatter.marks("scatterplot", "symbol") == 60
    _, actual, predicted, _ = numbers
    scatter.hover(scatter.element("scatterplot", "symbol", "sample-id", HOSTILE))
    said = scatter.tooltip()
    assert HOSTILE in said and "Interval from" in said and "Group" in said
    assert f"{float(f'{actual[0]:.4g}'):g}" in said and f"{float(f'{predicted[0]:.4g}'):g}" in said


def test_colours_by_any_column(scatter, numbers):
    metadata = numbers[3]
    for name in metadata.columns:
        scatter.redraw(lambda name=name: scatter.choose("#colour", name))
        assert scatter.marks("scatterplot", "symbol") == 60
        titles = scatter.run(
            "return [...document.querySelectorAll('#chart-scatterplot .role-legend-title text')]"
            ".map((it) => it.textContent)"
        )
        assert titles and titles[0][:10] == name[:10]
    colours = scatter.run(
        "return [...new Set(aam.views.scatterplot.data('shown').map((it) => it.colour))]"
    )
    assert 2 < len(colours) <= 15 and any(str(it).startswith("other (") for it in colours)


def test_numbers_may_be_coloured_as_classes(scatter, numbers):
    scatter.redraw(lambda: scatter.choose("#colour", "depth"))
    assert scatter.marks("scatterplot", "symbol") == 60  # those without a depth, too
    scatter.redraw(lambda: scatter.run("document.querySelector('#as-classes').click()"))
    values = scatter.run("return aam.views.scatterplot.data('shown').map((it) => it.colour)")
    assert len(set(values)) == 15 and "(blank)" in values


def test_residuals_and_intervals(scatter):
    scatter.choose("#view", "residual against actual")
    scatter.choose("#intervals", "as lines")
    until(lambda: scatter.marks("scatterplot", "rule") == 60, "a line an interval")
    title = scatter.run(
        "return [...document.querySelectorAll('#chart-scatterplot .role-axis-title text')]"
        ".map((it) => it.textContent)"
    )
    assert sorted(title) == ["Actual age (years)", "Residual of age (years)"]


def test_filters_by_value_range_and_id(scatter, numbers):
    metadata = numbers[3]
    scatter.choose("#filter", ODD)
    wanted = int((metadata[ODD] == "x").sum())
    scatter.choose("#values", f"x ({wanted})")
    until(lambda: shown(scatter) == wanted, "the samples of one value")
    assert scatter.marks("scatterplot", "symbol") == wanted
    assert "mean absolute error" in scatter.text("#count")
    scatter.choose("#values", f"(blank) ({metadata[ODD].isna().sum()})")
    until(lambda: shown(scatter) == wanted + metadata[ODD].isna().sum(), "blank ones, too")
    scatter.choose("#filter", "depth")
    scatter.run(
        "const it = document.querySelector('#least'); it.value = 1030;"
        "it.dispatchEvent(new Event('input'))"
    )
    until(lambda: shown(scatter) == (metadata["depth"] >= 1030).sum(), "a range")
    scatter.run("document.querySelector('#reset').click()")
    until(lambda: shown(scatter) == 60, "all samples")
    scatter.run(
        "const it = document.querySelector('#find'); it.value = 'S0001';"
        "it.dispatchEvent(new Event('input'))"
    )
    until(lambda: shown(scatter) == 10, "ids")


def test_the_legend_shows_one_value_alone(scatter):
    scatter.redraw(lambda: scatter.choose("#colour", HOSTILE))
    opacities = (
        "return [...document.querySelectorAll('#chart-scatterplot .role-mark.mark-symbol path')]"
        ".map((it) => Number(it.getAttribute('opacity') ?? 1))"
    )
    assert len(set(scatter.run(opacities))) == 1
    script = "return document.querySelector('#chart-scatterplot .role-legend-symbol path')"
    scatter.hover(scatter.run(script), click=True)
    until(lambda: len(set(scatter.run(opacities))) == 2, "faint points")
    assert min(scatter.run(opacities)) < 0.1


def test_the_wheel_zooms(scatter):
    script = "return aam.views.scatterplot.scale('x').domain()"
    before = scatter.run(script)
    point = scatter.element("scatterplot", "symbol", "sample-id", HOSTILE)
    scatter.hover(point)
    wheel = webdriver.common.actions.wheel_input.ScrollOrigin.from_element(point)
    webdriver.ActionChains(scatter.browser).scroll_from_origin(wheel, 0, -300).perform()
    until(lambda: scatter.run(script) != before, "a zoom")
    low, high = scatter.run(script)
    assert high - low < before[1] - before[0]


def test_downloads(scatter, numbers):
    svg = scatter.download("[data-save=svg]", "scatterplot.svg").read_text()
    assert svg.startswith("<svg") and "Actual age (years)" in svg
    png = scatter.download("[data-save=png]", "scatterplot.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    path = scatter.download("#save-rows", "samples_shown.tsv")
    rows = pd.read_csv(path, sep="\t", index_col=0, quoting=3)
    assert len(rows) == 60 and {"actual", "residual", "group", ODD} <= set(rows)
    table = pd.read_csv(numbers[0] / "predictions.tsv", sep="\t", index_col=0)
    assert np.allclose(table["residual"], rows["residual"])


def test_many_samples_are_drawn_on_a_canvas(browser, tmp_path):
    actual, _, _ = numbers_page(tmp_path, 20_000)
    page = Page(browser, tmp_path, "scatterplot")
    assert page.marks("scatterplot", "symbol") == len(actual)
    assert page.run("return !!document.querySelector('#chart-scatterplot canvas')")
    page.choose("#colour", ODD)
    until(lambda: page.run("return aam.views.scatterplot.data('shown')[0].colour"), "colours")
    page.check()


@pytest.mark.parametrize("width", [800, 1280])
def test_pages_are_as_wide_as_the_window(browser, numbers, width):
    browser.set_window_size(width, 1100)
    page = Page(browser, numbers[0], "scatterplot")
    assert page.run("return document.documentElement.scrollWidth") <= width
    box = page.run(
        "return document.querySelector('#chart-scatterplot svg').getBoundingClientRect()"
    )
    assert box["width"] > 0.5 * width
    browser.set_window_size(1280, 1100)


def test_a_confusion_matrix(browser, tmp_path):
    table = classes_page(tmp_path, MONTHS)
    page = Page(browser, tmp_path, "confusion_matrix", "roc", "precision_recall", "calibration")
    cells = pd.DataFrame(page.run("return aam.views.confusion_matrix.data('cells')"))
    assert list(dict.fromkeys(cells["actual"])) == MONTHS
    counts = pd.crosstab(table["actual"], table["prediction"])
    for _, cell in cells.iterrows():
        assert cell["samples"] == counts.loc[cell["actual"], cell["predicted"]]
    fills = (
        "return [...document.querySelectorAll(arguments[0])].map((it) => it.getAttribute('fill'))"
    )
    drawn = page.run(fills, "#chart-confusion_matrix .role-mark.mark-rect path")
    texts = page.run(fills, "#chart-confusion_matrix .role-mark.mark-text text")
    assert len(drawn) == len(texts) == 9
    for background, ink in zip(drawn, texts, strict=True):
        assert contrast(rgb(background), rgb(ink)) >= 4.5
    cell = page.element("confusion_matrix", "rect", "actual", MONTHS[0])
    page.hover(cell)
    assert "Of the actual class" in page.tooltip()
    page.hover(cell, click=True)
    until(lambda: page.run("return document.querySelectorAll('#cell tbody tr').length"), "a list")
    listed = page.run("return document.querySelectorAll('#cell tbody tr').length")
    assert listed == counts.loc[MONTHS[0], MONTHS[0]]
    page.choose("#class", MONTHS[1])
    until(
        lambda: page.run(
            "return aam.views.roc.data('rows').every((it) => it.class === arguments[0])", MONTHS[1]
        ),
        "one class",
    )
    page.check()


def rgb(colour):
    """Red, green and blue from 0 to 1, of '#rrggbb' or 'rgb(r, g, b)'."""
    if colour.startswith("#"):
        return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [float(part) / 255 for part in re.findall(r"[\d.]+", colour)]


def test_many_classes_of_any_name(browser, tmp_path):
    names = [HOSTILE, ODD, *(f"site {i}" for i in range(40))]
    classes_page(tmp_path, names, 200)
    page = Page(browser, tmp_path, "confusion_matrix", "roc")
    assert page.marks("confusion_matrix", "rect") == 42**2
    page.choose("#filter", "depth")
    page.choose("#class", HOSTILE)
    until(lambda: page.run("return aam.views.roc.data('rows').length") == 101, "one class")
    page.check()


def test_classes_that_html_and_javascript_change(browser, tmp_path):
    names = ["two  blanks", "__proto__", "constructor"]
    table = classes_page(tmp_path, names)
    page = Page(browser, tmp_path, "confusion_matrix", "roc", "precision_recall", "calibration")
    texts = page.run(
        "return [...document.querySelectorAll('#chart-confusion_matrix .role-axis-label text')]"
        ".map((it) => it.textContent)"
    )
    assert sorted(texts) == sorted([*names, *names])
    places = "return [...document.querySelectorAll('#chart-confusion_matrix .mark-rect path')]"
    boxes = page.run(f"{places}.map((it) => Math.round(it.getBoundingClientRect().left))")
    assert len(set(boxes)) == 3  # as many columns of cells as classes
    cell = page.element("confusion_matrix", "rect", "actual", "__proto__")
    page.hover(cell)
    assert "__proto__" in page.tooltip()
    for name in names:
        page.run(
            "const it = document.querySelector('#class'); it.value = arguments[0];"
            "it.dispatchEvent(new Event('change'))",
            name,
        )
        script = "const it = aam.views.roc.data('rows');"
        script += "return it.length && it.every((row) => row.class === arguments[0])"
        until(lambda name=name, script=script: page.run(script, name), name)
    assert set(table["actual"]) == set(names)
    page.check()


def test_large_numbers_ids_and_samples_without_an_interval(browser, tmp_path):
    ids = ["a", "b", "c", "d"]
    values = np.array([12345678.0, 2000.5, 0.125, 5e-7])
    table = pd.DataFrame({"prediction": values + 10}, index=pd.Index(ids, name="sample-id"))
    bounds = {name: np.where(np.arange(4) == 1, np.nan, values) for name in ("lower", "upper")}
    details = Details.of(
        table.assign(**bounds), task="regression", column="age", source="new samples"
    )
    metadata = pd.DataFrame(
        {"id of host": 10317000100.0 + np.arange(4), "day": 2455000.123456789 + np.arange(4)},
        index=pd.Index(ids, name="id"),
    )
    scatterplot(
        str(tmp_path),
        write_table(table, PredictionsFormat),
        column(qiime2.NumericMetadataColumn, values, ids, "age"),
        details=details,
        metadata=qiime2.Metadata(metadata),
    )
    page = Page(browser, tmp_path, "scatterplot")
    page.redraw(lambda: page.choose("#colour", "id of host"))
    page.choose("#intervals", "as lines")
    page.choose("#view", "residual against actual")
    until(lambda: page.marks("scatterplot", "rule") == 3, "a line an interval")
    page.hover(page.element("scatterplot", "symbol", "sample-id", "a"))
    said = page.tooltip()
    assert "12,345,678" in said and "12,345,688" in said and "10317000100" in said
    written = page.run("return [12345678.9, -1000.4, 0.12345, 5e-7, 0, null].map(aam.number)")
    assert written == ["12,345,679", "-1,000", "0.1235", "5e-7", "0", ""]
    path = page.download("#save-rows", "samples_shown.tsv")
    rows = pd.read_csv(path, sep="\t", index_col=0)
    assert list(rows["id of host"]) == list(metadata["id of host"].astype(int))
    assert list(rows["day"]) == [float(f"{day:.15g}") for day in metadata["day"]]
    page.check()


def test_the_methods_of_a_cross_validation(browser, tmp_path, monkeypatch):
    from aam_core.comparison import comparison_table, long_table, metrics_of_table
    from q2_aam.actions.evaluation import compare

    monkeypatch.setattr("aam_core.comparison.draws_of", lambda *sizes: 20)
    rng, ids, metadata = samples(60)
    actual = pd.Series(rng.gamma(3, 10, 60), index=pd.Index(ids, name="sample-id"))
    wide = pd.DataFrame({"actual": actual, "fold": [1 + place % 2 for place in range(60)]})
    noise = {"prediction": 5, "network": 6, "random_forest": 9, "dummy": 40}
    wide = wide.assign(**{name: actual + rng.normal(0, sd, 60) for name, sd in noise.items()})
    groups = metadata["subject"].replace({"subject 0": HOSTILE})
    methods = long_table(wide, ["aam", *list(noise)[1:]], groups=groups)
    details = Details.of(
        methods[methods["method"] == "aam"][["prediction"]],
        methods.reset_index(),
        comparison_table(metrics_of_table(methods, "regression", HOSTILE)),
        **{"task": "regression", "column": HOSTILE, "source": "cross-validation"},
        **{"group_by": "subject", "groups": 15, "folds": 2, "notes": [HOSTILE]},
    )
    compare(str(tmp_path), details, units="days")
    page = Page(browser, tmp_path, "metrics", "differences", "paired_errors")
    assert page.marks("metrics", "symbol") == 4 and page.marks("differences", "symbol") == 3
    assert page.marks("paired_errors", "symbol") == 15
    best = page.run("return aam.views.metrics.data('metrics').length")
    assert best == len(pd.read_csv(tmp_path / "metrics.tsv", sep="\t"))
    end = "return aam.views.paired_errors.scale('x').domain()[1]"
    before = page.run(end)
    page.choose("#chart-paired_errors select", "median")
    until(lambda: page.run(end) > 2 * before, "the errors of another method")
    page.choose("#chart-metrics select", "R²")
    until(lambda: page.run("return aam.views.metrics.scale('x').domain()[1]") <= 1.2, "R²")
    page.hover(page.element("paired_errors", "symbol", "group", HOSTILE))
    assert HOSTILE in page.tooltip()
    page.check()


def test_maturity_over_the_band_of_controls(browser, tmp_path):
    from q2_aam.actions.maturity import maturity_plot

    rng, ids, metadata = samples(60)
    age = rng.uniform(0, 100, 60)
    predicted = pd.DataFrame({"prediction": age + rng.normal(0, 9, 60)}, index=ids)
    group = [HOSTILE if place % 3 == 0 else "well" for place in range(60)]
    given = (
        write_table(predicted, PredictionsFormat),
        column(qiime2.NumericMetadataColumn, age, ids, "age"),
        column(qiime2.CategoricalMetadataColumn, group, ids, "health"),
    )
    maturity_plot(str(tmp_path), *given, "well", bin_width=25.0, units="days")
    page = Page(browser, tmp_path, "ages", "scores")
    assert page.marks("ages", "symbol") == 60 and page.marks("ages", "area") == 4
    assert page.marks("scores", "symbol") == 60 and page.marks("scores", "rule") == 3
    page.hover(page.element("ages", "symbol", "group", HOSTILE))
    assert HOSTILE in page.tooltip() and "MAZ" in page.tooltip()
    page.check()


def test_importances(browser, tmp_path):
    explanation = examples.explanation().view(Explanation)
    importance(
        str(tmp_path),
        explanation,
        examples.new_table().view(biom.Table),
        examples.new_metadata().get_column("gradient"),
    )
    page = Page(browser, tmp_path, "features", "groups", "abundances", "contributions")
    shown = min(25, len(explanation.importance))
    assert page.marks("features", "rect") == shown
    first = explanation.importance.index[0]
    page.hover(page.element("features", "rect", "feature-id", first))
    assert first in page.tooltip() and "importance" in page.tooltip()
    before = page.marks("groups", "rect")
    page.choose("#chart-groups select", "clade-10")
    until(lambda: page.run("return aam.views.groups.signal('division_shown')") != "all", "clades")
    assert 0 < page.marks("groups", "rect") <= before
    last = explanation.samples.index[-1]
    page.choose("#chart-contributions select", last)
    script = "return aam.views.contributions.signal('sample_shown')"
    until(lambda: page.run(script) == last, "another sample")
    page.check()


def test_the_course_of_a_training(browser, tmp_path):
    model = examples.regressor().view(Model)
    training_curves(str(tmp_path), model)
    page = Page(browser, tmp_path, "curve-0")
    values = page.run("return aam.rows('curves').filter((it) => it.quantity === 'total_loss')")
    assert page.marks("curve-0", "symbol") == len(values) >= len(model.history)
    page.check()


def test_predicted_against_true_distances(browser, tmp_path):
    inputs = {"table": biom.Table, "sequences": DNAFASTAFormat, "phylogeny": NewickFormat}
    artifacts = {name: getattr(examples, name)() for name in inputs}  # files of views go with them
    views = {name: artifacts[name].view(view) for name, view in inputs.items()}
    distance_fit(str(tmp_path), examples.encoder().view(Model), **views)
    page = Page(browser, tmp_path, "density", "by-sample", "ordination")
    ids = page.run("return aam.rows('samples').map((it) => it['sample-id'])")
    assert page.marks("by-sample", "symbol") == len(ids) > 2
    page.hover(page.element("by-sample", "symbol", "sample-id", ids[0]))
    assert ids[0] in page.tooltip()
    page.check()
