"""Measure the memory of a service while it ingests many small images.

    python -m benchmarks.memory --images 100000

A robot writes plates of 60 wells and ten days, one after another: noise with a dark disc,
64 × 64 pixels, one plane. The files of a plate are deleted when all its images are stored. The
command prints the resident memory of the main process after each tenth of the images, and its
growth in MiB for 10,000 images, which is the slope of a straight line through the second half.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psutil
import tifffile

from schemas.well import INNER_60
from tests.service_process import ServiceProcess

SIDE_PX = 64
DAYS = range(1, 11)
PLATE_IMAGES = len(DAYS) * len(INNER_60)
UNTREATED = 20
QUEUED_PLATES = 2  # that are written before the images of the earlier ones are stored
LIMIT_S = 3600.0


def write_plate(drop: Path, name: str, seed: int) -> None:
    """Write the plate map and the images of one plate."""
    rng = np.random.default_rng(seed)
    seeded_at = datetime.now(UTC) - timedelta(days=len(DAYS) - 1)
    folder = drop / name
    folder.mkdir()
    rows = [
        f"{well},untreated," if number < UNTREATED else f"{well},screening,c-{number // 3}:1 uM"
        for number, well in enumerate(INNER_60)
    ]
    (folder / f"{name}.wells.csv").write_text("\n".join(["well,group,treatment", *rows]) + "\n")
    (folder / f"{name}.plate.toml").write_text(
        f'plate = "{name}"\nseeded_at = {seeded_at.isoformat()}\num_per_px = 10.0\n'
    )
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] - SIDE_PX / 2
    for day in DAYS:
        (folder / f"day{day:02d}").mkdir()
        for well in INNER_60:
            radius = rng.uniform(8, 12) + 0.3 * day
            pixels = rng.normal(40_000, 300, (SIDE_PX, SIDE_PX)) - 15_000 * (
                np.hypot(y, x) < radius
            )
            tifffile.imwrite(
                folder / f"day{day:02d}" / f"{well}_z1.tif",
                pixels.astype(np.uint16),
                photometric="minisblack",
            )


def stored(service: ServiceProcess) -> int:
    """Return the number of stored images."""
    with service.store() as store, store._database.reading() as connection:  # noqa: SLF001 - no port counts them
        return int(connection.exec_driver_sql("SELECT count(*) FROM observation").scalar_one())


def samples(
    service: ServiceProcess, process: psutil.Process, images: int
) -> Iterator[tuple[int, float]]:
    """Write plates until their images are stored; yield (stored images, memory in MiB)."""
    plates = -(-images // PLATE_IMAGES)
    for number in range(plates + QUEUED_PLATES):
        if number < plates:
            write_plate(service.drop, f"MEMORY-{number:04d}", number)
        done = number - QUEUED_PLATES
        if done >= 0:
            end_s = time.monotonic() + LIMIT_S
            while (count := stored(service)) < (done + 1) * PLATE_IMAGES:
                if time.monotonic() > end_s:
                    raise TimeoutError(f"{count} images are stored")
                time.sleep(2.0)
            shutil.rmtree(service.drop / f"MEMORY-{done:04d}")
            yield count, process.memory_info().rss / 2**20


def main() -> int:
    """Run the service on many images and print its memory."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        service = ServiceProcess(Path(folder))
        service.drop.mkdir()
        service.configure(source="planes = 1")
        with service.running() as running:
            found = []
            for sample in samples(service, psutil.Process(running.pid), options.images):
                found.append(sample)
                print(f"{sample[0]:,} images: {sample[1]:.1f} MiB", flush=True)
    counts, memory = np.array(found[len(found) // 2 :]).T  # without the caches that fill at first
    slope = np.polyfit(counts, memory, 1)[0]
    print(f"growth in the second half: {10_000 * slope:.1f} MiB for 10,000 images")
    return 0


if __name__ == "__main__":
    sys.exit(main())
