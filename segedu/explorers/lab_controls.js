// What γ and α do in the chosen loss, written on their sliders; where they do nothing, the sliders
// rest.

const SIGNS = { gamma: "γ", alpha: "α" };
const ROLES = {
  focal: {
    gamma: "γ: focus on hard pixels",
    alpha: "α: weight of nuclei, 1 − α of background",
  },
  tversky: { alpha: "α: weight of false alarms, 1 − α of misses" },
};
const LOSS_TITLES = {
  bce: "binary cross-entropy",
  focal: "binary cross-entropy in which easy pixels count less",
  dice: "1 minus the Dice score, counted with probabilities",
  "bce + dice": "the sum of both",
  tversky: "as Dice, with a weight for false alarms and another for misses",
};

// `root` holds the controls: inputs of the page, or ipywidgets.
function labelControls(root, { losses, titles }, loss) {
  for (const [name, sign] of Object.entries(SIGNS)) {
    const control = root.querySelector(`.control-${name}`);
    if (!control) return; // an ipywidget that is still to come
    const role = ROLES[losses[loss]]?.[name];
    const text = `${sign}: not used by ${titles[loss]}`;
    control.querySelector("span, .widget-label").textContent = role ?? text;
    control.classList.toggle("unused", !role);
    set(control, { title: role ? "" : `The loss ${titles[loss]} has no ${sign}.` });
    for (const part of control.querySelectorAll("input, .noUi-target")) {
      part.toggleAttribute("disabled", !role);
    }
    for (const part of control.querySelectorAll("input, [role=slider]")) {
      set(part, { "aria-disabled": !role });
    }
  }
  root.querySelectorAll(".control-loss div > label").forEach((option, k) => {
    set(option, { title: LOSS_TITLES[losses[k]] });
  });
}
