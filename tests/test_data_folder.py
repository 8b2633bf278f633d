import numpy as np
import pytest
import torch
from PIL import Image

from segedu.data import FolderDataset, read_image, train_transform
from segedu.data.folder import quoted
from segedu.data.pictures import read_header
from segedu.data.splits import split_by_name
from tests.cases_data import exif, fill, grey, halves, png_header, save, splits
from tests.helpers import indexed_like_a_list

NAMES = "abcdefghij"


def test_contract(tmp_path):
    data = FolderDataset(fill(tmp_path, NAMES), num_classes=2)
    image, mask = data[0]
    assert (image.shape, image.dtype) == ((1, 12, 16), torch.float32)
    assert (mask.shape, mask.dtype) == ((12, 16), torch.int64)
    assert repr(data) == "FolderDataset(6 images, split='train', num_classes=2, in_channels=1)"
    crop, _ = FolderDataset(tmp_path, num_classes=2, transform=train_transform(8))[0]
    assert crop.shape == (1, 8, 8)


def test_split_by_name_is_fixed_and_whole(tmp_path):
    fill(tmp_path, [f"{number:03}" for number in range(40)])
    parts = [[image.stem for image, _ in part.pairs] for part in splits(tmp_path)]
    assert [len(part) for part in parts] == [28, 6, 6]
    assert len(set().union(*parts)) == 40
    assert parts == [[image.stem for image, _ in part.pairs] for part in splits(tmp_path)]
    assert parts[2] == ["010", "023", "031", "000", "015", "026"]


def test_split_by_subfolders(tmp_path):
    for name, names in (("train", "abc"), ("validation", "d"), ("test", "ef")):
        fill(tmp_path / name, names)
    assert [len(part) for part in splits(tmp_path)] == [3, 1, 2]


def test_names_that_are_no_utf_8_are_split_and_the_others_stay(tmp_path):
    """Latin-1 names of an old disk, which Python reads with surrogates."""
    assert split_by_name(["a", "b", "caf\udce9"]) == {
        "test": ["caf\udce9"], "validation": ["b"], "train": ["a"]
    }  # fmt: skip


def test_all_pictures_of_a_folder_without_a_split(tmp_path):
    fill(tmp_path / "one", "a")
    assert len(FolderDataset(tmp_path / "one", num_classes=1, split=None)) == 1
    for name, names in (("train", "abc"), ("validation", "d"), ("test", "ef")):
        fill(tmp_path / name, names)
    everything = FolderDataset(tmp_path, num_classes=1, split=None)
    assert "".join(image.stem for image, _ in everything.pairs) == "abcdef"


def test_other_endings(tmp_path):
    fill(tmp_path)
    save(tmp_path / "images" / "d.JPG", grey())
    save(tmp_path / "masks" / "d.tif", halves(0, 1))
    assert sum(map(len, splits(tmp_path))) == 4


@pytest.mark.parametrize(
    ("picture", "in_channels"),
    [
        (Image.fromarray(grey()), 1),
        (Image.fromarray(grey().astype(np.uint16) * 100), 1),
        (Image.fromarray(grey()).convert("LA"), 1),
        (Image.fromarray(grey()).convert("1"), 1),
        (Image.fromarray(grey()).convert("RGB"), 3),
        (Image.fromarray(grey()).convert("RGBA"), 3),
    ],
)
def test_images_of_every_kind(tmp_path, picture, in_channels):
    data = FolderDataset(fill(tmp_path, image=picture), num_classes=1)
    assert data.in_channels == in_channels
    image, _ = data[0]
    assert image.shape == (in_channels, 12, 16)
    assert 0.9 < image.max() < 1.1


@pytest.mark.parametrize(
    ("dtype", "channels", "shape"),
    [("uint8", 1, (12, 16)), ("uint16", 1, (12, 16)), ("float32", 3, (12, 16, 3))],
)
def test_read_image_keeps_deep_values(tmp_path, dtype, channels, shape):
    picture = (grey() * np.float32(1.5)).astype(dtype)
    save(tmp_path / "a.tif", picture)
    image = read_image(tmp_path / "a.tif", channels=channels)
    assert (image.dtype, image.shape) == (dtype, shape)
    assert image.max() == picture.max()


@pytest.mark.parametrize(
    ("mask", "values"),
    [
        (halves(0, 0), [0]),
        (halves(255, 255), [1]),
        (Image.fromarray(halves(0, 255)).convert("RGB"), [0, 1]),
        (Image.fromarray(halves(0, 255)).convert("RGBA"), [0, 1]),
        (Image.fromarray(halves(0, 255)).convert("LA"), [0, 1]),
    ],
)
def test_masks_of_every_kind(tmp_path, mask, values):
    """The cases have more: of one bit, with a palette, of class indices."""
    data = FolderDataset(fill(tmp_path, mask=mask), num_classes=1)
    assert data[0][1].unique().tolist() == values


def test_ignored_pixels_keep_their_value(tmp_path):
    fill(tmp_path, mask=halves(0, 255))
    data = FolderDataset(tmp_path, num_classes=1, ignore_index=255)
    assert data[0][1].unique().tolist() == [0, 255]


def test_ignore_index_is_among_the_expected_values(tmp_path):
    data = FolderDataset(fill(tmp_path, mask=halves(1, 254)), num_classes=1, ignore_index=255)
    with pytest.raises(ValueError, match=r"values \[254\], .* indices from 0 to 1 and 255;"):
        data[0]


def soft(dtype=np.uint8):
    """A mask of 0 and 255 with an edge that was interpolated."""
    return np.repeat(np.clip(np.arange(-56, 72, 8) * 20, 0, 255), 12).reshape(16, 12).astype(dtype)


@pytest.mark.parametrize(
    ("mask", "num_classes", "advice"),
    [
        (soft(), 1, "was a JPEG: segedu convert --root .*data --out NEW --threshold 128"),
        (halves(0, 128), 1, "two values, so make them 0 and 1: segedu convert"),
        (
            np.arange(192, dtype=np.uint8).reshape(16, 12) // 6,
            1,
            "numbers of objects: .* --objects binary",
        ),
        (
            np.arange(192, dtype=np.uint8).reshape(16, 12) // 6,
            3,
            "numbers of objects: .* --objects binary",
        ),
        (
            np.arange(3, dtype=np.uint8).repeat(64).reshape(16, 12) * 100,
            3,
            "number the classes 0 to 2",
        ),
        (halves(0, 255), 3, "set --num-classes 1 "),
        (halves(1, 255), 3, "set --ignore-index 255 "),
        (
            np.arange(192, dtype=np.uint8).reshape(16, 12) % 3,
            1,
            "these are classes, set --num-classes 3 .*; if these are numbers .* --objects binary",
        ),
        (halves(0, 3), 3, "set --num-classes 4 "),
        (np.full((16, 12), 0.5, np.float32), 1, "threshold it: .*--threshold 0.5"),
    ],
)
def test_a_wrong_mask_is_recognised(tmp_path, mask, num_classes, advice):
    root = tmp_path / "data"
    for name in "abcdef":
        save(root / "images" / f"{name}.png", np.zeros(mask.shape, np.uint8))
        save(root / "masks" / f"{name}.tif", mask)
    with pytest.raises(ValueError, match=advice):
        FolderDataset(root, num_classes=num_classes)[0]


def test_val_is_validation(tmp_path):
    for part in ("train", "val", "test"):
        fill(tmp_path / part, part)
    validation = FolderDataset(tmp_path, num_classes=1, split="validation")
    assert [image.stem for image, _ in validation.pairs] == sorted("val")


def test_val_beside_validation_is_refused(tmp_path):
    for part in ("train", "val", "validation", "test"):
        fill(tmp_path / part)
    with pytest.raises(ValueError, match="has both val/ and validation/, expected one of them"):
        FolderDataset(tmp_path, num_classes=1)


@pytest.mark.parametrize(
    ("system", "folder", "expected"),
    [
        ("posix", "a/b", "a/b"),
        ("posix", "my data", "'my data'"),
        ("posix", "n$ew(2)", "'n$ew(2)'"),
        ("nt", r"C:\a", r"C:\a"),
        ("nt", "my data", '"my data"'),
    ],
)
def test_a_folder_in_a_command_is_quoted_for_the_shell(monkeypatch, system, folder, expected):
    with monkeypatch.context() as patch:  # for so long only, since pytest asks for it, too
        patch.setattr("os.name", system)
        found = quoted(folder)
    assert found == expected


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_the_way_a_viewer_shows_it(tmp_path, ending, orientation):
    """For every EXIF orientation: two rows of three squares, the last one white."""
    blocks = np.kron([[0, 0, 0], [0, 0, 255]], np.ones((8, 8))).astype(np.uint8)
    path = tmp_path / f"a.{ending}"
    save(
        path,
        blocks,
        exif=exif(orientation),
        **({"compression": "tiff_lzw"} if ending == "tif" else {}),
    )
    turned = read_image(path, channels=1) > 127
    turns = {1: blocks, 2: blocks[:, ::-1], 3: blocks[::-1, ::-1], 4: blocks[::-1]}
    turns |= {5: blocks.T, 6: blocks[::-1].T, 7: blocks[::-1, ::-1].T, 8: blocks[:, ::-1].T}
    assert np.array_equal(turned, turns[orientation] > 127)
    assert read_header(path).size == turned.shape[::-1]


def test_a_mask_that_was_drawn_on_the_unturned_picture(tmp_path):
    save(fill(tmp_path, "ab") / "images" / "c.jpg", grey(), exif=exif(6))
    save(tmp_path / "masks" / "c.png", halves(0, 1))
    message = r"c.png has \(16, 12\) pixels .* \(12, 16\) as a viewer shows it; turn the mask"
    with pytest.raises(ValueError, match=message):
        FolderDataset(tmp_path, num_classes=1)


def test_a_mask_that_is_a_turned_jpeg(tmp_path):
    save(fill(tmp_path, "ab") / "images" / "c.png", grey())
    save(tmp_path / "masks" / "c.jpg", halves(0, 255), exif=exif(3))
    with pytest.raises(ValueError, match="is a JPEG"):
        FolderDataset(tmp_path, num_classes=1)


def test_large_pictures_cause_a_warning_and_too_large_ones_an_error(tmp_path):
    """Pillow's limits: about 90 million pixels, and twice that."""
    save(tmp_path / "a.png", png_header(10_000, 10_000))
    with (
        pytest.warns(Image.DecompressionBombWarning),
        pytest.raises(ValueError, match=r"cannot read .*a\.png"),
    ):
        read_image(tmp_path / "a.png", channels=1)
    save(tmp_path / "b.png", png_header(20_000, 10_000))
    with pytest.raises(ValueError, match=r"b\.png .* exceeds limit .*; cut it into"):
        read_image(tmp_path / "b.png", channels=1)


def one_empty_part(root):
    fill(root / "train")
    (root / "validation" / "images").mkdir(parents=True)
    (root / "validation" / "masks").mkdir()


@pytest.mark.parametrize(
    ("message", "spoil"),
    {
        r"images without a mask \(none\) and masks without an image \(c\)": lambda root: (
            root / "images" / "c.png"
        ).unlink(),
        "d.png is a folder, expected pictures": lambda root: (root / "images" / "d.png").mkdir(),
        "nuclei is a folder, .* with: segedu convert": lambda root: (
            root / "masks" / "nuclei"
        ).mkdir(),
        r"no subfolder images/ \(found: Images, masks\); .* in small letters": lambda root: (
            root / "images"
        ).rename(root / "Images"),
        "validation/images has no pictures": one_empty_part,
        "cannot read .*masks/c.png as a picture": lambda root: (
            root / "masks" / "c.png"
        ).write_bytes(b"no picture"),
    }.items(),
)
def test_folders_that_do_not_fit(tmp_path, message, spoil):
    spoil(fill(tmp_path))
    for split in ("train", "test"):
        with pytest.raises(ValueError, match=message):
            FolderDataset(tmp_path, num_classes=1, split=split)


def test_three_images_are_enough_to_split(tmp_path):
    assert [len(part) for part in splits(fill(tmp_path))] == [1, 1, 1]


def test_indices_as_for_a_list(tmp_path):
    indexed_like_a_list(FolderDataset(fill(tmp_path, NAMES), num_classes=1), 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "num_classes must be an integer of at least 1, got 0"),
        ({"split": "val"}, "split must be 'train', 'validation' or 'test', got 'val'"),
        ({"ignore_index": "255"}, "ignore_index must be an integer"),
    ],
)
def test_options_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        FolderDataset(**{"root": fill(tmp_path), "num_classes": 2} | options)


@pytest.mark.parametrize(
    ("name", "channels", "message"),
    [
        ("images/a.png", 2, "has 1 channels, expected 2"),
        ("images/a.png", "1", "channels must be an integer"),
        ("absent.png", 1, "cannot read .* as a picture"),
        (".", 1, "cannot read .* as a picture"),
    ],
)
def test_read_image_refuses(tmp_path, name, channels, message):
    with pytest.raises(ValueError, match=message):
        read_image(fill(tmp_path) / name, channels=channels)


def test_a_palette_in_which_white_comes_first_is_read_as_one_sees_it(tmp_path):
    """As a GIF of two colours may store it: the index of white is 0, and that of black is 1."""
    seen = np.zeros((16, 16), bool)
    seen[4:9, 3:12] = True
    inverted = Image.fromarray((~seen).astype(np.uint8))
    inverted.putpalette([255, 255, 255, 0, 0, 0])
    coloured = Image.fromarray(seen.astype(np.uint8))
    coloured.putpalette([255, 255, 255, 200, 0, 0])  # a white background and a red object
    far = Image.fromarray(np.uint8(255) * ~seen)  # the index of black is 255
    far.putpalette([255, 255, 255] + 255 * [0, 0, 0])
    for name, mask in (
        ("a.png", inverted),
        ("b.gif", inverted),
        ("c.png", coloured),
        ("d.png", far),
    ):
        (tmp_path / "masks").mkdir(exist_ok=True)
        save(tmp_path / "images" / f"{name[0]}.png", np.uint8(200) * seen)
        mask.save(tmp_path / "masks" / name)
    for split in ("train", "validation", "test"):
        for _, mask in FolderDataset(tmp_path, num_classes=1, split=split):
            assert (mask.numpy() == seen).all()
