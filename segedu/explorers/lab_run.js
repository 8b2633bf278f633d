// The trainings of the lab: one, or two against each other. Each has a worker of its own.

const STRIDE = 10; // steps between two looks at the held-out crops

// One training. It asks its worker for steps and then for a look at the held-out crops, and keeps
// what it hears: the loss, the milliseconds and the foreground's part of the gradient of each step,
// and what each look said.
function newRun(pack, { settings, seed }, { looked, failed }) {
  const worker = startTraining();
  const run = { settings, losses: [], times: [], looks: [], shares: [] };
  let left = 0; // steps
  const look = () => worker.postMessage({ kind: "validate" });
  const answers = {
    started: look,
    stepped({ loss, share, milliseconds }) {
      run.losses.push(loss);
      run.times.push(milliseconds);
      run.shares.push(share);
      left -= 1;
      if (left === 0) look();
    },
    paused: look,
    validated(answer) {
      run.looks.push(answer);
      looked();
    },
    failed: ({ message }) => failed(message),
  };
  worker.onmessage = ({ data }) => answers[data.kind](data);
  worker.onerror = ({ message }) => failed(message);
  worker.postMessage({ kind: "start", settings, data: pack, seed });

  run.train = (count) => {
    left = count;
    worker.postMessage({ kind: "step", count });
  };
  run.end = () => worker.terminate();
  return run;
}

// Several trainings from one start, in step: all have done as many steps when they are shown.
function newTraining(pack, { shown, failed }) {
  let runs = [];
  let waiting = 0; // runs that have not answered yet
  let isPlaying = false;
  let isOneMore = false; // a single step was asked for

  // Asks for the next steps, unless some run is still busy with the last ones.
  function goOn() {
    if (waiting || !runs.length || !(isPlaying || isOneMore)) return;
    waiting = runs.length;
    for (const run of runs) run.train(isPlaying ? STRIDE : 1);
    isOneMore = false;
  }

  // Ends what was, and begins anew: `plans` holds { settings, seed } for each run.
  function start(plans) {
    end();
    waiting = plans.length;
    const own = plans.map((plan) => newRun(pack, plan, { looked, failed: broken }));
    runs = own;

    function looked() {
      waiting -= 1;
      if (waiting) return;
      goOn(); // first, so that they train while the page draws
      shown(own);
    }

    function broken(message) {
      end();
      failed(message);
    }
  }

  function end() {
    for (const run of runs) run.end();
    [runs, waiting] = [[], 0];
  }

  function play(value) {
    isPlaying = value;
    goOn();
  }

  function one() {
    isOneMore = true;
    goOn();
  }

  return { start, end, play, one };
}
