"""The commands: what they write and print. Mistakes on the command line: test_bad_commands.py."""

import contextlib
import inspect
import io
import shutil
import subprocess
import sys
import tomllib
from dataclasses import asdict
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from segedu import UNet, __version__, cli, load_model, load_pretrained, save_checkpoint, segmenter
from segedu.commands import report
from segedu.data import FolderDataset, normalize, read_image, sample, synthetic_nuclei
from segedu.evaluation import dataset_iou, evaluate
from segedu.files import read_history, read_rows
from segedu.metrics import average_precision
from segedu.training import TrainConfig
from tests.cases_data import save

SMALL = ("--steps", 4, "--batch-size", 2, "--crop-size", 32, "--channels", "4,8")


class Result(NamedTuple):
    code: int
    out: str
    err: str


def segedu(*arguments, cwd: Path | str = ".") -> Result:
    """What `segedu ARGUMENTS` does in a process of its own, done in this one."""
    out, err = io.StringIO(), io.StringIO()
    command = mock.patch("sys.argv", ["segedu", *map(str, arguments)])
    here, printed = contextlib.chdir(cwd), contextlib.redirect_stdout(out)
    with here, printed, contextlib.redirect_stderr(err), command:
        try:
            cli.main()
        except SystemExit as stopped:
            code = stopped.code or 0
    if isinstance(code, str):  # Python prints it, and exits with 1
        return Result(1, out.getvalue(), f"{err.getvalue()}{code}\n")
    return Result(code, out.getvalue(), err.getvalue())


def done(*arguments, cwd: Path | str = ".") -> str:
    """What a command prints that has to succeed."""
    result = segedu(*arguments, cwd=cwd)
    assert result.code == 0, result.err
    return result.out


def in_a_process(*arguments, cwd=None, launcher=("-m",)) -> Result:
    command = [sys.executable, *launcher, "segedu", *map(str, arguments)]
    used = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)
    return Result(used.returncode, used.stdout, used.stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("mine")
    for index in range(8):
        grey, instances = synthetic_nuclei(index, size=(64, 70))
        save(root / "images" / f"field{index}.png", grey)
        save(root / "masks" / f"field{index}.png", np.uint8(255) * (instances > 0))
    return root


def as_input(path: Path) -> torch.Tensor:
    return normalize(read_image(path, channels=1))[None]


def mask_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def undecided(num_classes: int, picture: Path) -> UNet:
    """A network for which every class is the most probable one somewhere in a picture."""
    torch.manual_seed(0)
    model = UNet(1, num_classes, channels=(4, 8, 8)).eval()
    with torch.no_grad():
        model.heads["2"].weight *= 100
        logits = model(as_input(picture)[..., :64, :64])
        model.heads["2"].bias -= logits.flatten(2).median(dim=2).values[0]
    return model


@pytest.fixture(scope="module")
def careful(tmp_path_factory, folder) -> Path:
    """A network that was saved with a threshold of 0.35, around which it is undecided."""
    path = tmp_path_factory.mktemp("careful") / "careful.safetensors"
    model = undecided(1, folder / "images" / "field0.png")
    model.threshold = 0.35
    model.heads["2"].bias.data += torch.tensor(0.35).logit()
    save_checkpoint(path, model)
    return path


# -- from data to a trained network ------------------------------------------------------------


def test_a_folder_of_ones_own_from_end_to_end(folder, tmp_path):
    data = ("--data", "folder", "--root", folder)
    shown = done("info", *data, "--out", tmp_path)
    assert "train: 6 images of 64 x 70 pixels; class 0: " in shown
    assert (tmp_path / "preview.png").exists()

    trained = done("train", *data, *SMALL, "--out", tmp_path / "run")
    assert "1 test images: mean IoU per image " in trained
    assert "without a network: Otsu's threshold " in trained
    best = tmp_path / "run" / "best.safetensors"
    assert load_model(best).deep_supervision
    assert {p.name for p in best.parent.iterdir()} == {
        "best.safetensors", "last.safetensors", "history.csv", "history.png", "test.csv"
    }  # fmt: skip

    line = next(line for line in trained.splitlines() if "mean IoU" in line)
    assert line in done("evaluate", *data, "--weights", best, "--out", tmp_path / "again")
    tables = [read_rows(place / "test.csv") for place in (tmp_path / "run", tmp_path / "again")]
    assert tables[0] == tables[1]
    (row,) = tables[0]
    assert row["picture"] in {path.name for path in (folder / "images").iterdir()}

    picture = folder / "images" / "field0.png"
    done("predict", picture, "--weights", best, "--out", tmp_path / "out")
    mask = mask_of(tmp_path / "out" / "field0_mask.png")
    assert mask.shape == (64, 70)
    assert set(np.unique(mask)) <= {0, 255}
    assert (tmp_path / "out" / "field0_overlay.png").exists()


def test_pixels_that_do_not_count(folder, tmp_path):
    """With a third of every mask ignored, training, its report and the preview work as without."""
    shutil.copytree(folder, tmp_path / "data")
    for path in (tmp_path / "data" / "masks").iterdir():
        mask = np.array(Image.open(path)) // 255
        mask[:20] = 7
        Image.fromarray(mask).save(path)
    data = ("--data", "folder", "--root", tmp_path / "data")
    refused = segedu("train", *data, *SMALL, "--out", tmp_path / "run")
    assert "holds the values [7]" in refused.err
    data += ("--ignore-index", 7)
    assert "class 1: " in done("info", *data, "--out", tmp_path)
    trained = done("train", *data, *SMALL, "--crop-size", 96, "--out", tmp_path / "run")  # padded
    line = next(line for line in trained.splitlines() if "mean IoU" in line)
    weights = ("--weights", tmp_path / "run" / "best.safetensors")
    assert line in done("evaluate", *data, *weights, "--out", tmp_path)


@pytest.mark.parametrize("name", ["x" * 240, "caf\udce9", "cell [1]"])
def test_pictures_with_unusual_names(tmp_path, name):
    """As long as a file system allows, not Unicode, or with a pattern's characters."""
    Image.fromarray(synthetic_nuclei(0, size=64)[0]).save(tmp_path / f"{name}.png")
    printed = in_a_process("predict", tmp_path / f"{name}.png", "--out", tmp_path / "out")
    assert printed.code == 0, printed.err
    assert (tmp_path / "out" / f"{name}_mask.png").exists()


def test_version_and_help():
    assert done("--version") == f"segedu {__version__}\n"
    assert done("-h") == done("--help")
    for words in ("Start with: segedu train", "predict"):
        assert words in done("-h")


def test_predict_numbers_and_measures_objects(tmp_path):
    field = sample()
    tifffile.imwrite(tmp_path / "field.tif", field.grey)
    options = ("--objects", "split", "--min-area", 10, "--probabilities")
    printed = done("predict", tmp_path / "field.tif", *options, "--out", tmp_path)
    objects = tifffile.imread(tmp_path / "field_objects.tif")
    rows = read_rows(tmp_path / "objects.csv")
    assert len(rows) == objects.max() > 100  # of 125
    assert f"{len(rows)} objects in all" in printed
    assert average_precision(objects.astype(int), field.instances).scores[0] > 0.75
    assert [int(row["area"]) for row in rows] == np.bincount(objects.ravel())[1:].tolist()
    probability = tifffile.imread(tmp_path / "field_probability.tif")
    mask = mask_of(tmp_path / "field_mask.png")
    np.testing.assert_array_equal(probability > load_pretrained().threshold, mask > 0)


def test_a_mask_of_several_classes_has_a_palette(tmp_path):
    save_checkpoint(tmp_path / "three.safetensors", UNet(1, 3, channels=(4, 8)))
    Image.fromarray(synthetic_nuclei(0, size=64)[0]).save(tmp_path / "a.png")
    weights = ("--weights", tmp_path / "three.safetensors")
    done("predict", tmp_path / "a.png", *weights, "--out", tmp_path)
    picture = Image.open(tmp_path / "a_mask.png")
    assert picture.mode == "P"
    assert set(np.unique(picture)) <= {0, 1, 2}


def test_training_starts_from_given_weights(folder, tmp_path):
    data = ("--data", "folder", "--root", folder, "--crop-size", 32, "--steps", 1)
    options = ("--init", "unetpp-nuclei-tiny", "--learning-rate", 0)
    done("train", *data, *options, "--out", tmp_path / "run")
    tuned, given = load_model(tmp_path / "run" / "last.safetensors"), load_pretrained(options[1])
    for name, weight in given.named_parameters():
        assert torch.equal(tuned.get_parameter(name), weight)
    refused = segedu("train", *data, *options, "--num-classes", 3, "--out", tmp_path / "other")
    assert "has 1 classes, but --num-classes is 3" in refused.err


def test_a_run_goes_on_with_resume(folder, tmp_path):
    train = ("train", "--data", "folder", "--root", folder, *SMALL, "--out", tmp_path)
    done(*train)
    before = (tmp_path / "last.safetensors").read_bytes()
    refused = segedu(*train)
    assert refused.code == 1
    assert "already holds a run" in refused.err
    done(*train, "--resume")
    assert (tmp_path / "last.safetensors").read_bytes() == before


def test_synthetic_is_the_default_of_train(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "print_report", lambda _, dataset, *others: print(len(dataset)))
    (tmp_path / "runs" / "1").mkdir(parents=True)
    small = ("--steps", 1, "--batch-size", 1, "--crop-size", 32, "--channels", "2,4")
    trained = done("train", "--model", "unet", *small, cwd=tmp_path)
    assert "261 training and 52 validation images, unet of " in trained
    assert "\n85\n" in trained  # test images
    best = load_model(tmp_path / "runs" / "2" / "best.safetensors")
    assert best.class_names == ("nucleus",)


@pytest.mark.slow
def test_two_processes_give_what_one_gives(folder, tmp_path):
    """With group norm, equal shares of the batch, nothing ignored; torchrun starts the third."""
    small = (
        "train", "--data", "folder", "--root", folder, "--steps", 4, "--batch-size", 4,
        "--crop-size", 32, "--channels", "4,8,8", "--norm", "group",
    )  # fmt: skip
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "-m")
    runs = {
        "one": in_a_process(*small, "--out", tmp_path / "one"),
        "two": in_a_process(*small, "--devices", 2, "--out", tmp_path / "two"),
        "three": in_a_process(
            *small, "--devices", 2, "--out", tmp_path / "three", launcher=torchrun
        ),
    }
    weights = []
    for name, run in runs.items():
        assert run.code == 0, run.err
        weights.append(load_model(tmp_path / name / "last.safetensors").state_dict())
    for other in weights[1:]:
        for name, value in weights[0].items():
            torch.testing.assert_close(other[name], value, rtol=0, atol=1e-5)
    histories = [read_history(tmp_path / name / "history.csv") for name in ("one", "two")]
    for row, other in zip(*histories, strict=True):
        assert other["loss"] == pytest.approx(row["loss"], abs=1e-5)
        assert other["validation_iou"] == pytest.approx(row["validation_iou"], abs=1e-3)


# -- the network's own threshold ---------------------------------------------------------------


def test_predict_uses_the_threshold_that_the_network_was_saved_with(folder, careful, tmp_path):
    printed = done("predict", folder / "images", "--weights", careful, "--out", tmp_path)
    assert "threshold 0.35" in printed
    segment = segmenter(load_model(careful))
    for path in (folder / "images").iterdir():
        mask = mask_of(tmp_path / f"{path.stem}_mask.png")
        assert (mask == 255 * segment(as_input(path))[0].numpy()).all()

    picture = folder / "images" / "field0.png"
    own = mask_of(tmp_path / "field0_mask.png")
    half = ("--weights", careful, "--threshold", 0.5)
    assert "threshold 0.5" in done("predict", picture, *half, "--out", tmp_path)
    given = mask_of(tmp_path / "field0_mask.png")
    segment = segmenter(load_model(careful), threshold=0.5)
    assert (given == 255 * segment(as_input(picture))[0].numpy()).all()
    assert (given != own).any()


def test_evaluate_uses_the_threshold_that_the_network_was_saved_with(folder, careful, tmp_path):
    data = ("--data", "folder", "--root", folder, "--out", tmp_path)
    measured = done("evaluate", *data, "--weights", careful)
    dataset = FolderDataset(folder, num_classes=1, split="test")
    own, usual = (
        dataset_iou(evaluate(segmenter(load_model(careful), threshold=t), dataset, num_classes=1))
        for t in (None, 0.5)
    )
    assert f"1 test images: mean IoU per image {own:.3f}" in measured
    assert f"{own:.3f}" != f"{usual:.3f}"


def test_export_writes_the_threshold_that_the_network_was_saved_with(tmp_path):
    model = load_pretrained("unetpp-nuclei-tiny")
    model.threshold = 0.35
    save_checkpoint(tmp_path / "net.safetensors", model)
    done("export", "--format", "web", "--weights", "net.safetensors", cwd=tmp_path)
    page = (tmp_path / "net.html").read_text(encoding="utf-8")
    assert '"threshold": 0.35' in page


# -- pictures to segment -----------------------------------------------------------------------


def test_predict_without_weights_uses_the_committed_ones(tmp_path):
    grey, instances = synthetic_nuclei(1, size=(130, 101))
    save(tmp_path / "colour.png", Image.fromarray(grey).convert("RGB"))
    printed = done("predict", "colour.png", cwd=tmp_path)
    assert f"threshold {load_pretrained().threshold}\n" in printed
    mask = mask_of(tmp_path / "predictions" / "colour_mask.png") > 0
    truth = instances > 0
    assert (mask & truth).sum() / (mask | truth).sum() > 0.5


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["pictures"], ["a", "b", "c"]),
        (["pictures/[ab].*"], ["a", "b"]),
        (["**/c.png", "pictures/a.PNG"], ["c", "a"]),
    ],
    ids=["a folder", "a pattern", "a pattern and a file"],
)
def test_predict_takes_folders_and_patterns(given, found, careful, tmp_path):
    pictures = tmp_path / "pictures"
    (pictures / "below").mkdir(parents=True)  # folders in a folder are left alone
    for name in ("a.PNG", "b.tif", "c.png"):
        save(pictures / name, np.zeros((8, 8), np.uint8))
    (pictures / "notes.txt").write_text("no picture", encoding="utf-8")
    (pictures / "._a.png").write_text("what macOS leaves beside a file", encoding="utf-8")
    printed = done("predict", *given, "--weights", careful, cwd=tmp_path)
    said = [line for line in printed.splitlines() if "% foreground" in line]
    assert [Path(line.partition(":")[0]).stem for line in said] == found
    written = {path.name for path in (tmp_path / "predictions").iterdir()}
    results = {f"{name}_{kind}.png" for name in found for kind in ("mask", "overlay")}
    assert written == results | {"pictures.csv", "sheet_1.png"}


def test_predict_in_a_folder_without_pictures_is_a_mistake(careful, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf-8")
    for given in (".", "*.png"):
        used = segedu("predict", given, "--weights", careful, cwd=tmp_path)
        assert used.code == 1
        assert f"error: there are no pictures in {given}, expected at least one\n" in used.err
    assert not (tmp_path / "predictions").exists()


def test_predict_goes_on_after_a_bad_picture(careful, tmp_path):
    grey, _ = synthetic_nuclei(1, size=(40, 40))
    save(tmp_path / "good.png", grey)
    (tmp_path / "bad.png").write_text("no picture", encoding="utf-8")
    used = segedu(
        "predict", "bad.png", "good.png", "missing.png", "--weights", careful, cwd=tmp_path
    )
    assert used.code == 1
    assert "2 of 3 pictures could not be segmented" in used.err
    assert sorted(p.name for p in (tmp_path / "predictions").iterdir()) == [
        "good_mask.png", "good_overlay.png", "pictures.csv", "sheet_1.png"
    ]  # fmt: skip


def test_a_mask_of_several_classes_holds_their_numbers(folder, tmp_path):
    picture = folder / "images" / "field0.png"
    model = undecided(3, picture)
    save_checkpoint(tmp_path / "three.safetensors", model)
    printed = done("predict", picture, "--weights", "three.safetensors", cwd=tmp_path)
    assert "threshold" not in printed
    mask = mask_of(tmp_path / "predictions" / "field0_mask.png")
    assert (mask == segmenter(model)(as_input(picture))[0].numpy()).all()
    assert set(np.unique(mask)) == {0, 1, 2}


# -- where it is computed ----------------------------------------------------------------------


def test_half_precision_gives_nearly_the_same(folder, careful, tmp_path):
    full = ("--weights", careful)
    half = (*full, "--accelerator", "cpu", "--precision", "bf16-mixed")
    picture, masks = folder / "images" / "field0.png", []
    for options in (half, full):
        done("predict", picture, *options, "--out", tmp_path)
        masks.append(mask_of(tmp_path / "field0_mask.png"))
    assert 0 < (masks[0] != masks[1]).mean() < 0.1  # another precision, and no other answer

    data = ("--data", "folder", "--root", folder, "--out", tmp_path)
    printed = [done("evaluate", *data, *options) for options in (half, full)]
    scores = [float(text.split("per image ")[1].split()[0]) for text in printed]
    assert scores[0] == pytest.approx(scores[1], abs=0.05)


@pytest.mark.parametrize("command", [("train", "--steps", 1), ("evaluate",), ("predict", "a.png")])
def test_an_accelerator_that_is_not_there_is_one_line(command, tmp_path):
    used = segedu(*command, "--accelerator", "tpu", cwd=tmp_path)
    assert used.code == 1
    assert used.err.startswith("error: cannot use --accelerator tpu --devices 1")
    assert used.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# -- the command itself ------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "info", "convert", "export"])
def test_help_teaches(command):
    shown = done(command, "--help")
    assert "--weights" in shown or "--data" in shown or "--masks" in shown


def test_the_defaults_of_train_are_those_of_the_package():
    config, options = TrainConfig(), inspect.signature(cli.train_command).parameters
    assert asdict(config) == {
        "steps": 300, "batch_size": 8, "crop_size": 128, "learning_rate": 3e-3,
        "weight_decay": 1e-2, "validate_every": 100, "seed": 0, "workers": 0,
        "ignore_index": None, "augment": ("flips", "light"),
    }  # fmt: skip
    assert cli._names(options["augment"].default) == config.augment
    for name in ("steps", "batch_size", "crop_size", "learning_rate", "seed"):
        assert options[name].default == getattr(config, name)


def test_the_package_installs_the_command():
    project = Path(__file__).parents[1] / "pyproject.toml"
    scripts = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["scripts"]
    assert EntryPoint("segedu", scripts["segedu"], "console_scripts").load() is cli.main


def test_a_mistake_is_a_line_and_not_a_traceback(tmp_path):
    """In a process of its own, as people run it."""
    result = in_a_process("train", "--data", "folder", "--root", "nowhere", cwd=tmp_path)
    assert result.code == 1
    assert result.err.startswith("error: ")
    assert "nowhere" in result.err
    assert "Traceback" not in result.err
