"""Public data sets as they are downloaded, imitated: one command, and `segedu train` reads them."""

import numpy as np
import pytest
import tifffile

from segedu.data import FolderDataset
from segedu.data.splits import SPLITS
from tests.cases_data import save
from tests.test_cli import SMALL, done, segedu


def circles(index: int, size=(40, 48)) -> np.ndarray:
    """(H, W) booleans."""
    y, x = np.indices(size)
    return (y - 8 - index % 20) ** 2 + (x - 12 - index % 24) ** 2 < 36


def grey(index: int, size=(40, 48)) -> np.ndarray:
    noise = np.random.default_rng(index).integers(0, 60, size)
    return (noise + 120 * circles(index, size)).astype(np.uint8)


def read(root, num_classes, **options) -> dict[str, np.ndarray]:
    """Every mask by the name of its image, as training sees it."""
    found = {}
    for split in SPLITS:
        data = FolderDataset(root, num_classes=num_classes, split=split, **options)
        for (image, _), (_, mask) in zip(data.pairs, data, strict=True):
            found[f"{split}/{image.name}"] = mask.numpy()
    return found


def by_name(root, num_classes, **options) -> dict[str, np.ndarray]:
    return {key.split("/")[1]: mask for key, mask in read(root, num_classes, **options).items()}


def test_isbi_2012(tmp_path):
    """Two stacks of 30 pages, where 255 is inside a cell and 0 its membrane."""
    pages = np.stack([grey(index) for index in range(30)])
    labels = np.stack([np.uint8(255) * circles(index) for index in range(30)])
    tifffile.imwrite(tmp_path / "train-volume.tif", pages)
    tifffile.imwrite(tmp_path / "train-labels.tif", labels)
    given = ("--images", "train-volume.tif", "--masks", "train-labels.tif")
    said = done("convert", *given, "--out", "isbi", cwd=tmp_path)
    assert "30 images with masks -> isbi" in said
    masks = by_name(tmp_path / "isbi", 1)
    assert sorted(masks) == [f"train-volume_{number:02}.tif" for number in range(1, 31)]
    for index in range(30):
        name = f"train-volume_{index + 1:02}.tif"
        np.testing.assert_array_equal(masks[name], circles(index))
        image = tifffile.imread(tmp_path / "isbi" / "images" / name)
        np.testing.assert_array_equal(image, grey(index))


def test_drive(tmp_path):
    """TIFF images, and GIF masks of 0 and 255 that are named otherwise; the field of view too."""
    part = tmp_path / "training"
    for number in range(21, 41):
        save(part / "images" / f"{number}_training.tif", np.stack([grey(number)] * 3, -1))
        save(part / "1st_manual" / f"{number}_manual1.gif", np.uint8(255) * circles(number))
        save(part / "mask" / f"{number}_training_mask.gif", np.full((40, 48), 255, np.uint8))
    given = ("--images", "training/images", "--masks", "training/1st_manual", "--out", "drive")
    said = done("convert", *given, cwd=tmp_path)
    assert f"255           1      {np.mean([circles(n) for n in range(21, 41)]):.2%}" in said
    masks = by_name(tmp_path / "drive", 1)
    assert len(masks) == 20
    for number in range(21, 41):
        np.testing.assert_array_equal(masks[f"{number}_training.tif"], circles(number))
        name = f"images/{number}_training.tif"
        assert (tmp_path / "drive" / name).read_bytes() == (part / name).read_bytes()
    suffixes = ("--image-suffix", "_training", "--mask-suffix", "_manual1")
    done("convert", *given[:-1], "again", *suffixes, cwd=tmp_path)
    assert len(by_name(tmp_path / "again", 1)) == 20


def street(index: int) -> np.ndarray:
    """Twelve classes, the last one void; a car and a pole in two pieces each, as in a street."""
    classes = np.full((40, 48), 11, np.uint8)
    for k in range(11):
        classes[3 * k : 3 * k + 3, index % 4 :: 8] = k
        classes[3 * k : 3 * k + 3, 2 + index % 4 :: 8] = k
        classes[3 * k : 3 * k + 3, 1 + index % 4 :: 8] = k
    return classes


def test_camvid_as_segnet_has_it(tmp_path):
    """Equal names in train/ and trainannot/, val/ and valannot/, test/ and testannot/."""
    for start, part in enumerate(("train", "val", "test")):
        for index in range(start, 9, 3):
            save(tmp_path / "CamVid" / part / f"{index}.png", np.stack([grey(index)] * 3, -1))
            save(tmp_path / "CamVid" / f"{part}annot" / f"{index}.png", street(index))
    said = done("convert", "--root", "CamVid", "--out", "camvid", cwd=tmp_path)
    assert "--num-classes 12" in said
    masks = read(tmp_path / "camvid", 12, ignore_index=11)
    assert sorted(masks)[:4] == ["test/2.png", "test/5.png", "test/8.png", "train/0.png"]
    for key, mask in masks.items():
        np.testing.assert_array_equal(mask, street(int(key.split("/")[1][0])))


@pytest.fixture
def original_camvid(tmp_path):
    """Frames, masks in colours with _L after the name, and a table of the colours."""
    colours = np.random.default_rng(0).integers(0, 256, (12, 3)).astype(np.uint8)
    names = [f"Class{k}" for k in range(11)] + ["Void"]
    rows = [
        "\t\t".join((" ".join(map(str, rgb)), name))
        for rgb, name in zip(colours, names, strict=True)
    ]
    (tmp_path / "label_colors.txt").write_text("\n".join(rows), encoding="utf-8")
    for index in range(8):
        name = f"0001TP_{6690 + 30 * index:06}"
        frames, labels = tmp_path / "701_StillsRaw_full", tmp_path / "LabeledApproved_full"
        save(frames / f"{name}.png", np.stack([grey(index)] * 3, -1))
        save(labels / f"{name}_L.png", colours[street(index)])
    return tmp_path


FRAMES = ("--images", "701_StillsRaw_full", "--masks", "LabeledApproved_full")


def test_camvid_as_it_was_first(original_camvid):
    given = (*FRAMES, "--mask-suffix", "_L", "--colours", "label_colors.txt", "--out", "camvid")
    said = done("convert", *given, cwd=original_camvid)
    assert "11 Void" in said
    assert "--num-classes 12 --ignore-index 11" in said
    masks = by_name(original_camvid / "camvid", 12, ignore_index=11)
    for index in range(8):
        np.testing.assert_array_equal(masks[f"0001TP_{6690 + 30 * index:06}.png"], street(index))


def test_a_colour_that_is_not_in_the_table(original_camvid):
    table = original_camvid / "label_colors.txt"
    table.write_text("".join(table.read_text("utf-8").splitlines(keepends=True)[1:]), "utf-8")
    given = (*FRAMES, "--colours", "label_colors.txt", "--out", "camvid")
    said = segedu("convert", *given, cwd=original_camvid)
    assert said.code == 1
    assert "0001TP_006690_L.png has colours not in the table: " in said.err
    assert "(and 5 more)" in said.err
    assert not (original_camvid / "camvid").exists()


def test_the_data_science_bowl(tmp_path):
    """A folder for each image, in it one image and a mask for each object."""
    for index in range(4):
        folder = tmp_path / "stage1_train" / f"image{index}"
        save(folder / "images" / f"image{index}.png", grey(index))
        for number in (0, 9):
            mask = np.uint8(255) * circles(index + number)
            save(folder / "masks" / f"{number}.png", mask)
    done("convert", "--root", "stage1_train", "--out", "bowl", cwd=tmp_path)
    masks = by_name(tmp_path / "bowl", 1)
    for index in range(4):
        np.testing.assert_array_equal(
            masks[f"image{index}.png"], circles(index) | circles(index + 9)
        )


def test_what_is_printed_trains(tmp_path):
    test_isbi_2012(tmp_path)
    given = ("--images", "train-volume.tif", "--masks", "train-labels.tif", "--out", "again")
    said = done("convert", *given, cwd=tmp_path)
    (line,) = [line for line in said.splitlines() if line.startswith("train: segedu ")]
    done(*line.split()[2:], *SMALL, "--out", "run", cwd=tmp_path)
    assert (tmp_path / "run" / "best.safetensors").exists()
