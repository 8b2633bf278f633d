// One set of predictions, many IoUs: what is summed before the ratio, and what is averaged after.

const AVERAGES = ["image", "image_set", "class", "set"];
const CLASSES = ["all", "foreground"];
const ABSENT = [0, 1, "skip"];

const sum = (values) => values.reduce((a, b) => a + b, 0);
const mean = (values) => sum(values) / values.length;
const present = (values) => values.filter((value) => !Number.isNaN(value));

// The ratios that are averaged: one row per image and one column per class, or a single row or
// column where the counts were summed. NaN values are left out. tp, fp and fn are (N, K).
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
const shown = (ratio) => (Number.isNaN(ratio) ? "0 / 0" : ratio.toFixed(3));
const whole = (number) => number.toLocaleString("en");

// -- words ---------------------------------------------------------------------------------------

// What is done in three steps, of which the second is drawn.
const STEPS = {
  image: [
    "Each image and class has a ratio of its own: the lit squares on the left.",
    "Take the mean over the classes of each image:",
    "Take the mean over the images:",
  ],
  image_set: [
    "In each image, add TP, FP and FN over the classes.",
    "Each image then has one ratio:",
    "Take the mean over the images:",
  ],
  class: [
    "For each class, add TP, FP and FN over all images.",
    "Each class then has one ratio:",
    "Take the mean over the classes:",
  ],
  set: [
    "Add TP, FP and FN over all images and classes.",
    "Then there is one ratio:",
    "Nothing is left to average:",
  ],
};

// Why an option changes nothing at present, if one does not.
function idle(counts, average, classes, absent) {
  const table = ratios(counts, average, classes, "skip");
  const [one, skipped] = [1, "skip"].map((as) => answer(ratios(counts, average, classes, as)));
  const words = [];
  if (classes === "foreground" && counts.tp[0].length === 2) {
    const pairs = { image: "each image", image_set: "each image and class" };
    const other = { ...pairs, class: "all at once", set: "each class" }[average];
    words.push(`One class is left: “${other}” gives the same.`);
  }
  if (!table.flat().some(Number.isNaN)) {
    words.push("No ratio is 0 / 0: the last control does nothing.");
  } else if (absent !== 0 && isSame(one, skipped)) {
    words.push("“1” and “left out” give the same: all else in these images is right.");
  }
  return words.join(" ");
}

function makePresets(counts) {
  const make = (label, choice, words) => {
    const [average, classes, absent] = choice;
    const values = {
      average: AVERAGES.indexOf(average),
      classes: CLASSES.indexOf(classes),
      absent: ABSENT.indexOf(absent),
    };
    const result = shown(answer(ratios(counts, ...choice)));
    return { label, sentence: `${words} IoU ${result}.`, values };
  };
  return [
    make(
      "empty images left out",
      ["image", "foreground", "skip"],
      "An image without foreground, rightly found empty, is 0 / 0. Left out, it says nothing.",
    ),
    make(
      "empty images count 0",
      ["image", "foreground", 0],
      "Counted as 0, an image that was rightly found empty is a failure.",
    ),
    make(
      "empty images count 1",
      ["image", "foreground", 1],
      "Counted as 1, an image that was rightly found empty is a success.",
    ),
    make(
      "background helps",
      ["class", "all", "skip"],
      "The background is large and easy. As one class of two it lifts the mean.",
    ),
    make(
      "one sum",
      ["set", "foreground", "skip"],
      "All pixels in one ratio: images with much foreground weigh more.",
    ),
  ];
}

// -- drawings ------------------------------------------------------------------------------------

// A square for each image, as dark as its ratio is high.
function squares(values, columns, label) {
  const nodes = values.map((value) => {
    const square = html(Number.isNaN(value) ? "i.empty" : "i");
    square.style.setProperty("--score", value || 0);
    return square;
  });
  const grid = html("div.squares", { role: "img", "aria-label": label }, nodes);
  grid.style.setProperty("--columns", Math.min(values.length, columns));
  return grid;
}

// A ratio as a bar, with the counts that it is made of.
function ratioBar(name, hit, union, value) {
  const part = html("div.part");
  part.style.width = `${100 * (value || 0)}%`;
  const text = `${whole(hit)} / ${whole(union)} = ${shown(value)}`;
  return html("div.share", pair(name, html("span", text)), html("div.bar", part));
}

// The answers of all choices on a line from 0 to 1, and the present one.
function drawAnswers(every) {
  const X = linear([0, 1], [8, 332]);
  const root = svg("svg.answers", { viewBox: "0 0 340 52", role: "img" });
  set(root, { "aria-label": "the answers of all choices, and of this one" });
  root.append(svg("line.axis", { x1: X(0), x2: X(1), y1: 30, y2: 30 }));
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
    root.append(svg("text", { x: X(tick), y: 49, "text-anchor": "middle" }, `${tick}`));
  }
  const marks = every.map((value) => `M${X(value)} 22V38`).join("");
  const cursor = svg("path.cursor");
  root.append(svg("path.others", { d: marks }), cursor);
  return { root, show: (value) => set(cursor, { d: `M${X(value || 0)} 18l-7 -12h14z` }) };
}

const WAYS = { ArrowLeft: -1, ArrowRight: 1 };

function render({ model, el }) {
  const counts = model.get("data");
  const table = ratios(counts, "image", "all", "skip");
  const [images, number] = [table.length, table[0].length];
  const nameOf = (k) => (k === 0 ? "background" : number === 2 ? "foreground" : `class ${k}`);
  const blocks = range(number).map((k) => {
    const column = table.map((row) => row[k]);
    const grid = squares(column, 16, `IoU of each image, ${nameOf(k)}`);
    return { grid, root: html("div.block", html("p.note", nameOf(k)), grid) };
  });
  const left = html("div.blocks", { tabindex: 0, role: "application" });
  left.append(...blocks.map(({ root }) => root));
  const label = "IoU of each image and class; the arrow keys lead through the images";
  set(left, { "aria-label": label });
  left.dataset.lmSuppressShortcuts = "true"; // or JupyterLab takes the arrow keys
  const key = [
    html("span.shade.none", "0"),
    html("span.shade.full", "1"),
    html("span.shade.empty", "0 / 0, adds nothing"),
    html("span.shade.counted", "0 / 0, counted"),
  ];
  const pointedAt = html("p.note.pointed-at");

  const steps = range(3).map(() => html("p"));
  const drawing = html("div.drawing");
  const value = html("b.big");
  const list = html("ol", html("li", steps[0]), html("li", steps[1], drawing));
  list.append(html("li", steps[2], " ", value));

  const every = present(CHOICES.map((choice) => answer(ratios(counts, ...choice))));
  const different = [...new Set(every.map(shown))].sort();
  const answers = drawAnswers(every);
  const spread =
    `The lines are the answers of all ${CHOICES.length} choices, from the same predictions: ` +
    `${different.length} different ones at three decimals, from ${different[0]} to ` +
    `${different.at(-1)}.`;
  const why = html("p.note.idle");
  const text = summary();
  el.append(
    presets(model, makePresets(counts)),
    why,
    html(
      "div.panels",
      html("div", html("p.title", `IoU of ${images} images`), left, html("p.key", key), pointedAt),
      html("div", html("p.title", "From the squares to one number"), list),
    ),
    answers.root,
    html("p.note", spread),
    text,
  );

  let pointed = null; // the image that is pointed at

  // The counts that are left: rows of images, columns of classes, summed as the ratios are.
  function drawRatios(average, classes, averaged) {
    if (average === "image" || average === "image_set") {
      const means = averaged.map((row) => mean(present(row)));
      return [squares(means, 16, "one value for each image")];
    }
    const kept = range(number).slice(classes === "all" ? 0 : 1);
    const totals = kept.map((k) => {
      const [hit, alarm, miss] = [counts.tp, counts.fp, counts.fn].map((rows) =>
        sum(rows.map((row) => row[k])),
      );
      return { name: nameOf(k), hit, union: hit + alarm + miss };
    });
    if (average === "class") {
      return totals.map(({ name, hit, union }, n) => ratioBar(name, hit, union, averaged[0][n]));
    }
    const [hit, union] = ["hit", "union"].map((part) => sum(totals.map((total) => total[part])));
    return [ratioBar("all of them", hit, union, averaged[0][0])];
  }

  // Lit is what takes part: not the classes that are left out, and no 0 / 0 but where it counts.
  function lightSquares(average, classes, absent) {
    const stands = average === "image" && absent !== "skip";
    blocks.forEach(({ root, grid }, k) => {
      root.classList.toggle("off", k === 0 && classes === "foreground");
      table.forEach((row, n) => {
        const isEmpty = Number.isNaN(row[k]);
        const square = grid.children[n];
        square.classList.toggle("unlit", isEmpty && !stands);
        square.classList.toggle("empty", isEmpty && !stands);
        square.classList.toggle("counted", isEmpty && stands);
        square.style.setProperty("--score", isEmpty && stands ? absent : row[k] || 0);
      });
    });
  }

  function showPointed() {
    const own = [...blocks.map(({ grid }) => grid), ...drawing.querySelectorAll(".squares")];
    for (const grid of own) {
      [...grid.children].forEach((square, n) => square.classList.toggle("pointed", n === pointed));
    }
    if (pointed === null) {
      pointedAt.textContent = "Point at a square to see its counts.";
      return;
    }
    const words = range(number).map((k) => {
      const [hit, alarm, miss] = [counts.tp, counts.fp, counts.fn].map((rows) => rows[pointed][k]);
      return `${nameOf(k)} ${hit} / (${hit} + ${alarm} + ${miss}) = ${shown(table[pointed][k])}`;
    });
    pointedAt.textContent = `Image ${pointed + 1}, TP / (TP + FP + FN): ${words.join("; ")}`;
  }

  function point(next) {
    pointed = next === null ? null : clamp(next, 0, images - 1);
    showPointed();
  }
  for (const place of [left, drawing]) {
    place.addEventListener("pointermove", ({ target }) => {
      if (target.matches("i")) point([...target.parentElement.children].indexOf(target));
    });
    place.addEventListener("pointerleave", () => point(null));
  }
  left.addEventListener("keydown", (event) => {
    if (!(event.key in WAYS)) return;
    event.preventDefault();
    point((pointed ?? -1) + WAYS[event.key]);
  });
  left.addEventListener("blur", () => point(null));

  follow(model, ["average", "classes", "absent"], () => {
    const average = AVERAGES[model.get("average")];
    const classes = CLASSES[model.get("classes")];
    const absent = ABSENT[model.get("absent")];
    const averaged = ratios(counts, average, classes, absent);
    const result = answer(averaged);
    lightSquares(average, classes, absent);
    STEPS[average].forEach((words, k) => (steps[k].textContent = words));
    drawing.replaceChildren(...drawRatios(average, classes, averaged));
    value.textContent = shown(result);
    answers.show(result);
    why.textContent = idle(counts, average, classes, absent);
    showPointed();
    const gone = averaged.flat().length - present(averaged.flat()).length;
    const rest = `; ratios of 0 / 0 that are left out: ${gone}.`;
    text.textContent = `IoU ${shown(result)}${gone ? rest : "."}`;
  });
}
