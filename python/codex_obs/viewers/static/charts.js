// The charts: a card for each metric, in groups by the first part of the name.

import { chosen, choose } from "./address.js";
import { Card, Sight } from "./cards.js";
import { dashesOf } from "./colors.js";
import { byId, make } from "./dom.js";
import { histogramCard } from "./histograms.js";
import { runs } from "./list.js";
import { get, getCurves } from "./server.js";
import { brief, byName, number, visible } from "./text.js";
import { curveText, lastText, placeText } from "./chart.js";

const sight = new Sight();
// Cards by kind and metric.
const cards = new Map();
// What there is to show: metric -> kind -> splits.
let known = new Map();
let namesOf = "";
// What the cards were laid out for, and the groups that are folded.
let laidOut = "";
const folded = new Set();
export let allMetrics = [];

/** Finds out which metrics the chosen runs have, and shows a card for each that is looked for. */
export async function showCharts({ anew = false } = {}) {
  const keys = runs.chosenKeys();
  const asked = JSON.stringify(keys);
  if (asked !== namesOf || anew) {
    const names = keys.length > 0 ? await get("names", { run: keys }) : {};
    namesOf = asked;
    known = new Map();
    for (const curves of Object.values(names)) {
      for (const [, split, metric, , , kind] of curves) {
        const kinds = known.get(metric) ?? known.set(metric, new Map()).get(metric);
        (kinds.get(kind) ?? kinds.set(kind, new Set()).get(kind)).add(split);
      }
    }
    allMetrics = [...known.keys()].sort(byName);
    runs.metrics = allMetrics;
    byId("metrics").replaceChildren(...allMetrics.filter((metric) => visible(metric) === metric).slice(0, 500).map((metric) => make("option", { value: metric })));
  }
  layOut();
}

function isLookedFor(metric) {
  const words = chosen.find.toLowerCase().split(/\s+/).filter(Boolean);
  const pattern = /^\/(.+)\/$/.exec(chosen.find.trim());
  if (pattern) {
    try {
      return new RegExp(pattern[1], "i").test(metric);
    } catch {
      return false;
    }
  }
  return words.every((word) => metric.toLowerCase().includes(word));
}

function layOut() {
  const groups = new Map();
  let count = 0;
  for (const metric of allMetrics) {
    if (!isLookedFor(metric)) continue;
    count += 1;
    const cut = metric.indexOf("/");
    const group = cut > 0 ? metric.slice(0, cut) : "";
    (groups.get(group) ?? groups.set(group, []).get(group)).push(metric);
  }
  // A metric that is alone in its group has none.
  for (const [group, metrics] of [...groups]) {
    if (group === "" || metrics.length > 1) continue;
    groups.delete(group);
    groups.set("", [...(groups.get("") ?? []), ...metrics].sort(byName));
  }
  const words = runs.count === 0 ? [] : runs.chosenKeys().length === 0 ? ["No run is chosen. Tick some in the list."] :
    allMetrics.length === 0 ? ["These runs have no rows yet."] : count === 0 ? [`No metric is called “${visible(chosen.find)}”.`] : [];
  // Nothing moves under the pointer, and nothing loses the focus, unless something has changed.
  const kinds = [...groups.values()].flat().map((metric) => [...known.get(metric).keys()]);
  const layout = JSON.stringify([[...groups], kinds, words]);
  if (layout === laidOut) return showLarge();
  laidOut = layout;
  const shown = new Set();
  const sections = [...groups].sort(([one], [other]) => byName(one, other)).map(([group, metrics]) => {
    const inside = metrics.flatMap((metric) => cardsOf(metric));
    for (const card of inside) shown.add(card);
    const grid = make("div", { class: "grid" }, inside.map((card) => card.element));
    if (groups.size === 1) return grid;
    return make("details", { class: "group", open: !folded.has(group), ontoggle: (event) => folded[event.target.open ? "delete" : "add"](group) },
      make("summary", {}, make("h2", {}, group ? brief(group, 80) : "metrics"), make("span", { class: "note" }, number(metrics.length))), grid);
  });
  byId("found").textContent = allMetrics.length > 0 ? `${count === allMetrics.length ? "" : `${count} of `}${allMetrics.length} metrics` : "";
  byId("charts").replaceChildren(...sections, ...words.map((line) => make("p", { class: "empty" }, line)));
  sight.keep(shown);
  showLarge();
}

function cardsOf(metric) {
  const kinds = known.get(metric);
  const found = [];
  if (kinds.has("number")) found.push(cardOf(metric, "number", () => new Card(metric, { load: loadCurves, onRange: zoomTo, onOpen: enlarge })));
  if (kinds.has("structured")) found.push(cardOf(metric, "structured", () => histogramCard(metric)));
  return found;
}

function cardOf(metric, kind, made) {
  const name = `${kind} ${metric}`;
  return cards.get(name) ?? cards.set(name, made()).get(name);
}

/** Brings anew what the cards show. With `live`, only what has changed since. */
export function refreshCharts({ live = false } = {}) {
  for (const card of [...sight.cards, large].filter(Boolean)) {
    if (!live) card.tag = null;
    if (!live || (card.isNear && !card.asking)) card.refresh();
  }
}

export function viewOf(head) {
  const { axis, smooth, logx, logy } = chosen;
  return { axis, smooth, logx, logy, start: head.start, stop: head.stop };
}

async function loadCurves(card, signal) {
  const keys = runs.chosenKeys();
  const pixels = Math.round(Math.min(Math.max(card.body.clientWidth || 400, 200), 1600));
  const query = { metric: card.title, run: keys, axis: chosen.axis, start: chosen.from, stop: chosen.to, pixels };
  const head = await getCurves("pixels", query, { signal, tag: card.tag });
  if (head === null) return;
  card.tag = head.tag;
  const dashes = dashesOf(new Set(head.curves.map((curve) => curve.split)));
  for (const curve of head.curves) {
    Object.assign(curve, { color: runs.colorOf(curve.run), dash: dashes.get(curve.split), label: curve.run });
  }
  card.head = head;
  card.show(head.curves, viewOf(head));
  const odd = head.curves.reduce((sum, { nan, up, down }) => sum + total(nan) + total(up) + total(down), 0);
  const splits = dashes.size > 1 ? [...dashes].map(([split, dash]) => `${dash.length > 0 ? "╌" : "—"} ${brief(split, 16)}`) : [];
  card.note.textContent = [...splits, odd > 0 && `${number(odd)} not finite`].filter(Boolean).join(" · ");
  card.onShown?.(head);
}

function total(values) {
  return values.reduce((sum, value) => sum + value, 0);
}

/** Shows what the charts have with other colours, smoothing or scales, without asking for it again. */
export function redrawCharts() {
  for (const card of [...sight.cards, large].filter(Boolean)) {
    if (!card.chart || !card.head) continue;
    for (const curve of card.head.curves) curve.color = runs.colorOf(curve.run);
    if (card.chart.plot) card.chart.view = { ...card.chart.view, axis: null };
    card.show(card.head.curves, viewOf(card.head));
  }
}

/** Zooms all charts; null shows everything. */
export function zoomTo(start, stop) {
  const round = (value) => (value === null ? null : chosen.axis === "step" ? Math.round(value) : value);
  let [from, to] = [round(start), round(stop)];
  if (from !== null && from === to) to = from + (chosen.axis === "step" ? 1 : 1e-6);
  choose({ from, to }, { step: true });
}

function enlarge(metric) {
  choose({ chart: metric }, { step: true });
}

// --- One metric, large ------------------------------------------------------------------------------------------------

let large = null;

export function showLarge() {
  const metric = chosen.chart;
  const dialog = byId("large");
  if (!metric || !known.get(metric)?.has("number")) {
    if (large) large.near(false);
    large = null;
    if (dialog.open) dialog.close();
    return;
  }
  if (large?.title !== metric) {
    large?.near(false);
    large = new Card(metric, { load: loadCurves, onRange: zoomTo });
    large.height = Math.max(240, Math.round(innerHeight * 0.5));
    large.isNear = true;
    const table = make("div", { class: "scroll" });
    large.onShown = (head) => table.replaceChildren(tableOf(head));
    dialog.replaceChildren(make("button", { class: "quiet close", onclick: () => choose({ chart: "" }), aria: { label: "Close" } }, "✕"), large.element, table);
  }
  if (!dialog.open) dialog.showModal();
  large.element.focus();
  large.refresh();
}

export function resizeLarge() {
  large?.chart?.resize();
}

function tableOf(head) {
  const rows = head.curves.map((curve) => {
    const at = curve.n - 1;
    let [low, high, rowsShown] = [Infinity, -Infinity, 0];
    for (let place = 0; place < curve.n; place += 1) {
      if (curve.min[place] < low) low = curve.min[place];
      if (curve.max[place] > high) high = curve.max[place];
      rowsShown += curve.count?.[place] ?? 1;
    }
    const cell = (value) => make("td", { class: "number" }, value);
    return make("tr", { color: curve.color }, make("td", {}, make("span", { class: "swatch" }), " ", curveText(curve)),
      cell(at < 0 ? "–" : lastText(curve, at)), cell(at < 0 ? "–" : placeText(chosen.axis, curve.x1[at]).replace(/^step /, "")),
      cell(low > high ? "–" : number(low)), cell(low > high ? "–" : number(high)), cell(number(rowsShown)));
  });
  const titles = ["run", "last", chosen.axis === "step" ? "step" : "time", "smallest", "largest", "rows"];
  return make("table", {}, make("thead", {}, make("tr", {}, titles.map((title, place) => make("th", { class: place ? "number" : "" }, title)))), make("tbody", {}, rows));
}
