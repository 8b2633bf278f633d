import hashlib
import multiprocessing
import os
import random
import signal
import threading
import time
import weakref
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.filters import gaussian, threshold_otsu
from tqdm import tqdm

from segedu.data import NucleiDataset, download_nuclei, normalize, nuclei, prepare_nuclei, sample
from tests.cases_data import (
    ARCHIVES,
    CASES,
    IMAGE,
    MASKS,
    TRAIN,
    archive_bytes,
    box,
    image_ids,
    picture,
    png,
    server,
    start_preparing,
    tiny,
    write_folder,
    write_zip,
)
from tests.helpers import indexed_like_a_list

COLOUR = image_ids("train", "brightfield_color")[0]
HELD_BACK = image_ids("reserve")[0]


def tree(folder):
    """Every file below, and a hash of its content."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: hashlib.sha256(path.read_bytes()).digest() for path in files}


def contents(cache):
    with np.load(cache) as arrays:
        return {name: arrays[name].tobytes() for name in arrays.files}


# --- the real archive ---


def test_real_archive_is_prepared_once_and_split_by_field(nuclei_zip, monkeypatch, tmp_path):
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / name)  # the user's may be full
    cache = prepare_nuclei(nuclei_zip)
    assert cache.parent == nuclei_zip.parent
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


@pytest.fixture
def archive(tmp_path):
    return write_zip(tmp_path / "a.zip", tiny())


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
    gone = weakref.ref(data)
    del data
    assert gone() is None  # nothing keeps its images


def test_transform_and_target(archive):
    data = NucleiDataset(archive, target="three_class", transform=lambda image, mask: (mask, image))
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
    files |= {f"{MASKS}/aa.png": box(2, 2), f"{MASKS}/c.png": box(9, 14)}
    instances = NucleiDataset(write_zip(tmp_path / "a.zip", files)).instances(0)
    assert np.bincount(instances.ravel()).tolist()[1:] == [25, 25, 10]


def test_what_the_table_does_not_know_is_left_out(tmp_path):
    files = tiny(ids=[TRAIN[0], HELD_BACK, "0" * 64])
    files |= {"__MACOSX/stage1_train/x.png": b"", f"{MASKS}/._a.png": b""}
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
        ({"split": "val"}, "split must be 'train', 'validation' or 'test', got 'val'"),
        ({"modality": "fluo"}, "modality must be .* or None, got 'fluo'"),
        ({"target": "boxes"}, "target must be"),
    ],
)
def test_options_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        NucleiDataset(**{"root": tmp_path} | options)


def test_indices_as_for_a_list(archive):
    indexed_like_a_list(NucleiDataset(archive), 2)


def test_writing_into_what_was_read_changes_nothing(archive):
    data = NucleiDataset(archive)
    image, mask = data[0]
    before = image.clone(), mask.clone()
    image.zero_(), mask.zero_()
    assert all(map(torch.equal, data[0], before))


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.section in ARCHIVES], ids=lambda case: case.what
)
def test_nothing_outside_and_no_half_cache(tmp_path, monkeypatch, case):
    """Whatever happens to archives and downloads (the messages are on the page of cases)."""
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "user" / name)
    write_folder(tmp_path, {"beside.txt": b"mine", "outside/c.png": b"mine"})
    before = tree(tmp_path)
    folder = tmp_path / "outside" / "folder"
    folder.mkdir()
    try:
        case.act(folder)
        works = True
    except (ValueError, OSError):
        works = False
    made = tree(tmp_path)
    assert {path: made.pop(path) for path in before} == before
    assert all(folder in path.parents for path in made)
    hidden = [path for path in made if path.name[0] == "."]
    assert not hidden or "killed" in case.what
    if not works:
        assert not (folder / "data" / "stage1_train.zip").exists()
        assert not list(folder.glob("*.npz")) or case.what == "the cache is damaged inside"


BROKEN = {  # by what is said of it
    "0 images and 2 masks, expected": {name: tiny()[name] for name in tiny() if name != IMAGE},
    "2 images and 2 masks, expected": tiny() | {IMAGE.removeprefix("stage1_train/"): picture()},
    r"shape \(16, 16\), but its image has \(16, 20\)": tiny()
    | {f"{MASKS}/a.png": box(2, 2, (16, 16))},
    "cannot read .*a.png": tiny() | {f"{MASKS}/a.png": b"../../etc/hosts"},
    "cannot read .*/images/": tiny() | {IMAGE: picture()[:60]},
    "no image of the course's table; expected": tiny("a/b/stage1_train/"),
}


@pytest.mark.parametrize("write", [write_zip, write_folder])
@pytest.mark.parametrize(("message", "files"), BROKEN.items())
def test_broken_archives_leave_no_cache(tmp_path, write, message, files):
    root = write(tmp_path / "archive", files)
    with pytest.raises(ValueError, match=message):
        prepare_nuclei(root)
    assert list(tmp_path.iterdir()) == [root]


def test_no_changed_bit_of_a_picture_goes_unnoticed(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(nuclei, "tqdm", lambda images, *args, **options: images)
    whole, right = archive.read_bytes(), contents(cache := prepare_nuclei(archive))
    refused = 0
    for place in range(0, whole.index(b"PK\1\2"), 5):
        cache.unlink(missing_ok=True)
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        archive.write_bytes(damaged)
        try:  # dates and the like may change
            assert contents(prepare_nuclei(archive)) == right
        except ValueError:
            refused += 1
            assert list(tmp_path.iterdir()) == [archive]
    assert refused > 200


def test_an_unreadable_folder_is_named(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(ValueError, match=rf"cannot read {tmp_path} \(Permission denied\)"):
        prepare_nuclei(tmp_path)


# --- the cache ---


@pytest.mark.parametrize("write", [write_zip, write_folder])
def test_cache_is_made_again_when_the_source_changes(tmp_path, write):
    root = write(tmp_path / "archive", tiny())
    cache = prepare_nuclei(root)
    made = cache.stat().st_ino
    assert prepare_nuclei(root).stat().st_ino == made
    write(root, tiny() | {IMAGE: picture(80)})
    assert NucleiDataset(root).grey(0)[3, 3] == 80
    assert cache.stat().st_ino != made


def test_a_damaged_cache_is_made_again_or_named(archive):
    whole = (cache := prepare_nuclei(archive)).read_bytes()
    right = list(NucleiDataset(archive))
    chance = random.Random(0)
    for trial in range(150):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << trial % 8
        cache.write_bytes(damaged[: chance.randrange(len(whole))] if trial % 5 == 0 else damaged)
        try:
            data = NucleiDataset(archive)
        except ValueError:
            with pytest.raises(ValueError, match=r"a.zip.segedu.npz is damaged; delete it"):
                NucleiDataset(archive)
            continue
        for got, wanted in zip(data, right, strict=True):
            assert all(map(torch.equal, got, wanted))


def test_old_format_and_other_source_are_replaced(tmp_path, monkeypatch):
    root = write_zip(tmp_path / "a.zip", tiny(ids=TRAIN[:1]))
    cache = prepare_nuclei(root)
    old = cache.read_bytes()
    monkeypatch.setattr(nuclei, "CACHE_FORMAT", nuclei.CACHE_FORMAT + 1)
    assert prepare_nuclei(root).read_bytes() != old
    write_zip(root, tiny())
    cache.write_bytes(old)
    assert len(NucleiDataset(root)) == 2


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failure_while_writing_leaves_nothing(archive, tmp_path, monkeypatch, error):

    def fail(file, **arrays):
        Path(file).write_bytes(b"half")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez_compressed", fail)
        with pytest.raises(type(error)):
            prepare_nuclei(archive)
    assert list(tmp_path.iterdir()) == [archive]
    assert len(NucleiDataset(archive)) == 2


def test_read_only_folder_uses_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "user" / name)
    root = write_folder(tmp_path / "shared", {"a.zip": b""}) / "a.zip"
    write_zip(root, tiny())
    # The tests may run as root, who can write anywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != root.parent)
    cache = prepare_nuclei(root)
    assert cache == tmp_path / "user" / "segedu" / "a.zip.segedu.npz"
    assert len(NucleiDataset(root)) == 2
    assert list(root.parent.iterdir()) == [root]
    # A cache that somebody put beside a read-only archive is used.
    beside = cache.rename(root.parent / cache.name)
    assert prepare_nuclei(root) == beside
    assert not cache.exists()


def test_many_at_once_do_not_harm_each_other(archive, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        caches = set(pool.map(prepare_nuclei, [archive] * 8))
    assert len(caches) == 1
    assert sorted(tmp_path.iterdir()) == [archive, *caches]
    assert len(NucleiDataset(archive)) == 2


def test_processes_at_once_of_which_one_is_killed(tmp_path):
    """At a random moment. The others make the whole cache; a later run finds it or makes it."""
    root = write_zip(tmp_path / "a.zip", tiny(ids=image_ids("train")[:60]))
    started = time.perf_counter()
    right = contents(cache := prepare_nuclei(root))
    duration = time.perf_counter() - started
    chance = random.Random(0)
    for count in (1, 1, 1, 1, 2, 2, 4, 4):
        cache.unlink(missing_ok=True)
        first, *others = start_preparing(root, count)
        time.sleep(chance.uniform(0, 1.2) * duration * count)
        first.kill()
        for process in (first, *others):
            process.join()
        assert first.exitcode in (0, -signal.SIGKILL)
        assert [process.exitcode for process in others] == [0] * len(others)
        assert cache.exists() or not others
        assert contents(prepare_nuclei(root)) == right
        # The file that the killed process had begun has a hidden name.
        assert [path for path in tmp_path.iterdir() if path.name[0] != "."] == [root, cache]


# --- download ---


def test_download(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "user" / name)
    with server(archive_bytes(tmp_path)):
        assert download_nuclei(tmp_path / "data") == tmp_path / "data" / "stage1_train.zip"
        assert "100%" in capsys.readouterr().err
        assert download_nuclei() == tmp_path / "user" / "segedu" / "stage1_train.zip"


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ({"status": 500}, "500 Internal Server Error"),
        ({"sent": 0}, "no connection, or it broke off"),
        ({"sent": 0, "stalls": True}, "no connection, or it broke off"),
        ({"sent": -1}, "no connection, or it broke off"),
    ],
)
def test_a_failed_download_leaves_what_was_there(tmp_path, behaviour, message):
    content = archive_bytes(tmp_path)
    write_folder(tmp_path / "data", {"tmpabc": content[:900], "stage1_train.zip": content[:900]})
    before = tree(tmp_path)
    with pytest.raises(OSError, match=message), server(content, **behaviour):
        download_nuclei(tmp_path / "data")
    assert tree(tmp_path) == before


def download_alone(folder):
    """Download in a process of its own, which may be killed while it holds tqdm's lock."""
    tqdm.set_lock(threading.RLock())  # or the lock that is shared with this process stays locked
    download_nuclei(folder)


def test_a_killed_download_is_not_taken_for_a_whole_one(tmp_path):
    content = archive_bytes(tmp_path)
    with server(content, sent=900, stalls=True) as requests:
        with patch.object(nuclei, "TIMEOUT", 60):
            download = multiprocessing.get_context("fork").Process(
                target=download_alone, args=(tmp_path / "data",)
            )
            download.start()
        while not requests:
            time.sleep(0.01)
        download.kill()
        download.join()
    assert download.exitcode == -signal.SIGKILL
    assert not (tmp_path / "data" / "stage1_train.zip").exists()
    with server(content):
        assert download_nuclei(tmp_path / "data").read_bytes() == content


def test_downloads_at_once_do_not_harm_each_other(tmp_path):
    content = archive_bytes(tmp_path)
    with server(content), ThreadPoolExecutor(4) as pool:
        (path,) = set(pool.map(download_nuclei, [tmp_path / "data"] * 4))
    assert tree(tmp_path / "data") == {path: hashlib.sha256(content).digest()}


def test_nothing_is_downloaded_unasked(tmp_path):
    with server(archive_bytes(tmp_path)) as requests:
        with pytest.raises(ValueError, match="does not exist"):
            NucleiDataset(tmp_path / "data" / "stage1_train.zip")
        assert not requests


# --- the sample field ---


def test_sample():
    grey, instances = sample()
    assert grey.shape == instances.shape == (512, 512)
    assert (grey.dtype, instances.dtype) == (np.uint16, np.int32)
    assert np.unique(instances).tolist() == list(range(126))


def test_the_sample_is_a_corner_of_a_test_image(nuclei_zip):
    """Its mask is that of the archive, and its grey levels, too, but for white noise."""
    grey, instances = sample()
    (image_id,) = (name for name in image_ids("test") if name.startswith("4dbbb275"))
    with zipfile.ZipFile(nuclei_zip) as archive:

        def corner(name):
            return np.asarray(Image.open(archive.open(name)).convert("L"), int)[8:, 184:]

        original = corner(f"stage1_train/{image_id}/images/{image_id}.png")
        masks = [name for name in archive.namelist() if f"{image_id}/masks/" in name]
        mask = sum(corner(name) for name in masks) > 0
    assert (mask == (instances > 0)).all()
    noise = (grey - original)[(original > 20) & (original < 200)]  # where no level was cut off
    assert noise.mean() == pytest.approx(-0.5, abs=0.1)  # rounded down
    assert noise.std() == pytest.approx(5, abs=0.1)


def test_otsu_on_the_sample():
    """Blur by one pixel and Otsu's threshold: foreground IoU 0.727."""
    grey, instances = sample()
    blurred = gaussian(grey.astype(float), 1)
    found, truth = blurred > threshold_otsu(blurred), instances > 0
    assert (found & truth).sum() / (found | truth).sum() == pytest.approx(0.727, abs=5e-4)


def a_wheel(folder, content):
    """A wheel of stardist with no more than two files."""
    with zipfile.ZipFile(folder / "stardist-0.9.2-cp312-cp312-win_amd64.whl", "w") as wheel:
        wheel.writestr("stardist-0.9.2.dist-info/WHEEL", "Wheel-Version: 1.0")
        wheel.writestr("stardist-0.9.2.dist-info/METADATA", "Name: stardist\nVersion: 0.9.2")
        for name, data in content.items():
            wheel.writestr(f"stardist/data/images/{name}", data)


@pytest.fixture
def sample_files():
    sample()
    folder = nuclei._user_cache() / "sample"
    return {name: (folder / name).read_bytes() for name in nuclei.SAMPLE_SHA256}


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """No sample in the cache, and pip looks for wheels in a folder alone."""
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return tmp_path


def test_the_sample_is_downloaded_once(sample_files, empty_cache, monkeypatch):
    a_wheel(empty_cache, sample_files)
    assert sample()[0].shape == (512, 512)
    monkeypatch.setattr("subprocess.run", None)
    assert len(sample()) == 2


def test_a_sample_that_cannot_be_downloaded(empty_cache):
    with pytest.raises(OSError, match=r"wheel of stardist==0.9.2 \(.*\); this needs pip and, once"):
        sample()


def test_another_picture_is_no_sample(empty_cache):
    a_wheel(empty_cache, {"img2d.tif": b"II*"})
    with pytest.raises(ValueError, match=r"stardist==0.9.2 holds another img2d.tif"):
        sample()
