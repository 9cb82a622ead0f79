"""Compare the growth of untreated virtual spheroids with measured spheroids.

    python -m benchmarks.untreated_growth --figure growth.png

The measured radii are those of the set ``growth_untreated`` of :mod:`benchmarks.real_data`; a row
without a median of day 7 has no image on that day. The columns give the median radius on the days 1
to 10, its coefficient of variation between wells (1.4826 × the median absolute deviation / median;
the median over the days 5 to 10), and the time in which the volume doubles from day 7 to day 10.
The figure shows the median and the variation of the radius by day: measured spheroids, each
renderer, and the default virtual plates.
"""

import argparse
import csv
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.real_data import REAL_DATA
from simulation.kinds import RendererName
from simulation.laboratories.laboratory import draw_laboratory
from simulation.microscope import PlateMicroscope, virtual_microscopes
from simulation.plate import CULTURE_DAYS

FIRST_SEED = 9_000  # of the laboratories
_DAYS = (1, 3, 5, 7, 8, 10)  # of the table
_SMALLEST_UM = 50.0  # smaller objects are not spheroids
_SIZE_PX, _WELLS = 128, 18


@dataclass(frozen=True)
class GrowthCurve:
    """Radii in µm of untreated spheroids of one line or plate, by culture day."""

    name: str
    radii: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))

    def median(self, day: int) -> float:
        """Return the median radius on a day; NaN without images."""
        return float(np.median(self.radii[day])) if self.radii.get(day) else float("nan")

    def variation(self, day: int) -> float:
        """Return the coefficient of variation between wells on a day; NaN without images."""
        if not self.radii.get(day):
            return float("nan")
        values = np.array(self.radii[day])
        middle = np.median(values)
        return float(1.4826 * np.median(abs(values - middle)) / middle)

    def row(self) -> str:
        """Return the curve as a row of the table."""
        grown = np.log(self.median(10) / self.median(7))
        variation = np.nanmedian([self.variation(day) for day in range(5, 11)])
        return (
            f"{self.name:<32}"
            + "".join(f"{self.median(day):>7.0f}" for day in _DAYS)
            + f"{100 * variation:>8.1f}{np.log(2) / grown:>10.1f}"
        )


def measured_curves() -> list[GrowthCurve]:
    """Return the curves of measured spheroids; an empty list without the data set."""
    path = REAL_DATA / "growth_untreated" / "incucyte_radius.csv"
    if not path.is_file():
        return []
    curves: dict[tuple[str, int], GrowthCurve] = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            day, radius = float(row["Day"]), float(row["R"])
            seeding = row["CellLine"], int(row["InitialCondition"])
            if radius > _SMALLEST_UM and day.is_integer():
                curve = curves.setdefault(
                    seeding, GrowthCurve(f"measured, {seeding[0]}, {seeding[1]} cells")
                )
                curve.radii[int(day)].append(radius)
    return [curves[seeding] for seeding in sorted(curves)]


def virtual_curve(name: str, scope: PlateMicroscope) -> GrowthCurve:
    """Return the curve of the untreated wells of a virtual plate, from its true masks."""
    curve = GrowthCurve(name)
    untreated = [plan for plan in scope.plate.wells if plan.mechanism is None][:_WELLS]
    for day in CULTURE_DAYS:
        for plan in untreated:
            area = scope.truth(plan, day).area_px * scope.um_per_px**2
            curve.radii[day].append(float(np.sqrt(area / np.pi)))
    return curve


def draw_figure(path: Path, groups: dict[str, list[GrowthCurve]]) -> None:
    """Write a figure of the radius by day, median and variation, with a column for each group."""
    figure = Figure(figsize=(3.2 * len(groups), 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(groups), sharex=True, sharey="row")
    for column, (name, curves) in enumerate(groups.items()):
        for curve in curves:
            axes[0][column].semilogy(
                CULTURE_DAYS, [curve.median(day) for day in CULTURE_DAYS], marker="."
            )
            axes[1][column].plot(
                CULTURE_DAYS, [100 * curve.variation(day) for day in CULTURE_DAYS], marker="."
            )
        axes[0][column].set_title(name)
        axes[1][column].set_xlabel("culture day")
    axes[0][0].set_ylabel("median radius, µm")
    axes[1][0].set_ylabel("variation between wells, %")
    axes[1][0].set_ylim(0, 12)
    figure.savefig(path, dpi=80)


def main() -> None:
    """Print the growth of measured and of virtual spheroids, and draw the figure if requested."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--laboratories", type=int, default=4, help="of each renderer")
    parser.add_argument("--figure", type=Path, help="file to write, PNG")
    arguments = parser.parse_args()
    groups: dict[str, list[GrowthCurve]] = {}
    if measured := measured_curves():
        groups["measured"] = measured
    for renderer in RendererName:
        groups[renderer] = []
        for seed in range(FIRST_SEED, FIRST_SEED + arguments.laboratories):
            (scope,) = draw_laboratory(seed, renderer).plates(1, size_px=_SIZE_PX)
            groups[renderer].append(virtual_curve(f"{renderer}, laboratory {seed}", scope))
    groups["default plates"] = [
        virtual_curve(f"default plate, seed {seed}", virtual_microscopes(1, seed, _SIZE_PX)[0])
        for seed in range(arguments.laboratories)
    ]
    print(
        f"{'radius in µm on day':<32}"
        + "".join(f"{day:>7}" for day in _DAYS)
        + f"{'CV, %':>8}{'doubling':>10}"
    )
    for curves in groups.values():
        for curve in curves:
            print(curve.row())
    if not measured:
        print(f"without measured spheroids: {REAL_DATA} has no growth_untreated")
    if arguments.figure:
        draw_figure(arguments.figure, groups)
        print(arguments.figure)


if __name__ == "__main__":
    main()
