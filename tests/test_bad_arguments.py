"""Every public function and class refuses bad arguments, by itself and in words.

The table below holds a good call of each, and for each of its arguments the kinds of value that are
refused. Hypothesis draws the value. What is asked of the refusal: a ValueError or a TypeError that
the package raises itself, not a library deep below it; with a sentence about the argument; soon.
"""

import inspect
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import sampled_from as one_of
from lightning_fabric import Fabric
from PIL import Image

import segedu
from segedu import (
    analysis,
    checkpoint,
    data,
    diagrams,
    evaluation,
    exercises,
    export,
    files,
    inference,
    losses,
    metrics,
    models,
    plotting,
    training,
)
from segedu.data import folder, nuclei, splits, synthetic, transforms
from segedu.exercises import answer

matplotlib.use("agg")
PACKAGE = Path(segedu.__file__).parent
MODULES = [
    analysis, answer, checkpoint, diagrams, evaluation, export, files, folder, inference, losses, metrics, models, nuclei, plotting,
    splits, synthetic, training, transforms,
]  # fmt: skip
SLOWEST = 5  # seconds a refusal may take
NAN, INF = float("nan"), float("inf")

# -- kinds of value, by name ---------------------------------------------------------------------

Kinds = dict[str, st.SearchStrategy]

NOTHING = {"nothing": one_of([None])}
OBJECT = {"an object": one_of([object(), object]), "a dict": one_of([{}, {"a": 1}])}
TEXT = {"text": one_of(["", "1", "mean ", "x" * 10_000])}
LIST = {"a list": one_of([[], [1.0, 2.0], [None]])}
FLAG = {"a bool": one_of([True, False])}
COMPLEX = {"a complex number": one_of([1j, 2 + 3j])}
SEVERAL = {
    "an array": one_of([np.zeros(3), np.ones((2, 2))]),
    "a tensor": one_of([torch.zeros(3), torch.ones(2, 2), torch.ones(1, device="meta")]),
}
NUMBERS = {"a number": one_of([0, 7, -1, 0.5, NAN])}
FUNCTION = {"a function": one_of([len, torch.relu])}
NO_NUMBER = TEXT | LIST | FLAG | COMPLEX | SEVERAL | OBJECT | FUNCTION


def integer(least=-(2**63), most=2**63 - 1) -> Kinds:
    """What is no integer from `least` to `most`."""
    below = {"too small": st.integers(least - 10**6, least - 1)}
    above = {"too large": st.integers(most + 1, most + 10**6), "huge": one_of([10**30, 10**5000])}
    return NO_NUMBER | {"a float": st.floats(0.1, 0.9), "NaN": one_of([NAN, INF])} | below | above


def number(low=-INF, high=INF) -> Kinds:
    """What is no number from `low` to `high`."""
    kinds = NO_NUMBER | {"NaN": one_of([NAN]), "infinity": one_of([INF, -INF, 10**400])}
    if low > -INF:
        kinds["too small"] = st.floats(-1e30, low, exclude_max=True)
    if high < INF:
        kinds["too large"] = st.floats(1.01 * high, 1e30)
    return kinds


def without(kinds: Kinds, *names: str) -> Kinds:
    return {name: values for name, values in kinds.items() if name not in names}


CHOICE = NUMBERS | LIST | SEVERAL | OBJECT | {"another word": one_of(["", "Mean", "nothing"])}
YES_OR_NO = NOTHING | TEXT | NUMBERS | LIST | SEVERAL
CALLABLE = TEXT | NUMBERS | LIST | SEVERAL
PATH = NOTHING | LIST | OBJECT | {"a number": one_of([10**6, 1.5])} | SEVERAL
NETWORK = NOTHING | TEXT | NUMBERS | LIST | SEVERAL | OBJECT
NETWORK |= {
    "another module": one_of([torch.nn.Linear(1, 1)]),
    "a class": one_of([models.UNet, torch.nn.Module]),
}
AXES = TEXT | NUMBERS | LIST | OBJECT | {"a figure": st.builds(plt.figure)}
NODE = TEXT | NUMBERS | OBJECT
NODE |= {
    "too few": one_of([(), (0,)]),
    "too many": one_of([(0, 0, 0)]),
    "not there": one_of([(5, 5), (2, 1), (-1, 0), (0, 10**9)]),
    "no integers": one_of([(0.0, 0), ("0", "0"), (None, 0), (True, 0)]),
}


def entries(wrong: Kinds, good: list, **more) -> Kinds:
    """What is no list: other things, and lists of which one entry is wrong."""
    kinds = TEXT | NUMBERS | OBJECT | FUNCTION | {"too few": one_of([good[:-1]])} | more
    kinds["endless"] = st.builds(iter, one_of([int]), one_of([1]))
    for name, values in wrong.items():
        kinds[f"an entry: {name}"] = values.map(lambda value: [*good[:-1], value])
    return kinds


def tensor(good: torch.Tensor, *, device=True, axes=True) -> Kinds:
    """What does not stand for `good`, a tensor of floats."""
    kinds = NOTHING | TEXT | NUMBERS | OBJECT | FUNCTION | LIST | {
        "an array": one_of([good.numpy()]),
        "no floats": one_of([good.long(), good.bool(), good.to(torch.uint8)]),
        "complex": one_of([good.to(torch.complex64)]),
        "sparse": one_of([good.to_sparse()]),
        "empty": st.integers(0, good.ndim - 1).map(lambda axis: good.narrow(axis, 0, 0)),
    }  # fmt: skip
    if device:
        kinds["on another device"] = one_of([good.to("meta")])
    if axes:
        others = st.integers(0, 6).filter(lambda n: n != good.ndim)
        kinds["other axes"] = others.map(lambda n: good.new_zeros((1,) * n))
    return kinds


def labels(good: torch.Tensor, **more) -> Kinds:
    """What does not stand for `good`, a mask of 0 and 1."""
    kinds = without(tensor(good.float()), "no floats")
    kinds["an array"] = one_of([np.full(good.shape, "a"), np.full(good.shape, None)])
    return kinds | {
        "floats": one_of([good.float(), good.numpy() / 2]),
        "another size": one_of([torch.cat([good, good], dim=-1), good[..., :-1]]),
        "negative": st.integers(-(10**9), -1).map(lambda value: good + value),
    } | more  # fmt: skip


def picture(good: np.ndarray, **more) -> Kinds:
    """What does not stand for `good`, an array (H, W)."""
    others = st.integers(0, 6).filter(lambda n: n not in (2, 3))
    return NOTHING | TEXT | NUMBERS | OBJECT | FUNCTION | {
        "other axes": others.map(lambda n: np.zeros((4,) * n, good.dtype)),
        "other channels": st.integers(4, 9).map(lambda n: np.zeros((n, n, n), good.dtype)),
        "ragged": one_of([[[1, 2], [3]]]),
        "empty": one_of([good[:0], good[:, :0]]),
        "complex": one_of([good + 1j]),
        "words": one_of([np.full(good.shape, "a"), np.full(good.shape, None)]),
        "no values": one_of([torch.zeros(good.shape, device="meta")]),
    } | more  # fmt: skip


# -- good values ---------------------------------------------------------------------------------

torch.manual_seed(0)
ONE, THREE = torch.randn(2, 1, 4, 4), torch.randn(2, 3, 4, 4)
BINARY, CLASSES = (ONE > 0).float(), THREE.argmax(dim=1)
MASK = BINARY[:, 0].long()
GREY, LABELS = np.eye(16), np.eye(16, dtype=int)
GRID = models.UNetPlusPlus(1, 1, channels=(2, 2, 2), deep_supervision=True).eval()
IMAGES = torch.rand(1, 1, 8, 8)
COUNTS = {name: torch.tensor([[3], [1]]) for name in ("tp", "fp", "fn")}
PAIRS = [(IMAGES[0].repeat(1, 4, 4), (IMAGES[0, 0] > 0.5).long().repeat(4, 4))] * 2
ROWS = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]


class At(str):
    """The name of a file or folder in the folder that `made` fills."""


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("made")
    for name in "abcd":
        for kind, value in (("images", 200), ("masks", 255)):
            (root / "own" / kind).mkdir(parents=True, exist_ok=True)
            Image.new("L", (16, 16), value).save(root / "own" / kind / f"{name}.png")
    table = nuclei._table().items()
    key = next(
        k for k, row in table if (row["split"], row["modality"]) == ("train", "fluorescence")
    )
    for kind, name in (("images", key), ("masks", "a")):
        (root / "archive" / key / kind).mkdir(parents=True)
        Image.new("L", (16, 16), 255).save(root / "archive" / key / kind / f"{name}.png")
    files.write_rows(root / "history.csv", ROWS)
    optimizer = torch.optim.SGD(GRID.parameters(), lr=0.1)
    checkpoint.save_checkpoint(root / "network.safetensors", GRID, optimizer=optimizer)
    return root


# -- the table -----------------------------------------------------------------------------------


class Row(NamedTuple):
    call: Callable
    good: dict
    bad: dict[str, Kinds]


TABLE: dict[str, Row] = {}


def row(call: Callable, good: dict, bad: dict[str, Kinds], name: str | None = None) -> None:
    TABLE[name or f"{call.__module__.removeprefix('segedu.')}.{call.__qualname__}"] = Row(
        call, good, bad
    )


def target(logits: torch.Tensor, good: torch.Tensor) -> Kinds:
    kinds = without(tensor(good.float()), "no floats")
    classes = max(logits.shape[1], 2)
    kinds |= {
        "another size": one_of([good[..., :-1], good[:1], torch.cat([good] * 2)]),
        "negative": st.integers(-(10**6), -1).map(lambda value: good.float().long() + value),
        "too large": st.integers(classes, 10**6).map(lambda value: torch.full_like(good, value)),
    }
    if logits.shape[1] == 1:
        return kinds | {
            "NaN": one_of([good * NAN, good / 0]),
            "in between": one_of([good + 1e-3, good - 1e-3]),
        }
    soft = logits.softmax(dim=1)
    return kinds | {"floats": one_of([good.float()]), "soft": one_of([soft, soft[:, 0]])}


def loss_row(call: Callable, options: dict[str, tuple], *, classes: int = 1, name=None) -> None:
    """A loss, or its module: `options` are (good value, kinds)."""
    logits, truth = (ONE, BINARY) if classes == 1 else (THREE, CLASSES)
    bad = {"logits": tensor(logits), "target": target(logits, truth), "ignore_index": integer()}
    bad["logits"]["another number of classes"] = one_of(
        [torch.zeros(2, k, 4, 4) for k in ((2, 5) if classes == 1 else (1, 2))]
    )
    good = {"logits": logits, "target": truth} | {key: value for key, (value, _) in options.items()}
    row(call, good, bad | {key: kinds for key, (_, kinds) in options.items()}, name)


REDUCTION = ("mean", CHOICE | NOTHING)
WEIGHTS = (
    [1.0, 2.0, 3.0],
    entries(number(0, 1e6), [1.0, 2.0, 3.0]) | {"too many": one_of([[1] * 9])},
)
WEIGHTS[1]["a tensor"] = one_of(
    [torch.ones(2), torch.ones(3, 1), -torch.ones(3), NAN * torch.ones(3)]
)
RATE = (0.5, number(0, 1e6) | NOTHING)
LOSSES = {
    "cross_entropy": ({"weight": WEIGHTS, "reduction": REDUCTION}, 3),
    "binary_cross_entropy": ({"reduction": REDUCTION}, 1),
    "focal_loss": (
        {"gamma": (2.0, number(0, 1e6) | NOTHING), "alpha": (0.5, number(0, 1))}
        | {"reduction": REDUCTION},
        1,
    ),
    "tversky_loss": (
        {"alpha": RATE, "beta": RATE, "smooth": (1.0, number(1e-12, 1e6))}
        | {"reduction": REDUCTION},
        1,
    ),
    "dice_loss": ({"smooth": (1.0, number(1e-12, 1e6)), "reduction": REDUCTION}, 3),
    "jaccard_loss": ({"smooth": (1.0, number(1e-12, 1e6)), "reduction": REDUCTION}, 1),
    "compound_loss": ({}, 3),
}  # fmt: skip


def as_module(cls: type) -> Callable:
    return lambda logits, target, **options: cls(**options)(logits, target)


for function, (options, classes) in LOSSES.items():
    cls = "".join(word.title() for word in function.removesuffix("_loss").split("_")) + "Loss"
    loss_row(getattr(losses, function), options, classes=classes)
    loss_row(as_module(getattr(losses, cls)), options, classes=classes, name=f"losses.{cls}")
loss_row(
    losses.focal_loss, {"alpha": WEIGHTS}, classes=3, name="losses.focal_loss with three classes"
)
HEADS = [ONE, ONE]
SUPERVISED = {
    "loss": CALLABLE | NOTHING,
    "weights": entries(number(0, 1e6), [1, 1]) | {"all zero": one_of([[0, 0], [0.0, 1e-300]])},
}
HEADS_ARE = {
    "logits": without(entries(tensor(ONE), HEADS), "too few") | {"no head": one_of([[], ()])},
    "target": target(ONE, BINARY),
}
row(
    losses.deep_supervision,
    {"loss": losses.compound_loss, "logits": HEADS, "target": BINARY},
    SUPERVISED | HEADS_ARE,
)
row(
    lambda logits, target, **options: losses.DeepSupervision(**options)(logits, target),
    {"loss": losses.compound_loss, "logits": HEADS, "target": BINARY},
    SUPERVISED | HEADS_ARE,
    "losses.DeepSupervision",
)
ANY_TARGET = without(target(ONE, BINARY), "other axes", "another size")
row(losses.class_balance, {"target": BINARY}, {"target": ANY_TARGET, "ignore_index": integer()})

BAD_MASK = labels(MASK, **{"too large": one_of([MASK + 2, MASK + 255])})
for function, least in ((metrics.stat_scores, 1), (metrics.confusion_matrix, 2)):
    row(
        function,
        {"preds": MASK, "target": MASK.numpy(), "num_classes": 2},
        {"preds": BAD_MASK, "target": BAD_MASK, "ignore_index": integer()}
        | {"num_classes": integer(least, 4096) | NOTHING},
    )
BAD_COUNTS = without(tensor(torch.ones(2, 1), device=False), "no floats", "an array", "sparse")
BAD_COUNTS |= {
    "another size": one_of([torch.ones(2, 2), torch.ones(3, 1)]),
    "negative": st.floats(-1e9, -1e-9).map(lambda value: torch.full((2, 1), value)),
    "NaN": one_of([torch.full((2, 1), value) for value in (NAN, INF)]),
    "words": one_of([np.array([["a"], ["b"]])]),
    "without values": one_of([torch.ones(2, 1, device="meta")]),
}
ABSENT = number(0, 1) | NOTHING
for name in ("iou", "dice", "precision", "recall"):
    row(
        getattr(metrics, name),
        COUNTS | {"average": "class", "absent": "skip"},
        dict.fromkeys(COUNTS, BAD_COUNTS) | {"average": CHOICE | NOTHING, "absent": ABSENT},
    )
row(
    metrics.mean_iou,
    {"matrix": torch.ones(3, 3), "absent": 1.0},
    {"matrix": without(BAD_COUNTS, "another size") | {"one class": one_of([torch.ones(1, 1)])}}
    | {"absent": ABSENT, "background": YES_OR_NO},
)
row(
    metrics.average_precision,
    {"pred_labels": MASK[0], "true_labels": MASK[1]},
    {"pred_labels": labels(MASK[0]), "true_labels": labels(MASK[0])}
    | {"thresholds": entries(number(0.5, 1), [0.5]) | {"one": one_of([[1.0], [0.5, 1]])}},
)

for function in (models.unet_nodes, models.unetpp_nodes):
    row(function, {"depth": 3}, {"depth": integer(1, 7) | NOTHING})
WIDTH = integer(1, 4096) | NOTHING
CHOICES = {"norm": CHOICE | NOTHING}
row(
    models.ConvBlock,
    {"in_channels": 1, "out_channels": 2},
    {"in_channels": integer(1, 2**15) | NOTHING, "out_channels": WIDTH} | CHOICES,
)
CHANNELS = {"channels": entries(WIDTH, [2, 2]) | {"too deep": one_of([[1] * 9, range(10**12)])}}
CHOICES |= {"skips": CHOICE | NOTHING, "up": CHOICE | NOTHING, "deep_supervision": YES_OR_NO}
for network in (models.UNet, models.UNetPlusPlus):
    row(
        network,
        {"in_channels": 1, "num_classes": 1, "channels": [2, 2]},
        {"in_channels": WIDTH, "num_classes": WIDTH} | CHANNELS | CHOICES,
    )
row(
    models.NodeGrid,
    {"in_channels": 1, "num_classes": 1, "channels": [2, 2], "nodes": models.unet_nodes(1)},
    {"in_channels": WIDTH, "num_classes": WIDTH, "nodes": entries(NODE, models.unet_nodes(1))}
    | CHANNELS
    | CHOICES,
)
BAD_IMAGES = tensor(IMAGES) | {
    "other channels": st.integers(2, 9).map(lambda n: torch.ones(1, n, 8, 8))
}
IMAGES_FIT = {
    "images": BAD_IMAGES
    | {
        "another size": st.integers(1, 99).map(lambda n: torch.ones(1, 1, 8, 4 * n + 1)),
        "another precision": one_of([IMAGES.double(), IMAGES.half()]),
    }
}
row(lambda images: GRID(images), {"images": IMAGES}, IMAGES_FIT, "models.NodeGrid.forward")
row(
    lambda images: GRID.features(images), {"images": IMAGES}, IMAGES_FIT, "models.NodeGrid.features"
)
row(
    lambda i, j: GRID.skip_sources(i, j),
    {"i": 0, "j": 2},
    dict.fromkeys(
        "ij", TEXT | LIST | OBJECT | NOTHING | {"not there": one_of([-1, 3, 10**9, 0.5])}
    ),
    "models.NodeGrid.left",
)
LEVEL = integer(1, 2)
row(
    lambda level: GRID.prune(level),
    {"level": 1},
    {"level": LEVEL | NOTHING},
    "models.NodeGrid.prune",
)
row(analysis.count_parameters, {"model": GRID}, {"model": without(NETWORK, "another module")})
SIDE = integer(1, 2**20) | NOTHING | {"no multiple": st.integers(0, 99).map(lambda n: 4 * n + 1)}
row(
    analysis.count_multiply_adds,
    {"model": GRID, "height": 8, "width": 8},
    {"model": NETWORK, "height": SIDE, "width": SIDE},
)
LINE = integer(-(2**20), 2**20) | NOTHING
row(
    analysis.input_interval,
    {"grid": GRID, "node": (0, 1), "first": 3, "last": 3},
    {"grid": NETWORK, "node": NODE | NOTHING, "first": LINE, "last": LINE}
    | {"last": LINE | {"before first": st.integers(-99, 2)}},
)
row(
    analysis.receptive_field,
    {"grid": GRID, "node": (0, 1)},
    {"grid": NETWORK, "node": NODE, "row": integer(-32, 32) | NOTHING},
)
PREDICTED = {"level": LEVEL, "tile_size": integer(1)}
NOT_FINITE = {"not finite": one_of([IMAGES * NAN, IMAGES / 0, -IMAGES / 0])}
row(
    inference.predict,
    {"model": GRID, "images": IMAGES},
    {"model": NETWORK, "images": BAD_IMAGES | NOT_FINITE} | PREDICTED,
)
BAD_PROBABILITIES = tensor(IMAGES) | {
    "logits": one_of([IMAGES * 9 - 4]),
    "NaN": one_of([IMAGES * NAN]),
}
THRESHOLD = number(0, 1) | NOTHING
row(
    inference.to_mask,
    {"probabilities": IMAGES},
    {"probabilities": BAD_PROBABILITIES, "threshold": THRESHOLD},
)

BAD_PICTURE = picture(GREY, **{"not finite": one_of([GREY * NAN, GREY + INF])})
OVERLAID = without(
    picture(
        LABELS,
        floats=one_of([GREY]),
        negative=one_of([-LABELS]),
        **{
            "another size": one_of([LABELS[1:]]),
            "too many": one_of([np.arange(64 * 64).reshape(64, 64)]),
        },
    ),
    "nothing",
)
row(plotting.use_style, {}, {})
row(plotting.axes_or_new, {"ax": None}, {"ax": AXES})
COUNTED = (
    TEXT | NUMBERS | OBJECT | {"too few": one_of([[], ["a"]]), "too many": one_of([["a"] * 3])}
)
row(
    plotting.show_images,
    {"images": [GREY, GREY]},
    {
        "images": without(entries(BAD_PICTURE, [GREY, GREY]), "too few")
        | {"too many": one_of([[GREY] * 101])}
    }
    | {"titles": COUNTED, "columns": integer(1)}
    | {"masks": entries(OVERLAID, [LABELS, LABELS]), "ax": entries(AXES | NOTHING, [None, None])},
)
row(
    plotting.overlay_mask,
    {"image": GREY, "mask": LABELS},
    {"image": BAD_PICTURE, "mask": OVERLAID | NOTHING, "ax": AXES}
    | {"names": TEXT | NUMBERS | OBJECT | {"too few": one_of([[]])}, "alpha": number(0, 1)},
)
row(
    plotting.show_errors,
    {"image": GREY, "preds": LABELS, "target": LABELS > 0},
    {"image": BAD_PICTURE, "ax": AXES}  # many labels are one foreground
    | dict.fromkeys(("preds", "target"), without(OVERLAID | NOTHING, "too many")),
)
CELL = LIST | OBJECT | {"text": one_of(["", "x"])}
BAD_ROWS = {
    f"{column}: {name}": values.map(lambda value, column=column: [ROWS[0] | {column: value}])
    for column in ("step", "loss")
    for name, values in (CELL | NOTHING | {"NaN": one_of([NAN])}).items()
}
row(
    plotting.plot_history,
    {"history": ROWS},
    {"history": NOTHING | NUMBERS | OBJECT | LIST | BAD_ROWS, "ax": AXES},
)

row(diagrams.grid_edges, {"model": GRID}, {"model": NETWORK})
row(
    diagrams.draw_grid,
    {"model": GRID},
    {"model": NETWORK, "level": LEVEL, "labels": YES_OR_NO, "ax": AXES},
)
row(
    diagrams.draw_unet,
    {"model": GRID, "image_size": 8},
    {"model": NETWORK, "image_size": SIDE, "ax": AXES},
)

PLACE = {"index": integer(0) | NOTHING, "seed": integer(0) | NOTHING}
WORLD = {"seed": integer(0) | NOTHING, "difficulty": number(0, 1) | NOTHING}
WORLD |= {"density": number(0, 10) | NOTHING, "size": integer(32, 8192) | NOTHING}
WORLD["size"] |= {
    "three sides": one_of([(32, 32, 32)]),
    "a short side": one_of([(32, 31), (64, 0)]),
}
TRANSFORM = {"transform": CALLABLE}
TARGET = {"target": CHOICE | NOTHING}
row(data.synthetic_nuclei, {"index": 0, "size": 32}, PLACE | WORLD)
row(
    data.SyntheticNuclei,
    {"length": 1, "size": 32},
    {"length": integer(0) | NOTHING} | WORLD | TARGET | TRANSFORM,
)
INDEX = NO_NUMBER | NOTHING | {"a float": st.floats(0.1, 0.9)}
row(
    lambda index: data.SyntheticNuclei(2, size=32)[index],
    {"index": 0},
    {"index": INDEX},
    "data.SyntheticNuclei[]",
)
COLOURS = {"not finite": one_of([GREY * NAN, GREY + INF]), "booleans": one_of([GREY > 0])}
row(data.normalize, {"image": GREY}, {"image": picture(GREY, **COLOURS)})
LABEL_IMAGE = {
    "floats": one_of([GREY]),
    "negative": one_of([-LABELS]),
    "booleans": one_of([GREY > 0]),
}
row(
    data.instances_to_target,
    {"instances": LABELS, "kind": "binary"},
    {"instances": picture(LABELS, **LABEL_IMAGE), "kind": CHOICE | NOTHING},
)
row(
    data.three_class_to_instances,
    {"mask": LABELS},
    {
        "mask": picture(
            LABELS, **{"other values": one_of([LABELS + 2, LABELS - 1, GREY / 2, GREY * NAN])}
        )
    },
)
row(data.train_transform, {"crop_size": 8}, {"crop_size": integer(1, 8192) | NOTHING})
ANY_MASK = without(tensor(IMAGES[0], device=False, axes=False), "no floats")
row(
    transforms.jitter_light,
    {"image": IMAGES[0], "mask": IMAGES[0, 0]},
    {"image": tensor(IMAGES[0], device=False, axes=False), "mask": ANY_MASK},
)
row(
    data.FolderDataset,
    {"root": At("own"), "num_classes": 1},
    {"root": PATH | {"not there": one_of(["nowhere"])}, "num_classes": integer(1, 2**16) | NOTHING}
    | {"split": CHOICE | NOTHING, "ignore_index": integer(-(2**31))}
    | TRANSFORM,
)
row(
    data.read_image,
    {"path": At("own/images/a.png"), "channels": 1},
    {
        "path": PATH,
        "channels": without(NO_NUMBER, "a bool")
        | NOTHING
        | {"another number": one_of([0, 2, 4, 1.5])},
    },
)
row(
    data.NucleiDataset,
    {"root": At("archive")},
    {"root": PATH | {"not there": one_of(["nowhere"])}, "split": CHOICE | NOTHING}
    | {"modality": CHOICE}
    | TARGET
    | TRANSFORM,
)
for name, dataset in (
    ("FolderDataset", lambda made: data.FolderDataset(made / "own", num_classes=1)),
    ("NucleiDataset", lambda made: data.NucleiDataset(made / "archive")),
):
    row(
        lambda made, index, dataset=dataset: dataset(made)[index],
        {"made": At(""), "index": 0},
        {"index": INDEX},
        f"data.{name}[]",
    )
row(
    data.prepare_nuclei,
    {"root": At("archive")},
    {"root": PATH | {"not there": one_of(["nowhere"])}, "cache_dir": without(PATH, "nothing")},
)
row(
    data.nuclei_split,
    {"source": At("archive"), "split": "train"},
    {"source": PATH | {"not there": one_of(["nowhere"])}, "split": CHOICE | NOTHING}
    | {"length": integer(1, 1)}
    | TARGET,
)
row(
    data.nuclei_split,
    {"source": "synthetic"},
    {"split": CHOICE | NOTHING, "length": integer(1)} | TARGET,
    "data.splits.nuclei_split of synthetic nuclei",
)
row(data.download_nuclei, {"folder": At("archive")}, {"folder": without(PATH, "nothing")})
row(data.sample, {}, {})


def use_atomic_path(path):
    with files.atomic_path(path):
        pass


row(use_atomic_path, {"path": At("new.txt")}, {"path": PATH}, "files.atomic_path")
row(files.remove_halves, {"path": At("new.txt")}, {"path": PATH})
STORED = {"path": PATH, "model": NETWORK}
OPTIMIZER = torch.optim.SGD(GRID.parameters(), lr=0.1)
NO_OPTIMIZER = TEXT | NUMBERS | LIST | OBJECT
row(
    checkpoint.save_checkpoint,
    {"path": At("saved.safetensors"), "model": GRID, "threshold": 0.5},
    STORED
    | {"optimizer": NO_OPTIMIZER, "threshold": {"an object": one_of([object(), 1j, {1, 2}])}},
)
row(checkpoint.load_model, {"path": At("network.safetensors")}, {"path": PATH})
row(
    checkpoint.load_training,
    {"path": At("network.safetensors"), "model": GRID, "optimizer": OPTIMIZER},
    STORED | {"optimizer": NO_OPTIMIZER | NOTHING},
)
for function in (checkpoint.load_pretrained, checkpoint.pretrained_path):
    row(function, {"name": "unetpp-nuclei"}, {"name": CHOICE | NOTHING})

for function in (export.dequantized, export.to_web):
    row(function, {"model": GRID}, {"model": NETWORK})
EXPORTED = {"model": NETWORK, "threshold": number(0, 1)}
row(export.to_page, {"model": GRID, "threshold": 0.5}, EXPORTED)
row(export.export_onnx, {"path": At("net.onnx"), "model": GRID}, EXPORTED | {"path": PATH})

COUNT = integer(1) | NOTHING
row(
    training.TrainConfig,
    {"steps": 1},
    dict.fromkeys(("steps", "batch_size", "crop_size", "validate_every"), COUNT)
    | dict.fromkeys(("learning_rate", "weight_decay"), number(0) | NOTHING)
    | dict.fromkeys(("seed", "workers"), integer(0, 2**32 - 1) | NOTHING),
)
PAIRS_ARE = TEXT | NUMBERS | OBJECT | FUNCTION | NOTHING | {"empty": one_of([[], ()])}
PAIRS_ARE |= {"no pairs": one_of([[1, 2], [None], [(IMAGES,)]])}
row(
    training.TrainingStream,
    {"dataset": PAIRS, "transform": lambda image, mask: (image, mask), "seed": 0},
    {
        "dataset": without(PAIRS_ARE, "no pairs"),
        "transform": CALLABLE | NOTHING,
        "seed": integer(0, 2**32 - 1) | NOTHING,
    },
)
FITTED = {"config": TEXT | NUMBERS | LIST | OBJECT, "fabric": TEXT | NUMBERS | LIST | OBJECT}
for kinds in FITTED.values():  # what counts as not given
    kinds.update({"text": one_of(["x"]), "a number": one_of([1, 0.5]), "a list": one_of([[1]])})
    kinds["a dict"] = one_of([{"steps": 1}])
row(
    lambda out, **options: training.fit(out=out / str(time.perf_counter_ns()), **options),
    {"model": GRID, "loss": losses.DeepSupervision(losses.compound_loss), "train_set": PAIRS}
    | {"validation_set": PAIRS, "config": training.TrainConfig(steps=1, crop_size=16)}
    | {"out": At("runs"), "fabric": Fabric(accelerator="cpu", devices=1)},
    {"model": NETWORK, "loss": CALLABLE | NOTHING} | FITTED
    | dict.fromkeys(("train_set", "validation_set"), PAIRS_ARE)
    | {"resume": YES_OR_NO},
    "training.fit",
)  # fmt: skip
row(
    lambda out: training.fit(GRID, losses.compound_loss, PAIRS, PAIRS, out=out),
    {"out": None},
    {"out": PATH},
    "training.fit to a folder",
)
row(
    training.to_target,
    {"masks": MASK, "num_classes": 1},
    {"masks": {key: labels(MASK)[key] for key in ("nothing", "text", "a number", "other axes")}}
    | {"num_classes": COUNT},
)
SEGMENTED = {"num_classes": COUNT, "ignore_index": integer()}
row(
    evaluation.evaluate,
    {"segment": inference.segmenter(GRID), "dataset": PAIRS, "num_classes": 1},
    {"segment": CALLABLE | NOTHING, "dataset": PAIRS_ARE} | SEGMENTED,
)
row(
    evaluation.dataset_iou,
    {"counts": metrics.stat_scores(MASK, MASK, num_classes=1)},
    {"counts": NOTHING | TEXT | NUMBERS | LIST | OBJECT},
)
row(
    inference.segmenter,
    {"model": GRID, "threshold": 0.5},
    {"model": NETWORK, "threshold": THRESHOLD, "level": LEVEL},
)
row(evaluation.otsu_threshold, {"images": IMAGES}, {"images": tensor(IMAGES) | NOT_FINITE})
row(
    evaluation.validate, {"model": GRID, "dataset": PAIRS}, {"model": NETWORK, "dataset": PAIRS_ARE}
)
row(
    files.write_rows,
    {"path": At("rows.csv"), "rows": ROWS},
    {"path": PATH, "rows": NOTHING | TEXT | NUMBERS | OBJECT | LIST},
)
row(files.read_history, {"path": At("history.csv")}, {"path": PATH})

# Of `check` only what a learner hands over can be bad: the rest is written with the exercise.
row(
    answer.check,
    {"submission": max, "solution": max, "cases": [(1, 2)], "misconceptions": {}},
    {"submission": CALLABLE | NOTHING},
)
for name in exercises.__all__:
    row(
        getattr(exercises, name),
        {"submission": lambda *args: 0},
        {"submission": CALLABLE | NOTHING | {"a dict": one_of([{}])}},
        f"exercises.{name}",
    )

KINDS = [
    (name, key, kind) for name, row in TABLE.items() for key in row.bad for kind in row.bad[key]
]

# What has no arguments to be wrong: plain records; and what does the refusing.
RECORDS = {
    "metrics.StatScores",
    "metrics.AveragePrecision",
    "data.nuclei.Sample",
    "exercises.answer.Answer",
}
HELPERS = {"reason"}

# -- the tests -----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_figure_and_no_download(monkeypatch, made):
    monkeypatch.setattr("pooch.retrieve", lambda *a, **k: str(made / "archive.zip"))
    yield
    plt.close("all")


def arguments(name: str, made: Path, /, **changed) -> dict:
    good = TABLE[name].good | changed
    return {key: made / value if isinstance(value, At) else value for key, value in good.items()}


def refusal(call: Callable, given: dict) -> Exception:
    """The error that a call with these arguments raises, checked to be one of ours."""
    started = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            call(**given)
    except Exception as error:
        raised = error
    else:
        pytest.fail("was taken")
    seconds = time.monotonic() - started
    assert isinstance(raised, ValueError | TypeError), repr(raised)
    place = Path(traceback.extract_tb(raised.__traceback__)[-1].filename)
    signature = "keyword" in str(raised) or "argument" in str(raised)  # Python's own words
    ours = PACKAGE in place.parents or (
        isinstance(raised, TypeError) and signature and place == Path(__file__)
    )
    assert ours, f"{raised!r} comes from {place}"
    assert len(str(raised)) > 15, repr(raised)
    assert len(str(raised)) < 500, repr(raised)
    assert seconds < SLOWEST, f"took {seconds:.1f} s"
    return raised


def test_every_public_callable_is_in_the_table():
    public = {
        f"{module.__name__.removeprefix('segedu.')}.{name}"
        for module in MODULES
        for name, value in vars(module).items()
        if not name.startswith("_") and name not in HELPERS
        if inspect.isfunction(value) or inspect.isclass(value)
        if value.__module__ == module.__name__
    } | {f"exercises.{name}" for name in exercises.__all__}
    assert public - RECORDS <= TABLE.keys(), sorted(public - RECORDS - TABLE.keys())


def test_there_are_enough_kinds():
    print(f"{len(KINDS)} kinds of bad argument of {len(TABLE)} callables")
    assert len(KINDS) >= 200


@pytest.mark.parametrize("name", [name for name in TABLE if name != "training.fit to a folder"])
def test_good_arguments_are_taken(name, made):
    TABLE[name].call(**arguments(name, made))


@pytest.mark.parametrize(("name", "argument", "kind"), KINDS)
def test_bad_arguments_are_refused(name, argument, kind, made):
    @settings(max_examples=8, deadline=None, derandomize=True, database=None)
    @given(bad=TABLE[name].bad[argument][kind])
    def refused(bad):
        error = refusal(TABLE[name].call, arguments(name, made, **{argument: bad}))
        assert any(word in str(error) for word in ("got", argument, "nowhere")), str(error)

    refused()


@pytest.mark.parametrize("name", [name for name in TABLE if not name.endswith("save_checkpoint")])
def test_unknown_arguments_are_refused(name, made):
    error = refusal(TABLE[name].call, arguments(name, made, nonsense=1))
    assert isinstance(error, TypeError)
    assert "nonsense" in str(error)


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if len(row.good) > 0])
def test_missing_arguments_are_named(name, made):
    given = arguments(name, made)
    for key in given:
        try:
            inspect.signature(TABLE[name].call).bind(**{k: v for k, v in given.items() if k != key})
        except TypeError:
            rest = {k: v for k, v in given.items() if k != key}
            assert key in str(refusal(TABLE[name].call, rest))
