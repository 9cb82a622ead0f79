"""Rank an archive of virtual plates with assays in one run, and then each plate again.

    python -m benchmarks.archive --plates 12 --assays 8

The service reads all plates at once with ``spherorank run --once``. Afterwards each plate is ranked
again with ``spherorank rank plate``, which uses the newest calibration. The printed correlations
are Spearman's, between the score of the readout day and the true kill over the treated wells of a
plate, as the mean over plates. Both rankings should have the same order.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from daemon.calibrations import DEPARTURE_NOTE
from schemas.plate_map import Group
from schemas.ranking import Ranking
from simulation.microscope import VirtualMicroscope, virtual_microscopes
from simulation.plate import DOSED_ON_DAY, READOUT_DAY
from simulation.robot import write_plates
from store.sql_store import SqlStore

DAYS = (DOSED_ON_DAY, DOSED_ON_DAY + 1, READOUT_DAY)
COMMAND = (sys.executable, "-m", "daemon")


def with_wells(scope: VirtualMicroscope, wells: int) -> VirtualMicroscope:
    """Return a VirtualMicroscope of the first wells of each group of its plate, about ``wells``."""
    all_wells = scope.plate.wells
    share = min(1.0, wells / len(all_wells))
    count = Counter(plan.group for plan in all_wells)
    kept = [
        plan
        for group in Group
        for plan in [each for each in all_wells if each.group is group][
            : max(round(share * count[group]), 2)
        ]
    ]
    return replace(scope, plate=replace(scope.plate, wells=tuple(kept)))


def write_archive(folder: Path, arguments: argparse.Namespace) -> list[str]:
    """Write the drop folder and the configuration of the archive; return the plate ids."""
    scopes = [
        with_wells(scope, arguments.wells)
        for scope in virtual_microscopes(arguments.plates, arguments.seed, arguments.size)
    ]
    write_plates(folder, scopes, days=DAYS, assay=True)
    plates = [scope.plate.name for scope in scopes]
    for plate in plates[arguments.assays :]:
        (folder / "drop" / plate / f"{plate}.assay.csv").unlink()
    (folder / "spherorank.toml").write_text(
        "[source]\nsettle_s = 0.1\npoll_s = 0.5\n"
        f'[publisher]\nevents = "ipc://{folder}/events"\nrequests = "ipc://{folder}/requests"\n'
        '[health]\nhttp = ""\n'
    )
    return plates


def run_command(folder: Path, *words: str) -> None:
    """Run a command of SpheroRank with the configuration in a folder; exit if it fails."""
    command = [*COMMAND, *words, "--config", str(folder / "spherorank.toml")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(ended.stderr)


def newest_rankings(folder: Path, plates: list[str]) -> list[Ranking]:
    """Return the newest ranking of the readout day of each plate."""
    store = SqlStore(f"sqlite:///{folder}/spherorank.sqlite")
    try:
        return [
            [each for each in store.rankings(plate) if each.day == READOUT_DAY][-1]
            for plate in plates
        ]
    finally:
        store.close()


def order(ranking: Ranking) -> list[str]:
    """Return the treated wells of a ranking, strongest effect first."""
    ranked = [(row.efficacy_rank, row.well) for row in ranking.wells if row.efficacy_rank]
    return [well for _, well in sorted(ranked)]


def print_row(name: str, rankings: list[Ranking], kills: dict[tuple[str, str], float]) -> None:
    """Print the methods of rankings, and the correlation of their scores with the true kills."""
    correlations = []
    for ranking in rankings:
        pairs = [
            (row.score, kills[ranking.plate, row.well])
            for row in ranking.wells
            if row.efficacy_rank is not None and row.score is not None
        ]
        correlations.append(spearmanr(*np.array(pairs).T).statistic)
    methods = Counter(ranking.method for ranking in rankings)
    print(
        f"{name:<24} Spearman {np.mean(correlations):.3f}, lowest {min(correlations):.3f}; "
        + ", ".join(f"{count} plates by {method}" for method, count in sorted(methods.items())),
        flush=True,
    )
    for ranking in rankings:
        for note in ranking.notes:
            if note.startswith(DEPARTURE_NOTE.partition("{")[0]):
                print(f"  {ranking.plate}: {note}", flush=True)


def main() -> None:
    """Print both correlations, and on how many plates the orders are equal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plates", type=int, default=6)
    parser.add_argument("--assays", type=int, default=5, help="the first plates have assays")
    parser.add_argument("--wells", type=int, default=24, help="wells of a plate, about")
    parser.add_argument("--size", type=int, default=128, help="side of an image in pixels")
    parser.add_argument("--seed", type=int, default=21)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        plates = write_archive(folder, arguments)
        with (folder / "truth.csv").open(encoding="utf-8") as file:
            kills = {
                (row["plate"], row["well"]): float(row["kill"])
                for row in csv.DictReader(file)
                if int(row["day"]) == READOUT_DAY
            }
        started = time.perf_counter()
        run_command(folder, "run", "--once")
        once_s = time.perf_counter() - started
        at_once = newest_rankings(folder, plates)
        print_row("run --once", at_once, kills)
        for plate in plates:
            run_command(folder, "rank", "plate", plate)
        again = newest_rankings(folder, plates)
        print_row("each plate ranked again", again, kills)
        equal = sum(order(one) == order(two) for one, two in zip(at_once, again, strict=True))
        print(f"equal orders: {equal} of {len(plates)} plates; run --once took {once_s:.0f} s")


if __name__ == "__main__":
    main()
