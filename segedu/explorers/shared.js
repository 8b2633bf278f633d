// What the views draw with: elements, scales, charts.

// html("p.note", { title: "why" }, "text") is <p class="note" title="why">text</p>, and svg(...)
// likewise. What follows the tag may be text, elements, attributes, and lists of these.
const html = (tag, ...content) => build((name) => document.createElement(name), tag, content);
const svg = (tag, ...content) =>
  build((name) => document.createElementNS("http://www.w3.org/2000/svg", name), tag, content);

function build(create, tag, content) {
  const [name, ...classes] = tag.split(".");
  const node = create(name);
  if (classes.length) node.setAttribute("class", classes.join(" "));
  for (const part of content.flat()) {
    if (typeof part === "string" || part instanceof Node) node.append(part);
    else set(node, part);
  }
  return node;
}

function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
}

const linear =
  ([a, b], [from, to]) =>
  (value) =>
    from + ((value - a) / (b - a)) * (to - from);
const range = (count) => Array.from({ length: count }, (_, index) => index);
const clamp = (value, least, most) => Math.min(Math.max(value, least), most);
const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;

// Draws now, and whenever one of the values changes.
function follow(model, names, draw) {
  for (const name of names) model.on(`change:${name}`, draw);
  draw();
}

// Sets a value from inside the figure: the controls and Python follow.
function change(model, name, value) {
  model.set(name, value);
  model.save_changes();
}

// The sentence that says what the figure shows; screen readers read it out when it changes.
const summary = () => html("p.summary", { role: "status", "aria-live": "polite" });

// A line with a name on its left and a value on its right.
const pair = (name, value) =>
  html("div.pair", typeof name === "string" ? html("span", name) : name, value);

// Axes with ticks and names. What is drawn into `plot` is cut off at its border.
function chart({ label, x, y }) {
  const [width, height] = [340, 230];
  const [left, right, top, bottom] = [38, width - 12, 26, height - 40];
  const X = linear(x.domain, [left, right]);
  const Y = linear(y.domain, [bottom, top]);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  for (const tick of x.ticks) {
    root.append(
      svg("line.grid", { x1: X(tick), x2: X(tick), y1: top, y2: bottom }),
      svg("text", { x: X(tick), y: bottom + 16, "text-anchor": "middle" }, `${tick}`),
    );
  }
  for (const tick of y.ticks) {
    root.append(
      svg("line.grid", { x1: left, x2: right, y1: Y(tick), y2: Y(tick) }),
      svg("text", { x: left - 6, y: Y(tick) + 4, "text-anchor": "end" }, `${tick}`),
    );
  }
  const box = { x: left, y: top, width: right - left, height: bottom - top };
  const plot = svg("svg", box, { viewBox: Object.values(box).join(" ") });
  root.append(
    svg("text.name", { x: 4, y: 14 }, y.name),
    svg("text.name", { x: (left + right) / 2, y: height - 5, "text-anchor": "middle" }, x.name),
    plot,
  );
  return { root, plot, X, Y };
}

// A line through the points (x, f(x)), interrupted where f is not finite.
function path(xs, f, { X, Y }) {
  let pen = "M";
  let text = "";
  for (const x of xs) {
    const y = f(x);
    if (Number.isFinite(y)) text += `${pen}${X(x).toFixed(2)} ${Y(y).toFixed(2)}`;
    pen = Number.isFinite(y) ? "L" : "M";
  }
  return text;
}
