"""How long a network takes for a training step and for an image, all networks taking turns.

    python -m study times --preset cpu

writes the rows of one preset in `study/results/times.csv`, in a few minutes on a machine that does
nothing else. The preset "budget" trains each network for as many steps as fit into its seconds, and
"long" has the networks of `study.long` on one thread, as they are trained there.
"""

import contextlib
import dataclasses
import functools

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from segedu.fast import summed_convolutions
from segedu.files import read_rows, write_rows
from segedu.losses import DeepSupervision, compound_loss

from .compare import PRESETS, RESULTS, TIMED, arms_of, otsu, probabilities, with_levels
from .long import LONG_NETWORKS
from .timing import hardware, take_turns, training_step

ROUNDS = 15
THREADS = 2


def measure(preset: str) -> None:
    """Write the medians of a preset and print them."""
    is_long = preset == "long"
    common = PRESETS["cpu" if is_long else preset]
    torch.set_num_threads(1 if is_long else THREADS)
    arms = (
        LONG_NETWORKS if is_long else {k: arm for k, arm in arms_of(preset).items() if k in TIMED}
    )
    image = torch.rand(1, 1, 256, 256)
    steps, inferences = {}, {}
    with contextlib.ExitStack() as stack:
        for name, arm in arms.items():
            own = dataclasses.replace(common, **arm.changes)
            precision = getattr(arm, "precision", common.precision)
            fabric = Fabric(accelerator=common.accelerator, devices=1, precision=precision)
            model = arm.network(own.channels, 1)
            images = torch.rand(own.batch_size, 1, own.crop_size, own.crop_size)
            loss = DeepSupervision(compound_loss)
            steps[name] = training_step(model, loss, images, images.round(), fabric)
            for key, network in with_levels(name, arm, model).items():
                inferences[key] = functools.partial(_answer, network, image, fabric)
            stack.enter_context(summed_convolutions(model))
        step_ms = medians(steps)
    inference_ms = medians(inferences | {"otsu": functools.partial(otsu, image)})
    rows = [
        {
            "preset": preset,
            "arm": name,
            "step_ms": step_ms.get(name),
            "inference_ms": milliseconds,
            "rounds": ROUNDS,
        }
        | hardware(fabric)
        for name, milliseconds in inference_ms.items()
    ]
    path = RESULTS / "times.csv"
    known = read_rows(path) if path.exists() else []
    write_rows(path, [*(row for row in known if row["preset"] != preset), *rows])
    for row in rows:
        print(f"{row['arm']:22} step {row['step_ms'] or 0:7.1f} ms, image {row['inference_ms']} ms")


def _answer(network: nn.Module, image: Tensor, fabric: Fabric) -> Tensor:
    with fabric.autocast():
        return probabilities(network, image)


def medians(functions: dict) -> dict[str, float]:
    """The median milliseconds of each function."""
    times = np.median(take_turns([*functions.values()], rounds=ROUNDS), axis=0)
    return dict(zip(functions, times.round(2).tolist(), strict=True))
