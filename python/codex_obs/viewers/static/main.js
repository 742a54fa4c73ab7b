// The page: what is chosen leads to what is shown.

import { chosen, choose, onChoice } from "./address.js";
import { allMetrics, redrawCharts, refreshCharts, resizeLarge, showCharts, showLarge } from "./charts.js";
import { showDetails } from "./details.js";
import { byId, calmly } from "./dom.js";
import { nextTheme, setSmoothing, startKeys } from "./keys.js";
import { runs, showList } from "./list.js";
import { showSpans } from "./spans.js";
import { showSystem } from "./system.js";
import { showTable, startTable } from "./table.js";
import { visible } from "./text.js";

const TABS = ["charts", "table", "system", "spans", "details"];
// While a chosen run is written, its charts are asked for again this often; the list of runs less often, as reading it costs more.
const CHARTS_MS = 2000;
const LIST_MS = 6000;

const RUNS_CHANGE = new Set(["where", "sort", "reverse", "column"]);
const CHOICE_CHANGES = new Set(["run", "all"]);
const DATA_CHANGES = new Set(["axis", "from", "to"]);
const LOOK_CHANGES = new Set(["smooth", "logx", "logy"]);

function showControls() {
  for (const tab of TABS) {
    byId(`tab-${tab}`).setAttribute("aria-selected", String(tab === chosen.tab));
    byId(tab).hidden = tab !== chosen.tab;
  }
  for (const button of document.querySelectorAll("#axis button")) button.setAttribute("aria-pressed", String(button.value === chosen.axis));
  byId("logx").setAttribute("aria-pressed", String(chosen.logx));
  byId("logy").setAttribute("aria-pressed", String(chosen.logy));
  byId("smooth").value = String(chosen.smooth);
  byId("smoothness").textContent = chosen.smooth.toFixed(2);
  byId("whole").hidden = chosen.from === null;
  for (const [id, name] of [["find", "find"], ["filter", "where"]]) if (document.activeElement !== byId(id)) byId(id).value = chosen[name];
  byId("controls").hidden = !["charts", "system"].includes(chosen.tab);
}

async function showTab({ anew = false } = {}) {
  const shows = { charts: () => showCharts({ anew }), table: showTable, system: showSystem, spans: showSpans, details: showDetails };
  try {
    await (shows[chosen.tab] ?? shows.charts)();
    if (chosen.tab !== "charts" && allMetrics.length === 0) await showCharts();
    // The table shows the first metrics where none is chosen: by now they are known.
    if (chosen.tab === "table" && runs.lacksColumns() && (await runs.load())) showTable();
  } catch (error) {
    if (error.name !== "AbortError") byId("problem").textContent = visible(error.message);
    byId("problem").hidden = error.name === "AbortError";
  }
}

async function loadRuns({ anew = false } = {}) {
  const before = runs.chosenKeys().join("\n");
  if (!(await runs.load())) return;
  showList();
  const isOther = runs.chosenKeys().join("\n") !== before;
  if (chosen.tab === "table" || isOther || anew) await showTab({ anew });
  if (isOther) refreshCharts();
}

onChoice(async (names) => {
  const has = (set) => [...names].some((name) => set.has(name));
  showControls();
  if (has(RUNS_CHANGE)) await loadRuns({ anew: names.has("column") });
  if (has(CHOICE_CHANGES)) {
    runs.assign();
    showList();
  }
  // The table shows values, which the list does not have yet.
  if (names.has("tab") && chosen.tab === "table") await loadRuns();
  if (has(CHOICE_CHANGES) || names.has("tab") || names.has("find")) await showTab();
  if (has(CHOICE_CHANGES) || has(DATA_CHANGES)) refreshCharts();
  else if (has(LOOK_CHANGES)) redrawCharts();
  if (chosen.tab === "system" && (has(DATA_CHANGES) || has(LOOK_CHANGES))) await showSystem();
  if (names.has("chart")) showLarge();
});

function startControls() {
  for (const tab of TABS) byId(`tab-${tab}`).addEventListener("click", () => choose({ tab }, { step: true }));
  for (const button of document.querySelectorAll("#axis button")) button.addEventListener("click", () => choose({ axis: button.value, from: null, to: null }));
  byId("logx").addEventListener("click", () => choose({ logx: !chosen.logx }));
  byId("logy").addEventListener("click", () => choose({ logy: !chosen.logy }));
  byId("smooth").addEventListener("input", (event) => setSmoothing(Number(event.target.value)));
  byId("whole").addEventListener("click", () => choose({ from: null, to: null }, { step: true }));
  const [find, filter] = [calmly((value) => choose({ find: value }), 120), calmly((value) => choose({ where: value }), 300)];
  byId("find").addEventListener("input", (event) => find(event.target.value));
  byId("filter").addEventListener("input", (event) => filter(event.target.value));
  byId("all").addEventListener("change", (event) => choose(event.target.checked ? { all: true, run: [] } : { all: false, run: [""] }));
  byId("theme").addEventListener("click", nextTheme);
  byId("keyboard").addEventListener("click", () => byId("help").showModal());
  byId("menu").addEventListener("click", () => document.body.classList.toggle("menu"));
  byId("shade").addEventListener("click", () => document.body.classList.remove("menu"));
  byId("large").addEventListener("close", () => choose({ chart: "" }));
  for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  addEventListener("theme", redrawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
  addEventListener("resize", calmly(resizeLarge, 100));
  startTable();
  startKeys();
}

function redrawAll() {
  showList();
  redrawCharts();
  if (chosen.tab !== "charts") showTab();
}

/** Follows runs that are written, while the page is looked at. */
function follow() {
  let listS = performance.now();
  const look = async () => {
    if (!document.hidden) {
      if (runs.isRunning() && chosen.tab === "charts") refreshCharts({ live: true });
      if (performance.now() - listS > Math.max(LIST_MS, 10 * (runs.tookMs ?? 0))) {
        const wasRunning = runs.isRunning();
        await loadRuns();
        if (wasRunning) await showTab({ anew: true });
        listS = performance.now();
      }
    }
    setTimeout(look, CHARTS_MS);
  };
  setTimeout(look, CHARTS_MS);
}

const theme = localStorage.getItem("theme");
if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
startControls();
showControls();
await loadRuns({ anew: true });
document.body.dataset.ready = "1";
follow();
