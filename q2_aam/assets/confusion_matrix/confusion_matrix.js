/* Confusion matrix, and curves of the classes. */
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const MOST_TEXTS = 15; /* classes up to which cells hold text */
  const MOST_COLOURED = 7; /* classes up to which each has a colour */
  const MOST_LISTED = 100; /* samples of a cell that are listed */
  const PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D"];
  const [PALEST, DARKEST] = [[247, 251, 255], [8, 48, 107]];
  const byId = (id) => document.getElementById(id);
  const base = aam.json("spec-confusion_matrix");
  const { words, classes, label, sets } = base.usermeta;
  const said = (name, value) => (name === "prediction_set" && Object.hasOwn(sets, value || "")
    ? sets[value || ""] : value);
  const it = aam.samples(words, () => draw(), said);
  vega.expressionFunction("aamClass", (at) => classes[at]);
  const place = new Map(classes.map((name, at) => [name, at]));

  /* Black or white, whichever has more contrast to a mix of the two ends of the scale. */
  const mixed = (share) => PALEST.map((low, at) => low + share * (DARKEST[at] - low));
  const luminance = (colour) => {
    const linear = colour.map((value) => value / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const legible = (share) => {
    const level = luminance(mixed(share)) + 0.05;
    return level / 0.05 >= 1.05 / level ? "#000000" : "#ffffff";
  };

  const cells = (rows) => {
    const size = classes.length;
    const counts = new Array(size * size).fill(0);
    const [actual, predicted] = [new Array(size).fill(0), new Array(size).fill(0)];
    rows.forEach((row) => {
      const [a, p] = [place.get(it.rows[row].actual), place.get(it.rows[row].prediction)];
      counts[a * size + p] += 1;
      actual[a] += 1;
      predicted[p] += 1;
    });
    const most = Math.max(1, ...counts);
    const kind = byId("share").value;
    return counts.map((count, at) => {
      const [a, p] = [Math.floor(at / size), at % size];
      const whole = { actual: actual[a], predicted: predicted[p], count: most }[kind];
      const share = whole ? count / whole : 0;
      return {
        actual: classes[a], predicted: classes[p], a, p, samples: count, share, ink: legible(share),
        ofActual: it.share(count, actual[a]), ofPredicted: it.share(count, predicted[p]),
        text: kind === "count" ? [String(count)]
          : [String(count), whole ? `${Math.round(100 * share)} %` : ""],
      };
    });
  };

  const matrix = (rows) => {
    const many = classes.length > MOST_TEXTS;
    const step = classes.length <= 6 ? 64 : many ? 15 : 40;
    /* Places and not names: a class may be called as a property of every object, "__proto__". */
    const axis = (name, title) => ({
      field: { actual: "a", predicted: "p" }[name], type: "nominal", sort: null,
      scale: { domain: classes.map((_, at) => at) },
      axis: {
        labelExpr: "aamClass(datum.value)",
        title: `${title} ${label}`, labelLimit: 150, labelFontSize: many ? 10 : 12, domain: false, ticks: false,
        labelOverlap: false, ...(name === "predicted" ? { labelAngle: classes.length > 6 ? -90 : classes.length > 4 ? -30 : 0 } : {}),
      },
    });
    const [x, y] = [axis("predicted", "Predicted"), axis("actual", "Actual")];
    const said = { actual: "Share of the actual class", predicted: "Share of the predicted class", count: "Samples" };
    const kind = byId("share").value;
    const most = kind === "count" ? Math.max(1, ...cells(rows).map((cell) => cell.samples)) : 1;
    const layer = [{
      params: [{ name: "cell", select: { type: "point", fields: ["a", "p"] } }],
      mark: { type: "rect", stroke: "white", strokeWidth: many ? 0.5 : 1.5, cursor: "pointer" },
      encoding: {
        x, y,
        color: {
          field: "share", type: "quantitative", title: said[kind],
          scale: { domain: [0, 1], range: [PALEST, DARKEST].map((c) => `rgb(${c.join(",")})`), interpolate: "rgb" },
          legend: {
            gradientLength: 160, orient: "top", titleLimit: 300,
            ...(kind === "count" ? { labelExpr: `format(datum.value * ${most}, ',.0f')` } : { format: ".0%" }),
          },
        },
        tooltip: [
          { field: "actual", title: "Actual" }, { field: "predicted", title: "Predicted" },
          { field: "samples", title: "Samples", format: "," },
          { field: "ofActual", title: "Of the actual class" }, { field: "ofPredicted", title: "Of the predicted class" },
        ],
      },
    }];
    if (!many) {
      layer.push({
        mark: { type: "text", tooltip: false, fontSize: classes.length > 8 ? 10 : 13, lineHeight: 15, baseline: "middle",
          dy: kind === "count" ? 0 : -7, color: { expr: "datum.ink" } },
        encoding: { x, y, text: { field: "text" } },
      });
    }
    return {
      ...base, datasets: { cells: cells(rows) }, data: { name: "cells" }, layer, width: "container",
      height: classes.length * step, autosize: { type: "fit-x", contains: "padding" },
      config: { ...base.config, axis: { ...base.config.axis, grid: false } },
    };
  };

  /* The samples of a cell, as a table; text goes in as text. */
  const listCell = (rows, cell) => {
    const holder = byId("cell");
    holder.replaceChildren();
    if (!cell) return;
    const part = rows.filter((row) => it.rows[row].actual === cell.actual && it.rows[row].prediction === cell.predicted);
    const heading = document.createElement("h3");
    heading.textContent = `${part.length} sample${part.length === 1 ? "" : "s"} of ${cell.actual}, predicted as ${cell.predicted}`;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "TSV of these";
    button.addEventListener("click", () => it.saveRows(part, "samples_of_cell.tsv"));
    const table = document.createElement("table");
    table.className = "aam-table";
    const names = it.own.columns;
    const header = table.createTHead().insertRow();
    names.forEach((name) => {
      const th = document.createElement("th");
      th.textContent = words[name] || (name === "sample-id" ? "Sample" : name);
      header.append(th);
    });
    const body = table.createTBody();
    part.slice(0, MOST_LISTED).forEach((row) => {
      const line = body.insertRow();
      names.forEach((name) => {
        const value = said(name, it.rows[row][name]);
        const td = line.insertCell();
        td.textContent = value === null ? "" : typeof value === "number" ? it.number(value)
          : typeof value === "boolean" ? (value ? "yes" : "no") : value;
        if (typeof value === "number") td.className = "aam-number";
      });
    });
    const scroll = document.createElement("div");
    scroll.className = "aam-scroll";
    scroll.append(table);
    holder.append(heading, button, scroll);
    if (part.length > MOST_LISTED) holder.append(`The first ${MOST_LISTED} are listed.`);
  };

  async function draw() {
    const rows = it.chosen();
    const right = rows.filter((row) => it.rows[row].right).length;
    byId("count").textContent = `${it.shown(rows)}; ${it.share(right, rows.length)} of them are right.`;
    listCell(rows, null);
    try {
      const view = await aam.draw("confusion_matrix", matrix(rows));
      view.addEventListener("click", (event, item) => {
        if (item && item.datum && item.datum.actual !== undefined) listCell(rows, item.datum);
      });
    } catch (error) {
      aam.failed("confusion_matrix", error);
    }
  }
  draw();

  /* Curves: of all classes, or of one. */
  if (!byId("class")) return;
  const number = (field, title) => ({
    field, type: "quantitative", title, scale: { domain: [0, 1] }, axis: { tickCount: 5, gridColor: "#e8e8e8" },
  });
  const curve = (name, x, y, guess) => {
    const wanted = byId("class").value;
    const rows = aam.rows(name).filter((row) => wanted === "" || row.class === wanted);
    const there = classes.filter((one) => rows.some((row) => row.class === one));
    const few = there.length <= MOST_COLOURED;
    const colour = few
      ? { field: "class", type: "nominal", title: null, sort: null,
        scale: { domain: there, range: there.map((one) => PALETTE[wanted === "" ? there.indexOf(one) : 0]) },
        legend: { orient: "bottom", columns: 2, symbolType: "stroke", symbolOpacity: 1, symbolStrokeWidth: 3 } }
      : { value: "#5f7f9f" };
    const tooltip = [{ field: "class", title: "Class" }, { ...x, format: ".2f" }, { ...y, format: ".3f" }]
      .map(({ scale, axis, ...rest }) => rest);
    if (name === "calibration") tooltip.push({ field: "samples", title: "Samples" });
    else tooltip.push({ field: "low", title: "Interval from", format: ".3f" }, { field: "high", title: "to", format: ".3f" });
    const layer = [];
    if (guess) {
      layer.push({
        data: { values: [{ x: 0, y: 0 }, { x: 1, y: 1 }] }, mark: { type: "line", strokeDash: [5, 4], tooltip: false },
        encoding: { x: { field: "x", type: "quantitative" }, y: { field: "y", type: "quantitative" }, color: { value: "#767676" } },
      });
    }
    if (few && name !== "calibration") {
      layer.push({
        mark: { type: "area", opacity: 0.15, tooltip: false },
        encoding: { x, y: { field: "low", type: "quantitative", title: y.title }, y2: { field: "high" }, color: colour },
      });
    }
    const detail = { field: "class" };
    layer.push({ mark: { type: "line", strokeWidth: few ? 2 : 1, opacity: few ? 1 : 0.4 }, encoding: { x, y, detail, color: colour, tooltip } });
    if (name === "calibration") {
      layer.push({
        mark: { type: "circle", opacity: few ? 0.85 : 0.3 },
        encoding: { x, y, detail, color: colour, tooltip, size: { field: "samples", type: "quantitative", legend: null, scale: { range: [15, 250] } } },
      });
    }
    return {
      ...aam.json(`spec-${name}`), datasets: { rows }, data: { name: "rows" }, layer,
      width: "container", height: 300, autosize: { type: "fit-x", contains: "padding" },
    };
  };
  const CURVES = {
    roc: () => curve("roc", number("false_positive_rate", "False positive rate"), number("true_positive_rate", "True positive rate"), true),
    precision_recall: () => curve("precision_recall", number("recall", "Recall"), number("precision", "Precision"), false),
    calibration: () => curve("calibration", number("probability", "Predicted probability"), number("frequency", "Share of the samples"), true),
  };
  const drawCurves = () => Object.entries(CURVES).forEach(([name, spec]) => {
    aam.draw(name, spec()).catch((error) => aam.failed(name, error));
  });
  byId("class").addEventListener("change", drawCurves);
  drawCurves();
});
