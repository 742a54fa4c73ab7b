// Curves on a canvas. Of each pixel the first, smallest, largest and last value are drawn, so that a spike of one row is seen
// however many rows a pixel has.

const MARK = 4;
// The weight of a smoothed curve is that from one point to the next where so many points fill a chart.
const SMOOTHED_POINTS = 300;
// So few rows, of so few curves, are shown as dots too.
const FEW = 60;
const FEW_CURVES = 12;

/**
 * Smooths values: an exponential mean that does not lean towards its beginning. What counts is how far apart they are in the
 * range that is shown, so that a curve with few points does not lag behind one with many.
 */
export function smoothed(x, values, weight, range) {
  const result = new Float64Array(values.length).fill(Number.NaN);
  let [mean, norm, before] = [0, 0, Number.NaN];
  for (let place = 0; place < values.length; place += 1) {
    const value = values[place];
    if (!Number.isFinite(value)) continue;
    const away = Number.isNaN(before) || !(range > 0) ? 1 : ((x[place] - before) / range) * SMOOTHED_POINTS;
    const kept = weight ** Math.max(away, 0);
    mean = mean * kept + value * (1 - weight);
    norm = norm * kept + (1 - weight);
    before = x[place];
    result[place] = mean / norm;
  }
  return result;
}

/** The smallest and the largest finite value of curves in a range of x; null if there is none. */
export function extent(curves, start, stop, isLog) {
  let low = Infinity;
  let high = -Infinity;
  for (const { x, x1, min, max } of curves) {
    for (let place = 0; place < x.length; place += 1) {
      if (x1[place] < start || x[place] > stop) continue;
      if (min[place] < low && (!isLog || min[place] > 0)) low = min[place];
      else if (isLog && max[place] > 0 && max[place] < low) low = max[place];
      if (max[place] > high) high = max[place];
    }
  }
  return low <= high ? [low, high] : null;
}

/** Draws curves. `toX` and `toY` give places on the canvas, `box` is what may be drawn on. */
export function drawCurves(context, { curves, toX, toY, box, smooth, range, ratio, focus }) {
  context.save();
  context.beginPath();
  context.rect(box.left, box.top, box.width, box.height);
  context.clip();
  context.lineJoin = "round";
  context.lineCap = "round";
  // What has fewest points lies on top: it would be hidden by the others, and hides little of them.
  const order = [...curves].sort((one, other) => (one === focus) - (other === focus) || other.n - one.n);
  for (const curve of order) {
    const isFaded = focus && curve !== focus && curve.run !== focus.run;
    context.strokeStyle = curve.color;
    context.fillStyle = curve.color;
    context.setLineDash(curve.dash.map((part) => part * ratio));
    const alpha = isFaded ? 0.18 : 1;
    if (smooth > 0) {
      if (curve.smoothedBy !== smooth) curve.smooth = smoothed(curve.x1, curve.last, smooth, range);
      curve.smoothedBy = smooth;
      context.globalAlpha = 0.22 * alpha;
      context.lineWidth = ratio;
      context.stroke(rowsPath(curve, toX, toY));
      context.globalAlpha = alpha;
      context.lineWidth = (curve === focus ? 2.4 : 1.7) * ratio;
      context.stroke(linePath(curve.x1, curve.smooth, toX, toY));
    } else {
      context.globalAlpha = alpha;
      context.lineWidth = (curve === focus ? 2.2 : curve.form === "pixels" ? 1.1 : 1.5) * ratio;
      context.stroke(rowsPath(curve, toX, toY));
    }
    context.setLineDash([]);
    if (curve.n === 1 || (curve.n <= FEW && curves.length <= FEW_CURVES && smooth === 0)) drawDots(context, curve, toX, toY, ratio);
    drawMarks(context, curve, toX, box, ratio);
  }
  context.restore();
}

function linePath(x, y, toX, toY) {
  const path = new Path2D();
  let isOpen = false;
  for (let place = 0; place < x.length; place += 1) {
    const [across, up] = [toX(x[place]), toY(y[place])];
    const isThere = Number.isFinite(across) && Number.isFinite(up);
    if (isThere) path[isOpen ? "lineTo" : "moveTo"](across, up);
    isOpen = isThere;
  }
  return path;
}

function rowsPath(curve, toX, toY) {
  const { x, x1, min, max, first, last } = curve;
  if (curve.form !== "pixels") return linePath(x, last, toX, toY);
  const path = new Path2D();
  let isOpen = false;
  const to = (across, value) => {
    const up = toY(value);
    if (!Number.isFinite(up) || !Number.isFinite(across)) return;
    path[isOpen ? "lineTo" : "moveTo"](across, up);
    isOpen = true;
  };
  for (let place = 0; place < x.length; place += 1) {
    if (Number.isNaN(min[place])) {
      isOpen = false;
      continue;
    }
    const [left, right] = [toX(x[place]), toX(x1[place])];
    const middle = (left + right) / 2;
    to(left, first[place]);
    to(middle, min[place]);
    to(middle, max[place]);
    to(right, last[place]);
  }
  return path;
}

function drawDots(context, curve, toX, toY, ratio) {
  for (let place = 0; place < curve.n; place += 1) {
    const [across, up] = [toX(curve.x[place]), toY(curve.last[place])];
    if (!Number.isFinite(across) || !Number.isFinite(up)) continue;
    context.beginPath();
    context.arc(across, up, (curve.n === 1 ? 3.5 : 2) * ratio, 0, 2 * Math.PI);
    context.fill();
  }
}

/** Marks values that are no finite numbers: a cross at the bottom for NaN, an arrow at the edge for an infinity. */
function drawMarks(context, curve, toX, box, ratio) {
  const size = MARK * ratio;
  context.lineWidth = 1.6 * ratio;
  const bottom = box.top + box.height - size - ratio;
  for (let place = 0; place < curve.n; place += 1) {
    const [nan, up, down] = [curve.nan[place], curve.up[place], curve.down[place]];
    if (!(nan || up || down)) continue;
    const across = toX(curve.x[place]);
    if (!Number.isFinite(across)) continue;
    if (nan) {
      context.beginPath();
      context.moveTo(across - size, bottom - size);
      context.lineTo(across + size, bottom + size);
      context.moveTo(across - size, bottom + size);
      context.lineTo(across + size, bottom - size);
      context.stroke();
    }
    if (up) drawArrow(context, across, box.top + ratio, size, 1);
    if (down) drawArrow(context, across, bottom + size, size, -1);
  }
}

function drawArrow(context, across, tip, size, way) {
  context.beginPath();
  context.moveTo(across, tip);
  context.lineTo(across + size, tip + way * size * 1.7);
  context.lineTo(across - size, tip + way * size * 1.7);
  context.closePath();
  context.fill();
}
