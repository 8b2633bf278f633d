// Random numbers from a seed: the same ones every time.

function random(seed) {
  const [factor, prime] = [48271, 2147483647]; // Park & Miller 1993
  let state = 1 + ((seed * 7368787) % (prime - 1));
  const uniform = () => (state = (factor * state) % prime) / prime;
  for (let k = 0; k < 3; k++) uniform(); // the first ones of neighbouring seeds are alike

  const normal = () =>
    Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());

  // The numbers 0 to count - 1 in random order (Fisher & Yates).
  function shuffled(count) {
    const order = Array.from({ length: count }, (_, k) => k);
    for (let k = count - 1; k > 0; k--) {
      const other = Math.floor(uniform() * (k + 1));
      [order[k], order[other]] = [order[other], order[k]];
    }
    return order;
  }

  return { uniform, normal, shuffled };
}
