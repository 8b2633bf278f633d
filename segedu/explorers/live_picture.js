// The live network's picture: what the camera makes of it, a brush, and a file of the reader's own.

const BRUSH = { draw: 6, erase: 8 }; // radius in pixels
const LARGEST_FILE = 30e6; // bytes
const WIDEST = 192; // pixels that are taken of a picture of one's own

function unpack({ grey, truth }) {
  const bits = decodeBase64(truth);
  const pixels = Float32Array.from(decodeBase64(grey));
  return { grey: pixels, truth: pixels.map((_, k) => bitAt(bits, k)) };
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
    throw Error(
      `${file.name} is too large: ${size}, at most ${LARGEST_FILE / 1e6} MB are read. ` +
        "Cut out a part of it, or save it smaller, and open that.",
    );
  }
  const bitmap = await createImageBitmap(file).catch(() => {
    throw Error(
      `${file.name} is no picture that this browser can read: it reads PNG, JPEG and WebP, not ` +
        "TIFF. Save it as PNG, for example with Fiji or ImageJ, and open that.",
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
