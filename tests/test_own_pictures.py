"""The page *Your own pictures*: its commands, run one after the other in a folder of pictures."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from segedu import cli
from segedu.data import synthetic_nuclei
from segedu.files import read_rows

PAGE = Path(__file__).parents[1] / "docs" / "pictures.md"
COMMANDS = re.findall(r"```bash\n(.*?)\n```", PAGE.read_text(encoding="utf-8"), flags=re.S)


def of_a_microscope(path, grey):
    """16 bits, of which the picture uses a few."""
    tifffile.imwrite(path.with_suffix(".tif"), 100 + 3 * grey.astype(np.uint16), compression="zlib")


def of_a_phone(path, grey):
    """A JPEG in colour that lies on its side; EXIF says how to turn it."""
    turned = Image.fromarray(np.stack([grey] * 3, axis=-1)).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(path.with_suffix(".jpg"), exif=exif, quality=95)


@pytest.mark.parametrize("save", [of_a_microscope, of_a_phone])
def test_the_commands_of_the_page(tmp_path, monkeypatch, capsys, save):
    for folder in ("pictures", "drawings", "new_pictures"):
        (tmp_path / folder).mkdir()
    for index in range(10):
        grey, instances = synthetic_nuclei(index, size=(96, 128))
        save(tmp_path / "pictures" / f"field{index}", grey)
        mask = Image.fromarray(np.uint8(128) * (instances > 0))
        mask.save(tmp_path / "drawings" / f"field{index}_mask.png")
        save(tmp_path / "new_pictures" / f"new{index}", synthetic_nuclei(index, seed=1, size=96)[0])
    monkeypatch.chdir(tmp_path)
    assert [command.split()[1] for command in COMMANDS] == ["convert", "info", "train", "predict"]
    for command in COMMANDS:
        line = command.replace("\\\n", "")
        quick = line.replace("--steps 300", "--steps 3 --batch-size 2 --crop-size 64")
        monkeypatch.setattr("sys.argv", shlex.split(quick))
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code, end.value.code
    printed = capsys.readouterr().out
    assert "10 images with masks -> my_data" in printed
    assert "train: 6 images of 96 x 128 pixels" in printed
    assert "without a network: " in printed
    assert (tmp_path / "runs" / "info" / "preview.png").exists()
    results = tmp_path / "results"
    for index in range(10):
        for kind in ("mask.png", "overlay.png", "objects.tif"):
            assert (results / f"new{index}_{kind}").exists()
    assert (results / "sheet_1.png").exists()
    judged = read_rows(tmp_path / "runs" / "mine" / "test.csv")
    assert {row["picture"] for row in judged} < {
        path.name for path in (tmp_path / "my_data" / "images").iterdir()
    }
    rows = read_rows(results / "objects.csv")
    counts = [tifffile.imread(path).max() for path in sorted(results.glob("*_objects.tif"))]
    assert len(rows) == sum(counts) > 20
    assert [int(row["objects"]) for row in read_rows(results / "pictures.csv")] == counts
    # A few steps leave the network that it began with good at these pictures.
    found = np.array(Image.open(results / "new3_mask.png")) > 0
    truth = synthetic_nuclei(3, seed=1, size=96)[1] > 0
    assert (found & truth).sum() / (found | truth).sum() > 0.6
