"""What several test modules need to say about networks."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

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
