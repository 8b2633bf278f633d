"""The commands as people run them: in a process of their own, with what they print."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segedu import load_model
from segedu.data import synthetic_nuclei
from segedu.files import read_history


def segedu(*arguments, cwd=None):
    command = [sys.executable, "-m", "segedu", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("mine")
    for index in range(8):
        grey, instances = synthetic_nuclei(index, size=(64, 70))
        for kind, picture in (("images", grey), ("masks", np.uint8(255) * (instances > 0))):
            (root / kind).mkdir(exist_ok=True)
            Image.fromarray(picture.astype(np.uint8)).save(root / kind / f"field{index}.png")
    return root


def test_a_folder_of_ones_own_from_end_to_end(folder, tmp_path):
    data = ("--data", "folder", "--root", folder)
    shown = segedu("info", *data, "--out", tmp_path)
    assert "train: 6 images of 64 x 70 to 64 x 70 pixels; class 0: " in shown.stdout, shown.stderr
    assert (tmp_path / "preview.png").exists()

    small = ("--steps", 4, "--batch-size", 2, "--crop-size", 32, "--channels", "4,8")
    trained = segedu("train", *data, *small, "--out", tmp_path / "run")
    assert trained.returncode == 0, trained.stderr
    assert "1 test images: mean IoU per image " in trained.stdout
    assert "Otsu's threshold on the same images: " in trained.stdout
    best = tmp_path / "run" / "best.safetensors"
    assert load_model(best).deep_supervision
    assert {p.name for p in best.parent.iterdir()} == {
        "best.safetensors", "last.safetensors", "history.csv", "history.png"
    }  # fmt: skip

    measured = segedu("evaluate", *data, "--weights", best)
    line = next(line for line in trained.stdout.splitlines() if "mean IoU" in line)
    assert line in measured.stdout

    picture = folder / "images" / "field0.png"
    used = segedu("predict", picture, "--weights", best, "--out", tmp_path / "out")
    assert used.returncode == 0, used.stderr
    mask = np.asarray(Image.open(tmp_path / "out" / "field0_mask.png"))
    assert mask.shape == (64, 70)
    assert set(np.unique(mask)) <= {0, 255}
    assert (tmp_path / "out" / "field0_overlay.png").exists()


def test_predict_without_weights_uses_the_committed_ones(tmp_path):
    grey, instances = synthetic_nuclei(1, size=(130, 101))
    Image.fromarray(grey).convert("RGB").save(tmp_path / "colour.png")
    used = segedu("predict", "colour.png", cwd=tmp_path)
    assert used.returncode == 0, used.stderr
    mask = np.asarray(Image.open(tmp_path / "predictions" / "colour_mask.png")) > 0
    truth = instances > 0
    assert (mask & truth).sum() / (mask | truth).sum() > 0.5


def test_synthetic_is_the_default_of_info_and_train(tmp_path):
    small = ("--steps", 1, "--batch-size", 1, "--crop-size", 32, "--channels", "2,4")
    trained = segedu("train", "--model", "unet", *small, cwd=tmp_path)
    assert "261 training and 52 validation images, unet of " in trained.stdout, trained.stderr
    assert "85 test images: mean IoU per image " in trained.stdout
    assert (tmp_path / "runs" / "1" / "best.safetensors").exists()


def test_a_mistake_is_a_line_and_not_a_traceback(tmp_path):
    """In a process of its own; all the other mistakes are in test_bad_commands.py."""
    result = segedu("train", "--data", "folder", "--root", "nowhere", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert "nowhere" in result.stderr
    assert "Traceback" not in result.stderr


def test_predict_goes_on_after_a_bad_picture_and_prints_the_threshold(tmp_path):
    grey, _ = synthetic_nuclei(1, size=(40, 40))
    Image.fromarray(grey).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no picture")
    used = segedu("predict", "bad.png", "good.png", "missing.png", cwd=tmp_path)
    assert used.returncode == 1
    assert "threshold 0.5" in used.stdout
    assert "2 of 3 pictures could not be segmented" in used.stderr
    assert sorted(p.name for p in (tmp_path / "predictions").iterdir()) == [
        "good_mask.png", "good_overlay.png"
    ]  # fmt: skip


def test_two_processes_give_what_one_gives(folder, tmp_path):
    """With group norm, equal shares of the batch, nothing ignored; torchrun starts the third."""
    small = (
        "train", "--data", "folder", "--root", folder, "--steps", 4, "--batch-size", 4,
        "--crop-size", 32, "--channels", "4,8,8", "--norm", "group",
    )  # fmt: skip
    one = segedu(*small, "--out", tmp_path / "one")
    two = segedu(*small, "--devices", 2, "--out", tmp_path / "two")
    torchrun = Path(sys.executable).with_name("torchrun")
    command = [torchrun, "--nproc-per-node", 2, "-m", "segedu", *small, "--devices", 2]
    three = subprocess.run(
        [*map(str, command), "--out", tmp_path / "three"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    weights = []
    for run, name in ((one, "one"), (two, "two"), (three, "three")):
        assert run.returncode == 0, run.stderr
        weights.append(load_model(tmp_path / name / "last.safetensors").state_dict())
    for other in weights[1:]:
        for name, value in weights[0].items():
            torch.testing.assert_close(other[name], value, rtol=0, atol=1e-5)
    histories = [read_history(tmp_path / name / "history.csv") for name in ("one", "two")]
    for row, other in zip(*histories, strict=True):
        assert other["loss"] == pytest.approx(row["loss"], abs=1e-5)
        assert other["validation_iou"] == pytest.approx(row["validation_iou"], abs=1e-3)


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "info"])
def test_help_teaches(command):
    result = segedu(command, "--help")
    assert result.returncode == 0
    assert "--weights" in result.stdout or "--data" in result.stdout
