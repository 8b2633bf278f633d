"""What learners really get wrong is refused by the package itself, in a sentence.

The table holds a good call of each function and, for its arguments, the values that are refused.
Files, plots and exercises test their refusals in files of their own.
"""

import functools
import inspect
import re
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

import segedu
from segedu import UNet, UNetPlusPlus, analysis, checkpoint, data, evaluation, inference, training
from segedu import losses as L
from segedu import metrics as M
from segedu.models import ConvBlock, NodeGrid, unet_nodes

PACKAGE = Path(segedu.__file__).parent
NAN, INF = float("nan"), float("inf")

# -- good values -------------------------------------------------------------------------------

torch.manual_seed(0)
ONE, THREE = torch.randn(2, 1, 4, 4), torch.randn(2, 3, 4, 4)
BINARY, CLASSES = (ONE > 0).float(), THREE.argmax(dim=1)
MASK = BINARY[:, 0].long()
GRID = UNetPlusPlus(1, 1, channels=(2, 2, 2), deep_supervision=True).eval()
GRID_3 = UNet(1, 3, channels=(2, 2, 2)).eval()
IMAGES = torch.rand(1, 1, 8, 8)
PAIRS = [(torch.rand(1, 32, 32), (torch.rand(32, 32) > 0.5).long()) for _ in range(2)]
COUNTS = {name: torch.tensor([[3], [1]]) for name in ("tp", "fp", "fn")}

# -- bad values, by kind -----------------------------------------------------------------------

CHOICE = {"another word": "Mean", "a number": 1, "nothing": None}


def number(low=-INF, high=INF) -> dict:
    kinds = {"text": "1", "NaN": NAN, "infinity": INF, "two numbers": [1.0, 2.0]}
    kinds |= {"too small": low - 1e-6} if low > -INF else {}
    return kinds | ({"too large": high + 1e-6} if high < INF else {})


def integer(least: int) -> dict:
    return {"text": "1", "a fraction": 1.5, "a bool": True, "too small": least - 1}


def floats(good) -> dict:
    """What cannot stand for `good`, a tensor of floats."""
    return {"an array": good.numpy(), "a list": [1.0], "integers": good.long(), "one less": good[0],
            "one more": good[None], "empty": good[..., :0]}  # fmt: skip


def images(good) -> dict:
    values = (NAN, INF, -INF)
    return floats(good) | {f"a {x}": good.masked_fill(good == good.max(), x) for x in values}


def target(good, classes: int) -> dict:
    """What cannot stand for the target of the losses."""
    kinds = {"narrower": good[..., :-1], "one less": good[0], "fewer images": good[:1]}
    kinds |= {"below 0": good - 1, "ignored": good.masked_fill(good > 0, 255)}
    if classes == 1:
        return kinds | {"NaN": good * NAN, "beyond 1": good * 1.001, "no channel": good[:, 0]}
    one_hot = torch.eye(classes)[good].movedim(-1, 1)
    return kinds | {"floats": good.float(), "one-hot": one_hot, "a class too many": good + classes}


def labels(good) -> dict:
    """What cannot stand for the masks of the metrics."""
    return {"floats": good.float(), "an array of floats": good.numpy() / 1, "a file": "mask.png",
            "narrower": good[..., :-1], "one less": good[0], "negative": good - 1,
            "empty": good[..., :0]}  # fmt: skip


# -- the table ---------------------------------------------------------------------------------


class Row(NamedTuple):
    call: Callable
    good: dict
    bad: dict[str, dict]  # of each argument, the refused values by kind


TABLE: dict[str, Row] = {}


def row(call: Callable, good: dict, bad: dict[str, dict], more: str = "") -> None:
    TABLE[f"{call.__module__.removeprefix('segedu.')}.{call.__qualname__}{more}"] = Row(
        call, good, bad
    )


def loss_row(loss: Callable, classes: int, bad: dict, **good) -> None:
    logits, truth = (ONE, BINARY) if classes == 1 else (THREE, CLASSES)
    bad = {"logits": floats(logits), "target": target(truth, classes)} | bad
    row(loss, {"logits": logits, "target": truth} | good, bad, f", {classes} classes")


REDUCTION = {"reduction": CHOICE}
SMOOTH = {"smooth": number(1e-12) | {"zero": 0}} | REDUCTION
WEIGHTS = {"too few": torch.ones(2), "negative": -torch.ones(3), "NaN": NAN * torch.ones(3)}
loss_row(L.cross_entropy, 3, {"weight": WEIGHTS} | REDUCTION)
loss_row(L.binary_cross_entropy, 1, REDUCTION)
loss_row(L.focal_loss, 1, {"gamma": number(0), "alpha": number(0, 1)} | REDUCTION)
loss_row(L.focal_loss, 3, {"alpha": WEIGHTS | {"one number": 0.5}})
loss_row(L.tversky_loss, 1, {"alpha": number(0), "beta": number(0)} | SMOOTH, alpha=0.3, beta=0.7)
loss_row(L.dice_loss, 3, SMOOTH)
loss_row(L.jaccard_loss, 1, SMOOTH)
loss_row(L.compound_loss, 1, {})
row(
    L.deep_supervision,
    {"loss": L.compound_loss, "logits": [ONE, ONE], "target": BINARY},
    {"target": target(BINARY, 1), "weights": {"too few": [1], "negative": [2, -1], "zero": [0, 0]}},
)
row(
    L.class_balance,
    {"target": BINARY, "ignore_index": 255},
    {"target": {"beyond 1": 1.001 * BINARY, "below 0": BINARY - 1, "ignored": BINARY * 0 + 255}},
)

for function, least in ((M.stat_scores, 1), (M.confusion_matrix, 2)):
    bad = labels(MASK) | {"a class too many": MASK + 1}
    row(
        function,
        {"preds": MASK, "target": MASK.numpy(), "num_classes": 2},
        {"preds": bad, "target": bad, "num_classes": integer(least)},
    )
TABLE_OF_COUNTS = {"more images": torch.ones(3, 1), "flat": torch.ones(2)}
for function in (M.iou, M.dice, M.precision, M.recall):
    row(
        function,
        COUNTS | {"average": "class", "absent": "skip"},
        dict.fromkeys(COUNTS, TABLE_OF_COUNTS) | {"average": CHOICE, "absent": number(0, 1)},
    )
row(
    M.mean_iou,
    {"matrix": torch.ones(3, 3), "absent": 1.0},
    {"matrix": {"one class": torch.ones(1, 1), "not square": torch.ones(3, 2)}}
    | {"absent": number(0, 1)},
)
row(
    M.average_precision,
    {"pred_labels": MASK[0], "true_labels": MASK[1]},
    dict.fromkeys(("pred_labels", "true_labels"), labels(MASK[0]))
    | {"thresholds": {"too small": [0.49], "one": [0.5, 1.0]}},
)

bad = labels(MASK) | {"a class too many": MASK + 1}
row(
    M.surface_dice,
    {"preds": MASK, "target": MASK.numpy(), "num_classes": 2, "tolerance": 1}
    | {"average": "class", "absent": "skip"},
    {"preds": bad, "target": bad, "num_classes": integer(1), "tolerance": number(0)}
    | {"average": CHOICE, "absent": number(0, 1)},
)

SIDES = {"no multiple of 4": torch.rand(1, 1, 8, 10), "colours": torch.rand(1, 3, 8, 8)}
LEVEL = {"below the last": 3, "the encoder": 0, "text": "1"}
NODE = {"too deep": (5, 5), "negative": (-1, 0), "text": "0"}
row(ConvBlock, {"in_channels": 1, "out_channels": 2}, {"norm": CHOICE})
row(
    NodeGrid,
    {"in_channels": 1, "num_classes": 1, "channels": (2, 2), "nodes": unet_nodes(1)},
    dict.fromkeys(("skips", "up", "norm"), CHOICE),
)
row(GRID.forward, {"images": IMAGES}, {"images": SIDES | {"one less": IMAGES[0]}})
row(GRID.prune, {"level": 1}, {"level": LEVEL})
row(analysis.input_interval, {"grid": GRID, "node": (0, 1), "first": 3, "last": 3}, {"node": NODE})
row(analysis.receptive_field, {"grid": GRID}, {"node": NODE})

THRESHOLD = {"threshold": number(0, 1)}
row(
    inference.predict,
    {"model": GRID, "images": IMAGES},
    {"images": images(IMAGES) | {"colours": SIDES["colours"]}}
    | {"level": LEVEL, "tile_size": integer(1)},
)
row(
    inference.to_mask,
    {"probabilities": IMAGES},
    {"probabilities": images(IMAGES) | {"logits": 9 * IMAGES - 4}} | THRESHOLD,
)
row(inference.segmenter, {"model": GRID}, {"level": LEVEL} | THRESHOLD)

DATASET = {"empty": [], "masks of 255": [(image, 255 * mask) for image, mask in PAIRS]}
row(
    evaluation.evaluate,
    {"segment": inference.segmenter(GRID), "dataset": PAIRS, "num_classes": 1},
    {"dataset": DATASET},
)
for model in (GRID, GRID_3):
    more = f", {model.num_classes} classes"
    row(evaluation.validate, {"model": model, "dataset": PAIRS}, {"dataset": DATASET}, more)
row(evaluation.otsu_threshold, {"images": IMAGES}, {"images": images(IMAGES)})


@functools.wraps(training.fit)
def fit(**given):
    with tempfile.TemporaryDirectory() as out:
        training.fit(**given, out=out)


CONFIG = training.TrainConfig(steps=1, batch_size=2, crop_size=16)
row(
    fit,
    {"model": UNet(1, 1, channels=(2, 2, 2)), "loss": L.compound_loss, "config": CONFIG}
    | {"train_set": PAIRS, "validation_set": PAIRS},
    {"config": {"a crop that does not pool": training.TrainConfig(steps=1, crop_size=18)}}
    | dict.fromkeys(("train_set", "validation_set"), DATASET),
)
row(
    training.TrainConfig,
    {"steps": 1},
    dict.fromkeys(("steps", "batch_size", "crop_size", "validate_every"), integer(1))
    | dict.fromkeys(("seed", "workers"), integer(0))
    | dict.fromkeys(("learning_rate", "weight_decay"), number(0)),
)
row(
    training.to_target,
    {"masks": MASK, "num_classes": 1},
    {"masks": {"an array": MASK.numpy(), "one less": MASK[0], "one more": BINARY}},
)
row(checkpoint.load_pretrained, {"name": "unetpp-nuclei-tiny"}, {"name": CHOICE})

PICTURE, LABELS = np.eye(16), np.eye(16, dtype=int)
PICTURES = {"channels first": np.zeros((3, 16, 16)), "four channels": np.zeros((4, 4, 4)),
            "flat": np.zeros(4), "empty": np.zeros((0, 4)), "bools": PICTURE > 0,
            "complex": PICTURE * 1j, "text": np.full((4, 4), "a"),
            "all NaN": PICTURE * NAN, "infinite": PICTURE + INF,
            "-infinite": PICTURE - INF}  # fmt: skip
PERCENTILES = {"turned round": (99, 1), "equal": (5, 5), "below 0": (-1, 99), "beyond": (1, 101),
               "NaN": (1, NAN), "one": (1,), "three": (1, 50, 99)}  # fmt: skip
row(data.normalize, {"image": PICTURE}, {"image": PICTURES, "percentiles": PERCENTILES})
row(
    data.instances_to_target,
    {"instances": LABELS, "kind": "binary"},
    {"instances": {"floats": PICTURE, "negative": -LABELS, "one more": LABELS[None]}}
    | {"kind": CHOICE},
)
row(
    data.three_class_to_instances,
    {"mask": LABELS},
    {"mask": {"a fourth": LABELS + 2, "one more": LABELS[None], "NaN": PICTURE * NAN}},
)
row(data.train_transform, {"crop_size": 8}, {"crop_size": integer(1) | {"two sides": (8, 8)}})
SYNTHETIC = {"size": integer(32) | {"three sides": (64, 64, 64)}, "seed": integer(0)}
SYNTHETIC |= {"difficulty": number(0, 1), "density": number(0)}
row(data.synthetic_nuclei, {"index": 0}, {"index": integer(0)} | SYNTHETIC)
row(data.SyntheticNuclei, {"length": 1}, {"length": integer(0), "target": CHOICE} | SYNTHETIC)

# -- the tests ---------------------------------------------------------------------------------


def test_every_loss_and_every_metric_is_in_the_table():
    for module in (L, M):
        name = module.__name__.removeprefix("segedu.")
        own = [f for f in vars(module).values() if getattr(f, "__module__", "") == module.__name__]
        functions = {f.__name__ for f in own if inspect.isfunction(f) and f.__name__[0] != "_"}
        assert functions == {
            key.split(".")[1].split(",")[0] for key in TABLE if key.startswith(name)
        }


# What a message may name instead of the argument.
WORDS = dict.fromkeys(("dataset", "train_set", "validation_set"), "data set|target|mask|_set")
WORDS["config"] = "crop_size"


def problem(call: Callable, given: dict, argument: str) -> str | None:
    """What is wrong with how a call refuses its arguments, if anything is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            call(**given)
    except Exception as error:
        said, place = str(error), traceback.extract_tb(error.__traceback__)[-1].filename
        is_own = isinstance(error, ValueError | TypeError) and PACKAGE in Path(place).parents
        is_named = re.search(WORDS.get(argument, argument.rstrip("s")), said)
        return None if is_own and is_named and 15 < len(said) < 500 else repr(error)
    return "was taken"


@pytest.mark.parametrize("name", TABLE)
def test_a_good_call_is_taken_and_bad_arguments_are_refused(name):
    call, good, bad = TABLE[name]
    call(**good)
    problems = {
        f"{argument}, {kind}": problem(call, good | {argument: value}, argument)
        for argument, kinds in bad.items()
        for kind, value in kinds.items()
    }
    assert {key: said for key, said in problems.items() if said} == {}


def test_a_call_that_does_not_refuse_is_found_out():
    assert problem(dict, {"value": 1}, "value") == "was taken"
    assert "RuntimeError" in problem(torch.zeros, {"size": (-1,)}, "size")  # in torch's own words
    assert problem(L.focal_loss, {"logits": ONE, "target": THREE}, "gamma")  # names another one
