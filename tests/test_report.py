"""What `segedu evaluate` prints about networks good and bad, and writes of each picture."""

import shutil
import warnings

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image

from segedu import UNet, cli, metrics, save_checkpoint
from segedu.commands import report
from segedu.commands.calibrate import best_threshold_of
from segedu.data import FolderDataset, SyntheticNuclei
from segedu.evaluation import learn_baselines
from segedu.files import read_rows
from tests.cases_data import fill

CPU = Fabric(accelerator="cpu", devices=1)


class Says(UNet):
    """A network that gives an image itself, (K, H, W), as its logits."""

    def __init__(self, num_classes):
        super().__init__(num_classes, num_classes, channels=(2, 4))

    def forward(self, images):
        return images


class Ramp(UNet):
    """A network that takes the brightness of an image for the probability."""

    def __init__(self):
        super().__init__(1, 1, channels=(2, 4))
        self.threshold = 0.2

    def forward(self, images):
        return images.logit()


def in_print(model, data, out, *, train=None, ignore_index=None, capsys):
    """The lines of a report; a warning is an error."""
    fabric = Fabric(accelerator="cpu", devices=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report.print_report(model, data, "test", fabric, ignore_index, train or data, out)
    return capsys.readouterr().out.splitlines()


def test_a_network_that_finds_nothing_is_reported(tmp_path, monkeypatch, capsys):
    model = UNet(1, 1, channels=(2, 4))
    torch.nn.init.constant_(model.heads["1"].bias, -1e3)
    save_checkpoint(tmp_path / "nothing.safetensors", model)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["segedu", "evaluate", "--weights", "nothing.safetensors"])
    monkeypatch.setattr(cli, "_dataset", lambda *arguments, **options: SyntheticNuclei(2, size=48))
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    out = capsys.readouterr().out
    header, foreground = out.splitlines()[1:3]
    *_, iou, dice, precision, recall = foreground.split()
    assert header.split()[-4:] == ["iou", "dice", "precision", "recall"]
    assert (iou, dice, precision, recall) == ("0.000", "0.000", "-", "0.000")  # 0 of 0
    assert "without a network: Otsu's threshold" in out
    assert "of the pixels with a probability of 0.00 to 0.07, " in out
    rows = read_rows(tmp_path / "runs" / "evaluation" / "test.csv")
    masks = [mask for _, mask in SyntheticNuclei(2, size=48)]
    assert [(row["iou"], row["precision"]) for row in rows] == [("0.0", "")] * 2
    assert [int(row["pixels_of_truth"]) for row in rows] == [int(mask.sum()) for mask in masks]


def test_classes_that_are_never_answered_are_seen():
    truth = torch.tensor([[[0, 0, 0, 1, 1, 2]]])
    counts = metrics.stat_scores(torch.zeros_like(truth), truth, num_classes=3)
    table = report._per_class(counts, ("background", "interior", "boundary"))
    assert [line.split() for line in table.splitlines()[1:]] == [
        ["background", "0.500", "1.000", "0.500", "0.667", "0.500", "1.000"],
        ["interior", "0.333", "0.000", "0.000", "0.000", "-", "0.000"],
        ["boundary", "0.167", "0.000", "0.000", "0.000", "-", "0.000"],
    ]


def test_every_number_of_a_report_by_hand(tmp_path, capsys):
    """Four images of 4 x 4; the network answers the left half with a probability of 0.88 or 0."""
    logits = torch.full((1, 4, 4), -1e3)
    logits[:, :, :2] = 2.0
    masks = torch.zeros(4, 4, 4, dtype=torch.long)
    masks[0, :, :2] = 1  # IoU 1
    masks[1, :, :1] = 1  # 1/2
    masks[2, :, 2:] = 1  # 0
    masks[3, 0, 0] = 1  # 1/8
    data = [(logits, mask) for mask in masks]
    lines = in_print(Says(1), data, tmp_path / "a.csv", capsys=capsys)
    assert lines[0] == "4 test images: mean IoU per image 0.406"  # (1 + 1/2 + 0 + 1/8) / 4
    # TP 13, FP 19, FN 8, TN 24; 21 and 32 of 64.
    assert lines[2].split() == [
        "foreground", "0.328", "0.500", "0.325", "0.491", "0.406", "0.619"
    ]  # fmt: skip
    # The outline of the answer has 8 pixels. Near it are 8 of 8, 4 of 4, 4 of 8 and 1 of 1; near
    # that of the truth are 8, 8, 4 and 3 of 8.
    assert lines[3].endswith(f"pixel: {(1 + 1 + 8 / 16 + 4 / 9) / 4:.3f}")
    # 13 of 32 are right at 0.881, and 8 of 32 are objects at 0.
    assert f"error: {(abs(0.8808 - 13 / 32) + 8 / 32) / 2:.3f}; of the pixels with" in lines[4]
    assert lines[4].endswith("0.87 to 0.93, 40.6% are object")
    assert lines[5] == "lowest IoU: 2 0.000, 3 0.125, 1 0.500"
    # Per place, only pixel (0, 0) is most often foreground: (1/8 + 1/4 + 0 + 1) / 4 = 0.344.
    assert lines[6] == "without a network: Otsu's threshold 0.406, so +0.000"
    rows = read_rows(tmp_path / "a.csv")
    assert [row["picture"] for row in rows] == ["0", "1", "2", "3"]
    assert {row["class"] for row in rows} == {"foreground"}
    assert [float(row["iou"]) for row in rows] == [1, 0.5, 0, 0.125]
    assert [float(row["dice"]) for row in rows] == pytest.approx([1, 2 / 3, 0, 2 / 9], abs=1e-6)
    assert [float(row["recall"]) for row in rows] == [1, 1, 0, 1]
    assert [row["pixels_of_truth"] for row in rows] == ["8", "4", "8", "1"]
    assert {row["pixels_of_answer"] for row in rows} == {"8"}


def test_classes_that_are_absent_and_the_most_frequent_class_per_place(tmp_path, capsys):
    """Above always class 1, below always 2; class 3 is nowhere, and the network says 0 or 1."""
    mask = torch.ones(6, 8, dtype=torch.long)
    mask[3:] = 2
    logits = torch.zeros(4, 6, 8)
    logits[0] = 1.0
    logits[1, :, 4:] = 2.0
    lines = in_print(Says(4), [(logits, mask)], tmp_path / "a.csv", capsys=capsys)
    assert lines[0].endswith("1 test images: mean IoU over the classes 0.111")  # (0 + 1/3 + 0) / 3
    cells = {line.split()[1]: line.split()[2:] for line in lines[2:6]}
    assert cells["0"] == ["0.000", "0.500", "0.000", "0.000", "0.000", "-"]
    assert cells["2"] == ["0.500", "0.000", "0.000", "0.000", "-", "0.000"]
    assert cells["3"] == ["0.000", "0.000", "-", "-", "-", "-"]
    assert lines[-2] == "without a network: most frequent class per place 1.000, so -0.889"
    rows = read_rows(tmp_path / "a.csv")
    assert [row["iou"] for row in rows] == ["0.0", "0.333333", "0.0", ""]


@pytest.mark.parametrize("num_classes", [1, 3])
def test_nothing_to_judge_is_a_dash(tmp_path, capsys, num_classes):
    ignored = torch.full((4, 4), 9)
    data = [(torch.zeros(num_classes, 4, 4), ignored)]
    lines = in_print(Says(num_classes), data, tmp_path / "a.csv", ignore_index=9, capsys=capsys)
    assert lines[0].endswith(" -")
    assert lines[2].split()[-6:] == ["-"] * 6
    assert lines[-4:-1] == [
        "surface Dice per image, tolerance 1 pixel: -", "calibration error: -", "lowest IoU: -"
    ]  # fmt: skip
    rows = read_rows(tmp_path / "a.csv")
    assert [(row["iou"], row["pixels_of_truth"]) for row in rows] == [("", "0")] * num_classes


def test_pictures_without_an_object(tmp_path, capsys):
    data = [(torch.full((1, 4, 4), -9.0), torch.zeros(4, 4, dtype=torch.long))] * 2
    lines = in_print(Says(1), data, tmp_path / "a.csv", capsys=capsys)
    assert lines[0].endswith("mean IoU per image 1.000")
    assert lines[2].split() == ["foreground", "0.000", "0.000", "-", "-", "-", "-"]
    assert "tolerance 1 pixel: -" in lines[3]
    assert lines[6] == "without a network: background everywhere 1.000, so +0.000"
    assert [row["iou"] for row in read_rows(tmp_path / "a.csv")] == ["", ""]


def test_dark_objects_lie_below_the_threshold(tmp_path, capsys):
    """Which side is learnt from the training images, whatever the test images are."""
    mask = torch.zeros(40, 40, dtype=torch.long)
    mask[10:30, 5:20] = 1
    dark, bright = [(9.0 - 18 * mask[None], mask)], [(18.0 * mask[None] - 9, mask)]
    for train, side in ((dark, "below Otsu's threshold"), (bright, "Otsu's threshold")):
        answers = learn_baselines(train, num_classes=1)
        assert list(answers) == ["most frequent class per place", side]
        found = answers[side](train[0][0][None])
        assert (found[0] != mask).float().mean() < 0.05  # the blur moves the edge
    lines = in_print(Says(1), bright, tmp_path / "a.csv", train=dark, capsys=capsys)
    assert lines[-2].startswith("without a network: most frequent class per place")


def test_answers_without_a_network_learn_from_pictures_of_the_whole_set(tmp_path, capsys):
    """Of 250 pictures the first 100 have their object at the left, the others at the right."""
    left = torch.zeros(8, 8, dtype=torch.long)
    left[:, :4] = 1
    grey = torch.zeros(1, 8, 8)
    train = [(grey, left)] * 100 + [(grey, 1 - left)] * 150
    lines = in_print(Says(1), train[-1:], tmp_path / "a.csv", train=train, capsys=capsys)
    assert lines[6].startswith("without a network: most frequent class per place 1.000")


def test_a_class_per_place_fits_images_of_every_size():
    sizes = [(10, 20), (64, 64), (100, 30)]
    dataset = []
    for height, width in sizes:
        mask = torch.zeros(height, width, dtype=torch.long)
        mask[: height // 2, : width // 2] = 2
        dataset.append((torch.rand(1, height, width), mask))
    dataset.append((torch.rand(1, 8, 8), torch.full((8, 8), 255)))
    answers = learn_baselines(dataset, num_classes=3, ignore_index=255)
    assert list(answers) == ["most frequent class per place"]
    for image, mask in dataset[:3]:
        answer = answers["most frequent class per place"](image[None])
        assert torch.equal(answer[0], mask)


def test_a_threshold_from_annotated_pictures_is_reported_beside_the_one_before(
    tmp_path, monkeypatch, capsys
):
    """Of the pictures the left half is object; a ramp of grey crosses 0.5 far from the middle."""
    columns = np.arange(32)
    for folder, number, rows in (("data", 8, 32), ("tile", 1, 40)):
        truth = np.repeat([columns < 16], rows, axis=0)
        grey = np.repeat([np.maximum(250 - 2 * columns, 0)], rows, axis=0).astype(np.uint8)
        for kind, values in (("images", grey), ("masks", truth)):
            (tmp_path / folder / kind).mkdir(parents=True)
            for k in range(number):
                picture = Image.fromarray(values)
                picture.save(tmp_path / folder / kind / f"{folder}{k}.png")
    model = Ramp()
    monkeypatch.setattr(cli, "_load", lambda *_: model)
    monkeypatch.chdir(tmp_path)
    command = "segedu evaluate --data folder --root data --calibrate tile"
    monkeypatch.setattr("sys.argv", command.split())
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    out = capsys.readouterr().out
    # Its probabilities fall from 1 to 0 in 31 steps: above 0.5 are 16 columns, above 0.2 are 25.
    assert "threshold 0.5 from 1 annotated picture (IoU there 1.000), in place of 0.2" in out
    assert "mean IoU per image 1.000\nnot calibrated, at threshold 0.2: 0.640, so +0.360" in out
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    for folder in ("data", "copy"):
        monkeypatch.setattr("sys.argv", command.replace("tile", folder).split())
        with pytest.raises(SystemExit, match="is to be measured and to choose the threshold"):
            cli.main()


def test_a_picture_whose_name_is_no_utf_8(tmp_path, capsys):
    fill(tmp_path, ["caf\udce9"])
    data = FolderDataset(tmp_path, num_classes=1, split=None)
    lines = in_print(Says(1), data, tmp_path / "a.csv", capsys=capsys)
    assert lines[5].startswith("lowest IoU: caf\\udce9.png ")
    assert [row["picture"] for row in read_rows(tmp_path / "a.csv")] == ["caf\\udce9.png"]


class Two(UNet):
    """A network that knows two probabilities: one for bright pixels, one for all others."""

    def __init__(self, dark, bright):
        super().__init__(1, 1, channels=(2, 4))
        self.threshold, self.dark, self.bright = 0.65, dark, bright

    def forward(self, images):
        return torch.where(images > 0.5, self.bright, self.dark).logit()


@pytest.mark.parametrize(
    ("mask", "expected", "said"),
    [
        ([0, 0, 1, 1], 0.65, "threshold 0.65: on 1 annotated picture no other one is better (1.0"),
        ([1, 1, 1, 0], 0.25, "threshold 0.25 from 1 annotated picture (IoU there 0.750)"),
        ([0, 255, 1, 1], 0.65, "no other one is better (1.000)"),
    ],
)
def test_calibrating_takes_another_threshold_only_if_it_is_better(
    mask, expected, said, tmp_path, capsys
):
    write_tile(tmp_path, mask)
    found = best_threshold_of(Two(0.28, 0.8), tmp_path, CPU, ignore_index=255)
    assert found == expected
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("mask", "what"), [([0] * 4, "object"), ([1] * 4, "background"), ([255] * 4, "object")]
)
def test_pictures_that_say_nothing_about_a_threshold_are_refused(mask, what, tmp_path):
    write_tile(tmp_path, mask)
    with pytest.raises(ValueError, match=f"have no {what}, so they say nothing about a threshold"):
        best_threshold_of(Two(0.28, 0.8), tmp_path, CPU, ignore_index=255)


def test_a_threshold_at_the_end_of_those_tried_is_named(tmp_path, capsys):
    write_tile(tmp_path, [0, 0, 1, 1])
    assert best_threshold_of(Two(0.01, 0.02), tmp_path, CPU) == 0.65  # all miss it
    assert best_threshold_of(Two(0.01, 0.07), tmp_path, CPU) == 0.05
    assert "0.05 is the last one that is tried" in capsys.readouterr().out


def write_tile(folder, mask):
    """One picture of 8 rows whose four columns rise from black to white, and its mask."""
    for kind, row in (("images", [0, 20, 220, 255]), ("masks", mask)):
        (folder / kind).mkdir()
        values = np.repeat([row], 8, axis=0).astype(np.uint8)
        Image.fromarray(values).save(folder / kind / "tile.png")
