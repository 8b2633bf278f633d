// The kinds of pixels in a predicted mask, by what it says and what is true, and their colours, those
// of `segedu.plotting.ERRORS`.

const KINDS = ["tn", "fp", "fn", "tp"];
const kindOf = (predicted, real) => KINDS[2 * real + predicted]; // each 0 or 1, or a boolean

const ERRORS = { tp: "#56B4E9", fp: "#F0E442", fn: "#D55E00" };
const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
