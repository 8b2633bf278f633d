"""Networks and training states as safetensors files: tensors, and a few words of JSON, no code.

A file holds the tensors `model.*` and, where training is to go on from it, `optimizer.*`. Its
metadata has one entry, `segedu`: a JSON object with the arguments that build the network again
under "model", what the writer wants known (step, threshold, ...) beside it, and a checksum of it
all. The same network and the same words make the same bytes.
"""

import json
import os
import zlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .checks import check_choice, check_path, check_type, describe
from .files import atomic_path
from .models import NodeGrid

PRETRAINED = Path(__file__).parent / "weights"


def save_checkpoint(
    path: str | os.PathLike,
    model: NodeGrid,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    **info,
) -> None:
    """Write a network, and with `optimizer` all that training needs to go on; atomically.

    `info` is kept as JSON beside the network: numbers, strings, lists and dicts of them; a
    ValueError for anything else.

    >>> import tempfile
    >>> from segedu import UNet
    >>> path = Path(tempfile.mkdtemp()) / "unet.safetensors"
    >>> save_checkpoint(path, UNet(1, 1, channels=(4, 8)), threshold=0.45)
    >>> model, info = load_model(path)
    >>> model.channels, info["threshold"]
    ((4, 8), 0.45)
    """
    check_path("path", path)
    check_type("model", model, NodeGrid)  # a wrapper would save other names for the weights
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    if optimizer is not None:
        state = check_type("optimizer", optimizer, torch.optim.Optimizer).state_dict()
        info["param_groups"] = state["param_groups"]
        for index, values in state["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    info = {"model": model.config, **info}
    try:
        json.dumps(info)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the notes must be JSON, got {describe(info)}: {error}") from None
    metadata = {"segedu": json.dumps({**info, "crc32": _checksum(info, tensors)})}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))


def load_model(path: str | os.PathLike) -> tuple[NodeGrid, dict]:
    """The network in a file, on the CPU in eval mode, and what was noted beside it.

    Raises
    ------
    ValueError : for a file that is damaged, or was not written by `save_checkpoint`.
    FileNotFoundError : where there is no file.
    """
    tensors, _, info = _read(path)
    try:
        with torch.device("meta"):
            model = NodeGrid(**info.pop("model"))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} names a network that cannot be built: {error}") from error
    _load_state(model, tensors, path, assign=True)
    return model.eval(), info


def load_training(
    path: str | os.PathLike, model: NodeGrid, optimizer: torch.optim.Optimizer
) -> dict:
    """Bring `model` and `optimizer` to the state in a file; returns what was noted beside it.

    Raises
    ------
    ValueError : for a file of another network (both are named), without the optimizer's state, or
        damaged.
    """
    check_type("model", model, NodeGrid)
    check_type("optimizer", optimizer, torch.optim.Optimizer)
    tensors, states, info = _read(path)
    there, here = json.dumps(info.pop("model", None)), json.dumps(model.config)
    if there != here:
        raise ValueError(f"{path} holds another network: {there}\nexpected {here}")
    if "param_groups" not in info:
        raise ValueError(f"{path} holds a network without the state of its training")
    _load_state(model, tensors, path, assign=False)
    state = {}
    for key, value in states.items():
        index, name = key.split(".")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": info.pop("param_groups")})
    return info


def load_pretrained(name: str = "unetpp-nuclei") -> NodeGrid:
    """A network trained on real nuclei that comes with the package, in eval mode.

    It takes one grey channel as `segedu.data.normalize` gives it.

    Raises
    ------
    ValueError : for a name that is not there, with those that are.

    Examples
    --------
    >>> load_pretrained().num_classes
    1
    """
    return load_model(pretrained_path(name))[0]


def pretrained_path(name: str = "unetpp-nuclei") -> Path:
    """The file behind `load_pretrained`."""
    names = sorted(path.stem for path in PRETRAINED.glob("*.safetensors"))
    return PRETRAINED / f"{check_choice('name', name, names)}.safetensors"


def _read(path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict]:
    """The network's tensors, the optimizer's, and the JSON beside them."""
    check_path("path", path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        info = json.loads(metadata.get("segedu", "{}"))
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from error
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}") from None
    except OSError as error:
        raise OSError(f"cannot read {path}, expected a .safetensors file: {error}") from error
    if "segedu" not in metadata:
        raise ValueError(f"{path} was not written by segedu: it does not say which network it is")
    if not isinstance(info, dict) or info.pop("crc32", None) != _checksum(info, tensors):
        raise ValueError(f"{path} is damaged: it does not hold what was written; copy it again")
    model, optimizer = (
        {name.removeprefix(part): x for name, x in tensors.items() if name.startswith(part)}
        for part in ("model.", "optimizer.")
    )
    return model, optimizer, info


def _load_state(model: NodeGrid, tensors: dict[str, torch.Tensor], path, *, assign: bool) -> None:
    try:
        model.load_state_dict(tensors, assign=assign)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit the network it names: {error}") from error


def _checksum(info: dict, tensors: dict[str, torch.Tensor]) -> int:
    """CRC-32 of all that a file says: safetensors itself would not notice a flipped bit."""
    total = zlib.crc32(json.dumps(info).encode())
    for name, tensor in sorted(tensors.items()):
        total = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), total)
        total = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy(), total)
    return total
