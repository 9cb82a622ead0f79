"""Measure the accuracy and speed of tissue segmentation, on virtual wells and on real images.

    python -m benchmarks.measure --seeds 10

Virtual wells have true masks. ``--spheroidkit PYTHON`` names a Python interpreter that has
spheroidkit (``python -m venv X && X/bin/pip install spheroidkit==1.1.0``), which then segments the
same images for comparison.
"""

import argparse
import csv
import subprocess
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import tifffile

from acquisition.drop_folder.image_reading import read_image
from benchmarks.perturbed_wells import PLAIN, Mask, Plane, perturbed_planes
from benchmarks.real_data import REAL_DATA
from inference.ports import Segmenter
from inference.tissue.classical_segmenter import ClassicalSegmenter

LOST_BELOW_DICE = 0.5  # Dice below which a well counts as lost

SPHEROIDKIT = """
import sys, time, numpy as np
from spheroidkit import analyze_image
for line in sys.stdin:
    path = line.strip()
    started = time.process_time()
    try:
        mask = analyze_image(path).mask
    except Exception:
        mask = None
    took = time.process_time() - started
    np.save(path + ".npy", np.zeros((1, 1), bool) if mask is None else mask)
    print(took, flush=True)
"""


@dataclass
class Accuracy:
    """The segmentation results for one kind of image."""

    dice: list[float] = field(default_factory=list)
    bias: list[float] = field(default_factory=list)  # area / true area − 1
    empty: list[bool] = field(default_factory=list)  # found empty
    unsure: list[bool] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, body: Mask, truth: Mask, *, unsure: bool, seconds: float) -> None:
        """Compare one segmented mask with the true mask (H, W), and record the result."""
        both = int(np.count_nonzero(body & truth))
        areas = int(np.count_nonzero(body)), int(np.count_nonzero(truth))
        self.empty.append(areas[0] == 0)
        self.unsure.append(unsure)
        self.seconds.append(seconds)
        if areas[1]:
            self.dice.append(2 * both / sum(areas))
            self.bias.append(areas[0] / areas[1] - 1)


def load_named_segmenter(name: str) -> Segmenter:
    """Return the classical segmenter, or the learned segmenter in the folder with this name."""
    if name == "classical":
        return ClassicalSegmenter()
    from inference.tissue.onnx_segmenter import OnnxSegmenter, load_segmenter  # noqa: PLC0415 - a learned segmenter alone needs onnxruntime

    return OnnxSegmenter(load_segmenter(Path(name)))


class Spheroidkit:
    """A spheroidkit process in another Python interpreter; it receives images and returns masks."""

    def __init__(self, python: str, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [python, "-c", SPHEROIDKIT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def segment(self, plane: Plane) -> tuple[Mask, float]:
        """Return the mask (H, W) of a plane and the CPU time in seconds."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("spheroidkit has no pipes")
        path = self._folder / "image.tif"
        tifffile.imwrite(path, plane)
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        seconds = float(self._process.stdout.readline())
        mask = np.load(f"{path}.npy")
        return (mask if mask.shape == plane.shape else np.zeros(plane.shape, dtype=bool)), seconds

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def segment_timed(segmenter: Segmenter, plane: Plane) -> tuple[Mask, bool, float]:
    """Return the mask (H, W) of a plane, whether it is unsure, and the CPU time in seconds.

    CPU time does not include other programs on the machine.
    """
    started = time.process_time()
    found = segmenter.segment(plane, None)
    return found.body, bool(found.unsure), time.process_time() - started


def print_virtual_accuracy(
    arguments: argparse.Namespace, segmenter: Segmenter, other: Spheroidkit | None
) -> None:
    """Print the accuracy of a segmenter, and of Spheroidkit or None, on virtual wells by options.

    There is one row per kind of image.
    """
    rows: dict[str, Accuracy] = defaultdict(Accuracy)
    others: dict[str, Accuracy] = defaultdict(Accuracy)
    paired: dict[str, Accuracy] = defaultdict(Accuracy)  # SpheroRank on the images of ``others``
    seen: dict[str, int] = defaultdict(int)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    every = max(arguments.seeds * arguments.wells // arguments.other_images, 1)
    for case in perturbed_planes(seeds, arguments.size, arguments.wells):
        body, unsure, seconds = segment_timed(segmenter, case.plane)
        rows[case.kind].add(body, case.mask, unsure=unsure, seconds=seconds)
        seen[case.kind] += 1
        if other is not None and seen[case.kind] % every == 0:
            paired[case.kind].add(body, case.mask, unsure=unsure, seconds=seconds)
            body, seconds = other.segment(case.plane)
            others[case.kind].add(body, case.mask, unsure=False, seconds=seconds)
    print_accuracy(arguments.segmenter, rows)
    if others:
        print_accuracy("the same images:", paired)
        print_accuracy("spheroidkit", others)
        plain_s, others_s = (float(np.median(table[PLAIN].seconds)) for table in (paired, others))
        print(
            f"speed at {arguments.size}²: {1000 * plain_s:.1f} ms against "
            f"{1000 * others_s:.0f} ms, {others_s / plain_s:.0f} times as fast"
        )


def print_accuracy(name: str, rows: dict[str, Accuracy]) -> None:
    """Print a segmenter's Accuracy by kind of image as a table with the segmenter's name."""
    print(
        f"\n{name:<22}{'n':>5}{'Dice':>8}{'lowest 5 %':>12}{'area bias':>11}{'lost':>7}{'empty':>8}"
        f"{'unsure':>8}{'ms':>8}"
    )
    for kind, row in rows.items():
        seconds = 1000 * float(np.median(row.seconds))
        quality = (
            f"{np.median(row.dice):>8.3f}{np.quantile(row.dice, 0.05):>12.3f}"
            f"{np.median(row.bias):>+11.1%}{np.mean(np.array(row.dice) < LOST_BELOW_DICE):>7.1%}"
            if row.dice
            else f"{'':>38}"
        )
        print(
            f"{kind:<22}{len(row.empty):>5}{quality}{np.mean(row.empty):>8.1%}"
            f"{np.mean(row.unsure):>8.1%}{seconds:>8.1f}"
        )
    empties = [
        found for kind, row in rows.items() if kind.startswith("empty") for found in row.empty
    ]
    false = [
        found for kind, row in rows.items() if not kind.startswith("empty") for found in row.empty
    ]
    print(
        f"empty wells found {np.mean(empties):.1%} of {len(empties)}; false empties "
        f"{np.mean(false):.1%} of {len(false)}"
    )


def print_annotation_agreement(segmenter: Segmenter) -> None:
    """Print the share of annotated pixels of real images that a segmenter classifies correctly."""
    folder = REAL_DATA / "mls11_spheroids"
    right, count = np.zeros(2), np.zeros(2)
    for path in sorted((folder / "scribbles").glob("*.tif")):
        drawn = tifffile.imread(path)
        body = segmenter.segment(
            read_image(folder / "images" / path.name.removeprefix("Annotation of ")).planes[0], None
        ).body
        hits = np.array(
            [np.count_nonzero(~body & (drawn == 1)), np.count_nonzero(body & (drawn == 2))]  # noqa: PLR2004 - 2 = spheroid
        )
        drawn_pixels = np.array([np.count_nonzero(drawn == 1), np.count_nonzero(drawn == 2)])  # noqa: PLR2004 - 2 = spheroid
        print(
            f"  {path.stem[-36:-25]} background {hits[0] / drawn_pixels[0]:.2%}, spheroid "
            f"{hits[1] / drawn_pixels[1]:.2%}"
        )
        right, count = right + hits, count + drawn_pixels
    background, spheroid = right / count
    print(f"scribbles: background {background:.2%}, spheroid {spheroid:.2%} of the pixels right")


def print_area_agreement(segmenter: Segmenter) -> None:
    """Print the differences between segmented and published areas, after one common factor."""
    folder = REAL_DATA / "spheroid_morpho_ml"
    with (folder / "image_to_table.csv").open(newline="") as file:
        known = {
            row["image"]: float(row["area_px2"])
            for row in csv.DictReader(file)
            if row["match"] == "exact"
        }
    paths = [path for path in sorted((folder / "images").iterdir()) if path.name in known]
    ratios = np.array(
        [
            np.count_nonzero(segmenter.segment(read_image(path).planes[0], None).body)
            / known[path.name]
            for path in paths
        ]
    )
    difference = np.abs(ratios / np.median(ratios) - 1)
    worst = int(np.argmax(difference))
    print(
        f"authors' areas: {len(ratios)} images, common factor {np.median(ratios):.3f}, median "
        f"|difference| {np.median(difference):.1%}, "
        f"largest {difference[worst]:.1%} ({paths[worst].stem})"
    )


def print_speed(segmenter: Segmenter) -> None:
    """Print the median segmentation time per image for three image sizes, on one thread."""
    plane = next(iter(perturbed_planes(range(3, 4), 1024, 1))).plane
    for side in (512, 1024, 2048):
        sized = np.asarray(cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA), np.uint16)
        seconds = [segment_timed(segmenter, sized)[2] for _ in range(15)]
        print(f"{side}²: {1000 * float(np.median(seconds)):.1f} ms")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seeds",
        type=int,
        default=10,
        help="virtual plates; the microscope changes from one to the next",
    )
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=1024, help="pixels a side")
    parser.add_argument("--wells", type=int, default=4, help="wells per plate")
    parser.add_argument(
        "--segmenter", default="classical", help="classical, or the folder of a learned one"
    )
    parser.add_argument(
        "--spheroidkit", metavar="PYTHON", help="an interpreter that has spheroidkit 1.1.0"
    )
    parser.add_argument(
        "--other-images", type=int, default=5, help="images of each kind that spheroidkit sees"
    )
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    segmenter = load_named_segmenter(arguments.segmenter)
    with tempfile.TemporaryDirectory() as folder:
        other = Spheroidkit(arguments.spheroidkit, Path(folder)) if arguments.spheroidkit else None
        print_virtual_accuracy(arguments, segmenter, other)
        if other is not None:
            other.close()
    print_speed(segmenter)
    if REAL_DATA.is_dir():
        print_annotation_agreement(segmenter)
        print_area_agreement(segmenter)
    else:
        print(f"no real images: {REAL_DATA} does not exist")


if __name__ == "__main__":
    main()
