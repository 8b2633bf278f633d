"""A network that learns in the reader's browser."""

import functools
import itertools
import zlib

import numpy as np
import torch
from traitlets import Dict

from ..analysis import count_parameters
from ..data import normalize, synthetic_nuclei
from ..evaluation import dataset_iou, evaluate, otsu_threshold
from ..export import to_base64
from ..metrics import precision, recall
from ..models import UNet, UNetPlusPlus
from .base import Choice, Explorer, Place, Slider

SIDE = 48  # pixels of a crop
LEAST = 0.05  # the part of a crop that is foreground: nearly empty crops teach little
TRAINING, HELD_OUT = 256, 32  # crops
WHITE = 31  # grey levels above black: finer ones would be noise, and double the page
BATCH = 4  # crops a step: with 8 the first good mask takes nearly twice as long
DECAY = 0.01
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03)
COUNTS = (4, 16, 64, 128, TRAINING)  # of training crops
NETWORKS = {
    "U-Net 4-8-16": (UNet, (4, 8, 16)),
    "U-Net 4-8-16-32": (UNet, (4, 8, 16, 32)),
    "U-Net++ 4-8-16": (UNetPlusPlus, (4, 8, 16)),
    "U-Net++ 4-8-16-32": (UNetPlusPlus, (4, 8, 16, 32)),
    "U-Net++ 2-4-8-16-32": (UNetPlusPlus, (2, 4, 8, 16, 32)),
}
LOSSES = {
    "bce": "BCE",
    "focal": "focal",
    "dice": "Dice",
    "bce + dice": "BCE + Dice",
    "tversky": "Tversky",
}
ENGINE = "batchnorm backward losses optimizer metrics random trainer worker"
VIEW = "run settings controls pictures curves numbers words challenges"


@functools.cache
def training_crops() -> tuple[np.ndarray, np.ndarray]:
    """The lab's crops: grey levels 0 to 31 and masks, (288, 48, 48) uint8 each, and bool.

    The last 32 are held out. They are synthetic nuclei as `SyntheticNuclei` normalises them, cut
    off below 0 and above 1, and rounded; those with less than 5 % foreground are left out.

    >>> grey, masks = training_crops()
    >>> grey.shape, int(grey.max()), masks.dtype
    ((288, 48, 48), 31, dtype('bool'))
    """
    pictures = (synthetic_nuclei(index, size=SIDE) for index in itertools.count())
    pairs = ((grey, instances > 0) for grey, instances in pictures)
    full = ((normalize(grey)[0].numpy(), mask) for grey, mask in pairs if mask.mean() >= LEAST)
    images, masks = map(np.stack, zip(*itertools.islice(full, TRAINING + HELD_OUT), strict=True))
    return np.rint(images.clip(0, 1) * WHITE).astype(np.uint8), masks


@functools.cache
def otsus_scores() -> dict[str, float]:
    """What Otsu's threshold, found anew for each crop, reaches on the held-out crops.

    >>> round(otsus_scores()["iou"], 2)
    0.8
    """
    grey, masks = training_crops()
    images = torch.tensor(grey[-HELD_OUT:, None]) / WHITE
    target = torch.tensor(masks[-HELD_OUT:]).long()
    counts = evaluate(otsu_threshold, zip(images, target, strict=True), num_classes=1)
    options = {"average": "set", "absent": 1.0}
    return {
        "iou": dataset_iou(counts),
        "precision": precision(*counts, **options),
        "recall": recall(*counts, **options),
    }


class NumberChoice(Choice):
    """A choice of numbers: 0.003 is 0.003, whichever object it is."""

    def validate(self, explorer: Explorer, value):
        equal = [option for option in self.options if option == value]
        return super().validate(explorer, *equal or [value])


class Settings(Place):
    """What a training is set to, as whole numbers, or () for none: see `TrainingLab.kept`."""

    def __init__(self, most: tuple[int, ...]):
        ends = {(), (0,) * len(most), most}
        super().__init__((), ends, f"be () or {len(most)} whole numbers, at most {most}")
        self.largest = most

    def validate(self, explorer: Explorer, value) -> tuple[int, ...]:
        numbers = tuple(value)
        isin = len(numbers) == len(self.largest) and all(
            0 <= number <= most for number, most in zip(numbers, self.largest, strict=True)
        )
        return numbers if isin else super().validate(explorer, value)


class TrainingLab(Explorer):
    """A network that learns while you watch, in the page, without Python and without a server.

    It trains on up to 256 synthetic crops of 48 x 48 pixels, four a step, with AdamW, and is
    measured on 32 others, beside Otsu's threshold. Two settings can train against each other from
    one start. A change of network, loss, learning rate, crops, flips or seed trains anew; the
    threshold takes effect at once, and is the first one again when a new training begins.

    Parameters
    ----------
    network : "U-Net 4-8-16" or "U-Net 4-8-16-32", with these channels in each row, or "U-Net++
        4-8-16", "U-Net++ 4-8-16-32" or "U-Net++ 2-4-8-16-32", with deep supervision.
    loss : "bce", "focal", "dice", "bce + dice" or "tversky", see `segedu.losses`.
    gamma : of the focal loss, 0 to 5.
    alpha : weight of the foreground in the focal loss, of false positives in Tversky's, where
        false negatives have 1 - alpha; 0 to 1.
    rate : the learning rate, 0.0003, 0.001, 0.003, 0.01 or 0.03.
    crops : how many of the crops are used for training, 4, 16, 64, 128 or 256.
    flips : True or False, whether crops are turned over at random.
    seed : 0 to 9, of the first weights and the order of the crops.
    threshold : a pixel is foreground where its probability is higher, 0.05 to 0.95.
    kept : the settings that the others train against, as the figure keeps them: for network, loss,
        rate, crops and flips the number of the option, for gamma and alpha tenths and twentieths;
        () for none.

    Raises ValueError for a value that does not exist.

    >>> TrainingLab(loss="focal", gamma=2).alpha
    0.5
    """

    needs = (
        *("network.js", "kinds.js", "masks.js", "masks.css"),
        *(f"engine/{name}.js" for name in ENGINE.split()),
        *(f"lab_{name}.js" for name in VIEW.split()),
    )
    name = "lab"
    alt = (
        "Crops of synthetic nuclei, their true masks, and the probabilities and masks of "
        "a network before its first training step, with empty plots of its IoU and its loss."
    )
    largest_page = 500_000
    network = Choice(
        "U-Net 4-8-16", {name: name for name in NETWORKS}, "network, channels per level"
    )
    loss = Choice("bce + dice", LOSSES, "loss")
    gamma = Slider(2.0, 0.0, 5.0, 0.1, "γ (focal)")
    alpha = Slider(0.5, 0.0, 1.0, 0.05, "α (focal, Tversky)")
    rate = NumberChoice(0.01, {rate: f"{rate}" for rate in RATES}, "learning rate")
    crops = NumberChoice(TRAINING, {n: f"{n}" for n in COUNTS}, "training crops")
    flips = Choice(True, {True: "on", False: "off"}, "random flips")
    seed = Slider(1, 0, 9, 1, "seed")
    threshold = Slider(0.5, 0.05, 0.95, 0.05, "threshold")
    kept = Settings((len(NETWORKS) - 1, len(LOSSES) - 1, 50, 20, len(RATES) - 1, 4, 1, 9))
    data = Dict().tag(sync=True)

    def __init__(self, **values):
        grey, masks = training_crops()
        data = {
            "batch": BATCH,
            "decay": DECAY,
            "names": list(NETWORKS),
            "networks": [_describe(kind, channels) for kind, channels in NETWORKS.values()],
            "losses": list(LOSSES),
            "titles": list(LOSSES.values()),
            "rates": list(RATES),
            "counts": list(COUNTS),
            "otsu": otsus_scores(),
            "foreground": masks[:-HELD_OUT].mean().item(),
            "pack": {
                "side": SIDE,
                "white": WHITE,
                "heldOut": HELD_OUT,
                "pixels": _deflated(grey),
                "truth": _deflated(np.packbits(masks)),
            },
        }
        super().__init__(data=data, **values)


def _describe(kind: type, channels: tuple[int, ...]) -> dict:
    with torch.device("meta"):  # the grid, no weights
        model = kind(1, 1, channels=channels, deep_supervision=kind is UNetPlusPlus)
    return {
        "channels": list(model.channels),
        "nodes": model.nodes,
        "levels": model.levels,
        "parameters": count_parameters(model),
    }


def _deflated(values: np.ndarray) -> str:
    return to_base64(zlib.compress(values.tobytes(), level=9))
