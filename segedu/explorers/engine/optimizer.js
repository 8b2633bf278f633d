// AdamW and the one-cycle schedule, as torch has them.

function optimizer() {
  // Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2. `parameters` is a list of arrays;
  // the function that it returns changes them in place.
  function adamw(parameters, decay) {
    const [beta2, epsilon] = [0.999, 1e-8];
    const means = parameters.map(({ length }) => new Float32Array(length)); // of the gradient
    const squares = parameters.map(({ length }) => new Float32Array(length)); // of its square
    let steps = 0;
    return (gradients, { rate, beta1 }) => {
      steps += 1;
      // Both averages begin at 0, and are too small at first.
      const [correction1, correction2] = [1 - beta1 ** steps, 1 - beta2 ** steps];
      parameters.forEach((values, n) => {
        const [mean, square, gradient] = [means[n], squares[n], gradients[n]];
        for (let k = 0; k < values.length; k++) {
          mean[k] += (1 - beta1) * (gradient[k] - mean[k]);
          square[k] = beta2 * square[k] + (1 - beta2) * gradient[k] * gradient[k];
          const change = mean[k] / correction1 / (Math.sqrt(square[k] / correction2) + epsilon);
          values[k] = values[k] * (1 - rate * decay) - rate * change;
        }
      });
    };
  }

  const constant = (rate) => () => ({ rate, beta1: 0.9 });

  // The rate rises from peak / 25 within a quarter of the steps, and falls to almost nothing;
  // beta1 goes the other way (Smith & Topin 2019, arXiv 1708.07120). After the last step all stays.
  function oneCycle(peak, steps) {
    const top = 0.25 * steps - 1;
    const cosine = (from, to, part) => to + ((from - to) / 2) * (1 + Math.cos(Math.PI * part));
    return (step) => {
      if (step <= top) {
        const part = step / top;
        return { rate: cosine(peak / 25, peak, part), beta1: cosine(0.95, 0.85, part) };
      }
      const part = Math.min((step - top) / (steps - 1 - top), 1);
      return { rate: cosine(peak, peak / 25e4, part), beta1: cosine(0.85, 0.95, part) };
    };
  }

  return { adamw, constant, oneCycle };
}
