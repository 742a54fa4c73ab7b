// Questions to the server. While one takes long, a line at the top of the page moves.

const SLOW_MS = 250;
const PIXEL_COLUMNS = ["x", "x1", "min", "max", "first", "last", "count", "nan", "up", "down"];
let waiting = 0;
let timer = 0;

function busy(change) {
  waiting += change;
  const line = document.getElementById("progress");
  if (waiting === 0) {
    clearTimeout(timer);
    timer = 0;
    line.hidden = true;
  } else if (!timer) {
    timer = setTimeout(() => (line.hidden = false), SLOW_MS);
  }
}

async function ask(path, query, signal, tag) {
  // A report has its answers with it.
  if (globalThis.heldAnswer) return globalThis.heldAnswer(path, query, tag);
  const search = new URLSearchParams(Object.entries(query).flatMap(([name, value]) =>
    [value].flat().filter((each) => each !== null && each !== undefined && each !== false).map((each) => [name, each])));
  busy(1);
  try {
    const answer = await fetch(`api/${path}?${search}`, { signal, headers: tag ? { "if-none-match": tag } : {}, cache: "no-store" });
    if (answer.status === 304) return null;
    if (!answer.ok) {
      const words = await answer.json().catch(() => ({}));
      throw new Error(words.problem ?? `The server answered with status ${answer.status}.`);
    }
    return { tag: answer.headers.get("etag"), content: await (path === "pixels" || path === "system" ? answer.arrayBuffer() : answer.json()) };
  } catch (error) {
    if (error instanceof TypeError) throw new Error("The server has ended. Start codex-obs view again, and open its new address.");
    throw error;
  } finally {
    busy(-1);
  }
}

/** Asks for something that comes as JSON. */
export async function get(path, query = {}, signal = undefined) {
  return (await ask(path, query, signal)).content;
}

/** Asks for curves. With the `tag` of an earlier answer: null if nothing has changed since. */
export async function getCurves(path, query, { signal, tag } = {}) {
  const answer = await ask(path, query, signal, tag);
  return answer && { tag: answer.tag, ...(answer.content instanceof ArrayBuffer ? unpacked(answer.content) : answer.content) };
}

/** Takes apart what the server has packed: the head, and for each curve its columns. */
export function unpacked(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let at = 4 + length;
  const column = (count) => {
    const values = new Float64Array(buffer, at, count);
    at += 8 * count;
    return values;
  };
  for (const curve of head.curves) {
    if (curve.form === "pixels") {
      for (const name of PIXEL_COLUMNS) curve[name] = column(curve.n);
    } else {
      const [x, value, kind] = [column(curve.n), column(curve.n), column(curve.n)];
      const marks = (which) => kind.map((each) => Number(each === which));
      Object.assign(curve, { x, x1: x, min: value, max: value, first: value, last: value, count: null });
      Object.assign(curve, { nan: marks(1), up: marks(2), down: marks(3) });
    }
  }
  return head;
}
