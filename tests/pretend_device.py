"""A GPU that is not there, to find out on a CPU what would break on one.

    with pretend_device():
        model = UNet(1, 1).to("cuda")

Inside the block a tensor on "cuda" keeps its values on the CPU and computes there, but says that it
is on cuda:0, and is refused wherever torch would refuse it: beside a tensor on the CPU, and as an
array of numpy. What is true of the hardware only is not pretended: autocast, generators of the
device, several GPUs, streams, memory, speed, rounding, and the operations that CUDA lacks.
"""

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("cuda:0")
# What C++ is told: autograd would look for streams of a real GPU, while no one uses "lazy".
INTERNAL = torch.device("lazy:0")
# In torch's words.
MIXED = "Expected all tensors to be on the same device, but found at least two devices, {}!"
WRONG_INDEX = "indices should be either on cpu or on the same device as the indexed tensor (cpu)"
WRONG_GENERATOR = "Expected a 'cuda' device type for generator but found 'cpu'"
NOT_NUMPY = (
    f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to "
    "host memory first."
)

aten = torch.ops.aten
MOVES = {aten.copy_, aten._to_copy}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
# Like the pointwise operations, these take a number as a tensor of no dimensions on the CPU.
TAKE_NUMBERS = INDEXING | {aten.fill, aten.fill_, aten.masked_fill, aten.masked_fill_}


class PretendedTensor(Tensor):
    """A tensor on the pretended device; `held` is the same on the CPU."""

    @staticmethod
    def __new__(cls, held: Tensor):
        # In inference mode a view of a tensor from outside is still one that autograd follows.
        with torch.inference_mode(held.is_inference()):
            return Tensor._make_wrapper_subclass(
                cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(),
                dtype=held.dtype, device=INTERNAL,
            )  # fmt: skip

    def __init__(self, held: Tensor):
        self.held = held

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return compute(operation, args, kwargs or {})

    # What torch answers in C++, where it sees INTERNAL, or an unknown kind of tensor.
    device = property(lambda self: DEVICE)
    is_cuda = property(lambda self: True)

    def get_device(self) -> int:
        return DEVICE.index

    def to(self, *args, copy: bool = False, **options) -> Tensor:
        parts = [(x.device, x.dtype) if isinstance(x, Tensor) else (x,) for x in args]
        device, dtype, _, memory_format = torch._C._nn._parse_to(*sum(parts, ()), **options)
        device, dtype = device or DEVICE, dtype or self.dtype
        memory_format = memory_format or torch.preserve_format
        is_laid_out = memory_format == torch.preserve_format or self.is_contiguous(
            memory_format=memory_format
        )
        if device.type == DEVICE.type and dtype == self.dtype and is_laid_out and not copy:
            return self
        return aten._to_copy(self, device=device, dtype=dtype, memory_format=memory_format)

    def numpy(self, *, force: bool = False):
        if not force:
            raise TypeError(NOT_NUMPY)
        return self.detach().cpu().numpy(force=True)

    def __array__(self, *args, **options):
        return self.numpy()

    def tolist(self):
        return self.detach().cpu().tolist()

    def __format__(self, spec: str) -> str:
        return format(self.item() if self.ndim == 0 else str(self), spec)

    def __repr__(self, **options) -> str:
        return f"{self.detach().cpu()!r}"[:-1] + f", device='{DEVICE}')"

    def __deepcopy__(self, memo: dict) -> Tensor:
        if id(self) not in memo:
            copy = self.detach().clone().requires_grad_(self.requires_grad)
            copy.__dict__ |= {k: v for k, v in self.__dict__.items() if k != "held"}  # a parameter?
            memo[id(self)] = copy
        return memo[id(self)]


class Translation(TorchFunctionMode):
    """C++ would look for a real GPU where it reads "cuda"."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is Tensor.cuda:
            function, args = Tensor.to, (args[0], INTERNAL)
        elif function is Tensor.to:
            args = tuple(map(internal, args))
        if "device" in kwargs:
            kwargs = kwargs | {"device": internal(kwargs["device"])}
        return function(*args, **kwargs)


def internal(value):
    """INTERNAL for any name of the pretended device, and everything else as it is."""
    is_name = isinstance(value, str | torch.device) and str(value).startswith(DEVICE.type)
    return INTERNAL if is_name else value


class Pretence(TorchDispatchMode):
    """Sees the operations that have no pretended tensor among their arguments, too."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if is_composite(operation):  # in inference mode torch has not split these up
            with self:
                return operation.decompose(*args, **kwargs)
        if PretendedTensor in types or "device" in kwargs:
            return compute(operation, args, kwargs)
        return operation(*args, **kwargs)


@functools.cache
def is_composite(operation) -> bool:
    """Whether torch computes it with other operations, such as `to` with `_to_copy`."""
    return operation._can_decompose()


def compute(operation, args: tuple, kwargs: dict):
    """What an operation answers, computed on the CPU, on the device where torch would put it."""
    device = kwargs.get("device")
    if device is not None and device.type in (DEVICE.type, INTERNAL.type):
        device, kwargs = DEVICE, kwargs | {"device": torch.device("cpu")}
    elif device is None and any(map(is_pretended, tensors_in((args, *kwargs.values())))):
        device = DEVICE
    check_devices(operation, args, kwargs, device)
    result = operation(*replaced(args, held), **{k: replaced(v, held) for k, v in kwargs.items()})
    if isinstance(result, Tensor) and is_mutable(operation):
        changed = kwargs.get("out", args[0])
        if changed.shape != result.shape:  # so does `squeeze_`
            change_shape(operation, args, kwargs)
        return changed
    return replaced(result, PretendedTensor) if device == DEVICE else result


def tensors_in(values: list | tuple) -> list[Tensor]:
    """The tensors in some arguments, and in lists of them."""
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors_in(value)
    return found


def replaced(values, function):
    """The same values with `function(x)` for every tensor x."""
    if isinstance(values, Tensor):
        return function(values)
    if isinstance(values, list | tuple):
        return type(values)(replaced(value, function) for value in values)
    return values


def held(tensor: Tensor) -> Tensor:
    return tensor.held if is_pretended(tensor) else tensor


@functools.cache
def is_mutable(operation) -> bool:
    """Whether it changes a tensor in place."""
    return operation._schema.is_mutable


def change_shape(operation, args: tuple, kwargs: dict) -> None:
    """Do with the outer tensor, which has no values, what was done with the one that it holds."""
    torch._C._set_meta_in_tls_dispatch_include(True)
    try:
        with no_dispatch():
            operation(*args, **kwargs)
    finally:
        torch._C._set_meta_in_tls_dispatch_include(False)


def check_devices(operation, args: tuple, kwargs: dict, device: torch.device | None) -> None:
    """Refuse what torch refuses for an operation whose answer is on `device`."""
    kind = operation.overloadpacket
    if device == DEVICE and kwargs.get("generator") is not None:
        raise RuntimeError(WRONG_GENERATOR)
    if kind in INDEXING:  # with indices on the device or on the CPU
        indices, args = args[1], (args[0], *args[2:])
        if not is_pretended(args[0]) and any(map(is_pretended, indices)):
            raise RuntimeError(WRONG_INDEX)
    tensors = tensors_in((args, *kwargs.values()))
    if kind in MOVES or all(map(is_pretended, tensors)):
        return
    if torch.Tag.pointwise in operation.tags or kind in TAKE_NUMBERS:
        changed = args[0] if is_mutable(operation) else None
        tensors = [x for x in tensors if x.ndim or is_pretended(x) or x is changed]
    devices = {str(x.device) for x in tensors}
    if len(devices) > 1:
        raise RuntimeError(MIXED.format(" and ".join(sorted(devices, reverse=True))))


def is_pretended(value) -> bool:
    return isinstance(value, PretendedTensor)


@contextmanager
def pretend_device() -> Iterator[None]:
    """Inside the block there is a GPU, as far as `torch.cuda` and "cuda" tell."""
    answers = {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "get_device_capability": (7, 5),
        "get_device_name": "a pretended GPU",
        "is_current_stream_capturing": False,
        "set_device": None,
        "synchronize": None,
        "empty_cache": None,
        "_lazy_init": None,
    }
    swap = torch.__future__.get_swap_module_params_on_conversion()
    lift = torch._C._only_lift_cpu_tensors()
    with ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, return_value=answer))
        # An optimizer asks whether a graph is being recorded there; from torch 2.15 on, in C++.
        nobody = mock.patch.object(torch.accelerator, "current_accelerator", return_value=None)
        stack.enter_context(nobody)
        try:
            # A module that moves keeps its parameters, and the optimizer that has them.
            torch.__future__.set_swap_module_params_on_conversion(True)
            # `torch.tensor` makes its values on the CPU and then moves them.
            torch._C._set_only_lift_cpu_tensors(True)
            with Translation(), Pretence():
                yield
        finally:
            torch.__future__.set_swap_module_params_on_conversion(swap)
            torch._C._set_only_lift_cpu_tensors(lift)
