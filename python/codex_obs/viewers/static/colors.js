// Colours of runs: chosen so that neighbours differ in light and dark, also for eyes that do not tell red from green.

const HUES = [
  ["#3b6fd4", "#7aa5ff"],
  ["#d9822b", "#ffb066"],
  ["#2a9d8f", "#4fd1c0"],
  ["#c8406a", "#ff86a8"],
  ["#7a5bc9", "#b69cff"],
  ["#6b8e23", "#b5d46a"],
  ["#9c6644", "#d9a680"],
  ["#0f8bb8", "#5cc8f2"],
  ["#b5489f", "#f08fdc"],
  ["#5c6b7a", "#aebccb"],
];
// A split has a dash of its own: `train` none.
const DASHES = [[], [6, 4], [2, 3], [10, 3, 2, 3], [1, 4]];

export function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

/** The colour of the run that stands at a place of the choice. */
export function colorOf(place) {
  return HUES[place % HUES.length][isDark() ? 1 : 0];
}

/** Dashes of splits: the first, usually `train`, is a line without gaps. */
export function dashesOf(splits) {
  const order = [...splits].sort((one, other) => (other === "train") - (one === "train") || (one < other ? -1 : 1));
  return new Map(order.map((split, place) => [split, DASHES[Math.min(place, DASHES.length - 1)]]));
}
