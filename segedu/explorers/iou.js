// Two shapes on a grid of pixels: their counts, IoU and Dice, and what a shift does to these.

// -- the goal ------------------------------------------------------------------------------------

const GOAL = 0.5;
const GOAL_SIZES = [6, 60];
const START = "Start with the button “6 px nucleus”: both shapes then have that size.";

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
  const next = hint ?? `Now the one of ${GOAL_SIZES.find((other) => other !== size)} px.`;
  return `Reached: a nucleus of ${size} px may be ${found.get(size)} px off. ${next}`;
}

// -- the figure ----------------------------------------------------------------------------------

const NAMES = { tp: "TP, in both", fp: "FP, prediction only", fn: "FN, truth only" };
const ZOOMS = [1, 2, 4];
const HINT =
  "Each square is a pixel. Drag a shape or the plot, or press Tab and move a shape by arrow keys.";

const both = (size, shift, zoom) => ({
  truth: [COLUMNS / 2, ROWS / 2],
  prediction: [COLUMNS / 2 + shift, ROWS / 2],
  truth_size: size,
  prediction_size: size,
  zoom: ZOOMS.indexOf(zoom),
});
const PRESETS = [
  {
    label: "6 px nucleus",
    values: both(6, 2, 4),
    sentence: "2 pixels off: a nucleus of 6 pixels has lost more than half of its IoU.",
  },
  {
    label: "60 px nucleus",
    values: both(60, 2, 1),
    sentence: "Also 2 pixels off: a nucleus of 60 pixels has lost less than a tenth of its IoU.",
  },
  {
    label: "1 px off",
    values: both(12, 1, 4),
    sentence: "One pixel to the right costs a nucleus of 12 pixels a fifth of its IoU.",
  },
  {
    label: "too thin",
    values: { ...both(24, 0, 2), prediction_size: 22 },
    sentence: "One pixel too thin all round: every predicted pixel is right, and IoU is only 0.86.",
  },
  {
    label: "nested",
    values: { ...both(40, 0, 1), prediction_size: 20 },
    sentence: "The prediction lies in the truth: no false positive, and IoU is the ratio of areas.",
  },
  {
    label: "disjoint",
    values: both(24, 26, 2),
    sentence: "No pixel in common: IoU is 0, and it stays 0 however near or far the prediction is.",
  },
];

// -- the stage -----------------------------------------------------------------------------------

const CELL = 6; // what a pixel measures in the drawing without zoom
const FINE = 8; // and on the canvas
const THUMB = 26; // radius that a finger can hit, in the drawing

// The part of the grid that is seen: from `corner` on, moved no more than the shapes make it.
function seen(corner, [width, height], shapes) {
  const hold = (at, side, first, size) => clamp(at, first + size - side, first);
  let [left, top] = corner;
  for (const shape of shapes) {
    left = hold(left, width, shape.left, shape.size);
    top = hold(top, height, shape.top, shape.size);
  }
  return [clamp(left, 0, COLUMNS - width), clamp(top, 0, ROWS - height)];
}

// The outline of a shape as the text of an SVG path: down its right side and up its left.
function outline({ top, spans }, x, y) {
  const right = spans.map(([, end], k) => `H${x(end)}V${y(top + k + 1)}`);
  const left = spans.map(([first], k) => `H${x(first)}V${y(top + k)}`).reverse();
  return `M${x(spans[0][0])} ${y(top)}${right.join("")}${left.join("")}z`;
}

// A shape as a thing to take hold of: take(name, event) is called when it is pressed, and
// move(name, way) when an arrow key moves it.
function makeGrip(name, take, move) {
  const [grip, line] = [svg("circle.grip"), svg(`path.outline.${name}`)];
  const label = svg("text.name", { "text-anchor": "middle" }, name);
  const node = svg("g", { tabindex: 0, role: "group" }, grip, line, label);
  node.setAttribute("aria-roledescription", "shape to move");
  node.dataset.lmSuppressShortcuts = "true"; // or JupyterLab takes the arrow keys
  node.addEventListener("keydown", (event) => {
    if (!(event.key in MOVES)) return;
    event.preventDefault();
    const [down, right] = MOVES[event.key];
    move(name, [right, down]);
  });
  node.addEventListener("pointerdown", (event) => {
    node.setPointerCapture(event.pointerId);
    node.onpointermove = take(name, event);
  });
  // A finger on a shape moves the shape, not the page. (`touch-action` is not enough inside an SVG.)
  node.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
  node.onpointerup = node.onpointercancel = () => (node.onpointermove = null);
  return { name, grip, line, label, node };
}

// The pixels with both shapes over them. move(name, way) is called when the reader moves a shape by
// so many pixels, and point(kind) when a pixel is pointed at.
function makeStage(move, point) {
  const [width, height] = [COLUMNS * CELL, ROWS * CELL];
  const canvases = ZOOMS.map((zoom) => {
    const label = "the pixels, coloured by TP, FP and FN";
    return errorPicture(COLUMNS / zoom, ROWS / zoom, FINE * zoom, label);
  });
  const glass = svg("svg", { viewBox: `0 0 ${width} ${height}` });
  const grid = svg("path.grid");
  const root = html("div.stage");
  let now = {}; // what is drawn: zoom, sizes, corner, kinds of all pixels

  const sides = (zoom) => [COLUMNS / zoom, ROWS / zoom];
  const pixelWidth = () => (glass.getBoundingClientRect().width / COLUMNS) * now.zoom;
  function take(name, { clientX, clientY }) {
    let done = [0, 0];
    return (event) => {
      const way = [event.clientX - clientX, event.clientY - clientY];
      const whole = way.map((length) => Math.round(length / pixelWidth()));
      move(name, [whole[0] - done[0], whole[1] - done[1]]);
      done = whole;
    };
  }
  const grips = ["truth", "prediction"].map((name) => makeGrip(name, take, move));
  glass.append(grid, ...grips.map(({ node }) => node));
  glass.addEventListener("pointermove", ({ clientX, clientY }) => {
    const box = glass.getBoundingClientRect();
    const column = now.corner[0] + Math.floor((clientX - box.left) / pixelWidth());
    const row = now.corner[1] + Math.floor((clientY - box.top) / pixelWidth());
    point(now.kinds[row * COLUMNS + column]);
  });
  glass.addEventListener("pointerleave", () => point(null));

  function zoomTo(zoom) {
    const [columns, rows] = sides(zoom);
    const lines = [
      range(columns + 1).map((x) => `M${x * CELL * zoom} 0v${height}`),
      range(rows + 1).map((y) => `M0 ${y * CELL * zoom}h${width}`),
    ];
    set(grid, { d: lines.flat().join("") });
    root.replaceChildren(canvases[ZOOMS.indexOf(zoom)].node, glass);
  }

  // The corner with which both shapes stand in the middle.
  function centred(zoom, [a, b]) {
    const [columns, rows] = sides(zoom);
    const column = (a.left + b.left + (a.size + b.size) / 2) / 2;
    const row = (a.top + b.top + (a.size + b.size) / 2) / 2;
    return [Math.round(column - columns / 2), Math.round(row - rows / 2)];
  }

  function drawGrip({ name, grip, line, label, node }, shape) {
    const [x, y] = now.corner.map((first) => (at) => (at - first) * CELL * now.zoom);
    const { left, top, size } = shape;
    const place = { cx: x(left + size / 2), cy: y(top + size / 2) };
    set(grip, { ...place, r: Math.max((size * CELL * now.zoom) / 2, THUMB) });
    set(line, { d: outline(shape, x, y) });
    const above = Math.max(y(top) - 6, 14);
    const below = Math.min(y(top + size) + 18, height - 6);
    set(label, { x: clamp(place.cx, 48, width - 48), y: name === "truth" ? above : below });
    const columns = `columns ${left} to ${left + size - 1}`;
    set(node, { "aria-label": `${name}, ${columns}, rows ${top} to ${top + size - 1}` });
  }

  // The pixels alone; all but the kind `lit` are almost hidden, if there is one.
  function drawPixels(lit) {
    const [columns, rows] = sides(now.zoom);
    const [left, top] = now.corner;
    const kinds = range(columns * rows).map(
      (k) => now.kinds[(top + Math.floor(k / columns)) * COLUMNS + left + (k % columns)],
    );
    const isFaint = (kind) => lit !== null && kind !== lit;
    canvases[ZOOMS.indexOf(now.zoom)].paint(kinds, () => 0, isFaint); // 0: transparent
  }

  function draw(zoom, target, preds) {
    const shapes = [preds, target];
    const sizes = shapes.map(({ size }) => size);
    if (zoom !== now.zoom) zoomTo(zoom);
    // What is seen follows a shape that leaves, and starts anew with other sizes.
    const isAnew = zoom !== now.zoom || !isSame(sizes, now.sizes);
    const corner = isAnew ? centred(zoom, shapes) : now.corner;
    now = { zoom, sizes, corner: seen(corner, sides(zoom), shapes) };
    const [real, predicted] = [mask(target), mask(preds)];
    now.kinds = Array.from(real, (held, index) => kindOf(predicted[index], held));
    drawPixels(null);
    [target, preds].forEach((shape, k) => drawGrip(grips[k], shape));
  }
  return { root, draw, drawPixels };
}

// -- the plot ------------------------------------------------------------------------------------

// IoU and Dice over the shift to the right, up to the farthest, with a dot at the present one.
function shiftPlot(farthest) {
  const axes = chart({
    label: "IoU and Dice over the shift of the prediction to the right, in pixels",
    x: {
      name: "shift to the right, pixels",
      domain: [-farthest, farthest],
      ticks: [-1, -0.5, 0, 0.5, 1].map((part) => part * farthest),
    },
    y: { name: "score", domain: [0, 1.02], ticks: [0, 0.25, 0.5, 0.75, 1] },
  });
  const cursor = svg("line.cursor", { y1: axes.Y(0), y2: axes.Y(1) });
  const half = `M${axes.X(-farthest)} ${axes.Y(GOAL)}H${axes.X(farthest)}`;
  axes.plot.append(svg("path.half", { d: half }), cursor);
  const curves = Object.entries({ iou, dice }).map(([name, score]) => {
    const [line, dot] = [svg(`path.curve.${name}`), svg(`circle.dot.${name}`, { r: 4.5 })];
    axes.plot.append(line);
    axes.root.append(dot);
    return { score, line, dot };
  });

  function draw(preds, target) {
    const now = middle(preds) - middle(target);
    const shifts = range(2 * farthest + 1).map((k) => k - farthest + (now % 1));
    const counts = new Map(shifts.map((shift) => [shift, count(preds, target, shift - now)]));
    set(cursor, { x1: axes.X(now), x2: axes.X(now) });
    const visibility = Math.abs(now) > farthest ? "hidden" : "visible";
    for (const { score, line, dot } of curves) {
      set(line, { d: path(shifts, (shift) => score(counts.get(shift)), axes) });
      set(dot, { cx: axes.X(now), cy: axes.Y(score(count(preds, target))), visibility });
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

  const stage = makeStage(move, (kind) => counted.mark(kind));
  const counted = countRows((kind) => stage.drawPixels(kind));
  const scores = scoreRows();
  const plots = ZOOMS.map((zoom) => shiftPlot(COLUMNS / 2 / zoom));
  for (const { axes } of plots) {
    dragAlong(axes, (shift) => {
      const [preds, target] = [place("prediction"), place("truth")];
      move("prediction", [Math.round(shift + middle(target) - middle(preds)), 0]);
    });
  }
  const plotPlace = html("div");
  const found = new Map(); // from a size to the largest shift, once that was reached
  const goal = html("p.goal", { role: "status", "aria-live": "polite" });
  const text = summary();
  el.append(
    presets(model, PRESETS),
    stage.root,
    html("p.note", HINT),
    html("div.panels", plotPlace, html("div", counted.roots, scores.roots)),
    html("p.title", "Goal: what is the largest shift with an IoU of 0.5 or more?"),
    goal,
    text,
  );

  follow(model, ["zoom"], () => plotPlace.replaceChildren(plots[model.get("zoom")].axes.root));
  const traits = ["shape", "zoom", "truth", "prediction", "truth_size", "prediction_size"];
  follow(model, traits, () => {
    const [target, preds] = [place("truth"), place("prediction")];
    stage.draw(ZOOMS[model.get("zoom")], target, preds);
    plots[model.get("zoom")].draw(preds, target);

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
