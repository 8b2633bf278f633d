// Discs and squares on a grid of pixels, and how many pixels two of them share.

const [COLUMNS, ROWS] = [128, 64];
const SHAPES = ["disc", "square"];

// Which pixels a shape covers: `spans` holds [first, end) columns for each row from `top` on. It
// moves inwards where it would stick out of the grid.
function covered(shape, [column, row], size) {
  const first = (at, side) => clamp(at - Math.floor(size / 2), 0, side - size);
  const [left, top] = [first(column, COLUMNS), first(row, ROWS)];
  const spans = range(size).map((k) => {
    // Twice the way from the middle of the shape to the middle of the row's pixels.
    const y = 2 * k + 1 - size;
    const reach = shape === "disc" ? Math.sqrt(size * size - y * y) : size;
    const margin = Math.max(Math.ceil((size - 1 - reach) / 2), 0);
    return [left + margin, left + size - margin];
  });
  return { left, top, size, spans };
}

const area = ({ spans }) => spans.reduce((sum, [first, end]) => sum + end - first, 0);
const middle = ({ left, size }) => left + size / 2;

// How many pixels both cover once `a` has moved to the right.
function shared(a, b, right = 0) {
  let pixels = 0;
  const end = Math.min(a.top + a.size, b.top + b.size);
  for (let y = Math.max(a.top, b.top); y < end; y++) {
    const [[firstA, endA], [firstB, endB]] = [a.spans[y - a.top], b.spans[y - b.top]];
    pixels += Math.max(Math.min(endA + right, endB) - Math.max(firstA + right, firstB), 0);
  }
  return pixels;
}

function count(preds, target, right) {
  const tp = shared(preds, target, right);
  const [fp, fn] = [area(preds) - tp, area(target) - tp];
  return { tp, fp, fn, tn: ROWS * COLUMNS - tp - fp - fn };
}

// 1 for the pixels that a shape covers, row by row over the whole grid.
function mask({ top, spans }) {
  const pixels = new Uint8Array(ROWS * COLUMNS);
  spans.forEach(([first, end], k) => {
    const row = (top + k) * COLUMNS;
    pixels.fill(1, row + first, row + end);
  });
  return pixels;
}
