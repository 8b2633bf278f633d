"""Cases of training, of what it writes, and of pictures to segment."""

import functools
import itertools
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from PIL import Image
from safetensors.torch import save_file

from segedu import (
    UNet,
    UNetPlusPlus,
    load_model,
    load_pretrained,
    losses,
    predict,
    read_notes,
    save_checkpoint,
)
from segedu.checkpoint import load_training
from segedu.data import SyntheticNuclei, normalize, read_image, synthetic_nuclei
from segedu.evaluation import evaluate
from segedu.inference import segmenter
from segedu.training import TrainConfig, fit
from tests.cases import Case
from tests.helpers import Interrupting
from tests.test_cli import segedu
from tests.test_stopping import finish, full_disk, resume, run_until_write, small_fit

TINY = TrainConfig(steps=4, batch_size=2, crop_size=16, validate_every=2)
small_unet = functools.partial(UNet, 1, 1, channels=(2, 4))


def tiny_fit(
    out, *, loss=losses.compound_loss, config=TINY, model=small_unet, data=None, **options
):
    torch.manual_seed(0)
    data = SyntheticNuclei(4, size=32) if data is None else data
    return fit(model(), loss, data, data, config, out=out, **options)


def trained(*calls: dict):
    """What happens if one trains into the same folder, one call after the other."""

    def act(folder):
        for options in calls:
            tiny_fit(folder / "run", **options)

    return act


# Training that stops


@functools.cache
def never_stopped() -> dict[str, bytes]:
    """The files of a run that was never stopped."""
    with tempfile.TemporaryDirectory() as folder:
        finish(small_fit, Path(folder))
        return {path.name: path.read_bytes() for path in Path(folder).glob("*.safetensors")}


def killed(moment: str, write: int = 4):
    """Resume a run that was killed around a write, and compare it with one that never stopped."""

    def act(folder):
        finish(run_until_write, folder, write, moment)
        step = read_notes(folder / "last.safetensors")["step"]
        finish(resume, folder)
        files = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
        end = "the same files, byte for byte" if files == never_stopped() else "other files"
        return f"the state of step {step} is whole; resumed, the run ends with {end}"

    return act


def interrupted(folder):
    tiny_fit(folder / "run", loss=Interrupting(losses.CompoundLoss(), 3))


def disk_full(folder):
    finish(run_until_write, folder, 4, "named")
    finish(full_disk, folder)
    message = (folder / "message").read_text()
    step = read_notes(folder / "last.safetensors")["step"]
    return f"OSError: {message} (the state of step {step} can be read)"


def below_a_file(folder):
    (folder / "notes.txt").touch()
    tiny_fit(folder / "notes.txt" / "run", loss=None)  # found before a loss is computed


def resumed_from_nothing(folder):
    rows = tiny_fit(folder / "run", resume=True)
    return f"it starts at the beginning and trains {len(rows)} steps"


def resumed_when_done(folder):
    tiny_fit(folder / "run")
    before = (folder / "run" / "last.safetensors").read_bytes()
    rows = tiny_fit(folder / "run", resume=True)
    same = (folder / "run" / "last.safetensors").read_bytes() == before
    state = "stays as it was" if same else "is another"
    return f"nothing is trained; the state {state}, and the {len(rows)} rows come back"


def trained_on(folder):
    tiny_fit(folder / "run")
    rows = tiny_fit(folder / "run", resume=True, config=replace(TINY, steps=8))
    return f"it goes on from step 4, in a second cycle of the schedule, to step {rows[-1]['step']}"


def last_state_deleted(folder):
    tiny_fit(folder / "run")
    (folder / "run" / "last.safetensors").unlink()
    tiny_fit(folder / "run", resume=True)


def history_deleted(folder):
    tiny_fit(folder / "run")
    (folder / "run" / "history.csv").unlink()
    tiny_fit(folder / "run", resume=True)


def nan_in_the_loss(folder):
    steps = itertools.count(1)

    def loss(logits, target):
        return losses.compound_loss(logits, target) * (float("nan") if next(steps) == 3 else 1)

    tiny_fit(folder / "run", loss=loss)


def image_smaller_than_the_crop(folder):
    rows = tiny_fit(folder / "run", config=replace(TINY, crop_size=64))
    finite = all(np.isfinite(row["loss"]) for row in rows)
    return f"it is padded with background; {'all' if finite else 'not all'} losses are finite"


# Weights and checkpoints


def loaded(write):
    """What happens with a file of weights that `write` has written."""

    def act(folder):
        write(folder / "net.safetensors")
        load_model(folder / "net.safetensors")

    return act


def spoiled(change):
    def write(path):
        save_checkpoint(path, small_unet())
        path.write_bytes(change(bytearray(path.read_bytes())))

    return loaded(write)


def flipped(content: bytearray) -> bytearray:
    content[-10] ^= 1
    return content


class Trap:
    """Unpickling this makes a file: what an attacker's checkpoint would do, and worse."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def pickled_weights(folder):
    try:
        loaded(lambda path: torch.save({"model": Trap(folder / "executed")}, path))(folder)
    except ValueError as error:
        executed = "was" if (folder / "executed").exists() else "was not"
        return f"ValueError: {error} (code from the file {executed} run)"


def best_is_no_state_of_training(folder):
    model = small_unet()
    save_checkpoint(folder / "net.safetensors", model)
    load_training(folder / "net.safetensors", model, torch.optim.AdamW(model.parameters()))


def stored_threshold(folder):
    image, _ = synthetic_nuclei(1, size=40)
    Image.fromarray(image).save(folder / "a.png")
    model = small_unet()
    model.threshold = 0.35
    save_checkpoint(folder / "net.safetensors", model)
    printed = segedu("predict", "a.png", "--weights", "net.safetensors", cwd=folder).out
    return f"it is used, and printed: {printed.splitlines()[0]}"


# Pictures to segment


def segmented(picture, *, channels=1, tile_size=512):
    """Save a picture, read it, segment it whole and in tiles, and say what came."""

    def act(folder):
        Image.fromarray(picture).save(folder / "picture.png")
        torch.manual_seed(0)
        model = UNetPlusPlus(channels, 1, channels=(2, 4, 8), deep_supervision=True).eval()
        images = normalize(read_image(folder / "picture.png", channels=channels))[None]
        tiled = predict(model, images, tile_size=tile_size)
        equal = torch.allclose(tiled, predict(model, images, tile_size=None), atol=1e-5)
        height, width = tiled.shape[2:]
        return (
            f"a mask of {height} x {width} pixels, and in tiles of {tile_size} "
            f"{'the same' if equal else 'another one'}"
        )

    return act


def noise(height, width, *more, dtype=np.uint8):
    top = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, top, (height, width, *more), dtype, endpoint=True)


def deeper_unet() -> UNet:
    return UNet(1, 1, channels=(2, 4, 8))


def grey_images(*size: int) -> torch.Tensor:
    return torch.zeros(1, 1, *size)


DEEDS = {
    "Training is stopped": {
        "training is killed half-way through writing a checkpoint": killed("half-way"),
        "training is killed before a checkpoint gets its name": killed("not yet named"),
        "training is killed right after a checkpoint got its name": killed("named"),
        "training is killed before its first validation": killed("named", write=0),
        "you press Ctrl-C in step 3": interrupted,
        "you resume a run that is done": resumed_when_done,
        "you resume a run that is done, with more steps": trained_on,
        "you resume where there is nothing to resume": resumed_from_nothing,
    },
    "You resume another run, or write over one": {
        "you train into a folder that holds a run": trained({}, {}),
        "you resume with another learning rate": trained(
            {}, {"resume": True, "config": replace(TINY, learning_rate=1e-3)}
        ),
        "you resume with another network": trained(
            {}, {"resume": True, "model": lambda: UNet(1, 1, channels=(4, 8))}
        ),
        "you resume with one more image": trained(
            {}, {"resume": True, "data": SyntheticNuclei(5, size=32)}
        ),
        "you resume with other images of the same number": trained(
            {}, {"resume": True, "data": SyntheticNuclei(4, seed=1, size=32)}
        ),
        "you resume where the last state was deleted": last_state_deleted,
        "you resume where the history was deleted": history_deleted,
        "you resume from `best.safetensors`": best_is_no_state_of_training,
    },
    "There is no room, or no folder": {
        "the disk is full": disk_full,
        "the folder for the run cannot be made": below_a_file,
    },
    "The loss is no longer a number": {
        "the loss becomes NaN in step 3": nan_in_the_loss,
        "the learning rate is absurd": trained({"config": replace(TINY, learning_rate=1e38)}),
    },
    "Sizes and numbers do not fit": {
        "the data set is empty": trained({"data": []}),
        "the network cannot halve the crop often enough": trained(
            {"model": deeper_unet, "config": replace(TINY, crop_size=30)}
        ),
        "an image is smaller than the crop": image_smaller_than_the_crop,
        "three processes are to share a batch of two": lambda folder: tiny_fit(
            folder, fabric=Fabric(accelerator="cpu", devices=3)
        ),
        "you evaluate on no images": lambda _: evaluate(
            segmenter(load_pretrained()), [], num_classes=1
        ),
    },
    "The file is damaged, or not ours": {
        "the file was cut short": spoiled(lambda content: content[:-100]),
        "one bit of the file is wrong": spoiled(flipped),
        "the file is empty": spoiled(lambda content: b""),
        "the file is something else": spoiled(lambda content: b"%PDF-1.7 something else"),
        "the file comes from another library": loaded(
            lambda path: save_file({"weight": torch.zeros(3)}, path)
        ),
        "the file is a pickle with code inside": pickled_weights,
    },
    "Names and thresholds": {
        "there is no such file": loaded(lambda path: None),
        "you ask for weights that the package does not have": lambda _: load_pretrained("resnet50"),
        "a threshold was chosen on the validation images": stored_threshold,
    },
    "Pictures of every size and kind": {
        "the picture has one pixel": segmented(noise(1, 1)),
        "the picture is 7 x 1300 pixels": segmented(noise(7, 1300)),
        "the picture is large": segmented(noise(1100, 900), tile_size=256),
        "the picture is RGB, the network grey": segmented(noise(30, 40, 3)),
        "the picture is grey, the network RGB": segmented(noise(30, 40), channels=3),
        "the picture has an alpha channel": segmented(noise(30, 40, 4), channels=3),
        "the picture has 16 bits": segmented(noise(30, 40, dtype=np.uint16)),
        "the picture is all black": segmented(np.zeros((30, 40), np.uint8)),
    },
    "Values that are not numbers": {
        "a pixel is NaN": lambda _: normalize(np.pad([[np.nan]], 3)),
        "a tensor with NaN goes to `predict`": lambda _: predict(
            small_unet(), grey_images(8, 8) * torch.nan
        ),
    },
    "The network does not fit the picture": {
        "you call the network with a size that it cannot halve": lambda _: deeper_unet()(
            grey_images(30, 37)
        ),
        "three channels go to a network for one": lambda _: predict(
            load_pretrained(), torch.zeros(1, 3, 32, 32)
        ),
        "a network with group norm gets a large picture": lambda _: predict(
            small_unet(norm="group"), grey_images(600, 600)
        ),
        "you ask for a level that has no head": lambda _: predict(
            deeper_unet(), grey_images(32, 32), level=1
        ),
    },
}
CASES = [
    Case(section, what, act) for section, deeds in DEEDS.items() for what, act in deeds.items()
]
