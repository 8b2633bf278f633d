"""Train every network of the comparison for long, with five seeds, and keep the weights.

As in `study.compare` all arms see the same crops in the same order, with the same optimizer and
schedule, and the validation images choose the checkpoint. But a run is long, and its whole
validation curve is kept: `is_flat` says whether the last third of the steps still brought
something. Each run leaves one file of weights in `runs/study/long`, with its curve and its settings
in the metadata, so that anything can be measured afterwards, and is not repeated while that file is
there; a run that was killed goes on from its last validation. Several processes may share the work.
"""

import copy
import dataclasses
import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from segedu import losses
from segedu.evaluation import best_iou
from segedu.fast import summed_convolutions
from segedu.files import atomic_path, read_rows, remove_unfinished
from segedu.models import UNet
from segedu.training import TrainConfig, TrainState, start_training, training_steps
from segedu.variants import (
    AttentionUNet,
    AttentionUNetPlusPlus,
    HalfResolution,
    ResidualUNet,
    UNet3Plus,
)

from .compare import ARMS, RUNS, Arm, Build, _claim, _ours, data_sets, probabilities
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


def _default(channels, classes: int) -> nn.Module:
    return UNet(1, classes)  # of 16 to 256 channels


def _of_depth(depth: int) -> Build:
    return lambda channels, classes: UNet(1, classes, channels=channels[: depth + 1])


SHARED = (
    "unet", "unetpp-ds", "unet-wide", "unetpp", "monai-unet", "monai-unetpp", "smp-unet",
    "smp-unetpp", "bce", "focal", "focal-alpha-0.25", "focal-alpha-balance", "three-class",
    "three-class-focal",
)  # fmt: skip
LONG_ARMS = {name: ARMS[name] for name in SHARED} | {
    **{f"unet-depth-{depth}": LongArm(_of_depth(depth)) for depth in (1, 2, 3)},
    "unet-default": LongArm(_default),
    "half": LongArm(_half),
    "half-bf16": LongArm(_half, precision="bf16-mixed"),
    "dice": LongArm(_ours(UNet), loss=losses.dice_loss),
    "residual": LongArm(_ours(ResidualUNet)),
    "attention": LongArm(_ours(AttentionUNet)),
    "attention-pp": LongArm(_ours(AttentionUNetPlusPlus)),
    "unet3plus": LongArm(_ours(UNet3Plus)),
}

EQUAL_TIME = "-equal-time"  # as long as the U-Net is trained, in seconds
TWICE, FOUR_TIMES = "-twice", "-four-times"  # as many steps as the others
LONGER = {TWICE: 2, FOUR_TIMES: 4}
STEP_MS = {"unet": 93.74, "unetpp-ds": 249.9, "half-bf16": 39.53}  # on the AMD EPYC of these runs
LONG_ARMS |= {
    name + EQUAL_TIME: dataclasses.replace(LONG_ARMS[name], levels=False)
    for name in STEP_MS
    if name != "unet"
}
LONG_ARMS |= {
    name + TWICE: dataclasses.replace(LONG_ARMS[name], levels=False)
    for name in ("unet", "unetpp-ds", "unet-wide", "bce", "focal", "three-class", "half-bf16")
}
LONG_ARMS |= {
    name + FOUR_TIMES: dataclasses.replace(LONG_ARMS[name], levels=False)
    for name in ("unet", "unetpp-ds")
}
LONG_NETWORKS = {  # the arms that differ in their network only
    name: arm
    for name, arm in LONG_ARMS.items()
    if (arm.loss, arm.classes) == (losses.compound_loss, 1)
    and not name.endswith((EQUAL_TIME, *LONGER))
}


def steps_of(name: str, steps: int) -> int:
    """How many steps an arm is trained for: all, a multiple, or those of the U-Net's time."""
    for suffix, times in LONGER.items():
        if name.endswith(suffix):
            return times * steps
    if name.endswith(EQUAL_TIME):
        return round(steps * STEP_MS["unet"] / STEP_MS[name.removesuffix(EQUAL_TIME)])
    return steps


def long_times(folder: Path) -> dict[str, dict[str, str]]:
    """What `study.times` measured of each network and pruned level of this study, by arm."""
    return {row["arm"]: row for row in read_rows(folder / "times.csv") if row["preset"] == "long"}


def train_all(root: Path, arms: list[str], steps: int = STEPS) -> None:
    """Do the runs that have not been done, seed by seed."""
    folder = RUNS / "long"
    for seed, name in itertools.product(range(SEEDS), arms or LONG_ARMS):
        path = folder / f"{name}-{seed}.safetensors"
        with _claim(folder / f"{name}-{seed}.lock") as is_free:
            if not is_free or path.exists():
                continue
            for file in (path, path.with_suffix(".part")):
                remove_unfinished(file)
            notes = train_one(name, seed, root, steps, path)
        print(
            f"{name:20} seed {seed}  best {notes['best_iou']:.4f} at {notes['best_step']}  "
            f"flat {is_flat(notes['curve'])}  {notes['train_seconds']:.0f} s",
            flush=True,
        )


def train_one(name: str, seed: int, root: Path, steps: int, path: Path) -> dict:
    """Train an arm with a seed, write its best weights, and return its notes.

    After each validation the state is written beside the weights, in a file `.part`, from which a
    killed run goes on: its result is that of a run that was never stopped.
    """
    arm, steps = LONG_ARMS[name], steps_of(name, steps)
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
    part = path.with_suffix(".part")
    weights, curve, wall, cpu = {}, [], 0.0, 0.0
    if part.exists():
        weights, curve, wall, cpu = _read_part(part, state, steps)
    batches = training_steps(state, losses.DeepSupervision(arm.loss), train_set, config, fabric)
    with summed_convolutions(model):
        for step in range(state.step + 1, steps + 1):
            wall, cpu = wall - time.perf_counter(), cpu - time.process_time()
            next(batches)
            wall, cpu = wall + time.perf_counter(), cpu + time.process_time()
            if step % config.validate_every and step < steps:
                continue
            with fabric.autocast():
                answers = ((probabilities(model, x[None]).float(), y) for x, y in validation_set)
                score, threshold = best_iou(answers)
            if score > max((point[1] for point in curve), default=-1.0):
                weights = copy.deepcopy(model.state_dict())
            curve.append([step, score, threshold])
            notes = {"steps": steps, "curve": curve, "wall": wall, "cpu": cpu}
            _write_part(part, state, weights, notes)
    best_step, best, threshold = max(curve, key=lambda point: point[1])
    notes = {
        "arm": name, "seed": seed, "steps": steps, "batch_size": 4, "crop_size": 128,
        "learning_rate": config.learning_rate, "precision": precision,
        "best_iou": best, "best_step": best_step, "threshold": threshold, "curve": curve,
        "train_seconds": wall, "train_cpu_seconds": cpu, **hardware(fabric),
    }  # fmt: skip
    _write(path, weights, notes)
    part.unlink()
    return notes


def _write(path: Path, tensors: dict[str, Tensor], notes: dict) -> None:
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    content = save(tensors, {"run": json.dumps(notes)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _read(path: Path) -> tuple[dict[str, Tensor], dict]:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()["run"])


def _write_part(path: Path, state: TrainState, weights: dict[str, Tensor], notes: dict) -> None:
    """Write all that a run needs to go on from here; `weights` are the best ones so far."""
    optimizer = state.optimizer.state_dict()
    tensors = {f"last.{name}": value for name, value in state.network.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in weights.items()}
    for index, values in optimizer["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
    training = {"step": state.step, "schedule": state.schedule.state_dict()}
    _write(path, tensors, notes | training | {"param_groups": optimizer["param_groups"]})


def _read_part(path: Path, state: TrainState, steps: int) -> tuple[dict, list, float, float]:
    """Bring a new state to that in a file; returns the best weights, the curve and both times."""
    tensors, notes = _read(path)
    if notes["steps"] != steps:
        raise ValueError(
            f"{path} is a run of {notes['steps']} steps, got {steps}: give the same number, or "
            "remove the file to begin anew"
        )
    last, best = (
        {name.removeprefix(kind): x for name, x in tensors.items() if name.startswith(kind)}
        for kind in ("last.", "best.")
    )
    moments = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = value
    state.network.load_state_dict(last)
    state.optimizer.load_state_dict({"state": moments, "param_groups": notes["param_groups"]})
    state.schedule.load_state_dict(notes["schedule"])
    state.step = notes["step"]
    return best, notes["curve"], notes["wall"], notes["cpu"]


def is_flat(curve: list[list[float]]) -> bool:
    """Whether the last third of the steps raised the best validation IoU by at most FLAT.

    >>> is_flat([[1, 0.8], [2, 0.9], [3, 0.9015]]), is_flat([[1, 0.8], [2, 0.9], [3, 0.91]])
    (True, False)
    """
    steps, scores = [point[0] for point in curve], [point[1] for point in curve]
    before = [score for step, score in zip(steps, scores, strict=True) if step <= 2 / 3 * steps[-1]]
    return max(scores) - max(before, default=0.0) <= FLAT


def load_run(path: Path) -> tuple[nn.Module, dict]:
    """The network of a run in eval mode, and its notes."""
    weights, notes = _read(path)
    arm = LONG_ARMS[notes["arm"]]
    model = arm.network(CHANNELS, arm.classes)
    model.load_state_dict(weights)
    return model.eval(), notes
