// The lab's sentences, and the comparisons that one click sets up.

const RELIABILITY =
  "A bar that ends at the line can be believed: of the pixels with probability 0.7, seven in ten " +
  "are foreground.";

const SHARES =
  "The foreground's share of the sum of |gradient| over all pixels, the mean of the last ten steps; " +
  "the mark is its share of the pixels. Expect it to move: pixels that have become easy fall " +
  "silent, whatever α is.";

const aboutHeads = (count) =>
  `L1 is the output (head) after 1 of ${count} levels, the only one left if the network is pruned ` +
  "to L1; L2 is the output after 2, and so on. The row in the table is the mean of all heads.";

const textButton = (text) => html("button", { type: "button" }, text);

// The name of each run: what it has that the other has not.
function runNames(trained, data) {
  if (trained.length === 1) {
    const { network, loss } = inWords(trained[0], data);
    return [`${network}, ${loss}`];
  }
  const words = differences(...trained, data);
  return words.map((text, k) => `${NAMES[k]}: ${text || "the same"}`);
}

// What A is, for the reader who is about to set B.
const KEPT =
  "These settings are kept as A. Change the controls for B, then press play: both train from the " +
  "same start.";

// One sentence that says what happened.
function sentence({ step, scores, names, otsu, isStale, isPlaying }) {
  const after = isStale ? " The controls have changed: play trains anew." : "";
  if (!step && isPlaying) return "Training ...";
  if (!step) return `Before the first step, the weights are random.${after || " Press play."}`;
  if (scores.length === 2) return `Step ${step}. ${whoLeads(scores, names)}${after}`;
  const [{ iou, precision, recall }] = scores;
  const gain = iou - otsu.iou;
  const than = gain > 0.005 ? "better than" : gain > -0.005 ? "level with" : "not yet that of";
  return (
    `Step ${step}. The IoU is ${toNumber(iou)}, ${than} Otsu's threshold ` +
    `(${toNumber(otsu.iou)}); precision ${toNumber(precision)}, recall ${toNumber(recall)}.${after}`
  );
}

function whoLeads(scores, names) {
  const [a, b] = scores;
  if (names[0].slice(3) === names[1].slice(3)) return "A and B have the same settings.";
  if (Math.abs(a.iou - b.iou) < 0.005) return `A and B are level, with an IoU of ${toNumber(a.iou)}.`;
  const first = a.iou > b.iou ? 0 : 1;
  const [winner, loser] = [scores[first], scores[1 - first]];
  const against = (name) => `${toNumber(winner[name])} against ${toNumber(loser[name])}`;
  const ahead = ["precision", "recall"].filter((name) => loser[name] > winner[name] + 0.005);
  const but = ahead.map(
    (name) => `${name} (${toNumber(loser[name])} against ${toNumber(winner[name])})`,
  );
  return (
    `${NAMES[first]} (${names[first].slice(3)}) leads in IoU, ${against("iou")}` +
    (but.length ? `; ${NAMES[1 - first]} is ahead in ${but.join(" and ")}.` : ".")
  );
}

// Presets: each sets all that a training needs, so that nothing is left of what was set before.
function comparisons(model, { networks, losses, counts }) {
  const start = model.get("start");
  const plain = Object.fromEntries(SETTINGS.map((name) => [name, start[name]]));
  const loss = (name) => losses.indexOf(name);
  const crops = (count) => counts.indexOf(count);
  const single = (changes) => ({ ...plain, ...changes, kept: [] });
  const duel = (a, b) => ({ ...plain, ...b, kept: toNumbers({ ...plain, ...a }) });
  const deepest = networks.findIndex(({ levels }) => levels.length === 4);
  const focal = (gamma, alpha) => ({ loss: loss("focal"), gamma, alpha });
  return [
    {
      label: "BCE against Dice",
      values: duel({ loss: loss("bce") }, { loss: loss("dice") }),
      sentence:
        "Press play. Dice counts pixels as IoU does. Soon nearly all its probabilities are close to " +
        "0 or 1, while BCE leaves more in between: see the reliability.",
    },
    {
      label: "α = 0.5 against 0.95",
      values: duel(focal(0, 0.5), focal(0, 0.95)),
      sentence:
        "Press play. With α = 0.95 a missed pixel costs 19 times a false one, so B finds nearly " +
        "all, and much that is not there: recall rises, precision falls.",
    },
    {
      label: "γ = 0 against 3",
      values: duel(focal(0, 0.5), focal(3, 0.5)),
      sentence:
        "Press play. γ = 3 makes easy pixels count for almost nothing: see what is left to each " +
        "class of the gradient, and how unsure the probabilities stay.",
    },
    {
      label: "4 crops against 256",
      values: duel({ crops: crops(4), flips: 1 }, { flips: 1 }),
      sentence:
        "Press play. On four crops the training loss soon lies below B's, and the IoU of held-out " +
        "crops does not follow: A learns its crops by heart.",
    },
    {
      label: "U-Net++: L1 to L4",
      values: single({ network: deepest }),
      sentence:
        "Press play. This U-Net++ has an output, called a head, after each of its four levels. Each " +
        "learns a mask; below the curves you see how much a deeper head adds.",
    },
  ];
}
