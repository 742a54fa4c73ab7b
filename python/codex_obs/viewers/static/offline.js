// Answers from within the file: a report holds what the page of a server would ask for.

const COUNTS = ["nan", "up", "down"];
const OPERATORS = /^(.+?)(!=|<=|>=|=|<|>|~)(.*)$/s;
const MISSING = ["", "null", "none"];
const MICROS = 1e6;

async function inflated(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

const held = await inflated(document.getElementById("held").textContent);

/** Whole numbers out of their differences. */
function summed(differences, zero) {
  let sum = 0;
  return Float64Array.from(differences, (more) => (sum += more) - zero);
}

function columns(curve, axis) {
  const { x, width, count, ...rest } = curve[axis === "step" ? "step" : "time"];
  const [zero, unit] = axis === "step" ? [0, 1] : [axis === "relative" ? held.began[curve.run] : 0, MICROS];
  const first = summed(x, zero);
  const shown = { n: x.length, x: first.map((each) => each / unit) };
  shown.x1 = width ? first.map((each, place) => (each + width[place]) / unit) : shown.x;
  const numbers = (values) => Float64Array.from(values, (value) => value ?? Number.NaN);
  shown.last = numbers(rest.last);
  for (const name of ["min", "max", "first"]) shown[name] = rest[name] ? numbers(rest[name]) : shown.last;
  for (const name of COUNTS) shown[name] = Float64Array.from(rest[name] ?? new Float64Array(x.length));
  return { ...curve, ...shown, count: count ? Float64Array.from(count) : null, form: count ? "pixels" : "rows" };
}

function pixels({ metric, run, axis, start, stop }) {
  const wanted = new Set(run);
  const has = axis === "step" ? "step" : "time";
  const curves = held.curves.filter((curve) => curve.metric === metric && wanted.has(curve.run) && curve[has]).map((curve) => columns(curve, axis));
  const drawn = curves.filter((curve) => curve.n > 0);
  const whole = drawn.length > 0 ? [Math.min(...drawn.map(({ x }) => x[0])), Math.max(...drawn.map(({ x1 }) => x1[x1.length - 1]))] : null;
  return { start: start ?? whole?.[0] ?? 0, stop: stop ?? whole?.[1] ?? 0, whole, curves };
}

function inner(value, path) {
  if (value === null || typeof value !== "object") return null;
  if (Object.hasOwn(value, path)) return value[path];
  for (let dot = path.indexOf("."); dot >= 0; dot = path.indexOf(".", dot + 1)) {
    const found = Object.hasOwn(value, path.slice(0, dot)) ? inner(value[path.slice(0, dot)], path.slice(dot + 1)) : null;
    if (found !== null) return found;
  }
  return null;
}

function valueOf(row, key) {
  if (Object.hasOwn(row, key)) return row[key];
  return inner(row.config, key) ?? inner(row.config, key.replace(/^config\./, ""));
}

function asText(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function holds(row, condition) {
  const [, key, operator, wanted] = OPERATORS.exec(condition) ?? [];
  if (!key) throw new Error(`${condition} is no condition: give KEY=VALUE, with =, !=, <, <=, >, >= or ~ (contains).`);
  const found = valueOf(row, key.trim());
  const text = wanted.trim();
  if (operator === "~") return found !== null && asText(found).toLowerCase().includes(text.toLowerCase());
  if (found === null) return { "=": MISSING.includes(text.toLowerCase()), "!=": !MISSING.includes(text.toLowerCase()) }[operator] ?? false;
  const isNumber = typeof found === "number";
  if (isNumber && (text === "" || Number.isNaN(Number(text)))) return operator === "!=";
  const [one, other] = isNumber ? [found, Number(text)] : [asText(found), text];
  return { "=": one === other, "!=": one !== other, "<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other }[operator];
}

function inOrder(one, other) {
  const numbers = [typeof one === "number", typeof other === "number"];
  if (numbers[0] && numbers[1]) return one - other;
  if (numbers[0] !== numbers[1]) return numbers[0] ? -1 : 1;
  return asText(one) < asText(other) ? -1 : 1;
}

function listing({ where = [], sort, reverse }) {
  let rows = held.listing.runs.filter((row) => where.every((condition) => holds(row, condition)));
  const way = reverse ? -1 : 1;
  if (sort) {
    const isKnown = (row) => valueOf(row, sort) !== null;
    const known = rows.filter(isKnown).sort((one, other) => way * inOrder(valueOf(one, sort), valueOf(other, sort)));
    rows = [...known, ...rows.filter((row) => !isKnown(row))];
  } else if (reverse) rows.reverse();
  return { ...held.listing, runs: rows, chosen: rows.length };
}

function some(all, { run }) {
  return Object.fromEntries(run.filter((key) => Object.hasOwn(all, key)).map((key) => [key, all[key]]));
}

const answers = {
  runs: listing,
  names: (query) => some(held.names, query),
  pixels,
  values: ({ metric, run }) => held.values.filter((value) => value.metric === metric && run.includes(value.run)),
  run: ({ run }) => held.details[run],
  system: ({ run }) => ({ curves: held.system.filter((curve) => run.includes(curve.run)).map((curve) => ({ ...curve, ...columns(curve, "time"), metric: curve.metric })) }),
  spans: (query) => some(held.spans, query),
};

/** What the page asks instead of a server. Nothing changes, so that whoever has an answer needs no other. */
globalThis.heldAnswer = (path, query, tag) => (tag ? null : { tag: "held", content: answers[path](query) });
