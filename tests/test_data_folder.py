import numpy as np
import pytest
import torch
from PIL import Image

from segedu.data import FolderDataset, read_image, train_transform


def save(path, array, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = array if isinstance(array, Image.Image) else Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path)


def grey(height=12, width=16):
    return np.arange(height * width).reshape(height, width).astype(np.uint8)


def halves(low, high):
    mask = np.full((12, 16), low, np.uint8)
    mask[:, 8:] = high
    return mask


def fill(root, names="abcdefghij", image=None, mask=None):
    for name in names:
        save(root / "images" / f"{name}.png", grey() if image is None else image)
        save(root / "masks" / f"{name}.png", halves(0, 1) if mask is None else mask)
    return root


def splits(root, **options):
    return [
        FolderDataset(root, split=split, **{"num_classes": 1} | options)
        for split in ("train", "validation", "test")
    ]


def test_contract(tmp_path):
    data = FolderDataset(fill(tmp_path), num_classes=2)
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


def test_other_endings_and_other_files(tmp_path):
    fill(tmp_path, "abc")
    save(tmp_path / "images" / "d.JPG", grey())
    save(tmp_path / "masks" / "d.tif", halves(0, 1))
    (tmp_path / "images" / "Thumbs.db").write_bytes(b"")
    (tmp_path / "masks" / "._a.png").write_bytes(b"")
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
        (Image.fromarray(grey()).convert("P"), 3),
    ],
)
def test_images_of_every_kind(tmp_path, picture, in_channels):
    data = FolderDataset(fill(tmp_path, image=picture), num_classes=1)
    assert data.in_channels == in_channels
    image, _ = data[0]
    assert image.shape == (in_channels, 12, 16)
    assert 0.9 < image.max() < 1.1


def test_one_colour_image_makes_all_colour(tmp_path):
    fill(tmp_path)
    save(tmp_path / "images" / "c.png", grey(), "RGB")
    for part in splits(tmp_path):
        assert part.in_channels == 3
        assert all(image.shape[0] == 3 for image, _ in part)


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


def palette(mask):
    picture = Image.fromarray(mask).convert("P")
    picture.putdata(mask.ravel().tolist())
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0] + [0] * 759)
    return picture


@pytest.mark.parametrize(
    ("mask", "num_classes", "values"),
    [
        (halves(0, 255), 1, [0, 1]),
        (halves(0, 1), 1, [0, 1]),
        (halves(0, 0), 1, [0]),
        (halves(255, 255), 1, [1]),
        (Image.fromarray(halves(0, 255)).convert("1"), 1, [0, 1]),
        (Image.fromarray(halves(0, 255)).convert("RGB"), 1, [0, 1]),
        (Image.fromarray(halves(0, 255)).convert("RGBA"), 1, [0, 1]),
        (Image.fromarray(halves(0, 255)).convert("LA"), 1, [0, 1]),
        (halves(0, 2), 3, [0, 2]),
        (halves(0, 2).astype(np.uint16), 3, [0, 2]),
        (palette(halves(1, 2)), 3, [1, 2]),
    ],
)
def test_masks_of_every_kind(tmp_path, mask, num_classes, values):
    data = FolderDataset(fill(tmp_path, mask=mask), num_classes=num_classes)
    assert data[0][1].unique().tolist() == values


def test_ignored_pixels_keep_their_value(tmp_path):
    fill(tmp_path, mask=halves(1, 255))
    data = FolderDataset(tmp_path, num_classes=2, ignore_index=255)
    assert data[0][1].unique().tolist() == [1, 255]
    fill(tmp_path, mask=halves(0, 255))
    data = FolderDataset(tmp_path, num_classes=1, ignore_index=255)
    assert data[0][1].unique().tolist() == [0, 255]


@pytest.mark.parametrize(
    ("mask", "num_classes", "message"),
    [
        (halves(0, 3), 3, r"holds the values \[3\], expected class indices \[0, 1, 2\]"),
        (halves(0, 255), 2, "num_classes=1 for 0/255"),
        (halves(1, 255), 1, r"values \[255\]"),
        (halves(0, 1).astype(np.float32) / 2, 2, r"values \[0.5\]"),
        (np.stack([halves(0, 255), halves(255, 0), halves(0, 0)], -1), 3, "colour picture"),
    ],
)
def test_masks_that_do_not_fit(tmp_path, mask, num_classes, message):
    for kind, picture in (("images", grey()), ("masks", mask)):
        for name in "abc":
            save(tmp_path / kind / f"{name}.tif", picture)
    data = FolderDataset(tmp_path, num_classes=num_classes)
    with pytest.raises(ValueError, match=message):
        data[0]


def missing_mask(root):
    (root / "masks" / "c.png").unlink()


def missing_image(root):
    (root / "images" / "c.png").unlink()


def other_case(root):
    (root / "masks" / "c.png").rename(root / "masks" / "C.png")


def two_of_a_name(root):
    save(root / "images" / "c.tif", grey())


def other_size(root):
    save(root / "masks" / "c.png", np.zeros((16, 12), np.uint8))


def damaged_image(root):
    (root / "images" / "c.png").write_bytes(b"no picture")


def no_images(root):
    for path in [*root.glob("*/*.png")]:
        path.unlink()


def no_masks_folder(root):
    (root / "masks").rename(root / "labels")


def only_train(root):
    fill(root / "train")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (missing_mask, "10 images and 9 masks, 1 alone, such as 'c'"),
        (missing_image, "9 images and 10 masks, 1 alone, such as 'c'"),
        (other_case, "2 alone, such as 'C'; .* capitals included"),
        (two_of_a_name, "c.png and .*c.tif, expected one file a name"),
        (other_size, r"c.png of \(12, 16\) pixels .*, expected \(16, 12\)"),
        (damaged_image, "cannot read .*c.png as a picture"),
        (no_images, "no pictures, expected at least one"),
        (no_masks_folder, "no subfolder masks/"),
        (only_train, "validation has no subfolder images/"),
    ],
)
def test_folders_that_do_not_fit(tmp_path, spoil, message):
    fill(tmp_path)
    spoil(tmp_path)
    for split in ("train", "test"):
        with pytest.raises(ValueError, match=message):
            FolderDataset(tmp_path, num_classes=1, split=split)


def test_too_few_to_split(tmp_path):
    with pytest.raises(ValueError, match="has 2 images, expected at least 3"):
        FolderDataset(fill(tmp_path, "ab"), num_classes=1)
    assert [len(part) for part in splits(fill(tmp_path, "abc"))] == [1, 1, 1]


def test_picture_cut_short_is_found_when_read(tmp_path):
    fill(tmp_path)
    path = tmp_path / "images" / "a.png"
    path.write_bytes(path.read_bytes()[:45])
    with pytest.raises(ValueError, match=r"cannot read .*a\.png"):
        read_image(path, channels=1)


@pytest.mark.parametrize(
    "options", [{"num_classes": 0}, {"num_classes": 1.5}, {"num_classes": 2, "split": "val"}]
)
def test_options_refused(tmp_path, options):
    with pytest.raises(ValueError, match="expected"):
        FolderDataset(fill(tmp_path), **options)
    with pytest.raises(ValueError, match="expected 1"):
        read_image(tmp_path / "images" / "a.png", channels=2)
