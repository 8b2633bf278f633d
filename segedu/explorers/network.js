// A U-Net or U-Net++ in plain JavaScript: what `segedu/models.py` computes, without torch.
//
// A feature map is { images, channels, height, width, data }: one Float32Array, image after image,
// channel after channel, row after row. Each of these planes has a border of one zero all round, so
// that a 3x3 convolution needs to ask nowhere whether it is at the edge. All stands in one
// function, so that its text can be given to a worker. `allocate(length)` gives zeros.

function network(allocate = (length) => new Float32Array(length)) {
  const name = (i, j) => `${i},${j}`;

  function emptyMap(channels, height, width, images = 1) {
    const data = allocate(images * channels * (height + 2) * (width + 2));
    return { images, channels, height, width, data };
  }

  // Where a plane begins, that of channel c in image n being plane n * channels + c; the pixel
  // (y, x) stands at (y + 1) * (width + 2) + x + 1 after it.
  const start = ({ height, width }, plane) => plane * (height + 2) * (width + 2);

  // Pixels (images * height * width), row after row, as a map of one channel; a plane as pixels.
  function toMap(pixels, height, width, images = 1) {
    const map = emptyMap(1, height, width, images);
    for (let n = 0; n < images; n++) {
      for (let y = 0; y < height; y++) {
        const from = (n * height + y) * width;
        const row = start(map, n) + (y + 1) * (width + 2) + 1;
        map.data.set(pixels.subarray(from, from + width), row);
      }
    }
    return map;
  }

  function toPixels(map, plane = 0) {
    const { height, width, data } = map;
    const pixels = new Float32Array(height * width);
    for (let y = 0; y < height; y++) {
      const row = start(map, plane) + (y + 1) * (width + 2) + 1;
      pixels.set(data.subarray(row, row + width), y * width);
    }
    return pixels;
  }

  // -- the operations ----------------------------------------------------------------------------
  // Each takes a list of maps and the layer with its weights, if it has any, and gives a map.

  // 3x3 convolution of the concatenated inputs. An input that is null counts as zeros: a skip that
  // is switched off.
  function convolve(inputs, { weights, widths }) {
    const { images, height, width } = inputs.find(Boolean);
    const kernels = cut(weights);
    const total = widths.reduce((sum, width) => sum + width, 0);
    const output = emptyMap(kernels.length / total, height, width, images);
    for (let n = 0; n < images; n++) {
      for (let o = 0; o < output.channels; o += 2) {
        let at = o * total;
        inputs.forEach((input, k) => {
          for (let c = 0; c < widths[k]; c++, at++) {
            if (!input) continue;
            const target = n * output.channels + o;
            addPlane(input, n * widths[k] + c, output, target, kernels[at], kernels[at + total]);
          }
        });
      }
    }
    return output;
  }

  // Weights (out, in, 3, 3), flat, as a list of out * in kernels.
  const cut = (weights) =>
    Array.from({ length: weights.length / 9 }, (_, k) => weights.subarray(9 * k, 9 * k + 9));

  // Adds the 3x3 convolution of a plane with two kernels to plane `target` of the output and to the
  // next one, if there is a second kernel. Nearly all of the time is spent here, and two at once
  // read each pixel half as often. The three columns under the weights wander along.
  function addPlane(input, plane, output, target, kernel, nextKernel) {
    const { height, width, data } = input;
    const sum = output.data;
    const stride = width + 2;
    const from = start(input, plane);
    const into = start(output, target) + stride + 1;
    const size = start(output, 1);
    const [a0, a1, a2] = [kernel[0], kernel[1], kernel[2]];
    const [b0, b1, b2] = [kernel[3], kernel[4], kernel[5]];
    const [c0, c1, c2] = [kernel[6], kernel[7], kernel[8]];
    const other = nextKernel ?? ZEROS;
    const [d0, d1, d2] = [other[0], other[1], other[2]];
    const [e0, e1, e2] = [other[3], other[4], other[5]];
    const [f0, f1, f2] = [other[6], other[7], other[8]];
    for (let y = 0; y < height; y++) {
      const above = from + y * stride;
      const row = above + stride;
      const below = row + stride;
      const first = into + y * stride;
      const second = nextKernel ? first + size : first;
      let [p0, q0, r0] = [data[above], data[row], data[below]];
      let [p1, q1, r1] = [data[above + 1], data[row + 1], data[below + 1]];
      for (let x = 0; x < width; x++) {
        const p2 = data[above + x + 2];
        const q2 = data[row + x + 2];
        const r2 = data[below + x + 2];
        sum[first + x] +=
          a0 * p0 + a1 * p1 + a2 * p2 + b0 * q0 + b1 * q1 + b2 * q2 + c0 * r0 + c1 * r1 + c2 * r2;
        sum[second + x] +=
          d0 * p0 + d1 * p1 + d2 * p2 + e0 * q0 + e1 * q1 + e2 * q2 + f0 * r0 + f1 * r1 + f2 * r2;
        p0 = p1;
        p1 = p2;
        q0 = q1;
        q1 = q2;
        r0 = r1;
        r1 = r2;
      }
    }
  }

  const ZEROS = new Float32Array(9);

  // Adds each channel's shift and cuts off below zero, in place; the border stays zero.
  function rectify([map], { shifts }) {
    const { images, channels, height, width, data } = map;
    for (let plane = 0; plane < images * channels; plane++) {
      const shift = shifts[plane % channels];
      for (let y = 1; y <= height; y++) {
        const row = start(map, plane) + y * (width + 2) + 1;
        for (let at = row; at < row + width; at++) data[at] = Math.max(data[at] + shift, 0);
      }
    }
    return map;
  }

  // The largest of each 2x2 pixels.
  function pool([input]) {
    const { images, channels, height, width, data } = input;
    const output = emptyMap(channels, height / 2, width / 2, images);
    const stride = width + 2;
    for (let plane = 0; plane < images * channels; plane++) {
      for (let y = 0; y < output.height; y++) {
        const row = start(input, plane) + (2 * y + 1) * stride + 1;
        const target = start(output, plane) + (y + 1) * (output.width + 2) + 1;
        for (let x = 0; x < output.width; x++) {
          const at = row + 2 * x;
          output.data[target + x] = Math.max(
            data[at],
            data[at + 1],
            data[at + stride],
            data[at + stride + 1],
          );
        }
      }
    }
    return output;
  }

  // Bilinear upsampling by 2: each new pixel is 3/4 of the nearer old one and 1/4 of the next, in
  // both directions; at the edge the nearer one counts whole (align_corners=False).
  function upsample([input]) {
    const { images, channels, height, width, data } = input;
    const output = emptyMap(channels, 2 * height, 2 * width, images);
    for (let plane = 0; plane < images * channels; plane++) {
      for (let y = 0; y < 2 * height; y++) {
        const near = start(input, plane) + ((y >> 1) + 1) * (width + 2) + 1;
        const far = start(input, plane) + (neighbour(y, height) + 1) * (width + 2) + 1;
        const target = start(output, plane) + (y + 1) * (2 * width + 2) + 1;
        for (let x = 0; x < 2 * width; x++) {
          const u = x >> 1;
          const v = neighbour(x, width);
          output.data[target + x] =
            0.75 * (0.75 * data[near + u] + 0.25 * data[near + v]) +
            0.25 * (0.75 * data[far + u] + 0.25 * data[far + v]);
        }
      }
    }
    return output;
  }

  // Of `count` old rows the next to the new row y after the nearer one, which is y >> 1.
  const neighbour = (y, count) => Math.min(Math.max((y >> 1) + (y % 2 ? 1 : -1), 0), count - 1);

  // 1x1 convolution to one channel: the logits, as pixels (images * height * width).
  function readOut([input], { weights, shifts }) {
    const { images, channels, height, width, data } = input;
    const logits = allocate(images * height * width).fill(shifts[0]);
    for (let plane = 0; plane < images * channels; plane++) {
      const weight = weights[plane % channels];
      const image = Math.floor(plane / channels);
      for (let y = 0; y < height; y++) {
        const row = start(input, plane) + (y + 1) * (width + 2) + 1;
        const target = (image * height + y) * width;
        for (let x = 0; x < width; x++) logits[target + x] += weight * data[row + x];
      }
    }
    return logits;
  }

  // -- the grid ----------------------------------------------------------------------------------

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;

  // The columns k of the nodes X(i, k) that X(i, j) is concatenated from.
  const left = (nodes, i, j) => nodes.filter(([row, k]) => row === i && k < j).map(([, k]) => k);

  // What `segedu.export.to_web` wrote: for each convolution weights = scale * q, and shifts.
  function load({ channels, nodes, levels, weights, numbers }) {
    const whole = new Int8Array(bytes(weights));
    const real = new Float32Array(bytes(numbers));
    let [atWhole, atReal] = [0, 0];
    function layer(widths, outputs, taps) {
      const inputs = widths.reduce((sum, width) => sum + width, 0);
      const [scales, shifts] = [0, outputs].map((skip) =>
        real.subarray(atReal + skip, atReal + skip + outputs),
      );
      const q = whole.subarray(atWhole, atWhole + outputs * inputs * taps);
      atWhole += q.length;
      atReal += 2 * outputs;
      const weights = Float32Array.from(q, (w, k) => w * scales[Math.floor(k / (inputs * taps))]);
      return { weights, shifts, widths };
    }
    const convolution = (widths, outputs) => layer(widths, outputs, 9);
    return assemble({ channels, nodes, levels }, convolution, () => layer([channels[0]], 1, 1));
  }

  // A network of these nodes, with layers made by `convolution(widths, outputs)` in the order in
  // which torch has its parameters, and then of the heads; `widths` are those of the inputs.
  function assemble({ channels, nodes, levels }, convolution, head) {
    const blocks = {};
    for (const [i, j] of nodes) {
      const skips = left(nodes, i, j).map(() => channels[i]);
      const below = i === 0 ? 1 : channels[i - 1];
      const widths = j === 0 ? [below] : [...skips, channels[i + 1]];
      const outputs = channels[i];
      blocks[name(i, j)] = [convolution(widths, outputs), convolution([outputs], outputs)];
    }
    const heads = Object.fromEntries(levels.map((level) => [level, head()]));
    return { nodes, levels, blocks, heads };
  }

  // The logits of every head for a map of images, and what every node computes. `off` lists the
  // skips that are switched off: [i, k, j] is the one from X(i, k) to X(i, j). `activate` follows
  // each convolution. All that is done is noted on the tape, from which training computes the
  // gradients. A head's time is that of the network pruned to its level, since a node comes before
  // all that need it, and the nodes of a level before those of the next.
  function run({ nodes, levels, blocks, heads }, images, off = [], activate = rectify, tape = []) {
    const began = performance.now();
    const isOff = new Set(off.map(String));
    const x = {};
    const results = [];
    const apply = (operation, inputs, layer) => {
      const output = operation(inputs, layer);
      tape.push({ operation, inputs, layer, output });
      return output;
    };
    for (const [i, j] of nodes) {
      let inputs;
      if (i === 0 && j === 0) inputs = [images];
      else if (j === 0) inputs = [apply(pool, [x[name(i - 1, 0)]])];
      else {
        const skips = left(nodes, i, j).map((k) =>
          isOff.has(String([i, k, j])) ? null : x[name(i, k)],
        );
        inputs = [...skips, apply(upsample, [x[name(i + 1, j - 1)]])];
      }
      for (const layer of blocks[name(i, j)]) {
        inputs = [apply(activate, [apply(convolve, inputs, layer)], layer)];
      }
      [x[name(i, j)]] = inputs;
      if (i === 0 && levels.includes(j)) {
        const logits = apply(readOut, inputs, heads[j]);
        results.push({ level: j, logits, milliseconds: performance.now() - began });
      }
    }
    return { heads: results, features: x };
  }

  // The first and the last input row that can reach row `row` of X(0, level), without a border:
  // `segedu.models.input_interval` for rows, and for columns likewise.
  function inputInterval(nodes, level, row) {
    const seen = { [name(0, level)]: [row, row] };
    const widen = (node, low, high) => {
      const [a, b] = seen[node] ?? [low, high];
      seen[node] = [Math.min(a, low), Math.max(b, high)];
    };
    for (const [i, j] of [...nodes].reverse()) {
      if (!(name(i, j) in seen)) continue;
      const [low, high] = [seen[name(i, j)][0] - 2, seen[name(i, j)][1] + 2]; // two convolutions
      for (const k of left(nodes, i, j)) widen(name(i, k), low, high);
      if (j > 0) widen(name(i + 1, j - 1), (low - 1) >> 1, (high + 1) >> 1);
      else if (i > 0) widen(name(i - 1, 0), 2 * low, 2 * high + 1);
      else return [low, high];
    }
  }

  const maps = { emptyMap, start, toMap, toPixels, cut, addPlane, neighbour };
  const operations = { convolve, rectify, pool, upsample, readOut };
  return { ...maps, ...operations, assemble, load, run, inputInterval };
}
