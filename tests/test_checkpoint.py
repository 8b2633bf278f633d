"""Networks and states of training in files: what is written comes back, or is refused."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from segedu import (
    UNet,
    UNetPlusPlus,
    load_model,
    load_pretrained,
    predict,
    read_notes,
    save_checkpoint,
    segmenter,
    to_mask,
)
from segedu.checkpoint import PRETRAINED, _checksum, load_training


@pytest.mark.parametrize(
    "model",
    [
        UNet(3, 2, channels=(4, 8), up="transposed", norm="group"),
        UNetPlusPlus(1, 1, channels=(4, 8, 16), skips="last", deep_supervision=True),
    ],
)
def test_a_network_comes_back_as_it_was(tmp_path, model):
    model.threshold, model.normalization = 0.45, (0.0, 100.0)
    model.class_names = ("background", "nucleus")
    save_checkpoint(tmp_path / "a.safetensors", model, note="x")
    again = load_model(tmp_path / "a.safetensors")
    assert read_notes(tmp_path / "a.safetensors")["note"] == "x"
    for name in ("config", "threshold", "normalization", "class_names"):
        assert getattr(again, name) == getattr(model, name)
    assert not again.training
    image = torch.rand(1, model.in_channels, 20, 30)
    assert torch.equal(predict(again, image), predict(model, image))


def test_the_state_of_training_comes_back_as_it_was(tmp_path):
    model = UNet(1, 1, channels=(4, 8))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.rand(1, 1, 8, 8)).sum().backward()
        optimizer.step()
    save_checkpoint(tmp_path / "last.safetensors", model, optimizer=optimizer, step=3)
    again = UNet(1, 1, channels=(4, 8))
    its_optimizer = torch.optim.AdamW(again.parameters(), lr=0.5)
    assert load_training(tmp_path / "last.safetensors", again, its_optimizer)["step"] == 3
    expected, found = optimizer.state_dict(), its_optimizer.state_dict()
    assert found["param_groups"] == json.loads(json.dumps(expected["param_groups"]))
    torch.testing.assert_close(found["state"], expected["state"], rtol=0, atol=0)


def test_notes_are_what_json_can_hold(tmp_path):
    path, model = tmp_path / "a.safetensors", UNet(1, 1, channels=(4, 8))
    save_checkpoint(path, model, note={"a": [1, 2.5, "b", None]})
    assert read_notes(path)["note"] == {"a": [1, 2.5, "b", None]}
    with pytest.raises(ValueError, match=r"notes must be JSON, got {'note': <object"):
        save_checkpoint(path, model, note=object())
    assert read_notes(path)["note"] == {"a": [1, 2.5, "b", None]}


def write_by_hand(path, tensors, info):
    """A file as `save_checkpoint` writes it, whatever it says."""
    save_file(tensors, path, {"segedu": json.dumps({**info, "crc32": _checksum(info, tensors)})})


def test_a_network_that_cannot_be_built_is_refused(tmp_path):
    path, model = tmp_path / "a.safetensors", UNet(1, 1, channels=(4, 8))
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for config in ({"channels": [4, 8]}, model.config | {"norm": "layer"}):
        write_by_hand(path, tensors, {"model": config})
        with pytest.raises(ValueError, match="names a network that cannot be built"):
            load_model(path)
    write_by_hand(path, tensors, {"model": UNet(1, 1, channels=(4, 9)).config})
    with pytest.raises(ValueError, match="does not fit the network it names"):
        load_model(path)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A state of training, and the bytes of its file."""
    path = tmp_path_factory.mktemp("sound") / "last.safetensors"
    model = UNet(1, 1, channels=(2, 4))
    save_checkpoint(path, model, optimizer=torch.optim.AdamW(model.parameters()), step=3)
    return path.parent, path.read_bytes()


DAMAGE = {
    "cut short": lambda content, place: content[:place],
    "a bit flipped": lambda content, place: (
        content[:place] + bytes([content[place] ^ 2 ** (place % 8)]) + content[place + 1 :]
    ),
    "a block zeroed": lambda content, place: (
        content[:place] + bytes(len(content[place : place + 512])) + content[place + 512 :]
    ),
    "longer": lambda content, place: content + bytes(place + 1),
}


@pytest.mark.parametrize("kind", DAMAGE)
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_damage_is_noticed_wherever_it_is(sound, kind, share):
    folder, content = sound
    damaged = DAMAGE[kind](content, int(share * len(content)))
    assume(damaged != content)  # zeros over zeros
    (folder / "damaged.safetensors").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"damaged|not written by segedu"):
        load_model(folder / "damaged.safetensors")


def test_the_same_run_makes_the_same_bytes(sound):
    folder, _ = sound
    model = load_model(folder / "last.safetensors")
    save_checkpoint(folder / "a.safetensors", model, step=3)
    save_checkpoint(folder / "b.safetensors", model, step=3)
    assert (folder / "a.safetensors").read_bytes() == (folder / "b.safetensors").read_bytes()


def test_a_committed_network_brings_the_threshold_that_was_chosen_with_it():
    """So nobody has to remember it; at least one is not the default of 0.5."""
    assert load_pretrained("unetpp-nuclei-tiny").threshold == 0.6
    assert load_pretrained("unetpp-nuclei").levels == [1, 2, 3, 4]  # which can be pruned
    for path in PRETRAINED.glob("*.safetensors"):
        model, image = load_pretrained(path.stem), torch.rand(1, 1, 40, 40)
        assert model.threshold == read_notes(path)["threshold"]
        expected = to_mask(predict(model, image), model.threshold)
        assert torch.equal(segmenter(model)(image), expected)
        assert model.prune(model.levels[0]).threshold == model.threshold


def test_a_file_without_a_threshold_loads(tmp_path):
    """As `last.safetensors` was written before thresholds travelled with the network."""
    path = tmp_path / "old.safetensors"
    model = UNet(1, 1, channels=(4, 8))
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    write_by_hand(path, tensors, {"model": model.config, "step": 3})
    again = load_model(path)
    assert (again.threshold, again.normalization, again.class_names) == (0.5, (1.0, 99.9), ())


def test_the_committed_weights_give_the_stored_probabilities():
    """Computed in float64 by the network as it was before it was rewritten in its plain form."""
    reference = load_file(Path(__file__).parent / "pretrained_probabilities.safetensors")
    image = reference.pop("image")
    assert len(reference) == 11
    for name, expected in reference.items():
        network, level = name.split(" ")
        level = None if level == "all" else int(level)
        model = load_pretrained(network)
        torch.testing.assert_close(predict(model, image, level=level), expected, rtol=0, atol=1e-5)
        exact = predict(model.double(), image.double(), level=level)
        torch.testing.assert_close(exact, expected, rtol=0, atol=1e-6)
