// From the gradients of the logits to those of all weights: the chain rule, backwards through what
// the network has noted while it ran.
//
// An entry of the tape is { operation, inputs, layer, output }. For each operation a function takes
// the gradient of its output, and adds to those of its inputs and of its weights: to add is right
// because a map that goes to several places has the sum of the gradients that come back from them.

function backward(maps, { normalize, normalizeBackward }) {
  const { emptyMap, start, cut, addPlane, neighbour, convolve, pool, upsample, readOut } = maps;

  // An input pixel goes, by the nine weights, into nine output pixels, so its gradient is a
  // convolution of the output's, with each kernel turned by half a circle. A weight meets an input
  // pixel for every output pixel, so its gradient is the sum of products of the two.
  function convolveBackward({ inputs, layer: { weights, widths }, output }, gradientOf) {
    const of = gradientOf(output);
    const sums = cut(gradientOf(weights));
    const turned = cut(weights.slice().reverse()).reverse();
    const total = sums.length / output.channels;
    for (let n = 0; n < output.images; n++) {
      let before = 0; // channels of the inputs before this one
      inputs.forEach((input, k) => {
        const into = gradientOf(input);
        for (let o = 0; o < output.channels; o++) {
          const ofPlane = n * output.channels + o;
          for (let c = 0; c < widths[k]; c++) {
            const [plane, at] = [n * widths[k] + c, o * total + before + c];
            addProducts(input, plane, of, ofPlane, sums[at]);
            if (!into || c % 2) continue; // two planes at once
            const next = c + 1 < widths[k] ? turned[at + 1] : undefined;
            addPlane(of, ofPlane, into, plane, turned[at], next);
          }
        }
        before += widths[k];
      });
    }
  }

  // Adds, for each of the nine weights, the sum over the pixels of gradient times input; row by row
  // of the kernel, since three sums and three pixels stay in the processor's registers.
  function addProducts(input, plane, gradient, gradientPlane, sums) {
    const { height, width, data } = input;
    const slopes = gradient.data;
    const stride = width + 2;
    const corner = start(input, plane);
    const first = start(gradient, gradientPlane) + stride + 1;
    for (let k = 0; k < 3; k++) {
      let left = 0;
      let middle = 0;
      let right = 0;
      for (let y = 0; y < height; y++) {
        const row = corner + (y + k) * stride;
        const from = first + y * stride;
        let [p0, p1] = [data[row], data[row + 1]];
        for (let x = 0; x < width; x++) {
          const g = slopes[from + x];
          const p2 = data[row + x + 2];
          left += g * p0;
          middle += g * p1;
          right += g * p2;
          p0 = p1;
          p1 = p2;
        }
      }
      sums[3 * k] += left;
      sums[3 * k + 1] += middle;
      sums[3 * k + 2] += right;
    }
  }

  // Only the largest of the four pixels has reached the output; of equal ones the first.
  function poolBackward({ inputs: [input], output }, gradientOf) {
    const [of, into] = [gradientOf(output), gradientOf(input)];
    const { data } = input;
    const stride = input.width + 2;
    for (let plane = 0; plane < output.images * output.channels; plane++) {
      for (let y = 0; y < output.height; y++) {
        const row = start(input, plane) + (2 * y + 1) * stride + 1;
        const from = start(output, plane) + (y + 1) * (output.width + 2) + 1;
        for (let x = 0; x < output.width; x++) {
          let largest = row + 2 * x;
          const next = largest + stride;
          if (data[largest + 1] > data[largest]) largest += 1;
          if (data[next] > data[largest]) largest = next;
          if (data[next + 1] > data[largest]) largest = next + 1;
          into.data[largest] += of.data[from + x];
        }
      }
    }
  }

  // Each new pixel was made of four old ones; they get its gradient with the same four weights.
  function upsampleBackward({ inputs: [input], output }, gradientOf) {
    const [of, into] = [gradientOf(output), gradientOf(input)];
    const { height, width } = input;
    for (let plane = 0; plane < output.images * output.channels; plane++) {
      for (let y = 0; y < output.height; y++) {
        const near = start(input, plane) + ((y >> 1) + 1) * (width + 2) + 1;
        const far = start(input, plane) + (neighbour(y, height) + 1) * (width + 2) + 1;
        const from = start(output, plane) + (y + 1) * (output.width + 2) + 1;
        for (let x = 0; x < output.width; x++) {
          const g = of.data[from + x];
          const u = x >> 1;
          const v = neighbour(x, width);
          into.data[near + u] += 0.5625 * g;
          into.data[near + v] += 0.1875 * g;
          into.data[far + u] += 0.1875 * g;
          into.data[far + v] += 0.0625 * g;
        }
      }
    }
  }

  function readOutBackward({ inputs: [input], layer: { weights, shifts }, output }, gradientOf) {
    const [of, into] = [gradientOf(output), gradientOf(input)];
    const { images, channels, height, width } = input;
    gradientOf(shifts)[0] += of.reduce((sum, g) => sum + g, 0);
    for (let plane = 0; plane < images * channels; plane++) {
      const c = plane % channels;
      const image = Math.floor(plane / channels);
      let sum = 0;
      for (let y = 0; y < height; y++) {
        const row = start(input, plane) + (y + 1) * (width + 2) + 1;
        const from = (image * height + y) * width;
        for (let x = 0; x < width; x++) {
          sum += of[from + x] * input.data[row + x];
          into.data[row + x] += of[from + x] * weights[c];
        }
      }
      gradientOf(weights)[c] += sum;
    }
  }

  const rules = new Map([
    [convolve, convolveBackward],
    [normalize, normalizeBackward],
    [pool, poolBackward],
    [upsample, upsampleBackward],
    [readOut, readOutBackward],
  ]);

  // Takes the tape and a Map from each head's logits to their gradient; gives a Map from everything
  // on the tape to its gradient: a map for a map, and an array for an array of weights.
  function gradients(tape, ofLogits) {
    const images = tape[0].inputs[0];
    const known = new Map([...ofLogits, [images, null]]); // that of the images is of no use
    const gradientOf = (value) => {
      if (!known.has(value)) known.set(value, zeros(value));
      return known.get(value);
    };
    for (const entry of tape.reverse()) rules.get(entry.operation)(entry, gradientOf);
    return known;
  }

  function zeros(value) {
    if (value instanceof Float32Array) return new Float32Array(value.length);
    return emptyMap(value.channels, value.height, value.width, value.images);
  }

  return { gradients };
}
