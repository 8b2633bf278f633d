// A predicted mask against the true one: scores, and a picture of the kinds of pixels in the colours
// and hatching of `segedu.plotting.show_errors`.

const iou = ({ tp, fp, fn }) => tp / (tp + fp + fn);
const dice = ({ tp, fp, fn }) => (2 * tp) / (2 * tp + fp + fn);
const precision = ({ tp, fp }) => tp / (tp + fp);
const recall = ({ tp, fn }) => tp / (tp + fn);

const BLACK = 0xff000000;
const FAINT = 0x33ffffff; // leaves a fifth of the opacity

// The bytes of a colour such as "#D55E00" as a canvas stores them: alpha, blue, green, red.
function packed(colour) {
  const [red, green, blue] = channels(colour);
  return packedGrey(0) | (blue << 16) | (green << 8) | red;
}
const packedGrey = (level) => BLACK | (level << 16) | (level << 8) | level;

// Where on the canvas a kind is black: strokes for FP, dots for FN, both repeated every TILE.
const TILE = 12;
const TEXTURES = {
  fp: (x, y) => (x + y) % TILE < 2,
  fn: (x, y) => Math.hypot(x - 6, y - 6) < 2.3,
};
const texture = (isBlack) =>
  range(TILE * TILE).map((at) => isBlack(at % TILE, Math.floor(at / TILE)));

// A canvas and paint(kinds, ground, faint), which draws each pixel with `zoom` x `zoom` of the
// canvas. ground(index) is the packed colour of a true negative, and `faint` says which kinds are
// almost hidden.
function errorPicture(width, height, zoom, label) {
  const size = { width: width * zoom, height: height * zoom };
  const node = html("canvas", { ...size, role: "img", "aria-label": label });
  node.style.imageRendering = "auto"; // hatching shrinks smoothly
  const context = node.getContext("2d");
  const image = context.createImageData(size.width, size.height);
  const canvas = new Uint32Array(image.data.buffer);
  const textures = Object.fromEntries(
    Object.entries(TEXTURES).map(([kind, isBlack]) => [kind, texture(isBlack)]),
  );
  const colours = Object.fromEntries(
    Object.entries(ERRORS).map(([kind, colour]) => [kind, packed(colour)]),
  );

  function paint(kinds, ground, faint) {
    kinds.forEach((kind, index) => {
      const [left, top] = [(index % width) * zoom, Math.floor(index / width) * zoom];
      const plain = kind === "tn" ? ground(index) : colours[kind];
      const isFaint = faint(kind);
      for (let y = top; y < top + zoom; y++) {
        const row = y * size.width;
        canvas.fill(isFaint ? plain & FAINT : plain, row + left, row + left + zoom);
        if (isFaint || !(kind in TEXTURES)) continue;
        for (let x = left; x < left + zoom; x++) {
          if (textures[kind][(y % TILE) * TILE + (x % TILE)]) canvas[row + x] = BLACK;
        }
      }
    });
    context.putImageData(image, 0, 0);
  }
  return { node, paint };
}
