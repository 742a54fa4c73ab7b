// Spans of agents and trainers as a timeline: one below the other where they overlap.

import { byId, make } from "./dom.js";
import { runs } from "./list.js";
import { get } from "./server.js";
import { brief, duration, moment, number } from "./text.js";

const ROW_PX = 22;
const MAX_RUNS = 8;

/** Gives each span a row of its own while it lasts, its children below it. */
function rowsOf(spans) {
  const rowOf = new Map();
  const ends = [];
  for (const span of spans) {
    const stop = span.stop ?? Infinity;
    let row = rowOf.has(span.parent) ? rowOf.get(span.parent) + 1 : 0;
    while (ends[row] > span.start) row += 1;
    ends[row] = stop;
    rowOf.set(span.id, row);
  }
  return { rowOf, count: ends.length };
}

function timeline(key, { spans, count }) {
  spans.sort((one, other) => one.start - other.start);
  const start = spans[0].start;
  const stop = Math.max(...spans.map((span) => span.stop ?? span.start), start + 1e-3);
  const { rowOf, count: rows } = rowsOf(spans);
  const box = make("div", { class: "spans" });
  box.style.height = `${rows * ROW_PX + 4}px`;
  const words = make("p", { class: "note" }, `${moment(start)}, ${duration(stop - start)} in all`);
  for (const span of spans) {
    const end = span.stop ?? stop;
    const text = `${brief(span.name, 120)} · ${span.stop === null ? "not ended" : duration(end - span.start)}${span.failed ? " · failed" : ""}`;
    const bar = make("button", { class: `span ${span.failed ? "failed" : span.stop === null ? "open" : ""}`, title: text, onclick: () => (words.textContent = `${text} · began ${moment(span.start)}`) }, brief(span.name, 60));
    bar.style.left = `${(100 * (span.start - start)) / (stop - start)}%`;
    bar.style.width = `max(3px, ${(100 * (end - span.start)) / (stop - start)}%)`;
    bar.style.top = `${rowOf.get(span.id) * ROW_PX}px`;
    box.append(bar);
  }
  const shown = spans.length < count ? `the last ${number(spans.length)} of ${number(count)} spans` : `${number(count)} spans`;
  return make("section", { class: "card wide", color: runs.colorOf(key) }, make("header", {}, make("h3", {}, make("span", { class: "swatch" }), brief(key, 120)), make("span", { class: "note" }, shown)), make("div", { class: "scroll" }, box), words);
}

/** Shows a timeline for each run that has spans. Gives whether there is any. */
export async function showSpans() {
  const keys = runs.chosenKeys().slice(0, MAX_RUNS);
  const found = keys.length > 0 ? await get("spans", { run: keys }) : {};
  const lines = Object.entries(found).filter(([, { spans }]) => spans.length > 0).map(([key, each]) => timeline(key, each));
  byId("spans").replaceChildren(...(lines.length > 0 ? lines : [make("p", { class: "empty" }, "These runs have no spans: run.span(…) and codex_obs.telemetry make them.")]));
  return lines.length > 0;
}
