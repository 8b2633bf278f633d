"""Networks in other forms compute what torch computes. The page itself: tests/browser/test_live."""

import base64
import subprocess
import sys

import numpy as np
import pytest
import torch

from segedu import NodeGrid, UNet, UNetPlusPlus, load_pretrained, predict
from segedu.checkpoint import pretrained_path
from segedu.data import NucleiDataset, SyntheticNuclei
from segedu.evaluation import dataset_iou, evaluate
from segedu.export import _quantize, dequantized, export_onnx, to_web
from segedu.inference import segmenter


@pytest.fixture(scope="module")
def tiny() -> NodeGrid:
    return load_pretrained("unetpp-nuclei-tiny")


def test_tiny_is_what_it_says(tiny):
    assert tiny.channels == (4, 8, 16, 32, 64)
    assert tiny.levels == [1, 2, 3, 4]


def test_quantized_weights_are_within_half_a_step():
    weight = torch.randn(8, 5, 3, 3) * torch.logspace(-3, 3, 8).view(-1, 1, 1, 1)
    q, scale = _quantize(weight)
    assert q.dtype == torch.int8
    assert (q.flatten(1).abs().amax(dim=1) == 127).all()
    error = (q * scale.view(-1, 1, 1, 1) - weight).abs().flatten(1).amax(dim=1)
    assert (error <= scale * 0.5001).all()


def test_the_pages_numbers_are_the_networks(tiny):
    web = to_web(tiny)
    q = np.frombuffer(base64.b64decode(web["weights"]), np.int8)
    numbers = np.frombuffer(base64.b64decode(web["numbers"]), "<f4")
    convolutions = [layer for layer in tiny.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert q.size == sum(layer.weight.numel() for layer in convolutions)
    assert numbers.size == sum(2 * layer.out_channels for layer in convolutions)
    convolution, norm, *_ = dequantized(tiny).blocks["0_0"]
    image = torch.rand(1, 1, 32, 32)
    scale, shift = (torch.from_numpy(numbers[k : k + 4].copy()).view(4, 1, 1) for k in (0, 4))
    ours = torch.nn.functional.conv2d(
        image, torch.from_numpy(q[:36].astype(np.float32)).view(4, 1, 3, 3), padding=1
    )
    torch.testing.assert_close(ours * scale + shift, norm(convolution(image)))


@pytest.mark.parametrize(
    "options",
    [{"norm": "group"}, {"up": "transposed"}, {"skips": "last"}],
)
def test_the_page_refuses_what_it_cannot_run(options):
    model = UNetPlusPlus(1, 1, channels=(4, 8, 16), **options)
    with pytest.raises(ValueError, match=r"a web page runs networks with .*, got "):
        to_web(model)
    with pytest.raises(ValueError, match="'num_classes': 3"):
        to_web(UNet(1, 3, channels=(4, 8)))


def iou_of(model: NodeGrid, dataset, threshold: float, level: int | None = None) -> float:
    segment = segmenter(model, threshold=threshold, level=level)
    return dataset_iou(evaluate(segment, dataset, num_classes=1))


def loss_of_iou(tiny, dataset) -> float:
    threshold = tiny.threshold
    exact, rounded = (iou_of(model, dataset, threshold) for model in (tiny, dequantized(tiny)))
    print(f"IoU {exact:.4f}, with 8 bits {rounded:.4f}: {exact - rounded:+.4f} lost")
    return exact - rounded


def test_eight_bits_cost_little_on_synthetic_nuclei(tiny):
    assert loss_of_iou(tiny, SyntheticNuclei(40, seed=4)) < 0.005


def test_eight_bits_cost_little_on_real_nuclei(tiny, nuclei_zip):
    assert loss_of_iou(tiny, NucleiDataset(nuclei_zip, split="validation")) < 0.005


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch's exporter about itself
@pytest.mark.parametrize("kind", ["tiny", "unet"])
def test_onnx_computes_what_torch_computes(kind, tiny, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = tiny if kind == "tiny" else UNet(3, 2, channels=(4, 8, 16), up="transposed").eval()
    export_onnx(tmp_path / "net.onnx", model, threshold=0.45)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    assert session.get_modelmeta().custom_metadata_map["threshold"] == "0.45"
    assert [output.name for output in session.get_outputs()] == [f"L{k}" for k in model.levels]
    for count, height, width in ((1, 16, 16), (3, 96, 64), (1, 256, 48)):
        images = torch.randn(count, model.in_channels, height, width)
        with torch.no_grad():
            expected = model(images)
        expected = expected if isinstance(expected, list) else [expected]
        for ours, logits in zip(
            session.run(None, {"images": images.numpy()}), expected, strict=True
        ):
            assert np.abs(ours - logits.numpy()).max() <= 1e-4
            assert ours.shape == logits.shape


@pytest.mark.parametrize("form", ["onnx", "web"])
def test_export_from_the_command_line(form, tmp_path):
    command = [sys.executable, "-m", "segedu", "export", "--format", form]
    used = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    name = {"onnx": "unetpp-nuclei-tiny.onnx", "web": "unetpp-nuclei-tiny.html"}[form]
    assert used.stdout.startswith(f"{name}: "), used.stderr
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_file_can_be_made_twice(tmp_path, tiny):
    """The web form depends on the weights alone, so an output in the book can be compared."""
    assert to_web(tiny) == to_web(load_pretrained("unetpp-nuclei-tiny"))
    image = torch.rand(1, 1, 32, 32)
    assert torch.equal(predict(dequantized(tiny), image), predict(dequantized(tiny), image))
