"""Measure the service on a drop folder with many files that were ingested before.

    python -m benchmarks.many_files --files 198000

The files and their recorded outcomes are written first, and one more file whose plate id is
refused. A service process starts then. Its first listing has ended when this file is refused. The
command prints the processor time from the end of the start until then, the memory after it, and the
processor time of the next minute of operation.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

from schemas.well_image import FileVersion, VisitKey, WellImage
from tests.samples import NOW
from tests.service_process import ServiceProcess

WELLS = tuple(f"{row}{column:02d}" for row in "BCDEFG" for column in range(2, 12))
PLANES, DAYS = 3, 55
FILES_OF_DAY = len(WELLS) * PLANES
LISTING_S = 1800.0  # limit of the first listing
OPERATION_S = 60.0


def write_files(service: ServiceProcess, files: int) -> None:
    """Write files of plates into the drop folder, with an outcome of each in the store."""
    planes = np.zeros((PLANES, 64, 64), np.uint16)
    with service.store() as store:
        for number in range(files // FILES_OF_DAY):
            plate, day = f"P{number // DAYS:03d}", number % DAYS + 1
            versions = tuple(written(service.drop, plate, day))
            image = WellImage(
                VisitKey(plate, WELLS[0], ""), day, None, versions, planes, None, complete=True
            )
            store.add_duplicate(image, NOW)


def written(drop: Path, plate: str, day: int) -> Iterator[FileVersion]:
    """Write the files of one culture day of a plate, and yield the version of each."""
    folder = drop / plate / f"day{day:02d}"
    folder.mkdir(parents=True)
    for well in WELLS:
        for plane in range(1, PLANES + 1):
            file = folder / f"{well}_z{plane}.tif"
            file.write_bytes(b"image")
            yield FileVersion.of(file.relative_to(drop).as_posix(), file.stat())


def measure(service: ServiceProcess) -> str:
    """Return the costs of the first listing and of a minute of operation as text."""
    with service.running() as running:
        process = psutil.Process(running.pid)
        service.wait_for(lambda: service.events("service.started"), LISTING_S)
        start_s, start_bytes = processor_s(process), process.memory_info().rss
        service.wait_for(lambda: service.events("image.rejected"), LISTING_S)
        listing_s, listing_bytes = processor_s(process) - start_s, process.memory_info().rss
        before_s = processor_s(process)
        time.sleep(OPERATION_S)
        operation_s = processor_s(process) - before_s
    return (
        f"first listing: {listing_s:.0f} s of processor time, "
        f"{(listing_bytes - start_bytes) / 1e6:.0f} MB more memory "
        f"({listing_bytes / 1e6:.0f} MB in all)\n"
        f"{OPERATION_S:.0f} s of operation: {operation_s:.1f} s of processor time"
    )


def processor_s(process: psutil.Process) -> float:
    """Return the processor time of a process in seconds."""
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> int:
    """Write the files, measure, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=198_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        service = ServiceProcess(Path(folder))
        service.drop.mkdir()
        service.configure()
        service.config.write_text(service.config.read_text().replace("poll_s = 0.3", ""))
        write_files(service, options.files)
        refused = service.drop / "CON" / "day01" / "B02_z1.tif"  # the id of the plate is refused
        refused.parent.mkdir(parents=True)
        refused.write_bytes(b"no image")
        print(
            f"{options.files // FILES_OF_DAY * FILES_OF_DAY:,} ingested files\n{measure(service)}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
