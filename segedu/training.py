"""Training and evaluation: free functions over Lightning Fabric.

Fabric owns the device, the precision and the number of processes; the model, the loss and the data
are arguments. Sample k of training is a pure function of the seed and k, so a run that was stopped
goes on exactly where it was.
"""

import csv
import functools
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
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
    check_network,
    check_number,
    check_path,
    check_range,
    check_sequence,
    check_tensor,
    check_type,
    describe,
)
from .data.transforms import train_transform
from .files import atomic_path, remove_halves
from .metrics import StatScores, iou, stat_scores
from .models import NodeGrid, predict, to_mask

THRESHOLDS = [round(0.05 * k, 2) for k in range(1, 20)]


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
    terms = asdict(config) | {"workers": 0, "images": [len(train_set), len(validation_set)]}
    history, done, best_score = [], 0, -1.0
    if last.exists():
        done, best_score = _resume(last, grid, optimizer, schedule, terms)
        history = [row for row in read_history(table) if row["step"] <= done] if done else []
    started = time.monotonic() - (history[-1]["seconds"] if history else 0)
    fabric.barrier()  # every process has looked at the folder before the first one writes

    def save_last(step: int) -> None:
        if fabric.is_global_zero:
            if history:
                write_rows(table, history)
            save_checkpoint(
                last, grid, optimizer=optimizer, step=step, best_score=best_score,
                schedule=schedule.state_dict(), terms=terms,
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


def _pairs(name: str, dataset: Iterable) -> Iterator[tuple[Tensor, Tensor]]:
    """The pairs of a data set, each checked to be one as it comes; at least one."""
    wanted = f"{name} must be pairs (image, mask) of tensors, at least one, got "
    if not (isinstance(dataset, Iterable) or hasattr(dataset, "__getitem__")):
        raise ValueError(wanted + describe(dataset))
    pair = None
    for pair in dataset:
        try:
            image, mask = pair
        except (TypeError, ValueError):
            image = mask = None
        if not (isinstance(image, Tensor) and isinstance(mask, Tensor)):
            raise ValueError(wanted + describe(pair))
        yield image, mask
    if pair is None:
        raise ValueError(f"{wanted}none")


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


def _resume(path: Path, model, optimizer, schedule, terms: dict) -> tuple[int, float]:
    """Bring all to the state in `path`; gives its step and the best validation IoU so far."""
    info = load_training(path, model, optimizer)
    if (its := info.get("terms", {})) != terms:
        then, now = (
            {name: run.get(name) for name in terms if its.get(name) != terms[name]}
            for run in (its, terms)
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


def evaluate(
    segment: Callable[[Tensor], Tensor],
    dataset: Iterable,
    *,
    num_classes: int,
    ignore_index: int | None = None,
) -> StatScores:
    """Count what `segment` gets right, image by image, each in its own size.

    Parameters
    ----------
    segment : turns an image (1, C, H, W) into a mask (1, H, W); `network(model)` and
        `otsu_threshold` are two.
    dataset : pairs of (image, mask), see `segedu.data`.

    Returns
    -------
    tp, fp, fn, tn, each (images, num_classes) int64: ready for `segedu.metrics`.

    Raises
    ------
    ValueError : for a data set that is empty or holds no pairs, and for masks out of range.

    Examples
    --------
    >>> image = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    >>> counts = evaluate(lambda images: images[:, 0] > 0.5, [(image, image[0].long())],
    ...                   num_classes=1)
    >>> dataset_iou(counts)
    1.0
    """
    check_callable("segment", segment, "(1, C, H, W)")
    counts = [
        stat_scores(
            segment(image[None]).cpu().long(),
            mask[None],
            num_classes=num_classes,
            ignore_index=ignore_index,
        )
        for image, mask in _pairs("dataset", dataset)
    ]
    return _concatenate(counts)


def dataset_iou(counts: StatScores) -> float:
    """The course's one number for a data set.

    For one class the mean over the images of the foreground's IoU (an empty image that stays empty
    counts 1); for several the mean over the classes of the IoU over the whole set.
    """
    if check_type("counts", counts, StatScores).tp.shape[1] == 1:
        return iou(*counts, pooling="image", absent=1.0)
    return iou(*counts, pooling="class", absent="skip")


def network(
    model: NodeGrid, *, threshold: float = 0.5, level: int | None = None
) -> Callable[[Tensor], Tensor]:
    """What `evaluate` takes, made of a network; `level` as in `segedu.predict`."""
    check_network("model", model)
    check_number("threshold", threshold, 0, 1)
    if level is not None:
        model = model.prune(level)
    return lambda images: to_mask(predict(model, images), threshold)


def otsu_threshold(images: Tensor) -> Tensor:
    """The baseline that a network has to beat: blur by one pixel, then Otsu's threshold (1979).

    Takes (1, 1, H, W) or (1, 3, H, W), whose channels are averaged; gives (1, H, W).
    """
    from skimage.filters import gaussian, threshold_otsu

    check_range("images", check_tensor("images", images, "(1, C, H, W)"))
    blurred = gaussian(images[0].mean(dim=0).numpy(force=True), sigma=1)
    return torch.from_numpy(blurred > threshold_otsu(blurred))[None]


def validate(model: NodeGrid, dataset: Iterable) -> tuple[float, float]:
    """The IoU on a data set (see `dataset_iou`) at the best threshold, and that threshold.

    For one class, the best of 0.05, 0.10, ..., 0.95: chosen on the test images it would flatter the
    result, so choose it on validation images. For several classes there is none to choose, and the
    threshold is 0.5.
    """
    check_network("model", model)
    counts = {threshold: [] for threshold in (THRESHOLDS if model.num_classes == 1 else [0.5])}
    for image, mask in _pairs("dataset", dataset):
        probabilities = predict(model, image[None]).cpu()
        for threshold, column in counts.items():
            preds = to_mask(probabilities, threshold)
            column.append(stat_scores(preds, mask[None], num_classes=model.num_classes))
    return max(
        (dataset_iou(_concatenate(column)), threshold) for threshold, column in counts.items()
    )


def _concatenate(counts: list[StatScores]) -> StatScores:
    """The counts of many images as one table."""
    return StatScores(*(torch.cat(column) for column in zip(*counts, strict=True)))


def write_rows(path: str | os.PathLike, rows: list[dict]) -> None:
    """Write rows with the same keys as a CSV table, atomically; None becomes an empty cell."""
    for row in check_sequence("rows", rows, 1):
        check_type("each of rows", row, dict)
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_history(path: str | os.PathLike) -> list[dict]:
    """The rows of a `history.csv`, with numbers as numbers and None for an empty cell."""
    with check_path("path", path).open(newline="") as file:
        return [
            {
                name: (int if name == "step" else float)(cell) if cell else None
                for name, cell in row.items()
            }
            for row in csv.DictReader(file)
        ]
