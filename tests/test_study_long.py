"""The training of the long study: when a run is flat, and that a killed one loses nothing."""

from pathlib import Path

import pytest
import torch

import study.compare as compare
from segedu.data import SyntheticNuclei
from segedu.losses import compound_loss
from study import long
from tests.helpers import same_weights

ARMS = ("unet", "monai-unet", "half-bf16")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A long study of tiny networks on four synthetic images, validated after every step."""
    images = [SyntheticNuclei(4, size=32)[index] for index in range(4)]
    monkeypatch.setattr(compare, "_nuclei", lambda root, split, target: images)
    monkeypatch.setattr(long, "CHANNELS", (2, 2, 4, 4, 8))
    monkeypatch.setattr(long, "RUNS", tmp_path)
    monkeypatch.setattr(long, "SEEDS", 1)
    return tmp_path


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.80, 0.90, 0.90], True),
        ([0.80, 0.90, 0.9019], True),
        ([0.80, 0.90, 0.9021], False),
        ([0.90, 0.80, 0.85], True),  # worse than before is flat, too: the best is kept
        ([0.10, 0.20, 0.20, 0.90, 0.90, 0.90], True),  # risen just before the last third
        ([0.10, 0.20, 0.20, 0.20, 0.90, 0.90], False),
    ],
)
def test_a_run_is_flat_if_the_last_third_of_its_steps_raised_the_best_score_little(
    scores, expected
):
    assert long.is_flat([[200 * k, score, 0.5] for k, score in enumerate(scores, 1)]) == expected


class Killed(Exception):
    pass


@pytest.mark.parametrize("name", ARMS)
def test_a_killed_run_goes_on_as_if_it_had_never_stopped(name, runs, monkeypatch):
    whole = long.train_one(name, 0, Path(), 6, runs / "whole.safetensors")
    done, path = [], runs / "killed.safetensors"

    def kill(pairs):
        if len(done) == 3:
            raise Killed
        done.append(1)
        return compare.best_iou(pairs)

    with monkeypatch.context() as patched:
        patched.setattr(long, "best_iou", kill)
        with pytest.raises(Killed):
            long.train_one(name, 0, Path(), 6, path)
    assert not path.exists()
    with pytest.raises(ValueError, match="6 steps, got 9"):
        long.train_one(name, 0, Path(), 9, path)
    notes = long.train_one(name, 0, Path(), 6, path)
    assert [point[0] for point in notes["curve"]] == [1, 2, 3, 4, 5, 6]
    assert notes["curve"] == whole["curve"]
    assert same_weights(
        *(long.load_run(runs / f"{one}.safetensors")[0] for one in ("whole", "killed"))
    )
    assert sorted(file.suffix for file in runs.iterdir()) == [".safetensors", ".safetensors"]


def test_the_best_weights_are_those_that_the_shorter_study_keeps(runs):
    notes = long.train_one("unet", 3, Path(), 5, runs / "unet-3.safetensors")
    model, saved = long.load_run(runs / "unet-3.safetensors")
    assert saved == notes
    torch.manual_seed(3)
    other = compare.ARMS["unet"].network(long.CHANNELS, 1)
    images = compare._nuclei(None, "train", "binary")
    config = compare.TrainConfig(steps=5, batch_size=4, crop_size=128, validate_every=1, seed=3)
    trained = compare.train(
        other, compound_loss, images, images, config,
        compare.Fabric(accelerator="cpu", devices=1),
    )  # fmt: skip
    assert trained["best_step"] == notes["best_step"]
    assert same_weights(model, other)


def test_a_finished_run_is_not_repeated(runs, monkeypatch):
    half_written = runs / "long" / ".unet-0-12345678.safetensors"
    half_written.parent.mkdir()
    half_written.touch()
    long.train_all(Path(), ["unet"], steps=2)
    assert sorted(file.name for file in half_written.parent.iterdir()) == [
        "unet-0.lock",
        "unet-0.safetensors",
    ]
    monkeypatch.setattr(long, "train_one", None)
    long.train_all(Path(), ["unet"], steps=2)


def test_an_arm_has_the_steps_that_its_name_says():
    assert long.steps_of("unetpp-ds", 3000) == 3000
    assert long.steps_of("unet-twice", 3000) == 6000
    assert long.steps_of("unetpp-ds-four-times", 3000) == 12000
    assert long.steps_of("half-bf16-equal-time", 3000) == 7114
    assert long.steps_of("unetpp-ds-equal-time", 3000) == 1125  # 3000 x 93.74 ms / 249.9 ms
    assert long.steps_of("unetpp-ds-equal-time", 6) == 2  # of a short study in the same ratio
