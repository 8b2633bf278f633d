// One set of predictions, many IoUs: what is summed before the ratio, and what is averaged after.

const AVERAGES = ["image", "image_set", "class", "set"];
const CLASSES = ["all", "foreground"];
const ABSENT = [0, 1, "skip"];

const sum = (values) => values.reduce((a, b) => a + b, 0);
const mean = (values) => sum(values) / values.length;
const present = (values) => values.filter((value) => !Number.isNaN(value));

// The ratios that are averaged: one row per image and one column per class, or a single row or column
// where the counts were summed. NaN values are left out. tp, fp and fn are (N, K).
function ratios({ tp, fp, fn }, average, classes, absent) {
  const pool = (table) => {
    let counts = table.map((row) => (classes === "all" ? row : row.slice(1)));
    if (average === "class" || average === "set") {
      counts = [counts[0].map((_, k) => sum(counts.map((row) => row[k])))];
    }
    return average === "image_set" || average === "set" ? counts.map((row) => [sum(row)]) : counts;
  };
  const [hits, alarms, misses] = [tp, fp, fn].map(pool);
  return hits.map((row, n) =>
    row.map((hit, k) => {
      const union = hit + alarms[n][k] + misses[n][k];
      return union > 0 ? hit / union : absent === "skip" ? NaN : absent;
    }),
  );
}

// The mean over the columns of each row, then over the rows; NaN if nothing is left.
const answer = (table) => mean(present(table.map((row) => mean(present(row)))));

const CHOICES = AVERAGES.flatMap((average) =>
  CLASSES.flatMap((classes) => ABSENT.map((absent) => [average, classes, absent])),
);
const BINS = 25; // of the histogram
const shown = (ratio) => (Number.isNaN(ratio) ? "0 / 0" : ratio.toFixed(3));

// A square for each image, as dark as the IoU of one class is high.
function squares(ratios) {
  const nodes = ratios.map((ratio, n) => {
    const square = html(Number.isNaN(ratio) ? "i.empty" : "i");
    set(square, { title: `image ${n + 1}: ${shown(ratio)}` });
    square.style.setProperty("--score", ratio || 0);
    return square;
  });
  const grid = html("div.squares", { role: "img", "aria-label": "IoU of each image" }, nodes);
  grid.style.setProperty("--columns", Math.min(ratios.length, 16));
  return grid;
}

function render({ model, el }) {
  const counts = model.get("data");
  const table = ratios(counts, "image", "all", "skip");
  const number = table[0].length;
  const blocks = range(number).map((k) => {
    const name = k === 0 ? "background" : number === 2 ? "foreground" : `class ${k}`;
    return html("div", html("p.note", name), squares(table.map((row) => row[k])));
  });

  const every = present(CHOICES.map((choice) => answer(ratios(counts, ...choice))));
  const different = [...new Set(every.map(shown))].sort();
  const axes = chart({
    label: "Histogram of the ratios, their mean, and the answers of all other choices",
    x: { name: "IoU", domain: [0, 1], ticks: [0, 0.25, 0.5, 0.75, 1] },
    y: { name: "share of the ratios", domain: [-0.16, 1.02], ticks: [0, 0.5, 1] },
  });
  const bars = svg("path.bars");
  const cursor = svg("line.cursor", { y1: axes.Y(-0.16), y2: axes.Y(1) });
  const others = every.map((value) => `M${axes.X(value)} ${axes.Y(-0.13)}V${axes.Y(-0.03)}`);
  axes.plot.append(bars, svg("path.others", { d: others.join("") }), cursor);

  const value = html("b.big");
  const note =
    `The short lines are the answers of all ${CHOICES.length} choices: ` +
    `${different.length} different ones, from ${different[0]} to ${different.at(-1)}.`;
  const key = [
    html("span.shade.none", "0"),
    html("span.shade.full", "1"),
    html("span.shade.empty", "0 / 0"),
  ];
  const text = summary();
  el.append(
    html(
      "div.panels",
      html("div", html("h4", `IoU of ${table.length} images`), blocks, html("p.key", key)),
      html(
        "div",
        pair(html("h4", "The ratios that are averaged"), value),
        axes.root,
        html("p.note", note),
      ),
    ),
    text,
  );

  follow(model, ["average", "classes", "absent"], () => {
    const classes = CLASSES[model.get("classes")];
    const averaged = ratios(
      counts,
      AVERAGES[model.get("average")],
      classes,
      ABSENT[model.get("absent")],
    );
    const all = averaged.flat();
    const left = present(all);
    const result = answer(averaged);

    const bins = new Array(BINS).fill(0);
    for (const ratio of left) bins[Math.min(Math.floor(ratio * BINS), BINS - 1)] += 1;
    const bar = (size, bin) => {
      const [start, end] = [axes.X(bin / BINS) + 0.5, axes.X((bin + 1) / BINS) - 0.5];
      return size
        ? `M${start} ${axes.Y(0)}V${axes.Y(size / left.length)}H${end}V${axes.Y(0)}z`
        : "";
    };
    set(bars, { d: bins.map(bar).join("") });
    set(cursor, { x1: axes.X(result || 0), x2: axes.X(result || 0), opacity: left.length ? 1 : 0 });
    blocks[0].classList.toggle("off", classes === "foreground");
    value.textContent = `mean ${shown(result)}`;
    const gone = all.length - left.length;
    text.textContent =
      `Mean IoU ${shown(result)} of ${left.length} ${left.length === 1 ? "ratio" : "ratios"}` +
      (gone ? `; ${gone} more would be 0 / 0 and are left out.` : ".");
  });
}
