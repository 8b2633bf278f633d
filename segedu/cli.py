"""The command line: `segedu train | evaluate | predict | info | convert | export`."""

import itertools
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from . import __version__

app = typer.Typer(
    help="Train a U-Net or a U-Net++ on synthetic nuclei, real nuclei or your own pictures, "
    "measure it, and use it. Start with: segedu train",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
)

Data = Literal["synthetic", "nuclei", "folder"]
Split = Literal["train", "validation", "test"]

DataOption = Annotated[
    Data,
    typer.Option(
        help="synthetic: made on the spot, nothing to download. nuclei: the 2018 Data Science Bowl "
        "(BBBC038v1), a zip or folder given as --root. folder: your own pictures below --root, in "
        "images/ and masks/ with the same file names."
    ),
]
RootOption = Annotated[Path | None, typer.Option(help="The archive of nuclei or your own folder.")]
ClassesOption = Annotated[
    int,
    typer.Option(
        help="1: one kind of object against the background. More: the number of classes in your "
        "masks, background included.",
        min=1,
    ),
]
IgnoreOption = Annotated[
    int | None,
    typer.Option(help="Value in the masks for pixels that belong to no class, such as 255."),
]
AugmentOption = Annotated[
    str,
    typer.Option(
        help="Random changes of the crops: any of mirror, flips, scale, elastic, light, "
        "noise, with commas between, or none. mirror is for pictures with an above and a below."
    ),
]
OutOption = Annotated[Path, typer.Option(help="Folder for the results.")]
WeightsOption = Annotated[
    Path,
    typer.Option(
        help="A .safetensors file, or weights of the package: unet-nuclei, unetpp-nuclei or "
        "unetpp-nuclei-tiny."
    ),
]
CalibrateOption = Annotated[
    Path | None,
    typer.Option(
        help="A folder with images/ and masks/: one or a few annotated pictures like those to be "
        "segmented. The threshold that is best on them takes the place of the network's own."
    ),
]
LevelOption = Annotated[
    int | None, typer.Option(help="Use only the head at this level of a U-Net++.")
]
AcceleratorOption = Annotated[str, typer.Option(help="cpu, gpu, or auto: a GPU if there is one.")]
PrecisionOption = Annotated[
    str, typer.Option(help="32-true, or bf16-mixed, which is faster where the hardware has it.")
]


@app.callback(invoke_without_command=True)
def version_option(
    version: Annotated[bool, typer.Option("--version", help="Say which version this is.")] = False,
):
    """Train a U-Net or a U-Net++, measure it, and use it."""
    if version:
        print(f"segedu {__version__}")
        raise typer.Exit


@app.command("train")
def train_command(
    context: typer.Context,
    data: DataOption = "synthetic",
    root: RootOption = None,
    num_classes: ClassesOption = 1,
    ignore_index: IgnoreOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the run, by default the next free one of runs/1, runs/2, ..."
        ),
    ] = None,
    model: Annotated[
        Literal["unet", "unetpp", "residual", "attention", "unet3plus", "half"],
        typer.Option(
            help="unetpp has deep supervision, so that it can be pruned. residual, attention and "
            "unet3plus are variants of unet; half works on blocks of 2 x 2 pixels and is much "
            "faster."
        ),
    ] = "unetpp",
    channels: Annotated[
        str, typer.Option(help="Channels of each level, the finest resolution first.")
    ] = "16,32,64,128",
    norm: Annotated[
        Literal["batch", "group"],
        typer.Option(
            help="batch normalises over the crops of one process; group normalises each crop by "
            "itself, so that the number of processes does not matter, but pictures above 512 "
            "pixels cannot be cut into tiles."
        ),
    ] = "batch",
    loss: Annotated[
        Literal["compound", "cross-entropy", "focal", "dice"],
        typer.Option(help="compound: cross-entropy plus Dice loss."),
    ] = "compound",
    class_weights: Annotated[
        str | None,
        typer.Option(
            help="How much a pixel of each class counts in the cross-entropy, like 1,5 (background "
            "first), or 'balanced': the rarer, the more."
        ),
    ] = None,
    class_names: Annotated[
        str, typer.Option(help="Names for the report, like 'background,road,car'.")
    ] = "",
    augment: AugmentOption = "flips,light",
    steps: Annotated[int, typer.Option(help="Updates of the weights.", min=1)] = 300,
    batch_size: Annotated[int, typer.Option(help="Crops per update.", min=1)] = 8,
    crop_size: Annotated[int, typer.Option(help="Side of a crop in pixels.", min=1)] = 128,
    learning_rate: Annotated[float, typer.Option(help="At the peak of the schedule.")] = 3e-3,
    validate_every: Annotated[
        int | None,
        typer.Option(help="Steps between two validations; a third of all if not given.", min=1),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Processes that prepare crops in the background.", min=0)
    ] = 0,
    init: Annotated[
        Path | None,
        typer.Option(
            help="Start from the network in this .safetensors file, in place of a new one; or from "
            "'unetpp-nuclei', which comes with the package."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same run (on the same machine).")] = 0,
    accelerator: AcceleratorOption = "cpu",
    devices: Annotated[
        int, typer.Option(help="Processes (GPUs) on this machine that share a batch.", min=1)
    ] = 1,
    nodes: Annotated[
        int, typer.Option(help="Machines, each with this number of processes.", min=1)
    ] = 1,
    precision: PrecisionOption = "32-true",
    resume: Annotated[
        bool,
        typer.Option(
            help="Go on from the last state in --out; of a run that is done, with more --steps."
        ),
    ] = False,
):
    """Train a network, keep the best by validation IoU, and measure it once on the test images.

    The defaults are for two CPU cores. In --out: best.safetensors, last.safetensors, history.csv
    and history.png, and test.csv with the numbers of each test image. Ctrl-C keeps the state, and
    --resume goes on from it. The IoU is printed beside the best answer without a network: if it is
    not clearly better, it has learnt nothing.
    """
    from .analysis import count_parameters
    from .checkpoint import load_model, read_notes
    from .commands.report import print_report
    from .commands.train import (
        CLASS_NAMES,
        NETWORKS,
        cached,
        check_classes,
        check_sizes,
        make_loss,
        read_weights,
    )
    from .training import TrainConfig, fit

    if resume and out is None:
        raise ValueError("--resume needs --out: the folder of the run that is to go on")
    out = out or _free_folder(Path("runs"))
    config = TrainConfig(
        steps=steps, batch_size=batch_size, crop_size=crop_size, learning_rate=learning_rate,
        validate_every=validate_every or max(1, steps // 3), seed=seed, workers=workers,
        ignore_index=ignore_index, augment=_names(augment),
    )  # fmt: skip
    if batch_size % (devices * nodes):  # before so many processes start
        raise ValueError(
            f"--batch-size {batch_size} cannot be shared equally by {devices * nodes} processes"
        )
    fabric = _fabric(accelerator, precision, devices=devices, num_nodes=nodes)
    start = None if init is None else _load(init)
    if start is not None:
        options = ("model", "channels", "norm")
        if given := [o for o in options if context.get_parameter_source(o).name != "DEFAULT"]:
            raise ValueError(f"--init {init} brings its network: leave out --{', --'.join(given)}")
        if start.num_classes != num_classes:
            raise ValueError(
                f"{init} has {start.num_classes} classes, but --num-classes is {num_classes}"
            )
    if class_names and data != "folder":
        raise ValueError(f"--class-names is for --data folder, got it with --data {data}")
    names = _names(class_names) if data == "folder" else CLASS_NAMES.get(num_classes, ())
    if names and len(names) != num_classes:
        raise ValueError(f"--class-names has {len(names)} names for {num_classes} classes")
    options = {"ignore_index": ignore_index, "channels": start and start.in_channels}
    sets = {split: _dataset(data, root, num_classes, split, **options) for split in get_args(Split)}
    fabric.launch()
    # A file that cannot be read, or a wrong mask, is found here, and not after hours.
    reading = cached(sets, show=fabric.is_global_zero) if data == "folder" else nullcontext(sets)
    with reading as sets:
        train_set, validation_set, test_set = sets.values()
        check_classes(train_set, ignore_index)
        weights = class_weights and read_weights(
            class_weights, train_set, num_classes, ignore_index
        )
        fabric.seed_everything(seed, verbose=False)
        if start is not None:
            net = start
        else:
            net = NETWORKS[model](
                train_set[0][0].shape[0], num_classes, channels=_integers(channels), norm=norm,
                deep_supervision=model == "unetpp",
            )  # fmt: skip
        if net.norm == "group":
            check_sizes(sets)
        net.class_names = names or net.class_names
        fabric.print(
            f"{len(train_set)} training and {len(validation_set)} validation images, "
            f"{init or model} of {count_parameters(net):,} parameters"
        )
        started = time.monotonic()
        try:
            fit(
                net, make_loss(loss, num_classes, weights, ignore_index), train_set,
                validation_set, config, out=out, fabric=fabric, resume=resume,
            )  # fmt: skip
        except KeyboardInterrupt as stopped:
            fabric.print(
                f"\n{stopped or 'stopped'}.\nTo go on: the same command with --resume --out {out}"
            )
            raise typer.Exit(130) from None  # as shells say of a command that Ctrl-C ended
        seconds = time.monotonic() - started
        if not fabric.is_global_zero:
            return
        best, notes = load_model(out / "best.safetensors"), read_notes(out / "best.safetensors")
        threshold = f", threshold {best.threshold}" if num_classes == 1 else ""
        print(
            f"\ntrained {steps} steps in {seconds:.0f} s; best after step {notes['step']}: "
            f"validation IoU {notes['validation_iou']:.3f}{threshold}"
        )
        print_report(best, test_set, "test", fabric, ignore_index, train_set, out / "test.csv")
    _draw_history(out)
    print(f"weights: {out / 'best.safetensors'}")


@app.command("evaluate")
def evaluate_command(
    weights: WeightsOption = Path("unetpp-nuclei"),
    data: DataOption = "synthetic",
    root: RootOption = None,
    split: Annotated[Split, typer.Option(help="Which part of the data.")] = "test",
    ignore_index: IgnoreOption = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the numbers of each picture, SPLIT.csv.")
    ] = Path("runs/evaluation"),
    calibrate: CalibrateOption = None,
    level: LevelOption = None,
    accelerator: AcceleratorOption = "cpu",
    precision: PrecisionOption = "32-true",
):
    """Measure a network on images, and name the pictures that it does worst.

    IoU, Dice, precision and recall of each class, how far the outlines are off, whether the
    probabilities can be believed, and all of it beside the best answer without a network, which may
    learn from up to 100 of the training images. In --out: a table with a row for each picture and
    class.
    """
    from .commands.calibrate import best_threshold_of
    from .commands.report import print_report

    model = _load(weights, level)
    options = {"ignore_index": ignore_index, "channels": model.in_channels}
    dataset, train_set = (
        _dataset(data, root, model.num_classes, part, **options) for part in (split, "train")
    )
    fabric = _fabric(accelerator, precision)
    before = None
    if calibrate is not None:
        before = model.threshold
        model.threshold = best_threshold_of(model, calibrate, fabric, ignore_index, judged=dataset)
    path = out / f"{split}.csv"
    print_report(model, dataset, split, fabric, ignore_index, train_set, path, before)


@app.command("predict")
def predict_command(
    pictures: Annotated[
        list[str],
        typer.Argument(help="Pictures of any size, folders of pictures, or patterns like '*.png'."),
    ],
    weights: WeightsOption = Path("unetpp-nuclei"),
    out: OutOption = Path("predictions"),
    level: LevelOption = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="For one class; the one that belongs to the weights if not given.", min=0, max=1
        ),
    ] = None,
    calibrate: CalibrateOption = None,
    ignore_index: IgnoreOption = None,
    objects: Annotated[
        Literal["none", "regions", "split"],
        typer.Option(
            help="Also number the objects: regions are the connected ones, and split cuts these at "
            "their waists, where round objects touch."
        ),
    ] = "none",
    min_area: Annotated[int, typer.Option(help="Leave out objects of fewer pixels.", min=0)] = 0,
    probabilities: Annotated[bool, typer.Option(help="Also write the probabilities.")] = False,
    accelerator: AcceleratorOption = "cpu",
    precision: PrecisionOption = "32-true",
):
    """Segment pictures: NAME_mask.png and NAME_overlay.png for each, and all overlays at a glance.

    A mask of one class is 0 and 255; of several, class indices with a palette. sheet_1.png, ...
    show 30 overlays each; pictures.csv says how much of each picture is foreground. With --objects
    also NAME_objects.tif, a number for each object, and objects.csv with their areas, positions and
    mean values. With --probabilities also NAME_probability.tif.
    """
    from .commands.calibrate import best_threshold_of
    from .commands.segment import find_pictures, segment_pictures

    if threshold is not None and calibrate is not None:
        raise ValueError("--threshold gives the threshold, and --calibrate finds one: give one")
    if ignore_index is not None and calibrate is None:
        raise ValueError("--ignore-index is for the masks of --calibrate: give both, or neither")
    model, fabric = _load(weights, level), _fabric(accelerator, precision)
    paths = find_pictures(pictures)
    if calibrate is not None:
        threshold = best_threshold_of(model, calibrate, fabric, ignore_index)
    segment_pictures(
        model, paths, out, fabric, objects=objects, min_area=min_area,
        threshold=model.threshold if threshold is None else threshold,
        probabilities=probabilities,
    )  # fmt: skip


@app.command("info")
def info_command(
    data: DataOption = "synthetic",
    root: RootOption = None,
    num_classes: ClassesOption = 1,
    ignore_index: IgnoreOption = None,
    augmented: Annotated[
        bool, typer.Option(help="Also draw augmented.png: crops as training sees them.")
    ] = False,
    augment: AugmentOption = "flips,light",
    out: OutOption = Path("runs/info"),
):
    """Look at data before training: what there is, what is wrong; and preview.png.

    Every image and mask is read. What training would refuse is listed, all of it, with the command
    that fixes it, and the exit status is 1. What may be wrong is listed too: images without an
    object, images in two parts that look the same, masks that lie beside their objects or are
    mirrored, objects too large or too small for the network, saturated images.
    """
    from .commands.inspect import entries_of, entries_of_folder, inspect

    if data == "folder" and root is not None:
        entries, problems = entries_of_folder(root, num_classes, ignore_index)
    else:
        parts = {split: _dataset(data, root, num_classes, split) for split in get_args(Split)}
        entries = [entry for split, part in parts.items() for entry in entries_of(part, split)]
        problems = []
    inspect(
        entries, problems, out, num_classes=num_classes, ignore_index=ignore_index,
        as_stored=data == "folder", augment=_names(augment) if augmented else None,
    )  # fmt: skip


@app.command("convert")
def convert_command(
    out: Annotated[Path, typer.Option(help="The new folder; the originals stay as they are.")],
    root: Annotated[
        Path | None,
        typer.Option(
            help="A folder with images/ and masks/; or with train/, val/ and test/, each with "
            "images/ and masks/ or with its masks beside it, as in trainannot/; or with a folder "
            "for each image, and images/ and masks/ in each."
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="In place of --root: the folder of the images, or a stack.")
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="The folder or stack of the masks. It may have a folder for each class, with a "
            "mask of the image's name in each; or a folder for each image, with a file for each "
            "object."
        ),
    ] = None,
    image_suffix: Annotated[
        str, typer.Option(help="What the images' names end in, which the masks' names do not.")
    ] = "",
    mask_suffix: Annotated[
        str, typer.Option(help="What the masks' names end in, such as _mask for cell_mask.png.")
    ] = "",
    threshold: Annotated[
        float | None,
        typer.Option(help="From this grey level on it is an object: for JPEG and blurred masks."),
    ] = None,
    objects: Annotated[
        Literal["binary", "boundary"] | None,
        typer.Option(
            help="The masks number the objects, or have a file for each. binary: all of them are "
            "one class. boundary: three classes, background, interior and boundary, so that "
            "objects that touch stay apart."
        ),
    ] = None,
    colours: Annotated[
        Path | None,
        typer.Option(
            help="A table of the classes' colours, a line for each such as 64 128 64 Animal. "
            "Without it, a few clean colours are numbered, the most frequent as background."
        ),
    ] = None,
    num_classes: Annotated[
        int | None,
        typer.Option(help="Each value in the masks is a class, and there are so many.", min=1),
    ] = None,
    ignore_index: IgnoreOption = None,
    invert: Annotated[bool, typer.Option(help="Exchange background and object.")] = False,
):
    """Make a folder to train on from images and masks of any usual kind.

    Images are copied, pages of a stack become files, and masks become PNG files of class indices.
    Masks of two values become 0 and 1, class indices stay, and a few clean grey levels or colours
    are numbered. What could mean several things is refused, with the option that decides.
    """
    from .commands.convert import Options, convert, read_colours
    from .commands.sources import find_sources

    given = {
        "--threshold": threshold, "--objects": objects, "--colours": colours,
        "--num-classes": num_classes,
    }  # fmt: skip
    several = [name for name, value in given.items() if value is not None]
    if len(several) > 1 and several != ["--threshold", "--objects"]:
        raise ValueError(f"{' and '.join(several)} are different ways to read masks; give one")
    table = None if colours is None else read_colours(colours)
    sources = find_sources(root, images, masks, image_suffix, mask_suffix)
    options = Options(threshold, objects, table, num_classes, ignore_index, invert)
    convert(sources, out, options)


@app.command("export")
def export_command(
    form: Annotated[
        Literal["web", "onnx"],
        typer.Option(
            "--format",
            help="web: a page that segments in the browser, without a server. onnx: for programs "
            "without torch; every head is an output, and images may have any size that fits the "
            "poolings.",
        ),
    ],
    weights: WeightsOption = Path("unetpp-nuclei-tiny"),
    out: Annotated[
        Path | None, typer.Option(help="The file to write; by default named like the weights.")
    ] = None,
):
    """Write a trained network as a web page or as ONNX."""
    import gzip

    from .files import atomic_path

    model = _load(weights)
    if form == "onnx":
        from .export import to_onnx

        content = to_onnx(model)
    else:
        from .explorers import LiveSegmentation

        content = LiveSegmentation(model).to_page().encode()
    out = out or Path(weights.stem + {"web": ".html", "onnx": ".onnx"}[form])
    with atomic_path(out) as temporary:
        temporary.write_bytes(content)
    print(f"{out}: {len(content) / 1e3:.0f} kB, {len(gzip.compress(content)) / 1e3:.0f} kB gzipped")


def _dataset(data: Data, root: Path | None, num_classes: int, split: Split, **options):
    """The images of a split; the options, ignore_index and channels, are for a folder."""
    from . import data as sets

    if root is None and data != "synthetic":
        raise ValueError(f"--data {data} needs --root: the zip or the folder that holds it")
    if root is not None and data == "synthetic":
        raise ValueError(
            f"--root {root} without --data: add --data folder for your own pictures, or --data "
            "nuclei for the archive"
        )
    if data == "folder":
        return sets.FolderDataset(root, num_classes=num_classes, split=split, **options)
    if num_classes not in (1, 3):
        raise ValueError(
            f"--data {data} has 1 class (nucleus) or 3 (background, interior, boundary), "
            f"got {num_classes} classes"
        )
    if options.get("channels") not in (None, 1):
        raise ValueError(
            f"--data {data} has grey images, but the network takes {options['channels']} channels: "
            "give other data or another network"
        )
    target = "binary" if num_classes == 1 else "three_class"
    return sets.nuclei_split(root or "synthetic", split, target=target)


def _free_folder(parent: Path) -> Path:
    taken = {path.name for path in parent.iterdir()} if parent.is_dir() else set()
    return parent / next(str(number) for number in itertools.count(1) if str(number) not in taken)


def _fabric(accelerator: str, precision: str, *, devices: int = 1, num_nodes: int = 1):
    from lightning_fabric import Fabric

    try:
        return Fabric(
            accelerator=accelerator, devices=devices, num_nodes=num_nodes, precision=precision
        )
    except Exception as error:  # Fabric's own kinds, as many as there are accelerators
        raise ValueError(
            f"cannot use --accelerator {accelerator} --devices {devices} "
            f"--precision {precision}: {error}"
        ) from error


def _load(weights: Path, level: int | None = None):
    from .checkpoint import load_model, load_pretrained

    best = weights / "best.safetensors"
    if best.exists():
        raise ValueError(f"{weights} is the folder of a run: give the file, {best}")
    if weights.suffix:
        model = load_model(weights)
    else:
        try:
            model = load_pretrained(str(weights))
        except ValueError as error:
            raise ValueError(
                f"{weights} is no .safetensors file and no network of the package: {error}"
            ) from None
    return model if level is None else model.prune(level)


def _integers(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"--channels takes positive numbers like 16,32,64,128, got {text!r}")
    return tuple(map(int, parts))


def _names(text: str) -> tuple[str, ...]:
    """The parts between commas; "" and "none" have none."""
    return tuple(part.strip() for part in text.split(",")) if text not in ("", "none") else ()


def _draw_history(out: Path) -> None:
    from .plotting import plot_history, save_figure

    save_figure(plot_history(out / "history.csv").figure, out / "history.png")


def main() -> None:
    """Run a command; a mistake is one line on the screen, not a traceback."""
    for stream in (sys.stdout, sys.stderr):  # a file's name may hold what a terminal cannot show
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="segedu")
    except (ValueError, OSError, FloatingPointError, ImportError) as error:
        raise SystemExit(f"error: {error}") from None
    except (RuntimeError, MemoryError) as error:
        first_line = str(error).partition("\n")[0]
        if "DataLoader worker" in first_line:
            raise SystemExit(
                f"error: a process that prepares crops has died, perhaps for want of memory "
                f"({first_line}); to go on: the same command with --workers 0 --resume --out and "
                "its folder"
            ) from None
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        raise SystemExit(
            f"error: out of memory ({first_line}); train with a smaller --batch-size, --crop-size "
            "or --channels, or cut the pictures into smaller ones"
        ) from None
