// A network in training: its first weights, a step, and what it says of crops that it never saw.
//
// settings: {
//   channels, nodes, levels   the network, as `segedu.export.to_web` describes it
//   loss                      { name, ...options }, see `losses`
//   rate, decay               of AdamW
//   cycle                     steps of a one-cycle schedule; null for a constant rate
//   batch                     crops a step
//   crops                     how many of the training crops are used
//   flips                     whether they are turned over at random
// }
// data: { side, training, heldOut }, the latter two { pixels, truth } with all crops in a row:
// pixels a Float32Array, truth a Uint8Array of 0 and 1.

function trainer(settings, data, seed) {
  const memory = reusedMemory();
  const maps = network(memory.allocate);
  const norms = batchNorm(maps);
  const { gradients } = backward(maps, norms);
  const { supervise } = losses();
  const { adamw, constant, oneCycle } = optimizer();
  const { score, calibration, gradientShare } = metrics();
  const { side, training, heldOut } = data;
  const area = side * side;

  const net = maps.assemble(settings, ...makers(random(2 * seed)));
  const layers = Object.values(net.blocks).flat();
  const parameters = [
    ...layers.flatMap(({ weights, norm }) => [weights, norm.scale, norm.shift]),
    ...Object.values(net.heads).flatMap(({ weights, shifts }) => [weights, shifts]),
  ];
  const running = layers.flatMap(({ norm }) => [norm.mean, norm.variance]);
  const update = adamw(parameters, settings.decay);
  const schedule = settings.cycle
    ? oneCycle(settings.rate, settings.cycle)
    : constant(settings.rate);
  const order = batches(random(2 * seed + 1));
  let steps = 0;

  // Layers with the weights that torch would draw: He's for the convolutions, and for a head evenly
  // within 1 / sqrt(inputs).
  function makers({ uniform, normal }) {
    const convolution = (widths, outputs) => {
      const taps = 9 * widths.reduce((sum, width) => sum + width, 0);
      const constants = (value) => new Float32Array(outputs).fill(value);
      const norm = { scale: constants(1), shift: constants(0) };
      const running = { mean: constants(0), variance: constants(1) };
      const draw = () => normal() * Math.sqrt(2 / taps);
      const weights = new Float32Array(taps * outputs).map(draw);
      return { weights, widths, norm: { ...norm, ...running } };
    };
    const head = () => {
      const inputs = settings.channels[0];
      const draw = () => (2 * uniform() - 1) / Math.sqrt(inputs);
      return { weights: new Float32Array(inputs).map(draw), shifts: new Float32Array(1).map(draw) };
    };
    return [convolution, head];
  }

  // Batches without end: each crop once in random order, then again in another order. A batch is a
  // list of { crop, flips }, with flips = [up to down, left to right].
  function* batches({ uniform, shuffled }) {
    let waiting = [];
    for (;;) {
      while (waiting.length < settings.batch) waiting.push(...shuffled(settings.crops));
      yield waiting.splice(0, settings.batch).map((crop) => {
        const flips = [uniform() < 0.5, uniform() < 0.5];
        return { crop, flips: flips.map((flip) => flip && settings.flips) };
      });
    }
  }

  // The crops of a batch one after the other, turned over where they have to be.
  function gather(crops, batch) {
    const all = new crops.constructor(batch.length * area);
    batch.forEach(({ crop, flips: [vertical, horizontal] }, n) => {
      for (let y = 0; y < side; y++) {
        const from = crop * area + (vertical ? side - 1 - y : y) * side;
        const row = crops.subarray(from, from + side);
        all.set(horizontal ? row.slice().reverse() : row, n * area + y * side);
      }
    });
    return all;
  }

  // One step with the given batch, or with the next: { step, loss, rate, share }, share being the
  // foreground's part of the gradient.
  function step(batch = order.next().value) {
    const images = maps.toMap(gather(training.pixels, batch), side, side, batch.length);
    const truth = gather(training.truth, batch);
    const { value, tape, heads, slopes } = forward(images, truth);
    if (!Number.isFinite(value)) throw Error(`the loss is ${value} in step ${steps + 1}`);
    const found = gradients(tape, new Map(heads.map((logits, k) => [logits, slopes[k]])));
    const now = schedule(steps);
    const own = parameters.map((values) => found.get(values));
    update(own, now);
    steps += 1;
    memory.release();
    const share = gradientShare(slopes, truth);
    return { step: steps, loss: value, rate: now.rate, share, gradients: own };
  }

  function forward(images, truth) {
    const tape = [];
    const answer = maps.run(net, images, [], norms.normalize, tape);
    const heads = answer.heads.map(({ logits }) => logits);
    const { value, gradients: slopes } = supervise(settings.loss, heads, truth, images.images);
    return { value, tape, heads, slopes };
  }

  // Probabilities of pixels, crop after crop, in eval mode: of each head, in a list.
  function predictHeads(pixels) {
    const blocks = Object.entries(net.blocks).map(([name, block]) => [name, block.map(norms.fold)]);
    const folded = { ...net, blocks: Object.fromEntries(blocks) };
    const all = settings.levels.map(() => new Float32Array(pixels.length));
    const size = settings.batch * area;
    for (let first = 0; first < pixels.length; first += size) {
      const part = pixels.subarray(first, first + size);
      const { heads } = maps.run(folded, maps.toMap(part, side, side, part.length / area));
      heads.forEach(({ logits }, head) => {
        const probabilities = all[head].subarray(first, first + size);
        logits.forEach((logit, k) => (probabilities[k] = 1 / (1 + Math.exp(-logit))));
      });
      memory.release();
    }
    return all;
  }

  // What several heads say together: the mean of their probabilities.
  const mean = (heads) =>
    heads[0].map((_, k) => heads.reduce((sum, head) => sum + head[k], 0) / heads.length);

  const predict = (pixels) => mean(predictHeads(pixels));

  // On the held-out crops: { step, probabilities, scores, bins }, see `metrics`, and of each head
  // { level, probabilities, scores }.
  function validate() {
    const { pixels, truth } = heldOut;
    const images = pixels.length / area;
    const all = predictHeads(pixels);
    const probabilities = mean(all);
    const scores = score(probabilities, truth, images);
    const heads = all.map((head, k) => ({
      level: settings.levels[k],
      probabilities: head,
      scores: all.length > 1 ? score(head, truth, images) : scores,
    }));
    const bins = calibration(probabilities, truth);
    return { step: steps, probabilities, scores, bins, heads };
  }

  // All parameters in torch's order, and the running mean and variance of each norm.
  const state = () => ({ step: steps, parameters, running });

  return { step, predict, validate, state };
}

// Buffers that are used again: a step needs some hundred large ones, the same in each.
function reusedMemory() {
  const free = new Map(); // by length
  const used = [];
  return {
    allocate(length) {
      const buffer = free.get(length)?.pop()?.fill(0) ?? new Float32Array(length);
      used.push(buffer);
      return buffer;
    },
    release() {
      for (const buffer of used.splice(0)) {
        if (!free.has(buffer.length)) free.set(buffer.length, []);
        free.get(buffer.length).push(buffer);
      }
    },
  };
}
