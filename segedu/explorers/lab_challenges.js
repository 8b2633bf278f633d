// Two challenges with a number to beat. Each teaches one thing.

// goal: the IoU to reach. values: what is set for it. count: the IoU if it counts, or undefined.
const TASKS = [
  {
    label: "four crops",
    goal: 0.77,
    text:
      "With the same four crops again and again, the IoU ends at about 0.74. Press play and see. " +
      "Then reach 0.77, still with four crops.",
    lesson:
      "Turned over, four crops are sixteen: the network cannot learn them by heart so easily. " +
      "Sixteen different crops would be better still: try.",
    values: ({ counts }) => ({ crops: counts.indexOf(4), flips: 1 }),
    count: ([{ settings }], [{ iou }]) => (settings.crops === 4 ? iou : undefined),
  },
  {
    label: "no new training",
    goal: 0.78,
    text:
      "With α = 0.95 the network finds too much. Press play, let it train for at least 60 steps, " +
      "and pause. Then make the mask good again without training: IoU 0.78.",
    lesson:
      "α had moved all probabilities upwards, but hardly changed their order. The threshold " +
      "undoes that; no training is needed.",
    values: ({ losses }) => ({ loss: losses.indexOf("focal"), gamma: 0, alpha: 0.95 }),
    count: ([{ settings, losses }], [{ iou, threshold }]) =>
      settings.loss.alpha >= 0.9 && losses.length >= 60 && threshold > 0.5 ? iou : undefined,
  },
];

// Their buttons go to those of the presets, and their text takes the place of the presets' sentence.
function challenges(model, data, presets) {
  const [tools, says] = presets.children;
  const start = model.get("start");
  const buttons = TASKS.map(({ label }) => textButton(label));
  const text = html("p.challenge", { role: "status", "aria-live": "polite" });
  let task;
  let best; // { iou, step, threshold }

  // Any other button of the row ends the challenge.
  tools.addEventListener("click", ({ target }) => {
    if (target.type === "button") choose(buttons.indexOf(target));
  });
  tools.append(html("span.title", "Challenges:"), ...buttons);
  says.append(text);

  function choose(k) {
    [task, best] = [TASKS[k], undefined];
    buttons.forEach((button, n) => set(button, { "aria-pressed": n === k }));
    says.classList.toggle("challenged", k >= 0);
    if (task) {
      const plain = Object.fromEntries(SETTINGS.map((name) => [name, start[name]]));
      const values = { ...plain, threshold: 0.5, kept: [], ...task.values(data) };
      for (const [name, value] of Object.entries(values)) model.set(name, value);
      model.save_changes();
    }
    say();
  }

  function say() {
    if (!task) text.textContent = "";
    else if (!best) text.textContent = task.text;
    else {
      const { iou, step, threshold } = best;
      const where = `at step ${step} and threshold ${toNumber(threshold)}`;
      text.textContent = isDone()
        ? `Done: the best IoU is ${toNumber(iou)}, ${where}. ${task.lesson}`
        : `${task.text} Best IoU so far: ${toNumber(iou)}, ${where}.`;
    }
  }

  const isDone = () => Number(toNumber(best.iou)) >= task.goal; // as it reads

  // Hears of every look, and of every new threshold.
  return function check(runs, scores) {
    const iou = task && runs.length === 1 ? task.count(runs, scores) : undefined;
    if (iou === undefined || iou <= best?.iou) return;
    best = { iou, step: runs[0].losses.length, threshold: scores[0].threshold };
    say();
  };
}
