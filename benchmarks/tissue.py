"""Measure segmentation, condition and doubts on hard cases, and their stability over image sizes.

    python -m benchmarks.tissue --seeds 20 --first-seed 9101
    python -m benchmarks.tissue --save-masks DIR      # masks of the images of benchmarks.measure
    python -m benchmarks.tissue --against DIR         # Dice of the masks now with the saved masks
    python -m benchmarks.tissue --overlays page.html  # outlines on all real images

The cases are those of :mod:`simulation.cases`. Each scene is segmented at each size.
"""

import argparse
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from scipy.stats import spearmanr

from benchmarks.measure import load_named_segmenter
from benchmarks.tissue_overlays import write_overlays
from benchmarks.tissue_results import (
    STABLE_MEASURES,
    CaseResult,
    evaluate_case,
    relative_change,
)
from benchmarks.tissue_saved_masks import compare_masks, save_masks
from inference.ports import Segmenter
from simulation.cases import CaseImage, draw_case, reduce_case
from simulation.kinds import Case

Results = list[CaseResult]
FRAGMENTED = (Case.DISINTEGRATED, Case.BURST_WITH_CORE)


def draw_sizes(case: Case, seed: int, sizes: list[int], *, reduced: bool) -> Iterator[CaseImage]:
    """Yield one scene at each size; ``reduced``: from the largest image, reduced by area."""
    if not reduced:
        yield from (draw_case(case, seed, size) for size in sizes)
        return
    largest = draw_case(case, seed, max(sizes))
    for size in sizes:
        yield largest if size == max(sizes) else reduce_case(largest, size)


def evaluate_scene(
    case_and_seed: tuple[Case, int], segmenter_name: str, sizes: list[int], *, reduced: bool
) -> Results:
    """Return the results of one scene at each size."""
    cv2.setNumThreads(1)
    segmenter: Segmenter = load_named_segmenter(segmenter_name)
    case, seed = case_and_seed
    return [
        evaluate_case(segmenter, image, seed)
        for image in draw_sizes(case, seed, sizes, reduced=reduced)
    ]


def evaluate_cases(arguments: argparse.Namespace) -> Results:
    """Return the results of all cases, seeds and sizes, in this order."""
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    scenes = [(case, seed) for case in arguments.cases for seed in seeds]
    work = partial(
        evaluate_scene,
        segmenter_name=arguments.segmenter,
        sizes=arguments.sizes,
        reduced=arguments.reduced,
    )
    if arguments.processes == 1:
        return [result for scene in scenes for result in work(scene)]
    with ProcessPoolExecutor(arguments.processes) as pool:
        return [result for found in pool.map(work, scenes) for result in found]


def _share(values: list[bool]) -> str:
    """Return the share of true values as 7 characters; blank without values."""
    return f"{np.mean(values):>9.1%}" if values else f"{'':>9}"


def accuracy_row(name: str, size: str, rows: Results) -> str:
    """Return the table row of the results with one case and size."""
    dice = [row.dice for row in rows if row.dice is not None]
    quality = f"{np.median(dice):>8.3f}{np.quantile(dice, 0.1):>8.3f}" if dice else f"{'':>16}"
    return (
        f"{name:<20}{size:>5}{len(rows):>5}{quality}"
        f"{_share([row.condition_right for row in rows])}"
        f"{_share([row.bodies_right for row in rows])}"
        f"{_share([row.flagged_blurred for row in rows])}"
        f"{_share([row.doubted_blurred for row in rows])}"
        f"{_share([row.refused for row in rows])}{_share([row.empty for row in rows])}"
        f"{1000 * float(np.median([row.seconds for row in rows])):>8.1f}"
    )


def print_accuracy(results: Results) -> None:
    """Print a row per case and size, then the blurred images found and the sharp called blurred."""
    print(
        f"{'case':<20}{'size':>5}{'n':>5}{'Dice':>8}{'p10':>8}{'condit.':>9}{'bodies':>9}"
        f"{'b. flag':>9}{'b. doubt':>9}{'refused':>9}{'empty':>9}{'ms':>8}"
    )
    sizes = sorted({row.size_px for row in results})
    for case in dict.fromkeys(row.case for row in results):
        for size in sizes:
            rows = [row for row in results if row.case is case and row.size_px == size]
            print(accuracy_row(case, str(size), rows))
    print()
    for size in sizes:
        rows = [row for row in results if row.size_px == size]
        sharp = [row for row in rows if not row.blurred and not row.refused]
        blurred = [row for row in rows if row.blurred]
        print(
            f"{size:>5}: {len(sharp)} sharp and not refused, called blurred by flag"
            f"{_share([row.flagged_blurred for row in sharp])}, by doubt"
            f"{_share([row.doubted_blurred for row in sharp])}; {len(blurred)} blurred, found by "
            f"flag{_share([row.flagged_blurred for row in blurred])}, by doubt"
            f"{_share([row.doubted_blurred for row in blurred])}, by either"
            f"{_share([row.flagged_blurred or row.doubted_blurred for row in blurred])}"
        )


def print_stability(results: Results) -> None:
    """Print per case the largest relative change of each measure over the sizes of a scene.

    Each entry has the median and the 90th percentile over the seeds. ``MAX_CHANGE`` stands for a
    measure that is missing at some sizes. The last columns are the 90th percentile of the change of
    the true mask's area, and the shares of scenes with the same flags and doubts at all sizes.
    """
    print(
        "\nlargest relative change over the sizes: median / 90th percentile over the seeds\n"
        f"{'case':<20}"
        + "".join(f"{name[:14]:>16}" for name in STABLE_MEASURES)
        + f"{'true area':>10}{'flags':>9}{'doubts':>9}"
    )
    for case in dict.fromkeys(row.case for row in results):
        scenes: dict[int, Results] = {}
        for row in results:
            if row.case is case:
                scenes.setdefault(row.seed, []).append(row)
        cells = ""
        for name in STABLE_MEASURES:
            found = [
                relative_change([row.measures.get(name) for row in rows])
                for rows in scenes.values()
            ]
            changes = [change for change in found if change is not None]
            cells += (
                f"{np.median(changes):>8.1%}{np.quantile(changes, 0.9):>8.1%}"
                if changes
                else f"{'':>16}"
            )
        true = [relative_change([row.true_area for row in rows]) or 0.0 for rows in scenes.values()]
        cells += f"{np.quantile(true, 0.9):>10.1%}"
        flags = [len({row.flags for row in rows}) == 1 for rows in scenes.values()]
        doubts = [len({row.doubts for row in rows}) == 1 for rows in scenes.values()]
        print(f"{case:<20}{cells}{_share(flags)}{_share(doubts)}")


def print_degrees(results: Results) -> None:
    """Print Spearman's correlation of the degree of explosion with the true fragmentation."""
    print("\nSpearman of the degree of explosion with the true fragmentation")
    groups: list[tuple[str, Callable[[CaseResult], bool]]] = [
        ("with a scale", lambda row: row.has_scale),
        ("without a scale", lambda row: not row.has_scale),
    ]
    for case in FRAGMENTED:
        for name, belongs in groups:
            for size in sorted({row.size_px for row in results}):
                rows = [
                    row
                    for row in results
                    if row.case is case and row.size_px == size and belongs(row)
                ]
                known = [row for row in rows if row.degree is not None]
                if len(known) > 2:  # noqa: PLR2004 - a correlation of two pairs is ±1
                    degrees = [row.degree or 0.0 for row in known]
                    true = [row.fragmentation for row in known]
                    rho = float(spearmanr(degrees, true).statistic)
                    print(
                        f"{case:<20}{name:<18}{size:>5}{len(known):>4} of {len(rows):<4}{rho:>7.3f}"
                    )


def print_doubts(results: Results) -> None:
    """Print the share of the images of each case with each doubt and flag, over all sizes."""
    print("\ndoubts (first) and flags: share of the images of all sizes")
    for case in dict.fromkeys(row.case for row in results):
        rows = [row for row in results if row.case is case]
        lists = []
        for sets in ([row.doubts for row in rows], [row.flags for row in rows]):
            names = sorted({name for found in sets for name in found})
            lists.append(
                ", ".join(
                    f"{name} {np.mean([name in found for found in sets]):.0%}" for name in names
                )
                or "none"
            )
        print(f"{case:<20}{lists[0]} | {lists[1]}")


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10, help="scenes per case")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048, 4096])
    parser.add_argument("--cases", type=Case, nargs="+", default=list(Case), choices=list(Case))
    parser.add_argument(
        "--reduced", action="store_true", help="reduce the largest image by area to other sizes"
    )
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument(
        "--segmenter", default="classical", help="classical, or the folder of a learned one"
    )
    parser.add_argument("--wells", type=int, default=2, help="wells per seed of --save-masks")
    parser.add_argument("--save-masks", type=Path, metavar="DIR", help="sizes and seeds as given")
    parser.add_argument("--against", type=Path, metavar="DIR", help="folder of --save-masks")
    parser.add_argument("--overlays", type=Path, metavar="FILE.html")
    return parser.parse_args()


def main() -> None:
    """Print all tables, or do the one task of an option."""
    arguments = parse_arguments()
    cv2.setNumThreads(1)
    segmenter = load_named_segmenter(arguments.segmenter)
    if arguments.save_masks is not None:
        seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
        save_masks(arguments.save_masks, segmenter, seeds, arguments.sizes, arguments.wells)
    if arguments.against is not None:
        compare_masks(arguments.against, segmenter)
    if arguments.overlays is not None:
        write_overlays(arguments.overlays, segmenter)
    if arguments.save_masks or arguments.against or arguments.overlays:
        return
    results = evaluate_cases(arguments)
    print_accuracy(results)
    print_stability(results)
    print_degrees(results)
    print_doubts(results)


if __name__ == "__main__":
    main()
