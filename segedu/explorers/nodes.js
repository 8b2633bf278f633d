// The nodes of a network as a drawing: where each stands, and the arrows between them.

const same = ([i, j], [k, l]) => i === k && j === l;
const find = (nodes, wanted) => nodes.find(({ node }) => same(node, wanted));

// The drawing: node X(i, j) stands at x = i + 2 j, y = i.
const [UNIT, ROW, WIDE, HIGH] = [40, 54, 58, 28];

const name = ([i, j]) => `X(${i},${j})`;
const middle = ([i, j]) => [UNIT * (i + 2 * j), ROW * i];

// The head of an arrow that arrives at (x, y) in the direction (dx, dy).
function tip(x, y, dx, dy) {
  const length = Math.hypot(dx, dy) / 3;
  const [u, v] = [dx / length, dy / length];
  return `M${x - 2 * u - v} ${y - 2 * v + u}L${x} ${y}L${x - 2 * u + v} ${y - 2 * v - u}`;
}

const straight = (a, b, c, d) => `M${a} ${b}L${c} ${d}${tip(c, d, c - a, d - b)}`;

function arrow(kind, source, target, nodes) {
  const [[x0, y0], [x1, y1]] = [middle(source), middle(target)];
  if (kind !== "skip") {
    const edge = (Math.sign(y1 - y0) * HIGH) / 2;
    return straight(x0 + 12, y0 + edge, x1 - 12, y1 - edge);
  }
  const [row, span] = [source[0], target[1] - source[1]];
  if (!range(span - 1).some((k) => find(nodes, [row, source[1] + k + 1]))) {
    return straight(x0 + WIDE / 2, y0, x1 - WIDE / 2, y1);
  }
  // over the nodes between: the longer, the higher; under another row there is less room
  const lift = row === 0 ? 26 * span - 14 : 10 * span;
  const [a, b, y] = [x0 + 32 - 6 * span, x1 - 32 + 6 * span, y0 - HIGH / 2];
  return `M${a} ${y}C${a + 20} ${y - lift} ${b - 20} ${y - lift} ${b} ${y}${tip(b, y, 20, lift)}`;
}
