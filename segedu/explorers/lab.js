// A network that learns while you watch: the worker trains, and this draws what it answers.

const STRIDE = 10; // steps between two looks at the held-out crops
const SHOWN = 6; // held-out crops
const GAP = 4; // pixels between two of them
const ROWS = ["crop", "truth", "probability", "mask"];
const COLOURS = { tp: [86, 180, 233], fp: [240, 228, 66], fn: [213, 94, 0] }; // as in the legend
const KINDS = { tp: "found", fp: "found, not true", fn: "missed" };
const SETTINGS = ["network", "loss", "gamma", "alpha", "rate", "crops", "flips", "seed"];

// What the controls say, as the worker takes it.
function readSettings(model) {
  const { networks, losses, rates, counts, batch, decay } = model.get("data");
  const { channels, nodes, levels } = networks[model.get("network")];
  const name = losses[model.get("loss")];
  const [gamma, alpha] = [model.get("gamma"), model.get("alpha")];
  const options = { focal: { gamma, alpha }, tversky: { alpha, beta: 1 - alpha } };
  return {
    ...{ channels, nodes, levels, batch, decay, cycle: null },
    loss: { name, ...options[name] },
    rate: rates[model.get("rate")],
    crops: counts[model.get("crops")],
    flips: model.get("flips") === 0, // the first option is "on"
  };
}

// Crops side by side, each pixel in the colour of `colour(crop, pixel)`.
function putCrops(canvas, side, colour) {
  set(canvas, { width: SHOWN * (side + GAP) - GAP, height: side });
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, side);
  for (let crop = 0; crop < SHOWN; crop++) {
    for (let k = 0; k < side * side; k++) {
      const at = Math.floor(k / side) * canvas.width + crop * (side + GAP) + (k % side);
      image.data.set([...colour(crop, k), 255], 4 * at);
    }
  }
  context.putImageData(image, 0, 0);
}

// A number of steps that is round, and not below `least`.
const roundSteps = (least) => 50 * 2 ** Math.max(Math.ceil(Math.log2(least / 50)), 0);

// Two curves over the steps: the loss of each step, and the IoU at each look.
function drawCurves(losses, looks) {
  const last = roundSteps(losses.length);
  const x = { name: "step", domain: [0, last], ticks: [0, last / 2, last] };
  const top = Math.max(...losses, 0.1);
  const height = Number(top.toPrecision(1)) < top ? 1.25 * top : Number(top.toPrecision(1));
  const ticks = [0, 0.5, 1].map((part) => Number((part * height).toPrecision(2)));
  const left = chart({
    label: `training loss over ${losses.length} steps`,
    x,
    y: { name: "training loss", domain: [0, height], ticks },
  });
  const loss = path(range(losses.length), (k) => losses[k], left);
  left.plot.append(svg("path.curve.plain", { d: loss }));
  const right = chart({
    label: `IoU of held-out crops over ${losses.length} steps`,
    x,
    y: { name: "IoU, held-out crops", domain: [0, 1], ticks: [0, 0.5, 1] },
  });
  const steps = looks.map(({ step }) => step);
  const iou = path(steps, (step) => looks.find((look) => look.step === step).iou, right);
  right.plot.append(svg("path.curve.foreground", { d: iou }));
  return [left.root, right.root];
}

// The part of the pixels with about this probability that is foreground: on the line the two agree.
function drawCalibration(bins) {
  const axes = chart({
    label: "calibration: the part that is foreground over the probability",
    x: { name: "probability", domain: [0, 1], ticks: [0, 0.5, 1] },
    y: { name: "part that is foreground", domain: [0, 1], ticks: [0, 0.5, 1] },
  });
  const { X, Y, plot } = axes;
  plot.append(svg("path.curve.plain", { d: path([0, 1], (p) => p, axes) }));
  for (const { pixels, probability, foreground } of bins) {
    const place = { cx: X(probability), cy: Y(foreground), r: 3 };
    if (pixels) plot.append(svg("circle.bin", place));
  }
  return axes.root;
}

// The held-out crops with the most foreground.
function fullest(truth, area) {
  const sums = range(truth.length / area).map((n) =>
    truth.subarray(n * area, (n + 1) * area).reduce((sum, value) => sum + value),
  );
  const order = range(sums.length).sort((a, b) => sums[b] - sums[a]);
  return order.slice(0, SHOWN);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

function render({ model, el }) {
  if (!("DecompressionStream" in window)) {
    const words = "This browser is too old for the lab: it lacks DecompressionStream.";
    el.replaceChildren(html("p.alarm", { role: "alert" }, words));
    return false;
  }
  const { pack } = model.get("data");
  const { side } = pack;
  const area = side * side;

  let held; // the held-out crops: { pixels, truth }
  let isPlaying = false;
  let isVisible = true;
  let isBusy = false; // the worker has not said yet what it was last asked for
  let left = 0; // steps that it still has to do
  let isStale = false; // the controls have changed since the start
  let answer; // of the last look
  let losses;
  let looks; // { step, iou }
  let share;
  let times;

  const play = html("button", { type: "button" }, "play");
  const one = html("button", { type: "button" }, "one step");
  const again = html("button", { type: "button" }, "start over");
  const alarm = html("p.alarm", { role: "alert" });
  const says = summary();
  const canvases = ROWS.map(() => html("canvas", { role: "img" }));
  const rows = ROWS.map((name, k) => html("div.row", html("span", name), canvases[k]));
  const legend = Object.entries(KINDS).map(([kind, text]) => html(`span.patch.${kind}`, text));
  const panels = html("div.panels");
  const tools = html("div.tools", play, one, again);
  el.replaceChildren(
    html("div.lab", tools, alarm, html("div.crops", rows), html("p.key", legend), says, panels),
  );

  let worker;
  try {
    worker = startTraining();
  } catch (error) {
    alarm.textContent = `This page may not compute in the background: ${error.message}`;
    return;
  }

  const answers = {
    started: look,
    stepped({ loss, share: now, milliseconds }) {
      losses.push(loss);
      times.push(milliseconds);
      share = now;
      left -= 1;
      if (left === 0) look();
    },
    paused: look,
    validated(found) {
      isBusy = false;
      answer = found;
      looks.push({ step: found.step, ...scoreAt(model.get("threshold")) });
      show();
      if (isPlaying) train(STRIDE);
    },
    failed({ message }) {
      isBusy = false;
      setPlaying(false);
      alarm.textContent = `The training has stopped: ${message}.`;
    },
  };
  worker.onmessage = ({ data }) => answers[data.kind](data);
  worker.onerror = ({ message }) => (alarm.textContent = `The training does not run: ${message}`);

  function start() {
    setPlaying(false);
    [losses, looks, times, share, answer] = [[], [], [], undefined, undefined];
    [isBusy, isStale] = [true, false];
    alarm.textContent = "";
    const [settings, seed] = [readSettings(model), model.get("seed")];
    worker.postMessage({ kind: "start", settings, data: pack, seed });
  }

  function look() {
    worker.postMessage({ kind: "validate" });
  }

  function train(count) {
    if (isBusy || !isVisible) return;
    [isBusy, left] = [true, count];
    worker.postMessage({ kind: "step", count });
  }

  function setPlaying(value) {
    isPlaying = value;
    play.textContent = isPlaying ? "pause" : "play";
    one.disabled = isPlaying;
    set(says, { "aria-live": isPlaying ? "off" : "polite" }); // or it is read out all the time
    if (isPlaying) train(STRIDE);
    else if (left > 0) {
      left = 0;
      worker.postMessage({ kind: "pause" });
    }
  }

  // Of the last look, at the threshold nearest to this one.
  const scoreAt = (threshold) => answer.scores[Math.round(20 * threshold) - 1];

  // What the answer looks like
  function show() {
    if (!answer) return;
    const threshold = model.get("threshold");
    const { pixels, truth } = held;
    const { probabilities, scores, step } = answer;
    const grey = (value) => [255 * value, 255 * value, 255 * value];
    const found = (at) => {
      const isFound = probabilities[at] > threshold;
      if (isFound) return truth[at] ? COLOURS.tp : COLOURS.fp;
      return truth[at] ? COLOURS.fn : grey(0.5 * pixels[at]);
    };
    const colours = [
      (at) => grey(pixels[at]),
      (at) => grey(truth[at]),
      (at) => grey(probabilities[at]),
      found,
    ];
    const shown = fullest(truth, area);
    canvases.forEach((canvas, row) => {
      putCrops(canvas, side, (crop, k) => colours[row](shown[crop] * area + k));
      set(canvas, { "aria-label": `${ROWS[row]} of ${SHOWN} crops that are not trained on` });
    });
    const best = scores.reduce((a, b) => (b.iou > a.iou ? b : a));
    const { iou, precision, recall } = scoreAt(threshold);
    const number = (value) => value.toFixed(2);
    says.textContent =
      (step ? `Step ${step}, loss ${losses.at(-1).toFixed(3)}. ` : "Before the first step. ") +
      `On ${truth.length / area} crops that are not trained on: IoU ${number(iou)} at threshold ` +
      `${number(threshold)}, precision ${number(precision)}, recall ${number(recall)}; the best ` +
      `IoU is ${number(best.iou)}, at ${number(best.threshold)}.` +
      (step ? ` The foreground has ${percent(share)} of the gradient.` : "") +
      (step ? ` A step takes ${median(times.slice(-STRIDE)).toFixed(0)} ms.` : "") +
      (isStale ? " Start over to train with what has changed." : "");
    panels.replaceChildren(...drawCurves(losses, looks), drawCalibration(answer.bins));
  }

  // The reader's hands
  play.addEventListener("click", () => setPlaying(!isPlaying));
  one.addEventListener("click", () => train(1));
  again.addEventListener("click", start);
  for (const name of SETTINGS) {
    model.on(`change:${name}`, () => {
      isStale = true;
      show();
    });
  }
  model.on("change:threshold", show);
  new IntersectionObserver(([{ isIntersecting }]) => {
    isVisible = isIntersecting;
    if (isVisible && isPlaying) train(STRIDE);
  }).observe(el);

  unpackCrops(pack).then(({ heldOut }) => {
    held = heldOut;
    start();
  });
  return () => worker.terminate();
}
