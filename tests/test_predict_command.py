"""What `segedu predict` writes beside the masks: tables, objects of every kind, contact sheets."""

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from skimage.io import imread

from segedu import UNet, save_checkpoint
from segedu.commands import segment
from segedu.data import instances_to_target, synthetic_nuclei
from segedu.files import read_rows
from tests.test_cli import done, segedu

MASK = np.zeros((40, 50), int)
MASK[2:8, 3:13] = MASK[20:24, 30:35] = 1  # of 60 and 20 pixels
MASK[30:33, 10:12] = 2


@pytest.fixture
def answers(monkeypatch):
    """The network answers each picture with the mask that its values are, 50 apart."""

    def use(num_classes):
        def predict(model, images):
            mask = (images[0, 0] * (num_classes - 1 or 1)).round().long()
            if num_classes == 1:
                return mask[None, None].float()
            return torch.nn.functional.one_hot(mask, num_classes).movedim(-1, 0)[None].float()

        monkeypatch.setattr(segment, "predict", predict)
        monkeypatch.setattr(
            segment, "normalize", lambda picture, _: torch.from_numpy(
                np.atleast_3d(picture).transpose(2, 0, 1) / (50 * max(num_classes - 1, 1))
            ),
        )  # fmt: skip

    return use


def network(path, num_classes=1, class_names=(), in_channels=1):
    model = UNet(in_channels, num_classes, channels=(2, 4))
    model.class_names = class_names
    save_checkpoint(path, model)
    return ("--weights", path)


def write(path, mask):
    Image.fromarray(np.uint8(50 * mask)).save(path)


def test_the_tables_say_what_is_in_each_picture(answers, tmp_path):
    answers(1)
    write(tmp_path / "a.png", MASK == 1)
    write(tmp_path / "b.png", np.zeros((10, 10)))
    command = ("predict", "a.png", "b.png", *network(tmp_path / "net.safetensors"))
    done(*command, "--objects", "regions", "--out", "out", cwd=tmp_path)
    assert read_rows(tmp_path / "out" / "pictures.csv") == [
        {"picture": "a.png", "foreground": "0.04", "objects": "2", "mean_area": "40.0"},
        {"picture": "b.png", "foreground": "0.0", "objects": "0", "mean_area": ""},
    ]
    assert read_rows(tmp_path / "out" / "objects.csv") == [
        {"picture": "a.png", "object": "1", "area": "60", "row": "4.5", "column": "7.5",
         "mean_value": "50.0"},
        {"picture": "a.png", "object": "2", "area": "20", "row": "21.5", "column": "32.0",
         "mean_value": "50.0"},
    ]  # fmt: skip


def test_a_table_without_objects_takes_the_place_of_an_older_one(answers, tmp_path):
    answers(1)
    weights, out = network(tmp_path / "net.safetensors"), ("--objects", "regions", "--out", "out")
    write(tmp_path / "a.png", MASK == 1)
    done("predict", "a.png", *weights, *out, cwd=tmp_path)
    before = (tmp_path / "out" / "objects.csv").read_text().splitlines()
    assert len(before) == 3
    write(tmp_path / "a.png", MASK == 7)
    done("predict", "a.png", *weights, *out, cwd=tmp_path)
    assert (tmp_path / "out" / "objects.csv").read_text().splitlines() == before[:1]
    assert tifffile.imread(tmp_path / "out" / "a_objects.tif").max() == 0
    printed = done("predict", "a.png", *weights, "--out", "out", cwd=tmp_path)
    assert printed.splitlines()[-1] == (
        "2 files from before, not of this run: out/a_objects.tif, out/objects.csv"
    )


def test_objects_of_several_classes_say_which(answers, tmp_path):
    answers(3)
    write(tmp_path / "a.png", MASK)
    weights = network(tmp_path / "net.safetensors", 3, ("ground", "car", "sign"))
    done("predict", "a.png", *weights, "--objects", "regions", "--out", "out", cwd=tmp_path)
    rows = read_rows(tmp_path / "out" / "objects.csv")
    assert [(row["class"], row["area"]) for row in rows] == [
        ("car", "60"), ("car", "20"), ("sign", "6")
    ]  # fmt: skip
    (row,) = read_rows(tmp_path / "out" / "pictures.csv")
    assert (row["share_ground"], row["share_car"], row["share_sign"]) == ("0.957", "0.04", "0.003")


def test_a_class_of_boundaries_keeps_objects_apart(answers, tmp_path):
    answers(3)
    instances = np.zeros((40, 50), int)
    instances[4:20, 4:20], instances[4:20, 20:36], instances[30:33, 30:33] = 1, 2, 3
    write(tmp_path / "a.png", instances_to_target(instances, "three_class").numpy())
    weights = network(tmp_path / "net.safetensors", 3, ("background", "interior", "boundary"))
    options = (*weights, "--objects", "regions", "--min-area", 10, "--out", "out")
    done("predict", "a.png", *options, cwd=tmp_path)
    found = tifffile.imread(tmp_path / "out" / "a_objects.tif")
    np.testing.assert_array_equal(found, instances * (instances < 3))
    rows = read_rows(tmp_path / "out" / "objects.csv")
    assert [row["area"] for row in rows] == ["256", "256"]
    assert "class" not in rows[0]


def test_each_channel_has_a_mean(answers, tmp_path):
    answers(1)
    colours = np.stack([50 * (MASK == 1), MASK + 7, MASK + 9], axis=-1)
    Image.fromarray(np.uint8(colours)).save(tmp_path / "a.png")
    weights = network(tmp_path / "net.safetensors", in_channels=3)
    done("predict", "a.png", *weights, "--objects", "regions", "--out", "out", cwd=tmp_path)
    for row in read_rows(tmp_path / "out" / "objects.csv"):
        assert [row[f"mean_value_{k}"] for k in (1, 2, 3)] == ["50.0", "8.0", "10.0"]


@pytest.mark.parametrize("number", [3, 70_000])
def test_numbers_of_objects_are_read_alike_by_other_programs(tmp_path, number):
    objects = np.arange(300 * 400, dtype=np.int32).reshape(300, 400) % (number + 1)
    segment._write_labels(tmp_path / "objects.tif", objects)
    with tifffile.TiffFile(tmp_path / "objects.tif") as file:
        assert file.is_imagej
        assert file.pages[0].dtype == (np.uint16 if number < 2**16 else np.float32)
    for values in (imread(tmp_path / "objects.tif"), Image.open(tmp_path / "objects.tif")):
        np.testing.assert_array_equal(np.asarray(values), objects)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_what_was_done_before_a_stop_is_kept(answers, tmp_path, monkeypatch, stop):
    answers(1)
    for name in "abc":
        write(tmp_path / f"{name}.png", MASK == 1)
    usual = segment.predict

    def predict(model, images, calls=[]):  # noqa: B006 - counts over the pictures
        calls.append(1)
        if len(calls) == 3:
            raise stop("out of memory")
        return usual(model, images)

    monkeypatch.setattr(segment, "predict", predict)
    command = ("predict", "a.png", "b.png", "c.png", *network(tmp_path / "net.safetensors"))
    used = segedu(*command, "--objects", "regions", "--out", "out", cwd=tmp_path)
    assert used.code != 0
    assert [row["picture"] for row in read_rows(tmp_path / "out" / "pictures.csv")] == [
        "a.png", "b.png"
    ]  # fmt: skip
    assert len(read_rows(tmp_path / "out" / "objects.csv")) == 4
    assert (tmp_path / "out" / "sheet_1.png").exists()


def test_a_picture_that_cannot_be_segmented_is_named(tmp_path):
    for name, value in (("a", 1.0), ("b", np.nan)):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.full((8, 8), value, np.float32))
    command = ("predict", "a.tif", "b.tif", *network(tmp_path / "net.safetensors"))
    used = segedu(*command, "--out", "out", cwd=tmp_path)
    assert used.err.splitlines() == [
        "error: b.tif: image holds NaN, infinite or extremely large values; replace them first",
        "error: 1 of 2 pictures could not be segmented, see above",
    ]


def test_contact_sheets_show_every_picture(answers, tmp_path, monkeypatch):
    answers(1)
    monkeypatch.setattr(segment, "ACROSS", 2)
    monkeypatch.setattr(segment, "DOWN", 1)
    names = ["a", "b$x_1$", "caf\udce9\n", "d" * 200, "e"]
    for name in names:
        write(tmp_path / f"{name}.png", (MASK == 1) * (name != "e"))
    weights = network(tmp_path / "net.safetensors")
    done("predict", ".", *weights, "--out", "out", cwd=tmp_path)
    sizes = [Image.open(tmp_path / "out" / f"sheet_{k}.png").size for k in (1, 2, 3)]
    assert sizes == [(510, 300), (510, 300), (260, 300)]
    assert not (tmp_path / "out" / "sheet_4.png").exists()
    # Coloured where the objects are, and nowhere on the sheet of the last one.
    colourful = [
        int(np.ptp(np.asarray(Image.open(tmp_path / "out" / f"sheet_{k}.png"), int), axis=2).max())
        for k in (1, 2, 3)
    ]
    assert min(colourful[:2]) > 50 > colourful[2]
    assert len(read_rows(tmp_path / "out" / "pictures.csv")) == 5


def test_a_contact_sheet_is_not_written_over_a_picture(answers, tmp_path):
    answers(1)
    for name in ("sheet_1.png", "b.png"):
        write(tmp_path / name, MASK == 1)
    weights = network(tmp_path / "net.safetensors")
    used = segedu("predict", "sheet_1.png", "b.png", *weights, "--out", ".", cwd=tmp_path)
    assert used.code == 1
    assert "the contact sheet sheet_1.png would overwrite sheet_1.png" in used.err


@pytest.mark.slow
def test_a_picture_of_sixteen_megapixels(answers, tmp_path):
    answers(1)
    tile = synthetic_nuclei(0, size=500)[1] > 0
    write(tmp_path / "a.png", np.tile(tile, (8, 8)))
    weights = network(tmp_path / "net.safetensors")
    done("predict", "a.png", *weights, "--objects", "regions", "--out", "out", cwd=tmp_path)
    rows = read_rows(tmp_path / "out" / "objects.csv")
    assert sum(int(row["area"]) for row in rows) == 64 * tile.sum()
    assert max(Image.open(tmp_path / "out" / "a_overlay.png").size) < 2000


def test_an_address_is_no_file():
    used = segedu("predict", "https://example.org/a.png")
    assert used.code == 1
    assert "https://example.org/a.png is an address, expected a file; download it" in used.err
