"""What limits a network on real nuclei: where its wrong pixels are, and how the truth was drawn.

    python -m study limits --root stage1_train.zip

measures the weights that come with the package on the test images, chooses nothing, and writes into
`study/results` a row for each image, of the annotation (`limits_truth.csv`) and of each network
(`limits_images.csv`), and from these rows the table that it prints (`limits.csv`). An interval is
that of a bootstrap over fields, for these annotations and these trained networks.
"""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, zoom
from torch import nn

from segedu import load_pretrained, predict, to_mask
from segedu.data import NucleiDataset
from segedu.evaluation import THRESHOLDS, threshold_counts
from segedu.files import write_rows
from segedu.metrics import iou
from segedu.objects import label_objects

from .compare import RESULTS
from .pretrained import COMMANDS

PLACES = ("first_pixel", "second_pixel", "deeper", "missed_object", "false_object")
FINER = 4  # points to a pixel, in each direction, by which an area is measured
CLEAR = 3  # pixels from the outline: beyond, a pixel is core or background


def place_errors(preds: np.ndarray, instances: np.ndarray) -> dict[str, int]:
    """Where the wrong pixels of a mask are, by their distance from the annotated outline.

    Parameters
    ----------
    preds : (H, W) of 0 and 1.
    instances : (H, W), 0 for the background and 1, 2, ... for the annotated objects.

    Returns the number of wrong pixels in each of PLACES. A missed object has no pixel in the mask,
    and a false one is a connected region of the mask without an annotated pixel; all other wrong
    pixels lie in the first pixel on either side of an outline, in the second, or deeper.

    >>> truth, preds = np.array([[1, 1, 1, 0, 0, 0, 2]]), np.array([[1, 1, 1, 1, 0, 0, 0]])
    >>> place_errors(preds, truth)
    {'first_pixel': 1, 'second_pixel': 0, 'deeper': 0, 'missed_object': 1, 'false_object': 0}
    """
    preds, truth = preds > 0, instances > 0
    found = label_objects(preds)
    missed = truth & ~np.isin(instances, instances[preds])
    false = preds & ~np.isin(found, found[truth])
    beside = (preds != truth) & ~missed & ~false
    distance = _distance(truth)
    where = (
        beside & (distance <= 1),
        beside & (distance > 1) & (distance <= 2),
        beside & (distance > 2),
        missed,
        false,
    )
    return dict(zip(PLACES, map(int, map(np.count_nonzero, where)), strict=True))


def _distance(truth: np.ndarray) -> np.ndarray:
    """How far each pixel is from the nearest pixel on the other side of an outline."""
    if truth.all() or not truth.any():
        return np.full(truth.shape, np.inf)
    return np.where(truth, distance_transform_edt(truth), distance_transform_edt(~truth))


def moved_iou(truth: np.ndarray, pixels: float) -> float:
    """The IoU of a mask with itself after its outline moved outwards, or inwards if negative.

    The outline is where the distance to it, interpolated between the pixels, is 0: on the steps of
    the pixels themselves it would be too long.

    Parameters
    ----------
    truth : (H, W) booleans, some True and some False.
    pixels : how far the outline moves.

    >>> rows, columns = np.mgrid[:40, :40] - 19.5
    >>> round(moved_iou(rows**2 + columns**2 <= 10**2, 0.5), 3), round((10 / 10.5) ** 2, 3)
    (0.907, 0.907)
    """
    distance = np.where(
        truth, 0.5 - distance_transform_edt(truth), distance_transform_edt(~truth) - 0.5
    )
    fine = zoom(distance, FINER, order=1, grid_mode=True, mode="nearest")
    areas = np.count_nonzero(fine <= 0), np.count_nonzero(fine <= pixels)
    return float(min(areas) / max(areas))


def edge_level(grey: np.ndarray, truth: np.ndarray) -> float:
    """The grey level at the annotated outline, on a scale where background is 0 and core is 1.

    All three are medians: over the pixels on both sides of the outline, and over those more than
    CLEAR pixels outside and inside. About 0.5 is half-way up the edge of a blurred object; the
    lower it is, the farther outside was the outline drawn. NaN for an image without a core or
    background, or where they do not differ.

    >>> grey = np.repeat([[0, 0, 0, 0, 0, 2, 8, 10, 10, 10, 10]], 3, axis=0)
    >>> edge_level(grey, np.repeat([[0] * 6 + [1] * 5], 3, axis=0) > 0)
    0.5
    """
    distance = _distance(truth)
    clear = distance > CLEAR
    parts = grey[clear & ~truth], grey[distance <= 1], grey[clear & truth]
    if not all(part.size for part in parts):
        return float("nan")
    background, edge, core = map(np.median, parts)
    return float((edge - background) / (core - background)) if core != background else float("nan")


def truth_rows(test_set: NucleiDataset) -> list[dict]:
    """A row for each test image about its annotation alone."""
    rows = []
    for number, (_, mask) in enumerate(test_set):
        truth = mask.numpy() > 0
        values = {
            "edge_level": edge_level(test_set.grey(number), truth),
            "moved_outwards": moved_iou(truth, 0.5),
            "moved_inwards": moved_iou(truth, -0.5),
        }
        rows.append(
            {"image": number, "field": test_set.groups[number]}
            | {name: _cell(value) for name, value in values.items()}
        )
    return rows


def network_rows(name: str, model: nn.Module, test_set: NucleiDataset) -> list[dict]:
    """A row for each test image about the answer of a network of one class, at its threshold.

    `best_iou` is that of the threshold that is best on the image itself, which nobody knows, and
    `sibling_iou` that of the threshold that is best on another tile of the same field: the mean
    over these tiles, None where there is none. The network keeps its own where no other is better.
    """
    rows, table = [], []
    for number, (image, mask) in enumerate(test_set):
        probabilities = predict(model, image[None]).cpu()
        preds = to_mask(probabilities, model.threshold)[0].numpy()
        places = place_errors(preds, test_set.instances(number))
        rows.append({"network": name, "image": number, "field": test_set.groups[number]} | places)
        counts = threshold_counts(probabilities, mask)
        table.append(iou(*counts, average="none", absent=1.0)[:, 0])
    table = torch.stack(table).numpy()  # images, THRESHOLDS
    own = THRESHOLDS.index(model.threshold)
    best = np.where(table[:, own] == table.max(axis=1), own, table.argmax(axis=1))
    for number, row in enumerate(rows):
        siblings = [
            k for k, other in enumerate(rows) if other["field"] == row["field"] and k != number
        ]
        chosen = table[number, best[siblings]]
        values = {
            "iou": table[number, own],
            "best_iou": table[number].max(),
            "sibling_iou": chosen.mean() if siblings else float("nan"),
        }
        row |= {key: _cell(value) for key, value in values.items()}
    return rows


def field_interval(
    statistic: Callable[[np.ndarray], float], fields: Sequence[str], *, resamples: int = 2000
) -> tuple[float, float]:
    """The 95 % bootstrap interval of a statistic of images, drawing whole fields.

    Parameters
    ----------
    statistic : takes the indices of the images, some of them several times.
    fields : the field of each image.

    >>> values = np.array([0.0, 0.0, 1.0])
    >>> field_interval(lambda chosen: values[chosen].mean(), ["a", "a", "b"])
    (0.0, 1.0)
    """
    images = [np.flatnonzero(np.array(fields) == field) for field in dict.fromkeys(fields)]
    generator = np.random.default_rng(0)
    draws = generator.integers(len(images), size=(resamples, len(images)))
    values = [statistic(np.concatenate([images[k] for k in draw])) for draw in draws]
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return float(low), float(high)


def summary(truth: list[dict], networks: list[dict]) -> list[dict]:
    """The quantities of both tables, each with its interval."""
    rows = _of_truth(truth)
    for name, part in itertools.groupby(networks, key=lambda row: row["network"]):
        rows += _of_network(name, list(part))
    return rows


def _of_truth(rows: list[dict]) -> list[dict]:
    fields = [row["field"] for row in rows]
    level, outwards, inwards = (
        _column(rows, name) for name in ("edge_level", "moved_outwards", "moved_inwards")
    )
    quantities = {
        "IoU of the truth moved outwards by 0.5 pixel": lambda chosen: outwards[chosen].mean(),
        "IoU of the truth moved inwards by 0.5 pixel": lambda chosen: inwards[chosen].mean(),
    }
    found = _with_intervals("annotation", quantities, fields)
    known = ~np.isnan(level)
    level, names = level[known], np.array(fields)[known]
    levels = [level[names == name] for name in dict.fromkeys(names)]  # an array for each field
    means = np.array([values.mean() for values in levels])
    squares = np.array([((values - values.mean()) ** 2).sum() for values in levels])
    degrees = np.array([values.size - 1 for values in levels])
    quantities = {
        "edge level, mean of fields": lambda chosen: means[chosen].mean(),
        "edge level, 5th percentile of fields": lambda chosen: np.percentile(means[chosen], 5),
        "edge level, 95th percentile of fields": lambda chosen: np.percentile(means[chosen], 95),
        "edge level, SD between fields": lambda chosen: means[chosen].std(ddof=1),
        "edge level, SD within a field": lambda chosen: (
            (squares[chosen].sum() / degrees[chosen].sum()) ** 0.5
        ),
    }
    return found + _with_intervals("annotation", quantities, range(len(levels)))


def _of_network(name: str, rows: list[dict]) -> list[dict]:
    fields = [row["field"] for row in rows]
    places = np.stack([_column(rows, place) for place in PLACES], axis=1)
    score, best, sibling = (_column(rows, key) for key in ("iou", "best_iou", "sibling_iou"))
    quantities = {
        f"share of wrong pixels: {place.replace('_', ' ')}": lambda chosen, k=k: (
            places[chosen, k].sum() / places[chosen].sum()
        )
        for k, place in enumerate(PLACES)
    } | {
        "IoU per image": lambda chosen: score[chosen].mean(),
        "IoU per image, best threshold of each (oracle)": lambda chosen: best[chosen].mean(),
        "gain by the best threshold of each (oracle)": lambda chosen: (best - score)[chosen].mean(),
    }
    found = _with_intervals(name, quantities, fields)
    has_sibling = ~np.isnan(sibling)
    gain, most = (sibling - score)[has_sibling], (best - score)[has_sibling]
    quantities = {
        "gain by the threshold of a sibling tile": lambda chosen: gain[chosen].mean(),
        "share of images that lose by it": lambda chosen: (gain[chosen] < 0).mean(),
        "gain of the same images by the best threshold of each": lambda chosen: most[chosen].mean(),
    }
    return found + _with_intervals(name, quantities, np.array(fields)[has_sibling].tolist())


def _with_intervals(of: str, quantities: dict[str, Callable], fields: Sequence[str]) -> list[dict]:
    rows = []
    for name, statistic in quantities.items():
        low, high = field_interval(statistic, fields)
        values = {"value": statistic(np.arange(len(fields))), "low": low, "high": high}
        rows.append(
            {"of": of, "quantity": name, "fields": len(set(fields))}
            | {key: _cell(value) for key, value in values.items()}
        )
    return rows


def _column(rows: list[dict], name: str) -> np.ndarray:
    cells = [row[name] for row in rows]
    return np.array([np.nan if cell in (None, "") else float(cell) for cell in cells])


def _cell(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def limits(root: Path, folder: Path = RESULTS) -> None:
    """Measure, write the tables and print the last one."""
    test_set = NucleiDataset(root, split="test")
    truth = truth_rows(test_set)
    networks = [
        row for name in COMMANDS for row in network_rows(name, load_pretrained(name), test_set)
    ]
    table = summary(truth, networks)
    for name, rows in (("truth", truth), ("images", networks)):
        write_rows(folder / f"limits_{name}.csv", rows)
    write_rows(folder / "limits.csv", table)
    for row in table:
        print(
            f"{row['of']:20}{row['quantity']:50}{row['fields']:>4} fields  "
            f"{row['value']:7.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        )
