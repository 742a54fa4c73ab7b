// The keyboard: what each key does, here and in the help.

import { chosen, choose } from "./address.js";
import { byId, make } from "./dom.js";

const AXES = ["step", "time", "relative"];
const TABS = ["charts", "table", "system", "spans", "details"];

function step(way) {
  const cards = [...document.querySelectorAll("#charts .card, #system .card")].filter((card) => card.checkVisibility());
  const at = cards.indexOf(document.activeElement?.closest?.(".card"));
  const next = cards[Math.min(cards.length - 1, Math.max(0, at + way))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

export function setSmoothing(value) {
  choose({ smooth: Math.min(0.99, Math.max(0, Math.round(value * 100) / 100)) });
}

export function nextTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
  dispatchEvent(new Event("theme"));
}

const KEYS = [
  ["/", "look for a metric", () => byId("find").focus()],
  ["r", "filter the runs", () => { document.body.classList.add("menu"); byId("filter").focus(); }],
  ["a", "show all runs of the list, or the first ones", () => choose({ all: !chosen.all, run: [] })],
  ["j", "next chart", () => step(1)],
  ["k", "previous chart", () => step(-1)],
  ["x", "steps, time, or time since the start", () => choose({ axis: AXES[(AXES.indexOf(chosen.axis) + 1) % AXES.length], from: null, to: null })],
  ["l", "logarithmic values", () => choose({ logy: !chosen.logy })],
  ["L", "logarithmic steps", () => choose({ logx: !chosen.logx })],
  ["s", "smoother", () => setSmoothing(chosen.smooth + 0.1)],
  ["S", "less smooth", () => setSmoothing(chosen.smooth - 0.1)],
  ["0", "show the whole range", () => choose({ from: null, to: null }, { step: true })],
  ["t", "light or dark", nextTheme],
  ["?", "this list", () => byId("help").showModal()],
];
const ON_CHART = [["Enter", "on a chart: enlarge it"], ["+ −", "on a chart: zoom"], ["← →", "on a chart: move along"], ["Esc", "close, or leave a field"], ["1 … 5", "charts, table, system, spans, details"]];

export function startKeys() {
  byId("keys").replaceChildren(...[...KEYS.map(([key, words]) => [key, words]), ...ON_CHART].flatMap(([key, words]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, words)]));
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isTyping = event.target.matches?.("input:not([type=checkbox]):not([type=range]), select, textarea");
    if (event.key === "Escape" && isTyping) event.target.blur();
    if (isTyping || document.querySelector("dialog[open]")) return;
    const tab = TABS[Number(event.key) - 1];
    const found = KEYS.find(([key]) => key === event.key);
    if (tab && !byId(`tab-${tab}`).hidden) choose({ tab }, { step: true });
    else if (found) found[2]();
    else return;
    event.preventDefault();
  });
}
