"""Training: a stream of random crops, the loop over its batches, and `fit` around it.

Lightning Fabric owns the device, the precision and the number of processes; the model, the loss and
the data are arguments. The training crops are numbered 0, 1, 2, ...; crop k depends only on the
seed and k, so a run that was stopped continues exactly where it was.
"""

import math
import os
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from tqdm import tqdm

from .checks import check_integer, check_number, check_range, check_tensor, trusted_values
from .data.transforms import train_transform
from .evaluation import validate
from .fast import summed_convolutions
from .models import NodeGrid
from .run import RunFolder, interrupt_noted, outlive_a_signal, signals_wait

Loss = Callable[[Tensor | list[Tensor], Tensor], Tensor]


@dataclass(frozen=True)
class TrainConfig:
    """How long and how fast to train; the defaults take about two minutes on two cores."""

    steps: int = 300
    batch_size: int = 8  # crops per step, over all processes together
    crop_size: int = 128  # pixels
    learning_rate: float = 3e-3  # at the peak of the one-cycle schedule
    weight_decay: float = 1e-2
    validate_every: int = 100  # steps
    seed: int = 0
    workers: int = 0  # processes that prepare crops in the background
    ignore_index: int | None = None  # value of the masks for pixels that do not count
    augment: tuple[str, ...] = ("flips", "light")  # random changes, see `train_transform`

    def __post_init__(self):
        for name in ("steps", "batch_size", "crop_size", "validate_every"):
            check_integer(name, getattr(self, name), 1)
        for name in ("seed", "workers"):
            check_integer(name, getattr(self, name), 0)
        if self.ignore_index is not None:
            check_integer("ignore_index", self.ignore_index)
        for name in ("learning_rate", "weight_decay"):
            check_number(name, getattr(self, name), 0)
        train_transform(self.crop_size, self.ignore_index, self.augment)  # checks the names


class TrainingStream(Dataset):
    """The endless training set: crop k is a pure function of the seed and k.

    Each pass through `dataset` has its own order, and each crop is made with random numbers of its
    own. The global random state does not change.
    """

    def __init__(self, dataset: Dataset, transform: Callable, seed: int):
        self.dataset, self.transform, self.seed = dataset, transform, seed
        self._order = None, []  # the last pass whose order was asked for, and the order

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor]:
        image, mask = self.dataset[self.index(k)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.SeedSequence([self.seed, k]).generate_state(1)[0]))
            # A transform takes a plain tensor for the image, so say which of the two is the mask.
            return self.transform(tv_tensors.Image(image), tv_tensors.Mask(mask))

    def index(self, k: int) -> int:
        """Which image of the data set crop k is cut from."""
        epoch, position = divmod(k, len(self.dataset))
        if epoch != self._order[0]:
            generator = np.random.default_rng([self.seed, epoch])
            self._order = epoch, generator.permutation(len(self.dataset)).tolist()
        return self._order[1][position]


def to_target(masks: Tensor, num_classes: int) -> Tensor:
    """Masks (N, H, W) as the target that the losses take: (N, 1, H, W) float for one class.

    >>> to_target(torch.tensor([[[0, 1]]]), 1)
    tensor([[[[0., 1.]]]])
    """
    check_tensor("masks", masks, "(N, H, W)", floats=False)
    return masks.unsqueeze(1).float() if num_classes == 1 else masks


@dataclass
class TrainState:
    """Everything that training changes and a checkpoint saves."""

    network: nn.Module
    wrapped: nn.Module  # the network as Fabric calls it
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    step: int = 0  # how many are done
    best_score: float = -1.0  # validation IoU; below 0 before the first validation


def start_training(network: nn.Module, config: TrainConfig, fabric: Fabric) -> TrainState:
    """AdamW on a one-cycle schedule, with the network on Fabric's device."""
    network.to(memory_format=torch.channels_last)  # a pixel's channels side by side: faster
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = _one_cycle(optimizer, config.learning_rate, config.steps)
    wrapped, optimizer = fabric.setup(network, optimizer)
    return TrainState(network, wrapped, optimizer, schedule)


def _one_cycle(
    optimizer: torch.optim.Optimizer, peak: float, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=peak,
        total_steps=max(steps, 5),  # torch divides by zero at 4
        pct_start=0.25,
    )


def training_steps(
    state: TrainState, loss: Loss, train_set: Dataset, config: TrainConfig, fabric: Fabric
) -> Iterator[tuple[float, float]]:
    """Train step by step, from `state.step` on; yields each step's loss and learning rate.

    Between two steps the caller may validate, save the state, or stop. Raises FloatingPointError
    where a loss is not finite, or the weights are not after a step: that is seen in the next one.
    """
    transform = train_transform(config.crop_size, config.ignore_index, config.augment)
    stream = TrainingStream(train_set, transform, config.seed)
    num_classes, rate = state.network.num_classes, 0.0
    met_ignored = config.ignore_index is None  # whether the loss was given such pixels
    for images, masks in _batches(stream, state.step, config, fabric):
        _check_masks(masks, num_classes, config.ignore_index)
        met_now = not met_ignored and bool((masks == config.ignore_index).any())
        images, masks = fabric.to_device((images, masks))
        state.wrapped.train()  # at every step, because validation switches to eval mode
        logits = state.wrapped(images.contiguous(memory_format=torch.channels_last))
        # Once the loss has met ignored pixels and not refused them, it need not look again.
        with trusted_values() if met_ignored else nullcontext():
            value = loss(logits, to_target(masks, num_classes))
        met_ignored = met_ignored or met_now
        state.optimizer.zero_grad()
        fabric.backward(value)
        mean_loss = fabric.all_reduce(value.detach(), reduce_op="mean").float()
        # The only time that a step waits for a GPU. The norm is of the step before.
        mean_loss, norm = torch.stack([mean_loss, _norm(state.network).float()]).tolist()
        if not math.isfinite(norm):
            raise _failure("the new weights are not finite", state.step, rate, stream, config)
        rate = state.schedule.get_last_lr()[0]
        if not math.isfinite(mean_loss):
            raise _failure(f"the loss is {mean_loss}", state.step + 1, rate, stream, config)
        state.optimizer.step()
        state.step += 1
        if state.step < config.steps:  # the schedule has no rate after the last step
            state.schedule.step()
        yield mean_loss, rate


def fit(
    model: NodeGrid,
    loss: Loss,
    train_set: Dataset,
    validation_set: Dataset,
    config: TrainConfig | None = None,
    *,
    out: str | os.PathLike,
    fabric: Fabric | None = None,
    resume: bool = False,
) -> list[dict]:
    """Train with AdamW on a one-cycle schedule; keep the best network and the last state in `out`.

    Ctrl-C, or SIGTERM, finishes the current step, saves the state and raises KeyboardInterrupt. A
    killed run can be resumed from its last validation. With several processes each computes an
    equal part of the batch; the result is that of one process, except that batch norm sees only the
    part.

    Parameters
    ----------
    model : changed in place; at the end it holds the last weights, and the threshold that was best
        in the last validation.
    loss : takes what the model returns and the target, (N, 1, H, W) float for one class, else
        (N, H, W) int64. If some pixels do not count, it has to know their value, too.
    train_set, validation_set : data sets of (image, mask), see `segedu.data`.
    config : `TrainConfig()` unless given.
    out : folder for `best.safetensors` (by validation IoU), `last.safetensors` (with all that is
        needed to continue) and `history.csv` (one row per step). A folder that already holds a run
        is refused unless `resume` is True.
    fabric : where and how to compute; one CPU process in float32 unless given.
    resume : continue from `out/last.safetensors`, or start from the beginning if `out` holds no
        run; the result is that of a run that was never stopped, bit for bit on the CPU. A run that
        is done goes on if `config` has more steps, in a second cycle of the schedule; all else in
        `config`, and the data, have to stay as they were, but for `workers`.

    Returns the rows of `history.csv`: step, loss, learning_rate, validation_iou (None between
    validations), seconds since the start.
    Raises ValueError for settings that do not fit each other, a checkpoint of another network or
    other settings, or a folder that holds another run; FloatingPointError when the loss or the
    weights are not finite, and OSError when `out` cannot be written to: the last checkpoint stays.
    """
    config, fabric = config or TrainConfig(), fabric or Fabric(accelerator="cpu", devices=1)
    _check_settings(model, train_set, validation_set, config, fabric)
    # The number of workers changes no result, so it may change when a run is resumed.
    settings = asdict(config) | {
        "workers": 0,
        "augment": list(config.augment),
        "class_names": list(model.class_names),
        "data": f"{len(train_set)} + {len(validation_set)} images, masks {_checksum(train_set)}",
        "loss": str(loss) if isinstance(loss, nn.Module) else "a function",
    }
    run = RunFolder(out, settings, resume=resume)
    fabric.launch()
    is_main_process = fabric.is_global_zero
    state = start_training(model, config, fabric)
    history = run.restore(state)
    if run.is_done and state.step < config.steps:  # a cycle of its own for the steps on top
        state.schedule = _one_cycle(
            state.schedule.optimizer, config.learning_rate, config.steps - state.step
        )
    started = time.monotonic() - (history[-1]["seconds"] if history else 0)
    fabric.barrier()  # every process has read the folder before the first one writes
    if is_main_process:
        run.remove_leftovers()
        if state.step == 0:
            run.save_last(state, history)  # fails now, not later, if the folder cannot be written

    steps = training_steps(state, loss, train_set, config, fabric)
    bar = tqdm(steps, initial=state.step, total=config.steps, disable=not is_main_process)
    with summed_convolutions(model), interrupt_noted() as interrupted:
        for mean_loss, rate in bar:
            history.append(
                {
                    "step": state.step,
                    "loss": mean_loss,
                    "learning_rate": rate,
                    "validation_iou": None,
                    "seconds": time.monotonic() - started,
                }
            )
            is_last_step = state.step == config.steps
            must_validate = is_last_step or state.step % config.validate_every == 0
            must_stop = _any_process(interrupted.is_set(), fabric)
            if (must_validate or must_stop) and not _norm(model).isfinite():
                stream = TrainingStream(train_set, None, config.seed)
                problem = "the new weights are not finite"
                raise _failure(problem, state.step, rate, stream, config)
            if must_validate:
                score, model.threshold = validate(model, validation_set, config.ignore_index)
                history[-1]["validation_iou"] = score
                bar.set_postfix(loss=f"{mean_loss:.3f}", validation_iou=f"{score:.3f}")
                if score > state.best_score:
                    state.best_score = score
                    if is_main_process:
                        run.save_best(state)
            if is_main_process and (must_validate or must_stop):
                run.save_last(state, history)
            if must_stop and not is_last_step:
                raise KeyboardInterrupt(
                    f"stopped after step {state.step} of {config.steps}; the state is in "
                    f"{run.last}, from which training can be resumed"
                )
    return history


def _batches(
    stream: TrainingStream, done: int, config: TrainConfig, fabric: Fabric
) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's part of each batch after step `done`: every world_size-th crop."""
    crops = range(
        done * config.batch_size + fabric.global_rank,
        config.steps * config.batch_size,
        fabric.world_size,
    )
    loader = DataLoader(
        stream,
        batch_size=config.batch_size // fabric.world_size,
        sampler=crops,
        num_workers=config.workers,
        worker_init_fn=outlive_a_signal,
        pin_memory=fabric.device.type == "cuda",  # copied while the GPU computes
    )
    with signals_wait():
        return iter(loader)


def _check_settings(
    model: NodeGrid,
    train_set: Dataset,
    validation_set: Dataset,
    config: TrainConfig,
    fabric: Fabric,
) -> None:
    if not len(train_set) or not len(validation_set):
        raise ValueError(
            "train_set and validation_set need at least one image each, got "
            f"{len(train_set)} and {len(validation_set)}"
        )
    if config.crop_size % 2**model.depth:
        raise ValueError(
            f"{model.depth} poolings need a crop_size that is a multiple of {2**model.depth}, "
            f"got {config.crop_size}"
        )
    if config.batch_size % fabric.world_size:
        raise ValueError(
            f"a batch of {config.batch_size} cannot be shared equally by {fabric.world_size} "
            f"processes: choose a batch_size that is a multiple of {fabric.world_size}"
        )


def _checksum(dataset: Dataset) -> str:
    """Of the first and the last mask: it tells one data set from another of the same length."""
    masks = [np.asarray(dataset[index][1]) for index in (0, len(dataset) - 1)]
    return f"{zlib.crc32(b''.join(mask.tobytes() for mask in masks)):08x}"


def _any_process(flag: bool, fabric: Fabric) -> bool:
    """Whether `flag` is true in any process: all must stop at the same step, or one would wait."""
    if fabric.world_size == 1:
        return flag
    return fabric.all_reduce(float(flag), reduce_op="sum").item() > 0


def _failure(
    problem: str, step: int, rate: float, stream: TrainingStream, config: TrainConfig
) -> FloatingPointError:
    crops = range((step - 1) * config.batch_size, step * config.batch_size)
    return FloatingPointError(
        f"{problem} at step {step}, learning rate {rate:.2g}; the batch was cut from the training "
        f"images {[stream.index(k) for k in crops]}. Look at these images and their masks, or "
        "train again with a smaller learning rate; no state of this step was saved"
    )


def _norm(model: nn.Module) -> Tensor:
    """The norm of all weights: one NaN or infinity makes it NaN or infinite."""
    return torch.nn.utils.get_total_norm([weight.detach() for weight in model.parameters()])


def _check_masks(masks: Tensor, num_classes: int, ignore_index: int | None) -> None:
    """On the CPU, so that the loss need not look at the values again on a GPU."""
    counted = masks if ignore_index is None else masks.masked_fill(masks == ignore_index, 0)
    check_range("the masks of a batch", counted, 0, max(num_classes - 1, 1), "; see ignore_index")
