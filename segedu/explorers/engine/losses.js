// The losses of `segedu/losses.py` for one class, each with its gradient.
//
// A loss takes logits and truth (0 or 1), both images * height * width pixels, the number of
// images, and the array to which it adds its gradient by the logits. It returns its value.

function losses() {
  // Focal loss: weight (1 - p)^gamma (-log p), where p = sigmoid(margin) is the probability of the
  // true class. Mean over all pixels.
  function focal({ gamma, alpha = null }) {
    const weights = alpha === null ? [1, 1] : [1 - alpha, alpha];
    return (logits, truth, images, gradient) => {
      let total = 0;
      for (let k = 0; k < logits.length; k++) {
        const sign = truth[k] ? 1 : -1;
        const margin = sign * logits[k];
        // Both logarithms from one power that cannot overflow.
        const small = Math.exp(-Math.abs(margin));
        const rest = Math.log1p(small);
        const minusLogP = Math.max(-margin, 0) + rest;
        const minusLogQ = Math.max(margin, 0) + rest; // q = 1 - p
        const p = (margin > 0 ? 1 : small) / (1 + small);
        const focus = weights[truth[k]] * Math.exp(-gamma * minusLogQ);
        total += focus * minusLogP;
        gradient[k] += (sign * focus * (p - 1 - gamma * p * minusLogP)) / logits.length;
      }
      return total / logits.length;
    };
  }

  // 1 - (TP + 1) / (TP + alpha FP + beta FN + 1), counted with probabilities. Mean over the images.
  function tversky({ alpha, beta }) {
    return (logits, truth, images, gradient) => {
      const size = logits.length / images;
      const probabilities = logits.map((logit) => 1 / (1 + Math.exp(-logit)));
      let total = 0;
      for (let first = 0; first < logits.length; first += size) {
        let [tp, positive, foreground] = [0, 0, 0];
        for (let k = first; k < first + size; k++) {
          tp += probabilities[k] * truth[k];
          positive += probabilities[k];
          foreground += truth[k];
        }
        const above = tp + 1;
        const below = tp + alpha * (positive - tp) + beta * (foreground - tp) + 1;
        total += 1 - above / below;
        // By the quotient rule, with the derivatives of `above` and `below` with respect to p:
        // truth, and alpha or, where the truth is 1, 1 - beta.
        for (let k = first; k < first + size; k++) {
          const p = probabilities[k];
          const slope = truth[k] ? below - (1 - beta) * above : -alpha * above;
          gradient[k] -= (slope * p * (1 - p)) / (below * below * images);
        }
      }
      return total / images;
    };
  }

  const bce = () => focal({ gamma: 0 });
  const dice = () => tversky({ alpha: 0.5, beta: 0.5 });

  function compound() {
    const parts = [bce(), dice()];
    return (...given) => parts.reduce((sum, loss) => sum + loss(...given), 0);
  }

  const makers = { bce, focal, dice, "bce + dice": compound, tversky };

  // Deep supervision, the mean over the heads: { value, gradients }, a gradient for each head.
  function supervise({ name, ...options }, heads, truth, images) {
    const loss = makers[name](options);
    const gradients = heads.map((logits) => new Float32Array(logits.length));
    const values = heads.map((logits, k) => loss(logits, truth, images, gradients[k]));
    for (const gradient of gradients) {
      for (let k = 0; k < gradient.length; k++) gradient[k] /= heads.length;
    }
    return { value: values.reduce((sum, value) => sum + value, 0) / heads.length, gradients };
  }

  return { supervise };
}
