"""`segedu info`: every mistake is listed, faults are noticed, and clean data are left in peace."""

import re

import numpy as np
import pytest
import tifffile
from PIL import Image

from segedu.data import synthetic_nuclei
from tests.cases_data import fill, halves, look_at_folder, save
from tests.test_cli import done, segedu


def nuclei(root, names="abcdefghijkl", *, seed=0, factor=1, **options):
    """A folder of synthetic nuclei."""
    for index, name in enumerate(names):
        image, instances = synthetic_nuclei(index, seed=seed, **({"size": 192} | options))
        save(root / "images" / f"{name}.tif", image.astype(np.uint16) * factor)
        save(root / "masks" / f"{name}.png", np.uint8(255) * (instances > 0))
    return root


def hints(root, *options) -> list[str]:
    """What `info` says that should be looked at."""
    said = done("info", "--data", "folder", "--root", root, "--out", root / "out", *options)
    return [line[2:] for line in said.splitlines() if line.startswith("- ")]


def masks_of(root):
    return sorted((root / "masks").iterdir())


def test_clean_data_are_left_in_peace(tmp_path):
    assert hints(nuclei(tmp_path)) == []
    said = done("info", "--data", "folder", "--root", tmp_path, "--out", tmp_path / "out")
    assert "values: grey, uint16" in said
    found = re.search(r"regions of class 1: (\d+), (\d+) to (\d+) pixels across", said)
    assert int(found[1]) > 20
    assert 2 < int(found[2]) < int(found[3]) < 60


def test_every_mistake_is_listed_with_what_fixes_it(tmp_path):
    names = "abcdefghijklmno"
    root = fill(tmp_path / "data", names, mask=halves(0, 255))
    for name in "abcd":
        save(root / "masks" / f"{name}.png", halves(0, 128))
    save(root / "masks" / "e.png", np.stack([halves(0, 255), halves(255, 0), halves(0, 0)], -1))
    (root / "masks" / "f.png").unlink()
    save(root / "masks" / "f.jpg", halves(0, 255))
    save(root / "masks" / "g.png", halves(0, 255)[:, :14])
    (root / "images" / "h.png").write_bytes(b"no picture")
    (root / "images" / "i.png").unlink()
    (root / "images" / "j.png").unlink()
    tifffile.imwrite(root / "images" / "j.tif", np.full((12, 16), np.nan, np.float32))
    (root / "images" / "deeper").mkdir()
    refused = segedu("info", "--data", "folder", "--root", root, "--out", tmp_path / "out")
    assert refused.code == 1
    assert "training would refuse these data: 11 mistakes, see above" in refused.err
    for line in (
        "4 x it has two values, so make them 0 and 1: segedu convert --root ",
        "a.png holds the values [128], expected class indices from 0 to 1",
        ", and 1 more",
        "1 x fix it with: segedu convert --root ",
        "e.png is a colour picture",
        "f.jpg is a JPEG",
        "g.png has (14, 12) pixels",
        "cannot read ",
        "masks without an image (i)",
        "j.tif: image holds NaN",
        "deeper is a folder, expected pictures",
    ):
        assert line in refused.out
    assert (tmp_path / "out" / "preview.png").exists()


def test_info_refuses_what_training_refuses(tmp_path):
    """One mistake is one line, as from training."""
    for kind, spoil in {
        "a value": lambda root: save(root / "masks" / "b.png", halves(0, 7)),
        "a name": lambda root: (root / "masks" / "b.png").rename(root / "masks" / "x.png"),
        "channels": lambda root: (
            save(root / "images" / "b.png", Image.new("RGBA", (16, 12)))
            or tifffile.imwrite(root / "images" / "g.tif", np.zeros((12, 16, 5), np.uint8))
            or save(root / "masks" / "g.png", halves(0, 1))
        ),
        "two images": lambda root: [path.unlink() for path in root.rglob("[c-f].png")],
    }.items():
        root = fill(tmp_path / kind, "abcdef")
        spoil(root)
        looked = segedu("info", "--data", "folder", "--root", root, "--out", tmp_path / "out")
        message = looked.err.rpartition("error: ")[2].strip()
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            look_at_folder(root)
        assert looked.code == 1


def test_images_of_more_channels_than_training_takes(tmp_path):
    many = {"planarconfig": "contig", "photometric": "minisblack"}
    for name in "abc":
        save(tmp_path / "masks" / f"{name}.png", halves(0, 255))
        (tmp_path / "images").mkdir(exist_ok=True)
        path = tmp_path / "images" / f"{name}.tif"
        tifffile.imwrite(path, np.zeros((12, 16, 17), np.uint8), **many)
    refused = segedu("info", "--data", "folder", "--root", tmp_path, "--out", tmp_path / "out")
    assert refused.code == 1
    assert "a.tif: image must be integers or floats of shape (H, W) or (H, W, C)" in refused.out
    assert "training would refuse these data: 3 mistakes, see above" in refused.err


def test_images_without_an_object_and_absent_classes(tmp_path):
    for part in ("train", "val", "test"):
        nuclei(tmp_path / part, "abc", seed=ord(part[1]))
    save(tmp_path / "train" / "masks" / "b.png", np.zeros((192, 192), np.uint8))
    for name in "abc":
        save(tmp_path / "test" / "masks" / f"{name}.png", np.full((192, 192), 255, np.uint8))
    said = hints(tmp_path)
    assert "train: 1 image without an object: b" in said
    assert "test: no pixel of class 0" in said


def test_an_image_that_is_in_two_parts(tmp_path):
    for part in ("train", "val", "test"):
        nuclei(tmp_path / part, "abc", seed=ord(part[1]))
    image = np.asarray(Image.open(tmp_path / "train" / "images" / "b.tif"))
    save(tmp_path / "test" / "images" / "c.tif", (image * 1.2 + 5).astype(np.uint16)[::-1])
    (said,) = hints(tmp_path)
    assert "b (train) and c (test, mirrored top to bottom)" in said
    assert "look at both, and put them into one part" in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda mask: np.roll(mask, (3, -2), axis=(0, 1)), "moved 3 pixels up and 2 pixels right"),
        (lambda mask: mask[:, ::-1], "fit their images better mirrored left to right"),
    ],
)
def test_masks_that_do_not_lie_on_their_images(tmp_path, change, words):
    for path in masks_of(nuclei(tmp_path)):
        save(path, change(np.asarray(Image.open(path))))
    (said,) = hints(tmp_path)
    assert words in said


def test_objects_too_large_or_too_small_for_the_network(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (6, 400, 400), np.uint8)
    y, x = np.indices((400, 400))
    large = (y - 200) ** 2 + (x - 200) ** 2 < 100**2
    small = (y % 16 < 2) & (x % 16 < 2)
    for name, mask in {"large": large, "small": small}.items():
        for index in range(6):
            save(tmp_path / name / "images" / f"{index}.png", image[index])
            save(tmp_path / name / "masks" / f"{index}.png", np.uint8(255) * mask)
    said = " ".join(hints(tmp_path / "large"))
    assert "regions of 200 pixels across, and the default network sees 108" in said
    assert "--channels 16,32,64,128,256, which sees 220" in said
    assert "larger than a crop of 128 pixels" in said
    (said,) = hints(tmp_path / "small")
    assert "half of the regions of class 1 are below 4 pixels across" in said


def test_light(tmp_path):
    for part, factor in (("train", 1), ("val", 1), ("test", 100)):
        nuclei(tmp_path / part, "abc", seed=ord(part[1]), factor=factor)
    save(tmp_path / "train" / "images" / "a.tif", np.full((192, 192), 9, np.uint16))
    bright = np.asarray(Image.open(tmp_path / "val" / "images" / "b.tif"))
    limit = np.percentile(bright, 90).astype(np.uint16)
    save(tmp_path / "val" / "images" / "b.tif", bright.clip(0, limit))
    said = " ".join(hints(tmp_path))
    assert "1 image of one value throughout: a" in said
    assert "1 image with more than 1% of the pixels at the largest value" in said
    assert "the images of test are more than 4 times as bright as those of" in said


def test_an_image_that_is_one_row_of_pixels(tmp_path):
    root = nuclei(tmp_path)
    save(root / "images" / "m.png", np.arange(40, dtype=np.uint8)[None])
    save(root / "masks" / "m.png", np.zeros((1, 40), np.uint8))
    assert hints(root) == ["train: 1 image without an object: m"]


def test_a_name_that_is_no_utf_8(tmp_path):
    nuclei(tmp_path, [*"abcde", "caf\udce9"])
    assert hints(tmp_path) == []


def test_augmented_crops_are_drawn(tmp_path):
    root = nuclei(tmp_path / "data", "abc")
    done("info", "--data", "folder", "--root", root, "--augmented", "--out", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "augmented.png", "preview.png"
    }  # fmt: skip


def test_images_of_two_stains_and_pixels_that_do_not_count(tmp_path):
    for index in range(6):
        image, instances = synthetic_nuclei(index, size=64)
        path = tmp_path / "images" / f"{index}.tif"
        path.parent.mkdir(exist_ok=True)
        tifffile.imwrite(path, np.stack([image, image[::-1]], -1), planarconfig="contig")
        mask = (instances > 0).astype(np.uint8)
        mask[:9] = 255
        save(tmp_path / "masks" / f"{index}.png", mask)
    assert hints(tmp_path, "--ignore-index", 255) == []
    for path in masks_of(tmp_path):  # the number of a class of its own, as CamVid has it
        mask = np.array(Image.open(path))
        mask[mask == 255] = 2
        save(path, mask)
    assert hints(tmp_path, "--num-classes", 3, "--ignore-index", 2) == []
