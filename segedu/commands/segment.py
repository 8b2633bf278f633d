"""What `segedu predict` does: from picture files to masks, outlines, objects and tables."""

import glob
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tifffile
from lightning_fabric import Fabric
from matplotlib.colors import to_rgb
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from ..data import THREE_CLASSES, normalize, read_image, three_class_to_instances
from ..data.folder import errors_name, some_names
from ..data.pictures import list_pictures
from ..files import atomic_path, write_rows
from ..inference import predict, to_mask
from ..models import NodeGrid
from ..objects import drop_small_objects, label_objects, measure_objects, measurements
from ..plotting import label_style, overlay_mask, save_figure
from . import showable
from .report import class_names

KINDS = ("mask.png", "overlay.png", "objects.tif", "probability.tif")  # a picture's results
LONGEST = 1500  # pixels; of a longer picture the overlay shows every second, third, ...
ACROSS, DOWN = 6, 5  # thumbnails on a contact sheet
THUMBNAIL, CAPTION = 240, 40  # pixels: the longer side of a picture, the height of two lines


def find_pictures(arguments: list[str]) -> list[Path]:
    """Every picture that the arguments name: files, folders of pictures, and patterns."""
    paths = []
    for argument in arguments:
        path = Path(argument)
        if "://" in argument:
            raise ValueError(f"{argument} is an address, expected a file; download it first")
        if path.is_dir():
            found = list_pictures(path)
        elif path.exists() or not glob.has_magic(argument):
            found = [path]
        else:
            found = [Path(name) for name in sorted(glob.glob(argument, recursive=True))]
        if not found:
            raise ValueError(f"there are no pictures in {argument}, expected at least one")
        paths += found
    return paths


@dataclass
class _Results:
    """What a run has found so far: the rows of its tables, and the files that are its own."""

    out: Path
    sheets: list[Path]  # contact sheets that are still to be written
    columns: list[str] | None  # of the table of objects, if there is to be one
    pictures: list[dict] = field(default_factory=list)
    objects: list[dict] = field(default_factory=list)
    thumbnails: list[tuple[Image.Image, str, str]] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)

    def add(
        self, path: Path, files: dict[str, Path], row: dict, objects: list[dict], caption: str
    ) -> None:
        """Take over what was found in a picture, and how it looks."""
        picture = {"picture": showable(str(path))}
        self.pictures.append(picture | row)
        self.objects += [picture | each for each in objects]
        self.written += files.values()
        if self.sheets:
            with Image.open(files["overlay.png"]) as overlay:
                small = overlay.convert("RGB")
            small.thumbnail((THUMBNAIL, THUMBNAIL))
            self.thumbnails.append((small, path.name, caption))
        if len(self.thumbnails) == ACROSS * DOWN:
            self._write_sheet()

    def write(self) -> None:
        """Write the tables and the last contact sheet, and say where they are."""
        if not self.pictures:
            return
        if self.thumbnails:
            self._write_sheet()
        path = self.out / "pictures.csv"
        write_rows(path, self.pictures)
        self.written.append(path)
        print(f"each picture -> {path}")
        if self.columns is not None:
            path = self.out / "objects.csv"
            write_rows(path, self.objects, ["picture", *self.columns])
            self.written.append(path)
            print(f"{len(self.objects)} objects in all -> {path}")

    def left_behind(self, paths: list[Path]) -> list[Path]:
        """Files that look like results for these pictures, but are not of this run."""
        names = {f"{path.stem}_{kind}" for path in paths for kind in KINDS}
        names |= {"pictures.csv", "objects.csv"}
        own = {path.resolve() for path in (*self.written, *paths)}
        return [
            path
            for path in (sorted(self.out.iterdir()) if self.out.is_dir() else [])
            if (path.name in names or path.match("sheet_[0-9]*.png")) and path.resolve() not in own
        ]

    def _write_sheet(self) -> None:
        path = self.sheets.pop(0)
        with atomic_path(path) as temporary:
            _contact_sheet(self.thumbnails).save(temporary)
        self.written.append(path)
        self.thumbnails = []
        print(f"at a glance -> {path}")


def segment_pictures(
    model: NodeGrid,
    paths: list[Path],
    out: Path,
    fabric: Fabric,
    *,
    threshold: float,
    objects: str,
    min_area: int,
    probabilities: bool,
) -> None:
    """Write the results of each picture into `out`, and say what was found.

    A picture that cannot be read does not stop the others; a ValueError at the end counts these.
    The tables and contact sheets hold what was done before an error or Ctrl-C. Nothing is deleted:
    results of an earlier run that this one does not write are named.
    """
    model.to(fabric.device)
    if model.num_classes == 1:
        print(f"threshold {threshold}")
    kinds = [*KINDS[:2], *["objects.tif"] * (objects != "none")]
    kinds += ["probability.tif"] * probabilities
    targets = {path: {kind: out / f"{path.stem}_{kind}" for kind in kinds} for path in paths}
    count = math.ceil(len(targets) / (ACROSS * DOWN)) if len(targets) > 1 else 0
    sheets = [out / f"sheet_{number}.png" for number in range(1, count + 1)]
    _check_targets(targets, sheets)
    columns = None
    if objects != "none":
        columns = measurements(model.in_channels, classes=_has_kinds(model))
    results, failed = _Results(out, sheets, columns), 0
    try:
        for path, files in targets.items():
            try:
                picture = read_image(path, channels=model.in_channels)
                with errors_name(path), fabric.autocast():
                    answer = predict(model, normalize(picture, model.normalization)[None]).cpu()
            except (ValueError, OSError) as error:  # the other pictures are not to blame
                print(f"error: {error}", file=sys.stderr)
                failed += 1
                continue
            mask = to_mask(answer, threshold)[0].numpy()
            with atomic_path(files["mask.png"]) as temporary:
                _mask_picture(mask, model.num_classes).save(temporary)
            if probabilities:
                maps = answer[0] if model.num_classes > 1 else answer[0, 0]
                with atomic_path(files["probability.tif"]) as temporary:
                    tifffile.imwrite(temporary, maps.numpy(), compression="zlib")
            shown, row, rows = mask, _shares(mask, model), []
            caption = f"{(mask > 0).mean():.1%} foreground"
            line = f"{path}: {caption}"
            if objects != "none":
                shown = _number_objects(mask, model, split=objects == "split", min_area=min_area)
                rows = _measure(shown, picture, mask, model)
                mean = round(np.mean([each["area"] for each in rows]), 2) if rows else None
                row |= {"objects": len(rows), "mean_area": mean}
                caption = f"{len(rows)} objects"
                line += f", {caption}"
                _write_labels(files["objects.tif"], shown)
            _write_overlay(files["overlay.png"], picture, shown)
            results.add(path, files, row, rows, caption)
            print(f"{line} -> {', '.join(map(str, files.values()))}")
    finally:
        results.write()
        if left := results.left_behind(paths):
            names = some_names([str(path) for path in left])
            print(f"{len(left)} files from before, not of this run: {names}")
    if failed:
        raise ValueError(f"{failed} of {len(paths)} pictures could not be segmented, see above")


def _check_targets(targets: dict[Path, dict[str, Path]], sheets: list[Path]) -> None:
    """That no result would overwrite a picture, or another picture's result."""
    taken = {path.resolve(): path for path in targets}
    for path, results in targets.items():
        for result in results.values():
            other = taken.setdefault(result.resolve(), path)
            if other != path:
                raise ValueError(
                    f"the result of {path} would overwrite {other} or its result; "
                    "give another --out, or do them one after the other"
                )
    for sheet in sheets:
        if sheet.resolve() in taken:
            raise ValueError(
                f"the contact sheet {sheet} would overwrite {taken[sheet.resolve()]} or its "
                "result; give another --out"
            )


def _shares(mask: np.ndarray, model: NodeGrid) -> dict[str, float]:
    """The share of the foreground, or of each of several classes, in a mask."""
    shares = (np.bincount(mask.ravel(), minlength=max(model.num_classes, 2)) / mask.size).round(6)
    if model.num_classes == 1:
        return {"foreground": shares[1].item()}
    names = (f"share_{name}" for name in class_names(model))
    return dict(zip(names, shares.tolist(), strict=True))


def _has_kinds(model: NodeGrid) -> bool:
    """Whether a network tells objects of several kinds apart."""
    return model.num_classes > 1 and model.class_names != THREE_CLASSES


def _number_objects(mask: np.ndarray, model: NodeGrid, *, split: bool, min_area: int) -> np.ndarray:
    """Number the objects of a mask; a class for their boundaries already keeps them apart."""
    if model.class_names == THREE_CLASSES:
        return drop_small_objects(three_class_to_instances(mask), min_area)
    return label_objects(mask, split=split, min_area=min_area)


def _measure(
    objects: np.ndarray, picture: np.ndarray, mask: np.ndarray, model: NodeGrid
) -> list[dict]:
    if not _has_kinds(model):
        return measure_objects(objects, picture)
    names = class_names(model)
    rows = measure_objects(objects, picture, mask)
    return [row | {"class": names[row["class"]]} for row in rows]


def _write_labels(path: Path, objects: np.ndarray) -> None:
    """A number for each object, in a TIFF that ImageJ opens: it takes no integers of 32 bits."""
    small = objects.max(initial=0) < 2**16
    with atomic_path(path) as temporary:
        numbers = objects.astype(np.uint16 if small else np.float32)  # exact below 2**24
        tifffile.imwrite(temporary, numbers, imagej=True, compression="zlib")


def _write_overlay(path: Path, picture: np.ndarray, mask: np.ndarray) -> None:
    step = math.ceil(max(mask.shape) / LONGEST)
    visible = picture if picture.ndim == 2 or picture.shape[2] == 3 else picture[..., 0]
    visible, mask = visible[::step, ::step], mask[::step, ::step]
    save_figure(overlay_mask(visible, mask).figure, path)


def _mask_picture(mask: np.ndarray, num_classes: int) -> Image.Image:
    """A mask as a picture: 0 and 255 for one class, else class indices that have colours."""
    if num_classes == 1:
        return Image.fromarray((255 * mask).astype(np.uint8))
    if num_classes > 256:
        return Image.fromarray(mask.astype(np.uint16))
    picture = Image.fromarray(mask.astype(np.uint8))
    colours = [(0, 0, 0), *(to_rgb(label_style(label)[0]) for label in range(1, 256))]
    picture.putpalette((255 * np.array(colours)).astype(np.uint8).tobytes())
    return picture


def _contact_sheet(thumbnails: list[tuple[Image.Image, str, str]]) -> Image.Image:
    """Pictures in rows, each above its name and what was found in it."""
    font = ImageFont.truetype(findfont("DejaVu Sans"), 14)  # which comes with matplotlib
    width, height, gap = THUMBNAIL, THUMBNAIL + CAPTION, 10
    rows = math.ceil(len(thumbnails) / ACROSS)
    size = (min(len(thumbnails), ACROSS) * (width + gap) + gap, rows * (height + gap) + gap)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for index, (picture, name, caption) in enumerate(thumbnails):
        row, column = divmod(index, ACROSS)
        left, top = gap + column * (width + gap), gap + row * (height + gap)
        sheet.paste(picture, (left, top))
        shown = letters = "".join(letter if letter.isprintable() else "?" for letter in name)
        half = len(letters) // 2
        while font.getlength(shown) > width:  # leave out letters in the middle
            half -= 1
            shown = f"{letters[:half]}…{letters[-half:]}"
        draw.multiline_text((left, top + picture.height + 4), f"{shown}\n{caption}", "black", font)
    return sheet
