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

// The mean focal loss as a part of the mean BCE, at p = 0.5 everywhere.
function scale(gamma, alpha, foreground) {
  const mean = (loss) => foreground * loss(0.5, 1) + (1 - foreground) * loss(0.5, 0);
  return mean((p, y) => focal(p, y, gamma, alpha)) / mean(bce);
}

const SITUATIONS = [
  { name: "At the start, p = 0.5 everywhere", foreground: 0.5, background: 0.5 },
  { name: "Background learnt, p = 0.1 there", foreground: 0.5, background: 0.1 },
];

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
  },
  {
    y: { name: "|gradient| by the logit", domain: [0, 1.35], ticks: [0, 0.25, 0.5, 0.75, 1, 1.25] },
    functions: { plain: bceGradient, focused: focalGradient },
  },
];

function render({ model, el }) {
  const panels = PANELS.map(({ y, functions: { plain, focused } }) => {
    const label = `${y.name} over p: BCE in grey, focal loss in colour, a curve for each class`;
    const axes = chart({ label, x: X_AXIS, y });
    for (const truth of [0, 1]) {
      const d = path(PROBABILITIES, (p) => plain(p, truth), axes);
      axes.plot.append(svg("path.curve.plain", { d }));
    }
    const curves = [svg("path.curve.background"), svg("path.curve.foreground")]; // y = 0, y = 1
    axes.plot.append(...curves);
    return { axes, focused, curves };
  });

  // Marks on the slider of alpha, which stands right above the figure.
  const marks = ["in the paper", "class balance"].map((name) => {
    const value = html("b");
    const button = html("button", { type: "button" }, value, ` ${name}`);
    button.addEventListener("click", () => change(model, "alpha", Number(button.value)));
    return { button, value };
  });

  const bars = SITUATIONS.map((given) => {
    const [value, part, before] = [html("span"), html("div.part"), html("div.before")];
    const bar = html("div.bar.classes", part, before);
    return { given, value, part, before, root: html("div.share", pair(given.name, value), bar) };
  });
  const text = summary();
  el.append(
    html(
      "div.marks",
      marks.map(({ button }) => button),
    ),
    html(
      "p.key",
      html("span.swatch.foreground", "focal, foreground pixel (y = 1)"),
      html("span.swatch.background", "focal, background pixel (y = 0)"),
      html("span.swatch.plain", "BCE"),
    ),
    html(
      "div.panels",
      panels.map(({ axes }) => axes.root),
    ),
    html("h4", "The foreground’s share of the gradient"),
    ...bars.map(({ root }) => root),
    text,
  );

  follow(model, ["gamma", "foreground", "alpha"], () => {
    const gamma = model.get("gamma");
    const foreground = model.get("foreground");
    const alpha = model.get("alpha");
    for (const { axes, focused, curves } of panels) {
      curves.forEach((curve, y) =>
        set(curve, { d: path(PROBABILITIES, (p) => focused(p, y, gamma, alpha), axes) }),
      );
    }
    [0.25, 1 - foreground].forEach((at, index) => {
      const { button, value } = marks[index];
      button.value = at.toFixed(2);
      value.textContent = `α = ${button.value}`;
      button.style.setProperty("--at", at);
      button.setAttribute("aria-pressed", alpha.toFixed(2) === button.value);
    });
    const shares = bars.map(({ given, value, part, before }) => {
      const now = share((p, y) => focalGradient(p, y, gamma, alpha), foreground, given);
      const was = share(bceGradient, foreground, given);
      value.textContent = `${percent(now)}, with BCE ${percent(was)}`;
      part.style.width = `${100 * now}%`;
      before.style.left = `${100 * was}%`;
      return percent(now);
    });
    text.textContent =
      `γ = ${gamma.toFixed(1)}, α = ${alpha.toFixed(2)}, ${(100 * foreground).toFixed(0)}\u00a0% ` +
      `foreground: its share of the gradient is ${shares[0]} at the start and ${shares[1]} later. ` +
      `At the start the mean loss is ${scale(gamma, alpha, foreground).toFixed(3)} of BCE’s.`;
  });
}
