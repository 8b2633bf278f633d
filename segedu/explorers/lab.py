"""A network that learns in the reader's browser."""

import functools
import zlib

import numpy as np
import torch
from traitlets import Dict

from ..analysis import count_parameters
from ..data import SyntheticNuclei
from ..export import to_base64
from ..models import UNet, UNetPlusPlus
from .base import Choice, Explorer, Slider

SIDE = 64  # pixels of a crop
TRAINING, HELD_OUT = 256, 32  # crops
WHITE = 31  # grey levels above black: finer ones would be noise, and double the page
BATCH = 8  # crops a step
DECAY = 0.01
RATES = (0.0003, 0.001, 0.003, 0.01)
NETWORKS = {
    "U-Net 4-8-16": (UNet, (4, 8, 16)),
    "U-Net 4-8-16-32": (UNet, (4, 8, 16, 32)),
    "U-Net++ 4-8-16": (UNetPlusPlus, (4, 8, 16)),
    "U-Net++ 4-8-16-32": (UNetPlusPlus, (4, 8, 16, 32)),
}
LOSSES = {
    "bce": "BCE",
    "focal": "focal",
    "dice": "Dice",
    "bce + dice": "BCE + Dice",
    "tversky": "Tversky",
}
ENGINE = "batchnorm backward losses optimizer metrics random trainer worker"


@functools.cache
def training_crops() -> tuple[np.ndarray, np.ndarray]:
    """The lab's crops: grey levels 0 to 31 and masks, (288, 64, 64) uint8 each, and bool.

    The last 32 are held out. They are synthetic nuclei as `SyntheticNuclei` normalises them, cut
    off below 0 and above 1, and rounded.

    >>> grey, masks = training_crops()
    >>> grey.shape, int(grey.max()), masks.dtype
    ((288, 64, 64), 31, dtype('bool'))
    """
    dataset = SyntheticNuclei(TRAINING + HELD_OUT, size=SIDE)
    pairs = [(image[0].numpy(), mask.numpy() > 0) for image, mask in dataset]
    images, masks = map(np.stack, zip(*pairs, strict=True))
    return np.rint(images.clip(0, 1) * WHITE).astype(np.uint8), masks


class NumberChoice(Choice):
    """A choice of numbers: 0.003 is 0.003, whichever object it is."""

    def validate(self, explorer: Explorer, value):
        equal = [option for option in self.options if option == value]
        return super().validate(explorer, *equal or [value])


class TrainingLab(Explorer):
    """A network that learns while you watch, in the page, without Python and without a server.

    It trains on 256 synthetic crops of 64 x 64 pixels, eight a step, with AdamW, and is measured on
    32 others. Network, loss, learning rate, crops, flips and seed take effect when the training
    starts over; the threshold at once, without training again.

    Parameters
    ----------
    network : "U-Net 4-8-16" or "U-Net 4-8-16-32", with these channels in each row, or the same as
        "U-Net++ ...", with deep supervision.
    loss : "bce", "focal", "dice", "bce + dice" or "tversky", see `segedu.losses`.
    gamma : of the focal loss, 0 to 5.
    alpha : weight of the foreground in the focal loss, of false positives in Tversky's, where
        false negatives have 1 - alpha; 0 to 1.
    rate : the learning rate, 0.0003, 0.001, 0.003 or 0.01.
    crops : how many of the crops are used for training, 4, 16, 64 or 256.
    flips : True or False, whether crops are turned over at random.
    seed : 0 to 9, of the first weights and the order of the crops.
    threshold : a pixel is foreground where its probability is higher, 0.05 to 0.95.

    Raises ValueError for a value that does not exist.

    >>> TrainingLab(loss="focal", gamma=2).alpha
    0.5
    """

    needs = ("network.js", *(f"engine/{name}.js" for name in ENGINE.split()))
    name = "lab"
    alt = (
        "Crops of synthetic nuclei, their true masks, and the probabilities and masks of "
        "a network before its first training step."
    )
    largest_page = 500_000
    network = Choice("U-Net 4-8-16", {name: name for name in NETWORKS}, "network")
    loss = Choice("dice", LOSSES, "loss")
    gamma = Slider(2.0, 0.0, 5.0, 0.1, "gamma (focal)")
    alpha = Slider(0.5, 0.0, 1.0, 0.05, "alpha (focal, Tversky)")
    rate = NumberChoice(0.01, {rate: f"{rate}" for rate in RATES}, "learning rate")
    crops = NumberChoice(TRAINING, {n: f"{n}" for n in (4, 16, 64, TRAINING)}, "training crops")
    flips = Choice(True, {True: "on", False: "off"}, "flips")
    seed = Slider(0, 0, 9, 1, "seed")
    threshold = Slider(0.5, 0.05, 0.95, 0.05, "threshold")
    data = Dict().tag(sync=True)

    def __init__(self, **values):
        grey, masks = training_crops()
        data = {
            "batch": BATCH,
            "decay": DECAY,
            "networks": [_describe(kind, channels) for kind, channels in NETWORKS.values()],
            "losses": list(LOSSES),
            "rates": list(type(self).rate.options),
            "counts": list(type(self).crops.options),
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
