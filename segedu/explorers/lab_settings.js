// What is set for a training: as the controls have it, as whole numbers that fit into the address,
// as the worker takes it, and in words.

const SETTINGS = ["network", "loss", "gamma", "alpha", "rate", "crops", "flips", "seed"];
const PARTS = { gamma: 10, alpha: 20 }; // of a slider's unit

const setNow = (model) => Object.fromEntries(SETTINGS.map((name) => [name, model.get(name)]));
const toNumbers = (values) =>
  SETTINGS.map((name) => Math.round(values[name] * (PARTS[name] ?? 1)));
const fromNumbers = (numbers) =>
  Object.fromEntries(SETTINGS.map((name, k) => [name, numbers[k] / (PARTS[name] ?? 1)]));

function forWorker(values, { networks, losses, rates, counts, batch, decay }) {
  const { channels, nodes, levels } = networks[values.network];
  const name = losses[values.loss];
  const { gamma, alpha } = values;
  const options = { focal: { gamma, alpha }, tversky: { alpha, beta: 1 - alpha } };
  const settings = {
    ...{ channels, nodes, levels, batch, decay, cycle: null },
    loss: { name, ...options[name] },
    rate: rates[values.rate],
    crops: counts[values.crops],
    flips: values.flips === 0, // the first option is "on"
  };
  return { settings, seed: values.seed };
}

// For each setting the words for it; gamma and alpha only where the loss has them.
function inWords(values, { names, titles, losses, rates, counts }) {
  const roles = ROLES[losses[values.loss]] ?? {};
  const words = {
    network: names[values.network],
    loss: titles[values.loss],
    gamma: `γ = ${values.gamma.toFixed(1)}`,
    alpha: `α = ${values.alpha.toFixed(2)}`,
    rate: `rate ${rates[values.rate]}`,
    crops: `${counts[values.crops]} crops`,
    flips: values.flips === 0 ? "flips" : "no flips",
    seed: `seed ${values.seed}`,
  };
  const isUsed = (name) => !(name in SIGNS) || name in roles;
  return Object.fromEntries(Object.entries(words).filter(([name]) => isUsed(name)));
}

// Whether lists of settings train the same.
const isSamePlan = (one, other, data) =>
  isSame(...[one, other].map((list) => list.map((values) => inWords(values, data))));

// Of two settings in words only what differs, such as ["Dice", "focal, γ = 2.0, α = 0.50"].
function differences(values, others, data) {
  const [first, second] = [inWords(values, data), inWords(others, data)];
  const names = SETTINGS.filter((name) => first[name] !== second[name]);
  return [first, second].map((words) =>
    names.map((name) => words[name]).filter(Boolean).join(", "),
  );
}
