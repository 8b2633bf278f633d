"""How long a network takes for a training step and for an image, all networks taking turns.

    python -m study times --preset cpu

writes the rows of one preset in `study/results/times.csv`, in a few minutes on a machine that does
nothing else. The preset "budget" trains each network for as many steps as fit into its seconds.
"""

import statistics
import time
from collections.abc import Callable

import torch
from lightning_fabric import Fabric

from segedu.files import write_rows
from segedu.losses import DeepSupervision, compound_loss

from .compare import (
    PRESETS,
    RESULTS,
    TIMED,
    arms_of,
    hardware,
    otsu,
    probabilities,
    read_table,
    settings,
)

ROUNDS = 15
THREADS = 2


def measure(preset: str) -> None:
    """Write the medians of a preset and print them."""
    torch.set_num_threads(THREADS)
    common = PRESETS[preset]
    fabric = Fabric(accelerator=common.accelerator, devices=1, precision=common.precision)
    image = torch.rand(1, 1, 256, 256)
    steps, images = {}, {}
    for name, arm in arms_of(preset).items():
        if name not in TIMED:
            continue
        steps[name], model = training_step(name, preset, fabric)
        models = {name: model}
        if arm.levels:
            models |= {f"{name}-L{level}": model.prune(level) for level in model.levels}
        for key, one in models.items():
            images[key] = lambda one=one: probabilities(one, image)
    images["otsu"] = lambda: otsu(image)
    step_times, image_times = take_turns(steps), take_turns(images)
    rows = [
        {
            "preset": preset,
            "arm": name,
            "step_ms": step_times.get(name),
            "inference_ms": image_times[name],
            "rounds": ROUNDS,
        }
        | hardware(fabric)
        for name in images
    ]
    path = RESULTS / "times.csv"
    known = read_table(path) if path.exists() else []
    write_rows(path, [*(row for row in known if row["preset"] != preset), *rows])
    for row in rows:
        print(f"{row['arm']:22} step {row['step_ms'] or 0:7.1f} ms, image {row['inference_ms']} ms")


def training_step(
    name: str, preset: str, fabric: Fabric
) -> tuple[Callable[[], float], torch.nn.Module]:
    """A training step of an arm as a function to call, and its network."""
    common = settings(name, preset)
    model = arms_of(preset)[name].network(common.channels, 1).to(memory_format=torch.channels_last)
    wrapped, optimizer = fabric.setup(model, torch.optim.AdamW(model.parameters(), lr=1e-9))
    loss = DeepSupervision(compound_loss)
    images = torch.rand(common.batch_size, 1, common.crop_size, common.crop_size)
    images = fabric.to_device(images).contiguous(memory_format=torch.channels_last)
    target = images.round()

    def step() -> float:
        wrapped.train()
        value = loss(wrapped(images), target)
        optimizer.zero_grad()
        fabric.backward(value)
        optimizer.step()
        return value.item()  # waits for the device

    return step, model


def take_turns(functions: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The median milliseconds of each by the clock, after a turn to warm up."""
    times = {name: [] for name in functions}
    for _ in range(1 + ROUNDS):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            times[name].append(1000 * (time.perf_counter() - started))
    return {name: round(statistics.median(column[1:]), 2) for name, column in times.items()}
