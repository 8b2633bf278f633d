"""Measure the weights that come with the package on the real test images.

    python -m study.pretrained stage1_train.zip

writes `study/results/unetpp_nuclei_test.csv`, which chapter `results` prints. The weights were made
by the command in COMMAND; the threshold was chosen on the validation images by that command.
"""

import platform
import sys
from pathlib import Path

import torch

from segedu import count_operations, count_parameters, load_model
from segedu.checkpoint import pretrained_path
from segedu.data import NucleiDataset
from segedu.metrics import dice, iou
from segedu.training import dataset_iou, evaluate, network, otsu_threshold, write_rows

TABLE = Path(__file__).parent / "results" / "unetpp_nuclei_test.csv"
COMMAND = (
    "python -m segedu train --data nuclei --root stage1_train.zip --channels 16,32,32,64,96 "
    "--steps 1200 --precision bf16-mixed"
)


def measure(root: str) -> dict[str, str | float]:
    """Every quantity of the table, by name; IoU and Dice are those of the foreground."""
    model, info = load_model(pretrained_path())
    test = NucleiDataset(root, split="test")
    counts = evaluate(network(model, threshold=info["threshold"]), test, num_classes=1)
    otsu = evaluate(otsu_threshold, test, num_classes=1)
    rows = {
        "command": COMMAND,
        "images": len(test),
        "threshold": info["threshold"],
        "validation IoU per image": info["validation_iou"],
        "IoU per image": dataset_iou(counts),
        "IoU pooled": iou(*counts, pooling="set", absent="skip"),
        "Dice pooled": dice(*counts, pooling="set", absent="skip"),
        "Otsu IoU per image": dataset_iou(otsu),
        "Otsu IoU pooled": iou(*otsu, pooling="set", absent="skip"),
    }
    for level in model.levels:
        segment = network(model, threshold=info["threshold"], level=level)
        score = dataset_iou(evaluate(segment, test, num_classes=1))
        rows[f"L{level} IoU per image"] = score
        rows[f"L{level} parameters"] = count_parameters(model.prune(level))
        rows[f"L{level} multiply-adds at 256x256"] = count_operations(model.prune(level), 256, 256)
    return rows | {"measured with": f"torch {torch.__version__}, {platform.machine()} CPU"}


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m study.pretrained stage1_train.zip")
    rows = [
        {"quantity": name, "value": round(value, 4) if isinstance(value, float) else value}
        for name, value in measure(sys.argv[1]).items()
    ]
    write_rows(TABLE, rows)
    for row in rows:
        print(f"{row['quantity']}: {row['value']}")


if __name__ == "__main__":
    main()
