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
  let isOldThreshold = true; // not set for a training that is still to come
  let isPlaying = false;
  let isVisible = false;
  let pointed; // which of the pictures' crops the pointer is at

  // What is where
  const [play, one, again] = ["", "one step", "start over"].map(textButton);
  const against = textButton("A against B");
  const take = textButton("take the best threshold");
  const tag = html("span.tag");
  const alarm = html("p.alarm", { role: "alert" });
  const says = summary();
  const crop = html("p.note.crop");
  const left = html("div");
  const charts = html("div");
  const heads = html("div.heads", { hidden: "" });
  const table = numbers(otsu);
  const headsNote = html("p.note");
  const reliability = html("div");
  const gradient = html("div");
  const examples = presets(model, comparisons(model, data));
  const checkChallenge = challenges(model, data, examples);
  examples.firstChild.append(tag); // right under the controls
  el.replaceChildren(
    examples,
    html("div.tools.training", play, one, again, against, take),
    alarm,
    says,
    table.root,
    html("div.main", left, charts),
    heads,
    html("div.main", reliability, html("div", html("p.title", "Gradient"), gradient)),
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

  const isStale = () => !isSamePlan(trained, asked(), data);

  function start() {
    alarm.textContent = "";
    if (trained.length && isOldThreshold) change(model, "threshold", model.get("start").threshold);
    trained = asked();
    [runs, isOldThreshold] = [[], true];
    show();
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
    show();
  }

  function showButtons() {
    const isKept = model.get("kept").length > 0;
    const owner = isKept && runs.length > 1 ? "B's" : "the";
    const best = hasBegun() && toNumber(bestOf(runs.at(-1).looks.at(-1)).threshold);
    play.textContent = isPlaying ? "❚❚ pause" : isStale() ? "▶ play anew" : "▶ play";
    one.disabled = isPlaying;
    against.textContent = isKept ? "end comparison" : "A against B";
    take.textContent = `take ${owner} best threshold${best ? `: ${best}` : ""}`;
    take.disabled = !best;
    tag.hidden = !isKept;
    if (isKept) tag.textContent = "controls: B";
    const figure = el.closest(".segedu-explorer"); // where the controls are, once this is in it
    if (figure) labelControls(figure, data, model.get("loss"));
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
  const hasBegun = () => runs.length > 0 && runs[0].losses.length > 0;

  function show() {
    showButtons();
    if (held) showPictures();
    const looks = runs.map((run) => run.looks.at(-1));
    const scores = looks.map(scoreOf);
    const names = looks.length ? runNames(trained, data) : [];
    says.textContent = whatHappened(looks, scores, names);
    table.show(
      runs.map(({ times }, k) => ({
        name: names[k],
        score: scores[k],
        best: hasBegun() && bestOf(looks[k]),
        milliseconds: times.length && median(times.slice(-STRIDE)),
      })),
    );
    charts.replaceChildren(
      drawIou(runs, scoreOf, otsu.iou, threshold()),
      drawLoss(runs),
      runs.length > 1 ? drawKey(names) : "",
    );
    reliability.replaceChildren(drawReliability(runs), html("p.note", RELIABILITY));
    gradient.replaceChildren(...drawShares(runs, foreground), html("p.note", SHARES));
    checkChallenge(runs, scores);
  }

  function whatHappened(looks, scores, names) {
    const [first, second] = asked();
    if (isStale() && second && isSamePlan([first], [second], data)) return KEPT;
    if (!looks.length) return isPlaying ? "Training ..." : "The network is being set up ...";
    const [{ step }] = looks;
    return sentence({ step, scores, names, otsu, isStale: isStale(), isPlaying });
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
    } else if (looks.length) {
      looks.forEach((look, k) => list.push(column(`mask of ${NAMES[k]}`, mask(look))));
    } else list.push(...["probability", "mask"].map((title) => column(title, () => EMPTY)));
    views.columns.show(list, pointed);

    const several = looks.length === 1 && looks[0].heads.length > 1 ? looks[0].heads : [];
    heads.hidden = !several.length;
    if (several.length) {
      headsNote.textContent = aboutHeads(several.length);
      const titles = several.map((head) => `L${head.level}: IoU ${toNumber(scoreOf(head).iou)}`);
      views.heads.show(
        several.map((head, k) => column(titles[k], mask(head))),
        pointed,
      );
    }
    crop.textContent = "Point at a crop to see its own IoU.";
    if (pointed === undefined || !looks.length) return;
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
  take.addEventListener("click", () => {
    change(model, "threshold", bestOf(runs.at(-1).looks.at(-1)).threshold);
    isOldThreshold = true;
  });
  for (const name of [...SETTINGS, "kept"]) {
    model.on(`change:${name}`, () => {
      if (isPlaying && isStale()) setPlaying(false);
      else show();
    });
  }
  model.on("change:threshold", () => {
    isOldThreshold = !isStale();
    show();
  });

  // It begins when it is first seen, and rests while it is out of sight.
  new IntersectionObserver((changes) => {
    isVisible = changes.at(-1).isIntersecting;
    if (isVisible && !trained.length) start();
    showButtons();
    training.play(isPlaying && isVisible);
  }).observe(el);

  unpackCrops(pack).then(({ heldOut }) => {
    held = heldOut;
    const point = (n) => {
      if (n === pointed) return;
      pointed = n;
      showPictures();
    };
    const [columns, below] = [1, 2].map((count) => pictures(held, pack.side, count, point));
    views = { columns, heads: below };
    left.append(columns.root, html("p.key", patches()), crop);
    heads.append(html("p.title", "What each head says"), below.root, headsNote);
    show();
  });
  show();
  queueMicrotask(showButtons); // when the controls are in the page
  return training.end;
}
