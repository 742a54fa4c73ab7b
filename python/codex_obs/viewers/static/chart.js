// One chart: uPlot gives axes, cursor and the choice of a range; the curves are drawn by draw.js.

import { make } from "./dom.js";
import { drawCurves, extent } from "./draw.js";
import { brief, bytes, duration, logSplits, moment, number, ticks, timeTicks } from "./text.js";

const SHOWN_IN_TIP = 8;
// Of so few curves the range of a pixel is said too.
const WITH_RANGE = 4;
const NEAR_PX = 30;
// How far apart the ticks of steps may be.
const WHOLE = Array.from({ length: 16 }, (_, power) => [1, 2, 5].map((times) => times * 10 ** power)).flat();
const PAD = 0.06;

/** The words for a place on an axis. */
export function placeText(axis, x) {
  if (axis === "step") return `step ${number(Math.round(x))}`;
  return axis === "time" ? moment(x) : `after ${duration(x)}`;
}

/** What a curve is called beside others: its run, and what else tells them apart. */
export function curveText(curve) {
  return [curve.label ?? curve.run, curve.split, curve.stream !== "main" && curve.stream, curve.dataset, curve.run_id].filter(Boolean).map((part) => brief(part, 60)).join(" · ");
}

/** The place of the pixel of a curve that is nearest to x; -1 if it has none. */
export function nearest(curve, x) {
  let [low, high] = [0, curve.n - 1];
  if (high < 0) return -1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (curve.x1[middle] < x) low = middle + 1;
    else high = middle;
  }
  return low > 0 && x - curve.x1[low - 1] < curve.x[low] - x ? low - 1 : low;
}

/** The words for the last value at a pixel of a curve. */
export function lastText(curve, place, format = number) {
  if (Number.isFinite(curve.last[place])) return format(curve.last[place]);
  return curve.up[place] ? "∞" : curve.down[place] ? "−∞" : "NaN";
}

/** The words for what stands at a pixel of a curve: the range too, if it has several rows. */
function valueText(curve, place, format) {
  const odd = [curve.nan[place] && "NaN", curve.up[place] && "∞", curve.down[place] && "−∞"].filter(Boolean).join(" ");
  if (odd) return Number.isFinite(curve.last[place]) ? `${format(curve.last[place])} and ${odd}` : odd;
  const rows = curve.count?.[place] ?? 1;
  return rows > 1 ? `${format(curve.last[place])}  (${format(curve.min[place])} … ${format(curve.max[place])})` : format(curve.last[place]);
}

export class Chart {
  /**
   * @param place   element that the chart fills
   * @param options `height`; `onRange(start, stop)`: a range was drawn, null and null for the whole; `label`: words for readers of screens
   */
  constructor(place, { height, onRange, label }) {
    this.place = place;
    this.height = height;
    this.onRange = onRange;
    this.curves = [];
    this.view = null;
    this.focus = null;
    this.tip = make("div", { class: "tip", hidden: true });
    this.holder = make("div", { class: "plot", role: "img", aria: { label } });
    place.replaceChildren(this.holder, this.tip);
  }

  /** Shows curves in `view`: `axis`, `start`, `stop`, `logx`, `logy`, `smooth`, and `unit` (`bytes`) if it has one. */
  show(curves, view) {
    const isOther = !this.plot || ["axis", "logx", "logy"].some((name) => this.view[name] !== view[name]);
    this.curves = curves;
    this.view = view;
    this.focus = curves.find((curve) => this.focus && curve.run === this.focus.run && curve.split === this.focus.split) ?? null;
    this.bounds = this.boundsOf();
    if (isOther) this.build();
    else this.plot.setData(this.corners());
  }

  boundsOf() {
    const { logx, logy } = this.view;
    let { start, stop } = this.view;
    if (logx && start <= 0) start = Math.min(...this.curves.map(({ x }) => x.find((value) => value > 0) ?? Infinity), Math.max(stop, 1));
    if (start === stop) [start, stop] = logx ? [start / 2, stop * 2] : [start - 0.5, stop + 0.5];
    let [low, high] = extent(this.curves, start, stop, logy) ?? (logy ? [0.1, 1] : [0, 1]);
    if (logy) {
      if (low === high) [low, high] = [low / 2, high * 2];
      const pad = (high / low) ** PAD;
      return { start, stop, low: low / pad, high: high * pad };
    }
    const pad = (high - low) * PAD || Math.abs(high) * 0.1 || 1;
    const bounds = { start, stop, low: low - pad, high: high + pad };
    return Number.isFinite(bounds.high - bounds.low) ? bounds : { start, stop, low: -1e308 / 2, high: 1e308 / 2 };
  }

  corners() {
    const { start, stop, low, high } = this.bounds;
    return [[start, stop], [low, high]];
  }

  build() {
    this.plot?.destroy();
    const { axis, logx, logy, unit } = this.view;
    const style = getComputedStyle(this.place);
    const [faint, line] = [style.getPropertyValue("--faint").trim(), style.getPropertyValue("--line").trim()];
    const look = { stroke: faint, font: `11px ${style.fontFamily}`, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 } };
    const across = { ...look, size: 26, space: axis === "step" ? 56 : 74 };
    if (axis === "step") Object.assign(across, { values: (_plot, values) => ticks(values), incrs: WHOLE });
    if (axis === "relative") across.values = (_plot, values) => values.map((value) => (value === null ? "" : duration(value)));
    if (axis === "time") across.values = (_plot, values, _axis, _space, gap) => timeTicks(values, gap);
    const up = { ...look, size: 56, space: 32, values: (_plot, values) => (unit === "bytes" ? values.map((value) => (value === null ? "" : bytes(value))) : ticks(values)) };
    for (const axisLook of [logx && across, logy && up].filter(Boolean)) {
      axisLook.splits = (_plot, _axis, low, high) => logSplits(low, high);
      axisLook.filter = (_plot, splits) => splits;
      if (unit !== "bytes") axisLook.values = (_plot, values) => values.map((value) => number(Number(value.toPrecision(6)), 4));
    }
    const isOver = () => this.holder.matches(":hover");
    this.plot = new uPlot({
      width: this.width(),
      height: this.height,
      padding: [8, 10, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        points: { show: false },
        drag: { x: true, y: false, setScale: false, dist: 5 },
        sync: { key: `charts-${axis}`, setSeries: false, scales: ["x", null] },
        bind: { dblclick: () => () => this.onRange(null, null) },
      },
      scales: {
        x: { time: axis === "time", distr: logx ? 3 : 1, range: () => [this.bounds.start, this.bounds.stop] },
        y: { distr: logy ? 3 : 1, range: () => [this.bounds.low, this.bounds.high] },
      },
      axes: [across, up],
      series: [{}, { paths: () => null, points: { show: false } }],
      hooks: {
        draw: [(plot) => this.draw(plot)],
        setCursor: [(plot) => (isOver() ? this.point(plot) : this.hideTip())],
        setSelect: [(plot) => this.chooseRange(plot)],
      },
    }, this.corners(), this.holder);
  }

  width() {
    return Math.max(this.place.clientWidth, 120);
  }

  draw(plot) {
    drawCurves(plot.ctx, {
      curves: this.curves,
      toX: (value) => plot.valToPos(value, "x", true),
      toY: (value) => (this.view.logy && !(value > 0) ? Number.NaN : plot.valToPos(value, "y", true)),
      box: plot.bbox,
      smooth: this.view.smooth,
      range: this.view.stop - this.view.start,
      ratio: devicePixelRatio || 1,
      focus: this.focus,
    });
  }

  chooseRange(plot) {
    const { left, width } = plot.select;
    if (width <= 0) return;
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.onRange(plot.posToVal(left, "x"), plot.posToVal(left + width, "x"));
  }

  point(plot) {
    const { left, top } = plot.cursor;
    if (left < 0 || this.curves.length === 0) return this.hideTip();
    const x = plot.posToVal(left, "x");
    const found = [];
    for (const curve of this.curves) {
      const place = nearest(curve, x);
      if (place < 0) continue;
      const value = (this.view.smooth > 0 && curve.smooth?.[place]) || curve.last[place];
      const up = plot.valToPos(value, "y");
      found.push({ curve, place, value, away: Number.isFinite(up) ? Math.abs(up - top) : Infinity });
    }
    if (found.length === 0) return this.hideTip();
    found.sort((one, other) => one.away - other.away);
    const focus = found[0].away < NEAR_PX && this.curves.length > 1 ? found[0].curve : null;
    if (focus !== this.focus) {
      this.focus = focus;
      plot.redraw(false, false);
    }
    this.showTip(plot, x, found);
  }

  showTip(plot, x, found) {
    const shown = found.slice(0, SHOWN_IN_TIP).sort((one, other) => other.value - one.value);
    const rest = found.length - shown.length;
    const words = found.length > WITH_RANGE ? lastText : valueText;
    const at = found[0];
    const lines = shown.map(({ curve, place }) => make("div", { class: curve === this.focus ? "line near" : "line", color: curve.color },
      make("span", { class: "swatch" }), make("span", { class: "who" }, curveText(curve)), make("b", {}, words(curve, place, this.view.unit === "bytes" ? bytes : number))));
    this.tip.replaceChildren(make("div", { class: "at" }, placeText(this.view.axis, at.curve.x1[at.place] ?? x)), ...lines,
      rest > 0 ? make("div", { class: "more" }, `and ${rest} more`) : "");
    this.tip.hidden = false;
    const isRight = plot.cursor.left > plot.over.clientWidth / 2;
    const across = plot.over.offsetLeft + plot.cursor.left;
    this.tip.style.left = isRight ? "" : `${across + 14}px`;
    this.tip.style.right = isRight ? `${this.place.clientWidth - across + 14}px` : "";
  }

  hideTip() {
    this.tip.hidden = true;
    if (this.focus) {
      this.focus = null;
      this.plot.redraw(false, false);
    }
  }

  /** Zooms by the keyboard: around the middle, or along. */
  zoom(factor, shift = 0) {
    const { start, stop } = this.bounds;
    const [middle, half] = [(start + stop) / 2 + shift * (stop - start), ((stop - start) / 2) * factor];
    this.onRange(middle - half, middle + half);
  }

  resize(height = this.height) {
    this.height = height;
    this.plot?.setSize({ width: this.width(), height });
  }

  destroy() {
    this.plot?.destroy();
    this.plot = null;
    this.place.replaceChildren();
  }
}
