"""The commands as people run them: in a process of their own, with what they print."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from segedu import load_model
from segedu.data import synthetic_nuclei


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
    assert load_model(best)[0].deep_supervision
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
    assert (tmp_path / "runs" / "latest" / "best.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--data", "nuclei"), "--data nuclei needs --root"),
        (("train", "--num-classes", 2), "--data synthetic has 1 class (nucleus) or 3"),
        (("train", "--data", "folder", "--root", "nowhere"), "nowhere"),
        (("train", "--channels", "8;16"), "--channels takes numbers like"),
        (("predict", "missing.png"), "missing.png"),
        (("predict", "x.png", "--weights", "missing.safetensors"), "missing.safetensors"),
        (("evaluate", "--split", "tset"), "tset"),
    ],
)
def test_a_mistake_is_a_line_and_not_a_traceback(arguments, message, tmp_path):
    result = segedu(*arguments, cwd=tmp_path)
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "info"])
def test_help_teaches(command):
    result = segedu(command, "--help")
    assert result.returncode == 0
    assert "--weights" in result.stdout or "--data" in result.stdout
