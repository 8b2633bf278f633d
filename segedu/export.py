"""A network in other forms: small enough for a web page, and as ONNX for other programs.

A page gets whole numbers of 8 bits in place of the weights, each output channel of a convolution
with a scale of its own: `weight = scale * q` with q from -127 to 127 (Jacob et al. 2018, arXiv
1712.05877, with a zero point of 0). The normalisation after a convolution is one more factor and a
shift for each channel, and is folded into the two.
"""

import base64
import copy
import os

import numpy as np
import torch
from torch import Tensor, nn

from .checks import check_number, check_path, check_type
from .files import atomic_path
from .models import NodeGrid

OPSET = 18  # of ONNX: the first with which resizing is defined as in torch


def _quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (O, ...) as integers of the same shape (int8) and a scale for each of O (float32).

    >>> q, scale = _quantize(torch.tensor([[0.5, -1.27], [0.0, 0.0]]))
    >>> q.tolist(), scale.tolist()
    ([[50, -127], [0, 0]], [0.009999999776482582, 1.0])
    """
    largest = weight.detach().float().abs().flatten(1).amax(dim=1)
    scale = torch.where(largest > 0, largest / 127, 1.0)
    return (weight.detach() / _per_channel(scale, weight)).round().to(torch.int8), scale


def dequantized(model: NodeGrid) -> NodeGrid:
    """A copy that computes what a page computes: every weight of a convolution is scale * q.

    >>> from segedu import UNet
    >>> model = UNet(1, 1, channels=(4, 8))
    >>> error = (dequantized(model).blocks["0_0"][0].weight - model.blocks["0_0"][0].weight).abs()
    >>> bool(error.max() <= model.blocks["0_0"][0].weight.abs().max() / 254 + 1e-6)
    True
    """
    model = copy.deepcopy(check_type("model", model, NodeGrid))
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                q, scale = _quantize(layer.weight)
                layer.weight.copy_(q * _per_channel(scale, layer.weight))
    return model


def to_web(model: NodeGrid) -> dict:
    """What `network.js` loads: the grid, and its weights as text.

    "weights" is base64 of int8: of each node in the order of `model.nodes` the two convolutions,
    (out, in, 3, 3), and then of each head (1, channels[0], 1, 1). "numbers" is base64 of float32:
    for each of these convolutions the scales of its output channels, then their shifts.

    Raises
    ------
    ValueError : for a network with several classes or image channels, group norm, transposed
        convolutions or part of the skips, which the page's code leaves out.

    Examples
    --------
    >>> from segedu import UNet
    >>> web = to_web(UNet(1, 1, channels=(4, 8)))
    >>> web["nodes"], web["levels"]
    ([(0, 0), (1, 0), (0, 1)], [1])
    """
    check_type("model", model, NodeGrid)
    wanted = {"in_channels": 1, "num_classes": 1, "skips": "all", "up": "bilinear", "norm": "batch"}
    got = {name: getattr(model, name) for name in wanted}
    if got != wanted:
        raise ValueError(f"a web page runs networks with {wanted}, got {got}")
    weights, numbers = [], []
    for i, j in model.nodes:
        first, first_norm, _, second, second_norm, _ = model.blocks[f"{i}_{j}"]
        for layer, norm in ((first, first_norm), (second, second_norm)):
            q, scale = _quantize(layer.weight)
            factor = norm.weight / (norm.running_var + norm.eps).sqrt()
            weights.append(q)
            numbers += [scale * factor, norm.bias - norm.running_mean * factor]
    for level in model.levels:
        head = model.heads[str(level)]
        q, scale = _quantize(head.weight)
        weights.append(q)
        numbers += [scale, head.bias]
    return {
        "channels": list(model.channels),
        "nodes": model.nodes,
        "levels": model.levels,
        "weights": _text(weights, np.int8),
        "numbers": _text(numbers, "<f4"),
    }


def to_page(model: NodeGrid, *, threshold: float = 0.5) -> str:
    """A whole web page that runs the network in the browser: `segedu.explorers.LiveSegmentation`.

    Raises
    ------
    ValueError : as `to_web`, and for a network that makes the page too large.
    ImportError : without the packages of `segedu[book]`.
    """
    from .explorers import LiveSegmentation

    check_type("model", model, NodeGrid)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        '<link rel="icon" href="data:,"><title>Live segmentation</title>'
        f"</head><body>{LiveSegmentation(model, threshold=threshold).to_html()}</body></html>\n"
    )


def export_onnx(path: str | os.PathLike, model: NodeGrid, *, threshold: float = 0.5) -> None:
    """Write a network as ONNX, for programs without torch; the threshold is kept as metadata.

    The input `images` is (N, C, H, W) float32, normalised as `segedu.data.normalize` does, H and W
    any multiples of 2^depth. The outputs `L1`, `L2`, ... are the logits (N, K, H, W) of each head.

    Raises
    ------
    ImportError : without the packages onnx and onnxscript.
    """
    check_path("path", path)
    check_number("threshold", threshold, 0, 1)
    model = copy.deepcopy(check_type("model", model, NodeGrid)).cpu().eval()
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch.onnx needs it
    except ImportError:
        raise ImportError(
            "ONNX needs the packages onnx and onnxscript: pip install 'segedu[onnx]'"
        ) from None
    step = 2**model.depth
    sides = {
        2: step * torch.export.Dim("rows", min=1),
        3: step * torch.export.Dim("columns", min=1),
    }
    program = torch.onnx.export(
        model,
        (torch.zeros(2, model.in_channels, 2 * step, 3 * step),),
        input_names=["images"],
        output_names=[f"L{level}" for level in model.levels],
        dynamic_shapes=[{0: torch.export.Dim("images"), **sides}],
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    proto = program.model_proto
    onnx.helper.set_model_props(proto, {"threshold": str(threshold)})
    with atomic_path(path) as temporary:
        onnx.save(proto, temporary)


def _per_channel(scale: Tensor, weight: Tensor) -> Tensor:
    """The scales with as many axes as the weights, the first one theirs."""
    return scale.view(-1, *[1] * (weight.ndim - 1))


def _text(tensors: list[Tensor], kind) -> str:
    flat = torch.cat([tensor.detach().flatten() for tensor in tensors]).numpy()
    return base64.b64encode(flat.astype(kind).tobytes()).decode()
