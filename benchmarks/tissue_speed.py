"""Measure the processor time of quality, segmentation and measures, beside an earlier version.

    git worktree add ../before REVISION
    python -m benchmarks.tissue_speed --before ../before --spheroidkit PYTHON

Each image is processed by both versions, one after the other, in a process of each. So both have
the same other load. The images are those of :mod:`benchmarks.perturbed_wells`. The quality is that
of three planes: the image and two blurred copies of it. ``--spheroidkit PYTHON`` names an
interpreter that has spheroidkit, as in :mod:`benchmarks.measure`; it processes the plain image.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.measure import Spheroidkit
from benchmarks.perturbed_wells import PLAIN, perturbed_planes
from benchmarks.tissue_results import dice_of

STAGES = ("quality", "segment", "measure")
NOW = "now"

WORKER = """
import sys, time, cv2, numpy as np
from threadpoolctl import threadpool_limits
from acquisition.quality import assess
from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.measures import measure_tissue
cv2.setNumThreads(1)
threadpool_limits(1, user_api="blas")
segmenter, repeats = ClassicalSegmenter(), int(sys.argv[1])
def run(work):
    times = []
    for _ in range(repeats):
        started = time.process_time()
        result = work()
        times.append(time.process_time() - started)
    return result, sorted(times)[repeats // 2]
for line in sys.stdin:
    path = line.strip()
    plane = np.load(path)
    planes = np.stack([plane, *(cv2.GaussianBlur(plane, (0, 0), px) for px in (1.5, 3.0))])
    _, quality_s = run(lambda: assess(planes))
    found, segment_s = run(lambda: segmenter.segment(plane, None))
    _, measure_s = run(lambda: measure_tissue(plane, found, None))
    np.save(path + ".mask.npy", found.body)
    print(quality_s, segment_s, measure_s, flush=True)
"""


class Version:
    """A process that runs the code of one checkout."""

    def __init__(self, checkout: Path, repeats: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(repeats)],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout.resolve())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, path: Path) -> tuple[list[float], npt.NDArray[np.bool_]]:
        """Return the processor time of each stage in ms, and the body mask of an image file."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process has no pipes")
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        times_ms = [1000 * float(each) for each in self._process.stdout.readline().split()]
        return times_ms, np.load(f"{path}.mask.npy")

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def draw_images(
    options: argparse.Namespace, size_px: int
) -> Iterator[tuple[str, npt.NDArray[np.uint16]]]:
    """Yield the kind and the plane of each image of one size."""
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    for image in perturbed_planes(seeds, size_px, 1):
        yield image.kind, image.plane


def measure_size(
    options: argparse.Namespace, size_px: int, versions: dict[str, Version], folder: Path
) -> None:
    """Measure the images of one size with all versions, and print the rows of the table."""
    times_ms: dict[tuple[str, str], list[float]] = defaultdict(list)
    dice, plain_ms, others_ms = [], [], []
    with ExitStack() as stack:
        other = None
        if options.spheroidkit:
            other = stack.enter_context(closing(Spheroidkit(options.spheroidkit, folder)))
        for kind, plane in draw_images(options, size_px):
            path = folder / "plane.npy"
            np.save(path, plane)
            masks = []
            for name, version in versions.items():
                stages_ms, mask = version.measure(path)
                masks.append(mask)
                for stage, each_ms in zip(STAGES, stages_ms, strict=True):
                    times_ms[stage, name].append(each_ms)
                if name == NOW and kind == PLAIN:
                    plain_ms.append(stages_ms)
            dice.append(dice_of(masks[0], masks[-1]))
            if other is not None and kind == PLAIN:
                others_ms.append(1000 * other.segment(plane)[1])
    for stage in STAGES:
        medians = {name: statistics.median(times_ms[stage, name]) for name in versions}
        ratios = [f"{each / medians[NOW]:.2f}" for name, each in medians.items() if name != NOW]
        cells = [f"{each:.1f}" for each in medians.values()]
        print("|", " | ".join([f"{size_px}²", stage, *cells, *ratios]), "|", flush=True)
    print(f"{size_px}²: {len(dice)} images, lowest Dice of the masks of both {min(dice):.4f}")
    if others_ms:
        spheroidkit_ms = statistics.median(others_ms)
        segment_ms, measure_ms = (
            statistics.median(each[number] for each in plain_ms) for number in (1, 2)
        )
        print(
            f"{size_px}²: spheroidkit {spheroidkit_ms:.0f} ms for a plain image, "
            f"{spheroidkit_ms / segment_ms:.0f} times the time to segment, "
            f"{spheroidkit_ms / (segment_ms + measure_ms):.0f} times that to segment and measure"
        )


def main() -> None:
    """Print a table with a row for each size and stage."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=Path, help="checkout of an earlier version")
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--seeds", type=int, default=2, help="virtual plates")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3, help="the median of each image counts")
    parser.add_argument("--spheroidkit", metavar="PYTHON", help="an interpreter that has it")
    options = parser.parse_args()
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        checkouts = {"before": options.before} if options.before else {}
        checkouts[NOW] = Path(__file__).parents[1]
        versions = {
            name: stack.enter_context(closing(Version(checkout, options.repeats)))
            for name, checkout in checkouts.items()
        }
        heads = ["size", "stage", *(f"{name}, ms" for name in versions)]
        heads += ["ratio"] * (len(versions) - 1)
        print("|", " | ".join(heads), "|\n" + "|---" * len(heads) + "|")
        for size_px in options.sizes:
            measure_size(options, size_px, versions, Path(folder))


if __name__ == "__main__":
    main()
