/* The samples of a page: their columns, and the controls that choose some of them. */
"use strict";

/* A page's table "predictions" and, if it is embedded, "metadata" of the same samples.

   Metadata columns are arrays in the order of the samples, never fields of a chart: so a column's
   name may have any letters. Of the controls, those that a page has are used: #filter with
   #condition, #find, #reset, #save-rows and selects of class "aam-columns". `said` makes the text
   that is shown of a value of one of our own columns. */
aam.samples = (words, refresh, said = (name, value) => value) => {
  const MOST_LISTED = 60; /* values that a filter lists: the most frequent */
  const byId = (id) => document.getElementById(id);
  const own = aam.json("data-predictions");
  const given = byId("data-metadata") ? aam.json("data-metadata") : { columns: [], values: [] };
  const it = { BLANK: "(blank)", own, given, rows: aam.rows("predictions"), columns: [] };

  own.columns.forEach((name, place) => {
    const values = own.values[place].map((value) => said(name, value));
    if (name !== "sample-id") it.columns.push({ name: words[name] || name, values });
  });
  const ours = it.columns.length;
  given.columns.forEach((name, place) => {
    if (place) it.columns.push({ name, values: given.values[place] });
  });
  it.columns.forEach((column) => {
    const there = column.values.filter((value) => value !== null);
    column.numeric = there.length > 0 && there.every((value) => typeof value === "number");
    column.text = (row) => (column.values[row] === null ? it.BLANK : String(column.values[row]));
    /* Values and how often they occur; of a column of many numbers only when it is asked for. */
    const counted = () => {
      if (!column.counts) {
        const sizes = new Map();
        column.values.forEach((_, row) => {
          const text = column.text(row);
          sizes.set(text, (sizes.get(text) || 0) + 1);
        });
        const order = [...sizes.keys()].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
        column.counts = { sizes, order, bySize: order.slice().sort((a, b) => sizes.get(b) - sizes.get(a)) };
      }
      return column.counts;
    };
    ["sizes", "order", "bySize"].forEach((name) => {
      Object.defineProperty(column, name, { get: () => counted()[name] });
    });
  });

  const options = it.columns.map((column, place) => [String(place), column.name]);
  document.querySelectorAll("select.aam-columns").forEach((select) => {
    select.add(new Option(select.dataset.none, ""));
    [["Predictions", options.slice(0, ours)], ["Metadata", options.slice(ours)]].forEach(([title, part]) => {
      if (!part.length) return;
      const group = document.createElement("optgroup");
      group.label = title;
      part.forEach(([value, text]) => group.append(new Option(text, value)));
      select.append(group);
    });
  });
  it.column = (id) => (byId(id).value === "" ? null : it.columns[Number(byId(id).value)]);

  let waiting;
  const later = () => {
    clearTimeout(waiting);
    waiting = setTimeout(refresh, 120);
  };

  /* The condition of the filter: values to choose, or a range. */
  const showCondition = () => {
    const holder = byId("condition");
    const column = it.column("filter");
    holder.replaceChildren();
    if (!column) return;
    if (column.numeric) {
      [["least", "at least"], ["most", "at most"]].forEach(([id, text]) => {
        const input = document.createElement("input");
        Object.assign(input, { type: "number", step: "any", id, placeholder: text });
        input.setAttribute("aria-label", text);
        input.style.width = "9em";
        input.addEventListener("input", later);
        holder.append(input, " ");
      });
      return;
    }
    const select = document.createElement("select");
    Object.assign(select, { id: "values", multiple: true, size: Math.min(4, column.order.length) });
    select.title = "Hold Ctrl or Cmd to choose several";
    const listed = new Set(column.bySize.slice(0, MOST_LISTED));
    column.order.filter((text) => listed.has(text)).forEach((text) => {
      select.add(new Option(`${text} (${column.sizes.get(text)})`, text));
    });
    select.addEventListener("change", later);
    holder.append(select);
  };

  /* Places of the samples that the filter and the search leave. */
  it.chosen = () => {
    const text = byId("find").value.toLowerCase();
    const column = it.column("filter");
    let test = () => true;
    if (column && column.numeric) {
      const [least, most] = ["least", "most"].map((id) => byId(id).value);
      test = (row) => (least === "" && most === "") || (column.values[row] !== null
        && (least === "" || column.values[row] >= Number(least))
        && (most === "" || column.values[row] <= Number(most)));
    } else if (column) {
      const wanted = new Set([...byId("values").selectedOptions].map((option) => option.value));
      test = (row) => !wanted.size || wanted.has(column.text(row));
    }
    const rows = [];
    it.rows.forEach((sample, row) => {
      if (test(row) && (!text || sample["sample-id"].toLowerCase().includes(text))) rows.push(row);
    });
    return rows;
  };

  it.number = aam.number;
  it.share = (part, whole) => (whole ? `${(100 * part / whole).toFixed(1)} %` : "not defined");
  it.shown = (rows) => `${rows.length.toLocaleString("en")} of `
    + `${it.rows.length.toLocaleString("en")} samples are shown`;

  it.saveRows = (rows, name) => {
    const cell = (value) => (value === null || value === undefined ? "" : String(value).replace(/[\t\r\n]/g, " "));
    const header = [...own.columns, ...given.columns.slice(1)];
    const all = [...own.values, ...given.values.slice(1)];
    const lines = rows.map((row) => all.map((values) => cell(values[row])).join("\t"));
    aam.saveText(`${[header.map(cell).join("\t"), ...lines].join("\n")}\n`, name);
  };

  byId("filter").addEventListener("change", () => { showCondition(); later(); });
  byId("find").addEventListener("input", later);
  byId("controls").querySelectorAll("select:not(#filter), input[type=checkbox]").forEach((control) => {
    control.addEventListener("change", later);
  });
  byId("save-rows").addEventListener("click", () => it.saveRows(it.chosen(), "samples_shown.tsv"));
  byId("reset").addEventListener("click", () => {
    byId("controls").querySelectorAll("select").forEach((select) => { select.selectedIndex = 0; });
    byId("controls").querySelectorAll("input[type=checkbox]").forEach((box) => { box.checked = false; });
    byId("find").value = "";
    showCondition();
    refresh();
  });
  return it;
};
