"""Train every network of the comparison to its end, with five seeds, and keep the weights.

As in `study.compare` all arms see the same crops in the same order, with the same optimizer and
schedule, and the validation images choose the checkpoint. But a run is long, and its whole
validation curve is kept: `is_flat` says whether the last third of the steps still brought
something. Each run leaves one file of weights in `runs/study/long`, with its curve and its settings
in the metadata, so that anything can be measured afterwards, and is not repeated while that file is
there. Several processes may share the work.
"""

import copy
import functools
import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from segedu import losses
from segedu.evaluation import best_iou
from segedu.fast import summed_convolutions
from segedu.files import atomic_path
from segedu.models import UNet
from segedu.training import TrainConfig, start_training, training_steps
from segedu.variants import (
    AttentionUNet,
    AttentionUNetPlusPlus,
    HalfResolution,
    ResidualUNet,
    UNet3Plus,
)

from .compare import ARMS, RUNS, Arm, _claim, _ours, data_sets, probabilities
from .timing import hardware

CHANNELS = (8, 16, 32, 64, 128)
SEEDS = 5
VALIDATIONS = 15  # evenly spaced over the steps
FLAT = 0.002  # validation IoU
STEPS = 3000


@dataclass(frozen=True)
class LongArm(Arm):
    """An arm that may have a precision of its own."""

    precision: str = "32-true"


def _half(channels, classes: int) -> nn.Module:
    return HalfResolution(1, classes, channels=(16, 32, 64, 128))


SHARED = (
    "unet", "unetpp-ds", "unet-wide", "unetpp", "monai-unet", "monai-unetpp", "smp-unet",
    "smp-unetpp", "bce", "focal", "focal-alpha-0.25", "focal-alpha-balance", "three-class",
    "three-class-focal",
)  # fmt: skip
LONG_ARMS = {name: ARMS[name] for name in SHARED} | {
    "half": LongArm(_half),
    "half-bf16": LongArm(_half, precision="bf16-mixed"),
    "dice": LongArm(_ours(UNet), loss=losses.dice_loss),
    "residual": LongArm(_ours(ResidualUNet)),
    "attention": LongArm(_ours(AttentionUNet)),
    "attention-pp": LongArm(_ours(AttentionUNetPlusPlus)),
    "unet3plus": LongArm(_ours(UNet3Plus)),
}


def train_all(root: Path, arms: list[str], steps: int = STEPS) -> None:
    """Do the runs that have not been done, seed by seed."""
    folder = RUNS / "long"
    for seed, name in itertools.product(range(SEEDS), arms or LONG_ARMS):
        path = folder / f"{name}-{seed}.safetensors"
        with _claim(folder / f"{name}-{seed}.lock") as is_free:
            if not is_free or path.exists():
                continue
            notes = train_one(name, seed, root, steps, path)
        print(
            f"{name:20} seed {seed}  best {notes['best_iou']:.4f} at {notes['best_step']}  "
            f"flat {is_flat(notes['curve'])}  {notes['train_seconds']:.0f} s",
            flush=True,
        )


def train_one(name: str, seed: int, root: Path, steps: int, path: Path) -> dict:
    """Train an arm with a seed, write its best weights, and return its notes."""
    arm = LONG_ARMS[name]
    precision = getattr(arm, "precision", "32-true")
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    train_set, validation_set, _ = data_sets(arm, seed, root)
    config = TrainConfig(
        steps=steps, batch_size=4, crop_size=128, validate_every=max(1, steps // VALIDATIONS),
        seed=seed,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = arm.network(CHANNELS, arm.classes)
    state = start_training(model, config, fabric)
    batches = training_steps(state, losses.DeepSupervision(arm.loss), train_set, config, fabric)
    curve, best, weights, wall, cpu = [], -1.0, None, 0.0, 0.0
    with summed_convolutions(model):
        for step in range(1, steps + 1):
            wall, cpu = wall - time.perf_counter(), cpu - time.process_time()
            next(batches)
            wall, cpu = wall + time.perf_counter(), cpu + time.process_time()
            if step % config.validate_every and step < steps:
                continue
            with fabric.autocast():
                answers = ((probabilities(model, x[None]).float(), y) for x, y in validation_set)
                score, threshold = best_iou(answers)
            curve.append([step, score, threshold])
            if score > best:
                best, weights = score, copy.deepcopy(model.state_dict())
    best_step, _, threshold = max(curve, key=lambda point: point[1])
    notes = {
        "arm": name, "seed": seed, "steps": steps, "batch_size": 4, "crop_size": 128,
        "learning_rate": config.learning_rate, "precision": precision,
        "best_iou": best, "best_step": best_step, "threshold": threshold, "curve": curve,
        "train_seconds": wall, "train_cpu_seconds": cpu, **hardware(fabric),
    }  # fmt: skip
    content = save({k: v.contiguous() for k, v in weights.items()}, {"run": json.dumps(notes)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return notes


def is_flat(curve: list[list[float]]) -> bool:
    """Whether the last third of the steps raised the best validation IoU by at most FLAT.

    >>> is_flat([[1, 0.8], [2, 0.9], [3, 0.9015]]), is_flat([[1, 0.8], [2, 0.9], [3, 0.91]])
    (True, False)
    """
    steps, scores = [point[0] for point in curve], [point[1] for point in curve]
    before = max(
        score for step, score in zip(steps, scores, strict=True) if step <= 2 / 3 * steps[-1]
    )
    return max(scores) - before <= FLAT


@functools.cache
def load_run(path: Path) -> tuple[nn.Module, dict]:
    """The network of a run in eval mode, and its notes."""
    with safe_open(path, framework="pt") as file:
        notes = json.loads(file.metadata()["run"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    arm = LONG_ARMS[notes["arm"]]
    model = arm.network(CHANNELS, arm.classes)
    model.load_state_dict(weights)
    return model.eval(), notes
