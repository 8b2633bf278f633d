// What the two figures share that show masks: the colours of a prediction, and pixels on a canvas.

const COLOURS = Object.fromEntries(
  Object.entries(ERRORS).map(([kind, colour]) => [kind, channels(colour)]),
);
const MEANINGS = { tp: "found", fp: "false alarm", fn: "missed" };

const patches = () =>
  Object.entries(MEANINGS).map(([kind, text]) => html(`span.patch.${kind}`, text));

// Gives each pixel of the canvas its colour: [red, green, blue, alpha], each 0 to 255.
function put(canvas, colour) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  for (let k = 0; k < canvas.width * canvas.height; k++) image.data.set(colour(k), 4 * k);
  context.putImageData(image, 0, 0);
}
