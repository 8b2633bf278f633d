"""`segedu convert`: masks of every usual kind, and what does not fit."""

import re
import shlex

import numpy as np
import pytest
import tifffile
from PIL import Image

from segedu.data import FolderDataset, instances_to_target, read_image
from segedu.data.folder import quoted
from segedu.data.pictures import read_values
from tests.cases_data import grey, save
from tests.test_cli import done, segedu

TWO = np.zeros((12, 16), np.uint8)  # an object in three pieces
TWO[2:7, 3:8], TWO[8:11, 11:14], TWO[8:11, 2:6] = 1, 1, 1
THREE = TWO + TWO * (np.arange(16) > 9).astype(np.uint8)  # one piece is of class 2
VOID = np.pad(THREE[1:-1], ((1, 1), (0, 0)), constant_values=255)
NUMBERS = np.zeros((12, 16), np.uint16)  # two objects that touch, and a third
NUMBERS[1:6, 1:6], NUMBERS[1:6, 6:11], NUMBERS[7:11, 3:9] = 1, 2, 300
SOFT = 255 * TWO  # with a blurred edge
SOFT[2:7, 8], SOFT[2:7, 9] = 100, 40
COLOURS = np.array([[0, 0, 0], [0, 0, 255], [255, 255, 255]], np.uint8)


def pairs(root, mask, *, names="abc", image=None, ending="png", **options):
    """Images and masks in the folders that `--root` takes."""
    for name in names:
        save(root / "images" / f"{name}.png", grey() if image is None else image)
        save(root / "masks" / f"{name}.{ending}", mask, **options)
    return root


def converted(root, *options) -> np.ndarray:
    """The mask that all masks have become."""
    done("convert", "--root", root, "--out", root / "new", *options)
    masks = [read_values(path) for path in sorted((root / "new" / "masks").iterdir())]
    assert all((mask == masks[0]).all() for mask in masks)
    return masks[0]


def blurred(mask: np.ndarray) -> np.ndarray:
    """As a mask looks that was enlarged with interpolation."""
    large = Image.fromarray(255 * mask).resize((160, 120), Image.Resampling.BILINEAR)
    return np.asarray(large)


@pytest.mark.parametrize(
    ("mask", "options", "expected"),
    {
        "0 and 255": (255 * TWO, (), TWO),
        "0 and 128": (128 * TWO, (), TWO),
        "1 and 2": (1 + TWO, (), TWO),
        "inverted": (255 * (1 - TWO), ("--invert",), TWO),
        "class indices": (THREE, (), THREE),
        "clean levels": (127 * THREE, (), THREE),
        "levels that are said to be classes": (127 * THREE, ("--num-classes", 3), THREE),
        "clean colours": (COLOURS[THREE], (), THREE),
        "grey saved in colour": (np.stack([255 * TWO] * 3, -1), (), TWO),
        "a palette where white comes first": (
            Image.fromarray(255 * (1 - TWO)).convert("P").remap_palette([255, 0]),
            ("--invert",),
            TWO,
        ),
        "indices, and 255 for no class": (VOID, (), VOID),
        "a value that is said to be no class": (
            127 * THREE,
            ("--ignore-index", 127),
            np.array([0, 255, 1])[THREE],
        ),
        "numbers of objects": (NUMBERS, ("--objects", "binary"), NUMBERS > 0),
        "touching objects": (
            NUMBERS,
            ("--objects", "boundary"),
            instances_to_target(NUMBERS, "three_class").numpy(),
        ),
    }.values(),
)
def test_masks_of_every_kind(tmp_path, mask, options, expected):
    new = converted(pairs(tmp_path, mask), *options)
    assert new.dtype == np.uint8
    np.testing.assert_array_equal(new, expected)


def test_blurred_and_jpeg_masks_at_a_threshold(tmp_path):
    soft = blurred(TWO)
    expected = soft >= 128
    image = np.zeros((120, 160), np.uint8)
    for ending, options in (("png", {}), ("jpg", {"quality": 60})):
        root = pairs(tmp_path / ending, soft, image=image, ending=ending, **options)
        refused = segedu("convert", "--root", root, "--out", root / "new")
        assert refused.code == 1
        assert "give --threshold 12" in refused.err
        assert not (root / "new").exists()
        new = converted(root, "--threshold", 128)
        assert (new != expected).mean() < (0.002 if ending == "jpg" else 1e-9)


def test_more_than_255_classes_have_16_bits(tmp_path):
    mask = np.arange(400, dtype=np.uint16).repeat(9).reshape(40, 90)
    root = pairs(tmp_path, mask, image=np.zeros((40, 90), np.uint8))
    new = converted(root, "--num-classes", 400)
    assert new.dtype == np.uint16
    np.testing.assert_array_equal(new, mask)


def test_a_folder_for_each_class(tmp_path):
    for name in "abc":
        save(tmp_path / "images" / f"{name}.tif", grey())
        for k, kind in ((1, "membrane"), (2, "nucleus")):
            save(tmp_path / "masks" / kind / f"{name}.png", np.uint8(255) * (k == THREE))
    said = done("convert", "--root", tmp_path, "--out", tmp_path / "new")
    assert "--num-classes 3 --class-names background,membrane,nucleus\n" in said
    np.testing.assert_array_equal(read_values(tmp_path / "new" / "masks" / "a.png"), THREE)
    save(tmp_path / "masks" / "nucleus" / "b.png", np.uint8(255) * (THREE > 0))
    refused = segedu("convert", "--root", tmp_path, "--out", tmp_path / "other")
    assert "b.png has 37 pixels that are also in another class" in refused.err


@pytest.mark.parametrize("kind", ["binary", "boundary"])
def test_a_file_for_each_object_in_a_folder_for_each_image(tmp_path, kind):
    for name in "abc":
        save(tmp_path / "images" / f"{name}.png", grey())
        for number in (1, 2, 300):
            save(tmp_path / "masks" / name / f"{number}.png", np.uint8(255) * (number == NUMBERS))
    target = {"binary": "binary", "boundary": "three_class"}[kind]
    expected = instances_to_target(NUMBERS, target).numpy()
    np.testing.assert_array_equal(converted(tmp_path, "--objects", kind), expected)


def test_images_and_masks_in_one_folder(tmp_path):
    for name in ("cell", "cell_b", "field"):
        save(tmp_path / "mine" / f"{name}.png", grey())
        save(tmp_path / "mine" / f"{name}_mask.png", 255 * TWO)
    given = ("convert", "--images", "mine", "--masks", "mine", "--out", "new")
    refused = segedu(*given, cwd=tmp_path)
    assert "are both in mine; tell them apart by --mask-suffix" in refused.err
    done(*given, "--mask-suffix", "_mask", cwd=tmp_path)
    names = sorted(path.name for path in (tmp_path / "new" / "masks").iterdir())
    assert names == ["cell.png", "cell_b.png", "field.png"]


def test_names_are_matched_without_what_all_of_them_have_in_common(tmp_path):
    for number in (7, 8, 19):
        save(tmp_path / "pictures" / f"img_{number}.png", grey() + number)
        save(tmp_path / "truth" / f"mask_{number}_v2.png", np.roll(TWO, number % 3, axis=0))
    done("convert", "--images", "pictures", "--masks", "truth", "--out", "new", cwd=tmp_path)
    for number in (7, 8, 19):
        mask = read_values(tmp_path / "new" / "masks" / f"img_{number}.png")
        np.testing.assert_array_equal(mask, np.roll(TWO, number % 3, axis=0))


def test_other_numbers_are_other_images(tmp_path):
    for number in range(3):
        save(tmp_path / "pictures" / f"img_1{number}.png", grey())
        save(tmp_path / "truth" / f"mask_2{number}.png", TWO)
    given = ("--images", "pictures", "--masks", "truth", "--out", "new")
    refused = segedu("convert", *given, cwd=tmp_path)
    assert "images without a mask: img_10.png, img_11.png, img_12.png" in refused.err


def test_stacks_in_folders_become_pages(tmp_path):
    volume = np.random.default_rng(0).integers(0, 4000, (12, 10, 14)).astype(np.uint16)
    save(tmp_path / "images" / "z.tif", np.zeros((10, 14), np.uint8))
    save(tmp_path / "masks" / "z.png", np.zeros((10, 14), np.uint8))
    tifffile.imwrite(tmp_path / "images" / "a.tif", volume)
    tifffile.imwrite(tmp_path / "masks" / "a.tif", np.uint8(255) * (volume > 2000))
    done("convert", "--root", tmp_path, "--out", tmp_path / "new")
    data = FolderDataset(tmp_path / "new", num_classes=1)
    assert len(data) == 9  # of 13
    for page in range(12):
        image = read_image(tmp_path / "new" / "images" / f"a_{page + 1:02}.tif", channels=1)
        mask = read_values(tmp_path / "new" / "masks" / f"a_{page + 1:02}.png")
        np.testing.assert_array_equal(image, volume[page])
        np.testing.assert_array_equal(mask, volume[page] > 2000)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_the_channels_of_a_stack_stay_together(tmp_path, channels):
    volume = np.random.default_rng(0).integers(0, 4000, (5, channels, 20, 30)).astype(np.uint16)
    axes = {"imagej": True, "metadata": {"axes": "ZCYX"}}
    tifffile.imwrite(tmp_path / "z.tif", volume, photometric="minisblack", **axes)
    tifffile.imwrite(tmp_path / "truth.tif", np.uint8(255) * (volume[:, 0] > 2000))
    given = ("--images", "z.tif", "--masks", "truth.tif", "--out", "new")
    done("convert", *given, cwd=tmp_path)
    for page in range(5):
        image = read_image(tmp_path / "new" / "images" / f"z_{page + 1}.tif", channels=channels)
        np.testing.assert_array_equal(image, np.moveaxis(volume[page], 0, -1))


@pytest.mark.parametrize(
    ("message", "mask", "options"),
    [
        ("give --objects binary; if they are classes, --num-classes 4", NUMBERS, ()),
        ("--num-classes 5, but the masks have 4 values", NUMBERS, ("--num-classes", 5)),
        ("--invert is for two classes", THREE, ("--invert",)),
        ("a.png has 14 x 12 pixels, but its image has 16 x 12; resize it", TWO[:, :14], ()),
        ("a.png has 12 x 16 pixels, but its image has 16 x 12; turn it", TWO.T, ()),
        ("a.png is partly transparent", np.stack([TWO] * 3 + [255 * TWO], -1), ()),
        ("different ways to read masks", TWO, ("--threshold", 1, "--num-classes", 2)),
        ("if 255 marks pixels that belong to no class", np.where(THREE == 2, 255, TWO), ()),
        ("--ignore-index is for grey levels", TWO, ("--threshold", 1, "--ignore-index", 0)),
        ("hold nothing but 1, expected", TWO**0, ("--ignore-index", 1)),
        ("needs a file for each object", TWO, ("--threshold", 1, "--objects", "binary")),
        ("too many or with blurred edges", np.stack([grey(), grey(), 0 * grey()], -1), ()),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, message, mask, options):
    root = pairs(tmp_path / "data", mask)
    before = {path: path.read_bytes() for path in root.rglob("*.*")}
    refused = segedu("convert", "--root", root, "--out", tmp_path / "new", *options)
    assert refused.code == 1
    assert message in refused.err
    assert refused.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [root]
    assert before == {path: path.read_bytes() for path in root.rglob("*.*")}


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    root = pairs(tmp_path / "data", TWO)
    refused = segedu("convert", "--root", root, "--out", root)
    assert f"{root} exists already; give a new folder" in refused.err
    (tmp_path / "new").mkdir()
    done("convert", "--root", root, "--out", tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["images", "masks"]


def test_a_mask_without_an_image(tmp_path):
    (pairs(tmp_path, TWO) / "images" / "b.png").unlink()
    refused = segedu("convert", "--root", tmp_path, "--out", tmp_path / "new")
    assert "images without a mask: none; masks without an image: b.png" in refused.err


@pytest.mark.parametrize(
    ("mask", "num_classes", "options"),
    [
        (SOFT, 1, {}),
        (255 * TWO, 1, {"ending": "jpg"}),
        (128 * TWO, 1, {}),
        (NUMBERS, 1, {}),
        (np.float32(0.5) * TWO, 1, {"ending": "tif"}),
        (127 * THREE, 3, {}),
        (COLOURS[THREE], 3, {}),
    ],
)
def test_the_command_that_training_advises_fixes_the_masks(tmp_path, mask, num_classes, options):
    expected = NUMBERS > 0 if mask is NUMBERS else THREE if num_classes == 3 else TWO
    root = pairs(tmp_path / "my data", mask, **options)
    with pytest.raises(ValueError, match="segedu convert") as refused:
        FolderDataset(root, num_classes=num_classes)[0]
    command = re.search(r"segedu (convert .*?)( \(|$)", str(refused.value))[1]
    done(*shlex.split(command), cwd=tmp_path)
    new = FolderDataset(tmp_path / "NEW", num_classes=num_classes)
    np.testing.assert_array_equal(new[0][1], expected)


def test_the_command_that_is_advised_quotes_the_folder(tmp_path):
    root = pairs(tmp_path / "cells(2)", COLOURS[THREE])
    with pytest.raises(ValueError, match="colour picture") as refused:
        FolderDataset(root, num_classes=3)[0]
    assert f"segedu convert --root {quoted(str(root))} --out NEW" in str(refused.value)
    said = done("convert", "--root", root, "--out", "n$ew (2)", cwd=tmp_path)
    assert f"--root {quoted('n$ew (2)')} " in said


def test_two_folders_for_one_part_are_refused(tmp_path):
    for part in ("train", "val", "validation", "test"):
        pairs(tmp_path / part, TWO)
    refused = segedu("convert", "--root", tmp_path, "--out", tmp_path / "new")
    assert "validation and " in refused.err
    assert "val are both for validation, expected one of them" in refused.err


@pytest.mark.parametrize("astray", ["images/day 2", "masks/day 2"])
def test_nothing_is_left_out_in_silence(tmp_path, astray):
    save(pairs(tmp_path, TWO) / astray / "d.png", TWO)
    refused = segedu("convert", "--root", tmp_path, "--out", tmp_path / "new")
    assert "has folders and pictures side by side, such as " in refused.err


def test_masks_of_two_kinds_are_not_taken_for_classes(tmp_path):
    """Some hold 0 and 128, others 0 and 255."""
    root = pairs(tmp_path, 128 * TWO)
    save(root / "masks" / "b.png", 255 * TWO)
    refused = segedu("convert", "--root", root, "--out", root / "new")
    assert "if they are classes, --num-classes 3" in refused.err
    np.testing.assert_array_equal(converted(root, "--threshold", 1), TWO)


def test_an_option_that_would_not_count_is_refused(tmp_path):
    save(tmp_path / "images" / "a.png", grey())
    save(tmp_path / "masks" / "nucleus" / "a.png", TWO)
    refused = segedu("convert", "--root", tmp_path, "--out", tmp_path / "new", "--num-classes", 2)
    assert "with a folder for each class, the only option for masks is --threshold" in refused.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 64 128 64 car", "line 3: expected a colour and a name, such as 64 128 64 Animal"),
        ("64 128 300 car", "line 3: expected a colour"),
        ("64, 128, 64, car", "line 3: the colour 64 128 64 is there twice"),
        ("car", "line 3: expected a colour"),
    ],
)
def test_a_table_of_colours_that_cannot_be_read(tmp_path, line, message):
    (tmp_path / "table.csv").write_text(f"name,r,g,b\ntree,64,128,64\n{line}\n", "utf-8")
    given = ("--colours", tmp_path / "table.csv", "--out", tmp_path / "new")
    refused = segedu("convert", "--root", pairs(tmp_path, COLOURS[THREE]), *given)
    assert message in refused.err


def test_a_table_of_colours_that_is_not_in_utf_8(tmp_path):
    (tmp_path / "table.csv").write_bytes("0 0 255 Straße\n".encode("latin-1"))
    given = ("--colours", tmp_path / "table.csv", "--out", tmp_path / "new")
    refused = segedu("convert", "--root", pairs(tmp_path, COLOURS[THREE]), *given)
    assert "table.csv is not in UTF-8 (invalid continuation byte at byte 12), exp" in refused.err
    assert "save it again as UTF-8" in refused.err


def test_a_number_in_the_name_of_a_colour(tmp_path):
    rows = "0 0 255 Class 1\n0 0 0 2nd 3 or 4\nVoid 9 lives,255,255,255\n"
    (tmp_path / "table.txt").write_text(rows, "utf-8")
    root, out = pairs(tmp_path, COLOURS[THREE]), tmp_path / "new"
    said = done("convert", "--root", root, "--out", out, "--colours", tmp_path / "table.txt")
    assert "--class-names 'Class 1,2nd 3 or 4,Void 9 lives'" in said


def test_a_table_of_colours_with_a_heading(tmp_path):
    rows = "name,r,g,b\nsky,0,0,255\nroad,0,0,0\nVoid,255,255,255\nunused,1,2,3\n"
    (tmp_path / "table.csv").write_text(rows, "utf-8")
    new = converted(pairs(tmp_path, COLOURS[THREE]), "--colours", tmp_path / "table.csv")
    np.testing.assert_array_equal(new, np.array([1, 0, 2])[THREE])
