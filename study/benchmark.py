"""How fast the package is compared with the libraries people use, both taking turns in one run.

    python -m study benchmark

The other side computes the same: the blocks of MONAI and of segmentation-models-pytorch are
assembled with our channels and take our weights, and the table has the largest difference between
the answers. A row "as it comes" has MONAI's network with the options that come nearest. Ours is
timed as `predict` and `fit` run it; the other side as its documentation shows, in inference mode
and in torch's usual memory layout.

Ratio is the other side's median time divided by ours, with the quartiles of the ratios of single
turns; above 1 ours is faster. Peak memory is the most that torch's allocator holds at a time beyond
what it held before the call, summed from the profiler's memory events.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from monai.networks.nets import BasicUNet, BasicUNetPlusPlus
from monai.networks.nets.basic_unet import UpCat
from segmentation_models_pytorch.base import SegmentationHead
from segmentation_models_pytorch.base.modules import Conv2dReLU
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from segmentation_models_pytorch.decoders.unetplusplus.decoder import UnetPlusPlusDecoder
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torchmetrics.functional.classification import binary_stat_scores
from torchvision.ops import sigmoid_focal_loss

from segedu import (
    NodeGrid,
    UNet,
    UNetPlusPlus,
    count_multiply_adds,
    count_parameters,
    predict,
)
from segedu.fast import summed_convolutions
from segedu.files import read_rows, write_rows
from segedu.losses import DeepSupervision, focal_loss
from segedu.metrics import stat_scores
from segedu.variants import HalfResolution

from .pages import DOCS, markdown_table, write_part
from .timing import processor, take_turns, training_step

TABLE = Path(__file__).parent / "results/benchmark.csv"
PAGE = DOCS / "benchmark.md"
CHANNELS = (16, 32, 64, 128, 256)
SECONDS = 8  # of taking turns for each row, but at least five turns
SIDES = ("ours", "theirs")
PEERS = ("MONAI", "smp decoder", "MONAI as it comes")  # the networks on the other side
LIBRARIES = ("torch", "monai", "segmentation-models-pytorch", "torchvision", "torchmetrics")


def time_both(ours: Callable, theirs: Callable) -> dict:
    """The median milliseconds of both sides, and their ratio with its quartiles."""
    times = take_turns([ours, theirs], rounds=5, seconds=SECONDS)
    our_time, their_time = np.median(times, axis=0)
    low, high = np.percentile(times[:, 1] / times[:, 0], (25, 75))
    return {
        "ours ms": round(our_time, 1),
        "theirs ms": round(their_time, 1),
        "ratio": round(their_time / our_time, 2),
        "low": round(low, 2),
        "high": round(high, 2),
    }


def row(task: str, ours: str, theirs: str, **cells) -> dict:
    """A row of the table; a cell that is not given stays empty."""
    names = ("ours ms", "theirs ms", "ratio", "low", "high", "difference")
    pairs = ("parameters", "multiply-adds", "peak MiB")
    names += tuple(f"{side} {what}" for what in pairs for side in ("ours", "theirs"))
    empty = dict.fromkeys((*names, "conditions"))
    return {"task": task, "ours": ours, "theirs": theirs} | empty | cells


# The other side. Each network takes the weights of one of ours, so that both answer the same.


def monai_network(model: NodeGrid, upsample: str) -> nn.Module:
    """MONAI's network of the same channels, with batch norm (and so without biases) and ReLU."""
    network = BasicUNetPlusPlus if isinstance(model, UNetPlusPlus) else BasicUNet
    return network(
        2, 1, 1, (*model.channels, model.channels[0]), act=("relu", {"inplace": True}),
        norm="batch", bias=False, upsample=upsample,
    )  # fmt: skip


def monai_twin(model: NodeGrid) -> nn.Module:
    """MONAI's network with our weights, for up="transposed".

    In MONAI's row 0 a node does not halve the channels that come up, as it does in the other rows.
    Here it does, which makes MONAI's network cheaper.
    """
    net = monai_network(model, "deconv")
    plus = isinstance(model, UNetPlusPlus)
    for i, j in model.nodes:
        if plus:
            name = f"{'upcat' if j else 'conv'}_{i}_{j}"
        else:
            name = f"upcat_{i + 1}" if j else f"down_{i}" if i else "conv_0"
        if i == 0 and j > 0:
            width = len(model.skip_sources(i, j)) * CHANNELS[0]
            act = ("relu", {"inplace": True})
            setattr(net, name, UpCat(2, CHANNELS[1], width, CHANNELS[0], act, "batch", False))
        copy_state(getattr(net, name), *node_parts(model, i, j))
    copy_state(net.final_conv_0_4 if plus else net.final_conv, model.heads["4"])
    return net


class SmpTwin(nn.Module):
    """segmentation-models-pytorch's decoder and head with our weights, for up="bilinear".

    Its encoders begin by halving the image, so the way down is built from its convolutions.
    """

    def __init__(self, model: NodeGrid):
        super().__init__()
        self.down = nn.ModuleList(
            nn.Sequential(Conv2dReLU(before, width, 3, 1), Conv2dReLU(width, width, 3, 1))
            for before, width in zip((1, *CHANNELS), CHANNELS, strict=False)
        )
        going_up = CHANNELS[-2::-1]
        options = {"encoder_channels": (1, *CHANNELS), "interpolation_mode": "bilinear"}
        if plus := isinstance(model, UNetPlusPlus):
            self.decoder = UnetPlusPlusDecoder(
                decoder_channels=(*going_up, CHANNELS[0]), n_blocks=5, **options
            )
            self.decoder.blocks["x_0_4"] = nn.Identity()  # would double the size once more
        else:
            self.decoder = UnetDecoder(decoder_channels=going_up, n_blocks=4, **options)
        self.head = SegmentationHead(CHANNELS[0], 1, kernel_size=1)
        for i, j in model.nodes:
            layer = 3 - i
            if j == 0:
                copy_state(self.down[i], *node_parts(model, i, j))
                continue
            block = self.decoder.blocks[f"x_{layer + 1 - j}_{layer}" if plus else layer]
            copy_state(block, *node_parts(model, i, j))
            # There, what comes up is the first input, and the skips follow from right to left.
            weight = model.blocks[f"{i}_{j}"][0].weight.detach()
            widths = [CHANNELS[i]] * len(model.skip_sources(i, j)) + [CHANNELS[i + 1]]
            block.conv1[0].weight.data = torch.cat(weight.split(widths, dim=1)[::-1], dim=1)
        copy_state(self.head, model.heads["4"])

    def forward(self, images: Tensor) -> Tensor:
        features = [images]
        for i, block in enumerate(self.down):
            features.append(block(F.max_pool2d(features[-1], 2) if i else images))
        return self.head(self.decoder(features))


def node_parts(model: NodeGrid, i: int, j: int) -> list[nn.Module]:
    block = model.blocks[f"{i}_{j}"]
    return [model.ups[f"{i}_{j}"], block] if j else [block]


def copy_state(target: nn.Module, *sources: nn.Module) -> None:
    """Copy parameters and statistics in the order of their registration."""
    values = [value for source in sources for value in source.state_dict().values()]
    target.load_state_dict(dict(zip(target.state_dict(), values, strict=True)))


# The rows.


def our_network(network: type[NodeGrid], up: str, **options) -> NodeGrid:
    """A network whose batch-norm statistics are no longer the initial ones."""
    torch.manual_seed(0)
    model = network(1, 1, channels=CHANNELS, up=up, **options).train()
    with torch.no_grad():
        model(torch.rand(8, 1, 64, 64))
    return model


def last(logits: Tensor | list[Tensor]) -> Tensor:
    return logits[-1] if isinstance(logits, list) else logits


def sizes(ours: nn.Module, theirs: nn.Module) -> dict[str, int]:
    """The parameters of both sides, and their multiply-adds for an image of 256 x 256."""
    return {
        "ours parameters": count_parameters(ours),
        "theirs parameters": count_parameters(theirs),
        "ours multiply-adds": count_multiply_adds(ours, 256, 256),
        "theirs multiply-adds": count_multiply_adds(theirs, 256, 256),
    }


def network_rows() -> Iterator[dict]:
    """Inference and a training step of both networks, against each library."""
    image = torch.rand(1, 1, 256, 256)
    batch = torch.rand(8, 1, 128, 128), (torch.rand(8, 1, 128, 128) < 0.2).float()
    loss = DeepSupervision(F.binary_cross_entropy_with_logits)  # takes MONAI's list of one, too
    fabric = Fabric(accelerator="cpu", devices=1)
    peers = {
        "MONAI": ("transposed", monai_twin),
        "smp decoder": ("bilinear", SmpTwin),
        "MONAI as it comes": ("bilinear", lambda model: monai_network(model, "nontrainable")),
    }
    for network, (name, (up, make)) in itertools.product((UNet, UNetPlusPlus), peers.items()):
        model = our_network(network, up)
        peer = make(model).eval()
        is_equal = name != "MONAI as it comes"
        names = f"{network.__name__}, {up}", name
        costs = sizes(model, peer)

        @torch.inference_mode()
        def infer(peer=peer) -> Tensor:
            return last(peer(image)).sigmoid()

        ours = functools.partial(predict, model, image)
        error = (ours() - infer()).abs().max().item() if is_equal else None
        yield row("inference", *names, **time_both(ours, infer), **costs, difference=error)

        ours = training_step(model, loss, *batch, fabric)
        theirs = training_step(peer, loss, *batch, fabric, layout=torch.contiguous_format)
        with summed_convolutions(model):
            error = abs(ours() - theirs()) if is_equal else None
            times = time_both(ours, theirs)
        yield row("training step", *names, **times, **costs, difference=error)


def level_rows() -> Iterator[dict]:
    """Each pruned level against the next one."""
    model = our_network(UNetPlusPlus, "bilinear", deep_supervision=True)
    image = torch.rand(1, 1, 256, 256)
    for level, deeper in itertools.pairwise(model.levels):
        ours, theirs = (
            functools.partial(predict, model, image, level=one) for one in (level, deeper)
        )
        yield row(
            "inference",
            *(f"UNetPlusPlus L{one}" for one in (level, deeper)),
            **time_both(ours, theirs),
            **sizes(model.prune(level), model.prune(deeper)),
        )


def fast_rows() -> Iterator[dict]:
    """A U-Net on blocks of 2 x 2 pixels, also in bfloat16, against what it would take the place of.

    On the other side is float32, as it comes.
    """
    model, image = HalfResolution(1, 1), torch.rand(1, 1, 256, 256)
    small = UNet(1, 1, channels=(8, 16, 32, 64, 128))
    networks = {
        "UNet": our_network(UNet, "bilinear"),
        "UNetPlusPlus": our_network(UNetPlusPlus, "bilinear", deep_supervision=True),
        "UNet, 8 to 128 channels": small,
        "MONAI, 8 to 128 channels": monai_network(small, "nontrainable").eval(),
    }

    def ours(dtype: torch.dtype) -> Tensor:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            return predict(model, image)

    @torch.inference_mode()
    def theirs(network: nn.Module) -> Tensor:
        if isinstance(network, NodeGrid):
            return predict(network, image)
        return network(image).sigmoid()

    for dtype, name in itertools.product((torch.bfloat16, torch.float32), networks):
        sides = functools.partial(ours, dtype), functools.partial(theirs, networks[name])
        label = "HalfResolution" + ", bfloat16" * (dtype == torch.bfloat16)
        yield row("inference", label, name, **time_both(*sides), **sizes(model, networks[name]))


def focal_sides() -> tuple[Callable, Callable]:
    torch.manual_seed(0)
    logits = torch.randn(8, 1, 512, 512, requires_grad=True)
    target = (torch.rand(8, 1, 512, 512) < 0.2).float()

    def forward_and_backward(loss: Callable) -> Tensor:
        logits.grad = None
        value = loss(logits, target, gamma=2.0, alpha=0.25, reduction="mean")
        value.backward()
        return value.detach()

    return tuple(
        functools.partial(forward_and_backward, loss) for loss in (focal_loss, sigmoid_focal_loss)
    )


def count_sides(validate_args: bool) -> tuple[Callable, Callable]:
    torch.manual_seed(0)
    preds, target = (torch.rand(2, 8, 1, 512, 512) < 0.2).long()

    def ours() -> Tensor:
        return torch.cat(stat_scores(preds, target, num_classes=1), dim=1)

    def theirs() -> Tensor:
        scores = binary_stat_scores(
            preds, target, multidim_average="samplewise", validate_args=validate_args
        )
        return scores[:, [0, 1, 3, 2]]  # tp, fp, tn, fn, support there

    return ours, theirs


def peak_memory(run: Callable) -> float:
    """The most that torch holds at a time beyond what it held before, in MiB."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as trace:
        run()
    events = trace.profiler.kineto_results.events()
    changes = [event.nbytes() for event in events if event.name() == "[memory]"]
    return round(max(itertools.accumulate(changes)) / 2**20, 1)


def loss_and_metric_rows() -> Iterator[dict]:
    for task, names, sides in (
        ("forward and backward", ("focal_loss", "torchvision sigmoid_focal_loss"), focal_sides),
        ("counts", ("stat_scores", "torchmetrics binary_stat_scores"), lambda: count_sides(True)),
        ("counts", ("stat_scores", "the same, validate_args=False"), lambda: count_sides(False)),
    ):
        memory = {  # each with new input, which has no gradient yet
            f"{who} peak MiB": peak_memory(sides()[side])
            for side, who in enumerate(("ours", "theirs"))
        }
        ours, theirs = sides()
        error = (ours() - theirs()).abs().max().item()
        yield row(task, *names, **time_both(ours, theirs), **memory, difference=error)


# The table.


def conditions() -> str:
    """What the times depend on."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    capability = torch.backends.cpu.get_cpu_capability()
    threads = torch.get_num_threads()
    threads = "1 thread, processor time" if threads == 1 else f"{threads} threads, elapsed time"
    return f"{processor()}, {capability}, {threads}, {libraries}"


def number(value: str, scale: float = 1, digits: int = 2) -> str:
    """A cell of the table, short; an empty string where nothing was measured."""
    return f"{float(value) / scale:.{digits}f}" if value else ""


def readable(name: str) -> str:
    """A name of the table as the page has it.

    >>> readable("UNetPlusPlus, bilinear")
    'U-Net++, bilinear'
    """
    name = name.replace("UNetPlusPlus", "U-Net++").replace("UNet", "U-Net")
    return name.replace("HalfResolution", "half resolution")


def time_cells(row: dict) -> list[str]:
    """Both names, both times, and their ratio."""
    times = [
        number(row[f"{side} ms"], digits=0 if float(row["ours ms"]) > 100 else 1) for side in SIDES
    ]
    quartiles = f"{number(row['low'])}\N{EN DASH}{number(row['high'])}"
    return [readable(row["ours"]), readable(row["theirs"]), *times, number(row["ratio"]), quartiles]


def times_table(
    rows: list[dict], head: Sequence[str] = ("ours", "against", "ours, ms", "theirs, ms")
) -> str:
    head = [*head, "ratio", "quartiles"]
    return markdown_table(head, [time_cells(row) for row in rows], "llrrrr") + "\n"


def memory_table(rows: list[dict]) -> str:
    head = ["ours", "against", "ours, MiB", "theirs, MiB"]
    lines = [
        [*time_cells(row)[:2], *(number(row[f"{side} peak MiB"], digits=0) for side in SIDES)]
        for row in rows
    ]
    return markdown_table(head, lines, "llrr") + "\n"


def sizes_table(rows: list[dict]) -> str:
    """Parameters and multiply-adds of our networks, and of others that differ from all of ours."""
    sizes = {}
    for row in rows:
        ours, theirs = (
            [number(row[f"{side} parameters"], 1e6), number(row[f"{side} multiply-adds"], 1e9)]
            for side in SIDES
        )
        name = readable(row["theirs"])
        if row["theirs"] in PEERS:
            name = f"{name}, beside {readable(row['ours'])}"
        sizes[readable(row["ours"]).removesuffix(", bfloat16")] = ours
        if theirs not in sizes.values():
            sizes[name] = theirs
    head = ["network", "10⁶ parameters", "10⁹ multiply-adds"]
    return markdown_table(head, [[name, *cells] for name, cells in sizes.items()], "lrr")


def parts(rows: list[dict]) -> dict[str, str]:
    """The tables of the page and what they were measured on, by the names of their places."""
    networks = [row for row in rows if row["theirs"] in PEERS]
    pieces = [row for row in rows if row["ours peak MiB"]]
    levels = [row for row in rows if row["theirs"].startswith("UNetPlusPlus L")]
    fast = [row for row in rows if row["ours"].startswith("HalfResolution")]
    equal = [row for row in networks if row["difference"]]
    ratios = [float(row["ratio"]) for row in equal]
    most = max(float(row["difference"]) for row in equal)
    return {
        "the summary": f"Networks that compute the same take between {min(ratios):.2f} and "
        f"{max(ratios):.2f} times as long in the other libraries. The answers of both sides differ "
        f"by at most {most:.7f}.\n",
        "the machine": f"Measured on: {rows[0]['conditions']}.\n",
        "inference": times_table([row for row in networks if row["task"] == "inference"]),
        "training": times_table([row for row in networks if row["task"] == "training step"]),
        "levels": times_table(levels, ("level", "next level", "ms", "next, ms")),
        "pieces": times_table(pieces),
        "memory": memory_table(pieces),
        "fast": times_table(fast),
        "sizes": sizes_table([row for row in rows if row["ours parameters"]]) + "\n",
    }


def main() -> None:
    rows = []
    for row in itertools.chain(loss_and_metric_rows(), level_rows(), network_rows(), fast_rows()):
        print(f"{row['task']}: {row['ours']} {row['ours ms']} ms, {row['theirs']}", end=" ")
        print(f"{row['theirs ms']} ms, ratio {row['ratio']}", flush=True)
        rows.append(row | {"conditions": conditions()})
    write_rows(TABLE, rows)
    write_page()
    print(f"{conditions()}\n{TABLE}\n{PAGE}")


def write_page() -> None:
    """Put the tables into the page on speed."""
    for name, text in parts(read_rows(TABLE)).items():
        write_part(PAGE, name, text)
