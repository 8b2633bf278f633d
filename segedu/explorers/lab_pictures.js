// Held-out crops, their truth and what the trainings make of them, in columns of small pictures.

const SHOWN = 4; // crops
const GAP = 2; // pixels around each, in which a frame marks the one that is pointed at
const FRAME = [230, 159, 0, 255];
const EMPTY = [0, 0, 0, 0];

// The held-out crops with the most foreground.
function fullest(truth, area) {
  const sums = range(truth.length / area).map((n) =>
    truth.subarray(n * area, (n + 1) * area).reduce((sum, value) => sum + value),
  );
  const order = range(sums.length).sort((a, b) => sums[b] - sums[a]);
  return order.slice(0, SHOWN);
}

const grey = (value) => [255 * value, 255 * value, 255 * value, 255];

// The colour of a pixel in a mask: what was found, what not, and the dimmed crop below.
const maskColour =
  ({ pixels, truth }, probabilities, threshold) =>
  (at) => {
    const kind = kindOf(probabilities[at] > threshold, truth[at]);
    return kind === "tn" ? grey(0.5 * pixels[at]) : [...COLOURS[kind], 255];
  };

// Pictures side by side, each with a title over it; in each the crops stand in so many columns.
// `point(n)` hears which crop is pointed at, undefined for none.
function pictures(held, side, columns, point) {
  const area = side * side;
  const crops = fullest(held.truth, area);
  const step = side + GAP;
  const width = columns * step + GAP;
  const height = (SHOWN / columns) * step + GAP;
  const root = html("div.crops");
  let tiles = [];

  const newTile = () => {
    const canvas = html("canvas", { width, height, role: "img" });
    const title = html("span.name");
    canvas.addEventListener("pointermove", ({ offsetX, offsetY }) => {
      const [x, y] = [offsetX / canvas.clientWidth, offsetY / canvas.clientHeight];
      const row = Math.floor((y * SHOWN) / columns);
      point(clamp(row * columns + Math.floor(x * columns), 0, SHOWN - 1));
    });
    canvas.addEventListener("pointerleave", () => point(undefined));
    return { canvas, title, root: html("div", title, canvas) };
  };

  // list: [{ title, label, colour }], `colour(at)` being that of a pixel of the held-out crops.
  function show(list, pointed) {
    if (tiles.length !== list.length) {
      tiles = list.map(newTile);
      root.replaceChildren(...tiles.map((tile) => tile.root));
      root.style.setProperty("--columns", list.length);
    }
    list.forEach(({ title, label, colour }, k) => {
      tiles[k].title.textContent = title;
      set(tiles[k].canvas, { "aria-label": label });
      put(tiles[k].canvas, (at) => {
        const [x, y] = [at % width, Math.floor(at / width)];
        const n = Math.min(Math.floor(y / step), SHOWN / columns - 1) * columns;
        const crop = n + Math.min(Math.floor(x / step), columns - 1);
        const [column, row] = [(x % step) - GAP, (y % step) - GAP];
        if (column >= 0 && row >= 0) return colour(crops[crop] * area + row * side + column);
        return isFramed(x, y) ? FRAME : EMPTY;
      });
    });

    function isFramed(x, y) {
      if (pointed === undefined) return false;
      const left = (pointed % columns) * step;
      const top = Math.floor(pointed / columns) * step;
      const isBetween = (value, least) => value >= least && value < least + step + GAP;
      return isBetween(x, left) && isBetween(y, top);
    }
  }

  return { root, show, crops };
}

// The IoU of one crop.
function cropIou({ truth }, probabilities, threshold, crop, area) {
  let [both, either] = [0, 0];
  for (let at = crop * area; at < (crop + 1) * area; at++) {
    const isFound = probabilities[at] > threshold;
    both += isFound && truth[at] ? 1 : 0;
    either += isFound || truth[at] ? 1 : 0;
  }
  return either ? both / either : 1;
}
