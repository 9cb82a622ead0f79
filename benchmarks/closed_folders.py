"""Measure what the listing of a drop folder with many files of closed plates costs.

    python -m benchmarks.closed_folders --files 200000

Plates of 10 days, 60 wells and 3 planes are written; every file has an outcome, and every plate is
closed. The command prints the processor time of

- the listing of every file, alone;
- the first listings of a source until all folders rest;
- after a restart: the first listing, the most expensive one, and all of them until each folder was
  listed once, with their share of one core;
- the polls of one hour, and their share of one core, with resting folders;
- one poll without resting folders, as it was before.

Time passes while the source works, and in one step while it waits, so that an hour takes seconds.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from acquisition.drop_folder.listing import list_files
from acquisition.drop_folder.naming import is_image_name
from acquisition.drop_folder.source import REST_CHECK_S, DropFolder, DropFolderSettings
from schemas.assay import Assay
from schemas.closed_folder import ClosedFolder
from schemas.plate_map import PlateMap
from schemas.well import INNER_60
from schemas.well_image import FileVersion
from tests.robot_folder import (
    PATTERN,
    PLATE_TOML,
    WELLS_CSV,
    EndedVersions,
    ImmediatePool,
    ManualClock,
    ManualEvents,
)

DAYS, PLANES = range(1, 11), (1, 2, 3)
FILES_OF_PLATE = len(DAYS) * len(PLANES) * len(INNER_60)
POLL_S = 5.0
HOUR_S = 3600.0


class AllClosed:
    """Closed plates and their folders, in memory."""

    def __init__(self, names: list[str]) -> None:
        self.names = frozenset(names)
        self.saved: dict[str, ClosedFolder] = {}

    def plates(self) -> frozenset[str]:
        """Return the ids of all plates."""
        return self.names

    def has_stored(self, plate_map: PlateMap, assay: Assay | None) -> bool:
        """Return True: every plate map is stored."""
        del plate_map, assay
        return True

    def folders(self) -> list[ClosedFolder]:
        """Return the saved folders."""
        return list(self.saved.values())

    def save_folder(self, folder: ClosedFolder) -> None:
        """Save a folder."""
        self.saved[folder.path] = folder


def write_plates(root: Path, plates: int) -> list[str]:
    """Write the images and maps of plates, and return the ids of the plates."""
    names = [f"PLATE-{number:04d}" for number in range(plates)]
    for name in names:
        for day in DAYS:
            folder = root / name / f"day{day:02d}"
            folder.mkdir(parents=True)
            for well in INNER_60:
                for plane in PLANES:
                    (folder / f"{well}_z{plane}.tif").write_bytes(b"image")
        (root / name / f"{name}.plate.toml").write_text(PLATE_TOML.replace("P1", name))
        (root / name / f"{name}.wells.csv").write_text(WELLS_CSV)
    return names


class WorkClock(ManualClock):
    """A clock whose time passes while the source waits or uses the processor."""

    def __call__(self) -> float:
        """Return the time in s."""
        return self.now_s + time.process_time()


def open_source(
    root: Path, versions: list[FileVersion], closed: AllClosed | None
) -> tuple[DropFolder, ManualClock]:
    """Return a source of the folder, whose time passes only while it waits, and its clock."""
    clock = WorkClock()
    ended = EndedVersions(*(each for each in versions if is_image_name(each.path)))
    source = DropFolder(
        DropFolderSettings(path=root, pattern=PATTERN, poll_s=POLL_S),
        ended,
        closed=closed,
        clock=clock,
        events=ManualEvents(),
        pool=ImmediatePool(),
        wait=clock.wait,
    )
    return source, clock


def poll(source: DropFolder, clock: ManualClock, seconds: float) -> None:
    """Let a source without new images poll for some time."""
    end_s = clock() + seconds
    while clock() < end_s:
        if source.next(POLL_S) is not None:
            raise AssertionError("an image came; expected none")


def cost_s(call: Callable[[], object]) -> float:
    """Return the processor time of a call in s."""
    begun_s = time.process_time()
    call()
    return time.process_time() - begun_s


def restart(source: DropFolder, clock: ManualClock) -> list[float]:
    """Return the cost in s of each poll after a restart, until every folder was listed once."""
    costs = [cost_s(lambda: source.next(0.0))]
    resting = source._folder.resting._folders  # noqa: SLF001 - no port shows them
    while any(each.listed_s == float("-inf") for each in resting.values()):
        costs.append(cost_s(lambda: poll(source, clock, POLL_S)))
    return costs


def main() -> int:
    """Write the files, measure, and print the costs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=200_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        closed = AllClosed(write_plates(root, options.files // FILES_OF_PLATE))
        versions: list[FileVersion] = []
        alone_s = cost_s(lambda: versions.extend(list_files(root)))
        source, clock = open_source(root, versions, closed)
        first_s = cost_s(lambda: poll(source, clock, 2 * REST_CHECK_S))
        hour_s = cost_s(lambda: poll(source, clock, HOUR_S))
        source, clock = open_source(root, versions, closed)
        again = restart(source, clock)
        source, clock = open_source(root, versions, None)
        poll(source, clock, 4 * POLL_S)
        before_s = cost_s(lambda: poll(source, clock, 10 * POLL_S)) / 10
    print(f"{len(versions):,} files in {len(closed.saved):,} resting folders; processor time:")
    print(f"listing alone: {alone_s:.2f} s")
    print(f"first listings until all folders rest: {first_s:.1f} s")
    print(
        f"after a restart: first listing {again[0]:.2f} s, longest {max(again):.2f} s, all "
        f"{len(again)} until each folder was listed {sum(again):.1f} s, "
        f"{100 * sum(again) / (len(again) * POLL_S):.1f} % of a core"
    )
    print(
        f"one poll: {1000 * hour_s * POLL_S / HOUR_S:.1f} ms, "
        f"{100 * hour_s / HOUR_S:.2f} % of a core over one hour"
    )
    print(f"one poll without resting folders: {1000 * before_s:.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
