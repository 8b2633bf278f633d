// A trained U-Net++ at work: the picture changes, and the segmentation follows.

const MEAN = "mean";
const RUNS = 15; // whose times count

// The worker's side: it gets the network once, then pictures.
function serve({ load, run, toMap }) {
  let net;
  onmessage = ({ data: { web, pixels, side, off, first } }) => {
    if (web) net = load(web);
    else {
      const answer = run(net, toMap(pixels, side, side), off);
      postMessage(
        { ...answer, first },
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
  const isGrown = nodes.some(([i, j]) => j > 0 && i + j < depth); // more than a U-Net

  let scene; // { grey, truth }, drawn on; truth is missing where it is not known
  let own; // the scene of the reader's own picture
  let image; // what the camera made of the scene
  let gain; // that makes the scene's brightest pixels white on the screen
  let answer; // of the worker: { heads, features }, and what came of it
  let mode; // "draw", "erase", or undefined: only then a finger scrolls over the picture
  let first; // what the network said of the scene before anything was changed: { map of each head }
  let scenes = 0; // how many there have been: an answer may be for an earlier one
  let isBefore = false; // whether that is shown
  const times = []; // of the last runs: milliseconds by level
  const waits = []; // from the change to the picture

  // What is where
  const input = stage(
    side,
    "the picture; once draw or erase is pressed, arrow keys move the brush and Enter paints",
    (pixel, { key }) => {
      if (key === "Escape" || !mode) return;
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
  const key = html("p.key", patches());
  const before = html("button", { type: "button", "aria-pressed": false }, "before");
  const score = html("span.big");
  const left = html("span.name", "picture");
  const right = html("span.name");
  const says = summary();
  const fields = html("p.note");
  const reaches = html("ul.reaches");
  const grid = drawNodes(web, depth, {
    choose: (node) => change(model, "node", node),
    flip,
  });
  const title = html("p.title");
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
      html("th", { scope: "row" }, explain(head === MEAN ? "mean of all" : `L${head}`)),
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
        columns.map((text) => html("th", { scope: "col" }, explain(text))),
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
      presets(model, situations(model, { depth, allSkips, heads, levels })),
      html(
        "div.pictures",
        html("div", left, input.root),
        html("div", right, output.root),
        html("div.below", score, before),
      ),
      html("div.tools.brushes", modes, restore, ownLabel),
      html(
        "div.network",
        grid.root,
        html("p.key", networkKey(isGrown)),
        html("div.tools", allOn, allOff),
      ),
      html("div.words", alarm, key, says, fields, reaches),
      html("div.panels.more", table, html("div", title, maps, switches)),
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
    if (!first) {
      first = { grey: scene.grey.map(Math.round), truth: scene.truth?.slice() };
      worker.postMessage({ pixels: normalize(first.grey), side, off: [], first: scenes });
    }
    worker.postMessage({ pixels: normalize(image), side, off: model.get("skips_off") });
  }
  worker.onerror = ({ message }) => (alarm.textContent = `The network does not run: ${message}`);
  worker.onmessage = ({ data }) => {
    if (data.first) {
      if (data.first === scenes && first) first.maps = probabilities(data.heads);
      return;
    }
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
    // Without the changes: the first picture, all skips, and the head that is chosen at the start.
    const firstMap = first?.maps?.[heads[model.get("start").head]];
    const shown = isBefore && firstMap ? { ...first, map: firstMap } : { grey: image, truth, map };
    put(output.canvas, (k) => {
      const found = shown.map[k] > threshold;
      const kind = kindOf(found, shown.truth ? shown.truth[k] : found);
      const grey = gain * shown.grey[k];
      if (kind === "tn") return [grey, grey, grey, 255];
      return [...COLOURS[kind].map((part) => 0.6 * part + 0.4 * Math.min(grey, 255)), 255];
    });
    right.textContent = isBefore ? "before the changes" : "what it finds";
    const scoreOf = (map, truth) => iou(map, truth, threshold).toFixed(2);
    score.textContent = truth ? `IoU ${scoreOf(map, truth)}` : "no truth, so no IoU";
    before.textContent =
      truth && firstMap ? `before: IoU ${scoreOf(firstMap, first.truth)}` : "before";
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
  // A second press ends painting.
  function setMode(wanted) {
    mode = wanted === mode ? undefined : wanted;
    for (const button of modes) set(button, { "aria-pressed": button.textContent === mode });
    input.root.classList.toggle("painted", mode !== undefined);
    left.textContent = mode ? `picture: click to ${mode}` : "picture";
  }
  for (const button of modes) button.addEventListener("click", () => setMode(button.textContent));
  setMode(undefined);
  before.addEventListener("click", () => {
    isBefore = !isBefore;
    set(before, { "aria-pressed": isBefore });
    show();
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
      alarm.textContent =
        "Open a picture first: press \"open a picture\", or drop a file on the picture. Until then " +
        "the last one stays.";
      return;
    }
    alarm.textContent = "";
    const { grey, truth } = pictures[index] ? unpack(pictures[index]) : own;
    scene = { grey: grey.slice(), truth: truth?.slice() };
    first = undefined;
    scenes += 1;
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
