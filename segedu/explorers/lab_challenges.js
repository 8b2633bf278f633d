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

function challenges(model, data) {
  const start = model.get("start");
  const buttons = TASKS.map(({ label }) => textButton(label));
  const text = html("p.note", { role: "status", "aria-live": "polite" });
  let task;
  let best;

  TASKS.forEach((chosen, k) => {
    buttons[k].addEventListener("click", () => {
      [task, best] = [chosen, 0];
      buttons.forEach((button, n) => set(button, { "aria-pressed": n === k }));
      const plain = Object.fromEntries(SETTINGS.map((name) => [name, start[name]]));
      const values = { ...plain, threshold: 0.5, kept: [], ...task.values(data) };
      for (const [name, value] of Object.entries(values)) model.set(name, value);
      model.save_changes();
      say();
    });
  });

  function say() {
    const isDone = best >= task.goal;
    const found = best ? ` Best so far: ${toNumber(best)}.` : "";
    text.textContent = isDone ? `Done: ${toNumber(best)}. ${task.lesson}` : `${task.text}${found}`;
  }

  // Hears of every look, and of every new threshold.
  function check(runs, scores) {
    const count = task && runs.length === 1 ? task.count(runs, scores) : undefined;
    if (count === undefined || count <= best) return;
    best = count;
    say();
  }

  const title = html("p.title", "Challenges");
  return { root: html("div.challenges", html("div.tools", title, buttons), text), check };
}
