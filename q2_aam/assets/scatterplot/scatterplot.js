/* The chart of a scatterplot: views, and colours by any column. */
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const MOST_COLOURS = 15; /* values with a colour of their own; the rarer ones share grey */
  const PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C510A",
    "#6A3D9A", "#B2182B", "#1B7837", "#4D4D4D", "#DE77AE", "#5AAE61", "#C6A000", "#2166AC"];
  const GREY = "#b0b0b0";
  const byId = (id) => document.getElementById(id);
  const base = aam.json("spec-scatterplot");
  const { words, label, units, line } = base.usermeta;
  const it = aam.samples(words, () => draw());

  const count = (rows) => {
    const part = rows.map((row) => it.rows[row]);
    let text = it.shown(rows);
    if (rows.length && rows.length < it.rows.length) {
      const mean = part.reduce((sum, one) => sum + one.actual, 0) / part.length;
      const spread = part.reduce((sum, one) => sum + (one.actual - mean) ** 2, 0);
      const squared = part.reduce((sum, one) => sum + one.residual ** 2, 0);
      const absolute = part.reduce((sum, one) => sum + Math.abs(one.residual), 0) / part.length;
      text += `; of these the mean absolute error is ${it.number(absolute)}${units ? ` ${units}` : ""}`;
      text += `, R² ${it.number(spread > 0 ? 1 - squared / spread : NaN)}`;
    }
    byId("count").textContent = `${text}.`;
  };

  /* Colour of the points, and the value that a point has for it. */
  const colouring = () => {
    const column = it.column("colour");
    if (!column) return { value: () => null, encoding: { value: PALETTE[0] } };
    const title = column.name;
    if (column.numeric && !byId("as-classes").checked) {
      const scale = {
        test: "isValid(datum.colour)", field: "colour", type: "quantitative", title,
        scale: { scheme: "viridis" }, legend: { gradientLength: 200 },
      };
      /* Whole numbers of metadata may be ids. */
      const said = (row) => (column.values[row] === null || Number.isInteger(column.values[row])
        ? column.text(row) : aam.number(column.values[row]));
      return { title, said, value: (row) => column.values[row], encoding: { condition: scale, value: GREY } };
    }
    const { order, bySize } = column;
    const kept = new Set(bySize.length > MOST_COLOURS ? bySize.slice(0, MOST_COLOURS - 1) : bySize);
    const domain = order.filter((text) => kept.has(text) && text !== it.BLANK);
    const range = domain.map((_, place) => PALETTE[place]);
    const other = `other (${bySize.length - kept.size} values)`;
    if (kept.size < bySize.length) { domain.push(other); range.push(GREY); }
    if (kept.has(it.BLANK)) { domain.push(it.BLANK); range.push("#d0d0d0"); }
    return {
      title,
      classes: true,
      value: (row) => (kept.has(column.text(row)) ? column.text(row) : other),
      said: (row) => column.text(row),
      encoding: { field: "colour", type: "nominal", title, scale: { domain, range }, sort: null,
        legend: { symbolOpacity: 1 } },
    };
  };

  const VIEWS = {
    truth: { x: "actual", y: "prediction", xTitle: "Actual", yTitle: "Predicted" },
    residual: { x: "actual", y: "residual", xTitle: "Actual", yTitle: "Residual of" },
    fitted: { x: "prediction", y: "residual", xTitle: "Predicted", yTitle: "Residual of" },
  };
  const range = (names) => {
    let [low, high] = [Infinity, -Infinity];
    it.rows.forEach((sample) => names.forEach((name) => {
      low = Math.min(low, sample[name]);
      high = Math.max(high, sample[name]);
    }));
    const margin = 0.04 * (high - low) || 1;
    return [low - margin, high + margin];
  };
  const both = range(["actual", "prediction"]);
  const domains = { actual: both, prediction: both, residual: range(["residual"]) };
  const numeric = new Set(it.own.columns.filter((_, place) => it.own.values[place]
    .every((value) => value === null || typeof value === "number")));

  const specification = (rows) => {
    const view = VIEWS[byId("view").value];
    const colour = colouring();
    const points = rows.map((row) => Object.assign(Object.create(null), it.rows[row], {
      colour: colour.value(row), said: colour.said ? colour.said(row) : null,
    }));
    const unit = units ? ` (${units})` : "";
    const axis = (name, title) => ({
      field: name, type: "quantitative", title: `${title} ${label}${unit}`,
      scale: { domain: domains[name], nice: false, zero: false },
      axis: { tickCount: 8, gridColor: "#e8e8e8" },
    });
    const x = axis(view.x, view.xTitle);
    const y = axis(view.y, view.yTitle);
    const tooltip = it.own.columns.map((name) => ({
      field: name, title: words[name] || (name === "sample-id" ? "Sample" : name),
      ...(numeric.has(name) ? { type: "quantitative", formatType: "aamNumber" } : { type: "nominal" }),
    }));
    if (colour.title && !tooltip.some((entry) => entry.title === colour.title)) {
      tooltip.push({ field: "said", title: colour.title, type: "nominal" });
    }
    const [low, high] = both;
    const lines = view.y === "prediction"
      ? [[low, low, "equal"], [high, high, "equal"], ...(line || []).map(([a, b]) => [a, b, "fit"])]
      : domains[view.x].map((end) => [end, 0, "equal"]);
    const faint = rows.length > 5000 ? 0.35 : 0.65;
    const params = [{ name: "zoom", select: "interval", bind: "scales" }];
    let opacity = { value: faint };
    if (colour.classes) {
      params.push({ name: "chosen", select: { type: "point", fields: ["colour"] }, bind: "legend" });
      opacity = { condition: { param: "chosen", value: faint }, value: 0.04 };
    }
    const isFit = "datum.kind === 'fit'";
    const layer = [{
      data: { values: lines.map(([a, b, kind]) => ({ x: a, y: b, kind })) },
      mark: { type: "line", clip: true, tooltip: false },
      encoding: {
        x: { field: "x", type: "quantitative" },
        y: { field: "y", type: "quantitative" },
        detail: { field: "kind" },
        color: { condition: { test: isFit, value: "#D55E00" }, value: "#595959" },
        strokeDash: { condition: { test: isFit, value: [1, 0] }, value: [5, 4] },
      },
    }];
    const intervals = byId("intervals");
    if (intervals && intervals.value === "lines") {
      const shift = view.y === "prediction" ? "" : " - datum.actual";
      layer.push({
        transform: [
          { filter: "isValid(datum.lower) && isValid(datum.upper)" }, /* null is 0 in a sum */
          ...["lower", "upper"].map((end) => ({ calculate: `datum.${end}${shift}`, as: `${end} end` })),
        ],
        mark: { type: "rule", clip: true, tooltip: false, opacity: rows.length > 500 ? 0.1 : 0.25 },
        encoding: {
          x, y: { field: "lower end", type: "quantitative", title: y.title }, y2: { field: "upper end" },
          color: { value: "#595959" },
        },
      });
    }
    const size = rows.length > 5000 ? 14 : rows.length > 1000 ? 24 : 55;
    layer.push({
      params,
      mark: { type: "circle", clip: true, size, strokeWidth: 0, invalid: "show" }, /* of no colour: grey */
      encoding: { x, y, color: colour.encoding, opacity, tooltip },
    });
    return {
      ...base, datasets: { shown: points }, data: { name: "shown" }, layer,
      width: "container", height: 520, autosize: { type: "fit", contains: "padding" },
    };
  };

  const draw = () => {
    const rows = it.chosen();
    count(rows);
    return aam.draw("scatterplot", specification(rows)).catch((error) => aam.failed("scatterplot", error));
  };
  draw();
});
