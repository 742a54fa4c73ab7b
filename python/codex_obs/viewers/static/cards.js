// Cards that hold charts: a chart is made when its card comes into sight, and let go of when it is far away.

import { Chart } from "./chart.js";
import { make } from "./dom.js";
import { brief } from "./text.js";

const FAR = "600px 0px";
export const CARD_HEIGHT = 210;

export class Card {
  /**
   * @param title   what it shows
   * @param options `load(card)`: brings what to show; `onRange`, `onOpen`: a range or the large view is wanted; `note`
   */
  constructor(title, { load, onRange, onOpen = null, note = "" }) {
    this.title = title;
    this.load = load;
    this.onRange = onRange;
    this.note = make("span", { class: "note" }, note);
    this.body = make("div", { class: "body" });
    this.state = make("div", { class: "state" });
    const open = onOpen && make("button", { class: "quiet", onclick: () => onOpen(title), aria: { label: `Enlarge ${brief(title, 80)}` }, title: "Enlarge (Enter)" }, "⤢");
    this.element = make("section", { class: "card", tabIndex: 0, aria: { label: brief(title, 120) } },
      make("header", {}, make("h3", { title: brief(title) }, brief(title, 200)), this.note, open), this.body, this.state);
    this.element.addEventListener("keydown", (event) => this.onKey(event, onOpen));
    this.element.card = this;
    this.isNear = false;
  }

  onKey(event, onOpen) {
    if (event.target !== this.element || event.ctrlKey || event.metaKey || event.altKey || !this.chart?.plot) return;
    const zooms = { "+": [0.5, 0], "=": [0.5, 0], "-": [2, 0], ArrowLeft: [1, -0.25], ArrowRight: [1, 0.25] };
    if (event.key in zooms) this.chart.zoom(...zooms[event.key]);
    else if (event.key === "0") this.onRange(null, null);
    else if (event.key === "Enter" && onOpen) onOpen(this.title);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Shows curves; what there was before stays until then. */
  show(curves, view) {
    this.chart ??= new Chart(this.body, { height: this.height ?? CARD_HEIGHT, onRange: this.onRange, label: brief(this.title, 120) });
    this.chart.show(curves, view);
    this.say(curves.some((curve) => curve.n > 0) ? "" : "nothing in this range");
  }

  say(words, isProblem = false) {
    this.state.textContent = words;
    this.state.classList.toggle("problem", isProblem);
  }

  /** Brings anew what it shows, if it is in sight; else when it comes into sight. */
  async refresh() {
    this.isStale = !this.isNear;
    if (!this.isNear) return;
    this.asking?.abort();
    const asking = new AbortController();
    this.asking = asking;
    if (!this.chart) this.say("reading…");
    try {
      await this.load(this, asking.signal);
    } catch (error) {
      if (error.name !== "AbortError") this.say(error.message, true);
    } finally {
      if (this.asking === asking) this.asking = null;
    }
  }

  near(isNear) {
    this.isNear = isNear;
    if (isNear && (this.isStale || !this.chart)) this.refresh();
    if (!isNear) {
      this.asking?.abort();
      this.chart?.destroy();
      this.chart = null;
      this.tag = null;
    }
  }
}

/** Watches which cards are in sight, and how wide they are. */
export class Sight {
  constructor() {
    this.cards = new Set();
    this.seen = new IntersectionObserver((entries) => {
      for (const entry of entries) entry.target.card?.near(entry.isIntersecting);
    }, { rootMargin: FAR });
    this.sized = new ResizeObserver((entries) => {
      for (const entry of entries) entry.target.parentElement?.card?.chart?.resize();
    });
  }

  add(card) {
    this.cards.add(card);
    this.seen.observe(card.element);
    this.sized.observe(card.body);
  }

  /** Lets go of cards that are shown no longer. */
  keep(cards) {
    for (const card of this.cards) {
      if (cards.has(card)) continue;
      this.seen.unobserve(card.element);
      this.sized.unobserve(card.body);
      card.near(false);
      this.cards.delete(card);
    }
    for (const card of cards) if (!this.cards.has(card)) this.add(card);
  }
}
