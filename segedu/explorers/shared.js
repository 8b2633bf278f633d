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

// Whether two values are the same; sliders hand over 0.30000000000000004.
function isSame(a, b) {
  if (typeof a === "number" && typeof b === "number") return Math.abs(a - b) < 1e-9;
  return JSON.stringify(a) === JSON.stringify(b);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

// The bytes of a text, and the bits of bytes that numpy.packbits made.
const decodeBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const bitAt = (bytes, k) => (bytes[k >> 3] >> (7 - (k & 7))) & 1;

// By how many rows and columns an arrow key moves.
const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

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

// A row of buttons that set several values at once: [{ label, sentence, values }]. While the values
// are those of a button, its sentence says what to see. The last button sets all to the start.
function presets(model, list) {
  const isSet = ({ values }) =>
    Object.entries(values).every(([name, value]) => isSame(model.get(name), value));
  const press = (values) => {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    model.save_changes();
  };
  const buttons = list.map(({ label, values }) => {
    const button = html("button", { type: "button" }, label);
    button.addEventListener("click", () => press(values));
    return button;
  });
  const reset = html("button", { type: "button" }, "reset");
  reset.addEventListener("click", () => press(model.get("start")));

  const says = html("p", { role: "status", "aria-live": "polite" });
  // Unseen, the others keep room for the longest sentence: so nothing below jumps.
  const room = list.map(({ sentence }) => html("p.room", { "aria-hidden": "true" }, sentence));
  const names = new Set(list.flatMap(({ values }) => Object.keys(values)));
  follow(model, names, () => {
    says.textContent = list.find(isSet)?.sentence ?? "Try one of these, or set your own values.";
    buttons.forEach((button, k) => set(button, { "aria-pressed": isSet(list[k]) }));
  });
  return html("div.presets", html("div.tools", buttons, reset), html("div.says", says, room));
}

// Buttons for what moves by itself: `step()` makes the next move and returns whether another
// follows, after `every()` milliseconds. It stops when it is out of sight, and readers who asked for
// less motion get the single steps only.
function player(step, { every = () => 700 } = {}) {
  const play = html("button.play", { type: "button" });
  const one = html("button", { type: "button" }, "one step");
  const root = html("div.tools.player", play, one);
  const isStill = matchMedia("(prefers-reduced-motion: reduce)");
  let timer;
  const stop = () => {
    clearInterval(timer);
    timer = undefined;
    play.textContent = "▶ play";
  };
  const move = () => {
    if (!step() || isStill.matches) stop();
  };
  const start = () => {
    play.textContent = "❚❚ pause";
    timer = setInterval(move, every());
    move();
  };
  stop();
  play.addEventListener("click", () => (timer === undefined ? start() : stop()));
  one.addEventListener("click", () => {
    stop();
    step();
  });
  new IntersectionObserver(([{ isIntersecting }]) => {
    if (!isIntersecting) stop();
  }).observe(root);
  return { root, stop };
}

// A word with its explanation, which shows while one points at it or has it in focus.
function term(word, explanation) {
  const tip = html("span.tip", { "aria-hidden": "true" }, explanation);
  const button = html("button.term", { type: "button" }, word, tip);
  set(button, { "aria-label": `${word}: ${explanation}` });
  const place = () => {
    // not over the border of the figure
    const figure = button.closest(".segedu-explorer").getBoundingClientRect();
    tip.style.left = "0px";
    const { left, right } = tip.getBoundingClientRect();
    tip.style.left = `${clamp(0, figure.left - left, figure.right - right)}px`;
  };
  const show = (isShown) => {
    button.classList.toggle("shown", isShown);
    if (isShown) place();
  };
  for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => show(true));
  for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => show(false));
  button.addEventListener("keydown", ({ key }) => key === "Escape" && show(false));
  return button;
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
