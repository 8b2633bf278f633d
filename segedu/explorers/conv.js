// A convolution step by step: a window slides over the input, and each of its places gives one
// number of the output. A transposed convolution goes the other way: each number of the input is
// spread over a window of the output.

const OPERATIONS = ["convolution", "transposed"];
const WEIGHTS = ["mean", "edge", "sharpen", "tent"];
const CONTROLS = ["operation", "weights", "size", "kernel", "stride", "padding"];
const GEOMETRY = CONTROLS.filter((name) => name !== "weights");

// -- the arithmetic ------------------------------------------------------------------------------

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

// The input: a bright disc on a dark ground, in whole numbers from 0 to 9.
function brightness(size) {
  const middle = (size - 1) / 2;
  return range(size * size).map((index) => {
    const [y, x] = [Math.floor(index / size), index % size];
    const isInside = Math.hypot(y - middle, x - middle) < 0.42 * size;
    return (isInside ? 7 : 0) + ((7 * x + 3 * y + x * y) % 3);
  });
}

// A kernel: whole numbers, row by row, that are all divided by one number.
function makeKernel(name, size) {
  const middle = Math.floor(size / 2);
  const tent = (k) => Math.min(k + 1, size - k);
  const weight = {
    mean: () => 1,
    edge: (row, column) => Math.sign(column - (size - 1) / 2),
    sharpen: (row, column) => (row === middle && column === middle ? size * size : -1),
    tent: (row, column) => tent(row) * tent(column),
  }[name];
  const weights = range(size * size).map((k) => weight(Math.floor(k / size), k % size));
  const sum = weights.reduce((a, b) => a + Math.max(b, 0), 0);
  return { weights, divisor: name === "sharpen" ? 1 : Math.max(sum, 1) };
}

// Everything that follows from the controls.
function compute(operation, weights, size, kernel, stride, padding) {
  const { windows, pixels } = geometry(operation, size, kernel, stride, padding);
  const numbers = { operation, size, kernel, stride, padding, windows, pixels };
  const side = Math.max(operation === "convolution" ? windows : pixels, 0); // of the output
  return { ...numbers, ...makeKernel(weights, kernel), input: brightness(size), side };
}

// The pixels under a window, row by row: their places in the plane, or -1 in the padding.
function under({ kernel, stride, padding, pixels, windows }, window) {
  const top = Math.floor(window / windows) * stride - padding;
  const left = (window % windows) * stride - padding;
  return range(kernel * kernel).map((k) => {
    const [row, column] = [top + Math.floor(k / kernel), left + (k % kernel)];
    const isInside = Math.min(row, column) >= 0 && Math.max(row, column) < pixels;
    return isInside ? row * pixels + column : -1;
  });
}

// What each weight is multiplied by, and the products, for one window over these places.
function multiply({ operation, input, weights }, window, places) {
  const values = places.map((place) =>
    operation === "transposed" ? input[window] : (input[place] ?? 0),
  );
  return { values, products: values.map((value, k) => value * weights[k]) };
}

const sum = (values) => values.reduce((a, b) => a + b, 0);

// The output after the first `count` windows; undefined where nothing has been written yet.
function outputOf(scene, count) {
  const { operation, side, divisor } = scene;
  const output = new Array(side * side).fill(undefined);
  for (const window of range(count)) {
    const places = under(scene, window);
    const { products } = multiply(scene, window, places);
    if (operation === "convolution") output[window] = sum(products) / divisor;
    else {
      places.forEach((place, k) => {
        if (place >= 0) output[place] = (output[place] ?? 0) + products[k] / divisor;
      });
    }
  }
  return output;
}

// The first and last window, along one side, that hold a pixel; null if none does.
function holders({ windows, kernel, stride, padding }, pixel) {
  const all = starts(windows, stride, padding);
  const held = range(all.length).filter((w) => all[w] <= pixel && pixel < all[w] + kernel);
  return held.length ? [held[0], held.at(-1)] : null;
}

// -- the drawings --------------------------------------------------------------------------------

const LENGTH = 240; // of a drawing's side
const MEANINGS = {
  mean: "All weights are the same: the mean of the window.",
  edge: "Right minus left: far from 0 where the brightness changes from left to right.",
  sharpen: "The middle pixel, and added to it how it differs from the others: edges get steeper.",
  tent: "The weights grow towards the middle: a mean that listens most to the middle.",
};
const WORDS = {
  convolution: {
    nothing: ({ kernel, size, padding }) =>
      `the kernel (${kernel}) is larger than the padded input (${size + 2 * padding}). ` +
      "Make the kernel smaller, or the input or the padding larger.",
    formula: ({ size, kernel, stride, padding }) =>
      `⌊(${size} + 2 · ${padding} − ${kernel}) / ${stride}⌋ + 1`,
  },
  transposed: {
    nothing: () =>
      "the padding cuts off all of the output. Make the padding smaller, or the kernel larger.",
    formula: ({ size, kernel, stride, padding }) =>
      `(${size} − 1) · ${stride} + ${kernel} − 2 · ${padding}`,
  },
};
const PRESETS = [
  {
    label: "blur",
    sentence:
      "Each output pixel is the mean of 3 × 3 input pixels: the disc’s edge becomes a slope.",
    values: { operation: 0, weights: 0, size: 8, kernel: 3, stride: 1, padding: 1 },
  },
  {
    label: "find edges",
    sentence: "Right minus left: far from 0 at the disc’s left and right edge only.",
    values: { operation: 0, weights: 1, size: 8, kernel: 3, stride: 1, padding: 0 },
  },
  {
    label: "halve",
    sentence: "With stride 2 the window skips every other place, and the output has half the side.",
    values: { operation: 0, weights: 0, size: 8, kernel: 2, stride: 2, padding: 0 },
  },
  {
    label: "checkerboard",
    sentence:
      "3 / 2 is not a whole number: windows overlap here and not there, and the output shows it.",
    values: { operation: 1, weights: 0, size: 6, kernel: 3, stride: 2, padding: 0 },
  },
  {
    label: "no checkerboard",
    sentence: "4 / 2 is a whole number: inside, every output pixel gets a part of four windows.",
    values: { operation: 1, weights: 0, size: 6, kernel: 4, stride: 2, padding: 1 },
  },
];

// A number with one decimal, where it has any.
function format(value) {
  const text = value.toFixed(1);
  const short = text.endsWith(".0") ? text.slice(0, -2) : text;
  return (Number(short) === 0 ? "0" : short).replace("-", "−");
}

// A square grid of tiles, the darker the larger the value, in another colour below 0. All tiles of
// one of SHADES shades are one path: far quicker than a rectangle for each.
const SHADES = 24;

function tiles(values, cell, offset = 0) {
  const number = Math.sqrt(values.length);
  const most = Math.max(...values.map((value) => Math.abs(value ?? 0)), 1e-9);
  const paths = new Map();
  values.forEach((value, index) => {
    const [x, y] = [index % number, Math.floor(index / number)];
    const shade = value === undefined ? "open" : Math.round((SHADES * value) / most);
    paths.set(shade, `${paths.get(shade) ?? ""}M${x} ${y}h1v1h-1z`);
  });
  const transform = `translate(${offset} ${offset}) scale(${cell})`;
  const drawn = [...paths].map(([shade, d]) => {
    const kind = shade === "open" ? "open" : shade < 0 ? "negative" : "positive";
    const tile = svg(`path.tile.${kind}`, { d, transform });
    tile.style.setProperty("--shade", Math.abs(shade) / SHADES || 0);
    return tile;
  });
  return cell < 15 ? drawn : drawn.concat(labels(values, cell, offset));
}

// The values of a grid's tiles, as numbers.
function labels(values, cell, offset) {
  const number = Math.sqrt(values.length);
  const size = Math.min(0.42 * cell, 14);
  const isFine = cell < 24; // too fine for a phone
  return values.flatMap((value, index) => {
    if (value === undefined) return [];
    const place = [index % number, Math.floor(index / number)];
    const [x, y] = place.map((k) => (k + 0.5) * cell + offset);
    const middle = { x, y: y + size / 3, "text-anchor": "middle" };
    const style = { style: `font-size: ${size.toFixed(1)}px` };
    return svg(isFine ? "text.fine" : "text", middle, style, format(value));
  });
}

// The padding around a plane, dashed.
function ring(pixels, padding, cell) {
  const total = pixels + 2 * padding;
  const way = cell - 2;
  const isInside = (at) => at >= padding && at < padding + pixels;
  const squares = range(padding ? total * total : 0)
    .map((k) => [Math.floor(k / total), k % total])
    .filter(([row, column]) => !isInside(row) || !isInside(column))
    .map(([row, column]) => `M${column * cell + 1} ${row * cell + 1}h${way}v${way}h${-way}z`);
  return svg("path.outside", { d: squares.join("") });
}

const frame = (kind, row, column, rows, columns, cell) =>
  svg(`rect.${kind}`, {
    ...{ x: column * cell, y: row * cell },
    ...{ width: columns * cell, height: rows * cell },
  });

// The windows below one row of pixels, with the padding dashed.
function drawSide({ windows, kernel, stride, padding, pixels }, counts) {
  const cell = Math.min(LENGTH / (pixels + 2 * padding), 30);
  const x = (pixel) => (pixel + padding) * cell;
  const lanes = Math.ceil(kernel / stride); // windows of one lane do not touch
  const brackets = starts(windows, stride, padding).map((start, w) => {
    const [left, right] = [x(start) + 1, x(start + kernel) - 1];
    const low = 36 + 12 * (w % lanes);
    return `M${left} ${low - 5}V${low}H${right}V${low - 5}`;
  });
  const outside = range(padding).flatMap((k) => [-1 - k, pixels + k]);
  const size = { width: Math.max(cell - 2, 1), height: 20, y: 1 };
  const row = counts.flatMap((count, pixel) => {
    const tile = svg("rect.tile.positive", { x: x(pixel), y: 0, width: cell, height: 22 });
    tile.style.setProperty("--shade", count / Math.max(...counts, 1));
    const middle = { x: x(pixel) + cell / 2, y: 15, "text-anchor": "middle" };
    return cell < 9 ? tile : [tile, svg("text", middle, `${count}`)];
  });
  const dashed = outside.map((pixel) => svg("rect.outside", size, { x: x(pixel) + 1 }));
  return [svg("path.lane", { d: brackets.join("") }), ...row, ...dashed];
}

// The weights, what they are multiplied by, and the products; the larger the weight, the darker.
function drawProducts({ kernel, weights }, { values, products }) {
  const cell = Math.min(LENGTH / kernel, 80);
  const most = Math.max(...weights.map(Math.abs), 1);
  return weights.flatMap((weight, k) => {
    const [x, y] = [(k % kernel) * cell, Math.floor(k / kernel) * cell];
    const tile = svg(`rect.tile.${weight < 0 ? "negative" : "positive"}`, { x, y });
    set(tile, { width: cell, height: cell });
    tile.style.setProperty("--shade", Math.abs(weight) / most);
    const write = (kind, down, size, text) =>
      svg(
        `text.${kind}`,
        { x: x + cell / 2, y: y + down * cell + size / 3, "text-anchor": "middle" },
        { style: `font-size: ${size}px` },
        text,
      );
    const result = format(products[k]);
    if (cell < 55) return [tile, write("product", 0.5, 12, result)];
    const factors = `${format(weight)} × ${format(values[k])}`;
    return [tile, write("factors", 0.3, 13, factors), write("product", 0.68, 17, result)];
  });
}

// A square drawing with a title, in which the cells and the marks on them can change.
function plane(label, height = LENGTH) {
  const [title, cells, marks] = [html("p.title"), svg("g"), svg("g.marks")];
  const drawing = svg("svg", { viewBox: `-2 -2 ${LENGTH + 4} ${height + 4}` }, cells, marks);
  set(drawing, { role: "img", "aria-label": label });
  return { root: html("div.plane", title, drawing), title, cells, marks, drawing };
}

// The row and column of the cell under the pointer.
function cellUnder({ clientX, clientY }, drawing, cell) {
  const inside = drawing.getScreenCTM().inverse();
  const { x, y } = new DOMPoint(clientX, clientY).matrixTransform(inside);
  return [Math.floor(y / cell), Math.floor(x / cell)];
}

const HINT = "Point at a pixel of the input or output to see what it is connected with.";

function render({ model, el }) {
  const input = plane("the input");
  const product = plane("the weights times what lies under the window");
  product.root.classList.add("products");
  const output = plane("the output");
  const map = plane("how many windows hold each pixel of the plane");
  const side = plane("the windows over one row of pixels, and how many hold each pixel", 110);
  const [formula, ratio] = [html("p.formula"), html("p.formula")];
  const says = html("p.sum");
  const connected = html("p.note.connected", HINT);
  const text = summary();

  let scene;
  let cell; // the side of a pixel in the drawings of input and output
  let total; // number of windows
  let at = null; // the window that is shown
  let count = 0; // windows whose result is in the output: all, except while it is filled
  let pixel = null; // that is pointed at: [row, column]

  const { root: buttons, stop } = player(
    () => {
      if (total === 0) return false;
      count = count === total ? 1 : count + 1;
      at = count - 1;
      showCells();
      showMarks();
      return count < total;
    },
    { every: () => clamp(15_000 / total, 60, 700) }, // milliseconds
  );
  el.append(
    presets(model, PRESETS),
    buttons,
    html("div.planes", input.root, product.root, output.root),
    html("div.below", says, connected, formula, ratio),
    html("div.panels", side.root, map.root),
    text,
  );

  // The plane of pixels, which has the padding around it, and that of the windows' values
  const isForward = () => scene.operation === "convolution";
  const pixelPlane = () => (isForward() ? input : output);
  const windowPlane = () => (isForward() ? output : input);

  function showCells() {
    const { padding, pixels, side: outer } = scene;
    const written = outputOf(scene, count);
    const pad = padding * cell;
    const [large, small] = [pixelPlane(), windowPlane()];
    const values = isForward() ? [scene.input, written] : [written, scene.input];
    const around = ring(Math.max(pixels, 0), padding, cell);
    large.cells.replaceChildren(around, ...tiles(values[0], cell, pad));
    small.cells.replaceChildren(...tiles(values[1], cell));
    input.title.textContent = `input, ${scene.size} × ${scene.size}`;
    output.title.textContent = outer ? `output, ${outer} × ${outer}` : "output: nothing";
    const weights = WEIGHTS[model.get("weights")];
    product.title.replaceChildren("weight × value, ", term(weights, MEANINGS[weights]));
  }

  // The window that is shown and the pixel that is pointed at. The cells stay, or the pointer would
  // lose the one that it is on.
  function showMarks() {
    const { kernel, stride, windows, side: outer, divisor } = scene;
    const [large, small] = [pixelPlane(), windowPlane()];
    [large, small, product, map].forEach(({ marks }) => marks.replaceChildren());
    says.classList.toggle("alarm", outer === 0);
    if (outer === 0) {
      product.cells.replaceChildren();
      says.textContent = `Nothing comes out: ${WORDS[scene.operation].nothing(scene)}`;
      return;
    }
    const [row, column] = [Math.floor(at / windows), at % windows];
    large.marks.append(frame("window", row * stride, column * stride, kernel, kernel, cell));
    small.marks.append(frame("window", row, column, 1, 1, cell));
    const result = multiply(scene, at, under(scene, at));
    product.cells.replaceChildren(...drawProducts(scene, result));
    says.textContent = sentence(result, divisor, [row, column]);
    const label = `${isForward() ? "the output" : "the input"}. ${says.textContent}`;
    set(small.drawing, { "aria-label": label });
    if (pixel) showConnections(large, small);
  }

  function sentence({ values, products }, divisor, [row, column]) {
    const place = `Row ${row + 1}, column ${column + 1}: `;
    const over = divisor === 1 ? "" : ` / ${divisor}`;
    if (!isForward()) {
      const part = `each weight times ${values[0]}${over}`;
      return `${place}${part} is added to the output under the window.`;
    }
    const all = sum(products);
    const equals = divisor === 1 ? "" : `${over} = ${format(all / divisor)}`;
    return `${place}the products’ sum is ${format(all)}${equals}, the output pixel.`;
  }

  // Of the pixel that is pointed at: the windows that hold it.
  function showConnections(large, small) {
    const [row, column] = pixel;
    const [rows, columns] = [holders(scene, row), holders(scene, column)];
    const number = rows && columns ? (rows[1] - rows[0] + 1) * (columns[1] - columns[0] + 1) : 0;
    large.marks.append(frame("mark", row + scene.padding, column + scene.padding, 1, 1, cell));
    const step = mapCell();
    map.marks.append(frame("mark", row, column, 1, 1, step));
    if (number > 0) {
      const size = [rows[1] - rows[0] + 1, columns[1] - columns[0] + 1];
      small.marks.append(frame("mark", rows[0], columns[0], ...size, cell));
    }
    connected.textContent =
      `${isForward() ? "Input" : "Output"} pixel in row ${row + 1}, column ${column + 1}: ` +
      `windows over it: ${number}.`;
  }

  const mapCell = () => Math.min(LENGTH / scene.pixels, 30);

  function showOverlap() {
    const { operation, kernel, stride, pixels, side: outer } = scene;
    const words = WORDS[operation];
    const counts = overlap(operation, scene.size, kernel, stride, scene.padding);
    formula.textContent = outer
      ? `output size = ${words.formula(scene)} = ${outer}`
      : "output size: there is no output";
    ratio.textContent =
      `kernel / stride = ${kernel} / ${stride}` +
      (kernel % stride
        ? ", not a whole number: the overlap is uneven"
        : ": the overlap is even inside");
    const which = isForward() ? "input" : "output";
    map.title.textContent = `windows over each ${which} pixel`;
    side.title.textContent = "one row of it, and its windows";
    if (outer === 0) {
      side.cells.replaceChildren();
      map.cells.replaceChildren();
      text.textContent = `${scene.size} × ${scene.size} in, nothing out.`;
      return;
    }
    side.cells.replaceChildren(...drawSide(scene, counts));
    const plane = counts.flatMap((down) => counts.map((right) => down * right));
    map.cells.replaceChildren(...tiles(plane, mapCell()));
    const [least, most] = [Math.min(...counts) ** 2, Math.max(...counts) ** 2];
    text.textContent =
      `${scene.size} × ${scene.size} in, ${outer} × ${outer} out. ` +
      `Windows over each ${which} pixel: ${least === most ? least : `${least} to ${most}`}.`;
  }

  // The reader's hands: pointing at a value shows its window, pointing at a pixel who holds it.
  function choose([row, column]) {
    const { windows, side: outer } = scene;
    if (outer === 0 || Math.min(row, column) < 0 || Math.max(row, column) >= windows) return;
    stop();
    at = row * windows + column;
    if (count < total) {
      count = total;
      showCells();
    }
    showMarks();
  }
  function point(next) {
    pixel = next?.every((place) => place >= 0 && place < scene.pixels) ? next : null;
    connected.textContent = HINT;
    showMarks();
  }
  for (const { drawing } of [input, output]) {
    drawing.addEventListener("pointermove", (event) => {
      const place = cellUnder(event, drawing, cell);
      if (drawing === windowPlane().drawing) choose(place);
      else point(place.map((value) => value - scene.padding));
    });
    drawing.addEventListener("pointerleave", () => point(null));
    drawing.addEventListener("keydown", (event) => {
      if (!(event.key in MOVES) || drawing !== windowPlane().drawing) return;
      event.preventDefault();
      const place = [Math.floor(at / scene.windows), at % scene.windows];
      choose(MOVES[event.key].map((step, k) => place[k] + step));
    });
    drawing.dataset.lmSuppressShortcuts = "true"; // or JupyterLab takes the arrow keys
  }
  map.drawing.addEventListener("pointermove", (event) => {
    if (scene.side > 0) point(cellUnder(event, map.drawing, mapCell()));
  });
  map.drawing.addEventListener("pointerleave", () => point(null));

  follow(model, CONTROLS, () => {
    stop();
    const [operation, weights, ...numbers] = CONTROLS.map((name) => model.get(name));
    scene = compute(OPERATIONS[operation], WEIGHTS[weights], ...numbers);
    const { windows, pixels, padding, kernel } = scene;
    cell = Math.min(LENGTH / Math.max(pixels + 2 * padding, windows, kernel), 60);
    total = scene.side > 0 ? windows * windows : 0;
    count = total;
    at = clamp(at ?? windows + 1, 0, Math.max(total - 1, 0)); // at first the second on the diagonal
    pixel = null;
    connected.textContent = HINT;
    for (const { drawing } of [input, output]) {
      const isMoved = drawing === windowPlane().drawing;
      set(drawing, { tabindex: isMoved ? 0 : -1, role: isMoved ? "application" : "img" });
    }
    set(pixelPlane().drawing, { "aria-label": isForward() ? "the input" : "the output" });
    showCells();
    showMarks();
  });
  follow(model, GEOMETRY, showOverlap);
}
