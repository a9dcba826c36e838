/* Draws the charts of a page from the tables and specifications that are embedded in it. */
"use strict";

const aam = {
  views: {},

  /* The embedded JSON of an id. */
  json(id) {
    return JSON.parse(document.getElementById(id).textContent);
  },

  /* A number as pages show it: from 1000 on without decimals, below with four digits. */
  number(value) {
    if (value === null || value === undefined) return "";
    if (!Number.isFinite(value)) return "not defined";
    const size = Math.abs(value);
    if (size !== 0 && size < 1e-4) return String(Number(value.toPrecision(4)));
    return value.toLocaleString("en", size >= 1000 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 4 });
  },

  /* Rows of an embedded table, as objects. */
  rows(name) {
    const { columns, values } = aam.json(`data-${name}`);
    const count = values.length ? values[0].length : 0;
    return Array.from({ length: count }, (_, row) => {
      const it = Object.create(null);
      columns.forEach((column, place) => { it[column] = values[place][row]; });
      return it;
    });
  },

  /* Names of the tables that a specification reads. */
  reads(spec, names = new Set()) {
    if (spec && typeof spec === "object") {
      if (spec.data && typeof spec.data.name === "string") names.add(spec.data.name);
      Object.values(spec).forEach((part) => aam.reads(part, names));
    }
    return names;
  },

  async draw(name, spec = aam.json(`spec-${name}`)) {
    const element = document.getElementById(`chart-${name}`);
    if (!spec.datasets) {
      spec.datasets = {};
      aam.reads(spec).forEach((table) => { spec.datasets[table] = aam.rows(table); });
    }
    const largest = Math.max(0, ...Object.values(spec.datasets).map((rows) => rows.length));
    if (aam.views[name]) aam.views[name].finalize();
    const { view } = await vegaEmbed(element, spec, {
      actions: false,
      expressionFunctions: { aamNumber: (value) => aam.number(value) },
      renderer: largest > 1000 ? "canvas" : "svg", /* an element a point is slow beyond that */
    });
    aam.views[name] = view;
    return view;
  },

  save(href, name) {
    const link = document.createElement("a");
    link.href = href;
    link.download = name;
    document.body.append(link);
    link.click();
    link.remove();
  },

  saveText(text, name) {
    const href = URL.createObjectURL(new Blob([text], { type: "text/tab-separated-values" }));
    aam.save(href, name);
    setTimeout(() => URL.revokeObjectURL(href), 10000);
  },

  /* A chart that cannot be drawn says so in its place. */
  failed(name, error) {
    const element = document.getElementById(`chart-${name}`);
    element.className = "aam-missing";
    element.textContent = `This chart could not be drawn (${error.message}); its numbers are in the tables.`;
  },
};

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("[data-chart]").forEach((figure) => {
    const name = figure.dataset.chart;
    figure.querySelectorAll("[data-save]").forEach((button) => {
      button.addEventListener("click", async () => {
        const kind = button.dataset.save;
        const href = await aam.views[name].toImageURL(kind, kind === "png" ? 2 : 1);
        aam.save(href, `${name}.${kind}`);
      });
    });
    if (!("own" in figure.dataset)) aam.draw(name).catch((error) => aam.failed(name, error));
  });
});
