// U-Net and U-Net++ as one grid: a node's inputs, shape, parameters and what it sees.

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
const EDGES = { down: "max pooling", up: "upsampling", skip: "copy", head: "head" };
const INPUTS = { down: "pooled", up: "upsampled", skip: "copied" };
const FACTS = ["inputs", "takes", "gives", "parameters", "sees"];

function render({ model, el }) {
  const { depth, image_size: size, networks } = model.get("data");
  const top = -HIGH / 2 - 20 * depth - 6; // above the highest arc
  const [width, height] = [2 * depth * UNIT + WIDE + 8, depth * ROW + HIGH / 2 + 22 - top];
  const stage = svg("svg", { viewBox: `${-WIDE / 2 - 4} ${top - 18} ${width} ${height}` });
  set(stage, { role: "group", "aria-label": "nodes; the arrow keys lead from one to the next" });

  // Each network is drawn once, in a group that is shown or not.
  const drawings = networks.map((network) => {
    const edges = network.nodes.flatMap(({ node: target, inputs }) =>
      inputs.map(([kind, ...source]) => {
        const line = svg(`path.edge.${kind}`, { d: arrow(kind, source, target, network.nodes) });
        return { source, target, line };
      }),
    );
    const heads = Object.keys(network.heads).map((level) => {
      const x = 2 * level * UNIT;
      const line = svg("path.edge.head", { d: straight(x, -HIGH / 2, x, top) });
      const label = svg("text", { x, y: top - 5, "text-anchor": "middle" }, `L${level}`);
      return { level: Number(level), root: svg("g", line, label) };
    });
    const buttons = network.nodes.map(({ node }) => {
      const [x, y] = middle(node);
      const rect = { x: x - WIDE / 2, y: y - HIGH / 2, width: WIDE, height: HIGH, rx: 6 };
      const own = node[1] === 0 || node[0] + node[1] === depth; // U-Net has it too
      const button = svg(own ? "g.node" : "g.node.added", { role: "button" });
      button.append(
        svg("rect", rect),
        svg("text", { x, y: y + 4.5, "text-anchor": "middle" }, name(node)),
      );
      button.dataset.lmSuppressShortcuts = "true"; // or JupyterLab takes the arrow keys
      button.addEventListener("click", () => change(model, "node", node));
      button.addEventListener("keydown", (event) => press(event, node));
      return { node, button };
    });
    const group = svg(
      "g",
      edges.map(({ line }) => line),
      heads.map(({ root }) => root),
    );
    group.append(...buttons.map(({ button }) => button));
    stage.append(group);
    return { group, edges, heads, buttons };
  });

  const title = html("h4");
  const facts = Object.fromEntries(FACTS.map((fact) => [fact, html("dd")]));
  const list = html("dl", FACTS.map((fact) => [html("dt", fact), facts[fact]]).flat());
  const field = svg("rect.field");
  const view = svg("svg.sees", { viewBox: `0 0 ${size} ${size}`, role: "img" });
  set(view, { "aria-label": "the part of the image that one pixel of the node sees" });
  view.append(svg("rect.frame", { width: size, height: size }), field);
  const caption = html("p.note", "what one pixel of it sees of the image");
  const key = Object.entries(EDGES).map(([kind, text]) => html(`span.swatch.${kind}`, text));
  const text = summary();
  el.append(
    html(
      "div.panels",
      html("div", stage, html("p.key", key)),
      html("div", title, list, html("div", view, caption)),
    ),
    text,
  );

  // Enter chooses a node; an arrow key the next one in its direction, where there is one.
  function press(event, [i, j]) {
    const steps = event.key in MOVES ? range(depth + 1).slice(1) : [0];
    const [down, right] = MOVES[event.key] ?? [0, 0];
    if (!(event.key in MOVES) && event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    const { buttons } = drawings[model.get("network")];
    const next = steps.map((n) => find(buttons, [i + n * down, j + n * right])).find(Boolean);
    if (!next) return;
    change(model, "node", next.node);
    next.button.focus();
  }

  follow(model, ["network", "level", "node"], () => {
    const index = model.get("network");
    const network = networks[index];
    const pruned = prune(network, model.get("level"));
    const kept = ([i, j]) => i + j <= pruned.level;
    // of a node that only the U-Net++ has, the U-Net shows its output instead
    const chosen = find(network.nodes, model.get("node")) ?? find(network.nodes, [0, depth]);

    drawings.forEach(({ group }, k) => set(group, { display: k === index ? "inline" : "none" }));
    const { edges, heads, buttons } = drawings[index];
    for (const { source, target, line } of edges) {
      line.classList.toggle("off", !kept(source) || !kept(target));
      line.classList.toggle("input", target === chosen.node);
    }
    for (const { level, root } of heads) root.classList.toggle("off", level !== pruned.level);
    for (const { node, button } of buttons) {
      const pressed = node === chosen.node;
      button.classList.toggle("off", !kept(node));
      set(button, { tabindex: pressed ? 0 : -1, "aria-pressed": pressed });
      set(button, { "aria-label": name(node) + (kept(node) ? "" : ", pruned") });
    }

    const { node, inputs, takes, gives, sees } = chosen;
    const [narrow, wide] = sees;
    title.textContent = name(node) + (kept(node) ? "" : ", pruned away");
    facts.inputs.textContent =
      inputs.map(([kind, ...source]) => `${name(source)} ${INPUTS[kind]}`).join(", ") ||
      "the image";
    facts.takes.textContent = `${takes} channels`;
    facts.gives.textContent = gives.join(" × ");
    facts.parameters.textContent = chosen.parameters.toLocaleString("en");
    facts.sees.textContent = `${narrow === wide ? wide : `${narrow} to ${wide}`} of ${size} pixels`;
    const side = Math.min(wide, size);
    set(field, { x: (size - side) / 2, y: (size - side) / 2, width: side, height: side });

    const [now, whole] = [parameters(pruned), parameters(prune(network, depth))];
    text.textContent =
      `${NETWORKS[index]}${pruned.level < depth ? ` pruned to level ${pruned.level}` : ""}: ` +
      `${pruned.nodes.length} of ${network.nodes.length} nodes, ` +
      `${now.toLocaleString("en")} parameters (${percent(now / whole)}). ` +
      (pruned.level === model.get("level") ? "" : "It has one head, so nothing can be pruned. ") +
      `${name(node)} sees ${facts.sees.textContent}.`;
  });
}
