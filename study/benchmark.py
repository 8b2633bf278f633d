"""How fast the package is against the libraries people use, both sides taking turns in one run.

    python -m study benchmark

The peers compute the same: MONAI's and segmentation-models-pytorch's own blocks, put together with
our channels, take our weights, and the largest difference of the answers stands in the table. A row
"as it comes" is MONAI's network with the options that come nearest. Ours is timed as `predict` and
`fit` run it, a peer as its documentation does: in inference mode, in torch's usual layout.

Ratio is the peer's median time divided by ours, with the quartiles of the ratios of single turns;
above 1 ours is faster. Times are elapsed time; on one thread, processor time, which other programs
disturb less. Peak memory is the most that torch's allocator holds at a time beyond what it held
before the call, summed from the profiler's memory events.
"""

import csv
import itertools
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F
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

from segedu import NodeGrid, UNet, UNetPlusPlus, count_parameters, predict
from segedu.files import atomic_path, write_rows
from segedu.losses import focal_loss
from segedu.metrics import stat_scores

from .compare import operations, processor

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "study/results/benchmark.csv"
PAGE = ROOT / "docs/benchmark.md"
MARKS = "<!-- the tables begin -->\n", "<!-- the tables end -->\n"
CHANNELS = (16, 32, 64, 128, 256)
SECONDS = 8  # of taking turns for each row, and five turns at least
LIBRARIES = ("torch", "monai", "segmentation-models-pytorch", "torchvision", "torchmetrics")


def take_turns(ours: Callable, theirs: Callable) -> dict:
    """The medians in milliseconds, and their ratio with its quartiles."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times = []
    until = time.perf_counter() + SECONDS
    while len(times) < 6 or time.perf_counter() < until:
        turn = {}
        for side in (ours, theirs) if len(times) % 2 else (theirs, ours):
            begun = clock()
            side()
            turn[side] = clock() - begun
        times.append((turn[ours], turn[theirs]))
    times = times[1:]  # the first turn warms up
    our_time, their_time = (statistics.median(column) for column in zip(*times, strict=True))
    low, _, high = statistics.quantiles([theirs / ours for ours, theirs in times], n=4)
    return {
        "ours ms": round(1e3 * our_time, 1),
        "theirs ms": round(1e3 * their_time, 1),
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


# The peers. Each takes the weights of one of our networks, so that both have the same answers.


def monai_network(model: NodeGrid, upsample: str) -> nn.Module:
    """MONAI's network of the same channels, with batch norm, ReLU and no idle biases."""
    network = BasicUNetPlusPlus if isinstance(model, UNetPlusPlus) else BasicUNet
    return network(
        2, 1, 1, (*CHANNELS, CHANNELS[0]), act=("relu", {"inplace": True}), norm="batch",
        bias=False, upsample=upsample,
    )  # fmt: skip


def monai_twin(model: NodeGrid) -> nn.Module:
    """MONAI's network with our weights, for up="transposed".

    Its nodes of row 0 do not halve the channels that come up, as those of the other rows do: here
    they do, which spares it operations.
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

    Its encoders begin by halving the image, so the way down is made of its convolutions.
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
            # What comes up stands first there, and the skips follow from right to left.
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
    """A network whose statistics are not the initial ones."""
    torch.manual_seed(0)
    model = network(1, 1, channels=CHANNELS, up=up, **options).train()
    with torch.no_grad():
        model(torch.rand(8, 1, 64, 64))
    return model


def last(logits: Tensor | list[Tensor]) -> Tensor:
    return logits[-1] if isinstance(logits, list) else logits


def training_step(model: nn.Module, images: Tensor, target: Tensor) -> Callable[[], float]:
    """What `fit` does for a batch, without the data."""
    optimizer = torch.optim.AdamW(model.train().parameters())

    def step() -> float:
        loss = F.binary_cross_entropy_with_logits(last(model(images)), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def network_rows() -> list[dict]:
    rows = []
    image = torch.rand(1, 1, 256, 256)
    images, target = torch.rand(8, 1, 128, 128), (torch.rand(8, 1, 128, 128) < 0.2).float()
    peers = {
        "MONAI": ("transposed", monai_twin),
        "smp decoder": ("bilinear", SmpTwin),
        "MONAI as it comes": ("bilinear", lambda model: monai_network(model, "nontrainable")),
    }
    for network in (UNet, UNetPlusPlus):
        for name, (up, make) in peers.items():
            model = our_network(network, up)
            peer = make(model).eval()
            is_equal = name != "MONAI as it comes"
            sizes = {
                "ours parameters": count_parameters(model),
                "theirs parameters": count_parameters(peer),
                "ours multiply-adds": operations(model),
                "theirs multiply-adds": operations(peer),
            }
            names = f"{network.__name__}, {up}", name

            @torch.inference_mode()
            def infer(peer=peer) -> Tensor:
                return last(peer(image)).sigmoid()

            model.eval()
            error = (predict(model, image) - infer()).abs().max().item() if is_equal else None
            times = take_turns(lambda model=model: predict(model, image), infer)
            rows.append(row("inference", *names, **times, **sizes, difference=error))
            print_row(rows[-1])

            ours = training_step(
                model.to(memory_format=torch.channels_last),
                images.contiguous(memory_format=torch.channels_last),
                target,
            )
            theirs = training_step(peer, images, target)
            error = abs(ours() - theirs()) if is_equal else None
            rows.append(
                row("training step", *names, **take_turns(ours, theirs), **sizes, difference=error)
            )
            print_row(rows[-1])
    return rows


def level_rows() -> list[dict]:
    """Each pruned level against the next one."""
    model = our_network(UNetPlusPlus, "bilinear", deep_supervision=True).eval()
    image = torch.rand(1, 1, 256, 256)
    sizes = [(count_parameters(part), operations(part)) for part in map(model.prune, model.levels)]
    rows = []
    for level in model.levels[:-1]:
        times = take_turns(
            lambda level=level: predict(model, image, level=level),
            lambda level=level: predict(model, image, level=level + 1),
        )
        (parameters, adds), (more_parameters, more_adds) = sizes[level - 1 : level + 1]
        sizes_here = {
            "ours parameters": parameters,
            "theirs parameters": more_parameters,
            "ours multiply-adds": adds,
            "theirs multiply-adds": more_adds,
        }
        names = f"UNetPlusPlus L{level}", f"UNetPlusPlus L{level + 1}"
        rows.append(row("inference", *names, **times, **sizes_here))
        print_row(rows[-1])
    return rows


def focal_sides() -> tuple[Callable, Callable]:
    torch.manual_seed(0)
    logits = torch.randn(8, 1, 512, 512, requires_grad=True)
    target = (torch.rand(8, 1, 512, 512) < 0.2).float()

    def ours() -> Tensor:
        logits.grad = None
        loss = focal_loss(logits, target, gamma=2.0, alpha=0.25)
        loss.backward()
        return loss.detach()

    def theirs() -> Tensor:
        logits.grad = None
        loss = sigmoid_focal_loss(logits, target, gamma=2.0, alpha=0.25, reduction="mean")
        loss.backward()
        return loss.detach()

    return ours, theirs


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


def loss_and_metric_rows() -> list[dict]:
    rows = []
    for task, names, sides in (
        ("forward and backward", ("focal_loss", "torchvision sigmoid_focal_loss"), focal_sides),
        ("counts", ("stat_scores", "torchmetrics binary_stat_scores"), lambda: count_sides(True)),
        ("counts", ("stat_scores", "the same, validate_args=False"), lambda: count_sides(False)),
    ):
        memory = {  # each of new input, which has no gradient yet
            f"{who} peak MiB": peak_memory(sides()[side])
            for side, who in enumerate(("ours", "theirs"))
        }
        ours, theirs = sides()
        error = (ours() - theirs()).abs().max().item()
        rows.append(row(task, *names, **take_turns(ours, theirs), **memory, difference=error))
        print_row(rows[-1])
    return rows


# The table.


def conditions() -> str:
    """What the times depend on."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    capability = torch.backends.cpu.get_cpu_capability()
    threads = torch.get_num_threads()
    threads = "1 thread, processor time" if threads == 1 else f"{threads} threads, elapsed time"
    return f"{processor()}, {capability}, {threads}, {libraries}"


def pair(row: dict, what: str, scale: float = 1, digits: int = 0) -> str:
    """Ours / theirs, or nothing where that was not measured."""
    values = [row[f"{side} {what}"] for side in ("ours", "theirs")]
    if values[0] in (None, ""):
        return ""
    return " / ".join(f"{float(value) / scale:.{digits}f}" for value in values)


def time_cells(row: dict) -> list[str]:
    """What the first table says of a row."""
    error = row["difference"]
    return [
        f"{float(row['ratio']):.2f} ({float(row['low']):.2f} to {float(row['high']):.2f})",
        pair(row, "ms", digits=0 if float(row["ours ms"]) > 100 else 1),
        row["task"],
        row["ours"],
        row["theirs"],
        "" if error in (None, "") else f"{float(error):.0e}" if float(error) else "0",
    ]


def size_cells(row: dict) -> list[str]:
    """What the second table says of a row; for inference and training it is the same."""
    return [
        row["ours"],
        row["theirs"],
        pair(row, "parameters", 1e6, 2),
        pair(row, "multiply-adds", 1e9, 2),
        pair(row, "peak MiB"),
    ]


TIME_HEAD = ["ratio (quartiles)", "ms", "task", "ours", "against", "difference"]
SIZE_HEAD = ["ours", "against", "10⁶ parameters", "10⁹ multiply-adds", "peak MiB"]


def print_row(row: dict) -> None:
    print(" | ".join([*time_cells(row), *size_cells(row)[2:]]), flush=True)


def markdown(rows: list[dict]) -> str:
    """The tables of the page, and what they were measured on."""

    def table(head: list[str], lines: list[list[str]]) -> str:
        return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines])

    once = {(row["ours"], row["theirs"]): size_cells(row) for row in rows}
    return (
        f"{table(TIME_HEAD, [time_cells(row) for row in rows])}\n\n"
        f"{table(SIZE_HEAD, list(once.values()))}\n\n"
        f"Measured on: {rows[0]['conditions']}.\n"
    )


def read_table() -> list[dict]:
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(file))


def write_page(rows: list[dict]) -> None:
    """Put the tables between their marks in the page."""
    before, rest = PAGE.read_text(encoding="utf-8").split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    with atomic_path(PAGE) as temporary:
        temporary.write_text(
            before + MARKS[0] + markdown(rows) + MARKS[1] + after, encoding="utf-8"
        )


def main() -> None:
    print(" | ".join([*TIME_HEAD, *SIZE_HEAD[2:]]))
    rows = [*loss_and_metric_rows(), *level_rows(), *network_rows()]
    rows = [row | {"conditions": conditions()} for row in rows]
    write_rows(TABLE, rows)
    write_page(read_table())
    print(f"{conditions()}\n{TABLE}\n{PAGE}")
