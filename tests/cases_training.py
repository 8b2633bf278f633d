"""Cases of training, of what it writes, and of pictures to segment."""

import functools
import itertools
import signal
import tempfile
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
from tests.test_cli import segedu
from tests.test_stopping import full_disk, in_a_process, resume, run_until_write, small_fit

TINY = TrainConfig(steps=4, batch_size=2, crop_size=16, validate_every=2)


def tiny_fit(out, *, loss=losses.compound_loss, config=TINY, channels=(2, 4), data=None, **options):
    torch.manual_seed(0)
    data = SyntheticNuclei(4, size=32) if data is None else data
    return fit(UNet(1, 1, channels=channels), loss, data, data, config, out=out, **options)


# Training that stops


@functools.cache
def never_stopped() -> dict[str, bytes]:
    """The files of a run that was never stopped."""
    with tempfile.TemporaryDirectory() as folder:
        in_a_process(small_fit, Path(folder)).join()
        return {path.name: path.read_bytes() for path in Path(folder).glob("*.safetensors")}


def ended_as_never_stopped(folder: Path) -> str:
    """Resume the run in `folder`, and compare it with the one that was never stopped."""
    step = read_notes(folder / "last.safetensors")["step"]
    in_a_process(resume, folder).join()
    files = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    end = "the same files, byte for byte" if files == never_stopped() else "other files"
    return f"the state of step {step} is whole; resumed, the run ends with {end}"


def killed(moment: str):
    def act(folder):
        in_a_process(run_until_write, folder, 4, moment).join()
        return ended_as_never_stopped(folder)

    return act


def killed_before_the_first_validation(folder):
    in_a_process(run_until_write, folder, 0, "named").join()
    return ended_as_never_stopped(folder)


def interrupted(folder):
    steps = itertools.count(1)

    def loss(logits, target):
        if next(steps) == 3:
            signal.raise_signal(signal.SIGINT)
        return losses.compound_loss(logits, target)

    tiny_fit(folder / "run", loss=loss)


def disk_full(folder):
    in_a_process(run_until_write, folder, 4, "named").join()
    in_a_process(full_disk, folder).join()
    message = (folder / "message").read_text()
    step = read_notes(folder / "last.safetensors")["step"]
    return f"OSError: {message} (the state of step {step} can be read)"


def below_a_file(folder):
    (folder / "notes.txt").touch()
    tiny_fit(folder / "notes.txt" / "run")


def again(folder):
    tiny_fit(folder / "run")
    tiny_fit(folder / "run")


def resumed_longer(folder):
    tiny_fit(folder / "run")
    tiny_fit(folder / "run", resume=True, config=TrainConfig(**{**vars(TINY), "steps": 8}))


def resumed_with_other_channels(folder):
    tiny_fit(folder / "run")
    tiny_fit(folder / "run", resume=True, channels=(4, 8))


def resumed_with_more_images(folder):
    tiny_fit(folder / "run")
    tiny_fit(folder / "run", resume=True, data=SyntheticNuclei(5, size=32))


def resumed_from_nothing(folder):
    rows = tiny_fit(folder / "run", resume=True)
    return f"it starts at the beginning: {len(rows)} steps trained"


def resumed_when_done(folder):
    tiny_fit(folder / "run")
    before = (folder / "run" / "last.safetensors").read_bytes()
    rows = tiny_fit(folder / "run", resume=True)
    same = (folder / "run" / "last.safetensors").read_bytes() == before
    return f"nothing is trained and nothing changed: {same}; the {len(rows)} rows come back"


def nan_in_the_loss(folder):
    steps = itertools.count(1)
    tiny_fit(
        folder / "run",
        loss=lambda logits, target: (
            losses.compound_loss(logits, target) * (float("nan") if next(steps) == 3 else 1)
        ),
    )


def learning_rate_too_high(folder):
    tiny_fit(folder / "run", config=TrainConfig(**{**vars(TINY), "learning_rate": 1e38}))


def no_image(folder):
    tiny_fit(folder / "run", data=[])


def crop_that_cannot_be_pooled(folder):
    tiny_fit(
        folder / "run", channels=(2, 4, 8), config=TrainConfig(**{**vars(TINY), "crop_size": 30})
    )


def image_smaller_than_the_crop(folder):
    rows = tiny_fit(folder / "run", config=TrainConfig(**{**vars(TINY), "crop_size": 64}))
    finite = all(np.isfinite(row["loss"]) for row in rows)
    return f"it is padded with background and trains; all losses finite: {finite}"


def batch_for_three_processes(folder):
    tiny_fit(folder / "run", fabric=Fabric(accelerator="cpu", devices=3))


# Weights and checkpoints


def saved(folder, model=None, **info) -> Path:
    save_checkpoint(folder / "net.safetensors", model or UNet(1, 1, channels=(2, 4)), **info)
    return folder / "net.safetensors"


def spoiled(change):
    def act(folder):
        path = saved(folder)
        path.write_bytes(change(bytearray(path.read_bytes())))
        load_model(path)

    return act


def flipped(content: bytearray) -> bytearray:
    content[-10] ^= 1
    return content


def weights_of_another_library(folder):
    save_file({"weight": torch.zeros(3)}, folder / "net.safetensors")
    load_model(folder / "net.safetensors")


class Trap:
    """Unpickling this makes a file: what an attacker's checkpoint would do, and worse."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def pickled_weights(folder):
    path = folder / "net.safetensors"
    torch.save({"model": Trap(folder / "executed")}, path)
    try:
        load_model(path)
    except ValueError as error:
        executed = (folder / "executed").exists()
        return f"ValueError: {error} (code from the file was run: {executed})"


def best_is_no_state_of_training(folder):
    model = UNet(1, 1, channels=(2, 4))
    load_training(saved(folder, model), model, torch.optim.AdamW(model.parameters()))


def missing_weights(folder):
    load_model(folder / "net.safetensors")


def unknown_pretrained(folder):
    load_pretrained("resnet50")


def stored_threshold(folder):
    image, _ = synthetic_nuclei(1, size=40)
    Image.fromarray(image).save(folder / "a.png")
    model = UNet(1, 1, channels=(2, 4))
    model.threshold = 0.35
    saved(folder, model)
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
            f"a mask of {height} x {width} pixels; in tiles of {tile_size} "
            f"{'the same' if equal else 'something else'} within 1e-5"
        )

    return act


def noise(height, width, *more, dtype=np.uint8):
    top = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, top, (height, width, *more), dtype, endpoint=True)


def nan_picture(folder):
    picture = np.zeros((8, 8), np.float32)
    picture[3, 3] = np.nan
    normalize(picture)


def predict_with_nan(folder):
    predict(UNet(1, 1, channels=(2, 4)), torch.full((1, 1, 8, 8), torch.nan))


def odd_size_to_the_network(folder):
    UNet(1, 1, channels=(2, 4, 8))(torch.zeros(1, 1, 30, 37))


def colour_to_a_grey_network(folder):
    predict(load_pretrained(), torch.zeros(1, 3, 32, 32))


def group_norm_in_tiles(folder):
    predict(UNet(1, 1, channels=(2, 4), norm="group"), torch.zeros(1, 1, 600, 600))


def level_without_a_head(folder):
    predict(UNet(1, 1, channels=(2, 4, 8)), torch.zeros(1, 1, 32, 32), level=1)


def empty_test_set(folder):
    evaluate(segmenter(load_pretrained()), [], num_classes=1)


DEEDS = {
    "Training that stops": {
        "it is killed half-way through writing a checkpoint": killed("half-way"),
        "it is killed before a checkpoint gets its name": killed("not yet named"),
        "it is killed right after a checkpoint got its name": killed("named"),
        "it is killed before its first validation": killed_before_the_first_validation,
        "you press Ctrl-C in step 3": interrupted,
        "the disk is full": disk_full,
        "the folder for the run cannot be made": below_a_file,
        "you train into a folder that holds a run": again,
        "you resume and ask for more steps": resumed_longer,
        "you resume with another network": resumed_with_other_channels,
        "you resume with one more image": resumed_with_more_images,
        "you resume where there is nothing to resume": resumed_from_nothing,
        "you resume a run that is done": resumed_when_done,
    },
    "Training that goes wrong": {
        "the loss becomes NaN in step 3": nan_in_the_loss,
        "the learning rate is absurd": learning_rate_too_high,
        "the data set is empty": no_image,
        "the network cannot halve the crop often enough": crop_that_cannot_be_pooled,
        "an image is smaller than the crop": image_smaller_than_the_crop,
        "three processes are to share a batch of two": batch_for_three_processes,
        "you evaluate on no images": empty_test_set,
    },
    "Weights": {
        "the file was cut short": spoiled(lambda content: content[:-100]),
        "one bit of the file is wrong": spoiled(flipped),
        "the file is empty": spoiled(lambda content: b""),
        "the file is something else": spoiled(lambda content: b"%PDF-1.7 something else"),
        "the file comes from another library": weights_of_another_library,
        "the file is a pickle with code inside": pickled_weights,
        "there is no such file": missing_weights,
        "you resume from `best.safetensors`": best_is_no_state_of_training,
        "you ask for weights that the package does not have": unknown_pretrained,
        "a threshold was chosen on the validation images": stored_threshold,
    },
    "Pictures to segment": {
        "the picture has one pixel": segmented(noise(1, 1)),
        "it is 7 x 1300 pixels": segmented(noise(7, 1300)),
        "it is large": segmented(noise(1100, 900), tile_size=256),
        "it is RGB, the network grey": segmented(noise(30, 40, 3)),
        "it is grey, the network RGB": segmented(noise(30, 40), channels=3),
        "it has an alpha channel": segmented(noise(30, 40, 4), channels=3),
        "it has 16 bits": segmented(noise(30, 40, dtype=np.uint16)),
        "it is all black": segmented(np.zeros((30, 40), np.uint8)),
        "a pixel is NaN": nan_picture,
        "a tensor with NaN goes to `predict`": predict_with_nan,
        "you call the network with a size that it cannot halve": odd_size_to_the_network,
        "three channels go to a network for one": colour_to_a_grey_network,
        "a network with group norm gets a large picture": group_norm_in_tiles,
        "you ask for a level that has no head": level_without_a_head,
    },
}
CASES = [Case(topic, what, act) for topic, deeds in DEEDS.items() for what, act in deeds.items()]
