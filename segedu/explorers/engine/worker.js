// The lab's worker: it trains between the messages that it gets.
//
// The page sends { kind, ... }, and gets { kind, ... } back:
//   start { settings, data, seed }  started; ends the run before, whose answers may still arrive
//   step { count }                  after each of so many more steps: stepped { step, loss, rate,
//                                   share, milliseconds }
//   pause                           paused { step }: the steps that are left are forgotten
//   validate                        validated { step, probabilities, scores, bins, heads }
//   state                           state { step, parameters, running }
// and where something goes wrong failed { message }. `trainer` and `metrics` say what these are.

function serveTraining() {
  let learner;
  let left = 0; // steps
  let isWaiting = false; // for its turn: messages come first
  const turn = new MessageChannel(); // setTimeout would wait for 4 ms each time
  turn.port1.onmessage = () => guarded(advance);

  function advance() {
    isWaiting = false;
    if (left === 0) return;
    left -= 1;
    const began = performance.now();
    const { step, loss, rate, share } = learner.step();
    const milliseconds = performance.now() - began;
    postMessage({ kind: "stepped", step, loss, rate, share, milliseconds });
    wait();
  }

  function wait() {
    if (isWaiting || left === 0) return;
    isWaiting = true;
    turn.port2.postMessage(undefined);
  }

  const answers = {
    async start({ settings, data, seed }) {
      left = 0;
      learner = trainer(settings, await unpackCrops(data), seed);
      postMessage({ kind: "started" });
    },
    step({ count }) {
      left += count;
      wait();
    },
    pause() {
      left = 0;
      postMessage({ kind: "paused", step: learner.state().step });
    },
    validate: () => postMessage({ kind: "validated", ...learner.validate() }),
    state: () => postMessage({ kind: "state", ...learner.state() }),
  };

  async function guarded(act) {
    try {
      await act();
    } catch ({ message }) {
      left = 0;
      postMessage({ kind: "failed", message });
    }
  }

  let done = Promise.resolve(); // one message after the other, though `start` takes a while
  onmessage = ({ data }) => (done = done.then(() => guarded(() => answers[data.kind](data))));
}

// What `segedu.explorers.lab` packed: crops in a row, the held-out ones last; pixels as bytes from
// 0 to `white`, and the truth as bits.
async function unpackCrops({ side, white, heldOut, pixels, truth }) {
  async function inflate(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }
  const grey = new Float32Array(await inflate(pixels)).map((value) => value / white);
  const bits = await inflate(truth);
  const mask = new Uint8Array(grey.length).map((_, k) => (bits[k >> 3] >> (7 - (k & 7))) & 1);
  const middle = grey.length - heldOut * side * side;
  const part = (from, to) => ({ pixels: grey.subarray(from, to), truth: mask.subarray(from, to) });
  return { side, training: part(0, middle), heldOut: part(middle) };
}

// A worker with this engine: the text of its functions is all it needs, so a file can start it.
function startTraining() {
  const parts = [network, batchNorm, backward, losses, optimizer, metrics, random, trainer];
  const source = [...parts, reusedMemory, unpackCrops, serveTraining, "serveTraining();"];
  const blob = new Blob([source.join("\n")], { type: "text/javascript" });
  return new Worker(URL.createObjectURL(blob));
}
