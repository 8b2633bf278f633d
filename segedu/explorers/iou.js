// Two shapes on a grid of pixels: their counts, IoU and Dice, and what a shift does to these.

const [COLUMNS, ROWS] = [128, 64];
const SHAPES = ["disc", "square"];

// Which pixels a shape covers: `spans` holds [first, end) columns for each row from `top` on. It
// moves inwards where it would stick out of the grid.
function covered(shape, [column, row], size) {
  const first = (at, side) => clamp(at - Math.floor(size / 2), 0, side - size);
  const [left, top] = [first(column, COLUMNS), first(row, ROWS)];
  const spans = range(size).map((k) => {
    // Twice the way from the middle of the shape to the middle of the row's pixels.
    const y = 2 * k + 1 - size;
    const reach = shape === "disc" ? Math.sqrt(size * size - y * y) : size;
    const margin = Math.max(Math.ceil((size - 1 - reach) / 2), 0);
    return [left + margin, left + size - margin];
  });
  return { left, top, size, spans };
}

const area = ({ spans }) => spans.reduce((sum, [first, end]) => sum + end - first, 0);
const middle = ({ left, size }) => left + size / 2;

// How many pixels both cover once `a` has moved to the right.
function shared(a, b, right = 0) {
  let pixels = 0;
  const end = Math.min(a.top + a.size, b.top + b.size);
  for (let y = Math.max(a.top, b.top); y < end; y++) {
    const [[firstA, endA], [firstB, endB]] = [a.spans[y - a.top], b.spans[y - b.top]];
    pixels += Math.max(Math.min(endA + right, endB) - Math.max(firstA + right, firstB), 0);
  }
  return pixels;
}

function count(preds, target, right) {
  const tp = shared(preds, target, right);
  const [fp, fn] = [area(preds) - tp, area(target) - tp];
  return { tp, fp, fn, tn: ROWS * COLUMNS - tp - fp - fn };
}

// 1 for the pixels that a shape covers, row by row over the whole grid.
function mask({ top, spans }) {
  const pixels = new Uint8Array(ROWS * COLUMNS);
  spans.forEach(([first, end], k) => {
    const row = (top + k) * COLUMNS;
    pixels.fill(1, row + first, row + end);
  });
  return pixels;
}

// -- the goal ------------------------------------------------------------------------------------

const GOAL = 0.5;
const GOAL_SIZES = [6, 60];
const START = "Start with the button “nucleus of 6 px”: both shapes then have that size.";

// What to do next for the goal, and the shift if this is the largest that the goal allows.
function judge(preds, target) {
  const size = target.size;
  if (preds.size !== size || !GOAL_SIZES.includes(size)) return {};
  if (preds.top !== target.top) {
    return { hint: "Move the prediction up or down to the row of the truth first." };
  }
  const shift = Math.abs(middle(preds) - middle(target));
  const away = middle(preds) < middle(target) ? -1 : 1;
  const [now, next] = [0, away].map((right) => iou(count(preds, target, right)));
  const score = `IoU ${now.toFixed(3)}`;
  if (now < GOAL) return { hint: `${score} is too low: move it back towards the truth.` };
  if (next >= GOAL) return { hint: `${score}: move it further to the left or right.` };
  return { size, shift };
}

// The goal's text: `found` maps the sizes that are done to their largest shifts.
function goalText(found, hint) {
  if (found.size === GOAL_SIZES.length) {
    const [small, large] = GOAL_SIZES;
    return (
      `Done: a nucleus of ${small} px may be ${found.get(small)} px off, one of ${large} px ` +
      `${found.get(large)} px. The shift that IoU allows grows with the size: compare IoU only ` +
      "between objects of similar size."
    );
  }
  const [size] = found.keys();
  if (size === undefined) return hint ?? START;
  const next = hint ?? `Now the nucleus of ${GOAL_SIZES.find((other) => other !== size)} px.`;
  return `Reached: a nucleus of ${size} px may be ${found.get(size)} px off. ${next}`;
}

// -- the figure ----------------------------------------------------------------------------------

const NAMES = { tp: "TP, in both", fp: "FP, prediction only", fn: "FN, truth only" };
const CELL = 6; // what a pixel measures in the drawing
const ZOOM = 8; // and on the canvas
const HINT =
  "Each square is a pixel. Drag a shape or the plot, or press Tab and move a shape by arrow keys.";
const FARTHEST = 64; // shift that the plot shows, in pixels

const both = (size, shift) => ({
  truth_size: size,
  prediction_size: size,
  truth: [COLUMNS / 2, ROWS / 2],
  prediction: [COLUMNS / 2 + shift, ROWS / 2],
});
const PRESETS = [
  {
    label: "nucleus of 6 px",
    values: both(6, 2),
    sentence: "2 pixels off: a nucleus of 6 pixels has lost more than half of its IoU.",
  },
  {
    label: "nucleus of 60 px",
    values: both(60, 2),
    sentence: "Also 2 pixels off: a nucleus of 60 pixels has lost less than a tenth of its IoU.",
  },
  {
    label: "1 px off",
    values: both(12, 1),
    sentence: "One pixel to the right costs a nucleus of 12 pixels a fifth of its IoU.",
  },
  {
    label: "too thin",
    values: { ...both(24, 0), prediction_size: 22 },
    sentence: "One pixel too thin all round: every predicted pixel is right, and IoU is only 0.86.",
  },
  {
    label: "nested",
    values: { ...both(40, 0), prediction_size: 20 },
    sentence: "The prediction lies in the truth: no false positive, and IoU is the ratio of areas.",
  },
  {
    label: "disjoint",
    values: both(24, 26),
    sentence: "No pixel in common: IoU is 0, and it stays 0 however near or far the prediction is.",
  },
];

// The outline of a shape as the text of an SVG path: down its right side and up its left.
function outline({ top, spans }) {
  const right = spans.map(([, end], k) => `H${end * CELL}V${(top + k + 1) * CELL}`);
  const left = spans.map(([first], k) => `H${first * CELL}V${(top + k) * CELL}`).reverse();
  return `M${spans[0][0] * CELL} ${top * CELL}${right.join("")}${left.join("")}z`;
}

// The shapes as things to take hold of, over the picture of the pixels.
function shapesToMove(move) {
  const [width, height] = [COLUMNS * CELL, ROWS * CELL];
  const glass = svg("svg", { viewBox: `0 0 ${width} ${height}` });
  const lines = [
    range(COLUMNS + 1).map((x) => `M${x * CELL} 0v${height}`),
    range(ROWS + 1).map((y) => `M0 ${y * CELL}h${width}`),
  ];
  glass.append(svg("path.grid", { d: lines.flat().join("") }));

  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const shapes = ["truth", "prediction"].map((name) => {
    const grip = svg("circle.grip");
    const line = svg(`path.outline.${name}`);
    const label = svg("text.name", { "text-anchor": "middle" }, name);
    const node = svg("g", { tabindex: 0, role: "group" }, grip, line, label);
    node.setAttribute("aria-roledescription", "shape to move");
    node.dataset.lmSuppressShortcuts = "true"; // or JupyterLab takes the arrow keys
    glass.append(node);
    node.addEventListener("keydown", (event) => {
      if (!(event.key in steps)) return;
      event.preventDefault();
      move(name, steps[event.key]);
    });
    node.addEventListener("pointerdown", ({ clientX, clientY, pointerId }) => {
      const pixel = glass.getBoundingClientRect().width / COLUMNS;
      let done = [0, 0];
      node.setPointerCapture(pointerId);
      node.onpointermove = (event) => {
        const way = [event.clientX - clientX, event.clientY - clientY];
        const now = way.map((length) => Math.round(length / pixel));
        move(name, [now[0] - done[0], now[1] - done[1]]);
        done = now;
      };
    });
    node.onpointerup = node.onpointercancel = () => (node.onpointermove = null);
    return { name, grip, line, label, node };
  });

  function draw(covers) {
    shapes.forEach(({ name, grip, line, label, node }, index) => {
      const { left, top, size } = covers[index];
      const [x, y] = [(left + size / 2) * CELL, (top + size / 2) * CELL];
      set(grip, { cx: x, cy: y, r: Math.max((size * CELL) / 2, 26) }); // 26: enough for a thumb
      set(line, { d: outline(covers[index]) });
      const above = Math.max(top * CELL - 6, 14);
      const below = Math.min((top + size) * CELL + 18, height - 6);
      set(label, { x: clamp(x, 48, width - 48), y: name === "truth" ? above : below });
      const columns = `columns ${left} to ${left + size - 1}`;
      set(node, { "aria-label": `${name}, ${columns}, rows ${top} to ${top + size - 1}` });
    });
  }
  return { glass, draw };
}

// IoU and Dice over the shift to the right, with a dot at the present one.
function shiftPlot() {
  const axes = chart({
    label: "IoU and Dice over the shift of the prediction to the right, in pixels",
    x: {
      name: "shift to the right, pixels",
      domain: [-FARTHEST, FARTHEST],
      ticks: [-60, -30, 0, 30, 60],
    },
    y: { name: "score", domain: [0, 1.02], ticks: [0, 0.25, 0.5, 0.75, 1] },
  });
  const cursor = svg("line.cursor", { y1: axes.Y(0), y2: axes.Y(1) });
  const half = `M${axes.X(-FARTHEST)} ${axes.Y(GOAL)}H${axes.X(FARTHEST)}`;
  axes.plot.append(svg("path.half", { d: half }), cursor);
  const curves = Object.entries({ iou, dice }).map(([name, score]) => {
    const [line, dot] = [svg(`path.curve.${name}`), svg(`circle.dot.${name}`, { r: 4.5 })];
    axes.plot.append(line);
    axes.root.append(dot);
    return { score, line, dot };
  });

  function draw(preds, target) {
    const now = middle(preds) - middle(target);
    const shifts = range(2 * FARTHEST + 1).map((k) => k - FARTHEST + (now % 1));
    const counts = new Map(shifts.map((shift) => [shift, count(preds, target, shift - now)]));
    set(cursor, { x1: axes.X(now), x2: axes.X(now) });
    const x = axes.X(clamp(now, -FARTHEST, FARTHEST));
    for (const { score, line, dot } of curves) {
      set(line, { d: path(shifts, (shift) => score(counts.get(shift)), axes) });
      set(dot, { cx: x, cy: axes.Y(score(count(preds, target))) });
    }
  }
  return { axes, draw };
}

// The counts. light(kind) is called while one points at a count, and light(null) after.
function countRows(light) {
  const rows = Object.entries(NAMES).map(([kind, name]) => {
    const value = html("b");
    const root = pair(html(`span.patch.${kind}`, name), value);
    root.classList.add("count");
    root.addEventListener("pointerenter", () => light(kind));
    root.addEventListener("pointerleave", () => light(null));
    return { kind, value, root };
  });
  return {
    roots: rows.map(({ root }) => root),
    draw: (counts) => rows.forEach(({ kind, value }) => (value.textContent = counts[kind])),
    mark: (now) => rows.forEach(({ kind, root }) => root.classList.toggle("lit", kind === now)),
  };
}

const FORMULAS = {
  IoU: {
    score: iou,
    words: ({ tp, fp, fn }) => `TP / (TP + FP + FN) = ${tp} / ${tp + fp + fn}`,
  },
  Dice: {
    score: dice,
    words: ({ tp, fp, fn }) => `2 TP / (2 TP + FP + FN) = ${2 * tp} / ${2 * tp + fp + fn}`,
  },
};

// IoU and Dice as numbers, bars and formulas.
function scoreRows() {
  const rows = Object.entries(FORMULAS).map(([name, formula]) => {
    const [value, part, words] = [html("b"), html("div.part"), html("span.note")];
    const label = html(`span.swatch.${name.toLowerCase()}`, name);
    const root = html("div.share", pair(label, value), html("div.bar", part), words);
    return { formula, value, part, words, root };
  });
  function draw(counts) {
    for (const { formula, value, part, words } of rows) {
      const score = formula.score(counts);
      value.textContent = score.toFixed(3);
      part.style.width = `${100 * score}%`;
      words.textContent = formula.words(counts);
    }
  }
  return { roots: rows.map(({ root }) => root), draw };
}

function render({ model, el }) {
  let kinds = []; // of all pixels
  let lit = null; // the kind whose count one points at; the others are almost hidden

  const place = (name) => {
    const shape = SHAPES[model.get("shape")];
    return covered(shape, model.get(name), model.get(`${name}_size`));
  };
  // Moves a shape by so many pixels, or as far as the grid allows.
  function move(name, [right, down]) {
    const { left, top, size } = place(name);
    const half = Math.floor(size / 2);
    const inside = (first, side) => clamp(first, 0, side - size) + half;
    change(model, name, [inside(left + right, COLUMNS), inside(top + down, ROWS)]);
  }

  const pixels = errorPicture(COLUMNS, ROWS, ZOOM, "the pixels, coloured by TP, FP and FN");
  const drawPixels = () =>
    pixels.paint(
      kinds,
      () => 0, // transparent
      (kind) => lit !== null && kind !== lit,
    );
  const counted = countRows((kind) => {
    lit = kind;
    drawPixels();
  });
  const scores = scoreRows();
  const plot = shiftPlot();
  dragAlong(plot.axes, (shift) => {
    const [preds, target] = [place("prediction"), place("truth")];
    move("prediction", [Math.round(shift + middle(target) - middle(preds)), 0]);
  });
  const shapes = shapesToMove(move);
  shapes.glass.addEventListener("pointermove", ({ clientX, clientY }) => {
    const box = shapes.glass.getBoundingClientRect();
    const column = Math.floor(((clientX - box.left) / box.width) * COLUMNS);
    const row = Math.floor(((clientY - box.top) / box.height) * ROWS);
    counted.mark(kinds[row * COLUMNS + column]);
  });
  shapes.glass.addEventListener("pointerleave", () => counted.mark(null));

  const found = new Map(); // from a size to the largest shift, once that was reached
  const goal = html("p.goal", { role: "status", "aria-live": "polite" });
  const text = summary();
  el.append(
    presets(model, PRESETS),
    html("div.stage", pixels.node, shapes.glass),
    html("p.note", HINT),
    html("div.panels", plot.axes.root, html("div", counted.roots, scores.roots)),
    html("p.title", "Goal: what is the largest shift with an IoU of 0.5 or more?"),
    goal,
    text,
  );

  follow(model, ["shape", "truth", "prediction", "truth_size", "prediction_size"], () => {
    const [target, preds] = [place("truth"), place("prediction")];
    const [real, predicted] = [mask(target), mask(preds)];
    kinds = Array.from(real, (held, index) => kindOf(predicted[index], held));
    drawPixels();
    shapes.draw([target, preds]);
    plot.draw(preds, target);

    const counts = count(preds, target);
    counted.draw(counts);
    scores.draw(counts);
    const { hint, size, shift } = judge(preds, target);
    if (size) found.set(size, shift);
    goal.textContent = goalText(found, hint);
    text.textContent =
      `${counts.tp} pixels in both, ${counts.fp} predicted only, ${counts.fn} missed, ` +
      `${counts.tn} in neither: IoU ${iou(counts).toFixed(3)}, Dice ${dice(counts).toFixed(3)}.`;
  });
}
