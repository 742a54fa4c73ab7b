// What there is to know of each run beside its curves: parameters, sessions, and what is lost.

import { byId, make } from "./dom.js";
import { nameOf, runs, statusMark } from "./list.js";
import { get } from "./server.js";
import { brief, number, visible } from "./text.js";

const MAX_RUNS = 12;
const SHOWN_SESSIONS = 10;

function facts(pairs) {
  return make("dl", {}, pairs.flatMap(([name, value]) => [make("dt", {}, brief(name, 80)), make("dd", {}, value)]));
}

function parameters(config) {
  const pairs = Object.entries(config ?? {});
  if (pairs.length === 0) return make("p", { class: "note" }, "No parameters.");
  return facts(pairs.map(([name, value]) => [name, value !== null && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length > 0 ? parameters(value)
    : brief(typeof value === "string" ? value : JSON.stringify(value), 600)]));
}

function losses(found) {
  if (found.losses.length === 0) return [make("p", { class: "good" }, "Nothing is lost.")];
  return found.losses.map((loss) => make("div", { class: "loss" }, make("b", {}, brief(loss.words, 400)), make("span", {}, brief(loss.remedy, 400))));
}

function sessions(found, isRunning) {
  const lines = found.sessions.slice(-SHOWN_SESSIONS).reverse().map((session) => make("tr", {},
    ...[session.stream, session.started?.slice(0, 19).replace("T", " ") ?? "–", session.status ?? (isRunning ? "open" : "no finish"), `${session.host} · ${session.pid}`].map((text) => make("td", {}, brief(text, 60))),
    make("td", { class: "number" }, number(session.rows))));
  const titles = ["stream", "began (UTC)", "status", "host · process"].map((title) => make("th", {}, title));
  return make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, titles, make("th", { class: "number" }, "rows"))), make("tbody", {}, lines)));
}

function shown(found, run) {
  const waits = found.destinations.filter((each) => each.rows_left || each.params_left || each.end_left).map((each) => `${brief(each.address, 80)}: ${number(each.rows_left ?? 0)} rows wait`);
  return [
    make("h4", {}, "Data loss"), ...losses(found), ...[...found.problems, ...waits].map((words) => make("p", { class: "note" }, brief(words, 400))),
    make("h4", {}, "Parameters"), parameters(run.config),
    make("h4", {}, "Sessions"), sessions(found, run.status === "running"),
    make("h4", {}, "Folder"), make("code", {}, visible(found.path)),
    make("h4", {}, "Name and id"), make("p", {}, [nameOf(run), brief(run.run_id ?? "", 100)].filter(Boolean).join(" · ")),
  ];
}

export async function showDetails() {
  const keys = runs.chosenKeys().slice(0, MAX_RUNS);
  const place = byId("details");
  if (keys.length === 0) place.replaceChildren(make("p", { class: "empty" }, "No run is chosen. Tick some in the list."));
  const cards = keys.map((key) => {
    const run = runs.list.find((each) => each.key === key);
    const body = make("div", {}, make("p", { class: "note" }, "reading…"));
    const element = make("section", { class: "card wide", color: runs.colorOf(key) }, make("header", {}, make("h3", {}, make("span", { class: "swatch" }), brief(key, 200)), statusMark(run)), body);
    return { key, run, body, element };
  });
  if (keys.length > 0) place.replaceChildren(...cards.map((card) => card.element));
  for (const { key, run, body } of cards) {
    try {
      body.replaceChildren(...shown(await get("run", { run: key }), run));
    } catch (error) {
      body.replaceChildren(make("p", { class: "problem" }, error.message));
    }
  }
}
