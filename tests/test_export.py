"""Networks in other forms compute what torch computes. For the page: tests/browser/test_live.py."""

import base64
import json

import numpy as np
import pytest
import torch

from segedu import (
    NodeGrid,
    UNet,
    UNetPlusPlus,
    cli,
    load_pretrained,
    predict,
    save_checkpoint,
)
from segedu.data import NucleiDataset, SyntheticNuclei
from segedu.evaluation import dataset_iou, evaluate
from segedu.explorers import LiveSegmentation
from segedu.export import _quantize, dequantized, to_onnx, to_web
from segedu.inference import segmenter


@pytest.fixture(scope="module")
def tiny() -> NodeGrid:
    return load_pretrained("unetpp-nuclei-tiny")


@pytest.fixture(scope="module", params=["tiny", "unet"])
def exported(request, tiny) -> tuple[NodeGrid, bytes]:
    """A network and its ONNX file, which takes seconds to make."""
    model = tiny
    if request.param == "unet":
        model = UNet(3, 2, channels=(4, 8, 16), up="transposed").eval()
        model.threshold, model.class_names = 0.4, ("background", "cell")
    return model, to_onnx(model)


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_network_on_a_gpu_is_exported_too(tiny):
    assert to_web(load_pretrained("unetpp-nuclei-tiny").cuda()) == to_web(tiny)


def test_the_page_uses_the_threshold_of_the_network(tiny):
    page = LiveSegmentation(tiny).to_page()
    assert f'"threshold": {tiny.threshold}' in page
    assert tiny.threshold != 0.5
    assert LiveSegmentation(tiny, threshold=0.5).data["threshold"] == 0.5


def loss_of_iou(tiny, dataset) -> float:
    networks = [segmenter(net, threshold=tiny.threshold) for net in (tiny, dequantized(tiny))]
    exact, rounded = (dataset_iou(evaluate(net, dataset, num_classes=1)) for net in networks)
    print(f"IoU {exact:.4f}, with 8 bits {rounded:.4f}: {exact - rounded:+.4f} lost")
    return exact - rounded


def test_eight_bits_cost_little_on_synthetic_nuclei(tiny):
    assert loss_of_iou(tiny, SyntheticNuclei(20, seed=4)) < 0.005


def test_eight_bits_cost_little_on_real_nuclei(tiny, nuclei_zip):
    assert loss_of_iou(tiny, NucleiDataset(nuclei_zip, split="validation")) < 0.005


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch's exporter about itself
def test_onnx_computes_what_torch_computes(exported):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, content = exported
    session = onnxruntime.InferenceSession(content)
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


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_onnx_says_how_to_use_the_network(exported):
    onnx = pytest.importorskip("onnx")
    model, content = exported
    notes = {prop.key: prop.value for prop in onnx.load_from_string(content).metadata_props}
    assert float(notes["threshold"]) == model.threshold != 0.5
    assert notes["normalization"] == "1.0,99.9"
    assert json.loads(notes["class_names"]) == list(model.class_names)


@pytest.mark.parametrize("form", ["onnx", "web"])
def test_export_from_the_command_line(form, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # A short stand-in: the real ONNX file takes seconds and has its own tests above.
    monkeypatch.setattr("segedu.export.to_onnx", lambda model: f"{model.threshold}".encode())
    cli.app(["export", "--format", form], standalone_mode=False)
    content = f"{tiny.threshold}" if form == "onnx" else LiveSegmentation(tiny).to_page()
    name = {"onnx": "unetpp-nuclei-tiny.onnx", "web": "unetpp-nuclei-tiny.html"}[form]
    assert capsys.readouterr().out.startswith(f"{name}: ")
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text(encoding="utf-8") == content


def test_a_dot_in_the_name_of_the_weights_stays(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("segedu.export.to_onnx", lambda model: b"")
    save_checkpoint("v1.2.safetensors", tiny)
    cli.app(["export", "--format", "onnx", "--weights", "v1.2.safetensors"], standalone_mode=False)
    assert (tmp_path / "v1.2.onnx").exists()


def test_a_file_can_be_made_twice(tiny):
    """The web form depends on the weights alone, so an output in the book can be compared."""
    assert to_web(tiny) == to_web(load_pretrained("unetpp-nuclei-tiny"))
    image = torch.rand(1, 1, 32, 32)
    assert torch.equal(predict(dequantized(tiny), image), predict(dequantized(tiny), image))
