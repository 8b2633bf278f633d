"""Networks and training states as safetensors files: tensors, and a few words of JSON, no code.

A file holds the tensors `model.*` and, where training is to go on from it, `optimizer.*`. Its
metadata has one entry, `segedu`: a JSON object with the arguments that build the network again
under "model", and what the writer wants known (step, threshold, data, ...) beside it.
"""

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

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

    `info` is kept as JSON beside the network: numbers, strings, lists and dicts of them.

    >>> import tempfile
    >>> from segedu import UNet
    >>> path = Path(tempfile.mkdtemp()) / "unet.safetensors"
    >>> save_checkpoint(path, UNet(1, 1, channels=(4, 8)), threshold=0.45)
    >>> model, info = load_model(path)
    >>> model.channels, info["threshold"]
    ((4, 8), 0.45)
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    if optimizer is not None:
        state = optimizer.state_dict()
        info["param_groups"] = state["param_groups"]
        for index, values in state["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata = {"segedu": json.dumps({"model": model.config, **info})}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def load_model(path: str | os.PathLike) -> tuple[NodeGrid, dict]:
    """The network in a file, on the CPU in eval mode, and what was noted beside it.

    Raises
    ------
    ValueError : for a file that is damaged, or was not written by `save_checkpoint`.
    FileNotFoundError : where there is no file.
    """
    tensors, info = _read(path, "model.")
    config = info.pop("model")
    with torch.device("meta"):
        model = NodeGrid(**config)
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
    tensors, info = _read(path, "model.")
    there, here = json.dumps(info.pop("model")), json.dumps(model.config)
    if there != here:
        raise ValueError(f"{path} holds another network: {there}\nexpected {here}")
    if "param_groups" not in info:
        raise ValueError(f"{path} holds a network without the state of its training")
    _load_state(model, tensors, path, assign=False)
    state = {}
    for key, value in _read(path, "optimizer.")[0].items():
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
    if name not in names:
        raise ValueError(f"there are no pretrained weights {name!r}, only {', '.join(names)}")
    return PRETRAINED / f"{name}.safetensors"


def _read(path, prefix: str) -> tuple[dict[str, torch.Tensor], dict]:
    """The tensors whose names begin with `prefix`, without it, and the JSON beside them."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {
                name.removeprefix(prefix): file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118 - not a dict
                if name.startswith(prefix)
            }
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from error
    if "segedu" not in metadata:
        raise ValueError(f"{path} was not written by segedu: it does not say which network it is")
    return tensors, json.loads(metadata["segedu"])


def _load_state(model: nn.Module, tensors: dict[str, torch.Tensor], path, *, assign: bool) -> None:
    try:
        model.load_state_dict(tensors, assign=assign)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit the network it names: {error}") from error
