"""`segedu train`: its choices, and what it finds before the first step."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segedu import load_model, losses
from segedu.commands.train import NETWORKS, make_loss, read_weights
from segedu.files import read_history
from tests.cases_data import save
from tests.test_cli import SMALL, done, segedu


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    """Colour pictures of three classes, and a value for what belongs to none."""
    root, random = tmp_path_factory.mktemp("streets"), np.random.default_rng(0)
    for index in range(6):
        mask = random.integers(0, 3, (10, 12)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
        colours = np.array([[20, 30, 40], [200, 90, 50], [90, 200, 60]], np.uint8)[mask]
        mask[:3] = 99
        save(root / "images" / f"{index}.png", colours)
        save(root / "masks" / f"{index}.png", mask)
    return root


def test_several_classes_with_names_weights_and_other_crops(streets, tmp_path):
    printed = done(
        "train", "--data", "folder", "--root", streets, "--num-classes", 3, "--ignore-index", 99,
        "--loss", "focal", "--class-weights", "balanced", "--class-names", "road, car ,tree",
        "--augment", "mirror,scale,elastic,light", *SMALL, "--out", tmp_path / "run",
    )  # fmt: skip
    model = load_model(tmp_path / "run" / "best.safetensors")
    assert model.class_names == ("road", "car", "tree")
    assert [line.split()[0] for line in printed.splitlines() if line.startswith("  ")][1:4] == [
        "road", "car", "tree"
    ]  # fmt: skip


def test_the_command_of_the_chapter_on_several_classes(tmp_path):
    page = Path(__file__).parents[1] / "chapters" / "several_classes.ipynb"
    (command,) = re.findall(r"`segedu (train [^`]+)`", page.read_text(encoding="utf-8"))
    random = np.random.default_rng(0)
    for index in range(8):
        mask = random.integers(0, 4, (10, 12)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
        colours = random.integers(0, 256, (4, 3)).astype(np.uint8)[mask]
        save(tmp_path / "my_slides" / "images" / f"{index}.png", colours)
        save(tmp_path / "my_slides" / "masks" / f"{index}.png", mask)
    printed = done(*shlex.split(command), *SMALL, cwd=tmp_path)
    rows = [line.split() for line in printed.splitlines() if line.startswith("  ")]
    assert {"iou", "precision", "recall"} < set(rows[0])
    assert [row[0] for row in rows[1:5]] == ["glass", "tissue", "blue", "brown"]


def test_the_weights_reach_the_loss(streets, tmp_path):
    train = ("train", "--data", "folder", "--root", streets, "--num-classes", 3)
    train += ("--ignore-index", 99, "--model", "unet", *SMALL)
    curves = []
    for number, weights in enumerate(
        (["--class-weights", "1,1,1"], [], ["--class-weights", "9,1,1"])
    ):
        done(*train, *weights, "--out", tmp_path / str(number))
        history = read_history(tmp_path / str(number) / "history.csv")
        curves.append([row["loss"] for row in history])
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)
    assert curves[2] != pytest.approx(curves[1], rel=1e-3)


def test_losses_by_name():
    logits, target = torch.randn(2, 1, 4, 4), torch.randint(0, 2, (2, 1, 4, 4)).float()
    several, indices = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    for name, weights, expected in (
        ("compound", None, losses.compound_loss(logits, target)),
        ("cross-entropy", [1, 3], losses.binary_cross_entropy(logits, target, weight=[1, 3])),
        ("focal", [1, 3], losses.focal_loss(logits, target, alpha=0.75)),
        ("dice", None, losses.dice_loss(logits, target)),
    ):
        assert torch.equal(make_loss(name, 1, weights, None)(logits, target), expected)
    for name, weights, expected in (
        ("cross-entropy", [1, 3, 2], losses.cross_entropy(several, indices, weight=[1, 3, 2])),
        ("focal", [1, 3, 2], losses.focal_loss(several, indices, alpha=torch.tensor([1, 3, 2]))),
    ):
        assert torch.equal(make_loss(name, 3, weights, None)(several, indices), expected)
    with pytest.raises(ValueError, match="Dice loss takes no --class-weights"):
        make_loss("dice", 1, [1, 2], None)


def test_balanced_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    masks = [np.array([[0, 0, 1], [2, 7, 7]]), np.array([[0, 0, 0, 1]])]
    data = [(None, mask) for mask in masks]
    values = np.concatenate([mask.ravel() for mask in masks])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=values[values != 7])
    assert read_weights("balanced", data, 3, 7) == pytest.approx(expected, abs=1e-3)
    with pytest.raises(ValueError, match="no pixel of class 3"):
        read_weights("balanced", data, 4, 7)


@pytest.mark.parametrize("text", ["1", "1,2,3", "1,-2", "0,0", "a,b", "nan,1", "inf,1", ""])
def test_weights_that_are_none(text):
    with pytest.raises(ValueError, match="--class-weights takes 'balanced', or 2 numbers like 1,1"):
        read_weights(text, [], 1, None)


def spoil_the_test_split(root):
    folder = root / "test" / "masks"
    mask = np.asarray(Image.open(folder / "a.png")).copy()
    mask[0, 0] = 77
    save(folder / "a.png", mask)


def cut_off_an_image(root):
    path = root / "test" / "images" / "a.png"
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (spoil_the_test_split, (), "holds the values [77"),
        (cut_off_an_image, (), "cannot read"),
        (None, ("--norm", "group"), "a network with --norm group takes at most 512"),
        (None, ("--class-names", "a,b"), "--class-names has 2 names for 1 classes"),
        (None, ("--ignore-index", "255"), "no other class than [0], so there is nothing to learn"),
        (None, ("--augment", "flip"), "augment must be 'mirror'"),
        (None, ("--class-weights", "2"), "--class-weights takes 'balanced', or 2 numbers"),
    ],
)
def test_what_would_end_a_run_badly_is_found_before_it(tmp_path, spoil, options, message):
    random = np.random.default_rng(0)
    for part, size in (("train", (40, 40)), ("val", (40, 40)), ("test", (40, 600))):
        for name in "ab":
            grey = random.integers(0, 255, size, np.uint8)
            save(tmp_path / "mine" / part / "images" / f"{name}.png", grey)
            save(tmp_path / "mine" / part / "masks" / f"{name}.png", np.uint8(255) * (grey > 99))
    if spoil:
        spoil(tmp_path / "mine")
    command = ("train", "--data", "folder", "--root", tmp_path / "mine", *SMALL, *options)
    used = segedu(*command, "--out", tmp_path / "run")
    assert used.code == 1
    assert message in used.err
    assert not (tmp_path / "run").exists()


def test_a_command_trains_on_after_the_end(streets, tmp_path):
    command = ["train", "--data", "folder", "--root", streets, "--num-classes", 3]
    command += ["--ignore-index", 99, *SMALL, "--out", tmp_path / "run"]
    done(*command)
    shutil.copytree(tmp_path / "run", tmp_path / "before")
    done(*command, "--resume", "--steps", 9)  # the last of two --steps counts
    steps = [row["step"] for row in read_history(tmp_path / "run" / "history.csv")]
    assert steps == list(range(1, 10))
    used = segedu(*command, "--resume", "--steps", 7)
    assert "got {'steps': 7, 'validate_every': 2}: resume it with the same settings" in used.err


@pytest.mark.parametrize("name", ["unet", "residual", "attention", "unet3plus", "half"])
def test_networks_by_name(name, streets, tmp_path):
    data = ("--data", "folder", "--root", streets, "--num-classes", 3, "--ignore-index", 99)
    done("train", "--model", name, *data, *SMALL, "--out", tmp_path / "run")
    model = load_model(tmp_path / "run" / "best.safetensors")
    same = NETWORKS[name](3, 3, channels=(4, 8))
    assert [(name, value.shape) for name, value in model.state_dict().items()] == [
        (name, value.shape) for name, value in same.state_dict().items()
    ]
