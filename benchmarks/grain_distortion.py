"""Measure what colour distortion and other changes of an image do to the grain of cells.

    python -m benchmarks.grain_distortion

The three planes of readout images are the three colours, as an encoder sees them. Each row changes
them as an augmentation of photographs does: brightness, contrast and saturation as in SimCLR (Chen
et al. 2020, arXiv 2002.05709) with their largest strength 0.8, the exchange of colours that a shift
of the hue by a third is, blur, and turning grey. The sharpest plane is then segmented and measured
again. Values are shifts of the measures between the original and the changed image of untreated
wells, in spreads between untreated wells of one plate. The last row is the shift by drugs: the
median of the treated wells with at least half of the tissue killed. A change is harmful if its
shift is as large as that of a drug. The figure is ``docs/images/grain_distortion.png``.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.small_plates import IMAGES, mixed_plates
from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.measures import measure_tissue
from inference.tissue.ranked_measures import RANKED_MEASURES, ranked_values
from training.evaluation.plates import EvaluationPlate

Planes = npt.NDArray[np.float32]  # (3, H, W), values of 0…1
SHOWN = ("log_grain_fine", "log_grain_coarse", "od_mean", "od_spread", "log_area")
STRENGTH, BLUR_PX = 0.8, 2.0
MIDDLE = 1
KILLED = 0.5
WELLS = 12
_WHITE = 65535


def brightness(planes: Planes, factor: float) -> Planes:
    """Return the planes times a factor, as torchvision's brightness."""
    return np.asarray(np.clip(planes * factor, 0, 1), np.float32)


def contrast(planes: Planes, factor: float) -> Planes:
    """Return the planes mixed with the mean of their grey image, as torchvision's contrast."""
    return np.asarray(np.clip(factor * planes + (1 - factor) * planes.mean(), 0, 1), np.float32)


def saturation(planes: Planes, factor: float) -> Planes:
    """Return the planes mixed with their grey image, as torchvision's saturation."""
    mixed = factor * planes + (1 - factor) * planes.mean(axis=0)
    return np.asarray(np.clip(mixed, 0, 1), np.float32)


def blurred(planes: Planes) -> Planes:
    """Return the planes blurred with a Gaussian of two pixels."""
    return np.stack([cv2.GaussianBlur(plane, (0, 0), BLUR_PX) for plane in planes])


CHANGES: Mapping[str, Callable[[Planes], Planes]] = {
    "brightness × 0.2": lambda planes: brightness(planes, 1 - STRENGTH),
    "brightness × 1.8": lambda planes: brightness(planes, 1 + STRENGTH),
    "contrast × 0.2": lambda planes: contrast(planes, 1 - STRENGTH),
    "contrast × 1.8": lambda planes: contrast(planes, 1 + STRENGTH),
    "saturation × 0.2": lambda planes: saturation(planes, 1 - STRENGTH),
    "saturation × 1.8": lambda planes: saturation(planes, 1 + STRENGTH),
    "hue by a third": lambda planes: np.roll(planes, 1, axis=0),
    "grey": lambda planes: saturation(planes, 0),
    "blur": blurred,
}
"""Changes of three planes, of which the middle one is the sharpest."""


def as_colours(plate: EvaluationPlate, well: int) -> Planes:
    """Return the readout planes of a well around its sharpest, brightest pixel 1."""
    sharpest = int(plate.sharpest[well, -1])
    chosen = [max(sharpest - 1, 0), sharpest, min(sharpest + 1, 2)]
    return np.asarray(plate.planes[well, -1][chosen] / 255, np.float32)


def measure(planes: Planes, um_per_px: float) -> npt.NDArray[np.float64]:
    """Return the ranked measures of the middle plane."""
    plane = np.round(planes[MIDDLE] * _WHITE).astype(np.uint16)
    segmentation = ClassicalSegmenter().segment(plane, um_per_px)
    return ranked_values(measure_tissue(plane, segmentation, um_per_px))


def untreated_wells(plate: EvaluationPlate) -> list[int]:
    """Return the numbers of the first untreated wells."""
    return [int(well) for well in np.flatnonzero(plate.untreated)[:WELLS]]


def shifts(plates: list[EvaluationPlate]) -> dict[str, npt.NDArray[np.float64]]:
    """Return the median shift of every measure by name of the change, in untreated spreads."""
    found: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in [*CHANGES, "drugs"]}
    for plate in plates:
        readout = plate.measures[:, -1]
        own = readout[plate.untreated]
        spread = np.nanstd(own, axis=0, ddof=1)
        killed = ~plate.untreated & (plate.kill >= KILLED)
        found["drugs"] += list((readout[killed] - np.nanmedian(own, axis=0)) / spread)
        for well in untreated_wells(plate):
            planes = as_colours(plate, well)
            before = measure(planes, plate.um_per_px)
            for name, change in CHANGES.items():
                found[name].append((measure(change(planes), plate.um_per_px) - before) / spread)
    return {name: np.nanmedian(np.abs(rows), axis=0) for name, rows in found.items()}


def draw_examples(path: Path, plate: EvaluationPlate) -> None:
    """Write a figure of one well after each change, and of a treated well."""
    planes = as_colours(plate, untreated_wells(plate)[0])
    worst = as_colours(plate, int(np.argmax(np.where(plate.kill < 0.9, plate.kill, 0))))  # noqa: PLR2004 - still tissue
    tiles = {"untreated": planes, **{name: change(planes) for name, change in CHANGES.items()}}
    tiles["drug"] = worst
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    quarter = planes.shape[-1] // 4
    middle = slice(quarter, -quarter)
    axes = figure.subplots(2, 6).ravel()
    for each in axes:
        each.set_axis_off()
    for each, (name, tile) in zip(axes, tiles.items(), strict=False):
        each.imshow(tile[MIDDLE][middle, middle], cmap="gray", vmin=0, vmax=1)
        each.set_title(name, fontsize=9)
    figure.savefig(path, dpi=80)


def main() -> None:
    """Print the table and draw the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figure", type=Path, default=IMAGES / "grain_distortion.png")
    parser.add_argument("--plates", type=int, default=2)
    options = parser.parse_args()
    plates = mixed_plates()[: options.plates]
    columns = [RANKED_MEASURES.index(name) for name in SHOWN]
    print("| change | " + " | ".join(SHOWN) + " |")
    print("|---" * (1 + len(SHOWN)) + "|")
    for name, values in shifts(plates).items():
        print(f"| {name} | " + " | ".join(f"{values[column]:.1f}" for column in columns) + " |")
    draw_examples(options.figure, plates[0])
    print(options.figure)


if __name__ == "__main__":
    main()
