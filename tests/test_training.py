"""Training: its samples, its steps, what `fit` writes, and when it stops."""

import dataclasses
import itertools
import re
import shutil

import pytest
import torch
from lightning_fabric import Fabric

from segedu import UNet, UNetPlusPlus, load_model, losses, read_notes
from segedu.data import NucleiDataset, SyntheticNuclei, train_transform
from segedu.evaluation import dataset_iou, evaluate, otsu_threshold, validate
from segedu.fast import summed_convolutions
from segedu.files import read_history, write_rows
from segedu.inference import segmenter
from segedu.training import (
    TrainConfig,
    TrainingStream,
    fit,
    start_training,
    to_target,
    training_steps,
)
from tests.cases_data import save, splits
from tests.helpers import Interrupting, same_weights

LOSS = losses.DeepSupervision(losses.compound_loss)
SHORT = TrainConfig(steps=6, batch_size=2, crop_size=32, validate_every=2)


def small_set(count, seed, num_classes=1):
    target = "binary" if num_classes == 1 else "three_class"
    return SyntheticNuclei(count, size=48, seed=seed, target=target)


def small_fit(out, config=SHORT, *, num_classes=1, loss=LOSS, **options):
    torch.manual_seed(0)
    model = UNetPlusPlus(1, num_classes, channels=(4, 8, 8), deep_supervision=True)
    sets = small_set(6, 1, num_classes), small_set(3, 2, num_classes)
    return model, fit(model, loss, *sets, config, out=out, **options)


def test_a_sample_is_a_pure_function_of_the_seed_and_its_number():
    dataset = SyntheticNuclei(5, size=64)
    stream = TrainingStream(dataset, train_transform(32), seed=3)
    before = torch.get_rng_state()
    first = [stream[k] for k in range(12)]
    again = TrainingStream(dataset, train_transform(32), seed=3)
    for k in (11, 0, 7):
        assert torch.equal(first[k][0], again[k][0])
        assert torch.equal(first[k][1], again[k][1])
    assert torch.equal(torch.get_rng_state(), before)
    other = TrainingStream(dataset, train_transform(32), seed=4)
    assert not all(torch.equal(first[k][0], other[k][0]) for k in range(12))


def test_every_image_comes_once_in_each_run_through_the_data():
    images = [(torch.full((1, 1, 1), k), torch.zeros(1, 1)) for k in range(7)]
    stream = TrainingStream(images, lambda image, mask: (image, mask), seed=0)
    epochs = [[int(stream[k][0]) for k in range(7 * e, 7 * e + 7)] for e in range(3)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize("num_classes", [1, 3])
def test_fit_writes_the_best_the_last_and_the_history(tmp_path, num_classes):
    model, history = small_fit(tmp_path, num_classes=num_classes)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "best.safetensors", "history.csv", "last.safetensors"
    ]  # fmt: skip
    assert read_history(tmp_path / "history.csv") == history
    assert [row["step"] for row in history] == [1, 2, 3, 4, 5, 6]
    scores = {row["step"]: row["validation_iou"] for row in history if row["validation_iou"]}
    assert set(scores) <= {2, 4, 6}
    best, notes = (read(tmp_path / "best.safetensors") for read in (load_model, read_notes))
    assert notes["validation_iou"] == max(scores.values()) == scores[notes["step"]]
    chosen = notes["validation_iou"], best.threshold
    assert validate(best, small_set(3, 2, num_classes)) == chosen
    last = load_model(tmp_path / "last.safetensors")
    assert read_notes(tmp_path / "last.safetensors")["step"] == 6
    assert same_weights(last, model)
    assert last.threshold == model.threshold == validate(last, small_set(3, 2, num_classes))[1]


def test_masks_become_the_target_that_the_losses_take():
    masks = torch.tensor([[[0, 1]], [[1, 0]]])
    one = to_target(masks, 1)
    assert one.dtype == torch.float32
    assert one.tolist() == [[[[0, 1]]], [[[1, 0]]]]
    assert to_target(masks, 3) is masks


def test_the_learning_rate_peaks_after_a_quarter_of_the_steps():
    """One cycle (Smith and Topin 2017, arXiv 1708.07120) in torch's default proportions."""
    config = TrainConfig(steps=41, learning_rate=0.5, weight_decay=0.125, crop_size=16)
    state = start_training(UNet(1, 1, channels=(2, 4)), config, Fabric(accelerator="cpu"))
    rates = []
    for _ in range(41):
        rates.append(state.schedule.get_last_lr()[0])
        state.optimizer.step()
        if len(rates) < 41:
            state.schedule.step()
    assert rates.index(max(rates)) in (9, 10)
    assert max(rates) == pytest.approx(0.5, rel=0.01)
    assert rates[0] == pytest.approx(0.5 / 25)
    assert rates[-1] == pytest.approx(0.5 / 25 / 1e4)
    assert state.optimizer.param_groups[0]["weight_decay"] == 0.125


def test_fit_takes_the_training_steps_and_nothing_else(tmp_path):
    model, history = small_fit(tmp_path)
    torch.manual_seed(0)
    twin = UNetPlusPlus(1, 1, channels=(4, 8, 8), deep_supervision=True)
    fabric = Fabric(accelerator="cpu")
    state = start_training(twin, SHORT, fabric)
    with summed_convolutions(twin):
        steps = [*training_steps(state, LOSS, small_set(6, 1), SHORT, fabric)]
    assert steps == [(row["loss"], row["learning_rate"]) for row in history]
    rates = [rate for _, rate in steps]
    assert rates[0] < max(rates) > rates[-1]
    assert state.step == SHORT.steps
    assert same_weights(model, twin)


def test_between_two_steps_the_caller_may_stop_and_go_on():
    def losses_of(stop):
        torch.manual_seed(0)
        network, fabric = UNet(1, 1, channels=(2, 4)), Fabric(accelerator="cpu")
        state, values = start_training(network, SHORT, fabric), []
        for end in (stop, SHORT.steps):
            steps = training_steps(state, losses.compound_loss, small_set(4, 1), SHORT, fabric)
            while state.step < end:
                values.append(next(steps)[0])
        return values

    assert losses_of(stop=3) == losses_of(stop=0)


def test_a_step_computes_in_training_mode():
    """Batch norm counts the batches that it has seen."""
    fabric = Fabric(accelerator="cpu")
    state = start_training(UNet(1, 1, channels=(2, 4)).eval(), SHORT, fabric)
    for _ in training_steps(state, losses.compound_loss, small_set(4, 1), SHORT, fabric):
        state.network.eval()  # as a validation in between may leave it
    assert state.network.blocks["0_0"][1].num_batches_tracked == SHORT.steps


@pytest.mark.parametrize("stop", [2, 4])
def test_resumed_equals_never_stopped(tmp_path, stop, monkeypatch):
    whole, history = small_fit(tmp_path / "whole")

    validations = itertools.count(SHORT.validate_every, SHORT.validate_every)

    def stopping(*arguments):
        if next(validations) > stop:
            raise KeyboardInterrupt
        return validate(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("segedu.training.validate", stopping)
        with pytest.raises(KeyboardInterrupt):
            small_fit(tmp_path / "stopped")
    assert read_notes(tmp_path / "stopped" / "last.safetensors")["step"] == stop
    rows = read_history(tmp_path / "stopped" / "history.csv")
    rows[-1]["seconds"] = 1000.0
    write_rows(tmp_path / "stopped" / "history.csv", rows)
    resumed, its_history = small_fit(tmp_path / "stopped", resume=True)
    assert same_weights(whole, resumed)
    for a, b in zip(history, its_history, strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}
    seconds = [row["seconds"] for row in its_history]
    assert seconds[:stop] == [row["seconds"] for row in rows]
    assert 1000 < seconds[stop] < seconds[-1] < 1100  # the clock goes on


def test_bf16_runs_on_the_cpu(tmp_path):
    _, history = small_fit(tmp_path, fabric=Fabric(accelerator="cpu", precision="bf16-mixed"))
    assert all(0 < row["loss"] < 10 for row in history)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "32-true"])
def test_a_gpu_trains_and_resumes(tmp_path, precision):
    fabric = Fabric(accelerator="gpu", devices=1, precision=precision)
    _, history = small_fit(tmp_path, fabric=fabric)
    assert all(0 < row["loss"] < 10 for row in history)
    assert small_fit(tmp_path, fabric=fabric, resume=True)[1] == history


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path):
    calls = itertools.count(1)

    def breaking(logits, target):
        return LOSS(logits, target) / (next(calls) < 4)

    model = UNetPlusPlus(1, 1, channels=(4, 8), deep_supervision=True)
    data = SyntheticNuclei(4, size=48)
    stream = TrainingStream(data, train_transform(32), SHORT.seed)
    images = [stream.index(6), stream.index(7)]
    named = re.escape(str(images))
    message = rf"inf at step 4, learning rate 0.0\d+; .* training images {named}"
    with pytest.raises(FloatingPointError, match=message):
        fit(model, breaking, data, data, SHORT, out=tmp_path)
    assert read_notes(tmp_path / "last.safetensors")["step"] == 2
    assert torch.nn.utils.get_total_norm(model.parameters()).isfinite()


def test_weights_that_are_not_finite_stop_the_run_at_that_step(tmp_path):
    """The loss is still finite there: only its gradient is not."""
    calls = itertools.count(1)

    def breaking(logits, target):
        value = LOSS(logits, target)
        return value + (0 * value).sqrt() if next(calls) == 4 else value  # slope 0 / 0

    with pytest.raises(FloatingPointError, match="the new weights are not finite at step 4"):
        small_fit(tmp_path, loss=breaking)
    last = load_model(tmp_path / "last.safetensors")
    assert read_notes(tmp_path / "last.safetensors")["step"] == 2
    assert torch.nn.utils.get_total_norm(last.parameters()).isfinite()


def test_a_run_may_be_resumed_with_another_number_of_workers(tmp_path):
    small_fit(tmp_path)
    small_fit(tmp_path, dataclasses.replace(SHORT, workers=1), resume=True)


def test_a_folder_of_several_classes_from_end_to_end(tmp_path):
    for k, (image, mask) in enumerate(SyntheticNuclei(8, size=48, target="three_class")):
        grey = (image[0].clamp(0, 1) * 255).byte()
        save(tmp_path / "images" / f"{k}.png", grey.numpy())
        save(tmp_path / "masks" / f"{k}.png", mask.byte().numpy())
    train, validation, test = splits(tmp_path, num_classes=3)
    model = UNet(train.in_channels, 3, channels=(4, 8))
    fit(model, losses.compound_loss, train, validation, SHORT, out=tmp_path / "run")
    counts = evaluate(segmenter(model), test, num_classes=3)
    assert counts.tp.shape == (len(test), 3)
    assert 0 < dataset_iou(counts) < 1


@pytest.mark.slow
def test_a_short_training_on_real_nuclei_beats_the_threshold(nuclei_zip, tmp_path):
    torch.manual_seed(0)
    model = UNet(1, 1, channels=(16, 32, 64, 128))
    train = NucleiDataset(nuclei_zip, split="train")
    validation = NucleiDataset(nuclei_zip, split="validation")
    config = TrainConfig(steps=150, validate_every=150)
    fit(model, losses.compound_loss, train, validation, config, out=tmp_path)
    best = load_model(tmp_path / "best.safetensors")
    test = NucleiDataset(nuclei_zip, split="test")
    ours = dataset_iou(evaluate(segmenter(best), test, num_classes=1))
    otsu = dataset_iou(evaluate(otsu_threshold, test, num_classes=1))
    print(f"mean IoU per image {ours:.3f}, Otsu's threshold {otsu:.3f}")
    assert ours > otsu + 0.02


@pytest.mark.slow
def test_a_colour_shortcut_is_not_enough():
    """On synthetic nuclei, a network that sees one pixel is far worse than one that sees more."""
    data = SyntheticNuclei(24, seed=5, size=128)
    held_out = SyntheticNuclei(12, seed=6, size=128)

    def one_pixel():
        return torch.nn.Sequential(
            torch.nn.Conv2d(1, 16, 1), torch.nn.ReLU(),
            torch.nn.Conv2d(16, 16, 1), torch.nn.ReLU(), torch.nn.Conv2d(16, 1, 1),
        )  # fmt: skip

    def held_out_iou(model):
        torch.manual_seed(0)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        images = torch.stack([torch.Tensor(image) for image, _ in data])
        targets = torch.stack([torch.Tensor(mask) for _, mask in data])[:, None].float()
        for step in range(80):
            batch = torch.arange(8 * step, 8 * step + 8) % len(data)
            loss = losses.compound_loss(model(images[batch]), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            counts = evaluate(lambda x: model(x)[:, 0] > 0, held_out, num_classes=1)
        return dataset_iou(counts)

    torch.manual_seed(0)
    assert held_out_iou(UNet(1, 1, channels=(8, 16, 32))) > held_out_iou(one_pixel()) + 0.05


def test_training_goes_on_after_the_end_in_a_second_cycle(tmp_path):
    longer = dataclasses.replace(SHORT, steps=14, validate_every=7)
    small_fit(tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "stopped")
    model, history = small_fit(tmp_path / "run", longer, resume=True)
    assert [row["step"] for row in history] == list(range(1, 15))
    rates = [row["learning_rate"] for row in history]
    second = torch.optim.lr_scheduler.OneCycleLR(
        torch.optim.SGD([torch.zeros(1)]), longer.learning_rate, total_steps=8, pct_start=0.25
    )
    assert rates[6] == second.get_last_lr()[0]
    assert max(rates[6:]) == pytest.approx(SHORT.learning_rate, rel=0.2)
    assert rates[13] < rates[6] / 100

    # Stopped within the second cycle and resumed, it ends the same.
    with pytest.raises(KeyboardInterrupt):
        small_fit(tmp_path / "stopped", longer, loss=Interrupting(LOSS, 3), resume=True)
    resumed, its_history = small_fit(tmp_path / "stopped", longer, resume=True)
    assert [row["learning_rate"] for row in its_history] == rates
    assert same_weights(resumed, model)


def test_another_loss_cannot_go_on_with_a_run(tmp_path):
    small_fit(tmp_path)
    other = losses.DeepSupervision(losses.CompoundLoss(weight=[1, 5]))
    with pytest.raises(ValueError, match=r"weight=\[1, 5\].*: resume it with the same settings"):
        small_fit(tmp_path, loss=other, resume=True)


def test_a_run_does_not_go_on_with_other_data_of_the_same_length(tmp_path):
    def train(seed, **options):
        torch.manual_seed(0)
        model = UNet(1, 1, channels=(2, 4))
        data = small_set(2, seed), small_set(2, 9)
        return fit(model, LOSS, *data, SHORT, out=tmp_path, **options)

    train(1)
    with pytest.raises(ValueError, match=r"2 \+ 2 images, masks \w{8}.*resume it with the same"):
        train(2, resume=True)
    assert len(train(1, resume=True)) == SHORT.steps


@pytest.mark.parametrize("loss", [losses.BinaryCrossEntropyLoss(), losses.DiceLoss()])
def test_a_loss_that_does_not_know_the_ignored_value_is_refused(tmp_path, loss):
    """It would train on a target of 255. Here such a pixel comes late: not in the first image."""
    masks = torch.zeros(2, 32, 32, dtype=torch.int64)
    masks[1, 5, 5] = 255
    data = [(torch.rand(1, 32, 32), mask) for mask in masks]
    config = dataclasses.replace(SHORT, batch_size=1, ignore_index=255)
    with pytest.raises(ValueError, match=r"values from 0.0 to 255.0.*ignore_index"):
        fit(UNet(1, 1, channels=(2, 4)), loss, data, data, config, out=tmp_path)


def test_a_mask_value_that_is_no_class_stops_the_training(tmp_path):
    """Whatever the loss: on a GPU it would not be seen there."""
    data = [(torch.rand(1, 32, 32), torch.full((32, 32), 2))]
    with pytest.raises(ValueError, match=r"masks of a batch must lie in \[0, 1\].*ignore_index"):
        fit(UNet(1, 1, channels=(2, 4)), LOSS, data, data, SHORT, out=tmp_path)
