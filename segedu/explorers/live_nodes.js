// The live network as a drawing: nodes and skips to click, and what a node computes.

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
