// The live network's words: what the terms mean, a key, and the changes that one click makes.

const TERMS = {
  node: "two convolutions; X(i,j) is number j in row i, and each row has half the height and width",
  skip: "hands a node's feature maps on within its row; click one to replace it by zeros",
  head: "turns the feature maps of X(0,j) into a probability for each pixel; there is one for each j",
  L1: "the head of X(0,1): all nodes that it does not need can be left out",
  "mean of all": "the mean of all heads' probabilities",
  IoU: "intersection over union: pixels both found and true, divided by those found or true",
};

const explain = (word) => (word in TERMS ? term(word, TERMS[word]) : word);

// The colours of the drawing's arrows and nodes.
const networkKey = (isGrown) => [
  html("span.swatch.down", "down: half the size"),
  html("span.swatch.up", "up: twice the size"),
  html("span.swatch", explain("skip")),
  html("span.swatch.cut", "skip switched off"),
  html("span.swatch.head", explain("head")),
  html("span.box", explain("node")),
  ...(isGrown ? [html("span.box.added", "node that U-Net lacks")] : []),
];

// Presets: each starts from the figure's first state and changes one thing.
function situations(model, { depth, allSkips, heads, levels }) {
  const names = ["picture", "noise", "blur", "light", "head", "skips_off"];
  const start = model.get("start");
  const plain = Object.fromEntries(names.map((name) => [name, start[name]]));
  const top = allSkips.filter(([i, , j]) => i === 0 && j === depth);
  const list = [
    {
      label: "night",
      values: { light: 1 },
      sentence:
        "1 % of the light is left, and you see almost nothing in the picture. The network still " +
        "finds most nuclei, because each picture is normalised before it is segmented.",
    },
    {
      label: "noise",
      values: { noise: 30 },
      sentence:
        "Noise of 30 grey levels, more than the network was trained with: look at how much of the " +
        "nuclei it misses.",
    },
    {
      label: "out of focus",
      values: { blur: 3 },
      sentence:
        "A blur of 3 pixels. Edges are gone, so outlines move, and neighbours that were apart " +
        "become one.",
    },
    {
      label: "cut the top skip",
      values: { head: levels.length - 1, skips_off: [[0, 0, depth]] },
      sentence:
        `Head L${depth}, without the longest skip, from X(0,0) to X(0,${depth}). Press "before" and ` +
        "compare: do the other paths carry the same?",
    },
    {
      label: "cut every top skip",
      values: { head: levels.length - 1, skips_off: top },
      sentence:
        `Head L${depth}, without any skip into X(0,${depth}): it was never trained for that. ` +
        "Choose another head: those before it are as good as ever.",
    },
    {
      label: "no skips",
      values: { skips_off: allSkips },
      sentence:
        "No skip is left, only the way down and up again: the network was never trained for that.",
    },
  ];
  if (heads.length > 1) {
    list.push({
      label: "first head",
      values: { head: 0 },
      sentence:
        "Head L1 needs three nodes only, a small part of the network (see the table), and sees " +
        "little of the surroundings of each pixel.",
    });
  }
  return list.map((item) => ({ ...item, values: { ...plain, ...item.values } }));
}
