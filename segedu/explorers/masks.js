// What the two figures share that show masks: the colours of a prediction, and pixels on a canvas.

const COLOURS = { tp: [86, 180, 233], fp: [240, 228, 66], fn: [213, 94, 0] }; // as in the legend
const KINDS = { tp: "found", fp: "found, not true", fn: "missed" };

const patches = () => Object.entries(KINDS).map(([kind, text]) => html(`span.patch.${kind}`, text));

// Which of the kinds a pixel is; undefined for background that was taken for background.
function kindOf(isFound, isTrue) {
  if (isFound) return isTrue ? "tp" : "fp";
  return isTrue ? "fn" : undefined;
}

// Gives each pixel of the canvas its colour: [red, green, blue, alpha], each 0 to 255.
function put(canvas, colour) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  for (let k = 0; k < canvas.width * canvas.height; k++) image.data.set(colour(k), 4 * k);
  context.putImageData(image, 0, 0);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}
