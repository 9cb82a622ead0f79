"""Feed damaged images and odd names to the drop folder and the path of one image.

    python -m benchmarks.fuzz --images 20000 --seed 1
    python -m benchmarks.fuzz --maps --requests --images 20000

Each batch is a drop folder of its own, filled with images in the forms of the microscope programs,
of which bytes, names, sizes and times are changed at random. A worker process ingests the batch
with the service's own source, path of one image and store. A batch whose process ends or that
raises an exception counts as a crash, an image that takes longer than 10 s as a hang. Each batch
contains one undamaged image, which must be stored. No image may be refused because of an exception
that the code does not expect. Failures are printed with the seed of the batch.
"""

import argparse
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np
import numpy.typing as npt
import structlog
from threadpoolctl import threadpool_limits

from acquisition.drop_folder.source import DropFolder, DropFolderSettings
from benchmarks.fuzz_texts import fuzz_maps, fuzz_requests, lines_of
from benchmarks.vendor_files import sample_files, tiff
from daemon.alerts import Alerts
from daemon.pipeline import Analysis, ImagePath
from daemon.plate_runs import PlateRuns
from daemon.rolling_view import RollingView
from daemon.tissue_analysis import TissueMethod
from inference.departure.departure_settings import DepartureSettings
from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.condition import ConditionSettings
from schemas.observation import Outcome
from schemas.well_image import Rejected, WellImage
from store.sql_store import SqlStore

HANG_S = 10.0
UNEXPECTED = "cannot be processed: "  # the start of the reason; see schemas/machine_faults.py
IMAGES_PER_BATCH = 50
PATTERNS = (
    "{plate}/day{day}/{well}_z{plane}.tif",
    "{plate}/{name}_{well:a00}{guid}.tif",
    "{plate}/day{day}/{row}{col}_f{field}_z{plane}.png",
    "{plate}/{well}_{taken_at}.jpg",
)
CONTROLS = (
    "P1/day07/G11_z1.tif",
    "P1/control_G11ABC.tif",
    "P1/day07/0711_f1_z1.png",
    "P1/G11_20261116T150000.jpg",
)
"""The name of an undamaged image of well G11 for each pattern."""

NAMES = (
    "P1/day07/B02_z1.tif",
    "P1/MLS11 spheroids_B03ED7830C1-7B29.tif",
    "P1/day08/0304_f1_z2.png",
    "P1/B05_20261116T150000.jpg",
    "P1/day10/C07_z3.TIF",
)
SEEDED_AT = datetime(2026, 11, 10, 9, tzinfo=UTC)
NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)


@dataclass(frozen=True)
class EmptyEncoder:
    """An encoder that gives every image the same embedding, to save time."""

    encoder_id: str = "empty"
    dimension: int = 1

    def crop(self, image: WellImage) -> str | None:
        """Return None: the whole image is used."""
        del image
        return None

    def embed(self, image: WellImage, sharpest_plane: int) -> npt.NDArray[np.float32]:
        """Return a zero, of shape (1,), for any well image and plane number."""
        del image, sharpest_plane
        return np.zeros(1, np.float32)


@dataclass
class BatchResult:
    """The outcomes of one batch, its longest image, its peak memory, and its control image."""

    seed: int
    outcomes: Counter[str] = field(default_factory=Counter)
    longest_s: float = 0.0
    control_is_stored: bool = False
    unexpected: list[str] = field(default_factory=list)  # reasons of unexpected exceptions
    peak_mib: float = 0.0


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Return the content of a file with one kind of random damage, or unchanged."""
    data = bytearray(content)
    kinds: Sequence[Callable[[], object]] = (
        lambda: None,
        lambda: _set_bytes(data, rng, range(min(len(data), 400)), rng.randint(1, 8)),
        lambda: _set_bytes(data, rng, range(len(data)), rng.randint(1, 40)),
        lambda: data.__delitem__(slice(rng.randrange(len(data) + 1), None)),
        lambda: _fill(data, rng, 0),
        lambda: _fill(data, rng, 255),
        lambda: data.extend(rng.randbytes(rng.randint(1, 5000))),
        lambda: _move(data, rng),
    )
    if data:
        rng.choice(kinds)()
    return bytes(data)


def _set_bytes(data: bytearray, rng: random.Random, places: range, count: int) -> None:
    """Set some bytes at places of the data to values that often occur in headers, or to noise."""
    for _ in range(count):
        data[rng.choice(places)] = rng.choice((0, 1, 2, 127, 128, 255, rng.randrange(256)))


def _fill(data: bytearray, rng: random.Random, value: int) -> None:
    """Fill a part of the data, often its end, with one value."""
    start = rng.randrange(len(data))
    end = len(data) if rng.random() < 0.5 else rng.randrange(start, len(data))  # noqa: PLR2004 - as often as not
    data[start:end] = bytes([value]) * (end - start)


def _move(data: bytearray, rng: random.Random) -> None:
    """Copy one part of the data over another part."""
    length = rng.randint(1, min(len(data), 200))
    source, target = rng.randrange(len(data)), rng.randrange(len(data))
    data[target : target + length] = data[source : source + length]


def mutate_name(name: str, rng: random.Random) -> str:
    """Return a file path that is changed at random, mostly at one place, and still usable."""
    if rng.random() < 0.5:  # noqa: PLR2004 - as often as not
        return name
    letters = list(name)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(letters))
        letters[place : place + rng.randint(0, 2)] = rng.choice(
            ["", "_", "A", "z", "9", "00", "é", "µ", " ", "-", "(1)", "_thumb", "\u0301", "½", "٣"]
        )
    return "".join(letters).strip("/").replace("//", "/") or "x.tif"


def write_batch(root: Path, seed: int) -> None:
    """Write a drop folder with a plate map and mutated images of a seed."""
    rng = random.Random(seed)  # noqa: S311 - reproducible damage
    samples = sample_files(seed)
    (root / "P1").mkdir(parents=True)
    (root / "P1" / "P1.plate.toml").write_text(
        f'plate = "P1"\nseeded_at = {SEEDED_AT.isoformat()}\n'
    )
    wells = "\n".join(f"B{column:02d},untreated," for column in range(2, 12))
    (root / "P1" / "P1.wells.csv").write_text(f"well,group,treatment\n{wells}\n")
    control = root / CONTROLS[seed % len(CONTROLS)]
    control.parent.mkdir(parents=True, exist_ok=True)
    control.write_bytes(control_image(control.suffix))
    for number in range(IMAGES_PER_BATCH - 1):
        well = f"{rng.choice('BCDEF')}{rng.randint(2, 11):02d}"
        name = CONTROLS[seed % len(CONTROLS)] if rng.random() < 0.7 else rng.choice(NAMES)  # noqa: PLR2004 - most names fit the pattern
        name = name.replace("G11", well).replace("0711", f"0{rng.randint(2, 6)}{well[1:]}")
        name = mutate_name(name.replace("_z1", f"_z{rng.randint(1, 3)}"), rng)
        path = root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(mutate(rng.choice(samples), rng))
            seconds = rng.choice((1.8e9, 1.8e9, 0, -1e10, 3e11, 9e9, 253_402_300_800))
            os.utime(path, (seconds, seconds))
        except (OSError, ValueError):  # a name that is too long, or a folder of this name
            (root / "P1" / f"rest{number}.tif").write_bytes(b"")


def control_image(suffix: str) -> bytes:
    """Return an undamaged image of a body on a bright background, as TIFF, PNG or JPEG."""
    y, x = np.mgrid[:96, :128]
    body = np.hypot(y - 48, x - 64) < 24  # noqa: PLR2004 - pixels
    noise = np.random.default_rng(0).normal(0, 3, body.shape)
    pixels = np.clip(np.where(body, 90, 200) + noise, 0, 255).astype(np.uint8)
    if suffix == ".tif":
        return tiff(pixels)
    encode = imagecodecs.png_encode if suffix == ".png" else imagecodecs.jpeg_encode
    return bytes(encode(pixels))


def ingest_batch(seed: int) -> BatchResult:
    """Ingest one batch with the service's parts and return its outcomes."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    warnings.simplefilter("error", RuntimeWarning)  # NumPy warns where a number becomes NaN
    result = BatchResult(seed)
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        root = Path(folder) / "drop"
        write_batch(root, seed)
        store = SqlStore(f"sqlite:///{folder}/store.sqlite")
        settings = DropFolderSettings(
            root, PATTERNS[seed % len(PATTERNS)], settle_s=0.0, poll_s=0.05, once=True
        )
        source = DropFolder(settings, store)
        images = ImagePath(
            EmptyEncoder(),
            TissueMethod(ClassicalSegmenter()),
            ConditionSettings(),
            store,
            RollingView(store, "measures", 0.0, DepartureSettings()),
            PlateRuns(store, timedelta(hours=6), Alerts(store, lambda: NOW)),
            lambda: NOW,
        )
        for outcome, seconds in _outcomes(source, images):
            result.outcomes[outcome] += 1
            result.longest_s = max(result.longest_s, seconds)
        stored = store.imaged("P1", EmptyEncoder.encoder_id)
        result.unexpected = [
            file.reason for file in store.rejected() if file.reason.startswith(UNEXPECTED)
        ]
        result.control_is_stored = any(image.key.well == "G11" for image in stored)
        source.close()
        store.close()
    result.peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


def _outcomes(source: DropFolder, images: ImagePath) -> Iterator[tuple[Outcome, float]]:
    """Yield the outcome of each item of a source, with the seconds since the one before."""
    started_s = time.perf_counter()
    while (item := source.next(timeout_s=0.5)) or source.status(NOW).pending:
        if item is None:
            continue
        plate = item.key.plate if isinstance(item, WellImage) else item.plate
        analysis = partial(_analysis_of, item, images)
        outcome = images.process(item, analysis, source.plate_maps().get(plate))
        source.done(item)
        kind = Outcome.REJECTED if isinstance(outcome, Rejected) else outcome
        yield kind, time.perf_counter() - started_s
        started_s = time.perf_counter()


def _analysis_of(item: WellImage | Rejected, images: ImagePath) -> Analysis:
    if isinstance(item, Rejected):
        raise TypeError("a refusal has no analysis")
    return images.analyse(item)


def run(
    seed: int, images: int, seconds: float, processes: int
) -> tuple[list[BatchResult], list[int]]:
    """Ingest batches until a number of images or a time is reached.

    Returns
    -------
    tuple
        The results, and the seeds of the batches that ended their process, raised an exception or
        did not end within 10 s for each image.
    """
    context = multiprocessing.get_context("spawn")
    results: list[BatchResult] = []
    crashed: list[int] = []
    end_s = time.monotonic() + seconds
    seeds = iter(range(seed * 1_000_000, seed * 1_000_000 + -(-images // IMAGES_PER_BATCH)))
    while (chunk := [s for _, s in zip(range(4 * processes), seeds, strict=False)]) and (
        time.monotonic() < end_s
    ):
        with ProcessPoolExecutor(processes, mp_context=context) as pool:
            futures = {number: pool.submit(ingest_batch, number) for number in chunk}
            for number, future in futures.items():
                try:
                    results.append(future.result(timeout=HANG_S * IMAGES_PER_BATCH))
                except (BrokenProcessPool, Exception) as error:  # noqa: BLE001 - the subject of this benchmark
                    crashed.append(number)
                    print(f"batch {number}: {type(error).__name__}: {error}", file=sys.stderr)
    return results, crashed


def run_texts(seed: int, count: int, *, maps: bool, requests: bool) -> int:
    """Print the results of ``count`` mutated texts of each kind; return 1 if any failed."""
    print(f"seed {seed}")
    kinds = {"maps": fuzz_maps} if maps else {}
    kinds |= {"requests": fuzz_requests} if requests else {}
    failed = False
    for name, fuzz in kinds.items():
        found = fuzz(seed, count)
        print("\n".join(lines_of(name, found)))
        failed |= bool(found.unexpected) or found.longest_s > HANG_S
    return int(failed)


def main() -> int:
    """Print the outcomes, crashes, hangs and memory of mutated images; return 1 if any failed."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--batch", type=int, help="ingest one batch by its seed, in this process")
    parser.add_argument("--maps", action="store_true", help="plate maps, assays, configurations")
    parser.add_argument("--requests", action="store_true", help="requests of clients")
    arguments = parser.parse_args()
    if arguments.maps or arguments.requests:
        return run_texts(
            arguments.seed, arguments.images, maps=arguments.maps, requests=arguments.requests
        )
    if arguments.batch is not None:
        print(ingest_batch(arguments.batch))
        return 0
    results, crashed = run(arguments.seed, arguments.images, arguments.seconds, arguments.processes)
    hangs = [result.seed for result in results if result.longest_s > HANG_S]
    lost = [result.seed for result in results if not result.control_is_stored]
    unexpected = [(result.seed, reason) for result in results for reason in result.unexpected]
    outcomes = sum((result.outcomes for result in results), Counter[str]())
    print(f"seed {arguments.seed}: {len(results) * IMAGES_PER_BATCH} mutated images and names")
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())))
    print(f"crashes: {len(crashed)} {crashed}")
    print(f"hangs over {HANG_S:.0f} s: {len(hangs)} {hangs}")
    print(f"undamaged images not stored: {len(lost)} {lost}")
    print(f"unexpected exceptions: {len(unexpected)} {unexpected}")
    print(f"longest image: {max((result.longest_s for result in results), default=0):.1f} s")
    print(f"peak memory of a worker: {max((r.peak_mib for r in results), default=0):.0f} MiB")
    return int(bool(crashed or hangs or lost or unexpected or not results))


if __name__ == "__main__":
    sys.exit(main())
