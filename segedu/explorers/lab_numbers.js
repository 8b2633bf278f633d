// The lab's numbers: a row for each training, and the bar of what each class has of the gradient.

const TERMS = {
  IoU: "intersection over union of mask and truth, the mean over the 32 held-out crops",
  precision: "the part of the found pixels that is true: TP / (TP + FP)",
  recall: "the part of the true pixels that is found: TP / (TP + FN)",
  "best IoU": "at the best of 19 thresholds; chosen on the same crops, so a little too good",
  "ms per step": "milliseconds that a step of 4 crops takes, the median of the last ten",
};

const toNumber = (value) => value.toFixed(2);

function numbers(otsu) {
  const body = html("tbody");
  const heads = Object.entries(TERMS).map(([word, explanation]) =>
    html("th", { scope: "col" }, term(word, explanation)),
  );
  const heldOut = term("held-out crops", "32 crops that the network is never trained on");
  const row = html("tr", html("th", { scope: "col" }, heldOut), heads);
  const name = term(
    "Otsu's threshold",
    "splits the grey levels of each crop where the two parts differ most; nothing is learned",
  );
  const foot = html("tbody", newRow({ name, score: otsu }));
  const root = html("table.numbers", html("thead", row), body, foot);

  function newRow({ name, score, best, milliseconds }) {
    const cells = [
      toNumber(score.iou),
      toNumber(score.precision),
      toNumber(score.recall),
      best ? `${toNumber(best.iou)} at ${toNumber(best.threshold)}` : "",
      milliseconds ? milliseconds.toFixed(0) : "",
    ];
    const data = cells.map((text) => html("td", text));
    return html("tr", html("th", { scope: "row" }, name), data);
  }

  // rows: [{ name, score, best, milliseconds }], the last two for trainings that have begun
  const show = (rows) => body.replaceChildren(...rows.map(newRow));
  return { root, show };
}

// The foreground's part of the gradient of the last steps, beside its part of the pixels.
function drawShares(runs, foreground) {
  return runs.map(({ shares }, k) => {
    const last = shares.slice(-STRIDE);
    const share = last.reduce((sum, value) => sum + value, 0) / (last.length || 1);
    const bar = html("div.bar.classes", html("div.part", { style: `width: ${100 * share}%` }));
    bar.append(html("div.before", { style: `left: ${100 * foreground}%` }));
    const name = runs.length > 1 ? `${NAMES[k]}: foreground` : "foreground";
    return html("div.share", pair(name, html("span", last.length ? percent(share) : "no step yet")), bar);
  });
}
