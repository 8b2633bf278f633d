"""Every kind of mistake on the command line: a message that helps, and no traceback."""

import numpy as np
import pytest
from PIL import Image

from segedu import HalfResolution, UNet, save_checkpoint
from tests.test_cli import segedu

TRAIN = ["train", "--steps", "1", "--batch-size", "1", "--crop-size", "16", "--channels", "2,4"]
NO_INTEGER = ["word", "", "0.5", "nan"]
NOT_POSITIVE = [*NO_INTEGER, "0", "-3"]
ROOTS = ["nowhere", "text.png", "."]
ARCHIVES = [f"--data={data} --root={root}" for data in ("folder", "nuclei") for root in ROOTS]

# What each option of a command cannot take; a value with blanks stands for several words.
MISTAKES = {
    "train": {
        "--data": ["word"],
        "--num-classes": [*NOT_POSITIVE, "4"],
        "--model": ["word"],
        "--root": ["pictures"],
        "--init=unetpp-nuclei-tiny --model": ["unet"],
        "--init=unetpp-nuclei-tiny --channels": ["8,16"],
        "--channels": ["word", "", ",", "8", "8;16", "8,,16", "1.5,2", "0,4", "4,-8"],
        "--norm": ["word"],
        "--steps": NOT_POSITIVE,
        "--batch-size": NOT_POSITIVE,
        "--crop-size": [*NOT_POSITIVE, "17"],
        "--learning-rate": ["word", "", "nan", "inf", "-1"],
        "--class-names": ["nucleus"],  # without a folder
        "--seed": [*NO_INTEGER, "-1", "4294967296"],
        "--accelerator": ["word"],
        "--devices": [*NOT_POSITIVE, "2"],  # for a batch of one
        "--nodes": [*NOT_POSITIVE, "2"],
        "--precision": ["word"],
        "--out": ["text.png", "text.png/below", "a_run"],
        "": [*ARCHIVES, "--data=folder", "--resume", "--lr=1", "--weights=colour.safetensors"],
    },
    "evaluate": {
        "--weights": ["nowhere", "text.png", ".", "colour.safetensors"],
        "--level": [*NO_INTEGER, "0", "5"],
        "--split": ["word"],
        "--calibrate": ["nowhere", "text.png", "nothing", "pictures"],  # without an object
        "--root": ["pictures"],  # of which data?
        "--weights=three.safetensors --calibrate": ["pictures"],
        "--data=folder --root=pictures --calibrate": ["pictures"],  # measured, too
        "--accelerator": ["word"],
        "--precision": ["word"],
        "": ARCHIVES,
    },
    "predict": {
        "grey.png --weights": ["nowhere", "text.png", ".", "a_run", "colour.safetensors"],
        "grey.png --level": [*NO_INTEGER, "0", "5"],
        "grey.png --threshold": ["word", "", "nan", "-0.1", "1.1", "inf"],
        "grey.png --calibrate": ["nowhere", "text.png", "nothing", "pictures"],
        "grey.png --ignore-index": ["255"],  # of no masks
        "grey.png --threshold=0.3 --calibrate": ["pictures"],
        "grey.png --out": ["text.png"],
        "grey.png --accelerator": ["word"],
        "": ["", "nowhere/*.png", "nowhere.png", "nothing", "text.png", "empty.png"],
        "grey.png": ["other/grey.png", "--x"],  # two results of one name
        "x.png": ["x_mask.png --out=."],  # a result of the name of a picture
    },
    "info": {
        "--num-classes": [*NOT_POSITIVE, "4"],
        "--data=folder --root=pictures --out": ["text.png"],
        "": ARCHIVES,
    },
    "convert": {
        "--root=pictures --out": ["pictures", "text.png"],
        "--out=new --root": [*ROOTS, "nothing"],
        "--out=new --images=pictures/images --masks": ["nowhere", "text.png", "nothing"],
        "--out=new --root=pictures": ["--mask-suffix=x", "--colours=text.png", "--images=pictures"],
        "--out=new --root=pictures --threshold": ["word", ""],
        "--out=new --root=pictures --objects": ["word"],
        "--out=new --root=pictures --num-classes": NOT_POSITIVE,
        "": ["", "--out=new", "--out=new --masks=pictures/masks"],
    },
    "export": {
        "--format": ["word"],
        "--format=web --weights": ["nowhere", "text.png", "colour.safetensors", "half.safetensors"],
        "": [""],
    },
    "": {"": ["word", "--x"]},
}
CASES = [(name, option) for name, options in MISTAKES.items() for option in options]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the commands run: files that are not what an option asks for."""
    root = tmp_path_factory.mktemp("mistakes")
    (root / "text.png").write_text("no picture, no weights, no archive", encoding="utf-8")
    (root / "empty.png").touch()
    for name in ("other", "nothing", "a_run", "pictures/images", "pictures/masks"):
        (root / name).mkdir(parents=True)
    for name in ("best", "last"):
        save_checkpoint(root / "a_run" / f"{name}.safetensors", UNet(1, 1, channels=(2, 4)))
    save_checkpoint(root / "colour.safetensors", UNet(4, 1, channels=(2, 4)))
    save_checkpoint(root / "three.safetensors", UNet(1, 3, channels=(2, 4)))
    save_checkpoint(root / "half.safetensors", HalfResolution(1, 1, channels=(2, 4)))
    pictures = [f"pictures/{kind}/{name}.png" for kind in ("images", "masks") for name in "abcd"]
    for name in ("grey.png", "other/grey.png", "x.png", "x_mask.png", *pictures):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(root / name)
    return root


@pytest.mark.parametrize(("name", "option"), CASES, ids=[" ".join(case) for case in CASES])
def test_a_mistake_is_answered(folder, name, option):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    command = TRAIN if name == "train" else [name] if name else []
    for value in MISTAKES[name][option]:
        is_option = option.split(" ")[-1].startswith("--")
        values = [value] if is_option else value.split(" ") if value else []
        result = segedu(*command, *option.split(), *values, cwd=folder)
        said = result.err or result.out  # without a command, its help is shown
        assert result.code != 0, value
        assert "error" in said.lower() or "usage" in said.lower(), said
        assert len(said) > 20, said
        assert "Traceback" not in said, said
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
