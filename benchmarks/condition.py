"""Measure how reliably exploded virtual wells are distinguished from intact ones.

    python -m benchmarks.condition --seeds 5

The virtual wells cover all mechanisms, microscopes and three image sizes; half are from the days
after dosing. Each well is classified four times: with the default segmenter, with the segmenter on
a blurred image, with the segmenter without a pixel size, and with the true mask. The real images
are classified as well if they exist (:mod:`benchmarks.real_data`).
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from scipy.stats import spearmanr

from acquisition.quality import assess
from benchmarks.real_data import REAL_DATA
from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.condition import classify_condition
from inference.tissue.measures import measure_tissue
from schemas.ranking import Condition
from schemas.tissue import Segmentation
from simulation.kinds import OpticsName
from simulation.microscope import RenderedWell, virtual_microscopes

SIZES_PX = (256, 512, 1024)
DAYS = (*range(1, 8), 8, 9, 10, 8, 9, 10, 10)
BLUR_UM = 7.0  # σ 5 px at 1024 px

Plane = npt.NDArray[np.uint16]


@dataclass
class ConditionResults:
    """The predicted and true conditions of the virtual wells that one method classified."""

    exploded: list[bool] = field(default_factory=list)
    classified: list[bool] = field(default_factory=list)
    degree: list[float] = field(default_factory=list)
    spread_um: list[float] = field(default_factory=list)

    def add(
        self, view: RenderedWell, plane: Plane, segmentation: Segmentation, um_per_px: float | None
    ) -> None:
        """Classify a virtual well from its plane and segmentation, and record the result and truth.

        An empty well counts as not exploded.
        """
        measures = measure_tissue(plane, segmentation, um_per_px)
        condition, degree = classify_condition(measures) or (None, 0.0)
        self.exploded.append(bool(view.truth.exploded))
        self.classified.append(condition is Condition.EXPLODED)
        self.degree.append(np.nan if degree is None else degree)
        self.spread_um.append(view.truth.spread_um)

    def row(self) -> str:
        """Return a table row: the counts, the accuracy, and a correlation over the exploded wells.

        The correlation is Spearman's, between the estimated degree and the true spread in µm.
        """
        exploded, classified = np.array(self.exploded), np.array(self.classified)
        rho = spearmanr(
            np.array(self.degree)[exploded], np.array(self.spread_um)[exploded]
        ).statistic
        missed, false = int((exploded & ~classified).sum()), int((~exploded & classified).sum())
        right = (exploded == classified).mean()
        return (
            f"{len(exploded):>6}{exploded.sum():>10}{missed:>8}{false:>7}{right:>8.1%}{rho:>10.3f}"
        )


def scale_to_16_bits(planes: Plane) -> Plane:
    """Return camera planes (n, H, W) as uint16 scaled so that white is 65535."""
    white = 4095 if planes.max() <= 4095 else 65535  # noqa: PLR2004 - 12 bits
    return np.round(planes * (65535 / white)).astype(np.uint16)


def render_wells(seeds: range, wells: int) -> Iterator[tuple[RenderedWell, Plane, float]]:
    """Yield (RenderedWell, sharpest plane (H, W), µm per px) of some wells of each seed and day."""
    for seed in seeds:
        (scope,) = virtual_microscopes(
            1, seed, SIZES_PX[seed % len(SIZES_PX)], optics=list(OpticsName)[seed % len(OpticsName)]
        )
        rng = np.random.default_rng(seed)
        for day in DAYS:
            for number in rng.choice(len(scope.plate.wells), wells, replace=False):
                view = scope.render(scope.plate.wells[number], day)
                planes = scale_to_16_bits(view.planes)
                yield view, planes[assess(planes).sharpest_plane], scope.um_per_px


def classify_real_images() -> None:
    """Print the names of the real images that are classified as exploded; image_37 truly is."""
    segmenter = ClassicalSegmenter()
    for folder, um_per_px in (
        (REAL_DATA / "spheroid_morpho_ml" / "images", 3.26),
        (REAL_DATA / "mls11_spheroids" / "images", 1.3622),
    ):
        paths = sorted(folder.glob("*.tif*"))
        exploded = []
        for path in paths:
            plane = scale_to_16_bits(tifffile.imread(path))
            classified = classify_condition(
                measure_tissue(plane, segmenter.segment(plane, um_per_px), um_per_px)
            )
            if classified and classified[0] is Condition.EXPLODED:
                exploded.append(f"{path.stem[:19]} ({classified[1] or 0.0:.2f})")
        print(
            f"{folder.parent.name}: {len(paths)} images, exploded: {', '.join(exploded) or 'none'}"
            if paths
            else f"{folder}: no images, skipped"
        )


def main() -> None:
    """Print the accuracy of the condition, one row per method."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="plates")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--wells", type=int, default=4, help="wells per plate and day")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    segmenter = ClassicalSegmenter()
    plain, no_scale, blurred, true = (
        ConditionResults(),
        ConditionResults(),
        ConditionResults(),
        ConditionResults(),
    )
    for view, plane, um_per_px in render_wells(
        range(arguments.first_seed, arguments.first_seed + arguments.seeds), arguments.wells
    ):
        found = segmenter.segment(plane, um_per_px)
        plain.add(view, plane, found, um_per_px)
        no_scale.add(view, plane, segmenter.segment(plane, None), None)
        smooth = np.asarray(cv2.GaussianBlur(plane, (0, 0), BLUR_UM / um_per_px), np.uint16)
        blurred.add(view, smooth, segmenter.segment(smooth, um_per_px), um_per_px)
        true.add(
            view,
            plane,
            Segmentation(view.mask, np.zeros_like(view.mask), found.background),
            um_per_px,
        )
    print(
        f"{'':<22}{'wells':>6}{'exploded':>10}{'missed':>8}{'false':>7}{'right':>8}{'Spearman':>10}"
    )
    for name, tally in (
        ("segmented", plain),
        ("blurred by 7 µm", blurred),
        ("true masks", true),
        ("without a scale", no_scale),
    ):
        print(f"{name:<22}{tally.row()}")
    classify_real_images()


if __name__ == "__main__":
    main()
