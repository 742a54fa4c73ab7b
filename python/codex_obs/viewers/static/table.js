// Runs as a table: how each stands, where their parameters differ, and how metrics went.

import { chosen, choose } from "./address.js";
import { byId, make } from "./dom.js";
import { runs, statusMark } from "./list.js";
import { brief, byName, duration, number, visible } from "./text.js";

const MAX_PARAMETERS = 12;
const FIRST = [
  ["key", "run"],
  ["status", "status"],
];
const LAST = [
  ["started", "started"],
  ["duration", "duration"],
  ["last_step", "last step"],
  ["rows", "rows"],
];
const NUMBERS = new Set(["duration", "last_step", "rows"]);

function flat(config, prefix = "", found = new Map()) {
  for (const [name, value] of Object.entries(config ?? {})) {
    if (value !== null && typeof value === "object" && !Array.isArray(value)) flat(value, `${prefix}${name}.`, found);
    else found.set(`${prefix}${name}`, value);
  }
  return found;
}

/** Parameters that not all runs agree about; if they agree about all, all of them. */
function parametersOf(configs) {
  const names = [...new Set(configs.flatMap((config) => [...config.keys()]))].sort(byName);
  const differing = names.filter((name) => new Set(configs.map((config) => JSON.stringify(config.get(name)))).size > 1);
  return (differing.length > 0 ? differing : names).slice(0, MAX_PARAMETERS);
}

function sortBy(name) {
  const isAgain = chosen.sort === name;
  choose(isAgain && chosen.reverse ? { sort: "", reverse: false } : { sort: name, reverse: isAgain });
}

function head(name, title, isNumber, onRemove = null) {
  const isSorted = chosen.sort === name;
  const order = isSorted ? (chosen.reverse ? "descending" : "ascending") : "none";
  const remove = onRemove && make("button", { class: "quiet", onclick: onRemove, aria: { label: `Remove ${brief(title, 60)}` } }, "✕");
  return make("th", { class: isNumber ? "number" : "", scope: "col", aria: { sort: order } },
    make("button", { class: "sort", onclick: () => sortBy(name), title: brief(name) }, brief(title, 60), isSorted ? (chosen.reverse ? " ↓" : " ↑") : ""), remove);
}

function shown(value) {
  if (value === undefined || value === null) return "–";
  if (typeof value === "number") return number(value);
  return brief(typeof value === "string" ? value : JSON.stringify(value), 80);
}

function fact(run, name) {
  if (name === "duration") return duration(run.duration);
  if (name === "started") return run.started ? run.started.slice(0, 16).replace("T", " ") : "–";
  return shown(run[name]);
}

export function showTable() {
  const listed = runs.list.filter((run) => !run.problem);
  const keys = new Set(runs.chosenKeys());
  const configs = new Map(listed.map((run) => [run.key, flat(run.config)]));
  const parameters = parametersOf([...configs.values()]);
  const metrics = runs.columns().flatMap((metric) => ["last", "min", "max"].map((part) => [metric, part]));
  const titles = [
    ...FIRST.map(([name, title]) => head(name, title, false)),
    ...metrics.map(([metric, part]) => head(`${metric}.${part}`, part === "last" ? metric : `${brief(metric, 40)} ${part}`, true,
      part === "max" ? () => choose({ column: runs.columns().filter((each) => each !== metric) }) : null)),
    ...parameters.map((name) => head(`config.${name}`, name, listed.every((run) => typeof configs.get(run.key).get(name) !== "string"))),
    ...LAST.map(([name, title]) => head(name, title, NUMBERS.has(name))),
  ];
  const rows = listed.map((run) => {
    const tick = make("input", { type: "checkbox", aria: { label: `Show ${brief(run.key, 80)}` }, onchange: (event) => runs.toggle(run.key, event.target.checked) });
    tick.checked = keys.has(run.key);
    const first = make("td", { class: "first" }, make("label", { title: brief(run.key) }, tick, make("span", { class: "swatch" }), make("span", { class: "name" }, brief(run.key, 120))));
    const cells = [
      make("td", {}, statusMark(run)),
      ...metrics.map(([metric, part]) => make("td", { class: "number", title: run[`${metric}.${part}_step`] === undefined ? undefined : `step ${run[`${metric}.${part}_step`]}` }, shown(run[`${metric}.${part}`]))),
      ...parameters.map((name) => {
        const value = configs.get(run.key).get(name);
        return make("td", { class: typeof value === "number" ? "number" : "", title: value === undefined ? undefined : brief(JSON.stringify(value)) }, shown(value));
      }),
      ...LAST.map(([name]) => make("td", { class: NUMBERS.has(name) ? "number" : "" }, fact(run, name))),
    ];
    return make("tr", { class: keys.has(run.key) ? "on" : "", color: keys.has(run.key) ? runs.colorOf(run.key) : undefined }, first, cells);
  });
  const add = byId("column");
  const form = add.closest("form");
  byId("table").replaceChildren(form, rows.length > 0
    ? make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, titles)), make("tbody", {}, rows)))
    : make("p", { class: "empty" }, runs.count > 0 ? `None of the ${visible(runs.count)} runs fulfils every condition.` : ""));
}

export function startTable() {
  const add = byId("column");
  add.closest("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const metric = add.value.trim();
    if (metric && !runs.columns().includes(metric)) choose({ column: [...runs.columns(), metric] });
    add.value = "";
  });
}
