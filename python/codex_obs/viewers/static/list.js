// The list of runs: which there are, which are chosen, and in what colour each is shown.

import { chosen, choose } from "./address.js";
import { colorOf } from "./colors.js";
import { byId, make } from "./dom.js";
import { get } from "./server.js";
import { ago, brief, number, visible } from "./text.js";

// Where nothing is chosen, so many of the first runs are shown.
const SHOWN_AT_FIRST = 6;
const COLUMNS_AT_FIRST = 3;
const COLORS = 10;

class Runs {
  list = [];
  count = 0;
  roots = [];
  colors = new Map();
  // Metrics of the chosen runs, as far as they are known.
  metrics = [];

  /** Asks which runs there are. What is asked last is shown. */
  async load() {
    this.asking?.abort();
    const asking = new AbortController();
    this.asking = asking;
    const where = conditions(chosen.where);
    const began = performance.now();
    this.asked = this.columns();
    try {
      const found = await get("runs", { where, sort: chosen.sort || null, reverse: chosen.reverse, metric: this.asked }, asking.signal);
      this.list = found.runs;
      this.count = found.count;
      this.fulfilling = found.chosen;
      this.roots = found.roots;
      this.problem = found.problems.length > 0 ? `${found.problems.length} could not be read completely: ${found.problems[0]}` : "";
    } catch (error) {
      if (error.name === "AbortError") return false;
      this.problem = error.message;
    }
    this.tookMs = performance.now() - began;
    this.assign();
    return true;
  }

  chosenKeys() {
    const listed = this.list.filter((run) => !run.problem).map((run) => run.key);
    if (chosen.all) return listed.slice(0, 500);
    if (chosen.run.length === 0) return listed.slice(0, SHOWN_AT_FIRST);
    const wanted = new Set(chosen.run);
    return listed.filter((key) => wanted.has(key)).slice(0, 500);
  }

  /** The metrics that the table shows. */
  columns() {
    return chosen.column.length > 0 ? chosen.column : chosen.tab === "table" ? this.metrics.slice(0, COLUMNS_AT_FIRST) : [];
  }

  lacksColumns() {
    return this.list.length > 0 && this.columns().some((metric) => !this.list.some((run) => `${metric}.last` in run) && !this.asked?.includes(metric));
  }

  isRunning() {
    const keys = new Set(this.chosenKeys());
    return this.list.some((run) => run.status === "running" && keys.has(run.key));
  }

  /** Gives each chosen run a colour: the same ones for the same choice, and no two alike while there are enough. */
  assign() {
    const places = new Map(this.list.map((run) => [run.key, run.place]));
    const used = new Array(COLORS).fill(0);
    this.colors.clear();
    for (const key of this.chosenKeys().sort((one, other) => places.get(one) - places.get(other))) {
      const least = Math.min(...used);
      let color = places.get(key) % COLORS;
      while (used[color] > least) color = (color + 1) % COLORS;
      used[color] += 1;
      this.colors.set(key, color);
    }
  }

  colorOf(key) {
    return colorOf(this.colors.get(key) ?? 9);
  }

  toggle(key, isOn) {
    const keys = new Set(this.chosenKeys());
    if (isOn) keys.add(key);
    else keys.delete(key);
    choose({ all: false, run: keys.size > 0 ? [...keys] : [""] });
  }
}

export const runs = new Runs();

/** Takes apart what was typed: conditions are separated by blanks, `lr<=0.1 status=running`; other words are looked for in path, name and id. */
export function conditions(text) {
  const parts = text.match(/(?:[^\s"]|"[^"]*")+/g) ?? [];
  return parts.map((part) => part.replaceAll('"', "")).filter(Boolean).map((part) => (/[=<>~]/.test(part) ? part : `words~${part}`));
}

export function statusMark(run) {
  return make("span", { class: `status ${run.status ?? "unknown"}`, title: run.status ?? "unknown" }, make("span", { class: "dot" }), run.status ?? "unknown");
}

function item(run, isChosen) {
  if (run.problem) return make("li", { class: "run", title: brief(run.problem) }, make("span", { class: "name" }, visible(run.key)), make("span", { class: "facts problem" }, brief(run.problem, 120)));
  const tick = make("input", { type: "checkbox", onchange: (event) => runs.toggle(run.key, event.target.checked) });
  tick.checked = isChosen;
  const facts = [run.last_step === null ? null : `step ${number(run.last_step)}`, run.started ? ago(run.started) : null].filter(Boolean).join(" · ");
  const only = make("button", { class: "quiet only", onclick: () => choose({ all: false, run: [run.key] }), title: "Show this run alone" }, "only");
  return make("li", { class: isChosen ? "run on" : "run", color: isChosen ? runs.colorOf(run.key) : undefined },
    make("label", { title: brief(run.key) }, tick, make("span", { class: "swatch" }), make("span", { class: "name" }, brief(run.key, 300))),
    make("span", { class: "facts" }, statusMark(run), [facts, nameOf(run)].filter(Boolean).join(" · ")), only);
}

/** The name of a run, where its path does not say it. */
export function nameOf(run) {
  return run.name && run.name !== run.key.split("/").pop() ? brief(run.name, 100) : null;
}

let listed = "";

export function showList() {
  const keys = new Set(runs.chosenKeys());
  showFacts(keys);
  const colors = [...keys].map((key) => runs.colorOf(key));
  const list = JSON.stringify([runs.list, [...keys], colors, Math.floor(Date.now() / 60000)]);
  if (list === listed) return;
  listed = list;
  const focused = document.activeElement?.closest?.("#list .run")?.dataset.key;
  const items = runs.list.map((run) => {
    const element = item(run, keys.has(run.key));
    element.dataset.key = run.key;
    return element;
  });
  byId("list").replaceChildren(...items);
  if (focused) items.find((element) => element.dataset.key === focused)?.querySelector("input")?.focus({ preventScroll: true });
}

/** Shows what there is to say beside the list: how many runs, where, and what could not be read. */
function showFacts(keys) {
  const all = byId("all");
  all.checked = keys.size > 0 && keys.size === runs.list.length;
  all.indeterminate = keys.size > 0 && keys.size < runs.list.length;
  const many = runs.list.length < runs.fulfilling ? `the first ${runs.list.length} of ${number(runs.fulfilling)}` : runs.fulfilling === runs.count ? number(runs.count) : `${number(runs.fulfilling)} of ${number(runs.count)}`;
  byId("count").textContent = runs.count ? `${many} runs, ${keys.size} shown` : "";
  byId("problem").textContent = visible(runs.problem ?? "");
  byId("problem").hidden = !runs.problem;
  const place = runs.roots.map(visible).join("  ");
  byId("where").textContent = place;
  byId("where").title = place;
  byId("empty").hidden = runs.count > 0 || Boolean(runs.problem);
  document.title = runs.roots.length > 0 ? `${visible(runs.roots[0]).split("/").pop()} · codex_obs` : "codex_obs";
}
