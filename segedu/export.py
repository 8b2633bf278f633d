"""A network in other forms: small enough for a web page, or as ONNX for programs without torch.

A page stores the weights of a convolution as 8-bit integers with one scale per output channel:
`weight = scale * q`, with q from -127 to 127 (Jacob et al. 2018, arXiv 1712.05877, with a zero
point of 0). The batch norm that follows multiplies and shifts each channel, so it is folded in: the
page needs only one factor and one shift per channel.
"""

import base64
import copy
import json

import torch
from torch import Tensor, nn

from .models import NodeGrid

OPSET = 18  # the first version of ONNX that defines resizing as torch does


def to_base64(data: bytes) -> str:
    """Bytes as text that a web page can hold.

    >>> to_base64(bytes([0, 255]))
    'AP8='
    """
    return base64.b64encode(data).decode()


def _quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (O, ...) as integers of the same shape (int8), and O scales (float32).

    >>> q, scale = _quantize(torch.tensor([[0.5, -1.27], [0.0, 0.0]]))
    >>> q.tolist(), scale.tolist()
    ([[50, -127], [0, 0]], [0.009999999776482582, 1.0])
    """
    largest = weight.detach().float().abs().flatten(1).amax(dim=1)
    scale = torch.where(largest > 0, largest / 127, 1.0)
    return (weight.detach() / _per_channel(scale, weight)).round().to(torch.int8), scale


def _per_channel(scale: Tensor, weight: Tensor) -> Tensor:
    """The scales (O,) as (O, 1, ...), to multiply weights (O, ...)."""
    return scale.view(-1, *[1] * (weight.ndim - 1))


def dequantized(model: NodeGrid) -> NodeGrid:
    """A copy that computes what a page computes: every weight of a convolution is scale * q.

    >>> from segedu import UNet
    >>> model = UNet(1, 1, channels=(4, 8))
    >>> error = (dequantized(model).blocks["0_0"][0].weight - model.blocks["0_0"][0].weight).abs()
    >>> bool(error.max() <= model.blocks["0_0"][0].weight.abs().max() / 254 + 1e-6)
    True
    """
    model = copy.deepcopy(model)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                q, scale = _quantize(layer.weight)
                layer.weight.copy_(q * _per_channel(scale, layer.weight))
    return model


def to_web(model: NodeGrid) -> dict:
    """The network as `network.js` loads it: the grid, and the weights as text.

    "weights" is base64 of int8: first the two convolutions of each node, (out, in, 3, 3), in the
    order of `model.nodes`, then each head, (1, channels[0], 1, 1). "numbers" is base64 of float32:
    for each of these convolutions the factors of its output channels, then their shifts.

    Raises ValueError for a network with several classes or image channels, group norm, transposed
    convolutions, only some of the skips or other blocks: the page cannot compute these.

    >>> from segedu import UNet
    >>> web = to_web(UNet(1, 1, channels=(4, 8)))
    >>> web["nodes"], web["levels"]
    ([(0, 0), (1, 0), (0, 1)], [1])
    """
    if not isinstance(model, NodeGrid):
        raise ValueError(
            f"a web page runs a NodeGrid, got a {type(model).__name__}: export it as ONNX instead"
        )
    wanted = {"in_channels": 1, "num_classes": 1, "skips": "all", "up": "bilinear", "norm": "batch"}
    got = {name: getattr(model, name) for name in wanted}
    wanted["blocks"] = ["ConvBlock"]
    got["blocks"] = sorted({type(block).__name__ for block in model.blocks.values()})
    if other := [name for name in wanted if got[name] != wanted[name]]:
        wanted, got = ({name: values[name] for name in other} for values in (wanted, got))
        raise ValueError(
            f"a web page runs networks with {wanted}, got {got}: export it as ONNX instead"
        )
    weights, numbers = [], []
    for i, j in model.nodes:
        first, first_norm, _, second, second_norm, _ = model.blocks[f"{i}_{j}"]
        for layer, norm in ((first, first_norm), (second, second_norm)):
            q, scale = _quantize(layer.weight)
            # In double precision, since the last bit of torch's float32 roots depends on the CPU.
            factor = norm.weight / (norm.running_var.double() + norm.eps).sqrt()
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
        "weights": _joined(weights, "i1"),
        "numbers": _joined(numbers, "<f4"),
    }


def _joined(tensors: list[Tensor], dtype: str) -> str:
    flat = torch.cat([tensor.flatten() for tensor in tensors]).numpy(force=True)
    return to_base64(flat.astype(dtype).tobytes())


def to_onnx(model: NodeGrid) -> bytes:
    """The network as the content of an ONNX file, for programs without torch.

    The input `images` is (N, C, H, W) float32, normalised as `segedu.data.normalize` does, with H
    and W any multiples of 2^depth. The outputs `L1`, `L2`, ... are the logits (N, K, H, W) of each
    head. The file's metadata holds the model's `threshold`, its `normalization` (the percentiles
    that become 0 and 1, with a comma between them) and its `class_names` (a JSON list).

    Raises ImportError without the packages onnx and onnxscript.
    """
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
        copy.deepcopy(model).cpu().float().eval(),
        (torch.zeros(2, model.in_channels, 2 * step, 3 * step),),
        input_names=["images"],
        output_names=[f"L{level}" for level in model.levels],
        dynamic_shapes=[{0: torch.export.Dim("images"), **sides}],
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    proto = program.model_proto
    notes = {
        "threshold": str(model.threshold),
        "normalization": ",".join(map(str, model.normalization)),
        "class_names": json.dumps(model.class_names),
    }
    onnx.helper.set_model_props(proto, notes)
    return proto.SerializeToString()
