// Pictures of pixels: out of text, onto a canvas, and what one points at.

// The bytes of a text of `pixels.py`, where a zero is followed by how many zeros there are.
function bytes(text) {
  const values = [];
  const packed = decodeBase64(text);
  for (let k = 0; k < packed.length; k++) {
    if (packed[k] > 0) values.push(packed[k]);
    else for (let left = packed[++k]; left > 0; left--) values.push(0);
  }
  return values;
}

// 8-bit levels, and for each pixel whether it is foreground (8 pixels a byte).
function unpack({ levels, truth }) {
  const values = bytes(levels);
  const bits = bytes(truth);
  return { levels: values, truth: values.map((_, k) => bitAt(bits, k)) };
}

// A canvas and paint(colour), which colours each pixel: colour(index) is [red, green, blue].
function picture(width, height, label) {
  const node = html("canvas", { width, height, role: "img", "aria-label": label });
  const context = node.getContext("2d");
  const image = context.createImageData(width, height);
  image.data.fill(255); // opaque
  function paint(colour) {
    for (let index = 0; index < width * height; index++) image.data.set(colour(index), 4 * index);
    context.putImageData(image, 0, 0);
  }
  return { node, paint };
}

// The edges between the pixels of a mask and all others, as the text of an SVG path.
function contour(mask, width) {
  const height = mask.length / width;
  const isInside = (x, y) => x >= 0 && x < width && y >= 0 && y < height;
  const held = (x, y) => isInside(x, y) && mask[y * width + x] === 1;
  let edges = "";
  for (let y = 0; y <= height; y++) {
    for (let x = 0; x <= width; x++) {
      if (held(x, y) !== held(x, y - 1)) edges += `M${x} ${y}h1`;
      if (held(x, y) !== held(x - 1, y)) edges += `M${x} ${y}v1`;
    }
  }
  return edges;
}

// Pictures of the same pixels, laid out as stages on which a ring marks the pixel that one points
// at: by mouse, by finger, or with the arrow keys. look(index) is called then, and look(null) when
// it ends.
function pointed(pictures, [width, height], look) {
  const stages = pictures.map(({ node, over = [], note }) => {
    const ring = svg("rect.ring", { width: 3, height: 3, visibility: "hidden" });
    const glass = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    glass.append(...over, ring);
    const stage = html("div.pixels", { tabindex: 0, role: "group" }, node, glass);
    stage.setAttribute("aria-label", `${note}: the arrow keys move from pixel to pixel`);
    stage.dataset.lmSuppressShortcuts = "true"; // or JupyterLab takes the arrow keys
    return { stage, ring, root: html("figure", stage, html("figcaption.note", note)) };
  });

  let at = null; // column and row
  function point(place) {
    at = place;
    for (const { ring } of stages) {
      if (at) set(ring, { x: at[0] - 1, y: at[1] - 1 });
      set(ring, { visibility: at ? "visible" : "hidden" });
    }
    look(at && at[1] * width + at[0]);
  }
  for (const { stage } of stages) {
    const under = ({ clientX, clientY }) => {
      const box = stage.getBoundingClientRect();
      return [
        clamp(Math.floor(((clientX - box.left) / box.width) * width), 0, width - 1),
        clamp(Math.floor(((clientY - box.top) / box.height) * height), 0, height - 1),
      ];
    };
    for (const kind of ["pointerdown", "pointermove"]) {
      stage.addEventListener(kind, (event) => point(under(event)));
    }
    stage.addEventListener("pointerleave", ({ pointerType }) => {
      if (pointerType === "mouse") point(null); // a lifted finger still shows what it touched
    });
    stage.addEventListener("blur", () => point(null));
    stage.addEventListener("keydown", (event) => {
      if (!(event.key in MOVES)) return;
      event.preventDefault();
      const [column, row] = at ?? [width >> 1, height >> 1];
      const [down, right] = MOVES[event.key];
      point([clamp(column + right, 0, width - 1), clamp(row + down, 0, height - 1)]);
    });
  }
  return stages.map(({ root }) => root);
}
