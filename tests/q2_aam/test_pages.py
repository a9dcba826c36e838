"""Pages: what is embedded and written, and the scripts that they carry."""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
import pandas as pd
import pytest

from q2_aam.pages import rendering

VENDOR = rendering.ASSETS / "vendor"
HOSTILE = "</script><img src=x onerror=alert(1)>"


def page(tmp_path, **more):
    context = {"title": "a title", "n": 1, **more.pop("context", {})}
    rendering.render("test_page", str(tmp_path), context, **more)
    return (tmp_path / "index.html").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def assets(tmp_path_factory, monkeypatch):
    """The plugin's assets and a small page."""
    folder = tmp_path_factory.mktemp("assets")
    for path in rendering.ASSETS.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "test_page").mkdir()
    (folder / "test_page" / "index.html").write_text(
        "{% extends 'shared/page.html' %}{% block body %}<b>{{ n }}</b>"
        "{% for name in charts %}{{ aam.chart(name, 'a caption') }}{% endfor %}{% endblock %}"
    )
    monkeypatch.setattr(rendering, "ASSETS", folder)


def embedded(text, name):
    (found,) = re.findall(rf'<script type="application/json" id="{name}">(.*?)</script>', text)
    return json.loads(found)


def test_vendored_scripts_are_those_that_are_recorded():
    recorded = pd.read_csv(VENDOR / "versions.tsv", sep="\t", index_col="file")
    files = {path.name for path in VENDOR.iterdir()} - {"versions.tsv"}
    assert files == set(recorded.index)
    for name, row in recorded.iterrows():
        content = (VENDOR / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["sha256"], name
        if name.endswith(".js"):
            assert f'"{row["version"]}"' in content.decode(), name


def test_a_page_without_charts_needs_no_chart_scripts(tmp_path):
    text = page(tmp_path)
    assert "<b>1</b>" in text and "vega" not in text
    assert not list((tmp_path / "aam").glob("vega*"))


def test_a_page_with_a_chart_stands_alone(tmp_path):
    spec = {"data": {"name": "points"}, "mark": "point", "encoding": {}}
    table = pd.DataFrame({"x": [1.5, np.nan]}, index=pd.Index(["a", "b"], name="sample-id"))
    text = page(tmp_path, data={"points": table}, charts={"chart": spec})
    for name in re.findall(r'(?:src|href)="([^"#]+)"', text):
        assert name.startswith("http://qiime2.org") or (tmp_path / name).exists(), name
    assert not re.search(r'<(?:script|link|img)[^>]*(?:src|href)="http', text)
    assert embedded(text, "spec-chart")["data"] == {"name": "points"}
    assert embedded(text, "data-points") == {
        "columns": ["sample-id", "x"],
        "values": [["a", "b"], [1.5, None]],
    }
    written = pd.read_csv(tmp_path / "points.tsv", sep="\t", index_col=0)
    assert written["x"].iloc[0] == 1.5
    assert 'href="points.tsv"' in text


def test_text_of_users_ends_no_element(tmp_path):
    table = pd.DataFrame({HOSTILE: [HOSTILE, "a\u2028b<!--", "&amp;"]})
    spec = {"data": {"name": "t"}, "mark": "bar", "encoding": {"x": {"field": HOSTILE}}}
    context = {"title": HOSTILE, "lead": HOSTILE, "notes": [HOSTILE], "facts": [(HOSTILE,) * 3]}
    text = page(tmp_path, context=context, data={"t": table}, charts={"c": spec})
    assert "<img src=x" not in text and "<!--" not in text and "\u2028" not in text
    assert embedded(text, "data-t")["values"] == [list(table[HOSTILE])]
    assert embedded(text, "spec-c")["encoding"]["x"]["field"] == HOSTILE


def test_values_that_json_lacks(tmp_path):
    table = pd.DataFrame(
        {
            "number": [np.inf, -np.inf, 1 / 3],
            "whole": pd.array([1, None, 3], dtype="Int64"),
            "flag": [True, False, True],
            "day": pd.to_datetime(["2020-01-01", None, "2020-01-03"]),
        }
    )
    spec = {"data": {"name": "t"}, "mark": "point"}
    text = page(tmp_path, data={"t": table}, charts={"c": spec})
    number, whole, flag, day = embedded(text, "data-t")["values"]
    assert number == [None, None, 0.333333333]
    assert whole == [1, None, 3] and flag == [True, False, True]
    assert day[0].startswith("2020-01-01") and day[1] is None


def test_whole_numbers_and_metadata_keep_their_digits(tmp_path):
    values = [10317000101.0, 12345678901.0, 1234.56789012345]
    table = pd.DataFrame({"n": values})
    spec = {"layer": [{"data": {"name": "t"}}, {"data": {"name": "metadata"}}]}
    text = page(tmp_path, data={"t": table, "metadata": table}, charts={"c": spec})
    assert embedded(text, "data-t")["values"] == [[*values[:2], 1234.56789]]
    assert embedded(text, "data-metadata")["values"] == [[*values[:2], 1234.56789012345]]
    assert "10317000101," in text  # whole: not 10317000101.0


def test_facts_can_be_downloaded_and_notes_are_shown_once(tmp_path):
    facts = [("Samples", "7", "of two"), ("Blend", "random forest alone", "")]
    text = page(tmp_path, context={"facts": facts, "notes": ["a note", "a note"], "tables": []})
    written = pd.read_csv(tmp_path / "facts.tsv", sep="\t", keep_default_na=False)
    assert list(written.itertuples(index=False, name=None)) == facts
    assert 'href="facts.tsv"' in text and text.count("a note") == 1


def test_a_chart_of_numbers_zooms_and_its_legend_filters(tmp_path):
    number = {"type": "quantitative"}
    encoding = {
        "x": {"field": "x", **number},
        "y": {"field": "y", **number},
        "color": {"field": "c", "type": "nominal"},
    }
    spec = {"data": {"name": "t"}, "mark": "point", "encoding": encoding}
    table = pd.DataFrame({"x": [1.0], "y": [2.0], "c": ["a"]})
    charts = {"c": spec, "own": {**spec, "params": []}}
    text = page(tmp_path, data={"t": table}, charts=charts)
    names = [param["name"] for param in embedded(text, "spec-c")["params"]]
    assert names == ["zoom", "chosen"]
    assert embedded(text, "spec-own")["params"] == [] and "params" not in spec


def test_a_chart_of_a_table_that_is_not_there(tmp_path):
    with pytest.raises(AssertionError, match="no table .'t'"):
        page(tmp_path, charts={"c": {"data": {"name": "t"}, "mark": "point"}})


def test_a_page_that_forgets_a_value_fails(tmp_path):
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError, match="'n' is undefined"):
        rendering.render("test_page", str(tmp_path), {"title": "a title"})


def test_a_picture_that_cannot_be_drawn_is_missing(tmp_path, caplog, capfd):
    def plot(path):
        raise ValueError("no font")

    assert rendering.draw(str(tmp_path), "picture", plot) == []
    # on stderr where an action, such as another test's, has set up the log
    assert "no font" in caplog.text + capfd.readouterr().err
