"""What `segedu evaluate` prints about a network that finds nothing."""

import pytest
import torch

from segedu import UNet, cli, save_checkpoint
from segedu.data import SyntheticNuclei


def test_a_network_that_finds_nothing_is_reported(tmp_path, monkeypatch, capsys):
    model = UNet(1, 1, channels=(2, 4))
    torch.nn.init.constant_(model.heads["1"].bias, -1e3)
    save_checkpoint(tmp_path / "nothing.safetensors", model)
    weights = str(tmp_path / "nothing.safetensors")
    monkeypatch.setattr("sys.argv", ["segedu", "evaluate", "--weights", weights])
    monkeypatch.setattr(cli, "_dataset", lambda *arguments: SyntheticNuclei(2, size=48))
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "dice over all pixels: 0.000" in out
    assert "precision over all pixels: nan" in out  # 0 of 0
    assert "recall over all pixels: 0.000" in out
