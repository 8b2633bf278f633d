"""What people do to archives, downloads and their own pictures, and what happens then."""

import hashlib
import io
import multiprocessing
import os
import signal
import struct
import threading
import unicodedata
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image
from tqdm import tqdm

from segedu.data import FolderDataset, NucleiDataset, download_nuclei, nuclei, prepare_nuclei
from segedu.data.splits import SPLITS
from tests.cases import Case

CASES: list[Case] = []

Act = Callable[[Path], str]


def case(section: str, what: str) -> Callable[[Act], None]:
    """Add the function below to the cases."""
    return lambda act: CASES.append(Case(section, what, act))


def cases(section: str, acts: dict[str, Act]) -> None:
    for what, act in acts.items():
        case(section, what)(act)


# --- archives ---


def image_ids(split: str, modality: str = "fluorescence") -> list[str]:
    rows = nuclei._table().items()
    return [key for key, row in rows if (row["split"], row["modality"]) == (split, modality)]


TRAIN = image_ids("train")[:2]
IMAGE = f"stage1_train/{TRAIN[0]}/images/{TRAIN[0]}.png"
MASKS = f"stage1_train/{TRAIN[0]}/masks"


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def picture(grey: int = 50) -> bytes:
    image = np.zeros((16, 20, 4), np.uint8)
    image[..., 3] = 255
    image[2:9, 2:9, :3] = grey
    return png(image)


def box(top: int, left: int, size: tuple[int, int] = (16, 20)) -> bytes:
    mask = np.zeros(size, np.uint8)
    mask[top : top + 5, left : left + 5] = 255
    return png(mask)


def tiny(prefix: str = "stage1_train/", ids: list[str] = TRAIN) -> dict[str, bytes]:
    """The files of a small archive, with two nuclei in each image."""
    files = {}
    for image_id in ids:
        files[f"{prefix}{image_id}/images/{image_id}.png"] = picture()
        files[f"{prefix}{image_id}/masks/a.png"] = box(2, 2)
        files[f"{prefix}{image_id}/masks/b.png"] = box(9, 12)
    return files


def write_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def look_at_nuclei(root: Path) -> str:
    try:
        data = NucleiDataset(root)
    except ValueError as error:  # a real image id has 64 characters
        raise ValueError(str(error).replace(TRAIN[0], "<image_id>")) from error
    count = sum(int(data.instances(index).max()) for index in range(len(data)))
    return f"works: {len(data)} images with {count} nuclei"


def zip_of(files: dict[str, bytes]) -> Callable[[Path], str]:
    """What happens with an archive of these files."""
    return lambda folder: look_at_nuclei(write_zip(folder / "stage1_train.zip", files))


def zip_with(extra: dict[str, bytes]) -> Callable[[Path], str]:
    return zip_of(tiny() | extra)


def zip_after(spoil: Callable[[bytearray], bytes]) -> Callable[[Path], str]:
    """What happens with a good archive whose bytes are changed."""

    def act(folder: Path) -> str:
        root = write_zip(folder / "stage1_train.zip", tiny())
        root.write_bytes(spoil(bytearray(root.read_bytes())))
        return look_at_nuclei(root)

    return act


def two_of_one_name(folder: Path) -> str:
    root = write_zip(folder / "stage1_train.zip", tiny())
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(root, "a") as archive:
        archive.writestr(f"{MASKS}/a.png", box(3, 3))
    return look_at_nuclei(root)


def folder_after(spoil: Callable[[Path], None]) -> Callable[[Path], str]:
    """What happens with a good unpacked folder in which one more mask is no file."""

    def act(folder: Path) -> str:
        root = write_folder(folder / "stage1_train", tiny(""))
        spoil(root / TRAIN[0] / "masks" / "c.png")
        return look_at_nuclei(root)

    return act


def flip_a_bit(content: bytearray) -> bytes:
    content[content.index(b"IDAT") + 6] ^= 1
    return content


def encrypt(content: bytearray) -> bytes:
    """Say in every header that the entry is encrypted."""
    return content.replace(b"PK\3\4\x14\0\0\0", b"PK\3\4\x14\0\1\0").replace(
        b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"
    )


def halve_a_size(content: bytearray) -> bytes:
    """Halve the sizes that the directory of the archive gives for the first entry."""
    at = content.index(b"PK\1\2") + 20
    content[at : at + 8] = struct.pack(
        "<2I", *(n // 2 for n in struct.unpack_from("<2I", content, at))
    )
    return content


def png_header(width: int, height: int) -> bytes:
    """The header of a picture of this size, without its pixels."""
    content = bytearray(png(np.zeros((1, 1), np.uint8)))
    content[16:24] = struct.pack(">2I", width, height)
    content[29:33] = struct.pack(">I", zipfile.crc32(content[12:29]))
    return bytes(content)


WEB_PAGE = b"<!doctype html><title>Please log in</title>"

DAMAGED = "The archive is damaged, or another one"

cases(
    DAMAGED,
    {
        "the archive is truncated": zip_after(lambda content: content[: len(content) // 2]),
        "one bit of the archive is wrong": zip_after(flip_a_bit),
        "a web page was saved in place of the archive": zip_after(lambda content: WEB_PAGE),
        "the archive is inside another archive": lambda folder: zip_of(
            {"stage1_train.zip": write_zip(folder / "inner.zip", tiny()).read_bytes()}
        )(folder),
        "the archive is encrypted": zip_after(encrypt),
        "the archive is empty": zip_of({}),
        "the archive does not exist": lambda folder: look_at_nuclei(folder / "stage1_train.zip"),
        "the archive has another layout": zip_of(tiny("data/train/")),
        "a Windows program wrote the archive's paths with backslashes": zip_of(
            {name.replace("/", "\\"): content for name, content in tiny().items()}
        ),
        "the archive gives the wrong size for a file": zip_after(halve_a_size),
        "an image in the archive has no masks": zip_of(
            {name: content for name, content in tiny().items() if MASKS not in name}
        ),
        "a mask in the archive has another size than its image": zip_with(
            {f"{MASKS}/a.png": box(2, 2, (16, 16))}
        ),
    },
)

ODD = "The archive contains something odd"

cases(
    ODD,
    {
        "paths in the archive lead out of it (../, /, C:/)": zip_with(
            {f"{place}{MASKS}/c.png": box(3, 3) for place in ("../../", "/", "C:/")}
        ),
        "a file in the archive is a symbolic link": zip_with({f"{MASKS}/a.png": b"/etc/hostname"}),
        "a mask in the archive is 16 MB of zeros": zip_with({f"{MASKS}/c.png": bytes(2**24)}),
        "the header of a mask in the archive says 64 megapixels": zip_with(
            {f"{MASKS}/c.png": png_header(8_000, 8_000)}
        ),
        "the archive has images that are not in the course's table": zip_with(tiny(ids=["0" * 64])),
        "the archive has two files with the same name": two_of_one_name,
        "the unpacked folder has a broken symbolic link": folder_after(
            lambda mask: mask.symlink_to("gone.png")
        ),
        "the unpacked folder has a folder where a mask should be": folder_after(Path.mkdir),
    },
)


# --- the cache ---

CACHE = "The cache beside the archive"


def prepare_at(start, root: Path) -> None:
    """Prepare the archive in a process of its own, when all are ready."""
    tqdm.set_lock(threading.RLock())  # the inherited lock stays locked if a sibling dies
    start.wait()
    prepare_nuclei(root)


def start_preparing(root: Path, count: int) -> list[multiprocessing.Process]:
    """Processes that start to prepare the archive at the same moment."""
    forked = multiprocessing.get_context("fork")  # importing torch again takes seconds
    start = forked.Barrier(count + 1)
    processes = [forked.Process(target=prepare_at, args=(start, root)) for _ in range(count)]
    for process in processes:
        process.start()
    start.wait()
    return processes


@case(CACHE, "four processes prepare the same archive at once")
def _(folder):
    root = write_zip(folder / "stage1_train.zip", tiny())
    for process in start_preparing(root, 4):
        process.join()
    return f"{look_at_nuclei(root)}; the folder holds {' and '.join(sorted(os.listdir(folder)))}"


@case(CACHE, "preparing the archive is killed halfway and started again")
def _(folder):
    root = write_zip(folder / "stage1_train.zip", tiny())

    def write_half(file, **arrays):
        Path(file).write_bytes(b"PK\3\4")
        os.kill(os.getpid(), signal.SIGKILL)

    with patch.object(np, "savez_compressed", write_half):
        (process,) = start_preparing(root, 1)
        process.join()
    left = "a" if (folder / "stage1_train.zip.segedu.npz").exists() else "no"
    return f"signal {-process.exitcode} leaves {left} cache; then it {look_at_nuclei(root)}"


@case(CACHE, "the cache is truncated")
def _(folder):
    cache = prepare_nuclei(root := write_zip(folder / "stage1_train.zip", tiny()))
    cache.write_bytes(cache.read_bytes()[:-100])
    return f"{look_at_nuclei(root)}; it is made again"


@case(CACHE, "the cache is damaged inside")
def _(folder):
    cache = prepare_nuclei(root := write_zip(folder / "stage1_train.zip", tiny()))
    content = bytearray(cache.read_bytes())
    with zipfile.ZipFile(cache) as entries:
        start = entries.getinfo(f"{TRAIN[1]}/image.npy").header_offset
    content[start + 120 : start + 160] = bytes(40)
    cache.write_bytes(content)
    return look_at_nuclei(root)


# --- downloads ---

DOWNLOAD = "The download fails"
ARCHIVES = DAMAGED, ODD, CACHE, DOWNLOAD  # the sections with archives and downloads


@contextmanager
def server(content: bytes, *, status: int = 200, sent: int | None = None, stalls: bool = False):
    """A local server in place of the archive's, which can misbehave. Yields the requests it got.

    It sends the first `sent` bytes; then it `stalls`, or closes the connection. Errors that are
    raised name the real address.
    """
    requests, done = [], threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:sent])
            if stalls:
                done.wait()

        def log_message(self, *args):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    try:
        with at_port(httpd.server_port, content):
            yield requests
    finally:
        done.set()
        httpd.shutdown()
        httpd.server_close()
        thread.join()


@contextmanager
def at_port(port: int, content: bytes) -> Iterator[None]:
    real, local = nuclei.URL, f"http://127.0.0.1:{port}/stage1_train.zip"
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        with patch.multiple(nuclei, URL=local, SHA256=sha256, TIMEOUT=0.2):
            yield
    except (OSError, ValueError) as error:
        raise type(error)(str(error).replace(local, real)) from error


def archive_bytes(folder: Path) -> bytes:
    source = write_zip(folder / "source.zip", tiny())
    content = source.read_bytes()
    source.unlink()
    return content


def download_from(**behaviour) -> Callable[[Path], str]:
    """What happens with a download from a server that behaves like this."""

    def act(folder: Path) -> str:
        with server(archive_bytes(folder), **behaviour):
            return look_at_nuclei(download_nuclei(folder / "data"))

    return act


cases(
    DOWNLOAD,
    {
        "the server does not have the archive": download_from(status=404),
        "the download breaks off": download_from(sent=500),
        "the server stops sending": download_from(sent=500, stalls=True),
    },
)


@case(DOWNLOAD, "there is no connection to the server")
def _(folder):
    with server(b""):
        port = int(nuclei.URL.split(":")[2].split("/")[0])
    with at_port(port, b""):  # no server listens there any more
        return str(download_nuclei(folder / "data"))


@case(DOWNLOAD, "the server sends a different file")
def _(folder):
    with server(WEB_PAGE), patch.object(nuclei, "SHA256", "0" * 64):
        return str(download_nuclei(folder / "data"))


@case(DOWNLOAD, "the archive has already been downloaded")
def _(folder):
    with server(archive_bytes(folder)) as requests:
        download_nuclei(folder / "data")
        works = look_at_nuclei(download_nuclei(folder / "data"))
    return f"{works}; number of downloads: {len(requests)}"


@case(DOWNLOAD, "half an archive is already where the download goes")
def _(folder):
    content = archive_bytes(folder)
    write_folder(folder / "data", {"stage1_train.zip": content[:500]})
    with server(content):
        return look_at_nuclei(download_nuclei(folder / "data"))


@case(DOWNLOAD, "the folder for the download is a file")
def _(folder):
    (folder / "data").touch()
    with server(archive_bytes(folder)):
        return str(download_nuclei(folder / "data"))


# --- your own pictures ---


def save(path: Path, content, **options) -> None:
    """A picture, an array of its values, or the bytes of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, Image.Image):
        content.save(path, **options)
    else:
        Image.fromarray(content).save(path, **options)


def grey(height: int = 12, width: int = 16) -> np.ndarray:
    return np.arange(height * width).reshape(height, width).astype(np.uint8)


def exif(orientation: int) -> Image.Exif:
    """How the camera was held: a viewer turns the picture."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def halves(low: float, high: float, dtype: type = np.uint8) -> np.ndarray:
    mask = np.full((12, 16), low, dtype)
    mask[:, 8:] = high
    return mask


def fill(root: Path, names="abc", *, image=None, mask=None, ending: str = "png") -> Path:
    """A folder in which all images are the same and all masks are the same."""
    for name in names:
        save(root / "images" / f"{name}.{ending}", grey() if image is None else image)
        save(root / "masks" / f"{name}.{ending}", halves(0, 1) if mask is None else mask)
    return root


def splits(root: Path, **options) -> list[FolderDataset]:
    options = {"num_classes": 1} | options
    return [FolderDataset(root, split=split, **options) for split in SPLITS]


def look_at_folder(root: Path, **options) -> str:
    """Read the whole folder and describe it."""
    pairs = [pair for part in splits(root, **options) for pair in part]
    (channels,) = {image.shape[0] for image, _ in pairs}
    classes = sorted({value for _, mask in pairs for value in mask.unique().tolist()})
    assert all(image.shape[1:] == mask.shape for image, mask in pairs)
    colour = "colour" if channels == 3 else "grey"
    return f"works: {len(pairs)} pictures, read as {colour}, with the classes {classes}"


def all_of(*, image=None, mask=None, ending: str = "png", **options) -> Callable[[Path], str]:
    """What happens with three such images and masks."""
    return lambda folder: look_at_folder(
        fill(folder, image=image, mask=mask, ending=ending), **options
    )


def with_file(name: str, content, **options) -> Callable[[Path], str]:
    """What happens if one file of three good pairs is replaced, its ending included."""

    def act(folder: Path) -> str:
        for replaced in fill(folder).glob(f"{Path(name).with_suffix('')}.*"):
            replaced.unlink()
        save(folder / name, content, **options)
        return look_at_folder(folder)

    return act


def moved(name: str, to: str) -> Callable[[Path], str]:
    """What happens if one file or folder of three good pairs is moved."""

    def act(folder: Path) -> str:
        (fill(folder) / to).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).rename(folder / to)
        return look_at_folder(folder)

    return act


def emptied(root: Path) -> Path:
    for path in root.glob("*/*.png"):
        path.unlink()
    return root


def palette(mask: np.ndarray) -> Image.Image:
    painted = Image.fromarray(mask, "L").convert("P")
    painted.putdata(mask.ravel().tolist())
    painted.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0] + [0] * 759)
    return painted


def series(kind: str) -> bytes:
    """Three pictures in one file."""
    pages = [Image.fromarray(grey() + step) for step in range(3)]
    file = io.BytesIO()
    pages[0].save(file, kind, save_all=True, append_images=pages[1:])
    return file.getvalue()


def deep(top: float, dtype: type) -> np.ndarray:
    return np.linspace(0, top, 12 * 16).reshape(12, 16).astype(dtype)


def with_nan() -> np.ndarray:
    values = deep(1, np.float32)
    values[3, 4] = np.nan
    return values


def colours(mode: str) -> Image.Image:
    return Image.fromarray(grey()).convert("RGB").convert(mode)


cases(
    "A mask has the wrong size or direction",
    {
        "a mask has another size than its image": with_file("masks/c.png", grey(6, 8)),
        "a mask lies on its side": with_file("masks/c.png", grey(16, 12)),
    },
)

cases(
    "A mask has unexpected values",
    {
        "masks hold 0 and 255": all_of(mask=halves(0, 255)),
        "masks hold 0 and 255, and num_classes is 2": all_of(mask=halves(0, 255), num_classes=2),
        "a mask has more classes than num_classes": all_of(mask=halves(0, 3), num_classes=3),
        "masks mark pixels without a class with 255": all_of(
            mask=halves(1, 255), num_classes=2, ignore_index=255
        ),
        "masks mark pixels without a class with 255, and ignore_index is not set": all_of(
            mask=halves(1, 255), num_classes=2
        ),
        "masks are painted in colours": all_of(
            mask=np.stack([halves(0, 255), halves(255, 0), halves(0, 0)], -1), num_classes=3
        ),
        "masks have a palette": all_of(mask=palette(halves(1, 2)), num_classes=3),
        "masks are 1-bit black and white": all_of(
            mask=Image.fromarray(halves(0, 255)).convert("1")
        ),
        "masks are 16-bit class indices": all_of(mask=halves(0, 2, np.uint16), num_classes=3),
        "masks hold fractions": all_of(mask=halves(0, 0.5, np.float32), ending="tif"),
        "masks are partly transparent": all_of(
            mask=np.stack([halves(0, 0)] * 3 + [halves(0, 255)], -1)
        ),
        "masks are JPEG files": all_of(mask=halves(0, 255), ending="jpg"),
    },
)

cases(
    "Images of another kind",
    {
        "grey and colour images are mixed": with_file("images/c.png", colours("RGB")),
        "images have a palette": all_of(image=colours("P")),
        "images have an alpha channel": all_of(image=colours("RGBA")),
        "an image is for print (CMYK)": with_file("images/c.tif", colours("CMYK")),
        "images are 16-bit": all_of(image=deep(60_000, np.uint16)),
        "an image holds NaN": with_file("images/c.tif", with_nan()),
        "an image is uniformly grey": all_of(image=halves(7, 7)),
        "an image has a single pixel": all_of(
            image=np.array([[9]], np.uint8), mask=np.array([[1]], np.uint8)
        ),
        "a TIFF holds a stack": with_file("images/c.tif", series("TIFF")),
        "an image is an animated GIF": with_file("images/c.gif", series("GIF")),
    },
)

cases(
    "Pairs and names do not match",
    {
        "an image has no mask": moved("masks/c.png", "c.png"),
        "the names of an image and its mask differ in capitals": moved(
            "masks/c.png", "masks/C.png"
        ),
        "names have spaces, dots and accents": lambda folder: look_at_folder(
            fill(folder, ["cell 1", "cell.2.crop", "Zelle-für-π"])
        ),
    },
)

cases(
    "A file cannot be read",
    {
        "the header of an image says 400 megapixels": with_file(
            "images/c.png", png_header(20_000, 20_000)
        ),
        "a picture is an empty file": with_file("images/c.png", b""),
        "a picture is truncated": with_file("images/c.png", png(grey())[:-30]),
        "a text file is named .png": with_file("images/c.png", b"see the other folder"),
    },
)

cases(
    "The folder is not as expected",
    {
        "some images are in a subfolder": moved("images/c.png", "images/day 2/c.png"),
        "there are no pictures": lambda folder: look_at_folder(emptied(fill(folder))),
        "there is one image": lambda folder: look_at_folder(fill(folder, "a")),
        "the folder does not exist": lambda folder: look_at_folder(folder / "cells"),
        "the folder is a file": lambda folder: look_at_folder(fill(folder) / "images/a.png"),
        "the folder given is images/ itself": lambda folder: look_at_folder(
            fill(folder) / "images"
        ),
        "the folder of masks is called labels": moved("masks", "labels"),
        "there is train/, but no validation/": lambda folder: look_at_folder(
            fill(folder / "train").parent
        ),
        "the folder is None": lambda folder: look_at_folder(None),
    },
)


@case("A mask has the wrong size or direction", "a photograph was taken with the camera turned")
def _(folder):
    save(fill(folder, "ab") / "images/c.jpg", grey(12, 16), exif=exif(6))  # by 90 degrees
    save(folder / "masks/c.png", np.ones((16, 12), np.uint8))  # drawn on what is shown
    return look_at_folder(folder)


@case("Images of another kind", "images differ in size")
def _(folder):
    save(fill(folder) / "images/c.png", grey(5, 7))
    save(folder / "masks/c.png", np.ones((5, 7), np.uint8))
    return look_at_folder(folder)


@case("Pairs and names do not match", "two images have the same name")
def _(folder):
    save(fill(folder) / "images/c.jpg", grey())
    return look_at_folder(folder)


@case("Pairs and names do not match", "one program writes é as one character and another as two")
def _(folder):
    save(fill(folder) / "images" / f"{unicodedata.normalize('NFC', 'é')}.png", grey())
    save(folder / "masks" / f"{unicodedata.normalize('NFD', 'é')}.png", halves(0, 1))
    return look_at_folder(folder)


@case("The folder is not as expected", "there are hidden files and notes beside the pictures")
def _(folder):
    for name in ("images/.DS_Store", "images/._a.png", "masks/readme.txt"):
        save(fill(folder) / name, b"not a picture")
    return look_at_folder(folder)


@case("The folder is not as expected", "a loop runs over all pictures")
def _(folder):
    data = FolderDataset(fill(folder), num_classes=1)
    count = sum(1 for _ in data)
    try:
        data[count]
    except IndexError:
        return f"works: {count} of {len(data)} pictures, then an IndexError, as for a list"
