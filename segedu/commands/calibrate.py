"""The threshold that suits one's own pictures, found on a few of them that are annotated."""

import hashlib
from pathlib import Path

from lightning_fabric import Fabric

from ..data import FolderDataset
from ..evaluation import THRESHOLDS, best_iou, dataset_iou, evaluate
from ..inference import predict, to_mask
from ..models import NodeGrid
from . import counted_classes


def best_threshold_of(
    model: NodeGrid,
    folder: Path,
    fabric: Fabric,
    ignore_index: int | None = None,
    judged: object = None,
) -> float:
    """The threshold with the highest IoU on all pictures of a folder; both are printed.

    Annotators differ in how far outside they draw an outline, and a threshold can follow them. The
    network keeps its own threshold where no other is better. Raises ValueError for a network of
    several classes, which has no threshold, for pictures without an annotated object or without
    background, which say nothing about it, and for pictures that are also in `judged`, the data set
    to be measured, which they would flatter, or copies of these.
    """
    if model.num_classes > 1:
        raise ValueError(
            f"--calibrate finds a threshold, and a network of {model.num_classes} classes has "
            "none: leave it out"
        )
    tiles = FolderDataset(
        folder, num_classes=1, split=None, channels=model.in_channels, ignore_index=ignore_index
    )
    if isinstance(judged, FolderDataset):
        known = {_digest(path) for path, _ in judged.pairs}
        if twice := [path for path, _ in tiles.pairs if _digest(path) in known]:
            raise ValueError(
                f"{twice[0]} is to be measured and to choose the threshold, which would flatter "
                "the result: calibrate with other pictures"
            )
    annotated = list(tiles)
    values = counted_classes((mask for _, mask in annotated), ignore_index)
    if len(values) < 2:
        what = "object" if values <= {0} else "background"
        raise ValueError(
            f"the masks in {folder} have no {what}, so they say nothing about a threshold: "
            "calibrate with pictures that have both objects and background"
        )
    model = model.to(fabric.device)
    with fabric.autocast():
        pairs = [(predict(model, image[None]).cpu(), mask) for image, mask in annotated]
    best, threshold = best_iou(pairs, ignore_index)
    counts = evaluate(
        lambda probabilities: to_mask(probabilities, model.threshold),
        [(probabilities[0], mask) for probabilities, mask in pairs],
        num_classes=1,
        ignore_index=ignore_index,
    )
    own = dataset_iou(counts)
    pictures = f"{len(tiles)} annotated picture{'s' if len(tiles) > 1 else ''}"
    if own >= best:
        print(f"threshold {model.threshold}: on {pictures} no other one is better ({best:.3f})")
        return model.threshold
    print(
        f"threshold {threshold} from {pictures} (IoU there {best:.3f}), in place of "
        f"{model.threshold} (IoU there {own:.3f})"
    )
    if threshold in (THRESHOLDS[0], THRESHOLDS[-1]):
        print(f"{threshold} is the last one that is tried: look whether pictures and masks fit")
    return threshold


def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
