"""Training and evaluation: free functions over Lightning Fabric.

Fabric owns the device, the precision and the number of processes; the model, the loss and the data
are arguments. Sample k of training is a pure function of the seed and k, so a run that was stopped
goes on exactly where it was.
"""

import functools
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from tqdm import tqdm

from .checkpoint import load_training, save_checkpoint
from .checks import (
    check_callable,
    check_choice,
    check_integer,
    check_number,
    check_path,
    check_tensor,
    check_type,
    describe,
)
from .data.transforms import train_transform
from .evaluation import _pairs, validate
from .files import read_history, remove_halves, write_rows
from .models import NodeGrid


@dataclass(frozen=True)
class TrainConfig:
    """How long and how fast to train; the defaults take about two minutes on two cores."""

    steps: int = 300
    batch_size: int = 8  # crops a step, over all processes together
    crop_size: int = 128  # pixels
    learning_rate: float = 3e-3  # at the peak of the one-cycle schedule
    weight_decay: float = 1e-2
    validate_every: int = 100  # steps
    seed: int = 0
    workers: int = 0  # processes that prepare crops beside the training

    def __post_init__(self):
        for name in ("steps", "batch_size", "crop_size", "validate_every"):
            check_integer(name, getattr(self, name), 1)
        for name in ("seed", "workers"):
            check_integer(name, getattr(self, name), 0, 2**32 - 1)
        for name in ("learning_rate", "weight_decay"):
            check_number(name, getattr(self, name), 0)


class TrainingStream(Dataset):
    """The endless training set: sample k is a pure function of the seed and k.

    Each run through `dataset` is shuffled anew, and each sample is transformed with random numbers
    of its own. The global random state is left alone.
    """

    def __init__(self, dataset: Dataset, transform: Callable, seed: int):
        _check_dataset("dataset", dataset)
        check_callable("transform", transform, "(image, mask)")
        check_integer("seed", seed, 0, 2**32 - 1)
        self.dataset, self.transform, self.seed = dataset, transform, seed

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor]:
        image, mask = self.dataset[self.index(k)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.SeedSequence([self.seed, k]).generate_state(1)[0]))
            # Said outright, since a transform leaves a mask alone that is a plain tensor.
            return self.transform(tv_tensors.Image(image), tv_tensors.Mask(mask))

    def index(self, k: int) -> int:
        """Which image of the data set sample k is cut from."""
        epoch, position = divmod(k, len(self.dataset))
        return self._order(epoch)[position]

    @functools.lru_cache(maxsize=2)  # noqa: B019 - a stream lives as long as its run
    def _order(self, epoch: int) -> list[int]:
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset)).tolist()


def fit(
    model: NodeGrid,
    loss: Callable[[Tensor | list[Tensor], Tensor], Tensor],
    train_set: Dataset,
    validation_set: Dataset,
    config: TrainConfig | None = None,
    *,
    out: str | os.PathLike,
    fabric: Fabric | None = None,
    resume: bool = False,
) -> list[dict]:
    """Train with AdamW on a one-cycle schedule; keep the best network and the last state in `out`.

    Ctrl-C lets the step end, writes the last state and then raises KeyboardInterrupt. A killed run
    goes on from its last validation. With several processes each computes its share of the batch;
    the result is that of one process, but for batch norm, which sees the share only.

    Parameters
    ----------
    model : changed in place; at the end it holds the weights of the last step.
    loss : takes what the model returns and the target, (N, 1, H, W) float for one class, else
        (N, H, W) int64.
    train_set, validation_set : data sets of (image, mask), see `segedu.data`.
    config : `TrainConfig()` unless given.
    out : folder for `best.safetensors` (by validation IoU), `last.safetensors` (with all that is
        needed to go on) and `history.csv` (a row a step). One that holds a run is refused.
    fabric : where and how to compute; one CPU process in float32 unless given.
    resume : go on from `out/last.safetensors`, from the beginning if it is not there; the result is
        that of a run never stopped, bit for bit on the CPU.

    Returns
    -------
    The rows of `history.csv`: step, loss, learning_rate, validation_iou (None between validations),
    seconds since the start.

    Raises
    ------
    ValueError : for settings that do not fit each other, a checkpoint of another network or other
        settings, or a folder that holds another run.
    FloatingPointError : when the loss or the weights are not finite; the last checkpoint stays.
    OSError : when `out` cannot be written to; the last checkpoint stays.
    """
    check_path("out", out)
    check_type("model", model, NodeGrid)
    check_callable("loss", loss, "(logits, target)")
    _check_dataset("train_set", train_set)
    _check_dataset("validation_set", validation_set)
    config = check_type("config", config or TrainConfig(), TrainConfig)
    fabric = check_type("fabric", fabric or Fabric(accelerator="cpu", devices=1), Fabric)
    check_choice("resume", resume, (True, False))
    _check_shares(model, config, fabric)
    fabric.launch()
    best, last, table = (
        Path(out) / name for name in ("best.safetensors", "last.safetensors", "history.csv")
    )
    if not resume and any(path.exists() for path in (best, last, table)):
        raise ValueError(
            f"{out} holds a run already, which would be lost: resume it, or choose another folder"
        )
    grid = model  # Fabric's wrapper computes; the network itself is saved and evaluated
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=config.learning_rate,
        total_steps=max(config.steps, 5),  # torch divides by zero at 4
        pct_start=0.25,
    )
    model.to(memory_format=torch.channels_last)
    model, optimizer = fabric.setup(model, optimizer)
    # What has to be the same when a run goes on; the number of workers changes no result.
    settings = asdict(config) | {"workers": 0, "images": [len(train_set), len(validation_set)]}
    history, done, best_score = [], 0, -1.0
    if last.exists():
        done, best_score = _resume(last, grid, optimizer, schedule, settings)
        history = [row for row in read_history(table) if row["step"] <= done] if done else []
    started = time.monotonic() - (history[-1]["seconds"] if history else 0)
    fabric.barrier()  # every process has looked at the folder before the first one writes

    def save_last(step: int) -> None:
        if fabric.is_global_zero:
            if history:
                write_rows(table, history)
            save_checkpoint(
                last, grid, optimizer=optimizer, step=step, best_score=best_score,
                schedule=schedule.state_dict(), settings=settings,
            )  # fmt: skip

    if fabric.is_global_zero:
        for path in (best, last, table):
            remove_halves(path)
    if done == 0:
        save_last(0)  # so that a folder that cannot be written to costs no training

    stream = TrainingStream(train_set, train_transform(config.crop_size), config.seed)
    mine = range(
        done * config.batch_size + fabric.global_rank,
        config.steps * config.batch_size,
        fabric.world_size,
    )
    loader = fabric.setup_dataloaders(
        DataLoader(
            stream,
            batch_size=config.batch_size // fabric.world_size,
            sampler=mine,
            num_workers=config.workers,
            worker_init_fn=_ignore_interrupt,
        ),
        use_distributed_sampler=False,
    )
    bar = tqdm(loader, initial=done, total=config.steps, disable=fabric.global_rank > 0)
    with _interrupt_noted() as interrupted:
        for step, (images, masks) in enumerate(bar, start=done + 1):
            model.train()
            images = images.contiguous(memory_format=torch.channels_last)
            value = loss(model(images), to_target(masks, grid.num_classes))
            optimizer.zero_grad()
            fabric.backward(value)
            # The processes have to agree whether to go on, or one would wait for another for ever.
            report = torch.stack([value.detach(), value.new_tensor(float(interrupted.is_set()))])
            mean_loss, stop = fabric.all_reduce(report, reduce_op="mean").tolist()
            rate = schedule.get_last_lr()[0]
            if math.isfinite(mean_loss):
                optimizer.step()
            if not (math.isfinite(mean_loss) and _is_finite(grid)):
                batch = range((step - 1) * config.batch_size, step * config.batch_size)
                raise FloatingPointError(
                    f"the loss is {mean_loss} at step {step}, learning rate {rate:.2g}"
                    f"{', and the new weights are not finite' * math.isfinite(mean_loss)}; "
                    f"the batch was cut from the training images {[*map(stream.index, batch)]}. "
                    f"The state in {last} is from before. Look at these images and their masks, "
                    "or train anew with a smaller learning rate"
                )
            row = {
                "step": step,
                "loss": mean_loss,
                "learning_rate": rate,
                "validation_iou": None,
                "seconds": time.monotonic() - started,
            }
            history.append(row)
            if step < config.steps:
                schedule.step()
            if step % config.validate_every == 0 or step == config.steps:
                score, threshold = validate(grid, validation_set)
                row["validation_iou"] = score
                bar.set_postfix(loss=f"{mean_loss:.3f}", validation_iou=f"{score:.3f}")
                if score > best_score:
                    best_score = score
                    if fabric.is_global_zero:
                        save_checkpoint(
                            best, grid, step=step, validation_iou=score, threshold=threshold
                        )
            elif not stop:
                continue
            save_last(step)
            if stop and step < config.steps:
                raise KeyboardInterrupt(
                    f"stopped after step {step} of {config.steps}; "
                    f"its state is in {last}, from which training resumes"
                )
    return history


def _check_dataset(name: str, dataset) -> None:
    """A data set that training can draw from: it has a length, and a pair comes first."""
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        raise ValueError(
            f"{name} must be a data set, or a list, of (image, mask), got {describe(dataset)}"
        )
    next(_pairs(name, dataset))


def _check_shares(model: NodeGrid, config: TrainConfig, fabric: Fabric) -> None:
    if config.crop_size % 2**model.depth:
        raise ValueError(
            f"{model.depth} poolings need a crop_size that is a multiple of {2**model.depth}, "
            f"got {config.crop_size}"
        )
    if config.batch_size % fabric.world_size:
        raise ValueError(
            f"a batch of {config.batch_size} cannot be shared equally by {fabric.world_size} "
            "processes; choose a multiple"
        )


def _resume(path: Path, model, optimizer, schedule, settings: dict) -> tuple[int, float]:
    """Bring all to the state in `path`; gives its step and the best validation IoU so far."""
    info = load_training(path, model, optimizer)
    if (its := info.get("settings", {})) != settings:
        then, now = (
            {name: run.get(name) for name in settings if its.get(name) != settings[name]}
            for run in (its, settings)
        )
        raise ValueError(f"{path} was trained with {then}, got {now}: give it the same")
    schedule.load_state_dict(info["schedule"])
    return info["step"], info["best_score"]


@contextmanager
def _interrupt_noted() -> Iterator[threading.Event]:
    """Set the event on Ctrl-C in place of stopping anywhere; a second Ctrl-C stops at once."""
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # nobody else hears of it
        yield noted
        return

    def note(number, frame):
        noted.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def _ignore_interrupt(worker: int) -> None:
    """Let the process that trains decide: Ctrl-C reaches its workers too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _is_finite(model: NodeGrid) -> bool:
    weights = [parameter.detach() for parameter in model.parameters()]
    return bool(torch.nn.utils.get_total_norm(weights).isfinite())


def to_target(masks: Tensor, num_classes: int) -> Tensor:
    """Masks (N, H, W) as the target that the losses take: (N, 1, H, W) float for one class.

    Raises ValueError or TypeError for other masks.

    >>> to_target(torch.tensor([[[0, 1]]]), 1)
    tensor([[[[0., 1.]]]])
    """
    check_tensor("masks", masks, "(N, H, W)", floats=False)
    check_integer("num_classes", num_classes, 1)
    return masks.unsqueeze(1).float() if num_classes == 1 else masks
