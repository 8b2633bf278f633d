// A probability map, what a threshold makes of it, and three scores over the threshold.

const SCORES = {
  IoU: ({ tp, fp, fn }) => tp / (tp + fp + fn),
  precision: ({ tp, fp }) => tp / (tp + fp),
  recall: ({ tp, fn }) => tp / (tp + fn),
};

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

// The map's 8-bit levels, and for each pixel whether it is foreground (8 pixels a byte).
function unpack({ levels, truth }) {
  const packed = bytes(truth);
  const values = bytes(levels);
  return { levels: values, truth: values.map((_, k) => (packed[k >> 3] >> (7 - (k & 7))) & 1) };
}

// How many foreground and background pixels each of the 256 levels has.
function histogram({ levels, truth }) {
  const pixels = { foreground: new Array(256).fill(0), background: new Array(256).fill(0) };
  levels.forEach((level, k) => (pixels[truth[k] ? "foreground" : "background"][level] += 1));
  return pixels;
}

const above = (level, threshold) => level / 255 > threshold;

function count({ foreground, background }, threshold) {
  const counts = { tp: 0, fp: 0, fn: 0, tn: 0 };
  for (const level of range(256)) {
    counts[above(level, threshold) ? "tp" : "fn"] += foreground[level];
    counts[above(level, threshold) ? "fp" : "tn"] += background[level];
  }
  return counts;
}

const THRESHOLDS = range(101).map((k) => k / 100);
const shown = (score) => (Number.isNaN(score) ? "0 / 0" : score.toFixed(3));

function render({ model, el }) {
  const { width, colours, ...data } = model.get("data");
  const { levels, truth } = unpack(data);
  const pixels = histogram({ levels, truth });
  const height = levels.length / width;

  const picture = (label) => html("canvas", { width, height, role: "img", "aria-label": label });
  const map = picture("probability map, bright where foreground is likely");
  const errors = picture("what is above the threshold, in the colours of TP, FP, FN and TN");
  const image = map.getContext("2d").createImageData(width, height);
  levels.forEach((level, k) => image.data.set([level, level, level, 255], 4 * k));
  map.getContext("2d").putImageData(image, 0, 0);

  const axes = chart({
    label: "IoU, precision and recall over the threshold",
    x: { name: "threshold", domain: [0, 1], ticks: [0, 0.25, 0.5, 0.75, 1] },
    y: { name: "score", domain: [0, 1.02], ticks: [0, 0.25, 0.5, 0.75, 1] },
  });
  const cursor = svg("line.cursor", { y1: axes.Y(0), y2: axes.Y(1) });
  axes.plot.append(cursor);
  const scores = Object.entries(SCORES).map(([name, formula]) => {
    const score = (threshold) => formula(count(pixels, threshold));
    const kind = name.toLowerCase();
    axes.plot.append(svg(`path.curve.${kind}`, { d: path(THRESHOLDS, score, axes) }));
    const dot = svg(`circle.dot.${kind}`, { r: 4.5 });
    return { score, dot, value: html("b"), label: html(`span.swatch.${kind}`, name) };
  });
  axes.root.append(...scores.map(({ dot }) => dot));
  const [iou, precision, recall] = scores.map(({ score }) => score);
  const best = THRESHOLDS.reduce((a, b) => (iou(b) > iou(a) ? b : a));

  const cells = Object.fromEntries(["tp", "fn", "fp", "tn"].map((kind) => [kind, html("b")]));
  const cell = (kind) => {
    const patch = html(`span.patch.${kind}`, kind.toUpperCase());
    return html("td", { style: "white-space: nowrap" }, patch, " ", cells[kind]);
  };
  const head = (scope, text) => html("th", { scope }, text);
  const table = html(
    "table",
    html("thead", html("tr", html("td"), head("col", "above"), head("col", "not above"))),
    html(
      "tbody",
      html("tr", head("row", "foreground"), cell("tp"), cell("fn")),
      html("tr", head("row", "background"), cell("fp"), cell("tn")),
    ),
  );
  const text = summary();
  el.append(
    html(
      "div.panels",
      html("div", map, html("p.note", "probability map")),
      html("div", errors, html("p.note", "above the threshold, against the truth")),
      axes.root,
      html(
        "div",
        table,
        scores.map(({ label, value }) => pair(label, value)),
      ),
    ),
    text,
  );

  follow(model, ["threshold"], () => {
    const threshold = Number(model.get("threshold").toFixed(2)); // may be 0.39999999999999997
    levels.forEach((level, k) => {
      const kind = above(level, threshold) ? (truth[k] ? "tp" : "fp") : truth[k] ? "fn" : "tn";
      image.data.set(colours[kind] ?? [level / 2, level / 2, level / 2], 4 * k);
    });
    errors.getContext("2d").putImageData(image, 0, 0);

    const counts = count(pixels, threshold);
    for (const [kind, value] of Object.entries(cells)) value.textContent = counts[kind];
    set(cursor, { x1: axes.X(threshold), x2: axes.X(threshold) });
    for (const { score, dot, value } of scores) {
      const now = score(threshold);
      value.textContent = shown(now);
      set(dot, { cx: axes.X(threshold), cy: axes.Y(now || 0), opacity: Number.isNaN(now) ? 0 : 1 });
    }
    text.textContent =
      `Threshold ${threshold.toFixed(2)}: IoU ${shown(iou(threshold))}, ` +
      `precision ${shown(precision(threshold))}, recall ${shown(recall(threshold))}. ` +
      `IoU is highest, ${shown(iou(best))}, at ${best.toFixed(2)}.`;
  });
}
