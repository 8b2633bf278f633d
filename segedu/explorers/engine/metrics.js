// What the network gets right on held-out crops, as `segedu/evaluation.py` counts it.

function metrics() {
  const THRESHOLDS = Array.from({ length: 19 }, (_, k) => Math.fround((k + 1) / 20));
  const BINS = 10; // of the calibration

  // The counts { tp, fp, fn } of one image at every threshold, in one pass over its pixels.
  function count(probabilities, truth) {
    // By truth: how many pixels exceed exactly k thresholds.
    const exceeded = [new Uint32Array(20), new Uint32Array(20)];
    probabilities.forEach((p, k) => {
      let passed = Math.min(Math.floor(20 * p), 19);
      if (passed > 0 && p <= THRESHOLDS[passed - 1]) passed -= 1;
      else if (passed < 19 && p > THRESHOLDS[passed]) passed += 1;
      exceeded[truth[k]][passed] += 1;
    });
    const foreground = exceeded[1].reduce((sum, n) => sum + n);
    const above = (numbers, k) => numbers.subarray(k + 1).reduce((sum, n) => sum + n, 0);
    return THRESHOLDS.map((_, k) => {
      const [fp, tp] = exceeded.map((numbers) => above(numbers, k));
      return { tp, fp, fn: foreground - tp };
    });
  }

  const ratio = (part, whole) => (whole ? part / whole : 1); // nothing there, nothing found: right
  const sum = (values) => values.reduce((total, value) => total + value, 0);

  // At every threshold: the mean IoU of the images, and precision and recall of all pixels.
  function score(probabilities, truth, images) {
    const size = probabilities.length / images;
    const counts = Array.from({ length: images }, (_, n) => {
      const part = [n * size, (n + 1) * size];
      return count(probabilities.subarray(...part), truth.subarray(...part));
    });
    return THRESHOLDS.map((threshold, k) => {
      const column = counts.map((image) => image[k]);
      const [tp, fp, fn] = ["tp", "fp", "fn"].map((kind) => sum(column.map((c) => c[kind])));
      const iou = sum(column.map((c) => ratio(c.tp, c.tp + c.fp + c.fn))) / images;
      return { threshold, iou, precision: ratio(tp, tp + fp), recall: ratio(tp, tp + fn) };
    });
  }

  // Do, of all pixels with a probability near p, about p belong to the foreground? For each of ten
  // bins the number of pixels, their mean probability, and their part that is foreground.
  function calibration(probabilities, truth) {
    const bins = Array.from({ length: BINS }, () => ({ pixels: 0, probability: 0, foreground: 0 }));
    probabilities.forEach((p, k) => {
      const bin = bins[Math.min(Math.floor(BINS * p), BINS - 1)];
      bin.pixels += 1;
      bin.probability += p;
      bin.foreground += truth[k];
    });
    for (const bin of bins) {
      bin.probability /= bin.pixels || 1;
      bin.foreground /= bin.pixels || 1;
    }
    return bins;
  }

  // The foreground's part of the sum of |gradient| over the pixels of all heads.
  function gradientShare(gradients, truth) {
    const sums = [0, 0]; // background, foreground
    for (const gradient of gradients) {
      gradient.forEach((value, k) => (sums[truth[k]] += Math.abs(value)));
    }
    return sums[1] / (sums[0] + sums[1] || 1);
  }

  return { score, calibration, gradientShare };
}
