// Where the windows of a convolution lie, the size of its output, and how often each pixel is held.

const OPERATIONS = ["convolution", "transposed"];
const CONTROLS = ["operation", "size", "kernel", "stride", "padding"];

// Along one side, `windows` windows lie over `pixels` pixels. A convolution's input are the pixels,
// and each window gives a value; a transposed one's input are the windows' values, and it adds to
// the pixels.
function geometry(operation, size, kernel, stride, padding) {
  return operation === "convolution"
    ? { pixels: size, windows: Math.floor((size + 2 * padding - kernel) / stride) + 1 }
    : { windows: size, pixels: (size - 1) * stride + kernel - 2 * padding };
}

// The first pixel of each window; the padding's pixels are negative.
const starts = (windows, stride, padding) =>
  range(Math.max(windows, 0)).map((w) => w * stride - padding);

// How many windows hold each pixel of one side. On the plane, those of row and column multiply.
function overlap(operation, size, kernel, stride, padding) {
  const { windows, pixels } = geometry(operation, size, kernel, stride, padding);
  const holds = (pixel) => (start) => start <= pixel && pixel < start + kernel;
  const all = starts(windows, stride, padding);
  return range(Math.max(pixels, 0)).map((pixel) => all.filter(holds(pixel)).length);
}

const WORDS = {
  convolution: {
    side: "one side: each output pixel reads a window",
    map: "windows that read each input pixel",
    nothing: "the kernel is larger than the padded input",
    size: (n, k, s, p) => `⌊(${n} + 2 · ${p} − ${k}) / ${s}⌋ + 1`,
  },
  transposed: {
    side: "one side: each input pixel adds to a window",
    map: "windows that add to each output pixel",
    nothing: "the padding cuts off all of the output",
    size: (n, k, s, p) => `(${n} − 1) · ${s} + ${k} − 2 · ${p}`,
  },
};
const LENGTH = 300; // of the drawings

// A drawing of tiles, each darker the larger its value; values are written where there is room.
// All tiles of one value are one path, which is far quicker than a rectangle for each.
function tiles(values, width, height, place) {
  const paths = new Map();
  const labels = [];
  values.forEach((value, index) => {
    const [x, y] = place(index);
    paths.set(value, `${paths.get(value) ?? ""}M${x} ${y}h${width}v${height}h${-width}z`);
    const middle = { x: x + width / 2, y: y + height / 2 + 4, "text-anchor": "middle" };
    if (width > 15) labels.push(svg("text", middle, `${value}`));
  });
  const most = Math.max(...values, 1);
  return [...paths]
    .map(([value, d]) => {
      const tile = svg("path.tile", { d });
      tile.style.setProperty("--shade", value / most);
      return tile;
    })
    .concat(labels);
}

// The windows above one row of pixels, with the padding dashed.
function drawSide(windows, counts, kernel, stride, padding) {
  const pixels = counts.length;
  const cell = Math.min(LENGTH / (pixels + 2 * padding), 30);
  const x = (pixel) => (pixel + padding) * cell;
  const lanes = Math.ceil(kernel / stride); // windows of one lane do not touch
  const y = 12 * lanes + 8;
  const brackets = starts(windows, stride, padding).map((start, w) => {
    const [left, right, high] = [x(start) + 1, x(start + kernel) - 1, 12 * (w % lanes) + 4];
    return `M${left} ${high + 5}V${high}H${right}V${high + 5}`;
  });
  const outside = range(padding).flatMap((k) => [-1 - k, pixels + k]);
  const size = { width: Math.max(cell - 2, 1), height: 20, y: y + 1 };
  return svg(
    "svg",
    { viewBox: `-2 0 ${LENGTH + 4} ${y + 24}`, role: "img" },
    { "aria-label": "the windows over one row of pixels, and how many hold each pixel" },
    svg("path.window", { d: brackets.join("") }),
    tiles(counts, cell, 22, (pixel) => [x(pixel), y]),
    outside.map((pixel) => svg("rect.outside", size, { x: x(pixel) + 1 })),
  );
}

function drawMap(counts) {
  const number = counts.length;
  const cell = Math.min(LENGTH / number, 30);
  const plane = counts.flatMap((down) => counts.map((right) => down * right));
  const place = (index) => [(index % number) * cell, Math.floor(index / number) * cell];
  return svg(
    "svg",
    { viewBox: `-2 0 ${LENGTH + 4} ${number * cell + 2}`, role: "img" },
    { "aria-label": "how many windows hold each pixel of the plane" },
    tiles(plane, cell, cell, place),
  );
}

function render({ model, el }) {
  const [side, map] = [html("div"), html("div")];
  const [formula, ratio] = [html("p"), html("p")];
  const text = summary();
  el.append(html("div.panels", html("div", side, formula, ratio), map), text);

  follow(model, CONTROLS, () => {
    const [index, size, kernel, stride, padding] = CONTROLS.map((name) => model.get(name));
    const operation = OPERATIONS[index];
    const words = WORDS[operation];
    const { windows, pixels } = geometry(operation, size, kernel, stride, padding);
    const counts = overlap(operation, size, kernel, stride, padding);
    const output = operation === "convolution" ? windows : pixels;

    formula.textContent = `output size = ${words.size(size, kernel, stride, padding)} = ${output}`;
    ratio.textContent =
      `kernel / stride = ${kernel} / ${stride}` +
      (kernel % stride
        ? ", not a whole number: the overlap is uneven"
        : ": the overlap is even inside");
    if (output < 1) {
      side.replaceChildren();
      map.replaceChildren();
      text.textContent = `Nothing comes out: ${words.nothing}.`;
      return;
    }
    const drawing = drawSide(windows, counts, kernel, stride, padding);
    side.replaceChildren(html("p.note", words.side), drawing);
    map.replaceChildren(html("p.note", words.map), drawMap(counts));
    text.textContent =
      `${size} × ${size} in, ${output} × ${output} out. ` +
      `A pixel is held by ${Math.min(...counts) ** 2} to ${Math.max(...counts) ** 2} windows.`;
  });
}
