"""`python -m study`: the comparison on real nuclei, from training to the tables."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
RootOption = Annotated[Path, typer.Option(help="The archive of real nuclei, or its folder.")]


class Preset(StrEnum):
    cpu = "cpu"
    gpu = "gpu"
    budget = "budget"


PresetOption = Annotated[Preset, typer.Option(help="How wide, how long, how many seeds.")]


@app.command("compare")
def run_comparison(
    root: RootOption,
    preset: PresetOption = "cpu",
    arms: Annotated[
        str, typer.Option(help="Only these, separated by commas; all if not given.")
    ] = "",
):
    """Train and measure every network with every seed; finished runs are not repeated."""
    from .compare import compare

    compare(preset.value, root, [name for name in arms.split(",") if name])


@app.command("long")
def run_long(
    root: RootOption,
    arms: Annotated[
        str, typer.Option(help="Only these, separated by commas; all if not given.")
    ] = "",
    steps: Annotated[int, typer.Option(help="Updates of the weights.")] = 3000,
):
    """Train every network for long with five seeds, and keep the weights."""
    from .long import train_all

    train_all(root, [name for name in arms.split(",") if name], steps)


@app.command("measure")
def run_measures(root: RootOption):
    """Measure the runs of `long` that are finished, and print their tables."""
    from .long_report import measure_all

    measure_all(root)


@app.command("page")
def run_page():
    """Put the tables of `measure` into the page about the study."""
    from .long_page import write_page

    write_page()


@app.command("times")
def run_times(preset: Literal["cpu", "gpu", "budget", "long"] = "cpu"):
    """Time a training step and an image for every network, the networks taking turns."""
    from .times import measure

    measure(preset)


@app.command("report")
def run_report():
    """Compute and print every table of the comparison from the CSV files of its runs."""
    from .report import report

    report()


@app.command("limits")
def run_limits(root: RootOption):
    """Say where the wrong pixels of the committed networks are, and how the truth was drawn."""
    from .limits import limits

    limits(root)


@app.command("benchmark")
def run_benchmark():
    """Time our networks, losses and counts against those of other libraries, in turns."""
    from .benchmark import main

    main()


if __name__ == "__main__":
    app(prog_name="python -m study")
