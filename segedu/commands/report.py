"""What `segedu train` and `segedu evaluate` print about a network."""

import math

from lightning_fabric import Fabric

from ..evaluation import constant_counts, dataset_iou, evaluate, otsu_threshold
from ..inference import segmenter
from ..metrics import StatScores, dice, iou, precision, recall
from ..models import NodeGrid


def print_report(
    model: NodeGrid, dataset, split: str, fabric: Fabric, ignore_index: int | None
) -> None:
    """Print what the network gets right on a data set, beside the best answer without a network."""
    num_classes = model.num_classes
    options = {"num_classes": num_classes, "ignore_index": ignore_index}
    with fabric.autocast():
        counts = evaluate(segmenter(model.to(fabric.device)), dataset, **options)
    score = dataset_iou(counts)
    kind = "IoU per image" if num_classes == 1 else "IoU over the classes"
    print(f"{len(dataset)} {split} images: mean {kind} {score:.3f}")
    print(_per_class(counts, model.class_names))
    names = [f"class {k}" for k in range(num_classes)]
    names = ["background", "foreground"] if num_classes == 1 else names
    scores = {
        f"{name} everywhere": dataset_iou(constant_counts(counts, k))
        for k, name in enumerate(names)
    }
    if num_classes == 1:
        scores["Otsu's threshold"] = dataset_iou(evaluate(otsu_threshold, dataset, **options))
    best = max(scores, key=scores.get)
    print(f"without a network: {best} {scores[best]:.3f}, so {score - scores[best]:+.3f}")


def _per_class(counts: StatScores, names: tuple[str, ...]) -> str:
    """A table of each class over all pixels; "-" where there is nothing to divide by."""
    totals = [count.sum(0, keepdim=True) for count in counts]
    tp, fp, fn, tn = (total[0] for total in totals)
    columns = {
        "of truth": (tp + fn) / (tp + fp + fn + tn),
        "of answer": (tp + fp) / (tp + fp + fn + tn),
    }
    for function in (iou, dice, precision, recall):
        columns[function.__name__] = function(*totals, average="none", absent="skip")[0]
    names = names or (["foreground"] if len(tp) == 1 else [f"class {k}" for k in range(len(tp))])
    width = max(map(len, names))
    lines = [f"  {'':{width}}" + "".join(f"{name:>11}" for name in columns)]
    for name, *numbers in zip(
        names, *(column.tolist() for column in columns.values()), strict=True
    ):
        cells = ("-" if math.isnan(number) else f"{number:.3f}" for number in numbers)
        lines.append(f"  {name:{width}}" + "".join(f"{cell:>11}" for cell in cells))
    return "\n".join(lines)
