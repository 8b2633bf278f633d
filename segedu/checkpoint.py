"""Networks and training states as safetensors files: tensors and a few words of JSON, no code.

A file holds the tensors `model.*` and, where training is to go on from it, `optimizer.*`. Its
metadata has one entry, `segedu`: a JSON object with the arguments that build the network again
under "model", and a "variant" among them if it is one of `segedu.variants`; what belongs to the
network (threshold, normalization, class_names), the writer's notes (step, validation_iou, ...), and
a checksum of it all. The same network and the same notes make the same bytes.
"""

import json
import os
import zlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .checks import check_choice
from .files import atomic_path
from .models import NodeGrid
from .variants import VARIANTS

PRETRAINED = Path(__file__).parent / "weights"


def save_checkpoint(
    path: str | os.PathLike,
    model: NodeGrid,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    **notes,
) -> None:
    """Write a network, and with `optimizer` all that training needs to go on; atomically.

    `notes` are kept beside the network: numbers, strings, lists and dicts of them; a ValueError for
    anything that JSON does not have.

    >>> import tempfile
    >>> from segedu import UNet
    >>> path, model = Path(tempfile.mkdtemp()) / "unet.safetensors", UNet(1, 1, channels=(4, 8))
    >>> model.threshold = 0.45
    >>> save_checkpoint(path, model, step=300)
    >>> load_model(path).threshold, read_notes(path)["step"]
    (0.45, 300)
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    if optimizer is not None:
        state = optimizer.state_dict()
        notes["param_groups"] = state["param_groups"]
        for index, values in state["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    belongings = {
        "threshold": model.threshold,
        "normalization": list(model.normalization),
        "class_names": list(model.class_names),
    }
    info = {"model": _arguments(model), **belongings, **notes}
    try:
        json.dumps(info)
    except (TypeError, ValueError) as error:
        raise ValueError(f"notes must be JSON, got {notes!r:.80}: {error}") from None
    metadata = {"segedu": json.dumps({**info, "crc32": _checksum(info, tensors)})}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))


def load_model(path: str | os.PathLike) -> NodeGrid:
    """The network in a file, with its threshold, on the CPU in eval mode.

    Raises ValueError for a file that is damaged, or was not written by `save_checkpoint`;
    FileNotFoundError where there is no file.
    """
    tensors, _, info = _read(path)
    try:
        with torch.device("meta"):
            arguments = dict(info["model"])
            variant = arguments.pop("variant", None)
            model = (NodeGrid if variant is None else VARIANTS[variant])(**arguments)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} names a network that cannot be built: {error}") from error
    _restore(model, tensors, info, path, assign=True)
    return model.eval()


def read_notes(path: str | os.PathLike) -> dict:
    """What stands beside the network in a file: threshold, step, validation_iou, ...

    Raises as `load_model` does.
    """
    return _read(path)[2]


def load_training(
    path: str | os.PathLike, model: NodeGrid, optimizer: torch.optim.Optimizer
) -> dict:
    """Bring `model` and `optimizer` to the state in a file; returns the notes beside it.

    Raises ValueError for a file of another network (what differs is named), without the optimizer's
    state, or damaged.
    """
    tensors, states, notes = _read(path)
    there, here = notes.pop("model", None) or {}, json.loads(json.dumps(_arguments(model)))
    differences = [
        f"{name} is {there.get(name)}, expected {here.get(name)}"
        for name in here | there
        if there.get(name) != here.get(name)
    ]
    if differences:
        raise ValueError(f"{path} holds another network: {'; '.join(differences)}")
    if "param_groups" not in notes:
        raise ValueError(f"{path} holds a network without the state of its training")
    _restore(model, tensors, notes, path, assign=False)
    state = {}
    for key, value in states.items():
        index, name = key.split(".")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": notes.pop("param_groups")})
    return notes


def load_pretrained(name: str = "unetpp-nuclei") -> NodeGrid:
    """A network trained on real nuclei that comes with the package, in eval mode.

    It takes one grey channel, as `segedu.data.normalize` gives it, and has the threshold that was
    chosen on the validation images. ValueError for a name that is not there, with those that are.

    >>> load_pretrained("unetpp-nuclei-tiny").threshold
    0.6
    """
    return load_model(pretrained_path(name))


def pretrained_path(name: str = "unetpp-nuclei") -> Path:
    """The file behind `load_pretrained`."""
    names = sorted(path.stem for path in PRETRAINED.glob("*.safetensors"))
    return PRETRAINED / f"{check_choice('name', name, names)}.safetensors"


def _arguments(model: NodeGrid) -> dict:
    """What builds a network again: the arguments, and of a variant the name."""
    name = type(model).__name__
    return model.config | ({"variant": name} if name in VARIANTS else {})


def _read(path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict]:
    """The network's tensors, the optimizer's, and the JSON beside them."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Copies: views would keep the file open, and training replaces it.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
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


def _restore(model: NodeGrid, tensors: dict, info: dict, path, *, assign: bool) -> None:
    """Weights, and what belongs to the network; a file from before has only the threshold."""
    try:
        model.load_state_dict(tensors, assign=assign)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit the network it names: {error}") from error
    model.threshold = info.get("threshold", model.threshold)
    model.normalization = tuple(info.get("normalization", model.normalization))
    model.class_names = tuple(info.get("class_names", model.class_names))


def _checksum(info: dict, tensors: dict[str, torch.Tensor]) -> int:
    """CRC-32 of all that a file says: safetensors itself would not notice a flipped bit."""
    total = zlib.crc32(json.dumps(info).encode())
    for name, tensor in sorted(tensors.items()):
        total = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), total)
        total = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy(), total)
    return total
