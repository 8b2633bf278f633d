// BCE and focal loss of one pixel, and each class's part of the gradient of many.
// p is the probability given to foreground; y is 1 for a foreground pixel and 0 for background.

const right = (p, y) => (y === 1 ? p : 1 - p); // the probability given to the right class
const weight = (y, alpha) => (y === 1 ? alpha : 1 - alpha);

const bce = (p, y) => -Math.log(right(p, y));

function focal(p, y, gamma, alpha) {
  const q = right(p, y);
  return weight(y, alpha) * (1 - q) ** gamma * -Math.log(q);
}

// How large the derivatives by the logit z are, where p = sigmoid(z).
const bceGradient = (p, y) => 1 - right(p, y);

function focalGradient(p, y, gamma, alpha) {
  const q = right(p, y);
  return weight(y, alpha) * (1 - q) ** gamma * (1 - q - gamma * q * Math.log(q));
}

// The foreground's part of all gradients; `given` holds the p of foreground and background pixels.
function share(gradient, foreground, given) {
  const pull = foreground * gradient(given.foreground, 1);
  return pull / (pull + (1 - foreground) * gradient(given.background, 0));
}

// The gradients of the pixels of a picture, their largest, and the foreground's part of them.
function pulls(gradient, probabilities, truth) {
  const each = probabilities.map((p, k) => gradient(p, truth[k]));
  const sum = (values) => values.reduce((a, b) => a + b, 0);
  const foreground = each.filter((_, k) => truth[k] === 1);
  return { each, most: Math.max(...each), share: sum(foreground) / sum(each) };
}

// The mean focal loss as a part of the mean BCE, at p = 0.5 everywhere.
function scale(gamma, alpha, foreground) {
  const mean = (loss) => foreground * loss(0.5, 1) + (1 - foreground) * loss(0.5, 0);
  return mean((p, y) => focal(p, y, gamma, alpha)) / mean(bce);
}

// -- what the buttons set ------------------------------------------------------------------------

const PRESETS = [
  {
    label: "BCE",
    values: { gamma: 0, alpha: 0.5, foreground: 0.1 },
    sentence:
      "γ = 0 leaves every pixel its weight, and α = 0.5 weights both classes by one half: this " +
      "is half of BCE, with the same shares of the gradient.",
  },
  {
    label: "the paper",
    values: { gamma: 2, alpha: 0.25, foreground: 0.1 },
    sentence:
      "Lin et al. took γ = 2 and α = 0.25. That α turns the foreground down, which γ has turned " +
      "up by silencing the easy background.",
  },
  {
    label: "the course",
    values: { gamma: 2, alpha: 0.9, foreground: 0.1 },
    sentence:
      "The course sets α to the background’s share of the pixels, here 0.9: both classes start " +
      "with half of the gradient. Later nearly all of it is the foreground’s.",
  },
  {
    label: "rare foreground",
    values: { gamma: 0, alpha: 0.5, foreground: 0.01 },
    sentence:
      "1\u00a0% of the pixels is foreground, and under BCE it starts with 1\u00a0% of the " +
      "gradient. Which α gives it half?",
  },
  {
    label: "only the worst",
    values: { gamma: 5, alpha: 0.5, foreground: 0.1 },
    sentence:
      "γ = 5: only pixels that are badly wrong still count. In the last picture these are the " +
      "rims of the nuclei.",
  },
];

// -- the curves ----------------------------------------------------------------------------------

// Where the curves are computed: evenly in the logit, so closer together where they are steep, and
// not at p = 0 and p = 1, where some are infinite.
const PROBABILITIES = range(161).map((k) => 1 / (1 + Math.exp((80 - k) / 6)));
const X_AXIS = {
  name: "p, predicted probability of foreground",
  domain: [0, 1],
  ticks: [0, 0.25, 0.5, 0.75, 1],
};
const PANELS = [
  {
    y: { name: "loss", domain: [0, 4], ticks: [0, 1, 2, 3, 4] },
    functions: { plain: bce, focused: focal },
    endless: true,
  },
  {
    y: { name: "|gradient| by the logit", domain: [0, 1.35], ticks: [0, 0.25, 0.5, 0.75, 1, 1.25] },
    functions: { plain: bceGradient, focused: focalGradient },
  },
];
const HINT = "Drag in a plot to move the pixel along the curves, or point at one in the pictures.";
const CLASSES = ["background", "foreground"]; // y = 0, y = 1

// BCE and focal loss over p for both classes, with dots at the p of the moved pixel.
function curvePanel({ y, functions: { plain, focused }, endless }) {
  const label = `${y.name} over p: BCE in grey, focal loss in colour, a curve for each class`;
  const axes = chart({ label, x: X_AXIS, y });
  const top = axes.Y(y.domain[1]);
  // An infinite value is drawn as a line that leaves the axes.
  const xs = endless ? [0, ...PROBABILITIES, 1] : PROBABILITIES;
  const drawn = (value) => (value === Infinity ? 2 * y.domain[1] : value);
  if (endless) {
    const x = axes.X(0);
    axes.root.append(
      svg("path.axis", { d: `M${x} ${axes.Y(0)}V${top - 6}` }),
      svg("path.arrow", { d: `M${x} ${top - 14}l-5 9h10z` }),
      svg("text.name", { x: x + 12, y: 14 }, "no upper limit: it goes on beyond 4"),
    );
  }
  const cursor = svg("line.cursor", { y1: axes.Y(0), y2: top });
  axes.plot.append(cursor);
  const lines = CLASSES.map((name, truth) => {
    const d = path(xs, (p) => drawn(plain(p, truth)), axes);
    const curve = svg(`path.curve.${name}`);
    axes.plot.append(svg("path.curve.plain", { d }), curve);
    return { truth, curve, dots: [svg("path.dot.plain"), svg(`path.dot.${name}`)] };
  });
  axes.root.append(...lines.flatMap(({ dots }) => dots));

  // A circle, or an arrow up where the value lies beyond the axis.
  function mark(node, p, value) {
    const [x, y] = [axes.X(p), axes.Y(value)];
    const beyond = y < top;
    const circle = `M${x - 4.5} ${y}a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z`;
    set(node, { d: beyond ? `M${x} ${top - 4}l-6 11h12z` : circle });
  }
  function draw({ p, y: lit, gamma, alpha }) {
    set(cursor, { x1: axes.X(p), x2: axes.X(p) });
    for (const { truth, curve, dots } of lines) {
      set(curve, { d: path(xs, (at) => drawn(focused(at, truth, gamma, alpha)), axes) });
      mark(dots[0], p, plain(p, truth));
      mark(dots[1], p, focused(p, truth, gamma, alpha));
      const faint = lit !== undefined && lit !== truth;
      for (const node of [curve, ...dots]) node.classList.toggle("faint", faint);
    }
  }
  return { axes, draw };
}

// -- the readings at p ---------------------------------------------------------------------------

const READINGS = {
  "BCE loss": bce,
  "focal loss": focal,
  "BCE gradient": bceGradient,
  "focal gradient": focalGradient,
};

function readings() {
  const title = html("th.title", { scope: "col" });
  const rows = [1, 0].map((truth) => {
    const values = Object.values(READINGS).map((read) => ({ read, cell: html("td") }));
    const name = html(`span.swatch.${CLASSES[truth]}`, `${CLASSES[truth]} (y\u00a0=\u00a0${truth})`);
    const cells = values.map(({ cell }) => cell);
    return { truth, values, root: html("tr", html("th", { scope: "row" }, name), cells) };
  });
  const heads = Object.keys(READINGS).map((text) => html("th", { scope: "col" }, text));
  const body = rows.map(({ root }) => root);
  const root = html("table", html("thead", html("tr", title, heads)), html("tbody", body));

  function draw({ p, y: lit, gamma, alpha }) {
    title.textContent = `Pixel with p = ${p.toFixed(2)}`;
    for (const { truth, values, root } of rows) {
      for (const { read, cell } of values) {
        cell.textContent = read(p, truth, gamma, alpha).toFixed(3);
      }
      root.classList.toggle("lit", lit === truth);
    }
  }
  return { root, draw };
}

// -- the shares ----------------------------------------------------------------------------------

const SITUATIONS = [
  { name: "At the start: p = 0.5", foreground: 0.5, background: 0.5 },
  { name: "Later: background at p = 0.1", foreground: 0.5, background: 0.1 },
];

const SHARES =
  "The mark shows BCE’s share. γ does not move the first bar: there all pixels are equally wrong.";
const GRADIENT =
  "The derivative of the loss by the logit, the number from which the network computes p: it " +
  "says how strongly a pixel pulls.";

function shareBar(name) {
  const [value, part, before] = [html("span"), html("div.part"), html("div.before")];
  const bar = html("div.bar.classes", part, before);
  const root = html("div.share", html("div", name), value, bar);
  function draw(now, was) {
    value.textContent = `${percent(now)}, with BCE ${percent(was)}`;
    part.style.width = `${100 * now}%`;
    before.style.left = `${100 * was}%`;
  }
  return { root, draw };
}

// -- the picture ---------------------------------------------------------------------------------

const TINTS = [
  [255, 170, 60], // a background pixel's gradient, on black
  [110, 195, 255], // a foreground pixel's
];
const MARK = [240, 228, 66]; // pixels with the p of the moved one
const NEAR = 0.01;
const FIELDS =
  "Gradients: foreground pixels in blue, background pixels in orange, the brighter the larger, " +
  "up to the largest of each picture. Yellow in the second picture: pixels with the p above.";

// The same pixels four times: image, probabilities, and shaded by the gradients of both losses.
function fields({ width, grey, levels, truth }, look) {
  const height = levels.length / width;
  const probabilities = Array.from(levels, (level) => level / 255);
  const before = pulls(bceGradient, probabilities, truth);
  const layers = ["image", "probabilities p", "|gradient| of BCE", "|gradient| of focal loss"].map(
    (note) => {
      const over = [svg("path.rim", { d: contour(truth, width) })];
      return { note, over, ...picture(width, height, note) };
    },
  );
  const [image, map, plain, focused] = layers;
  image.paint((k) => [grey[k], grey[k], grey[k]]);
  // The root, because a screen shows half the number as a fifth of the light.
  const shade =
    ({ each, most }) =>
    (k) =>
      TINTS[truth[k]].map((part) => part * Math.sqrt(each[k] / most));
  plain.paint(shade(before));
  const roots = pointed(layers, [width, height], (k) =>
    look(k === null ? null : { p: probabilities[k], y: truth[k] }),
  );

  function draw({ p, gamma, alpha }) {
    map.paint((k) =>
      Math.abs(probabilities[k] - p) < NEAR ? MARK : [levels[k], levels[k], levels[k]],
    );
    const now = pulls((p, y) => focalGradient(p, y, gamma, alpha), probabilities, truth);
    focused.paint(shade(now));
    return { now: now.share, was: before.share };
  }
  const foreground = truth.reduce((a, b) => a + b, 0) / truth.length;
  return { roots, draw, foreground };
}

// -- the figure ----------------------------------------------------------------------------------

function render({ model, el }) {
  const { width, grey, ...data } = model.get("data");
  const panels = PANELS.map(curvePanel);
  for (const { axes } of panels) {
    dragAlong(axes, (p) => change(model, "p", clamp(Math.round(100 * p) / 100, 0.01, 0.99)));
  }
  let pointedAt = null; // the p and y of the picture's pixel that one points at
  const table = readings();
  const field = fields({ width, grey: bytes(grey), ...unpack(data) }, (pixel) => {
    pointedAt = pixel;
    drawPixel();
  });
  const bars = SITUATIONS.map(({ name }) => shareBar(name));
  const bar = shareBar(`Picture: ${percent(field.foreground)} foreground`);
  const text = summary();
  el.append(
    presets(model, PRESETS),
    html(
      "p.key",
      html("span.swatch.foreground", "focal, foreground pixel (y = 1)"),
      html("span.swatch.background", "focal, background pixel (y = 0)"),
      html("span.swatch.plain", "BCE"),
    ),
    html("div.panels", panels.map(({ axes }) => axes.root)),
    html("p.note", HINT),
    table.root,
    html("p.title", "Which pixels does the training listen to?"),
    html("div.fields", field.roots),
    html("p.note", FIELDS),
    html("p.title", "The foreground’s share of the ", term("gradient", GRADIENT)),
    html("div.shares", [...bars, bar].map(({ root }) => root)),
    html("p.note", SHARES),
    text,
  );

  const values = (...names) => Object.fromEntries(names.map((name) => [name, model.get(name)]));
  function drawPixel() {
    const now = { ...values("p", "gamma", "alpha"), ...pointedAt };
    for (const panel of panels) panel.draw(now);
    table.draw(now);
  }

  follow(model, ["gamma", "foreground", "alpha", "p"], () => {
    const { gamma, alpha, foreground, p } = values("gamma", "alpha", "foreground", "p");
    drawPixel();
    const shares = SITUATIONS.map((given, k) => {
      const now = share((p, y) => focalGradient(p, y, gamma, alpha), foreground, given);
      bars[k].draw(now, share(bceGradient, foreground, given));
      return percent(now);
    });
    const { now, was } = field.draw({ p, gamma, alpha });
    bar.draw(now, was);
    const setting = `γ = ${gamma.toFixed(1)}, α = ${alpha.toFixed(2)}`;
    const ratio = scale(gamma, alpha, foreground).toFixed(3);
    text.textContent =
      `${setting}, ${Math.round(100 * foreground)}\u00a0% foreground: its share of the gradient ` +
      `is ${shares[0]} at the start, ${shares[1]} later and ${percent(now)} in the picture. At ` +
      `the start the mean loss is ${ratio} of BCE’s.`;
  });
}
