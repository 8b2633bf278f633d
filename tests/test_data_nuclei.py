import hashlib
import importlib.util
import io
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.filters import gaussian, threshold_otsu

from segedu.data import NucleiDataset, download_nuclei, normalize, nuclei, prepare_nuclei, sample


def image_ids(split, modality="fluorescence"):
    rows = nuclei._table().items()
    return [key for key, row in rows if (row["split"], row["modality"]) == (split, modality)]


TRAIN, COLOUR = image_ids("train")[:2], image_ids("train", "brightfield_color")[0]
HELD_BACK = image_ids("reserve")[0]


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def picture(grey=50):
    image = np.zeros((16, 20, 4), np.uint8)
    image[..., 3] = 255
    image[2:9, 2:9, :3] = grey
    return png(image)


def box(top, left, size=(16, 20)):
    mask = np.zeros(size, np.uint8)
    mask[top : top + 5, left : left + 5] = 255
    return png(mask)


def tiny(prefix="stage1_train/", ids=TRAIN):
    """The files of a small archive: two nuclei an image."""
    files = {}
    for image_id in ids:
        files[f"{prefix}{image_id}/images/{image_id}.png"] = picture()
        files[f"{prefix}{image_id}/masks/a.png"] = box(2, 2)
        files[f"{prefix}{image_id}/masks/b.png"] = box(9, 12)
    return files


def write_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_folder(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


# --- the real archive ---


def test_real_archive_is_prepared_once_and_split_by_field(nuclei_zip):
    cache = prepare_nuclei(nuclei_zip, cache_dir=nuclei_zip.parent)
    made = cache.stat().st_mtime_ns
    groups, ids = {}, {}
    for split, count in (("train", 261), ("validation", 52), ("test", 85)):
        data = NucleiDataset(nuclei_zip, split=split)
        assert len(data) == len(data.groups) == len(set(data.image_ids)) == count
        everything = NucleiDataset(nuclei_zip, split=split, modality=None)
        groups[split], ids[split] = set(everything.groups), everything.image_ids
    assert not groups["train"] & groups["validation"]
    assert not groups["train"] & groups["test"]
    assert not groups["validation"] & groups["test"]
    assert sum(map(len, ids.values())) == 501

    assert prepare_nuclei(nuclei_zip) == cache
    assert cache.stat().st_mtime_ns == made
    assert cache.stat().st_size < 60e6
    assert sorted(cache.parent.iterdir()) == [nuclei_zip, cache]


def test_real_images_agree_with_the_table(nuclei_zip):
    data = NucleiDataset(nuclei_zip, split="validation", modality=None, target="instances")
    for index, image_id in enumerate(data.image_ids):
        row = nuclei._table()[image_id]
        assert data.instances(index).shape == (int(row["height"]), int(row["width"]))
        assert data.instances(index).max() == int(row["instances"])
    image, mask = data[0]
    assert image.shape == (1, *mask.shape)
    assert image.dtype == torch.float32
    assert mask.dtype == torch.int64


def test_table_has_no_field_in_two_splits():
    splits = {}
    for row in nuclei._table().values():
        splits.setdefault(row["group"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())
    sizes = [len(image_ids(split)) for split in ("train", "validation", "test", "reserve")]
    assert sizes == [261, 52, 85, 143]


# --- small archives ---


@pytest.mark.parametrize("write", [write_zip, write_folder])
@pytest.mark.parametrize("prefix", ["", "stage1_train/"])
def test_layouts(tmp_path, write, prefix):
    data = NucleiDataset(write(tmp_path / "archive", tiny(prefix)))
    assert data.image_ids == TRAIN
    image, mask = data[0]
    assert torch.equal(image, normalize(data.grey(0)))
    assert data.grey(0).dtype == np.uint8
    assert data.grey(0)[3, 3] == 50
    assert mask.sum() == 50
    assert sorted(np.unique(data.instances(0))) == [0, 1, 2]
    assert repr(data) == "NucleiDataset(2 images, split='train', modality='fluorescence')"
    assert len(list(data)) == 2


def test_transform_and_target(tmp_path):
    root = write_zip(tmp_path / "a.zip", tiny())
    data = NucleiDataset(root, target="three_class", transform=lambda image, mask: (mask, image))
    mask, image = data[1]
    assert mask.unique().tolist() == [0, 1, 2]
    assert image.shape == (1, 16, 20)


def test_colour_becomes_grey(tmp_path):
    files = tiny(ids=[*TRAIN, COLOUR])
    colour = np.full((16, 20, 3), (200, 100, 0), np.uint8)
    files[f"stage1_train/{COLOUR}/images/{COLOUR}.png"] = png(colour)
    root = write_zip(tmp_path / "a.zip", files)
    assert len(NucleiDataset(root)) == 2
    assert len(NucleiDataset(root, modality=None)) == 3
    data = NucleiDataset(root, modality="brightfield_color")
    assert data.grey(0)[0, 0] == round(0.299 * 200 + 0.587 * 100)
    assert data[0][0].shape == (1, 16, 20)


def test_overlap_goes_to_the_first_and_a_hidden_mask_is_no_nucleus(tmp_path):
    files = tiny(ids=TRAIN[:1])
    folder = f"stage1_train/{TRAIN[0]}/masks"
    files |= {f"{folder}/aa.png": box(2, 2), f"{folder}/c.png": box(9, 14)}
    instances = NucleiDataset(write_zip(tmp_path / "a.zip", files)).instances(0)
    assert np.bincount(instances.ravel()).tolist()[1:] == [25, 25, 10]


def test_what_the_table_does_not_know_is_left_out(tmp_path):
    files = tiny(ids=[TRAIN[0], HELD_BACK, "0" * 64])
    files |= {"__MACOSX/stage1_train/x.png": b"", f"stage1_train/{TRAIN[0]}/masks/._a.png": b""}
    files |= {"stage1_train/notes.txt": b"", f"../{TRAIN[1]}/images/{TRAIN[1]}.png": b""}
    root = write_zip(tmp_path / "a.zip", files)
    assert NucleiDataset(root, modality=None).image_ids == TRAIN[:1]
    with np.load(prepare_nuclei(root)) as cache:
        assert {name.split("/")[0] for name in cache.files} == {TRAIN[0], "fingerprint"}
    with pytest.raises(ValueError, match="no image of the split 'test'"):
        NucleiDataset(root, split="test")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "reserve"}, "used by nothing"),
        ({"split": "val"}, "got the split 'val', expected"),
        ({"modality": "fluo"}, "got the modality 'fluo', expected"),
        ({"target": "semantic"}, "got the target 'semantic', expected"),
    ],
)
def test_unknown_options(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        NucleiDataset(tmp_path, **options)


def broken(kind):
    files, image = tiny(), f"stage1_train/{TRAIN[0]}/images/{TRAIN[0]}.png"
    masks = f"stage1_train/{TRAIN[0]}/masks"
    if kind == "no masks":
        del files[f"{masks}/a.png"], files[f"{masks}/b.png"]
    elif kind == "no image":
        del files[image]
    elif kind == "in two layouts":
        files[image.removeprefix("stage1_train/")] = files[image]
    elif kind == "size":
        files[f"{masks}/a.png"] = box(2, 2, (16, 16))
    elif kind == "text":
        files[f"{masks}/a.png"] = b"../../etc/hosts"  # how an archive stores a symbolic link
    elif kind == "cut picture":
        files[image] = files[image][:60]
    elif kind == "bomb":
        files[image] = png(np.zeros((5000, 5000), np.uint8))
    elif kind == "empty":
        files = {"readme.txt": b""}
    elif kind == "other layout":
        files = {"a/b/" + name: content for name, content in files.items()}
    return files


@pytest.mark.parametrize("write", [write_zip, write_folder])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no masks", "1 images and 0 masks, expected"),
        ("no image", "0 images and 2 masks, expected"),
        ("in two layouts", "2 images and 2 masks, expected"),
        ("size", r"shape \(16, 16\), expected its image's \(16, 20\)"),
        ("text", "cannot read .*a.png"),
        ("cut picture", "cannot read"),
        ("bomb", "expected at most"),
        ("empty", "no image of the course's table; expected"),
        ("other layout", "no image of the course's table; expected"),
    ],
)
def test_broken_archives_leave_no_cache(tmp_path, write, kind, message):
    root = write(tmp_path / "archive", broken(kind))
    with pytest.raises(ValueError, match=message):
        prepare_nuclei(root)
    assert list(tmp_path.iterdir()) == [root]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_broken_zip_files(tmp_path):
    root = write_zip(tmp_path / "a.zip", tiny())
    whole = root.read_bytes()
    root.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="no whole zip archive"):
        prepare_nuclei(root)
    damaged = bytearray(whole)
    damaged[150:250] = bytes(100)
    root.write_bytes(damaged)
    with pytest.raises(ValueError, match="cannot read"):
        prepare_nuclei(root)
    root.write_bytes(whole)
    with zipfile.ZipFile(root, "a") as archive:
        archive.writestr(f"stage1_train/{TRAIN[0]}/masks/a.png", box(3, 3))
    with pytest.raises(ValueError, match="two files of one name"):
        prepare_nuclei(root)
    with pytest.raises(ValueError, match="does not exist"):
        prepare_nuclei(tmp_path / "b.zip")
    assert list(tmp_path.iterdir()) == [root]


def test_entry_that_announces_too_much(tmp_path):
    files = tiny() | {f"stage1_train/{TRAIN[0]}/masks/c.png": bytes(nuclei.MAX_BYTES + 1)}
    with pytest.raises(ValueError, match="bytes, expected at most"):
        prepare_nuclei(write_zip(tmp_path / "a.zip", files))


# --- the cache ---


@pytest.mark.parametrize("write", [write_zip, write_folder])
def test_cache_is_made_again_when_the_source_changes(tmp_path, write):
    root = write(tmp_path / "archive", tiny())
    cache = prepare_nuclei(root)
    made = cache.stat().st_ino
    assert prepare_nuclei(root).stat().st_ino == made
    write(root, tiny() | {f"stage1_train/{TRAIN[0]}/images/{TRAIN[0]}.png": picture(80)})
    assert NucleiDataset(root).grey(0)[3, 3] == 80
    assert cache.stat().st_ino != made


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 cut short"])
def test_foreign_cache_is_replaced(tmp_path, content):
    root = write_zip(tmp_path / "a.zip", tiny())
    (tmp_path / "a.zip.segedu.npz").write_bytes(content)
    assert len(NucleiDataset(root)) == 2


def test_old_format_and_other_source_are_replaced(tmp_path, monkeypatch):
    root = write_zip(tmp_path / "a.zip", tiny(ids=TRAIN[:1]))
    cache = prepare_nuclei(root)
    old = cache.read_bytes()
    monkeypatch.setattr(nuclei, "CACHE_FORMAT", nuclei.CACHE_FORMAT + 1)
    assert prepare_nuclei(root).read_bytes() != old
    write_zip(root, tiny())
    cache.write_bytes(old)
    assert len(NucleiDataset(root)) == 2


def test_damaged_cache_is_named(tmp_path):
    cache = prepare_nuclei(root := write_zip(tmp_path / "a.zip", tiny()))
    content = bytearray(cache.read_bytes())
    with zipfile.ZipFile(cache) as entries:
        start = entries.getinfo(f"{TRAIN[1]}/image.npy").header_offset
    content[start + 120 : start + 160] = bytes(40)
    cache.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged .* delete it"):
        NucleiDataset(root)


def test_failure_while_writing_leaves_nothing(tmp_path, monkeypatch):
    root = write_zip(tmp_path / "a.zip", tiny())

    def full_disk(file, **arrays):
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez_compressed", full_disk)
        with pytest.raises(OSError, match="No space left"):
            prepare_nuclei(root)
    assert list(tmp_path.iterdir()) == [root]
    assert len(NucleiDataset(root)) == 2


def test_read_only_folder_uses_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "user" / name)
    folder = tmp_path / "shared"
    folder.mkdir()
    root = write_zip(folder / "a.zip", tiny())
    folder.chmod(0o555)
    try:
        cache = prepare_nuclei(root)
        assert cache == tmp_path / "user" / "segedu" / "a.zip.segedu.npz"
        assert len(NucleiDataset(root)) == 2
        assert list(folder.iterdir()) == [root]
    finally:
        folder.chmod(0o755)
    # A cache that somebody put beside a read-only archive is used.
    beside = prepare_nuclei(root, cache_dir=folder)
    cache.unlink()
    folder.chmod(0o555)
    assert prepare_nuclei(root) == beside
    folder.chmod(0o755)


def test_cache_folder_of_ones_own(tmp_path):
    root = write_zip(tmp_path / "a.zip", tiny())
    assert prepare_nuclei(root, cache_dir=tmp_path / "b" / "c").parent == tmp_path / "b" / "c"
    assert not (tmp_path / "a.zip.segedu.npz").exists()


def test_many_at_once_do_not_harm_each_other(tmp_path):
    root = write_zip(tmp_path / "a.zip", tiny())
    with ThreadPoolExecutor(8) as pool:
        caches = set(pool.map(prepare_nuclei, [root] * 8))
    assert len(caches) == 1
    assert sorted(tmp_path.iterdir()) == [root, *caches]
    assert len(NucleiDataset(root)) == 2


# --- download ---


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A local server of a small archive that can be told to misbehave."""
    content = write_zip(tmp_path / "source.zip", tiny()).read_bytes()

    class Handler(BaseHTTPRequestHandler):
        status, cut, requests = 200, 0, 0

        def do_GET(self):
            type(self).requests += 1
            self.send_response(self.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) - self.cut])

        def log_message(self, *args):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr(nuclei, "URL", f"http://127.0.0.1:{httpd.server_port}/stage1_train.zip")
    monkeypatch.setattr(nuclei, "SHA256", hashlib.sha256(content).hexdigest())
    yield Handler
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def test_download(tmp_path, server, capsys):
    root = download_nuclei(tmp_path / "data")
    assert root == tmp_path / "data" / "stage1_train.zip"
    assert "100%" in capsys.readouterr().err
    assert len(NucleiDataset(root)) == 2
    assert download_nuclei(tmp_path / "data") == root
    assert server.requests == 1


def test_download_by_default_goes_to_the_users_cache(tmp_path, server, monkeypatch):
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "user" / name)
    assert download_nuclei() == tmp_path / "user" / "segedu" / "stage1_train.zip"


@pytest.mark.parametrize(
    ("attribute", "value", "error", "message"),
    [
        ("status", 404, OSError, "could not download .*404.* give its path"),
        ("cut", 100, OSError, "could not download"),
    ],
)
def test_failed_download_leaves_nothing(tmp_path, server, attribute, value, error, message):
    setattr(server, attribute, value)
    with pytest.raises(error, match=message):
        download_nuclei(tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_download_of_something_else_leaves_nothing(tmp_path, server, monkeypatch):
    monkeypatch.setattr(nuclei, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match="does not match the known hash"):
        download_nuclei(tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_nothing_is_downloaded_unasked(tmp_path, server):
    with pytest.raises(ValueError, match="does not exist"):
        NucleiDataset(tmp_path / "data" / "stage1_train.zip")
    assert server.requests == 0


# --- the sample field ---


def test_sample():
    grey, instances = sample()
    assert grey.shape == instances.shape == (512, 512)
    assert (grey.dtype, instances.dtype) == (np.uint16, np.int32)
    assert np.unique(instances).tolist() == list(range(126))
    assert "stardist" not in sys.modules


def test_otsu_on_the_sample():
    """Blur by one pixel and Otsu's threshold: foreground IoU 0.727."""
    grey, instances = sample()
    blurred = gaussian(grey.astype(float), 1)
    found, truth = blurred > threshold_otsu(blurred), instances > 0
    assert (found & truth).sum() / (found | truth).sum() == pytest.approx(0.727, abs=5e-4)


def test_sample_without_stardist(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install stardist"):
        sample()
