"""Every picture is read as it is stored, or refused by name: nothing between."""

import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from segedu.data import FolderDataset, normalize
from segedu.data.pictures import list_pictures, read_header, read_image, read_pages, read_values

DTYPES = ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]


def values_of(dtype, shape):
    """Random values of all that the dtype can hold, its extremes included."""
    random, dtype = np.random.default_rng(0), np.dtype(dtype)
    if dtype.kind == "b":
        return random.random(shape) > 0.7
    if dtype.kind == "f":
        values, info = (1000 * random.standard_normal(shape)).astype(dtype), np.finfo(dtype)
    else:
        info = np.iinfo(dtype)
        values = random.integers(info.min, info.max, shape, dtype, endpoint=True)
    values.flat[0], values.flat[-1] = info.min, info.max
    return values


def check_read(path, stored):
    read = read_values(path)
    assert read.dtype == stored.dtype
    np.testing.assert_array_equal(read, stored)
    height, width = stored.shape[:2]
    assert read_header(path).size == (width, height)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    dtype=st.sampled_from(DTYPES),
    channels=st.integers(1, 5),
    sides=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    photometric=st.sampled_from(["minisblack", "miniswhite", "rgb"]),
    planarconfig=st.sampled_from(["contig", "separate"]),
    options=st.fixed_dictionaries(
        {
            "byteorder": st.sampled_from("<>"),
            "bigtiff": st.booleans(),
            "compression": st.sampled_from([None, "zlib", "lzw", "packbits", "zstd"]),
            "rowsperstrip": st.sampled_from([None, 1, 7]),
            "predictor": st.booleans(),
        }
    ),
)
def test_a_tiff_is_read_as_stored_or_refused(
    tmp_path, dtype, channels, sides, photometric, planarconfig, options
):
    values = values_of(dtype, (*sides, channels) if channels > 1 else sides)
    planes = np.moveaxis(values, -1, 0) if planarconfig == "separate" and channels > 1 else values
    assume(photometric != "rgb" or channels >= 3)
    options |= {"photometric": photometric}
    if channels > 1:
        options |= {"planarconfig": planarconfig}
    try:
        tifffile.imwrite(tmp_path / "a.tif", planes, **options)
    except (ValueError, NotImplementedError, RuntimeError):
        assume(False)  # there is no such TIFF
    try:
        read_values(tmp_path / "a.tif")
    except ValueError as error:
        refused = str(error)
    else:
        refused = ""
        check_read(tmp_path / "a.tif", values)
    assert not refused or "it is a stack of" in refused or "interleaved bands of 1 bits" in refused


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_tiffs_that_are_not_refused(tmp_path, dtype, channels):
    values = values_of(dtype, (9, 12, channels) if channels > 1 else (9, 12))
    layout = {"planarconfig": "separate"} if channels > 1 else {}
    planes = np.moveaxis(values, -1, 0) if channels > 1 else values
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="minisblack", **layout)
    check_read(tmp_path / "a.tif", values)
    assert read_header(tmp_path / "a.tif").channels == channels
    assert read_image(tmp_path / "a.tif", channels=channels).shape == values.shape


@pytest.mark.parametrize("options", [{"imagej": True}, {"ome": True}])
def test_channels_of_a_microscope(tmp_path, options):
    values = values_of("u2", (9, 12, 2))
    planes = np.moveaxis(values, -1, 0)
    options |= {"metadata": {"axes": "CYX"}, "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", planes, **options)
    check_read(tmp_path / "a.tif", values)
    assert read_header(tmp_path / "a.tif").channels == 2


@pytest.mark.parametrize("axes", ["YXC", "CYX", "YCX", "CXY"])
@pytest.mark.parametrize("channels", [2, 3])
def test_the_axes_of_a_tiff_may_have_any_order(tmp_path, axes, channels):
    values = values_of("u2", (9, 12, channels))
    stored = values.transpose(["YXC".index(axis) for axis in axes])
    options = {"metadata": {"axes": axes}, "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", stored, **options)
    check_read(tmp_path / "a.tif", values)
    assert read_image(tmp_path / "a.tif", channels=channels).shape == (9, 12, channels)


def test_colours_whose_axes_are_called_as_channels(tmp_path):
    values = values_of("u1", (9, 12, 3))
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", metadata={"axes": "YXC"})
    check_read(tmp_path / "a.tif", values)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((5, 9, 12), {}, "a stack of 5 pictures"),
        ((9, 12, 2), {}, "a stack of 9 pictures"),  # of 12 x 2, as tifffile writes it
        ((9, 12, 4), {"photometric": "separated"}, "colours are CMYK.; convert it to"),
        ((9, 12, 3), {"photometric": "ycbcr"}, "colours are YCBCR"),
    ],
)
def test_tiffs_that_are_refused(tmp_path, shape, options, message):
    tifffile.imwrite(tmp_path / "a.tif", values_of("u1", shape), **options)
    for read in (read_values, read_header):
        with pytest.raises(ValueError, match=message):
            read(tmp_path / "a.tif")


def test_complex_values_and_several_pictures_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 12), complex))
    with pytest.raises(ValueError, match="its values are complex128"):
        read_values(tmp_path / "a.tif")
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        file.write(values_of("u1", (9, 12)))
        file.write(values_of("u2", (5, 7)))
    with pytest.raises(ValueError, match="it holds 2 pictures"):
        read_values(tmp_path / "b.tif")


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("kept", [0.05, 0.3, 0.9, 0.999])
def test_a_tiff_that_was_cut_short_is_refused(tmp_path, compression, kept):
    tifffile.imwrite(tmp_path / "a.tif", values_of("u2", (64, 64)), compression=compression)
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ValueError, match=r"cannot read .*a\.tif"):
        read_values(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png(tmp_path, dtype, channels):
    values = values_of(dtype, (9, 12, channels) if channels > 1 else (9, 12))
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(values))
    check_read(tmp_path / "a.png", values)
    colours = 3 if channels > 2 else 1
    image = read_image(tmp_path / "a.png", channels=colours)
    expected = values[..., :colours] if channels > 1 else values
    np.testing.assert_array_equal(image, expected if colours == 3 else np.squeeze(expected))


def grey_png(values, depth):
    """A PNG of 1, 2, 4 or 8 bits a pixel."""
    height, width = values.shape
    rows = (np.unpackbits(values[..., None], axis=2)[..., -depth:]).reshape(height, -1)
    lines = np.pad(np.packbits(rows, axis=1), ((0, 0), (1, 0)))  # each begins with its filter, none

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_png_of_few_bits_keeps_its_class_indices(tmp_path, depth):
    values = (values_of("u1", (9, 11)) >> 8 - depth).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(grey_png(values, depth))
    check_read(tmp_path / "a.png", values.astype(bool) if depth == 1 else values)


@pytest.mark.parametrize("ending", ["png", "bmp", "tif"])
def test_a_palette_gives_indices_as_values_and_colours_as_image(tmp_path, ending):
    values, palette = values_of("u1", (9, 12)), values_of("u1", (256, 3))
    picture = Image.fromarray(values)
    picture.putpalette(palette.tobytes())
    picture.save(tmp_path / f"a.{ending}")
    check_read(tmp_path / f"a.{ending}", values)
    assert read_header(tmp_path / f"a.{ending}").channels == 3
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{ending}", channels=3), palette[values])


@pytest.mark.parametrize("most", [100, 255, 1000, 65535])
def test_a_pgm_is_read_unless_it_would_be_scaled(tmp_path, most):
    values = (values_of("u4", (9, 12)) % (most + 1)).astype("u1" if most < 256 else ">u2")
    (tmp_path / "a.pgm").write_bytes(b"P5 12 9 %d\n" % most + values.tobytes())
    if most in (255, 65535):
        np.testing.assert_array_equal(read_values(tmp_path / "a.pgm"), values)
    else:
        with pytest.raises(ValueError, match=r"is a PPM of the mode .*; save it as PNG or TIFF"):
            read_values(tmp_path / "a.pgm")


@pytest.mark.parametrize(("mode", "ending"), [("CMYK", "jpg"), ("L", "jp2"), ("LAB", "tif")])
def test_other_colours_and_formats_are_refused(tmp_path, mode, ending):
    Image.new("RGB", (9, 8)).convert(mode).save(tmp_path / f"a.{ending}")
    with pytest.raises(ValueError, match=r"of the mode (CMYK|L)\); save it as|CIELAB"):
        read_values(tmp_path / f"a.{ending}")


def test_grey_of_deep_colours_keeps_their_depth(tmp_path):
    colours = np.full((4, 5, 3), (200, 200, 200), np.uint16)  # dark: 8 bits would hold 0
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb")
    grey = read_image(tmp_path / "a.tif", channels=1)
    assert grey.dtype == np.uint16
    assert (grey == 200).all()


def test_a_picture_that_cannot_be_read_is_not_passed_over(tmp_path):
    for name in ("a.png", "notes.txt", ".hidden.heic"):
        (tmp_path / name).touch()
    assert [path.name for path in list_pictures(tmp_path)] == ["a.png"]
    (tmp_path / "b.HEIC").touch()
    with pytest.raises(ValueError, match=r"b\.HEIC is in a format that is not read here"):
        list_pictures(tmp_path)


def folder_of(root, *pictures):
    for number, picture in enumerate(pictures):
        for kind, values in (("images", picture), ("masks", np.zeros(picture.shape[:2], np.uint8))):
            (root / kind).mkdir(exist_ok=True)
            layout = {"planarconfig": "contig"} if values.ndim == 3 else {}
            tifffile.imwrite(
                root / kind / f"{number}.tif", values, photometric="minisblack", **layout
            )
    return root


def test_a_folder_of_pictures_with_two_channels(tmp_path):
    data = FolderDataset(folder_of(tmp_path, *[values_of("u2", (16, 20, 2))] * 3), num_classes=1)
    image, _ = data[0]
    assert data.in_channels == 2
    assert image.shape == (2, 16, 20)


def test_a_folder_of_different_channels_is_refused(tmp_path):
    folder_of(tmp_path, *(values_of("u1", (16, 20, count)) for count in (2, 2, 4)))
    with pytest.raises(ValueError, match=r"0\.tif has 2 channels and .*2\.tif has 4, expected the"):
        FolderDataset(tmp_path, num_classes=1)


def test_each_of_several_stains_has_its_own_scale():
    stains = np.stack([np.arange(100).reshape(10, 10), np.arange(0, 1000, 10).reshape(10, 10)], -1)
    first, second = normalize(stains)
    np.testing.assert_allclose(first, second, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize(
    ("axes", "shape", "options"),
    [
        ("pages", (5, 9, 12), {"photometric": "minisblack"}),
        ("pages of colour", (5, 9, 12, 3), {"photometric": "rgb"}),
        ("a stack of stains", (5, 2, 9, 12), {"metadata": {"axes": "ZCYX"}, "ome": True}),
        ("a movie of stacks", (2, 3, 9, 12), {"metadata": {"axes": "TZYX"}, "ome": True}),
    ],
)
def test_every_page_of_a_stack_is_read(tmp_path, axes, shape, options, dtype):
    stored = values_of(dtype, shape)
    tifffile.imwrite(tmp_path / "stack.tif", stored, **options)
    pages = read_pages(tmp_path / "stack.tif")
    if axes == "a stack of stains":
        stored = np.moveaxis(stored, 1, -1)
    stored = stored.reshape(-1, *pages[0].shape)
    assert len(pages) == len(stored)
    for page, its in zip(pages, stored, strict=True):
        np.testing.assert_array_equal(page, its)
    with pytest.raises(ValueError, match=r"is a stack of \d pictures\); segedu convert writes"):
        read_values(tmp_path / "stack.tif")


def test_a_picture_that_is_no_stack_is_its_only_page(tmp_path):
    for ending in ("png", "tif"):
        Image.fromarray(np.eye(7, dtype=np.uint8)).save(tmp_path / f"a.{ending}")
        (page,) = read_pages(tmp_path / f"a.{ending}", channels=3)
        np.testing.assert_array_equal(page, np.stack([np.eye(7)] * 3, axis=-1))


def test_grey_with_alpha_and_16_bits_is_grey(tmp_path):
    values = np.arange(2 * 20, dtype=np.uint16).reshape(4, 5, 2) * 1000
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(values))
    assert read_header(tmp_path / "a.png").channels == 1
    assert (read_image(tmp_path / "a.png", channels=1) == values[..., 0]).all()
