"""Rank plates of simulated laboratories, with one renderer and one mechanism left out of choices.

    python -m benchmarks.laboratories --laboratories 40 --log docs/results/laboratories-log.csv

Every laboratory is tested once (:mod:`benchmarks.laboratory_protocol`). The table gives Spearman's
correlation of the score of the service with the true kill over treated wells: the mean over
laboratories, its 95 % bootstrap interval over laboratories, and the laboratory with the lowest
value. Readings are the measures alone, and the embedding of each encoder alone and with the
measures. ``assays`` is the number of assay plates of the tested laboratory: ``none`` is the
uncalibrated departure, and ``other laboratories`` a calibration on one plate of each training
laboratory. The columns are groups of wells: all treated wells (``mixed``), those with hidden
mechanisms, those of the mechanism that was left out, and those of each mechanism.

Each row of the table is appended to the log. Rendered and embedded plates are cached.
"""

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import structlog

from benchmarks.laboratory_plates import (
    BundleExtractor,
    LaboratoryPlate,
    StageTimes,
    encoder_bundles,
    observe_plates,
)
from benchmarks.laboratory_protocol import HIDDEN, LEFT_OUT, MIXED, Protocol, Reading, Result
from benchmarks.observed_plates import ROOT
from daemon.code_version import code_version
from simulation.kinds import HiddenMechanism, Mechanism, RendererName
from simulation.laboratories.laboratory import Laboratory, draw_laboratory

FIRST_SEED = 7_000
GROUPS = (MIXED, HIDDEN, LEFT_OUT, *Mechanism, *HiddenMechanism)
BOOTSTRAPS = 2_000
LOG_COLUMNS = (
    "date",
    "version",
    "first_seed",
    "laboratories",
    "renderers",
    "plates",
    "wells",
    "size_px",
    "reading",
    "assays",
    "group",
    "tested",
    "mean",
    "low",
    "high",
    "worst_laboratory",
    "worst",
)


@dataclass(frozen=True)
class Summary:
    """Results of one reading, number of assays and group of wells, over laboratories."""

    reading: str
    assays: str
    group: str
    tested: int  # laboratories
    mean: float
    low: float  # of the 95 % interval
    high: float
    worst_laboratory: int  # seed
    worst: float


def summarise(results: Sequence[Result]) -> list[Summary]:
    """Return the Summary of each reading, number of assays and group, in order of appearance."""
    by_row: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        by_row.setdefault((result.reading, result.assays, result.group), []).append(result)
    summaries = []
    for (reading, assays, group), of_row in by_row.items():
        values = np.array([result.value for result in of_row])
        draws = np.random.default_rng(0).choice(values, (BOOTSTRAPS, len(values)))
        low, high = np.quantile(draws.mean(axis=1), (0.025, 0.975))
        worst = min(of_row, key=lambda result: result.value)
        summaries.append(
            Summary(
                reading,
                assays,
                group,
                len(values),
                float(values.mean()),
                float(low),
                float(high),
                worst.laboratory,
                worst.value,
            )
        )
    return summaries


def log_lines(summaries: Sequence[Summary], run: Sequence[object]) -> Iterator[list[object]]:
    """Yield one line of the log for each Summary, which begins with the properties of the run."""
    for each in summaries:
        numbers = [f"{value:.4f}" for value in (each.mean, each.low, each.high)]
        yield [
            *run,
            each.reading,
            each.assays,
            each.group,
            each.tested,
            *numbers,
            each.worst_laboratory,
            f"{each.worst:.4f}",
        ]


def append_log(path: Path, lines: Iterator[list[object]]) -> None:
    """Append lines to a CSV file; a new file gets a header."""
    is_new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if is_new:
            writer.writerow(LOG_COLUMNS)
        writer.writerows(lines)


def print_table(summaries: Sequence[Summary]) -> None:
    """Print one row for each reading and number of assays."""
    groups = [group for group in GROUPS if any(each.group == group for each in summaries)]
    print(
        f"{'reading':<20}{'assays':<20}" + "".join(f"{group:>19}" for group in groups) + "  worst"
    )
    rows: dict[tuple[str, str], dict[str, Summary]] = {}
    for each in summaries:
        rows.setdefault((each.reading, each.assays), {})[each.group] = each
    for (reading, assays), by_group in rows.items():
        cells = [
            f"{found.mean:>6.2f} [{found.low:.2f}, {found.high:.2f}]" if found else ""
            for found in map(by_group.get, groups)
        ]
        mixed = by_group[MIXED]
        worst = f"  {mixed.worst_laboratory}: {mixed.worst:.2f}"
        print(f"{reading:<20}{assays:<20}" + "".join(f"{cell:>19}" for cell in cells) + worst)


def draw_laboratories(
    first_seed: int, count: int, renderers: Sequence[RendererName]
) -> list[Laboratory]:
    """Return ``count`` laboratories of consecutive seeds, with the renderers in turn."""
    return [
        draw_laboratory(first_seed + number // len(renderers), renderers[number % len(renderers)])
        for number in range(count)
    ]


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / ".cache" / "laboratories", help="cache")
    parser.add_argument("--laboratories", type=int, default=40)
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="of the first laboratory")
    parser.add_argument(
        "--renderers", nargs="+", type=RendererName, default=list(RendererName), help="in turn"
    )
    parser.add_argument("--plates", type=int, default=12, help="of each laboratory")
    parser.add_argument("--assays", nargs="+", type=int, default=[1, 2, 4, 8], help="plates")
    parser.add_argument("--encoders", nargs="*", default=["default", "imagenet", "random"])
    parser.add_argument("--wells", type=int, default=60, help="of each plate")
    parser.add_argument("--size", type=int, default=512, help="side of an image in pixels")
    parser.add_argument("--log", type=Path, help="CSV file to which the results are appended")
    options = parser.parse_args()
    if options.plates <= max(options.assays):
        parser.error(f"--plates {options.plates}; expected more than {max(options.assays)} assays")
    if len(set(options.renderers)) < 2:  # noqa: PLR2004 - one is left out
        parser.error("--renderers: expected at least two, because one is left out")
    return options


def observe(
    laboratories: Sequence[Laboratory], options: argparse.Namespace, times: StageTimes
) -> list[list[LaboratoryPlate]]:
    """Return the plates of each laboratory."""
    bundles = encoder_bundles(options.out)
    extractors = [BundleExtractor(name, bundles[name]) for name in options.encoders]
    return [
        observe_plates(
            laboratory.plates(options.plates, size_px=options.size),
            extractors,
            options.out,
            times,
            wells=options.wells,
        )
        for laboratory in laboratories
    ]


def main() -> None:
    """Test every laboratory, print the table and append it to the log."""
    options = parse_options()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    laboratories = draw_laboratories(options.seed, options.laboratories, options.renderers)
    times = StageTimes()
    protocol = Protocol(laboratories, observe(laboratories, options, times), options.assays)
    readings = [
        Reading("", "measures"),
        *(
            Reading(encoder, representation)
            for encoder in options.encoders
            for representation in ("embedding", "both")
        ),
    ]
    results = []
    for fold in protocol.folds:
        print(f"{laboratories[fold.tested].description}; left out: {fold.mechanism}", flush=True)
        with times.stage("readout"):
            for reading in readings:
                results += protocol.test(fold, reading)
    summaries = summarise(results)
    print_table(summaries)
    print(
        f"calibrations that were not valid, on tested plates: {protocol.fallbacks}\ntime: {times}"
    )
    if options.log:
        run = (
            datetime.now(UTC).date().isoformat(),
            code_version(),
            options.seed,
            options.laboratories,
            " ".join(options.renderers),
            options.plates,
            options.wells,
            options.size,
        )
        append_log(options.log, log_lines(summaries, run))


if __name__ == "__main__":
    main()
