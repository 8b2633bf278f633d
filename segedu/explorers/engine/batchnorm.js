// Batch norm and the ReLU after it, as torch computes them in training: forward and backward.

function batchNorm({ emptyMap, start }) {
  const EPSILON = 1e-5; // keeps a constant channel from a division by zero
  const MOMENTUM = 0.1; // the part of the running statistics that each batch replaces

  const statistics = new WeakMap(); // what `normalizeBackward` needs of each output

  // Where the rows of channel c begin, in all images.
  function rows(map, c) {
    return Array.from({ length: map.images * map.height }, (_, k) => {
      const plane = Math.floor(k / map.height) * map.channels + c;
      return start(map, plane) + ((k % map.height) + 1) * (map.width + 2) + 1;
    });
  }

  // z = scale (x - mean) / sqrt(variance + epsilon) + shift, with the mean and the variance of each
  // channel over the pixels of all images; then ReLU.
  function normalize([input], { norm }) {
    const { images, channels, height, width, data } = input;
    const output = emptyMap(channels, height, width, images);
    const kept = [];
    const count = images * height * width;
    for (let c = 0; c < channels; c++) {
      const channel = rows(input, c);
      let [sum, squares] = [0, 0];
      for (const row of channel) {
        for (let at = row; at < row + width; at++) {
          sum += data[at];
          squares += data[at] * data[at];
        }
      }
      const mean = sum / count;
      const variance = Math.max(squares / count - mean * mean, 0);
      const factor = 1 / Math.sqrt(variance + EPSILON);
      const scale = norm.scale[c] * factor;
      const shift = norm.shift[c];
      for (const row of channel) {
        for (let at = row; at < row + width; at++) {
          output.data[at] = Math.max(scale * (data[at] - mean) + shift, 0);
        }
      }
      kept.push([mean, factor]);
      const unbiased = (variance * count) / (count - 1); // as an estimate for other images
      norm.mean[c] += MOMENTUM * (mean - norm.mean[c]);
      norm.variance[c] += MOMENTUM * (unbiased - norm.variance[c]);
    }
    statistics.set(output, kept);
    return output;
  }

  // With g the gradient of z and h = (x - mean) factor: that of the shift is the sum of g, that of
  // the scale the sum of g h. Since x also moves the mean and the variance, its own is
  // scale factor (g - mean of g - h mean of (g h)).
  function normalizeBackward({ inputs: [input], layer: { norm }, output }, gradientOf) {
    const { images, channels, height, width, data } = input;
    const [of, into] = [gradientOf(output).data, gradientOf(input).data];
    const count = images * height * width;
    for (let c = 0; c < channels; c++) {
      const channel = rows(input, c);
      const [mean, factor] = statistics.get(output)[c];
      let [sum, sumOfProducts] = [0, 0];
      for (const row of channel) {
        for (let at = row; at < row + width; at++) {
          if (output.data[at] > 0) {
            sum += of[at];
            sumOfProducts += of[at] * (data[at] - mean) * factor;
          }
        }
      }
      gradientOf(norm.shift)[c] += sum;
      gradientOf(norm.scale)[c] += sumOfProducts;
      const [g, gh] = [sum / count, (factor * sumOfProducts) / count];
      const scale = norm.scale[c] * factor;
      for (const row of channel) {
        for (let at = row; at < row + width; at++) {
          const own = output.data[at] > 0 ? of[at] : 0; // ReLU stops the others
          into[at] += scale * (own - g - (data[at] - mean) * gh);
        }
      }
    }
  }

  // A layer with the running statistics as `run` takes it: since they are constants, they go into
  // the weights and a shift. This is the network in eval mode.
  function fold({ weights, widths, norm }) {
    const factors = norm.scale.map((scale, o) => scale / Math.sqrt(norm.variance[o] + EPSILON));
    const size = weights.length / factors.length; // weights of an output channel
    return {
      weights: weights.map((weight, k) => weight * factors[Math.floor(k / size)]),
      shifts: norm.shift.map((shift, o) => shift - norm.mean[o] * factors[o]),
      widths,
    };
  }

  return { normalize, normalizeBackward, fold };
}
