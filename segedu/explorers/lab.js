// A network that learns while you watch: workers train, and this shows what they answer.

function render({ model, el }) {
  const missing = ["Worker", "DecompressionStream"].filter((part) => !(part in window));
  if (missing.length) {
    const words = `This browser is too old for the lab: it lacks ${missing.join(" and ")}.`;
    el.replaceChildren(html("p.alarm", { role: "alert" }, words));
    return false;
  }
  const data = model.get("data");
  const { pack, otsu, foreground } = data;
  const area = pack.side ** 2;

  let views; // the columns of pictures, and the heads below; made when the crops are unpacked
  let held; // the held-out crops: { pixels, truth }
  let runs = []; // as they were last shown
  let trained = []; // the settings that they began with
  let isPlaying = false;
  let isVisible = false;
  let pointed; // which of the pictures' crops the pointer is at

  // What is where
  const [play, one, again] = ["", "one step", "start over"].map(textButton);
  const against = textButton("A against B");
  const take = textButton("take the best threshold");
  const alarm = html("p.alarm", { role: "alert" });
  const says = summary();
  const crop = html("p.note.crop");
  const left = html("div");
  const charts = html("div");
  const heads = html("div.heads");
  const table = numbers();
  const reliability = html("div");
  const gradient = html("div");
  const tasks = challenges(model, data);
  el.replaceChildren(
    presets(model, comparisons(model, data)),
    html("div.tools", play, one, again, against, take),
    alarm,
    says,
    html("div.main", left, charts),
    heads,
    table.root,
    html("div.main", reliability, html("div", html("p.title", "Gradient"), gradient, tasks.root)),
  );

  const training = newTraining(pack, {
    shown(found) {
      runs = found;
      show();
    },
    failed(message) {
      setPlaying(false);
      alarm.textContent = `The training has stopped: ${message}.`;
    },
  });

  // -- what is trained ---------------------------------------------------------------------------

  // The settings of each run that the controls ask for: A's if it is kept, and theirs.
  function asked() {
    const kept = model.get("kept");
    return kept.length ? [fromNumbers(kept), setNow(model)] : [setNow(model)];
  }

  const isStale = () => !isSame(trained, asked());

  function start() {
    alarm.textContent = "";
    trained = asked();
    try {
      training.start(trained.map((values) => forWorker(values, data)));
    } catch (error) {
      alarm.textContent = `This page may not compute in the background: ${error.message}`;
    }
  }

  function setPlaying(value) {
    isPlaying = value;
    if (isPlaying && isStale()) start();
    training.play(isPlaying && isVisible);
    set(says, { "aria-live": isPlaying ? "off" : "polite" }); // or it is read out all the time
    showButtons();
  }

  function showButtons() {
    const isKept = model.get("kept").length > 0;
    play.textContent = isPlaying ? "❚❚ pause" : isStale() ? "▶ play anew" : "▶ play";
    one.disabled = isPlaying;
    against.textContent = isKept ? "end the comparison" : "A against B";
    take.disabled = !runs.length;
  }

  // What was trained becomes A, and the controls B; if both are still the same, they wait for the
  // reader to change something.
  function compare() {
    const isNew = isStale();
    const isKept = model.get("kept").length > 0;
    change(model, "kept", isKept ? [] : toNumbers(trained.at(-1)));
    setPlaying(!isKept && isNew);
  }

  // -- what is shown -----------------------------------------------------------------------------

  const threshold = () => model.get("threshold");
  const scoreOf = ({ scores }) => scores[Math.round(20 * threshold()) - 1];
  const bestOf = ({ scores }) => scores.reduce((a, b) => (b.iou > a.iou ? b : a));

  function show() {
    showButtons();
    if (!runs.length || !held) return;
    showPictures();
    const looks = runs.map((run) => run.looks.at(-1));
    const scores = looks.map(scoreOf);
    const names = runNames(trained, data);
    says.textContent = sentence({ step: looks[0].step, scores, names, otsu, isStale: isStale() });
    table.show([
      ...runs.map(({ times }, k) => ({
        name: names[k],
        score: scores[k],
        best: bestOf(looks[k]),
        milliseconds: times.length && median(times.slice(-STRIDE)),
      })),
      { name: "Otsu's threshold", score: otsu },
    ]);
    const best = bestOf(looks.at(-1)).threshold;
    take.textContent = `take the best threshold: ${toNumber(best)}`;
    charts.replaceChildren(drawIou(runs, scoreOf, otsu.iou), drawLoss(runs));
    reliability.replaceChildren(drawReliability(runs), html("p.note", RELIABILITY));
    gradient.replaceChildren(...drawShares(runs, foreground), html("p.note", SHARES));
    tasks.check(runs, scores);
  }

  function showPictures() {
    const looks = runs.map((run) => run.looks.at(-1));
    const { pixels, truth } = held;
    const mask = ({ probabilities }) => maskColour(held, probabilities, threshold());
    const column = (title, colour) => ({ title, colour, label: `${title} of ${SHOWN} crops` });
    const list = [column("crop", (at) => grey(pixels[at])), column("truth", (at) => grey(truth[at]))];
    if (looks.length === 1) {
      const [{ probabilities }] = looks;
      list.push(column("probability", (at) => grey(probabilities[at])));
      list.push(column("mask", mask(looks[0])));
    } else looks.forEach((look, k) => list.push(column(`mask of ${NAMES[k]}`, mask(look))));
    views.columns.show(list, pointed);

    const several = looks.length === 1 && looks[0].heads.length > 1 ? looks[0].heads : [];
    heads.hidden = !several.length;
    if (several.length) {
      const titles = several.map((head) => `L${head.level}: IoU ${toNumber(scoreOf(head).iou)}`);
      views.heads.show(
        several.map((head, k) => column(titles[k], mask(head))),
        pointed,
      );
    }
    crop.textContent = "Point at a crop to see its own IoU.";
    if (pointed === undefined) return;
    const own = looks.map(({ probabilities }) =>
      toNumber(cropIou(held, probabilities, threshold(), views.columns.crops[pointed], area)),
    );
    crop.textContent = `This crop's IoU: ${own.join(" with A, ")}${own.length > 1 ? " with B" : ""}.`;
  }

  // -- the reader's hands ------------------------------------------------------------------------

  play.addEventListener("click", () => setPlaying(!isPlaying));
  one.addEventListener("click", () => {
    if (isStale()) start();
    training.one();
  });
  again.addEventListener("click", () => {
    setPlaying(false);
    start();
  });
  against.addEventListener("click", compare);
  take.addEventListener("click", () =>
    change(model, "threshold", bestOf(runs.at(-1).looks.at(-1)).threshold),
  );
  for (const name of [...SETTINGS, "kept"]) {
    model.on(`change:${name}`, () => {
      if (isPlaying) setPlaying(false);
      show();
    });
  }
  model.on("change:threshold", show);

  // It begins when it is first seen, and rests while it is out of sight.
  new IntersectionObserver(([{ isIntersecting }]) => {
    isVisible = isIntersecting;
    if (isVisible && !trained.length) start();
    training.play(isPlaying && isVisible);
  }).observe(el);

  unpackCrops(pack).then(({ heldOut }) => {
    held = heldOut;
    const point = (n) => {
      if (n === pointed) return;
      pointed = n;
      if (runs.length) showPictures();
    };
    const [columns, below] = [1, 2].map((count) => pictures(held, pack.side, count, point));
    views = { columns, heads: below };
    left.append(columns.root, html("p.key", patches()), crop);
    const title = term("What each head says", "X(0,1), X(0,2), ... each have a head of their own");
    heads.append(html("p.title", title), below.root);
    show();
  });
  showButtons();
  return training.end;
}
