// A trained U-Net++ at work: the picture changes, and the segmentation follows.

const MEAN = "mean";
const BRUSH = { draw: 6, erase: 8 }; // radius in pixels
const LARGEST_FILE = 30e6; // bytes
const WIDEST = 192; // pixels that are taken of a picture of one's own
const RUNS = 15; // whose times count

// -- the picture ---------------------------------------------------------------------------------

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

function unpack({ grey, truth }) {
  const packed = bytes(truth);
  const pixels = Float32Array.from(bytes(grey));
  return { grey: pixels, truth: pixels.map((_, k) => (packed[k >> 3] >> (7 - (k & 7))) & 1) };
}

// Between the two nearest of the sorted values, as numpy's percentile.
function percentile(values, percent) {
  const sorted = Float32Array.from(values).sort();
  const place = (percent / 100) * (sorted.length - 1);
  const low = Math.floor(place);
  return sorted[low] + (place - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
}

// `segedu.data.normalize`: the 1st percentile becomes 0, the 99.9th 1.
function normalize(grey) {
  let [low, high] = [percentile(grey, 1), percentile(grey, 99.9)];
  if (low === high) [low, high] = [percentile(grey, 0), percentile(grey, 100)];
  return grey.map((value) => (value - low) / (high - low || 1));
}

// The same numbers every time, about normally distributed: so the noise does not flicker.
function normalNumbers(count) {
  let state = 1;
  const uniform = () => (state = (48271 * state) % 2147483647) / 2147483647;
  return range(count).map(
    () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()),
  );
}

// A Gaussian along one direction: pixels `step` apart follow each other, `side` of them.
function blurAlong(grey, side, step, sigma) {
  const reach = Math.ceil(3 * sigma);
  const weights = range(2 * reach + 1).map((k) => Math.exp(-((k - reach) ** 2) / (2 * sigma ** 2)));
  const sum = weights.reduce((a, b) => a + b);
  return grey.map((_, at) => {
    const place = Math.floor(at / step) % side;
    let total = 0;
    for (let k = -reach; k <= reach; k++) {
      total += weights[k + reach] * grey[at + step * (clamp(place + k, 0, side - 1) - place)];
    }
    return total / sum;
  });
}

// What the camera makes of a scene: blur of the optics, less light, noise, and whole grey levels.
function photograph(grey, side, { blur, light, noise }, normal) {
  const sharp = blur === 0;
  const image = sharp ? grey : blurAlong(blurAlong(grey, side, 1, blur), side, side, blur);
  return image.map((value, k) =>
    clamp(Math.round((value * light) / 100 + noise * normal[k]), 0, 255),
  );
}

// A disc with a soft edge: a nucleus as bright as the picture's own, or its background.
function paint({ grey, truth }, side, [row, column], mode) {
  const radius = BRUSH[mode];
  const level = mode === "draw" ? Math.max(percentile(grey, 98), 60) : percentile(grey, 20);
  for (let y = Math.max(row - radius - 2, 0); y < Math.min(row + radius + 3, side); y++) {
    for (let x = Math.max(column - radius - 2, 0); x < Math.min(column + radius + 3, side); x++) {
      const distance = Math.hypot(y - row, x - column);
      const share = clamp((radius + 1.5 - distance) / 3, 0, 1);
      const at = y * side + x;
      grey[at] += share * (level - grey[at]);
      if (truth && distance <= radius) truth[at] = mode === "draw" ? 1 : 0;
    }
  }
}

// A file as a scene: the middle of it, at most WIDEST pixels wide, at `side` pixels, grey.
async function readPicture(file, side) {
  if (file.size > LARGEST_FILE) {
    const size = `${Math.round(file.size / 1e6)} MB`;
    throw Error(`${file.name} is too large: ${size}, at most ${LARGEST_FILE / 1e6} MB are read.`);
  }
  const bitmap = await createImageBitmap(file).catch(() => {
    throw Error(
      `${file.name} is no picture that this browser can read: it reads PNG, JPEG and WebP, not TIFF.`,
    );
  });
  const part = Math.min(bitmap.width, bitmap.height, WIDEST);
  const context = html("canvas", { width: side, height: side }).getContext("2d");
  const [x, y] = [(bitmap.width - part) / 2, (bitmap.height - part) / 2];
  context.drawImage(bitmap, x, y, part, part, 0, 0, side, side);
  bitmap.close();
  const { data } = context.getImageData(0, 0, side, side);
  const grey = new Float32Array(side * side);
  return {
    grey: grey.map(
      (_, k) => 0.299 * data[4 * k] + 0.587 * data[4 * k + 1] + 0.114 * data[4 * k + 2],
    ),
  };
}

// -- the network ---------------------------------------------------------------------------------

// The worker's side: it gets the network once, then pictures.
function serve({ load, run, toMap }) {
  let net;
  onmessage = ({ data: { web, pixels, side, off } }) => {
    if (web) net = load(web);
    else {
      const answer = run(net, toMap(pixels, side, side), off);
      postMessage(
        answer,
        Object.values(answer.features).map(({ data }) => data.buffer),
      );
    }
  };
}

function startWorker(web) {
  const source = `(${serve})((${network})());`;
  const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  worker.postMessage({ web });
  return worker;
}

const sigmoid = (logit) => 1 / (1 + Math.exp(-logit));

// Probabilities of each head by its level, and their mean.
function probabilities(heads) {
  const maps = Object.fromEntries(heads.map(({ level, logits }) => [level, logits.map(sigmoid)]));
  const all = Object.values(maps);
  const mean = all[0].map((_, k) => all.reduce((sum, map) => sum + map[k], 0) / all.length);
  return { ...maps, [MEAN]: mean };
}

function iou(map, truth, threshold) {
  let [both, either] = [0, 0];
  map.forEach((p, k) => {
    both += p > threshold && truth[k] ? 1 : 0;
    either += p > threshold || truth[k] ? 1 : 0;
  });
  return either ? both / either : 1;
}

// -- the figure ----------------------------------------------------------------------------------

// The channels of a feature map side by side, each framed by a line of the paper.
function putMaps(canvas, { channels, height, width, data }) {
  const columns = Math.ceil(Math.sqrt(channels));
  const rows = Math.ceil(channels / columns);
  const [right, down] = [width + 1, height + 1];
  set(canvas, { width: columns * right - 1, height: rows * down - 1 });
  const largest = data.reduce((a, b) => Math.max(a, b), 0) || 1;
  put(canvas, (k) => {
    const [y, x] = [Math.floor(k / canvas.width), k % canvas.width];
    const channel = Math.floor(y / down) * columns + Math.floor(x / right);
    const [row, column] = [y % down, x % right];
    if (row === height || column === width || channel >= channels) return [0, 0, 0, 0];
    const at = channel * (height + 2) * (width + 2) + (row + 1) * (width + 2) + column + 1;
    const light = 255 * Math.sqrt(data[at] / largest);
    return [light, light, light, 255];
  });
}

// A picture of side x side pixels that takes the pointer and the keys: `act(pixel, event)`.
function stage(side, label, act) {
  const canvas = html("canvas", { width: side, height: side });
  const over = svg("svg", { viewBox: `0 0 ${side} ${side}`, "aria-hidden": "true" });
  const cursor = svg("path.cross", { d: "M-5 0H-1.5M1.5 0H5M0 -5V-1.5M0 1.5V5" });
  const root = html("div.stage", { role: "application", tabindex: 0, "aria-label": label });
  root.dataset.lmSuppressShortcuts = "true"; // or JupyterLab takes the arrow keys
  const marks = svg("g");
  over.append(marks, cursor);
  root.append(canvas, over);
  let place = [side / 2, side / 2];
  const move = (pixel) => {
    place = pixel.map((value) => clamp(value, 0, side - 1));
    set(cursor, { transform: `translate(${place[1] + 0.5} ${place[0] + 0.5})` });
  };
  const point = (event) => {
    const box = canvas.getBoundingClientRect();
    move([
      Math.floor(((event.clientY - box.top) / box.height) * side),
      Math.floor(((event.clientX - box.left) / box.width) * side),
    ]);
    act(place, event);
  };
  root.addEventListener("pointerdown", (event) => {
    root.setPointerCapture(event.pointerId);
    point(event);
  });
  root.addEventListener("pointermove", (event) => {
    if (event.buttons) point(event);
  });
  root.addEventListener("keydown", (event) => {
    if (event.key in MOVES) {
      const step = event.shiftKey ? 8 : 2;
      move(MOVES[event.key].map((value, k) => place[k] + step * value));
    } else if (["Enter", " ", "Escape"].includes(event.key)) act(place, event);
    else return;
    event.preventDefault();
  });
  move(place);
  return { root, canvas, marks };
}

// The nodes as buttons and the arrows between them; a click on a skip switches it.
function drawNodes({ nodes, levels }, depth, { choose, flip }) {
  const top = -HIGH / 2 - 20 * depth - 6;
  const [width, height] = [2 * depth * UNIT + WIDE + 8, depth * ROW + HIGH / 2 + 4 - top];
  const root = svg("svg", { viewBox: `${-WIDE / 2 - 4} ${top - 18} ${width} ${height + 18}` });
  set(root, { role: "group", "aria-label": "nodes; the arrow keys lead from one to the next" });
  const list = nodes.map((node) => ({ node }));
  const edges = [];
  const draw = (kind, source, target) => {
    const d = arrow(kind, source, target, list);
    const line = svg(`path.edge.${kind}`, { d });
    root.append(line);
    if (kind === "skip") {
      const skip = [source[0], source[1], target[1]];
      const wide = svg("path.touch", { d }, svg("title", `switch ${skipName(skip)}`));
      wide.addEventListener("click", () => flip(skip));
      root.append(wide);
      edges.push({ skip, line, target });
    } else edges.push({ line, target });
  };
  for (const [i, j] of nodes) {
    if (j > 0) {
      for (const skip of skipsInto(nodes, [i, j])) draw("skip", [i, skip[1]], [i, j]);
      draw("up", [i + 1, j - 1], [i, j]);
    } else if (i > 0) draw("down", [i - 1, 0], [i, 0]);
  }
  const heads = levels.map((level) => {
    const x = 2 * level * UNIT;
    const line = svg("path.edge.head", { d: straight(x, -HIGH / 2, x, top) });
    const text = svg("text", { x, y: top - 5, "text-anchor": "middle" }, `L${level}`);
    const group = svg("g", line, text);
    root.append(group);
    return { level, group };
  });
  const buttons = nodes.map((node) => {
    const [x, y] = middle(node);
    const rect = { x: x - WIDE / 2, y: y - HIGH / 2, width: WIDE, height: HIGH, rx: 6 };
    const own = node[1] === 0 || node[0] + node[1] === depth; // U-Net has it too
    const button = svg(own ? "g.node" : "g.node.added", { role: "button" }, svg("rect", rect));
    button.append(svg("text", { x, y: y + 4.5, "text-anchor": "middle" }, name(node)));
    button.dataset.lmSuppressShortcuts = "true";
    button.addEventListener("click", () => choose(node));
    button.addEventListener("keydown", (event) => {
      const [down, right] = MOVES[event.key] ?? [0, 0];
      if (!(event.key in MOVES) && event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      const next = buttons.find((other) => same(other.node, [node[0] + down, node[1] + right]));
      if (!next) return;
      choose(next.node);
      next.button.focus();
    });
    root.append(button);
    return { node, button };
  });
  return { root, edges, heads, buttons };
}

const skipName = ([i, k, j]) => `X(${i},${k}) to X(${i},${j})`;
const skipsInto = (nodes, [i, j]) =>
  nodes.filter(([row, k]) => row === i && k < j).map(([, k]) => [i, k, j]);

function render({ model, el }) {
  const missing = ["Worker", "createImageBitmap"].filter((part) => !(part in window));
  if (missing.length) {
    const words = `This browser is too old for the network: it lacks ${missing.join(" and ")}.`;
    el.append(html("p.alarm", { role: "alert" }, words));
    return false;
  }
  const { web, side, threshold, costs, pictures } = model.get("data");
  const { nodes, levels } = web;
  const depth = Math.max(...nodes.map(([i]) => i));
  const { inputInterval } = network();
  const allSkips = nodes.flatMap((node) => (node[1] ? skipsInto(nodes, node) : []));
  const normal = normalNumbers(side * side);
  const heads = levels.length > 1 ? [...levels, MEAN] : levels;

  let scene; // { grey, truth }, drawn on; truth is missing where it is not known
  let own; // the scene of the reader's own picture
  let image; // what the camera made of the scene
  let gain; // that makes the scene's brightest pixels white on the screen
  let answer; // of the worker: { heads, features }, and what came of it
  let mode = "draw";
  const times = []; // of the last runs: milliseconds by level
  const waits = []; // from the change to the picture

  // What is where
  const input = stage(
    side,
    "the picture; arrow keys move the brush, Enter paints, with Shift by larger steps",
    (pixel, { key }) => {
      if (key === "Escape") return;
      paint(scene, side, pixel, mode);
      request();
    },
  );
  const output = stage(
    side,
    "the segmentation; arrow keys move, Enter shows what reaches a pixel, Escape ends it",
    (pixel, { key }) => change(model, "pixel", key === "Escape" ? [] : pixel),
  );
  const modes = Object.keys(BRUSH).map((word) => html("button", { type: "button" }, word));
  const restore = html("button", { type: "button" }, "start over");
  const chooser = html("input", { type: "file", accept: "image/*" });
  const ownLabel = html("label.file", chooser, html("span", "open a picture"));
  const alarm = html("p.alarm", { role: "alert" });
  const legend = Object.entries(KINDS).map(([kind, text]) => html(`span.patch.${kind}`, text));
  const key = html("p.key", legend);
  const says = summary();
  const fields = html("p.note");
  const reaches = html("ul.reaches");
  const grid = drawNodes(web, depth, {
    choose: (node) => change(model, "node", node),
    flip,
  });
  const title = html("h4");
  const maps = html("canvas.maps", { role: "img" });
  const switches = html("div.switches");
  const allOn = html("button", { type: "button" }, "all skips on");
  const allOff = html("button", { type: "button" }, "all skips off");
  const cells = Object.fromEntries(
    heads.map((head) => [head, { ms: html("td"), iou: html("td"), row: html("tr") }]),
  );
  for (const head of heads) {
    const cost = costs.find(({ level }) => level === head) ?? costs.at(-1);
    const { ms, iou, row } = cells[head];
    row.append(
      html("th", { scope: "row" }, head === MEAN ? "mean of all" : `L${head}`),
      html("td", `${(cost.parameters / 1e3).toFixed(1)} k`),
      html("td", `${(cost.operations / 1e6).toFixed(1)} M`),
      ms,
      iou,
    );
  }
  const columns = ["head", "parameters", "multiply-adds", "ms here", "IoU"];
  const table = html(
    "table.costs",
    html("caption", "What remains when the network is pruned to a head"),
    html(
      "thead",
      html(
        "tr",
        columns.map((text) => html("th", { scope: "col" }, text)),
      ),
    ),
    html(
      "tbody",
      Object.values(cells).map(({ row }) => row),
    ),
  );
  el.replaceChildren(
    html(
      "div.live",
      html("div.pictures", html("div", input.root), html("div", output.root)),
      html("div.tools", modes, restore, ownLabel),
      alarm,
      key,
      says,
      fields,
      reaches,
      table,
      html(
        "div.panels",
        html("div", grid.root, html("div.tools", allOn, allOff)),
        html("div", title, maps, switches),
      ),
    ),
  );

  // Asking the worker: one picture at a time, and of those that come meanwhile the last
  let worker;
  try {
    worker = startWorker(web);
  } catch (error) {
    alarm.textContent = `This page may not compute in the background: ${error.message}`;
    return;
  }
  let asked = 0; // when, or 0
  let again = false;
  function request() {
    const camera = Object.fromEntries(["blur", "light", "noise"].map((k) => [k, model.get(k)]));
    image = photograph(scene.grey, side, camera, normal);
    put(input.canvas, (k) => [gain * image[k], gain * image[k], gain * image[k], 255]);
    again = asked > 0;
    if (again) return;
    asked = performance.now();
    worker.postMessage({ pixels: normalize(image), side, off: model.get("skips_off") });
  }
  worker.onerror = ({ message }) => (alarm.textContent = `The network does not run: ${message}`);
  worker.onmessage = ({ data }) => {
    if (answer) {
      times.push(data.heads.map(({ milliseconds }) => milliseconds));
      waits.push(performance.now() - asked);
      for (const list of [times, waits]) list.splice(0, list.length - RUNS);
    } else again = true; // the first run is slow, before the browser has compiled the code
    answer = { ...data, maps: probabilities(data.heads) };
    asked = 0;
    if (again) request();
    show();
    showMaps();
  };

  // What the answer looks like
  function show() {
    if (!answer) return;
    const head = heads[model.get("head")];
    const map = answer.maps[head];
    const { truth } = scene;
    put(output.canvas, (k) => {
      const found = map[k] > threshold;
      const isTrue = truth ? truth[k] : found;
      const kind = found ? (isTrue ? "tp" : "fp") : isTrue ? "fn" : null;
      const grey = gain * image[k];
      return kind
        ? [...COLOURS[kind].map((part) => 0.6 * part + 0.4 * Math.min(grey, 255)), 255]
        : [grey, grey, grey, 255];
    });
    levels.forEach((level, k) => {
      cells[level].ms.textContent = times.length
        ? median(times.map((run) => run[k])).toFixed(0)
        : "…";
    });
    if (cells[MEAN]) cells[MEAN].ms.textContent = cells[levels.at(-1)].ms.textContent;
    for (const name of heads) {
      const score = truth ? iou(answer.maps[name], truth, threshold).toFixed(3) : "–";
      cells[name].iou.textContent = score;
      cells[name].row.classList.toggle("chosen", name === head);
    }
    const share = map.reduce((sum, p) => sum + (p > threshold), 0) / map.length;
    const off = model.get("skips_off").length;
    says.textContent =
      `${head === MEAN ? "Mean of all heads" : `Head L${head}`}: ` +
      (truth ? `IoU ${cells[head].iou.textContent}, ` : "no truth to compare with, ") +
      `${percent(share)} foreground` +
      (off ? `, ${off} of ${allSkips.length} skips off` : "") +
      "." +
      (waits.length ? ` A new result takes ${median(waits).toFixed(0)} ms.` : "");
    key.hidden = !truth;
    showField(map);
  }

  function showField(map) {
    const pixel = model.get("pixel");
    for (const { marks } of [input, output]) marks.replaceChildren();
    reaches.replaceChildren();
    fields.textContent = pixel.length
      ? `Pixel in row ${pixel[0]}, column ${pixel[1]}: probability ` +
        `${map[pixel[0] * side + pixel[1]].toFixed(3)}. What of the input can reach it through ` +
        `the network (there is nothing outside 0 to ${side - 1}):`
      : "Click the segmentation to see which input pixels can reach a pixel of it.";
    if (!pixel.length) return;
    const [row, column] = pixel;
    output.marks.append(svg("rect.pixel", { x: column - 1, y: row - 1, width: 3, height: 3 }));
    levels.forEach((level, k) => {
      const [top, bottom] = inputInterval(nodes, level, row);
      const [left, right] = inputInterval(nodes, level, column);
      const size = { width: right - left + 1, height: bottom - top + 1 };
      const rect = svg("rect.reach", { x: left, y: top, ...size });
      const aside = top < 0 ? 8 * k : 0; // or the names of those that reach outside coincide
      const corner = { x: Math.max(left, 0) + 1.5 + aside, y: Math.max(top, 0) + 5.5 };
      input.marks.append(rect, svg("text", corner, `L${level}`));
      const rows = `L${level}: rows ${top} to ${bottom}, columns ${left} to ${right}`;
      reaches.append(html("li", `${rows} (${size.height}\u00a0×\u00a0${size.width})`));
    });
  }

  function showMaps() {
    const node = model.get("node");
    const features = answer?.features[String(node)];
    const { channels, height, width } = features ?? {};
    const size = features ? `${channels} feature maps of ${height} × ${width}` : "feature maps";
    title.textContent = `${name(node)}: ${size}`;
    set(maps, { "aria-label": title.textContent });
    if (features) putMaps(maps, features);
  }

  // The network's skips, and the node whose maps are shown
  function flip(skip) {
    const off = model.get("skips_off");
    const left = off.filter((other) => String(other) !== String(skip));
    change(model, "skips_off", left.length < off.length ? left : [...off, skip]);
  }

  function showNetwork() {
    const node = model.get("node");
    const off = new Set(model.get("skips_off").map(String));
    const head = heads[model.get("head")];
    const level = head === MEAN ? depth : head;
    for (const { skip, line, target } of grid.edges) {
      line.classList.toggle("off", target[0] + target[1] > level);
      line.classList.toggle("cut", skip !== undefined && off.has(String(skip)));
      line.classList.toggle("input", same(target, node));
    }
    for (const { level, group } of grid.heads) {
      group.classList.toggle("off", head !== MEAN && level !== head);
    }
    for (const { node: other, button } of grid.buttons) {
      const pressed = same(other, node);
      const pruned = other[0] + other[1] > level;
      button.classList.toggle("off", pruned);
      set(button, { tabindex: pressed ? 0 : -1, "aria-pressed": pressed });
      set(button, { "aria-label": name(other) + (pruned ? ", not needed for this head" : "") });
    }
    const focused = switches.contains(document.activeElement)
      ? document.activeElement.textContent
      : null;
    const buttons = node[1]
      ? skipsInto(nodes, node).map((skip) => {
          const attributes = { type: "button", "aria-pressed": !off.has(String(skip)) };
          const button = html("button", attributes, skipName(skip));
          button.addEventListener("click", () => flip(skip));
          return button;
        })
      : [];
    const note = html("span.note", buttons.length ? "skips into it:" : "no skip leads into it");
    switches.replaceChildren(note, ...buttons);
    buttons.find(({ textContent }) => textContent === focused)?.focus();
  }

  // The reader's hands
  modes.forEach((button) => {
    const press = () => {
      mode = button.textContent;
      for (const other of modes) set(other, { "aria-pressed": other === button });
    };
    button.addEventListener("click", press);
    if (button.textContent === mode) press();
  });
  restore.addEventListener("click", setScene);
  allOn.addEventListener("click", () => change(model, "skips_off", []));
  allOff.addEventListener("click", () => change(model, "skips_off", allSkips));
  async function take(file) {
    if (!file) return;
    try {
      own = await readPicture(file, side);
    } catch (error) {
      alarm.textContent = error.message;
      return;
    }
    alarm.textContent = "";
    if (model.get("picture") === pictures.length) setScene();
    else change(model, "picture", pictures.length);
  }
  chooser.addEventListener("change", () => take(chooser.files[0]));
  input.root.addEventListener("dragover", (event) => event.preventDefault());
  input.root.addEventListener("drop", (event) => {
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });

  function setScene() {
    const index = model.get("picture");
    if (index === pictures.length && !own) {
      alarm.textContent = "Open a picture first, or drop one on the left.";
      return;
    }
    alarm.textContent = "";
    const { grey, truth } = pictures[index] ? unpack(pictures[index]) : own;
    scene = { grey: grey.slice(), truth: truth?.slice() };
    gain = 255 / Math.max(percentile(grey, 99.9), 1);
    request();
  }

  scene = unpack(pictures[0]);
  follow(model, ["picture"], setScene);
  for (const name of ["noise", "blur", "light", "skips_off"]) {
    model.on(`change:${name}`, request);
  }
  follow(model, ["head", "pixel"], show);
  follow(model, ["node"], showMaps);
  follow(model, ["head", "node", "skips_off"], showNetwork);
}
