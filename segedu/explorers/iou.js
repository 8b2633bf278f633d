// Two shapes on a grid of pixels: their counts, IoU and Dice.

const [COLUMNS, ROWS] = [32, 20];
const SHAPES = ["disc", "square"];

// Which pixels a shape covers, row by row. It moves inwards where it would stick out of the grid.
function pixels(shape, [column, row], size) {
  const first = (at, side) => clamp(at - Math.floor(size / 2), 0, side - size);
  const [left, top] = [first(column, COLUMNS), first(row, ROWS)];
  return range(ROWS * COLUMNS).map((index) => {
    // twice the way from the middle of the shape to the middle of the pixel, an integer
    const x = 2 * ((index % COLUMNS) - left) + 1 - size;
    const y = 2 * (Math.floor(index / COLUMNS) - top) + 1 - size;
    return shape === "disc" ? x * x + y * y <= size * size : Math.max(x, -x, y, -y) < size;
  });
}

const kindOf = (predicted, real) => (predicted ? (real ? "tp" : "fp") : real ? "fn" : "tn");

function count(preds, target) {
  const counts = { tp: 0, fp: 0, fn: 0, tn: 0 };
  preds.forEach((predicted, index) => (counts[kindOf(predicted, target[index])] += 1));
  return counts;
}

const iou = ({ tp, fp, fn }) => tp / (tp + fp + fn);
const dice = ({ tp, fp, fn }) => (2 * tp) / (2 * tp + fp + fn);

// The drawing: pixels are squares of side CELL.
const CELL = 10;
const [WIDTH, HEIGHT] = [COLUMNS * CELL, ROWS * CELL];
const KINDS = { tp: "TP, in both", fp: "FP, prediction only", fn: "FN, truth only" };
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const square = (x, y) => `M${x} ${y}h${CELL}v${CELL}h${-CELL}z`;
const TEXTURES = {
  tp: () => "",
  fp: (x, y) => `M${x} ${y + CELL}l${CELL} ${-CELL}`, // strokes that join into hatching
  fn: (x, y) => `M${x + CELL / 2} ${y + CELL / 2}h0`, // dots
};

// The path of a piece(x, y) for each pixel that a mask holds.
const stamp = (mask, piece) =>
  mask
    .map((held, k) => (held ? piece((k % COLUMNS) * CELL, Math.floor(k / COLUMNS) * CELL) : ""))
    .join("");

// The edges between the pixels that a mask holds and all others.
function contour(mask) {
  const held = (x, y) => x >= 0 && x < COLUMNS && y >= 0 && y < ROWS && mask[y * COLUMNS + x];
  let edges = "";
  for (const y of range(ROWS + 1)) {
    for (const x of range(COLUMNS + 1)) {
      if (held(x, y) !== held(x, y - 1)) edges += `M${x * CELL} ${y * CELL}h${CELL}`;
      if (held(x, y) !== held(x - 1, y)) edges += `M${x * CELL} ${y * CELL}v${CELL}`;
    }
  }
  return edges;
}

// The first and last column and row of a mask.
function extent(mask) {
  const held = range(ROWS * COLUMNS).filter((index) => mask[index]);
  const columns = held.map((index) => index % COLUMNS);
  const rows = held.map((index) => Math.floor(index / COLUMNS));
  return {
    left: Math.min(...columns),
    right: Math.max(...columns),
    top: Math.min(...rows),
    bottom: Math.max(...rows),
  };
}

function render({ model, el }) {
  const stage = svg("svg", { viewBox: `-1 -14 ${WIDTH + 2} ${HEIGHT + 28}` });
  const layers = Object.keys(KINDS).map((kind) => {
    const [area, texture] = [svg(`path.area.${kind}`), svg("path.texture")];
    stage.append(area, texture);
    return { kind, area, texture };
  });
  const lines = [
    range(COLUMNS + 1).map((x) => `M${x * CELL} 0v${HEIGHT}`),
    range(ROWS + 1).map((y) => `M0 ${y * CELL}h${WIDTH}`),
  ];
  stage.append(svg("path.grid", { d: lines.flat().join("") }));

  const shapes = ["truth", "prediction"].map((name) => {
    const [grip, outline] = [svg("path.grip"), svg(`path.outline.${name}`)];
    const label = svg("text.name", { "text-anchor": "middle" }, name);
    const node = svg("g", { tabindex: 0, role: "group" }, grip, outline, label);
    node.setAttribute("aria-roledescription", "shape to move");
    node.dataset.lmSuppressShortcuts = "true"; // or JupyterLab takes the arrow keys
    stage.append(node);
    return { name, grip, outline, label, node };
  });

  const counted = Object.keys(KINDS).map((kind) => ({ kind, value: html("b") }));
  const scores = Object.entries({ IoU: iou, Dice: dice }).map(([name, score]) => {
    const [value, part, formula] = [html("b"), html("div.part"), html("span.note")];
    const root = html("div.share", pair(name, value), html("div.bar", part), formula);
    return { score, value, part, formula, root };
  });
  const hint = "Drag a shape, or select it with Tab and move it with the arrow keys.";
  const text = summary();
  el.append(
    html(
      "div.panels",
      html("div", stage, html("p.note", hint)),
      html(
        "div",
        counted.map(({ kind, value }) => pair(html(`span.patch.${kind}`, KINDS[kind]), value)),
        scores.map(({ root }) => root),
      ),
    ),
    text,
  );

  // Moves the middle of a shape to a place, or as near to it as the grid allows.
  function move(name, [column, row]) {
    const size = model.get(`${name}_size`);
    const half = Math.floor(size / 2);
    const inside = (at, side) => clamp(at, half, side - size + half);
    change(model, name, [inside(column, COLUMNS), inside(row, ROWS)]);
  }
  const shift = ([column, row], [right, down]) => [column + right, row + down];
  for (const { name, node } of shapes) {
    node.addEventListener("keydown", (event) => {
      if (!(event.key in STEPS)) return;
      event.preventDefault();
      move(name, shift(model.get(name), STEPS[event.key]));
    });
    node.addEventListener("pointerdown", ({ clientX, clientY, pointerId }) => {
      const start = model.get(name);
      const pixel = (stage.getBoundingClientRect().width * CELL) / (WIDTH + 2);
      node.setPointerCapture(pointerId);
      node.onpointermove = (event) => {
        const way = [event.clientX - clientX, event.clientY - clientY];
        move(
          name,
          shift(
            start,
            way.map((length) => Math.round(length / pixel)),
          ),
        );
      };
    });
    node.onpointerup = node.onpointercancel = () => (node.onpointermove = null);
  }

  const traits = ["shape", "truth", "prediction", "truth_size", "prediction_size"];
  follow(model, traits, () => {
    const shape = SHAPES[model.get("shape")];
    const masks = shapes.map(({ name }) =>
      pixels(shape, model.get(name), model.get(`${name}_size`)),
    );
    const [target, preds] = masks;
    const kinds = preds.map((predicted, index) => kindOf(predicted, target[index]));
    for (const { kind, area, texture } of layers) {
      const mask = kinds.map((other) => other === kind);
      set(area, { d: stamp(mask, square) });
      set(texture, { d: stamp(mask, TEXTURES[kind]) });
    }
    shapes.forEach(({ name, grip, outline, label, node }, index) => {
      const { left, right, top, bottom } = extent(masks[index]);
      set(grip, { d: stamp(masks[index], square) });
      set(outline, { d: contour(masks[index]) });
      set(label, {
        x: clamp(((left + right + 1) * CELL) / 2, 28, WIDTH - 28),
        y: name === "truth" ? top * CELL - 4 : (bottom + 1) * CELL + 11,
      });
      set(node, { "aria-label": `${name}, columns ${left} to ${right}, rows ${top} to ${bottom}` });
    });

    const counts = count(preds, target);
    const { tp, fp, fn, tn } = counts;
    for (const { kind, value } of counted) value.textContent = counts[kind];
    for (const { score, value, part } of scores) {
      value.textContent = score(counts).toFixed(3);
      part.style.width = `${100 * score(counts)}%`;
    }
    scores[0].formula.textContent = `TP / (TP + FP + FN) = ${tp} / ${tp + fp + fn}`;
    scores[1].formula.textContent = `2 TP / (2 TP + FP + FN) = ${2 * tp} / ${2 * tp + fp + fn}`;
    text.textContent =
      `${tp} pixels in both, ${fp} predicted only, ${fn} missed, ${tn} in neither: ` +
      `IoU ${iou(counts).toFixed(3)}, Dice ${dice(counts).toFixed(3)}.`;
  });
}
