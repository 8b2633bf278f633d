"""What the study's measurements of time share: turns, a training step, and the machine."""

import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn


def take_turns(
    functions: Sequence[Callable[[], object]], *, rounds: int, seconds: float = 0
) -> np.ndarray:
    """The milliseconds of every call, (rounds, functions), after one round to warm up.

    There are at least `rounds`, and more until `seconds` have passed; every other round runs
    backwards. The time is elapsed time, but on one thread it is processor time, which other
    programs disturb less.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    until = time.perf_counter() + seconds
    order, table = range(len(functions)), []
    while len(table) <= rounds or time.perf_counter() < until:
        table.append(np.zeros(len(functions)))
        for k in order:
            started = clock()
            functions[k]()
            table[-1][k] = 1000 * (clock() - started)
        order = order[::-1]
    return np.array(table[1:])


def training_step(
    model: nn.Module,
    loss: Callable,
    images: Tensor,
    target: Tensor,
    fabric: Fabric,
    layout: torch.memory_format = torch.channels_last,
) -> Callable[[], float]:
    """A training step on one batch, as a function to be timed; it returns the loss.

    Forward, backward and update as in `segedu.training.training_steps`, without preparing crops.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-9)  # the weights stay as they are
    wrapped, optimizer = fabric.setup(model.to(memory_format=layout), optimizer)
    images = fabric.to_device(images).contiguous(memory_format=layout)
    target = fabric.to_device(target)

    def step() -> float:
        wrapped.train()
        value = loss(wrapped(images), target)
        optimizer.zero_grad()
        fabric.backward(value)
        optimizer.step()
        return value.item()  # waits for the device

    return step


def hardware(fabric: Fabric) -> dict[str, str | int]:
    """What a result was made with."""
    return {
        "threads": torch.get_num_threads(),
        "processor": processor(),
        "device": torch.cuda.get_device_name() if fabric.device.type == "cuda" else "cpu",
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "monai", "segmentation-models-pytorch")},
    }


def processor() -> str:
    """The processor's name, where the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
