// Where a score lies among those of normal images, as an SVG.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 420;
const HEIGHT = 150;
const BASE = 112; // Where the axis is.
const TOP = 24;
const MARGIN = 12;
const BINS = 24;
// With a wider range, normal scores would all fall into one bar.
const LARGEST_RATIO = 6;

function element(name, attributes, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

export function drawDistribution(normalScores, threshold, score, kind) {
  const shown = [...normalScores, score, ...(threshold === null ? [] : [threshold])];
  const low = Math.min(...shown);
  const high = Math.max(...shown);
  const logarithmic = low > 0 && high / low > LARGEST_RATIO;
  const scale = logarithmic ? Math.log : (value) => value;
  const span = scale(high) - scale(low) || 1;
  const share = (value) => (scale(value) - scale(low)) / span;
  const across = (value) => MARGIN + share(value) * (WIDTH - 2 * MARGIN);

  const counts = new Array(BINS).fill(0);
  for (const value of normalScores) counts[Math.min(Math.floor(share(value) * BINS), BINS - 1)] += 1;
  const most = Math.max(...counts);
  const step = (WIDTH - 2 * MARGIN) / BINS;

  const drawing = element("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    role: "img",
    "aria-label": "The score among the scores of normal images",
  });
  counts.forEach((count, bin) => {
    const height = (count / most) * (BASE - TOP);
    const place = { x: MARGIN + bin * step + 0.5, y: BASE - height, width: step - 1, height };
    if (count) drawing.append(element("rect", { class: "bar", ...place }));
  });
  drawing.append(element("line", { class: "axis", x1: MARGIN, x2: WIDTH - MARGIN, y1: BASE, y2: BASE }));
  if (threshold !== null) {
    const x = across(threshold);
    drawing.append(element("line", { class: "threshold", x1: x, x2: x, y1: TOP - 6, y2: BASE }));
  }
  const x = across(score);
  const mark = element("g", { class: kind === "anomaly" ? "mark anomaly" : "mark" });
  mark.append(
    element("line", { x1: x, x2: x, y1: TOP, y2: BASE }),
    element("path", { d: `M${x - 6} ${BASE + 11}h12l-6 -10z` }),
  );
  drawing.append(mark);
  const anchor = share(score) > 0.75 ? "end" : share(score) < 0.25 ? "start" : "middle";
  drawing.append(element("text", { x, y: BASE + 26, "text-anchor": anchor }, "this image"));
  const ends = [[low, MARGIN, "start"], [high, WIDTH - MARGIN, "end"]];
  for (const [value, place, side] of ends) {
    if (side === anchor) continue; // The mark's label is there.
    drawing.append(element("text", { x: place, y: BASE + 26, "text-anchor": side }, String(Number(value.toPrecision(3)))));
  }
  if (logarithmic) drawing.append(element("text", { x: MARGIN, y: 14 }, "logarithmic scale"));
  return drawing;
}
