"""What `segedu predict` does: from picture files to masks, outlines, objects and a table."""

import glob
import sys
from pathlib import Path

import numpy as np
import tifffile
from lightning_fabric import Fabric
from matplotlib.colors import to_rgb
from PIL import Image

from ..data import normalize, read_image
from ..data.pictures import list_pictures
from ..files import atomic_path, write_rows
from ..inference import predict, to_mask
from ..models import NodeGrid
from ..objects import label_objects, measure_objects
from ..plotting import COLOURS, overlay_mask, save_figure


def find_pictures(arguments: list[str]) -> list[Path]:
    """Every picture that the arguments name: files, folders of pictures, and patterns."""
    paths = []
    for argument in arguments:
        path = Path(argument)
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
    """
    model.to(fabric.device)
    if model.num_classes == 1:
        print(f"threshold {threshold}")
    kinds = ["mask.png", "overlay.png"]
    kinds += ["objects.tif"] * (objects != "none") + ["probability.tif"] * probabilities
    targets = {path: {kind: out / f"{path.stem}_{kind}" for kind in kinds} for path in paths}
    _check_targets(targets)
    rows, failed = [], 0
    for path, files in targets.items():
        try:
            picture = read_image(path, channels=model.in_channels)
            with fabric.autocast():
                answer = predict(model, normalize(picture, model.normalization)[None]).cpu()
        except (ValueError, OSError) as error:  # the other pictures are not to blame
            print(f"error: {error}", file=sys.stderr)
            failed += 1
            continue
        mask = to_mask(answer, threshold)[0].numpy()
        with atomic_path(files["mask.png"]) as temporary:
            _mask_picture(mask, model.num_classes).save(temporary)
        found = mask
        line = f"{path}: {(mask > 0).mean():.1%} foreground"
        if objects != "none":
            found = label_objects(mask, split=objects == "split", min_area=min_area)
            measured = measure_objects(found, picture)
            rows += [{"picture": str(path), **row} for row in measured]
            line += f", {len(measured)} objects"
            with atomic_path(files["objects.tif"]) as temporary:
                small = found.max(initial=0) < 2**16
                numbers = found.astype(np.uint16 if small else np.int32)
                tifffile.imwrite(temporary, numbers, compression="zlib")
        if probabilities:
            with atomic_path(files["probability.tif"]) as temporary:
                maps = answer[0].numpy()
                tifffile.imwrite(temporary, maps[0] if len(maps) == 1 else maps, compression="zlib")
        visible = picture if picture.ndim == 2 or picture.shape[2] == 3 else picture[..., 0]
        save_figure(overlay_mask(visible, found).figure, files["overlay.png"])
        print(f"{line} -> {', '.join(map(str, files.values()))}")
    if rows:
        write_rows(out / "objects.csv", rows)
        print(f"{len(rows)} objects in all -> {out / 'objects.csv'}")
    if failed:
        raise ValueError(f"{failed} of {len(paths)} pictures could not be segmented, see above")


def _check_targets(targets: dict[Path, dict[str, Path]]) -> None:
    """That no picture's result would overwrite another one, or another's result."""
    taken = {path.resolve(): path for path in targets}
    for path, results in targets.items():
        for result in results.values():
            other = taken.setdefault(result.resolve(), path)
            if other != path:
                raise ValueError(
                    f"the result of {path} would overwrite {other} or its result; "
                    "give another --out, or do them one after the other"
                )


def _mask_picture(mask, num_classes: int):
    """A mask as a picture: 0 and 255 for one class, else class indices that have colours."""
    if num_classes == 1:
        return Image.fromarray((255 * mask).astype(np.uint8))
    if num_classes > 256:
        return Image.fromarray(mask.astype(np.uint16))
    picture = Image.fromarray(mask.astype(np.uint8))
    colours = [(0, 0, 0), *(to_rgb(list(COLOURS.values())[k % len(COLOURS)]) for k in range(255))]
    picture.putpalette((255 * np.array(colours)).astype(np.uint8).tobytes())
    return picture
