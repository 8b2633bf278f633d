"""On a GPU the same numbers come out, and no tensor of one device meets one of another.

There is no GPU here: `pretend_device` stands for it. First it is shown that it refuses what torch
refuses, and then everything that takes tensors runs on it.
"""

import copy
import functools
import itertools
import operator
import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nbclient
import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from segedu import (
    UNet,
    UNetPlusPlus,
    cli,
    count_multiply_adds,
    count_parameters,
    exercises,
    load_model,
    load_pretrained,
    losses,
    metrics,
    plotting,
    predict,
    read_notes,
    receptive_field,
    save_checkpoint,
    segmenter,
    to_mask,
)
from segedu.commands.train import make_loss
from segedu.data import SyntheticNuclei
from segedu.evaluation import (
    best_iou,
    count_pixels,
    evaluate,
    otsu_threshold,
    threshold_counts,
    validate,
)
from segedu.exercises.answer import check
from segedu.explorers import LiveSegmentation, PoolingExplorer, ThresholdExplorer
from segedu.export import dequantized, to_onnx, to_web
from segedu.training import TrainConfig, fit, start_training, training_steps
from tests import pretend_device as pretended
from tests.pretend_device import DEVICE, pretend_device, replaced, tensors_in

IGNORE = 255
CHAPTERS = sorted((Path(__file__).parents[1] / "chapters").glob("*.ipynb"))
CHOICE = re.compile(r'^(DEVICE(?:, DATA)? = )"cpu"', re.M)  # in chapters that use a device


@pytest.fixture
def gpu():
    with pretend_device():
        yield


def on(device, value):
    """The same tensors, networks, and lists of them on a device."""
    if isinstance(value, Tensor):
        return value.detach().to(device).requires_grad_(value.requires_grad)
    if isinstance(value, nn.Module):
        return copy.deepcopy(value).to(device)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(on(device, part) for part in value))
    if isinstance(value, list | tuple):
        return type(value)(on(device, part) for part in value)
    if isinstance(value, dict):
        return {name: on(device, part) for name, part in value.items()}
    return value


def assert_same(compute, *values, answer_on=DEVICE):
    """What is computed on the device is what is computed on the CPU, and stays on the device."""
    expected = compute(*on("cpu", values))
    with pretend_device():
        got = compute(*on("cuda", values))
        devices = {part.device for part in tensors_in([got])}
        assert devices <= {torch.device(answer_on)}
        got = on("cpu", got)
    if isinstance(expected, str | dict):
        assert got == expected
    else:
        torch.testing.assert_close(got, expected)


# -- the pretended device ----------------------------------------------------------------------

MIXED = "Expected all tensors to be on the same device"
NO_ARRAY = re.escape("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()")
WRONG_INDEX = "indices should be either on cpu or on the same device"


def assigned(x, index, value):
    x[index] = value
    return x


REFUSED = {
    "a sum": (lambda x, y: x + y, MIXED),
    "a number on the device": (lambda x, y: y * x.sum(), MIXED),
    "a sum in place": (lambda x, y: y.add_(x), MIXED),
    "a number in place": (lambda x, y: torch.tensor(1.0).add_(x), MIXED),
    "a comparison": (lambda x, y: x > y, MIXED),
    "a list": (lambda x, y: torch.cat([x, y]), MIXED),
    "a list of numbers": (lambda x, y: torch.stack([x.sum(), y.sum()]), MIXED),
    "a convolution": (lambda x, y: F.conv2d(x[None, None], y[None, None]), MIXED),
    "a matrix": (lambda x, y: x @ y, MIXED),
    "allclose": (lambda x, y: torch.allclose(x, y), MIXED),
    "gather": (lambda x, y: x.gather(0, y.long()), MIXED),
    "bucketize": (lambda x, y: torch.bucketize(x, y[0]), MIXED),
    "a mask to fill": (lambda x, y: x.masked_fill(y > 0, 1), MIXED),
    "values for pixels": (lambda x, y: x.index_put_((y > 0.5,), y[y > 0.5]), MIXED),
    "an index": (lambda x, y: y[x.long()], WRONG_INDEX),
    "a mask": (lambda x, y: y[x > 0], WRONG_INDEX),
    "an array": (lambda x, y: x.numpy(), NO_ARRAY),
    "an array by numpy": (lambda x, y: np.asarray(x), NO_ARRAY),
    "a curve": (lambda x, y: plt.plot(x[0]), NO_ARRAY),
    "random numbers": (
        lambda x, y: torch.rand(3, device="cuda", generator=torch.Generator()),
        "Expected a 'cuda' device type for generator but found 'cpu'",
    ),
    "a network": (lambda x, y: UNet(1, 1, channels=(2, 4)).cuda()(y[None, None]), MIXED),
    "an image": (lambda x, y: UNet(1, 1, channels=(2, 4))(x[None, None]), MIXED),
}
ALLOWED = {
    "a number on the CPU": lambda x, y: x * y.sum(),
    "an index on the CPU": lambda x, y: x[y.long()],
    "a mask on the CPU": lambda x, y: x[y > 0.5],
    "assignment": lambda x, y: assigned(x, 0, y[1]),
    "assignment to pixels": lambda x, y: assigned(x, y > 0.5, 2),
    "assignment of a number": lambda x, y: assigned(x, x > 0.5, y.sum()),
    "copy_": lambda x, y: x.copy_(y),
    "to the tensor": lambda x, y: y.to(x),
    "made like it": lambda x, y: torch.zeros_like(x).scatter_(1, x.long(), 1.0),
    "made on it": lambda x, y: torch.tensor([1.0, 2.0], device=x.device) + x[0, :2],
    "random order": lambda x, y: x[torch.randperm(len(x), device=x.device).sort().values],
    "where": lambda x, y: torch.where(x > 0.5, x, 1.0),
    "a quantile": lambda x, y: x.quantile(0.5),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_pretended_device_refuses(name, gpu):
    act, message = REFUSED[name]
    x, y = torch.rand(8, 8).to("cuda"), torch.rand(8, 8)
    with pytest.raises((RuntimeError, TypeError), match=message):
        act(x, y)


@pytest.mark.parametrize("name", ALLOWED)
def test_the_pretended_device_allows(name):
    torch.manual_seed(0)
    x, y = torch.rand(8, 8), torch.rand(8, 8)

    def act(x):
        return ALLOWED[name](x, y)

    with pretend_device():
        got = act(x.to("cuda"))
        assert got.device == DEVICE
        got = got.cpu()
    torch.testing.assert_close(got, ALLOWED[name](x.clone(), y).cpu(), rtol=0, atol=0)


def test_the_pretended_device_moves_gradients_and_networks(gpu):
    x, weight = torch.rand(1, 1, 8, 8, requires_grad=True), torch.rand(1, 1, 3, 3).cuda()
    F.conv2d(x.cuda(), weight.requires_grad_()).sum().backward()
    assert (x.grad.device, weight.grad.device) == (torch.device("cpu"), DEVICE)
    network = UNet(1, 1, channels=(2, 4))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    assert network.to("cuda") is network
    assert {value.device for value in network.state_dict().values()} == {DEVICE}
    (group,) = optimizer.param_groups
    assert all(map(operator.is_, group["params"], network.parameters()))
    assert network.to("cuda").cpu().heads["1"].weight.numpy(force=True).shape == (1, 2, 1, 1)


def test_the_pretence_ends():
    before = torch.cuda.is_available(), torch.cuda.device_count()
    with pretend_device():
        assert torch.cuda.is_available()
        there = torch.ones(2, device="cuda")
        assert f"{there.sum():.1f}, {there}" == "2.0, tensor([1., 1.], device='cuda:0')"
    assert (torch.cuda.is_available(), torch.cuda.device_count()) == before
    assert torch.equal(there.cpu(), torch.ones(2))  # what was made there can still be fetched


# -- losses ------------------------------------------------------------------------------------

WEIGHTS = torch.tensor([0.2, 1.0, 3.0])  # on the CPU: the losses move them
tversky = functools.partial(losses.tversky_loss, alpha=0.3, beta=0.7)
BINARY = {
    "binary_cross_entropy": losses.binary_cross_entropy,
    "focal_loss": losses.focal_loss,
    "focal_loss, alpha": functools.partial(losses.focal_loss, alpha=0.9),
    "tversky_loss": tversky,
    "dice_loss": losses.dice_loss,
    "jaccard_loss": losses.jaccard_loss,
    "compound_loss": losses.compound_loss,
}
MULTI = {
    "cross_entropy": losses.cross_entropy,
    "cross_entropy, weight": functools.partial(losses.cross_entropy, weight=WEIGHTS),
    "focal_loss": losses.focal_loss,
    "focal_loss, alpha": functools.partial(losses.focal_loss, alpha=WEIGHTS),
    "tversky_loss": tversky,
    "dice_loss": losses.dice_loss,
    "jaccard_loss": losses.jaccard_loss,
    "compound_loss": losses.compound_loss,
}
MODULES = {
    "CrossEntropyLoss": (losses.CrossEntropyLoss(weight=WEIGHTS), 3),
    "BinaryCrossEntropyLoss": (losses.BinaryCrossEntropyLoss(), 1),
    "FocalLoss": (losses.FocalLoss(alpha=WEIGHTS), 3),
    "TverskyLoss": (losses.TverskyLoss(alpha=0.3, beta=0.7), 1),
    "DiceLoss": (losses.DiceLoss(), 3),
    "JaccardLoss": (losses.JaccardLoss(), 3),
    "CompoundLoss": (losses.CompoundLoss(), 1),
    "DeepSupervision": (losses.DeepSupervision(losses.compound_loss), 1),
}


def example(num_classes, *, soft=False, ignored=False):
    """Logits and target of two images."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, num_classes, 8, 8, generator=generator)
    target = torch.randint(max(num_classes, 2), (2, 8, 8), generator=generator)
    if num_classes == 1:
        target = target[:, None].float()
    if soft:
        target = target * 0.75
    if ignored:
        target[..., :2] = IGNORE
    return logits.requires_grad_(), target


def value_and_gradient(loss):
    def compute(logits, target):
        value = loss(logits, target)
        return value, *torch.autograd.grad(value.sum(), logits)

    return compute


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize(
    ("num_classes", "name"),
    [(1, name) for name in BINARY] + [(3, name) for name in MULTI],
)
def test_losses(num_classes, name, ignored, reduction):
    loss = (BINARY if num_classes == 1 else MULTI)[name]
    options = {"ignore_index": IGNORE} if ignored else {}
    if name != "compound_loss":
        options["reduction"] = reduction
    compute = value_and_gradient(functools.partial(loss, **options))
    assert_same(compute, *example(num_classes, ignored=ignored))
    if num_classes == 1 and not ignored:
        assert_same(compute, *example(1, soft=True))


@pytest.mark.parametrize("name", MODULES)
def test_loss_modules(name):
    module, num_classes = MODULES[name]

    def compute(module, logits, target):
        return value_and_gradient(module)(logits, target)

    assert_same(compute, module, *example(num_classes))


def test_several_heads_and_balance():
    logits, target = example(1, ignored=True)
    loss = functools.partial(losses.compound_loss, ignore_index=IGNORE)
    weighted = losses.DeepSupervision(loss, weights=[1, 2])
    assert_same(lambda x, y: weighted([x, -x], y), logits, target)
    assert_same(lambda x, y: losses.class_balance(y, ignore_index=IGNORE), logits, target)


def test_every_loss_is_here():
    classes = {name for name, value in vars(losses).items() if isinstance(value, type)}
    names = {name for name in classes if issubclass(getattr(losses, name), nn.Module)}
    assert set(MODULES) == names - {"_LossModule"}
    modules = [module for module, _ in MODULES.values() if hasattr(module, "function")]
    functions = {module.function.__name__ for module in modules}
    assert functions == {name.partition(",")[0] for name in [*BINARY, *MULTI]}


def test_a_target_on_the_cpu_is_named(gpu):
    logits, target = example(1)
    with pytest.raises(ValueError, match=r"need a target .* on cuda:0, got torch.float32 \(2, 1"):
        losses.dice_loss(logits.cuda(), target)
    with pytest.raises(ValueError, match=r"on cpu, got torch.float32 \(2, 1, 8, 8\) on cuda:0"):
        losses.dice_loss(logits, target.cuda())


# -- metrics -----------------------------------------------------------------------------------


@pytest.mark.parametrize("num_classes", [1, 3])
@pytest.mark.parametrize("ignore_index", [None, IGNORE])
def test_counts(num_classes, ignore_index):
    logits, target = example(num_classes, ignored=ignore_index is not None)
    preds = (logits > 0).long() if num_classes == 1 else logits.argmax(1)
    options = {"num_classes": num_classes, "ignore_index": ignore_index}
    assert_same(lambda a, b: metrics.stat_scores(a, b, **options), preds, target.long())
    options["num_classes"] = max(num_classes, 2)
    assert_same(lambda a, b: metrics.confusion_matrix(a, b, **options), preds, target.long())


@pytest.mark.parametrize("average", ["none", "image", "image_set", "class", "set"])
@pytest.mark.parametrize("metric", ["iou", "dice", "precision", "recall"])
def test_scores(metric, average):
    logits, target = example(3)
    counts = metrics.stat_scores(logits.argmax(1), target, num_classes=3)
    function = functools.partial(getattr(metrics, metric), average=average, absent="skip")
    assert_same(lambda counts: function(*counts), counts, answer_on="cpu")


def test_scores_of_objects_and_of_a_matrix():
    logits, target = example(3)
    matrix = metrics.confusion_matrix(logits.argmax(1), target, num_classes=3)
    assert_same(lambda matrix: metrics.mean_iou(matrix, absent=1.0, background=False), matrix)
    assert_same(metrics.average_precision, logits.argmax(1)[0], target[0])


def test_masks_of_two_devices_are_named(gpu):
    masks = torch.ones(1, 4, 4, dtype=torch.long)
    with pytest.raises(ValueError, match=r"got .* \(1, 4, 4\) on cuda:0 and .* \(1, 4, 4\)"):
        metrics.stat_scores(masks.cuda(), masks, num_classes=1)
    with pytest.raises(ValueError, match=r"got .* \(4, 4\) and .* \(4, 4\) on cuda:0"):
        metrics.average_precision(masks[0], masks[0].cuda())


# -- networks ----------------------------------------------------------------------------------


def network(kind=UNetPlusPlus, num_classes=1, **options):
    torch.manual_seed(0)
    return kind(1, num_classes, channels=(2, 4, 4), **options)


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("up", ["bilinear", "transposed"])
@pytest.mark.parametrize("kind", [UNet, UNetPlusPlus])
def test_networks(kind, up, norm):
    options = {"up": up, "norm": norm, "deep_supervision": True}
    images = torch.rand(2, 1, 16, 24)

    def forward(net, images):
        return net(images)

    def train(net, images):
        sum(head.sigmoid().mean() for head in net(images)).backward()
        return [parameter.grad for parameter in net.parameters()] + [*net.buffers()]

    def pruned(net, images):
        return net.prune(net.levels[0])(images)

    net = network(kind, **options)
    for compute in (forward, train, pruned):
        assert_same(compute, net, images)
    assert_same(forward, net.eval(), images)
    assert_same(lambda net, images: net.prune(net.depth).features(images)[1, 1], net, images)


IMAGES = torch.rand(2, 1, 37, 21, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("options", [{}, {"tile_size": 16}, {"tile_size": None}, {"level": 1}])
@pytest.mark.parametrize("num_classes", [1, 3])
def test_predict(num_classes, options):
    net = network(num_classes=num_classes, deep_supervision=True)
    assert_same(lambda net, images: predict(net, images, **options), net, IMAGES)
    assert_same(lambda net: predict(net, IMAGES, **options), net)
    assert_same(lambda images: predict(net, images, **options), IMAGES, answer_on="cpu")


@pytest.mark.parametrize("num_classes", [1, 3])
def test_masks(num_classes):
    net = network(num_classes=num_classes, deep_supervision=True)
    assert_same(lambda net, images: to_mask(predict(net, images)), net, IMAGES)
    for level in (None, 1):
        assert_same(lambda net, x, k=level: segmenter(net, level=k)(x), net, IMAGES)


def small_set(num_classes=1, count=3):
    target = "binary" if num_classes == 1 else "three_class"
    return list(SyntheticNuclei(count, size=48, seed=1, target=target))


@pytest.mark.parametrize("num_classes", [1, 3])
def test_evaluation(num_classes):
    dataset, net = small_set(num_classes), network(num_classes=num_classes)

    def count(net):
        return evaluate(segmenter(net), dataset, num_classes=num_classes)

    assert_same(count, net, answer_on="cpu")
    assert_same(lambda net: validate(net, dataset), net)

    def score(net, pairs):
        probabilities = [(predict(net, image[None]), mask) for image, mask in pairs]
        return best_iou(probabilities), count_pixels(*probabilities[0]).tp

    plain = [(torch.Tensor(image), mask.as_subclass(Tensor)) for image, mask in dataset]
    assert_same(score, net, plain)


def test_thresholds():
    image, mask = (x.as_subclass(Tensor) for x in small_set()[0])
    assert_same(lambda x: otsu_threshold(x[None]), image, answer_on="cpu")
    assert_same(lambda p, mask: threshold_counts(p[None], mask), image.sigmoid(), mask)


def test_analysis():
    net = network(deep_supervision=True)
    assert_same(lambda net: count_multiply_adds(net, 16, 16), net)
    assert_same(count_parameters, net)
    assert_same(receptive_field, net)


# -- training, files ---------------------------------------------------------------------------

SHORT = TrainConfig(steps=6, batch_size=2, crop_size=32, validate_every=2)


def small_fit(out, accelerator, num_classes=1, **options):
    """The Fabric is the real one: `torch.cuda` tells it that there is a GPU."""
    net = network(num_classes=num_classes, deep_supervision=True)
    history = fit(
        net, losses.DeepSupervision(losses.compound_loss), small_set(num_classes, 6),
        small_set(num_classes, 2), SHORT, out=out,
        fabric=Fabric(accelerator=accelerator, devices=1), **options,
    )  # fmt: skip
    return net, history


@pytest.mark.parametrize("num_classes", [1, 3])
def test_training(num_classes, tmp_path):
    _, expected = small_fit(tmp_path / "cpu", "cpu", num_classes)
    with pretend_device():
        net, history = small_fit(tmp_path / "gpu", "cuda", num_classes)
        assert {value.device for value in net.state_dict().values()} == {DEVICE}
    for ours, theirs in zip(history, expected, strict=True):
        # On the CPU the convolutions of a node are added up, which rounds otherwise.
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)
    path = tmp_path / "gpu" / "last.safetensors"
    assert read_notes(path)["step"] == SHORT.steps
    assert all(map(torch.equal, load_model(path).parameters(), on("cpu", net).parameters()))


def test_a_stopped_training_goes_on(tmp_path, monkeypatch, gpu):
    whole, history = small_fit(tmp_path / "whole", "cuda")
    validations = itertools.count(1)

    def stopping(*arguments):
        if next(validations) == 2:
            raise KeyboardInterrupt
        return validate(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("segedu.training.validate", stopping)
        with pytest.raises(KeyboardInterrupt):
            small_fit(tmp_path / "stopped", "cuda")
    resumed, its_history = small_fit(tmp_path / "stopped", "cuda", resume=True)
    assert [row["loss"] for row in its_history] == [row["loss"] for row in history]
    assert all(map(torch.equal, resumed.state_dict().values(), whole.state_dict().values()))
    # The same state goes on on a CPU, too.
    small_fit(tmp_path / "stopped", "cpu", resume=True)


def test_checkpoints(tmp_path):
    net, (here, there) = network(), (tmp_path / name for name in ("cpu", "gpu"))
    save_checkpoint(here, net, step=3)
    with pretend_device():
        save_checkpoint(there, on("cuda", net), step=3)
        assert next(load_model(there).parameters()).device.type == "cpu"
    assert there.read_bytes() == here.read_bytes()


def test_export():
    net = network(deep_supervision=True).eval()
    assert_same(to_web, net)
    assert_same(lambda net, images: dequantized(net)(images), net, IMAGES[..., :16, :16])


@pytest.mark.slow
def test_onnx():
    net = network().eval()
    with pretend_device():
        there = on("cuda", net)
    # The exporter of torch does not run beside the pretence, but takes a network from there.
    assert next(there.parameters()).device == DEVICE
    assert to_onnx(there) == to_onnx(net)


@pytest.mark.parametrize("arguments", ["evaluate", "evaluate --level 2", "predict nuclei.png"])
def test_commands(arguments, tmp_path, monkeypatch, capsys):
    plt.imsave(tmp_path / "nuclei.png", small_set()[0][0][0].numpy(), cmap="gray")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_dataset", lambda *arguments, **options: small_set())

    def said(accelerator):
        command = ["segedu", *arguments.split(), "--accelerator", accelerator]
        monkeypatch.setattr("sys.argv", command)
        with pytest.raises(SystemExit) as end:
            cli.main()
        masks = [path.read_bytes() for path in tmp_path.rglob("*_mask.png")]
        return end.value.code, capsys.readouterr().out, masks

    expected = said("cpu")
    with pretend_device():
        assert said("gpu") == expected
    assert expected[0] == 0


def test_the_training_command(tmp_path, monkeypatch, capsys, gpu):
    monkeypatch.setattr(cli, "_dataset", lambda *arguments, **options: small_set())
    options = "--accelerator gpu --steps 2 --batch-size 2 --crop-size 32 --channels 2,4 --out"
    monkeypatch.setattr("sys.argv", ["segedu", "train", *options.split(), str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    assert "without a network: " in capsys.readouterr().out


# -- figures -----------------------------------------------------------------------------------


def drawn(axes):
    """The pictures in some axes."""
    return [np.asarray(image.get_array()) for ax in np.ravel(axes) for image in ax.images]


@pytest.mark.parametrize(
    "draw",
    [
        lambda image, mask: plotting.show_images([image, image], masks=[mask, None]),
        lambda image, mask: plotting.show_images(image[None]),
        lambda image, mask: plotting.overlay_mask(image, mask, names=["nucleus"]),
        lambda image, mask: plotting.show_errors(image, mask.roll(2), mask),
    ],
)
def test_plotting(draw):
    image, mask = (x.as_subclass(Tensor) for x in small_set()[0])
    assert_same(lambda *case: drawn(draw(*case)), image, mask)
    plt.close("all")


def test_explorers():
    image, mask = (x.as_subclass(Tensor) for x in small_set()[0])
    for kind, *arguments in (
        (ThresholdExplorer, image[0].sigmoid(), mask),
        (functools.partial(PoolingExplorer, num_classes=2), mask[None], mask[None].roll(2)),
        (LiveSegmentation, load_pretrained("unetpp-nuclei-tiny")),
    ):
        assert_same(lambda *values, kind=kind: kind(*values).to_html(), *arguments)


ON_THE_CPU = {"check_one_hot"}  # its solution compares the labels with a tensor of its own


@pytest.mark.parametrize("name", sorted({*exercises.__all__} - ON_THE_CPU))
def test_a_learner_may_compute_on_the_gpu(name, monkeypatch, gpu):
    """With the solution that the exercise hands to `check`, and its arguments moved."""

    def moved(submission, solution, *parts, **options):
        def learner(*case):
            return solution(*replaced(case, Tensor.cuda))

        return check(learner, solution, *parts, **options)

    exercise = getattr(exercises, name)
    monkeypatch.setattr(sys.modules[exercise.__module__], "check", moved)
    said = exercise(None)
    assert said.correct, said.message


def test_a_wrong_answer_on_the_gpu_is_shown(gpu):
    said = exercises.check_accurate_mode(lambda logits: logits[0].cuda().tanh()).message
    assert re.search(r"gave -?0\.\d+, expected 0\.\d+", said)


# -- chapters ----------------------------------------------------------------------------------

START = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import torch
from tests.pretend_device import pretend_device
torch.set_num_threads(1)  # as the book was run: the sums of two threads differ in their last digits
pretence = pretend_device()
pretence.__enter__()
"""


def printed(cell) -> str:
    if cell.cell_type != "code" or "nbval-ignore-output" in cell.metadata.get("tags", []):
        return ""
    return "".join(output.text for output in cell.outputs if output.get("name") == "stdout")


@pytest.mark.slow
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapters(path):
    """Every cell runs in a kernel with a pretended GPU, and prints what stands in the book."""
    notebook = nbformat.read(path, as_version=4)
    book = list(map(printed, notebook.cells))
    choices = [cell for cell in notebook.cells if CHOICE.search(cell.source)]
    assert len(choices) == any("DEVICE" in cell.source for cell in notebook.cells)
    for cell in choices:
        cell.source = CHOICE.sub(r'\1"cuda"', cell.source)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(START))
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": path.parent}}
    )
    client.execute()  # an error names the cell, with the traceback
    assert list(map(printed, notebook.cells[1:])) == book


WAITS = {torch.ops.aten._local_scalar_dense, torch.ops.aten.equal, torch.ops.aten.nonzero}


@pytest.mark.parametrize(
    ("num_classes", "name", "weights"),
    [(1, "compound", None), (3, "compound", [1, 2, 3]), (1, "focal", [1, 3]), (3, "focal", None)],
)
def test_a_training_step_waits_once_for_the_gpu(num_classes, name, weights, monkeypatch, gpu):
    waits, usual = [], pretended.compute

    def counting(operation, args, kwargs):
        kind, device = operation.overloadpacket, kwargs.get("device")
        from_gpu = pretended.is_pretended(args[0]) if args else False
        copies = kind in pretended.MOVES and device is not None and device.type == "cpu"
        if from_gpu and (copies or kind in WAITS):
            waits.append(operation)
        return usual(operation, args, kwargs)

    monkeypatch.setattr(pretended, "compute", counting)
    model = UNetPlusPlus(1, num_classes, channels=(2, 4, 8), deep_supervision=True)
    data, fabric = small_set(num_classes), Fabric(accelerator="cuda", devices=1)
    loss = make_loss(name, num_classes, weights, ignore_index=255)
    state = start_training(model, SHORT, fabric)
    steps = training_steps(state, loss, data, SHORT, fabric)
    next(steps)  # the first one also makes the optimizer's state
    waits.clear()
    next(steps)
    assert len(waits) == 1
