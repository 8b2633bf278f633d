"""What several test modules say about networks and data sets."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(map(torch.equal, a.state_dict().values(), b.state_dict().values()))


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Afterwards the network has the weights, the statistics and the mode that it had before."""
    before = copy.deepcopy(model)
    yield
    assert same_weights(model, before)
    assert model.training == before.training


def indexed_like_a_list(data, count: int) -> None:
    assert len(data) == len(list(data)) == count
    assert torch.equal(data[-1][0], data[torch.tensor(count - 1)][0])
    for index in (count, -count - 1):
        with pytest.raises(IndexError):
            data[index]
    for index in ("a", None, 0.0, slice(1)):
        with pytest.raises(ValueError, match="index must be an integer"):
            data[index]
