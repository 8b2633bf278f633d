"""What `segedu evaluate` prints about a network that finds nothing."""

import pytest
import torch

from segedu import UNet, cli, metrics, save_checkpoint
from segedu.commands import report
from segedu.data import SyntheticNuclei


def test_a_network_that_finds_nothing_is_reported(tmp_path, monkeypatch, capsys):
    model = UNet(1, 1, channels=(2, 4))
    torch.nn.init.constant_(model.heads["1"].bias, -1e3)
    save_checkpoint(tmp_path / "nothing.safetensors", model)
    weights = str(tmp_path / "nothing.safetensors")
    monkeypatch.setattr("sys.argv", ["segedu", "evaluate", "--weights", weights])
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


def test_classes_that_are_never_answered_are_seen():
    truth = torch.tensor([[[0, 0, 0, 1, 1, 2]]])
    counts = metrics.stat_scores(torch.zeros_like(truth), truth, num_classes=3)
    table = report._per_class(counts, ("background", "interior", "boundary"))
    assert [line.split() for line in table.splitlines()[1:]] == [
        ["background", "0.500", "1.000", "0.500", "0.667", "0.500", "1.000"],
        ["interior", "0.333", "0.000", "0.000", "0.000", "-", "0.000"],
        ["boundary", "0.167", "0.000", "0.000", "0.000", "-", "0.000"],
    ]
