// The machine's load while runs were going: the numbers of system_metrics.jsonl over time.

import { chosen, choose } from "./address.js";
import { Card, Sight } from "./cards.js";
import { dashesOf } from "./colors.js";
import { byId, make } from "./dom.js";
import { runs } from "./list.js";
import { getCurves } from "./server.js";
import { byName } from "./text.js";

const sight = new Sight();

/** Shows a card for each number. Gives whether there is anything. */
export async function showSystem() {
  const keys = runs.chosenKeys();
  const found = keys.length > 0 ? await getCurves("system", { run: keys }) : { curves: [] };
  const byMetric = new Map();
  for (const curve of found.curves) (byMetric.get(curve.metric) ?? byMetric.set(curve.metric, []).get(curve.metric)).push(curve);
  const dashes = dashesOf(new Set(found.curves.map((curve) => curve.split)));
  const isRelative = chosen.axis === "relative";
  const cards = [...byMetric].sort(([one], [other]) => byName(one, other)).map(([metric, curves]) => {
    const zeros = new Map(curves.map((curve) => [curve.run, curve.x[0]]));
    for (const curve of curves) {
      const x = isRelative ? curve.x.map((value) => value - zeros.get(curve.run)) : curve.x;
      Object.assign(curve, { x, x1: x, color: runs.colorOf(curve.run), dash: dashes.get(curve.split) });
    }
    const view = () => {
      const ends = curves.flatMap(({ x }) => [x[0], x[x.length - 1]]);
      const isZoomed = chosen.axis !== "step" && chosen.from !== null;
      const [start, stop] = isZoomed ? [chosen.from, chosen.to] : [Math.min(...ends), Math.max(...ends)];
      return { axis: isRelative ? "relative" : "time", smooth: chosen.smooth, unit: /used$|bytes/.test(metric) ? "bytes" : null, logx: false, logy: chosen.logy, start, stop };
    };
    const onRange = (from, to) => choose({ axis: isRelative ? "relative" : "time", from, to }, { step: true });
    return new Card(metric, { load: async (card) => card.show(curves, view()), onRange });
  });
  byId("system").replaceChildren(cards.length > 0 ? make("div", { class: "grid" }, cards.map((card) => card.element))
    : make("p", { class: "empty" }, "These runs have no samples of the machine: codex_obs.init(…, system_metrics=\"auto\") takes them."));
  sight.keep(new Set(cards));
  return cards.length > 0;
}
