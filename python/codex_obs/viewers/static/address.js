// What is chosen. It stands in the part of the address behind `#`, which never leaves the browser: a reload, a bookmark and
// a second tab show the same.

const KINDS = {
  run: "list",
  all: "flag",
  where: "text",
  sort: "text",
  reverse: "flag",
  tab: "text",
  find: "text",
  axis: "text",
  smooth: "number",
  logx: "flag",
  logy: "flag",
  from: "number",
  to: "number",
  chart: "text",
  column: "list",
};
const DEFAULTS = { tab: "charts", axis: "step", smooth: 0, from: null, to: null };

function fallback(name) {
  return DEFAULTS[name] ?? { list: [], flag: false, text: "", number: null }[KINDS[name]];
}

function parse(hash) {
  const query = new URLSearchParams(hash.replace(/^#/, ""));
  const chosen = {};
  for (const [name, kind] of Object.entries(KINDS)) {
    const number = Number.parseFloat(query.get(name));
    if (!query.has(name)) chosen[name] = fallback(name);
    else if (kind === "list") chosen[name] = query.getAll(name);
    else if (kind === "flag") chosen[name] = true;
    else if (kind === "number") chosen[name] = Number.isFinite(number) ? number : fallback(name);
    else chosen[name] = query.get(name);
  }
  return chosen;
}

function written(chosen) {
  const query = new URLSearchParams();
  for (const [name, kind] of Object.entries(KINDS)) {
    const value = chosen[name];
    if (kind === "list") for (const each of value) query.append(name, each);
    else if (kind === "flag" && value) query.set(name, "1");
    else if (kind !== "flag" && value !== null && value !== fallback(name)) query.set(name, String(value));
  }
  return query.toString();
}

const listeners = new Set();
export let chosen = parse(location.hash);

/** Calls `listener(names)` whenever something else is chosen, with the names of what changed. */
export function onChoice(listener) {
  listeners.add(listener);
}

/** Chooses something else. With `step`, the browser's back button undoes it. */
export function choose(change, { step = false } = {}) {
  const names = Object.keys(change).filter((name) => JSON.stringify(change[name]) !== JSON.stringify(chosen[name]));
  if (names.length === 0) return;
  chosen = { ...chosen, ...change };
  const hash = written(chosen);
  history[step ? "pushState" : "replaceState"](null, "", hash ? `#${hash}` : location.pathname);
  for (const listener of listeners) listener(new Set(names));
}

addEventListener("popstate", () => {
  const next = parse(location.hash);
  const names = Object.keys(KINDS).filter((name) => JSON.stringify(next[name]) !== JSON.stringify(chosen[name]));
  chosen = next;
  if (names.length > 0) for (const listener of listeners) listener(new Set(names));
});
