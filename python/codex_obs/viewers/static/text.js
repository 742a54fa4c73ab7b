// Texts of unknown origin and numbers, as they are shown. Nothing here or elsewhere makes markup of text.

// What would change the direction of the text around it, move the cursor, or not be seen at all.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udfff](?<![\ud800-\udbff][\udc00-\udfff])(?![\udc00-\udfff])/g;

/** Shows what cannot be seen as its code. */
export function visible(text) {
  return String(text).replace(UNSEEN, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** A text for a tooltip of the browser: the beginning of a long one. */
export function brief(text, most = 300) {
  const shown = visible(text);
  return shown.length > most ? `${shown.slice(0, most)}… (${shown.length} characters)` : shown;
}

/** A number in as few digits as say it: `0.1234`, `12,345`, `1.2e-7`. */
export function number(value, digits = 5) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return visible(value);
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e9) return value.toLocaleString("en-US").replace("-", "−");
  const text = size !== 0 && (size < 1e-4 || size >= 1e9) ? value.toExponential(digits - 2) : value.toPrecision(digits);
  const short = text.includes(".") ? text.replace(/\.?0+(?=e|$)/, "") : text;
  return short.replace("e+", "e").replaceAll("-", "−");
}

/** Numbers of an axis, all with as many decimals as tell them apart. */
export function ticks(values) {
  const known = values.filter((value) => value !== null);
  const most = Math.max(...known.map(Math.abs), 0);
  const gap = known.length > 1 ? Math.abs(known[1] - known[0]) : most;
  if (most >= 1e6 || (most > 0 && most < 1e-3)) {
    // As many digits as tell neighbours apart.
    const digits = Math.min(12, Math.max(4, gap > 0 ? Math.ceil(Math.log10(most / gap) - 1e-9) + 2 : 4));
    return values.map((value) => (value === null ? "" : value === 0 ? "0" : number(value, digits)));
  }
  let decimals = gap > 0 ? Math.max(0, Math.min(8, Math.ceil(-Math.log10(gap) - 1e-9))) : 0;
  // A gap of 0.025 needs three, as one of 0.02 needs two.
  while (decimals < 8 && Math.abs(gap * 10 ** decimals - Math.round(gap * 10 ** decimals)) > 1e-6) decimals += 1;
  const format = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  return values.map((value) => (value === null ? "" : value.toLocaleString("en-US", format).replace("-", "−")));
}

/** Where a logarithmic axis has ticks: at powers of ten, between them too where there are few, as a linear one where there is none. */
export function logSplits(low, high) {
  const decades = Math.log10(high / low);
  if (!(decades > 0)) return [low];
  const found = [];
  if (decades < 1) {
    const rough = (high - low) / 5;
    const unit = 10 ** Math.floor(Math.log10(rough));
    const gap = [1, 2, 5, 10].map((times) => times * unit).find((size) => size >= rough);
    for (let at = Math.ceil(low / gap); at * gap <= high; at += 1) found.push(at * gap);
    return found;
  }
  const every = Math.ceil(decades / 6);
  const times = decades < 3 ? [1, 2, 5] : [1];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    if (power % every !== 0) continue;
    for (const each of times) if (each * 10 ** power >= low && each * 10 ** power <= high) found.push(each * 10 ** power);
  }
  return found;
}

/** A size in bytes: `512 B`, `1.23 GB`. */
export function bytes(size) {
  const power = size > 0 ? Math.min(Math.floor(Math.log10(size) / 3 + 1e-9), 5) : 0;
  return `${Number((size / 1000 ** power).toPrecision(3))} ${["B", "kB", "MB", "GB", "TB", "PB"][power]}`;
}

/** Moments of an axis: the time of day, and the day where one begins. */
export function timeTicks(values, gap) {
  const part = gap < 60 ? { hour: "2-digit", minute: "2-digit", second: "2-digit" } : { hour: "2-digit", minute: "2-digit" };
  return values.map((value) => {
    if (value === null) return "";
    const date = new Date(value * 1000);
    const isDay = gap >= 86400 || (date.getHours() === 0 && date.getMinutes() === 0 && date.getSeconds() === 0);
    return isDay ? date.toLocaleDateString("en-GB", { day: "numeric", month: "short" }) : date.toLocaleTimeString("en-GB", part);
  });
}

/** Seconds in two units at most: `0.4s`, `12m30s`, `3h05m`. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0) return `−${duration(-seconds)}`;
  if (seconds < 10) return `${Number(seconds.toFixed(seconds < 1 ? 3 : 1))}s`;
  const whole = Math.round(seconds);
  const pad = (part) => String(part).padStart(2, "0");
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m${pad(whole % 60)}s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}h${pad(Math.floor((whole % 3600) / 60))}m`;
  return `${Math.floor(whole / 86400)}d${pad(Math.floor((whole % 86400) / 3600))}h`;
}

/** How long ago something was, in one word. */
export function ago(moment) {
  const seconds = Math.max(0, (Date.now() - Date.parse(moment)) / 1000);
  if (Number.isNaN(seconds)) return "";
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

/** A moment of the time axis. */
export function moment(seconds) {
  return new Date(seconds * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}

/** Texts with numbers in them in the order that people expect: `layer 2` before `layer 10`. */
export const byName = new Intl.Collator("en", { numeric: true }).compare;
