"""Are the synthetic nuclei like the real ones? Measure both in the same way, and compare.

    python -m study.calibration

writes `study/results/synthetic_calibration.csv` and fails if a quantity misses its band. The
reference is `study/real_nuclei_256.csv`: the same measurements on the 173 fluorescence images of
256x256 pixels in the course's training split of BBBC038v1 (2018 Data Science Bowl; Caicedo et al.,
Nature Methods 2019; CC0), with corrected masks. To measure them again:

    python -m study.calibration --real stage1_train_public.zip
"""

import argparse
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
from scipy.ndimage import convolve, distance_transform_edt, gaussian_filter, mean
from scipy.ndimage import standard_deviation as std
from scipy.optimize import curve_fit
from scipy.special import erfc
from skimage.filters import threshold_otsu
from skimage.measure import regionprops_table
from skimage.segmentation import clear_border
from tqdm import tqdm

from segedu.data import NucleiDataset, synthetic_nuclei
from segedu.files import read_rows, write_rows

REAL = Path(__file__).parent / "real_nuclei_256.csv"
RESULT = Path(__file__).parent / "results" / "synthetic_calibration.csv"
PERCENTILES = (5, 25, 50, 75, 95)
# Bands other than the real images' 25th to 75th percentile: the lowest and highest value of a
# statistic. Thresholding must be as hard on the synthetic images as it is on the real ones.
BANDS = {
    ("otsu_iou", "mean"): (0.78, 0.84),
    ("otsu_iou", "median"): (0, 0.89),
    ("otsu_iou", "p5"): (0, 0.65),
    ("touching", "mean"): (0.20, 0.32),
}


def measure(image: np.ndarray, instances: np.ndarray) -> dict[str, np.ndarray]:
    """Measure one image: grey levels and labels, both (H, W).

    Returns an array per quantity: one value per image, or one value per nucleus for diameter,
    eccentricity, solidity (of nuclei that the border does not cut), texture and touching. What
    cannot be measured, such as the edge where nothing is annotated, gives an empty array or none.
    """
    grey = image.astype(float)
    nuclei = instances > 0
    labels = np.unique(instances[nuclei])
    smooth = gaussian_filter(grey, 1)
    bright = smooth > threshold_otsu(smooth) if smooth.min() < smooth.max() else nuclei & False
    values = {"nuclei": len(labels), "foreground": nuclei.mean()}
    if len(labels):
        values["otsu_iou"] = (bright & nuclei).sum() / (bright | nuclei).sum()
        whole = clear_border(instances)
        shapes = regionprops_table(whole, properties=("area", "eccentricity", "solidity"))
        values["diameter"] = np.sqrt(4 * shapes["area"] / np.pi)
        values["eccentricity"], values["solidity"] = shapes["eccentricity"], shapes["solidity"]
        values["touching"] = np.isin(labels, _touching(instances)).astype(float)
        values |= _grey_levels(grey, smooth, instances, labels)
    return {name: np.atleast_1d(value) for name, value in values.items()}


def _touching(instances: np.ndarray) -> np.ndarray:
    """The labels of the nuclei that touch another one, at a side or a corner of a pixel."""
    found = []
    height, width = instances.shape
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = instances[: height - dy, max(-dx, 0) : width - max(dx, 0)]
        there = instances[dy:, max(dx, 0) : width + min(dx, 0)]
        pairs = (here != there) & (here > 0) & (there > 0)
        found += [here[pairs], there[pairs]]
    return np.concatenate(found)


def _grey_levels(
    grey: np.ndarray, smooth: np.ndarray, instances: np.ndarray, labels: np.ndarray
) -> dict[str, float | np.ndarray]:
    """What is measured by the distance from the annotated edge, in pixels."""
    nuclei = instances > 0
    depth = distance_transform_edt(nuclei)
    distance = np.where(nuclei, 0.5 - depth, distance_transform_edt(~nuclei) - 0.5)
    away = distance > 5
    if away.sum() < 200:  # a crowded image
        away = ~nuclei
    background = np.median(grey[away])
    contrast = grey[nuclei].mean() - background
    means = mean(grey, instances, labels) - background
    values = {"background": background, "mean_foreground": grey[nuclei].mean()}
    if len(labels) >= 5:
        values["brightness_cv"] = means.std() / means.mean()

    # The mean grey level against the distance is a step blurred by the optics: an error function.
    bins = np.digitize(distance, np.arange(-4, 4.01, 0.5))
    number = np.bincount(bins.ravel())[1:17]
    used = number >= 10
    where, profile = (
        np.bincount(bins.ravel(), what.ravel())[1:17][used] / number[used]
        for what in (distance, grey)
    )
    if used.sum() >= 8:
        with suppress(RuntimeError):  # no fit
            fit, _ = curve_fit(
                lambda d, low, step, blur, edge: (
                    low + step / 2 * erfc((d - edge) / (2**0.5 * blur))
                ),
                where,
                profile,
                p0=(background, contrast, 1.4, -0.8),
                bounds=((0, 0, 0.3, -6), (255, 400, 6, 4)),
            )
            values["edge_blur"], values["edge_offset"] = fit[2], -fit[3]
    ring = (distance > 1.5) & (distance <= 3.5)
    values["halo"] = (grey[ring].mean() - background) / contrast

    # Immerkaer's filter (CVIU 64(2), 1996) ignores slopes and has unit gain for white noise.
    noise = convolve(grey, np.outer((1, -2, 1), (1, -2, 1)) / 6)
    values["noise"] = np.abs(noise[away]).mean() * np.sqrt(np.pi / 2)
    core = np.where(depth > 3, instances, 0)
    if core.any():
        values["noise_inside"] = np.abs(noise[core > 0]).mean() * np.sqrt(np.pi / 2)
        wide = np.flatnonzero(np.bincount(core.ravel())[1:] >= 30) + 1
        with np.errstate(invalid="ignore"):  # scipy divides by zero for labels not asked for
            values["texture_cv"] = std(smooth, core, wide) / (mean(smooth, core, wide) - background)
    return values


def measure_all(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """Measure many `(image, instances)` and pool the values of each quantity."""
    pooled: dict[str, list[np.ndarray]] = {}
    for image, instances in pairs:
        for name, values in measure(image, instances).items():
            pooled.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in pooled.items()}


def compare(synthetic: dict[str, np.ndarray]) -> list[dict]:
    """One row per statistic: the synthetic value, its band, and whether it lies inside.

    The other columns hold the synthetic and the real percentiles.
    """
    real = {row["quantity"]: row for row in read_rows(REAL)}
    bands = {
        (name, "median"): (float(row["p25"]), float(row["p75"]))
        for name, row in real.items()
        if name not in ("otsu_iou", "touching")
    } | BANDS
    rows = []
    for (name, statistic), (low, high) in bands.items():
        p5, p50, p95 = np.percentile(synthetic[name], (5, 50, 95))
        value = {"median": p50, "mean": synthetic[name].mean(), "p5": p5}[statistic]
        row = {"quantity": name, "statistic": statistic, "value": value, "low": low, "high": high}
        row |= {"accepted": "yes" if low <= value <= high else "no"}
        row |= {"synthetic_p5": p5, "synthetic_p50": p50, "synthetic_p95": p95}
        row |= {f"real_{key}": float(real[name][key]) for key in real[name] if key != "quantity"}
        rows.append(row)
    return rows


def rounded(rows: list[dict]) -> list[dict]:
    """The rows with four significant digits."""
    return [
        {key: f"{cell:.4g}" if isinstance(cell, float) else cell for key, cell in row.items()}
        for row in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=500, help="how many synthetic images")
    parser.add_argument("--real", type=Path, help="archive of the real images, to measure them too")
    options = parser.parse_args()
    if options.real:
        train = NucleiDataset(options.real, split="train")
        pairs = ((train.grey(i), train.instances(i)) for i in range(len(train)))
        real = measure_all(tqdm(pair for pair in pairs if pair[0].shape == (256, 256)))
        percentiles = [
            {"quantity": name, "mean": values.mean()}
            | {f"p{p}": float(np.percentile(values, p)) for p in PERCENTILES}
            for name, values in real.items()
        ]
        write_rows(REAL, rounded(percentiles))
    rows = compare(measure_all(map(synthetic_nuclei, tqdm(range(options.images)))))
    write_rows(RESULT, rounded(rows))
    for row in rows:
        name = f"{row['quantity']}, {row['statistic']}"
        band = f"{row['low']:.4g} to {row['high']:.4g}"
        print(f"{name:26}{row['value']:8.4g}   wanted {band:18} {row['accepted']}")
    missed = [row["quantity"] for row in rows if row["accepted"] == "no"]
    if missed:
        sys.exit(f"missed the band: {', '.join(missed)}")


if __name__ == "__main__":
    main()
