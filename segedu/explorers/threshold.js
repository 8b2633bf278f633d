// A map of probabilities or of another quantity, what a threshold makes of it, and three scores
// over the threshold.

const SCORES = { IoU: iou, precision, recall };

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

// The threshold with the highest IoU, the lowest of several.
function bestThreshold(pixels, thresholds = THRESHOLDS) {
  const score = (threshold) => iou(count(pixels, threshold));
  return thresholds.reduce((best, other) => (score(other) > score(best) ? other : best));
}

// -- what the buttons set ------------------------------------------------------------------------

const ALMOST = 0.95; // of precision or recall

function thresholdsToTry(pixels, best, otsu) {
  const scores = THRESHOLDS.map((threshold) => count(pixels, threshold));
  const keeps = THRESHOLDS.findLast((_, k) => recall(scores[k]) >= ALMOST);
  const sure = THRESHOLDS.find((_, k) => precision(scores[k]) >= ALMOST);
  return [
    {
      label: "one half",
      threshold: 0.5,
      sentence:
        "The usual threshold of a probability: foreground is what is more likely foreground " +
        "than not.",
    },
    {
      label: "best IoU",
      threshold: best,
      sentence:
        "The highest IoU on these pixels. Finding it takes the truth: choose it on validation " +
        "images, never on test images.",
    },
    {
      label: "Otsu",
      threshold: otsu,
      sentence:
        "Otsu’s threshold splits the pixels into the two groups that vary least within " +
        "themselves. It does not need the truth.",
    },
    {
      label: "miss little",
      threshold: keeps,
      sentence:
        "The highest threshold that still finds 95\u00a0% of the foreground (recall). See how " +
        "many false alarms that costs.",
    },
    {
      label: "few false alarms",
      threshold: sure,
      sentence:
        "The lowest threshold with a precision of 95\u00a0%: of 100 pixels called foreground, 95 " +
        "are. See how many it misses.",
    },
  ]
    .filter(({ threshold }) => threshold !== undefined)
    .map(({ label, threshold, sentence }) => ({ label, sentence, values: { threshold } }));
}

// -- the plot ------------------------------------------------------------------------------------

const BINS = 50;
const TALLEST = 0.42; // of the plot's height
const SIDES = {
  foreground: { base: 0, up: 1, kinds: { left: "fn", right: "tp" } },
  background: { base: 1, up: -1, kinds: { left: "tn", right: "fp" } },
};

// Levels in bins over the probabilities, and how tall each is drawn: by the logarithm of 1 + n,
// since most pixels of a trained network lie at both ends.
function heights(pixels) {
  const bins = Object.fromEntries(
    Object.entries(pixels).map(([side, levels]) => {
      const sums = new Array(BINS).fill(0);
      const bin = (level) => Math.min(Math.floor((level / 255) * BINS), BINS - 1);
      levels.forEach((n, level) => (sums[bin(level)] += n));
      return [side, sums];
    }),
  );
  const most = Math.log1p(Math.max(...Object.values(bins).flat()));
  const tall = (n) => (TALLEST * Math.log1p(n)) / most;
  return Object.fromEntries(Object.entries(bins).map(([side, sums]) => [side, sums.map(tall)]));
}

// The bars between two probabilities.
function bars(tall, { base, up }, [from, to], { X, Y }) {
  const pieces = tall.map((height, bin) => {
    const [left, right] = [clamp(bin / BINS, from, to), clamp((bin + 1) / BINS, from, to)];
    if (right <= left || height === 0) return "";
    return `M${X(left)} ${Y(base)}V${Y(base + up * height)}H${X(right)}V${Y(base)}z`;
  });
  return pieces.join("");
}

// Where the names of two marks stand over the plot: above them, but beside each other.
const [ROOM, LEFTMOST, RIGHTMOST] = [62, 76, 306];
function apart([a, b]) {
  const centre = clamp((a + b) / 2, LEFTMOST + ROOM / 2, RIGHTMOST - ROOM / 2);
  const places = Math.abs(a - b) >= ROOM ? [a, b] : [centre - ROOM / 2, centre + ROOM / 2];
  if (Math.abs(a - b) < ROOM && a > b) places.reverse();
  return places.map((x) => clamp(x, LEFTMOST, RIGHTMOST));
}

// The scores over the threshold, the histogram behind them, and the line to drag.
function thresholdPlot(pixels, marks, quantity) {
  const axes = chart({
    label:
      "IoU, precision and recall over the threshold; behind them how many foreground and " +
      `background pixels have each ${quantity}`,
    x: { name: `threshold, ${quantity}`, domain: [0, 1], ticks: [0, 0.25, 0.5, 0.75, 1] },
    y: { name: "score", domain: [0, 1], ticks: [0, 0.25, 0.5, 0.75, 1] },
  });
  const tall = heights(pixels);
  const areas = Object.entries(SIDES).flatMap(([side, how]) =>
    Object.entries(how.kinds).map(([where, kind]) => {
      const area = svg(`path.pixels-${kind}`);
      axes.plot.append(area);
      return { area, where, heights: tall[side], how };
    }),
  );
  const places = apart(marks.map(({ at }) => axes.X(at)));
  marks.forEach(({ name, at }, k) => {
    const x = axes.X(at);
    const text = { x: places[k], y: axes.Y(1) - 7, "text-anchor": "middle" };
    axes.plot.append(svg("line.mark", { x1: x, x2: x, y1: axes.Y(0), y2: axes.Y(1) }));
    axes.root.append(svg("text.mark", text, `${name} ${at.toFixed(2)}`));
  });
  const curves = Object.entries(SCORES).map(([name, formula]) => {
    const score = (threshold) => formula(count(pixels, threshold));
    const kind = name.toLowerCase();
    axes.plot.append(svg(`path.curve.${kind}`, { d: path(THRESHOLDS, score, axes) }));
    return { score, dot: svg(`circle.dot.${kind}`, { r: 4.5 }) };
  });
  const cursor = svg("line.cursor", { y1: axes.Y(0), y2: axes.Y(1) });
  const handle = svg("rect.handle", { y: axes.Y(0.5) - 12, width: 9, height: 24, rx: 4 });
  const here = svg("path.here", { visibility: "hidden" }); // the pixel that one points at
  axes.plot.append(cursor);
  axes.root.append(handle, here, ...curves.map(({ dot }) => dot));

  function draw(threshold) {
    const x = axes.X(threshold);
    for (const { area, where, heights, how } of areas) {
      const part = where === "left" ? [0, threshold] : [threshold, 1];
      set(area, { d: bars(heights, how, part, axes) });
    }
    set(cursor, { x1: x, x2: x });
    set(handle, { x: x - 4.5 });
    for (const { score, dot } of curves) {
      const now = score(threshold);
      set(dot, { cx: x, cy: axes.Y(now || 0), opacity: Number.isNaN(now) ? 0 : 1 });
    }
  }
  function point(probability) {
    if (probability === null) set(here, { visibility: "hidden" });
    else set(here, { d: `M${axes.X(probability)} ${axes.Y(0)}l-6 9h12z`, visibility: "visible" });
  }
  return { axes, draw, point };
}

// -- the figure ----------------------------------------------------------------------------------

const CANVAS = 700; // pixels of the canvas that shows the errors, about
const NAMES = {
  tp: "TP, found",
  fn: "FN, missed",
  fp: "FP, false alarm",
  tn: "TN, rightly background",
};
const BARS =
  "Drag the line. The bars behind it count pixels: foreground from below, background from above, " +
  "coloured as in the table. Their scale is logarithmic, so that a few pixels are seen, too.";
const shown = (score) => (Number.isNaN(score) ? "0 / 0" : score.toFixed(3));

// The four counts as a table: a row for each class, a column for each side of the threshold.
function countTable() {
  const values = Object.fromEntries(KINDS.map((kind) => [kind, html("b")]));
  const cells = Object.fromEntries(
    KINDS.map((kind) => {
      const patch = html(`span.patch.${kind}`, kind.toUpperCase());
      return [kind, html("td", { style: "white-space: nowrap" }, patch, " ", values[kind])];
    }),
  );
  const head = (scope, text) => html("th", { scope }, text);
  const root = html(
    "table",
    html("thead", html("tr", html("td"), head("col", "above"), head("col", "not above"))),
    html(
      "tbody",
      html("tr", head("row", "foreground"), cells.tp, cells.fn),
      html("tr", head("row", "background"), cells.fp, cells.tn),
    ),
  );
  return {
    root,
    draw: (counts) => KINDS.forEach((kind) => (values[kind].textContent = counts[kind])),
    mark: (now) => KINDS.forEach((kind) => cells[kind].classList.toggle("lit", kind === now)),
  };
}

function scoreRows() {
  const rows = Object.entries(SCORES).map(([name, score]) => {
    const value = html("b");
    return { score, value, root: pair(html(`span.swatch.${name.toLowerCase()}`, name), value) };
  });
  function draw(counts) {
    for (const { score, value } of rows) value.textContent = shown(score(counts));
  }
  return { roots: rows.map(({ root }) => root), draw };
}

function render({ model, el }) {
  const { width, otsu, quantity, ...data } = model.get("data");
  const { levels, truth } = unpack(data);
  const height = levels.length / width;
  const pixels = histogram({ levels, truth });
  const best = bestThreshold(pixels);
  const now = () => Number(model.get("threshold").toFixed(2)); // may be 0.39999999999999997
  const kindAt = (index) => kindOf(Number(above(levels[index], now())), truth[index]);

  const map = picture(width, height, `${quantity} map, bright where the ${quantity} is high`);
  map.paint((index) => [levels[index], levels[index], levels[index]]);
  const errors = errorPicture(
    width,
    height,
    Math.max(Math.round(CANVAS / width), 1),
    "what is above the threshold, coloured and hatched by TP, FP, FN and TN",
  );
  const marks = [
    { name: "best", at: best },
    { name: "Otsu", at: otsu },
  ];
  const plot = thresholdPlot(pixels, marks, quantity);
  dragAlong(plot.axes, (x) => change(model, "threshold", clamp(Math.round(100 * x) / 100, 0, 1)));
  const table = countTable();
  const scores = scoreRows();
  const pixel = html("p.note.pixel", { "aria-live": "polite" });
  const text = summary();

  let at = null; // the pixel that one points at
  function drawPixel() {
    const kind = at === null ? null : kindAt(at);
    plot.point(at === null ? null : levels[at] / 255);
    table.mark(kind);
    const place = `Row ${Math.floor(at / width)}, column ${at % width}`;
    const words = `${place}: ${quantity} ${(levels[at] / 255).toFixed(2)}, ${NAMES[kind]}.`;
    pixel.textContent = at === null ? `Point at a pixel to see its ${quantity}.` : words;
  }
  const note = `${quantity} map, with the outlines of the truth`;
  const pictures = [
    { node: map.node, over: [svg("path.rim", { d: contour(truth, width) })], note },
    { node: errors.node, note: "above the threshold, against the truth" },
  ];
  const look = (index) => {
    at = index;
    drawPixel();
  };
  el.append(
    presets(model, thresholdsToTry(pixels, best, Number(otsu.toFixed(2)))),
    html("div.maps", pointed(pictures, [width, height], look)),
    pixel,
    html(
      "div.panels",
      plot.axes.root,
      html("div", table.root, scores.roots, html("p.note", BARS)),
    ),
    text,
  );

  follow(model, ["threshold"], () => {
    const threshold = now();
    const counts = count(pixels, threshold);
    errors.paint(
      range(levels.length).map(kindAt),
      (index) => packedGrey(levels[index] >> 1),
      () => false,
    );
    plot.draw(threshold);
    table.draw(counts);
    scores.draw(counts);
    drawPixel();
    const words = Object.entries(SCORES).map(([name, score]) => `${name} ${shown(score(counts))}`);
    const highest = shown(iou(count(pixels, best)));
    text.textContent =
      `Threshold ${threshold.toFixed(2)}: ${words.join(", ")}. ` +
      `IoU is highest, ${highest}, at ${best.toFixed(2)}.`;
  });
}
