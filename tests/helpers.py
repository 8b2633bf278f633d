"""What several test modules do."""

import copy
import itertools
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from segedu import exercises
from segedu.data import SyntheticNuclei


def build_book(source: Path, output: Path) -> Path:
    """Build the book with every warning an error. Returns the folder of its pages."""
    command = [Path(sys.executable).with_name("jupyter-book"), "build", source, "-W", "-n"]
    command += ["--path-output", output]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return output / "_build" / "html"


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(map(torch.equal, a.state_dict().values(), b.state_dict().values()))


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Afterwards the network has the weights, the statistics and the mode that it had before."""
    before = copy.deepcopy(model)
    yield
    assert same_weights(model, before)
    assert [part.training for part in model.modules()] == [
        part.training for part in before.modules()
    ]


def indexed_like_a_list(data, count: int) -> None:
    assert len(data) == len(list(data)) == count
    assert torch.equal(data[-1][0], data[torch.tensor(count - 1)][0])
    for index in (count, -count - 1):
        with pytest.raises(IndexError):
            data[index]
    for index in ("a", None, 0.0, slice(1)):
        with pytest.raises(ValueError, match="index must be an integer"):
            data[index]


class FewNuclei(list):
    """Four synthetic images as a `NucleiDataset`; two of them are tiles of one field."""

    def __init__(self, size: int, *, seed: int = 0, target: str = "binary", groups: str = "xxyz"):
        super().__init__(SyntheticNuclei(4, seed=seed, size=size, target=target))
        self.labels = SyntheticNuclei(4, seed=seed, size=size, target="instances")
        self.image_ids, self.groups = list("abcd"), list(groups)

    def instances(self, index: int) -> np.ndarray:
        return self.labels[index][1].numpy()

    grey = instances


class Interrupting(nn.Module):
    """A loss in whose call number `step` a signal arrives; it passes for the one that it wraps."""

    def __init__(self, loss: nn.Module, step: int, number: signal.Signals = signal.SIGINT):
        super().__init__()
        self.loss, self.step, self.number = loss, step, number
        self.calls = itertools.count(1)

    def forward(self, logits, target):
        if next(self.calls) == self.step:
            signal.raise_signal(self.number)
        return self.loss(logits, target)

    def __str__(self) -> str:
        return str(self.loss)


def handed_over(name: str) -> tuple[tuple, dict]:
    """What an exercise hands to `check` beside the submission: solution, cases, misconceptions."""
    exercise, calls = getattr(exercises, name), []

    def check(submission, *parts, **options):
        calls.append((parts, options))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[exercise.__module__], "check", check)
        exercise(None)
    return calls[0]
