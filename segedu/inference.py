"""From an image of any size to probabilities, and from probabilities to a mask."""

import itertools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .analysis import reach
from .checks import check_integer, check_number, check_range, check_tensor
from .models import NodeGrid

TILE_SIZE = 512  # pixels


def predict(
    model: NodeGrid, images: Tensor, *, level: int | None = None, tile_size: int | None = TILE_SIZE
) -> Tensor:
    """Class probabilities for images of any size.

    Parameters
    ----------
    images : (N, C, H, W) float, normalised, on any device. They stay there: beyond them and
        the answer, predict takes the memory of one tile.
    level : None for all that the model has (with deep supervision the mean of its heads'
        probabilities, the papers' accurate mode), or the one head to use (the fast mode).
    tile_size : images with a longer side are cut into tiles of this size (rounded up to a multiple
        of 2^depth), which see a margin as wide as the network's reach: the answer is that of the
        whole image within rounding. None runs the image whole.

    Returns (N, num_classes, H, W) on the model's device: sigmoid for one class, softmax for
    several. The model is left as it was, but for the layout of its weights, channels_last. Raises
    ValueError for a shape that the model does not take, for NaN or infinity, and for a model with
    group norm, whose statistics span the image, on an image larger than a tile.

    >>> from segedu import UNet
    >>> predict(UNet(1, 3), torch.rand(1, 1, 37, 21)).shape
    torch.Size([1, 3, 37, 21])
    """
    check_range("images", check_tensor("images", images, "(N, C, H, W)"))
    if level is not None:
        model = model.prune(level)
    count, _, height, width = images.shape
    longest, step = max(height, width), 2**model.depth
    tile = longest if tile_size is None else check_integer("tile_size", tile_size, 1)
    halo = _halo(model) if longest > tile else 0
    tile = math.ceil(tile / step) * step
    batch = max(tile**2 // (height * width), 1)  # small images together, as many as fill a tile
    model.to(memory_format=torch.channels_last)  # a pixel's channels side by side: faster
    weight = next(model.parameters())
    probabilities = torch.empty(
        (count, model.num_classes, height, width), device=weight.device, dtype=torch.float32
    )
    starts = range(0, count, batch), range(0, height, tile), range(0, width, tile)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.inference_mode():
            for n, top, left in itertools.product(*starts):
                y, x = max(top - halo, 0), max(left - halo, 0)
                patch = images[n : n + batch, :, y : top + tile + halo, x : left + tile + halo]
                margin = (0, -patch.shape[3] % step, 0, -patch.shape[2] % step)
                patch = F.pad(patch.to(weight), margin, mode="replicate")
                answer = _probabilities(model(patch))[..., top - y :, left - x :]
                view = probabilities[n : n + batch, :, top : top + tile, left : left + tile]
                view.copy_(answer[..., : view.shape[-2], : view.shape[-1]])
    finally:
        for module, training in modes.items():  # a part may be frozen in eval mode
            module.training = training
    return check_range("probabilities", probabilities, hint=": the weights are broken")


def to_mask(probabilities: Tensor, threshold: float = 0.5) -> Tensor:
    """Probabilities (N, K, H, W) as a mask (N, H, W) of class indices, int64.

    One class: 1 where the probability exceeds the threshold. Several: the most probable class.

    >>> to_mask(torch.tensor([[[[0.2, 0.5, 0.8]]]]))
    tensor([[[0, 0, 1]]])
    """
    check_number("threshold", threshold, 0, 1)
    check_tensor("probabilities", probabilities, "(N, K, H, W)")
    check_range("probabilities", probabilities, -1e-6, 1 + 1e-6, ": these may be logits")
    if probabilities.shape[1] == 1:
        return (probabilities[:, 0] > threshold).long()
    return probabilities.argmax(dim=1)


def segmenter(
    model: NodeGrid, *, threshold: float | None = None, level: int | None = None
) -> Callable[[Tensor], Tensor]:
    """A function from images (N, C, H, W) to masks (N, H, W), made from a network.

    The threshold is the network's own, `model.threshold`, unless another one is given; `level` as
    in `predict`.

    >>> from segedu import load_pretrained
    >>> model, images = load_pretrained(), torch.rand(1, 1, 30, 20)
    >>> torch.equal(segmenter(model)(images), to_mask(predict(model, images), model.threshold))
    True
    """
    model = model if level is None else model.prune(level)
    threshold = model.threshold if threshold is None else check_number("threshold", threshold, 0, 1)
    return lambda images: to_mask(predict(model, images), threshold)


def _probabilities(logits: Tensor | list[Tensor]) -> Tensor:
    """(N, K, H, W) probabilities; the mean over the heads for a list of logits."""
    if isinstance(logits, list):
        return torch.stack([_probabilities(head) for head in logits]).mean(dim=0)
    return logits.float().sigmoid() if logits.shape[1] == 1 else logits.float().softmax(dim=1)


def _halo(model: NodeGrid) -> int:
    """The farthest that a pixel of the last head sees, and so of any, rounded up to the pooling."""
    if model.norm == "group":
        raise ValueError(
            "a network with group norm cannot be run in tiles, since its statistics span the "
            "image: give smaller images, or tile_size=None to predict()"
        )
    step = 2**model.depth
    return math.ceil(reach(model) / step) * step
