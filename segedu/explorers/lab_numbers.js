// The lab's numbers: a row for each training, and the bar of what each class has of the gradient.

const TERMS = {
  IoU: "intersection over union of mask and truth, the mean over the 32 held-out crops",
  precision: "the part of the found pixels that is true: TP / (TP + FP)",
  recall: "the part of the true pixels that is found: TP / (TP + FN)",
  "best IoU": "at the best of 19 thresholds; chosen on the same crops, so a little too good",
  "ms a step": "milliseconds that a step of 4 crops takes, the median of the last ten",
};

const toNumber = (value) => value.toFixed(2);

function numbers() {
  const body = html("tbody");
  const heads = Object.entries(TERMS).map(([word, explanation]) =>
    html("th", { scope: "col" }, term(word, explanation)),
  );
  const row = html("tr", html("th", { scope: "col" }, "held-out crops"), heads);
  const root = html("table.numbers", html("thead", row), body);

  // rows: [{ name, score, best, milliseconds }], of which only the name and the IoU are needed
  function show(rows) {
    body.replaceChildren(
      ...rows.map(({ name, score, best, milliseconds }) => {
        const cells = [
          toNumber(score.iou),
          score.precision === undefined ? "" : toNumber(score.precision),
          score.recall === undefined ? "" : toNumber(score.recall),
          best ? `${toNumber(best.iou)} at ${toNumber(best.threshold)}` : "",
          milliseconds ? milliseconds.toFixed(0) : "",
        ];
        const data = cells.map((text) => html("td", text));
        return html("tr", html("th", { scope: "row" }, name), data);
      }),
    );
  }
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
