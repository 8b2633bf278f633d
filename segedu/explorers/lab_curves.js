// The lab's charts: IoU and loss over the steps, and how far probabilities can be believed.

const LINES = ["first", "second"]; // the first run's curve, and the second's
const NAMES = ["A", "B"];

// A number of steps that is round, and not below `least`.
const roundSteps = (least) => 50 * 2 ** Math.max(Math.ceil(Math.log2(least / 50)), 0);

function steps(runs) {
  const last = roundSteps(Math.max(0, ...runs.map(({ losses }) => losses.length)));
  return { name: "step", domain: [0, last], ticks: [0, last / 2, last] };
}

// The IoU of the held-out crops at each look, at the present threshold; a dotted line is what
// Otsu's threshold reaches.
function drawIou(runs, scoreOf, otsu, threshold) {
  const at = `at threshold ${toNumber(threshold)}`;
  const axes = chart({
    label: `IoU of the held-out crops ${at} over the steps; Otsu's threshold has ${otsu.toFixed(2)}`,
    x: steps(runs),
    y: { name: `IoU of the held-out crops ${at}`, domain: [0, 1], ticks: [0, 0.5, 1] },
  });
  const { X, Y, plot, root } = axes;
  const [, last] = steps(runs).domain;
  plot.append(svg("path.curve.otsu", { d: path([0, last], () => otsu, axes) }));
  runs.forEach(({ looks }, k) => {
    const found = new Map(looks.map((look) => [look.step, scoreOf(look).iou]));
    const d = path([...found.keys()], (step) => found.get(step), axes);
    plot.append(svg(`path.curve.${LINES[k]}`, { d }));
    const { step } = looks.at(-1);
    plot.append(svg(`circle.end.${LINES[k]}`, { cx: X(step), cy: Y(found.get(step)), r: 4 }));
  });
  const place = { x: X(last) - 4, y: Y(otsu) - 5, "text-anchor": "end" };
  root.append(svg("text", place, `Otsu's threshold ${otsu.toFixed(2)}`));
  return root;
}

// The loss of each step. Those of different kinds share the axis, but cannot be compared.
function drawLoss(runs) {
  const kinds = new Set(runs.map(({ settings }) => JSON.stringify(settings.loss)));
  const top = Math.max(...runs.flatMap(({ losses }) => losses), 0.1);
  const height = Number(top.toPrecision(1)) < top ? 1.25 * top : Number(top.toPrecision(1));
  const axes = chart({
    label: "the training loss over the steps",
    x: steps(runs),
    y: {
      name: `training loss${kinds.size > 1 ? " (two kinds: heights are not comparable)" : ""}`,
      domain: [0, height],
      ticks: [0, 0.5, 1].map((part) => Number((part * height).toPrecision(2))),
    },
  });
  runs.forEach(({ losses }, k) => {
    const d = path(range(losses.length), (step) => losses[step], axes);
    axes.plot.append(svg(`path.curve.thin.${LINES[k]}`, { d }));
  });
  return axes.root;
}

// Reliability: for pixels of about each probability, the part that is foreground. Where a bar ends
// at the line, the probability can be believed.
function drawReliability(runs) {
  const axes = chart({
    label: "for each probability, the part of such pixels that is foreground",
    x: { name: "probability", domain: [0, 1], ticks: [0, 0.5, 1] },
    y: { name: "part that is foreground", domain: [0, 1], ticks: [0, 0.5, 1] },
  });
  const { X, Y, plot } = axes;
  runs.forEach(({ looks }, k) => {
    const width = 0.08 / runs.length;
    looks.at(-1).bins.forEach(({ pixels, foreground }, bin) => {
      if (!pixels) return;
      const from = bin / 10 + 0.01 + k * width;
      const size = { width: X(width) - X(0), height: Y(0) - Y(foreground) };
      plot.append(svg(`rect.bin.${LINES[k]}`, { x: X(from), y: Y(foreground), ...size }));
    });
  });
  plot.append(svg("path.curve.plain", { d: path([0, 1], (p) => p, axes) }));
  return axes.root;
}

// Which line and which bar is whose.
const drawKey = (names) =>
  html("p.key", names.map((name, k) => html(`span.swatch.${LINES[k]}`, name)));
