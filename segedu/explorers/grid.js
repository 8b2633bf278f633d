// U-Net and U-Net++ as one grid: a node's inputs, shape, parameters and what it sees, the order in
// which the nodes are computed, and what is left after pruning.

// What is left of a network: the nodes with i + j <= level, and one head. A U-Net has only its
// deepest head, so it stays whole.
function prune({ nodes, heads }, level) {
  const deepest = Math.max(...Object.keys(heads));
  const kept = level in heads ? level : deepest;
  return {
    level: kept,
    head: heads[kept],
    nodes: nodes.filter(({ node: [i, j] }) => i + j <= kept),
  };
}

const parameters = ({ nodes, head }) =>
  nodes.reduce((total, node) => total + node.parameters, head);

const NETWORKS = ["U-Net", "U-Net++"];
const EDGES = { down: "max pooling", up: "upsampling", skip: "copy (skip)", head: "head" };
const NODES = { own: "node of both networks", added: "of the U-Net++ only" };
const INPUTS = { down: "pooled", up: "upsampled", skip: "copied" };
const FACTS = {
  inputs: "inputs",
  takes: "channels in",
  gives: "output",
  parameters: "parameters",
  sees: "receptive field",
};
const TERMS = {
  "X(i,j)": "Row i: the image halved i times. Column j: the j-th node of this row.",
  head: "A 1 × 1 convolution that makes the mask’s logits from a node of the top row, L1 to L4.",
  "receptive field": "The pixels of the image that can change one pixel of the node.",
};
const explain = (word) => (word in TERMS ? term(word, TERMS[word]) : word);

// The nodes in an order in which each comes after its inputs.
const inOrder = (nodes) =>
  [...nodes].sort(({ node: [i, j] }, { node: [k, l] }) => i + j - (k + l) || j - l);

// The first and last image pixel, along one side, that pixel `at` of a node can see. What it sees
// repeats every `spans.length` pixels of the node.
function fieldOf({ node: [i], spans }, at) {
  const period = spans.length;
  const [first, last] = spans[at % period];
  const shift = Math.floor(at / period) * period * 2 ** i;
  return [first + shift, last + shift];
}

// -- the picture ---------------------------------------------------------------------------------

// Two pixels a byte, 0 to 15.
function unpackPicture(text) {
  return [...decodeBase64(text)].flatMap((byte) => [byte >> 4, byte & 15]);
}

function drawPicture(text) {
  const levels = unpackPicture(text);
  const side = Math.sqrt(levels.length);
  const canvas = html("canvas", { width: side, height: side });
  const context = canvas.getContext("2d");
  const image = context.createImageData(side, side);
  levels.forEach((level, k) => image.data.set([17 * level, 17 * level, 17 * level, 255], 4 * k));
  context.putImageData(image, 0, 0);
  return canvas;
}

// -- the network ---------------------------------------------------------------------------------

// A network as a drawing, and its parts, so that they can be lit: edges, heads, buttons of nodes.
function drawNetwork({ nodes, heads }, depth, top, act) {
  const edges = nodes.flatMap(({ node: target, inputs }) =>
    inputs.map(([kind, ...source]) => {
      const line = svg(`path.edge.${kind}`, { d: arrow(kind, source, target, nodes) });
      return { source, target, line };
    }),
  );
  const drawnHeads = Object.keys(heads).map((level) => {
    const x = 2 * level * UNIT;
    const line = svg("path.edge.head", { d: straight(x, -HIGH / 2, x, top) });
    const label = svg("text", { x, y: top - 5, "text-anchor": "middle" }, `L${level}`);
    return { level: Number(level), root: svg("g", line, label) };
  });
  const buttons = nodes.map(({ node }) => {
    const [x, y] = middle(node);
    const rect = { x: x - WIDE / 2, y: y - HIGH / 2, width: WIDE, height: HIGH, rx: 6 };
    const own = node[1] === 0 || node[0] + node[1] === depth; // U-Net has it too
    const button = svg(own ? "g.node" : "g.node.added", { role: "button" });
    button.append(
      svg("rect", rect),
      svg("text", { x, y: y + 4.5, "text-anchor": "middle" }, name(node)),
    );
    button.dataset.lmSuppressShortcuts = "true"; // or JupyterLab takes the arrow keys
    button.addEventListener("click", () => act.choose(node));
    button.addEventListener("keydown", (event) => act.press(event, node));
    button.addEventListener("pointerenter", () => act.point(node));
    button.addEventListener("pointerleave", () => act.point(null));
    return { node, button };
  });
  const group = svg(
    "g",
    edges.map(({ line }) => line),
    drawnHeads.map(({ root }) => root),
  );
  group.append(...buttons.map(({ button }) => button));
  return { group, edges, heads: drawnHeads, buttons };
}

// Which presets there are depends on the depth.
function makePresets(depth) {
  const whole = { level: depth };
  return [
    {
      label: "U-Net",
      sentence:
        "Down on the left, up on the right. Each node on the way up gets one copy, from the left.",
      values: { ...whole, network: 0, node: [0, depth] },
    },
    {
      label: "U-Net++",
      sentence:
        "The triangle is filled in: each node receives a copy of every earlier node in its row.",
      values: { ...whole, network: 1, node: [0, depth] },
    },
    {
      label: "pruned",
      sentence: "The answer comes from head L1. Three nodes are left: look at the two bars below.",
      values: { level: 1, network: 1, node: [0, 1] },
    },
    {
      label: "first node",
      sentence:
        "It sees a few pixels of the picture: enough for an edge, too little for a nucleus.",
      values: { ...whole, network: 1, node: [0, 0] },
    },
    {
      label: "deepest node",
      sentence: "Pooling makes its field large: it sees a neighbourhood, but in coarse steps.",
      values: { ...whole, network: 1, node: [depth, 0] },
    },
  ];
}

// Bars for what is left of a network, in parts of the whole U-Net++.
function costBar(label) {
  const [value, part] = [html("span"), html("div.part")];
  const root = html("div.share", pair(label, value), html("div.bar", part));
  return {
    root,
    show(number, whole, unit) {
      const share = percent(number / whole);
      value.textContent = `${unit(number)}, ${share} of the whole U-Net++`;
      part.style.width = `${Math.min((100 * number) / whole, 100)}%`;
    },
  };
}

const LEVEL = "pruned to level: a U-Net has one head, so nothing can be pruned";

function render({ model, el }) {
  const { depth, image_size: size, networks, picture } = model.get("data");
  const top = -HIGH / 2 - 20 * depth - 6; // above the highest arc
  const [width, height] = [2 * depth * UNIT + WIDE + 8, depth * ROW + HIGH / 2 + 22 - top];
  const stage = svg("svg", { viewBox: `${-WIDE / 2 - 4} ${top - 18} ${width} ${height}` });
  set(stage, { role: "group", "aria-label": "nodes; the arrow keys lead from one to the next" });

  let pointed = null; // the node under the pointer
  let place = [size / 2, size / 2]; // of the image, row and column, whose field is shown
  let done = null; // the number of nodes that are computed, while the forward pass is shown

  // Each network is drawn once, in a group that is shown or not.
  const act = {
    choose(node) {
      endPass();
      change(model, "node", node);
    },
    point(node) {
      pointed = node;
      show();
    },
    press,
  };
  const drawings = networks.map((network) => drawNetwork(network, depth, top, act));
  stage.append(...drawings.map(({ group }) => group));

  const { root: buttons, stop } = player(
    () => {
      const { nodes } = pruned();
      done = done === null || done >= nodes.length ? 1 : done + 1;
      pointed = null;
      show();
      return done < nodes.length;
    },
    { every: () => 900 },
  );
  const step = html("span.note");
  buttons.append(step);

  const title = html("p.title");
  const facts = Object.fromEntries(Object.keys(FACTS).map((fact) => [fact, html("dd")]));
  const list = html(
    "dl",
    Object.entries(FACTS).flatMap(([fact, word]) => [html("dt", explain(word)), facts[fact]]),
  );
  const [unseen, field, own] = [svg("path.unseen"), svg("rect.field"), svg("rect.pixel")];
  const marks = svg("svg", { viewBox: `0 0 ${size} ${size}` }, unseen, field, own);
  const view = html("div.sees", { role: "application", tabindex: 0 }, drawPicture(picture), marks);
  view.dataset.lmSuppressShortcuts = "true";
  const caption = html("p.note");
  const key = [
    ...Object.entries(EDGES).map(([kind, word]) => html(`span.swatch.${kind}`, explain(word))),
    ...Object.entries(NODES).map(([kind, word]) => html(`span.patch.${kind}`, word)),
    html("span", "names: ", explain("X(i,j)")),
  ];
  const [weights, work] = [costBar("parameters"), costBar("multiply-adds")];
  const text = summary();
  el.append(
    html("p.note.no-level", LEVEL),
    presets(model, makePresets(depth)),
    buttons,
    html(
      "div.panels",
      html("div", stage, html("p.key", key)),
      html("div", view, caption),
    ),
    html("div.about", title, list),
    html("div.panels", weights.root, work.root),
    text,
  );

  const pruned = () => prune(networks[model.get("network")], model.get("level"));

  function endPass() {
    stop();
    done = null;
  }

  // Enter chooses a node; an arrow key the next one in its direction, where there is one.
  function press(event, [i, j]) {
    const steps = event.key in MOVES ? range(depth + 1).slice(1) : [0];
    const [down, right] = MOVES[event.key] ?? [0, 0];
    if (!(event.key in MOVES) && event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    const { buttons: nodes } = drawings[model.get("network")];
    const next = steps.map((n) => find(nodes, [i + n * down, j + n * right])).find(Boolean);
    if (!next) return;
    act.choose(next.node);
    next.button.focus();
  }

  // The node that is explained: the one just computed, the one pointed at, or the chosen one. Of a
  // node that only the U-Net++ has, the U-Net shows its output instead.
  function explained() {
    const { nodes } = networks[model.get("network")];
    if (done !== null) return inOrder(pruned().nodes)[done - 1];
    return find(nodes, pointed ?? model.get("node")) ?? find(nodes, [0, depth]);
  }

  function show() {
    const index = model.get("network");
    const network = networks[index];
    const left = pruned();
    const node = explained();
    showNodes(index, left, node.node);
    showFacts(node, left);
    showField(node);
    showCost(network, left);
    el.classList.toggle("u-net", index === 0);
    const isPassing = done !== null;
    el.classList.toggle("passing", isPassing);
    step.textContent = isPassing
      ? `forward pass, ${done} of ${left.nodes.length}: ${name(node.node)}`
      : "the forward pass, node by node";
    set(text, { "aria-live": done === null ? "polite" : "off" });
    text.textContent = sentence(index, left, node);
  }

  function showNodes(index, left, current) {
    const kept = ([i, j]) => i + j <= left.level;
    const order = inOrder(left.nodes).map(({ node }) => node);
    const computed = order.slice(0, done ?? order.length);
    drawings.forEach(({ group }, k) => set(group, { display: k === index ? "inline" : "none" }));
    const { edges, heads, buttons: nodes } = drawings[index];
    const inputs = edges.filter(({ target }) => same(target, current));
    for (const edge of edges) {
      edge.line.classList.toggle("off", !kept(edge.source) || !kept(edge.target));
      edge.line.classList.toggle("input", inputs.includes(edge));
    }
    for (const { level, root } of heads) root.classList.toggle("off", level !== left.level);
    for (const { node, button } of nodes) {
      const isChosen = same(node, find(nodes, model.get("node"))?.node ?? [0, depth]);
      const isComputed = computed.some((other) => same(other, node));
      button.classList.toggle("off", !kept(node));
      button.classList.toggle("current", same(node, current));
      button.classList.toggle("source", inputs.some(({ source }) => same(source, node)));
      button.classList.toggle("waiting", kept(node) && !isComputed);
      set(button, { tabindex: isChosen ? 0 : -1, "aria-pressed": isChosen });
      set(button, { "aria-label": name(node) + (kept(node) ? "" : ", pruned") });
    }
  }

  function showFacts({ node: [i, j], inputs, takes, gives, parameters: number, sees }, left) {
    const [narrow, wide] = sees;
    title.textContent = name([i, j]) + (i + j <= left.level ? "" : ", pruned away");
    facts.inputs.textContent =
      inputs.map(([kind, ...source]) => `${name(source)} ${INPUTS[kind]}`).join(", ") ||
      "the image";
    facts.takes.textContent = `${takes}`;
    facts.gives.textContent = `${gives[0]} channels of ${gives[1]} × ${gives[2]}`;
    facts.parameters.textContent = number.toLocaleString("en");
    facts.sees.textContent = `${narrow === wide ? wide : `${narrow} to ${wide}`} of ${size} pixels`;
  }

  // What one pixel of the node sees of the image, and where it lies itself.
  function showField(node) {
    const scale = 2 ** node.node[0];
    const [rows, columns] = place.map((at) => fieldOf(node, Math.floor(at / scale)));
    const [high, wide] = [rows, columns].map(([first, last]) => last - first + 1);
    const [y, x] = place.map((at) => Math.floor(at / scale) * scale);
    const [left, up] = [columns[0], rows[0]];
    set(field, { x: left, y: up, width: wide, height: high });
    const around = `M0 0H${size}V${size}H0zM${left} ${up}h${wide}v${high}h${-wide}z`;
    set(unseen, { d: around, "fill-rule": "evenodd" });
    set(own, { x, y, width: scale, height: scale });
    const sees = `${high} × ${wide} of ${size} × ${size} pixels`;
    const words = `What one pixel of ${name(node.node)} sees: ${sees}`;
    caption.textContent = `${words}. Point at the picture for another pixel.`;
    set(view, { "aria-label": `${words}. The arrow keys move it.` });
  }

  function showCost(network, left) {
    const whole = networks[1];
    const full = prune(whole, depth);
    weights.show(parameters(left), parameters(full), (n) => n.toLocaleString("en"));
    const giga = (n) => `${(n / 1e9).toPrecision(3)}\u00a0G`;
    work.show(network.operations[left.level], whole.operations[depth], giga);
  }

  function sentence(index, left, node) {
    const number = `${left.nodes.length} of ${networks[index].nodes.length} nodes`;
    if (done !== null) {
      const count = node.inputs.length;
      const inputs = ["the image", "its input"][count] ?? `its ${count} inputs`;
      const end = done === left.nodes.length ? ` Head L${left.level} makes the answer of it.` : "";
      return `Step ${done} of ${left.nodes.length}: ${name(node.node)} from ${inputs}.${end}`;
    }
    const cut = left.level < depth ? ` pruned to level ${left.level}` : "";
    return (
      `${NETWORKS[index]}${cut}: ${number}, ` +
      `${parameters(left).toLocaleString("en")} parameters. ` +
      `${name(node.node)} sees ${facts.sees.textContent}.`
    );
  }

  // The reader's hands on the picture
  function look(next) {
    place = next.map((at) => clamp(Math.floor(at), 0, size - 1));
    showField(explained());
  }
  view.addEventListener("pointermove", ({ clientX, clientY }) => {
    const box = view.getBoundingClientRect();
    look([clientY - box.top, clientX - box.left].map((way) => (way / box.width) * size));
  });
  view.addEventListener("keydown", (event) => {
    if (!(event.key in MOVES)) return;
    event.preventDefault();
    const step = 2 ** explained().node[0];
    look(MOVES[event.key].map((way, k) => place[k] + way * step));
  });

  for (const changed of ["network", "level"]) model.on(`change:${changed}`, endPass);
  follow(model, ["network", "level", "node"], show);
}
