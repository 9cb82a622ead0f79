"""Measure the share of simulated faults, and of good images, that quality control flags.

    python -m benchmarks.quality --seeds 5

Wells are drawn from the inner 60, on all culture days and with all mechanisms. Each well is
rendered without a fault, blurred, cut by the border of the field, and empty.
"""

import argparse
import time
from collections import Counter
from dataclasses import dataclass, field

import cv2
import numpy as np

from acquisition.quality import assess
from benchmarks.condition import scale_to_16_bits
from schemas.quality import Flag
from simulation.kinds import OpticsName
from simulation.microscope import IMAGE_FAULTS, virtual_microscopes
from simulation.plate import CULTURE_DAYS

GOOD = "good"


@dataclass
class FlagCounts:
    """The counts of images and of quality flags for one microscope."""

    images: Counter[str] = field(default_factory=Counter)  # by fault
    flagged: Counter[tuple[str, Flag]] = field(default_factory=Counter)  # by fault and flag
    any_flag: Counter[str] = field(default_factory=Counter)  # by fault
    seconds: list[float] = field(default_factory=list)


def assess_wells(optics: OpticsName, seeds: range, size_px: int, wells: int) -> FlagCounts:
    """Return FlagCounts of virtual wells under an optics, with and without faults, for seeds.

    Each seed is one plate, of which some wells are assessed on every day.
    """
    tally = FlagCounts()
    for seed in seeds:
        (scope,) = virtual_microscopes(1, seed, size_px, optics=optics)
        rng = np.random.default_rng(seed)
        for day in CULTURE_DAYS:
            for well in rng.choice(len(scope.plate.wells), wells, replace=False):
                for fault in (None, *IMAGE_FAULTS):
                    planes = scale_to_16_bits(
                        scope.render(scope.plate.wells[well], day, fault).planes
                    )
                    started = time.process_time()
                    flags = assess(planes).flags
                    tally.seconds.append(time.process_time() - started)
                    name = str(fault or GOOD)
                    tally.images[name] += 1
                    tally.any_flag[name] += bool(flags)
                    tally.flagged.update((name, flag) for flag in flags)
    return tally


def main() -> None:
    """Print the share of images with each flag, one row per fault."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="plates per microscope")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=512, help="pixels a side")
    parser.add_argument("--wells", type=int, default=4, help="wells per plate and day")
    parser.add_argument(
        "--optics",
        type=OpticsName,
        action="append",
        choices=list(OpticsName),
        help="may be repeated; all by default",
    )
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    flags = (*map(Flag, IMAGE_FAULTS), Flag.SATURATED)
    width = max(map(len, (*IMAGE_FAULTS, "images"))) + 1
    column = max(map(len, flags)) + 2
    print(
        f"{'optics':<10} {'images':<{width}} {'n':>5}"
        + "".join(f"{flag:>{column}}" for flag in flags)
        + f"{'any flag':>11}"
    )
    for optics in arguments.optics or OpticsName:
        tally = assess_wells(
            optics,
            range(arguments.first_seed, arguments.first_seed + arguments.seeds),
            arguments.size,
            arguments.wells,
        )
        for name, count in tally.images.items():
            shares = [tally.flagged[name, flag] / count for flag in flags]
            print(
                f"{optics:<10} {name:<{width}} {count:>5}"
                + "".join(f"{share:>{column}.1%}" for share in shares)
                + f"{tally.any_flag[name] / count:>11.1%}"
            )
        print(
            f"{optics:<10} {1000 * float(np.median(tally.seconds)):.1f} ms of one core per image "
            f"of three planes, {arguments.size}×{arguments.size}"
        )


if __name__ == "__main__":
    main()
