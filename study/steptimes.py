"""How long a training step of each network takes on two cores, the networks taking turns.

    python -m study steptimes

writes `study/results/steptimes.csv` in less than three minutes on a machine that does nothing else.
The preset "budget" trains each network for as many steps as fit into 120 seconds.
"""

import platform
import statistics
import time
from collections.abc import Callable

import torch

from segedu.losses import DeepSupervision, compound_loss
from segedu.training import write_rows

from .compare import RESULTS, arms_of, probabilities, processor, terms

ROUNDS = 20
THREADS = 2


def _timed(function: Callable[[], object]) -> float:
    """Milliseconds by the clock."""
    started = time.perf_counter()
    function()
    return 1000 * (time.perf_counter() - started)


def _steps(name: str) -> tuple[Callable, Callable]:
    """A training step of an arm, and the segmentation of one image, as functions to call."""
    arm, common = arms_of("budget")[name], terms(name, "budget")
    model = arm.network(common.channels, 1).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-9)
    loss = DeepSupervision(compound_loss)
    images = torch.rand(common.batch_size, 1, common.crop_size, common.crop_size)
    images = images.contiguous(memory_format=torch.channels_last)
    target, image = images.round(), torch.rand(1, 1, 256, 256)

    def step() -> None:
        model.train()
        value = loss(model(images), target)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    return step, lambda: probabilities(model, image)


def measure() -> None:
    """Write the medians and print them."""
    torch.set_num_threads(THREADS)
    functions = {name: _steps(name) for name in arms_of("budget")}
    times = {name: ([], []) for name in functions}
    for turn in range(ROUNDS + 1):
        for name, pair in functions.items():
            for function, column in zip(pair, times[name], strict=True):
                milliseconds = _timed(function)
                if turn > 0:  # the first warms up
                    column.append(milliseconds)
    rows = [
        {
            "arm": name,
            "step_ms": round(statistics.median(steps), 2),
            "step_ms_lowest": round(min(steps), 2),
            "inference_ms": round(statistics.median(images), 2),
            "rounds": ROUNDS,
            "threads": THREADS,
            "processor": processor(),
            "torch": torch.__version__,
            "python": platform.python_version(),
        }
        for name, (steps, images) in times.items()
    ]
    write_rows(RESULTS / "steptimes.csv", rows)
    for row in rows:
        print(f"{row['arm']:22} step {row['step_ms']:7.1f} ms, image {row['inference_ms']:6.1f} ms")
