// Structured values: histograms over the steps as a map of their density, and texts.

import { choose } from "./address.js";
import { Card, CARD_HEIGHT } from "./cards.js";
import { make } from "./dom.js";
import { runs } from "./list.js";
import { get } from "./server.js";
import { brief, number, visible } from "./text.js";

const MAX_RUNS = 4;
const ROWS = 48;

export function histogramCard(metric) {
  const card = new Card(metric, { load, onRange: () => choose({ from: null, to: null }), note: "histograms" });
  card.element.classList.add("values");
  return card;
}

async function load(card, signal) {
  const found = await get("values", { metric: card.title, run: runs.chosenKeys().slice(0, MAX_RUNS) }, signal);
  const maps = found.filter((one) => one.histograms.length > 0);
  const texts = found.filter((one) => one.texts.length > 0);
  const height = Math.max(70, Math.floor((CARD_HEIGHT - 14) / Math.max(maps.length, 1)));
  const shown = [...maps.map((one) => mapOf(one, height)), ...texts.map(textsOf)];
  card.note.textContent = maps.length > 0 ? "histograms" : texts.length > 0 ? "text" : "";
  card.body.replaceChildren(...(shown.length > 0 ? shown : [make("p", { class: "note" }, "Values of a kind that has no picture: codex_obs.payloads(run) reads them.")]));
  card.chart = { plot: null, resize() {}, destroy: () => card.body.replaceChildren() };
  for (const draw of shown.map((element) => element.draw).filter(Boolean)) draw();
  card.say("");
}

function who(one) {
  return [one.run, one.split, one.stream !== "main" && one.stream, one.dataset, one.run_id].filter(Boolean).map((part) => brief(part, 50)).join(" · ");
}

function textsOf(one) {
  const lines = one.texts.slice(-8).reverse().map(([step, text, cut]) => make("li", {}, make("span", { class: "note" }, `step ${number(step)} `), visible(text).slice(0, 600), cut > 0 ? `… ${number(cut)} more characters` : ""));
  return make("div", { class: "texts" }, make("div", { class: "who", color: runs.colorOf(one.run) }, make("span", { class: "swatch" }), who(one)), make("ul", {}, lines));
}

function mapOf(one, height) {
  const canvas = make("canvas", { class: "heat", role: "img", aria: { label: `Histograms of ${who(one)}` } });
  const label = make("span", { class: "note" });
  const element = make("div", { class: "map", color: runs.colorOf(one.run) }, make("div", { class: "who" }, make("span", { class: "swatch" }), who(one), label), canvas);
  const edges = one.histograms.flatMap(([, , all]) => [all[0], all[all.length - 1]]).filter(Number.isFinite);
  const [low, high] = [Math.min(...edges), Math.max(...edges)];
  element.draw = () => drawMap(canvas, one, low, high, height - 22);
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const place = Math.min(one.histograms.length - 1, Math.max(0, Math.floor(((event.clientX - box.left - 44) / (box.width - 44)) * one.histograms.length)));
    const [step, counts] = one.histograms[place];
    label.textContent = ` step ${number(step)}, ${number(counts.reduce((sum, count) => sum + count, 0))} values`;
  });
  canvas.addEventListener("pointerleave", () => (label.textContent = ""));
  return element;
}

/** Draws a column for each histogram: the darker, the more of its values are there. */
function drawMap(canvas, one, low, high, height) {
  const ratio = devicePixelRatio || 1;
  const width = Math.max(canvas.parentElement.clientWidth, 120);
  Object.assign(canvas, { width: width * ratio, height: height * ratio });
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  context.font = `11px ${style.fontFamily}`;
  context.fillStyle = style.getPropertyValue("--faint");
  context.textAlign = "right";
  const [top, bottom] = [number(high, 4), number(low, 4)];
  context.fillText(top, 40, 10);
  context.fillText(bottom, 40, height - 3);
  context.fillStyle = runs.colorOf(one.run);
  const wide = (width - 44) / one.histograms.length;
  const size = (high - low) / ROWS || 1;
  one.histograms.forEach(([, counts, edges], place) => {
    const shares = new Float64Array(ROWS);
    counts.forEach((count, bin) => {
      const [from, to] = [(edges[bin] - low) / size, (edges[bin + 1] - low) / size];
      for (let row = Math.max(0, Math.floor(from)); row < Math.min(ROWS, Math.max(to, from + 1e-9)); row += 1) {
        const share = to > from ? (Math.min(to, row + 1) - Math.max(from, row)) / (to - from) : 1;
        shares[row] += count * Math.max(share, 0);
      }
    });
    const most = Math.max(...shares) || 1;
    shares.forEach((share, row) => {
      if (!(share > 0)) return;
      context.globalAlpha = 0.08 + 0.92 * Math.sqrt(share / most);
      context.fillRect(44 + place * wide, height - ((row + 1) * height) / ROWS, wide + 0.4, height / ROWS + 0.4);
    });
  });
  context.globalAlpha = 1;
}
