"""Measure how many well images a second the service ingests, beside a bare loop, and each stage.

    python -m benchmarks.throughput --json throughput.json

For each image size and number of planes, the command measures in one run:

stages
    Processor time of each stage of one well image on one thread, in ms.
floor
    Well images a second of a bare loop that reads, reduces, encodes, segments and measures with the
    functions of the service on as many threads, and stores and publishes nothing.
backlog
    Well images a second of a running service, from the first to the last message that a subscriber
    receives, for a day before dosing and a day after it.
live
    Time from the last file of a well image being closed to its message being received, while no
    other image arrives. ``one image`` is the time of the bare loop for one image. The first image
    of the day has a row of its own: its folder is new, so the operating system may miss the close
    events of its files, and it then waits for ``settle_s``, which is 0.3 s here.

Rates depend on the other load of the computer, which is never the same for two measurements. The
processor times for an image, of the bare loop and of the main process, depend on it less.
``--spheroidkit PYTHON`` names an interpreter that has spheroidkit, as in ``benchmarks.measure``.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
import psutil
from threadpoolctl import threadpool_limits

from acquisition.drop_folder.image_decoding import ImageLimits, RawImage
from acquisition.drop_folder.image_reading import read_versions, stretch
from acquisition.quality import assess
from benchmarks.measure import Spheroidkit
from benchmarks.running_service import Subscriber, copy_files
from daemon.config import Config
from daemon.messaging.listen import Message
from daemon.pipeline import analyse
from daemon.tissue_analysis import TissueMethod
from daemon.wiring.networks import open_encoder, open_tissue
from daemon.wiring.service import SWITCH_INTERVAL_S
from inference.encoding.onnx_encoder import OnnxEncoder
from inference.tissue.measures import measure_tissue
from inference.tissue.picture import draw_outline_picture
from schemas.well_image import FileVersion, VisitKey, WellImage
from simulation.microscope import virtual_microscopes
from simulation.robot import write_plates
from tests.service_process import ServiceProcess

SIZES = (512, 1024, 2048)
PLANES = (3, 1)
BACKLOG_DAYS = (7, 8)  # the day of dosing and the day after it
LIVE_DAY = 9
SINGLE_IMAGES = 12  # of which each stage and the whole analysis are measured
SHARPEST_PLANE = "_z2.tif"  # of the virtual plates, the only plane of an image with one plane
END_S = 900.0
LIMITS = ImageLimits()


@dataclass(frozen=True)
class Row:
    """The results for images of one size and number of planes."""

    size_px: int
    planes: int
    images: int
    workers: int
    stages_ms: dict[str, float]  # processor time
    floor_per_s: float
    floor_cpu_ms: float  # processor time of one image
    backlog_per_s: float
    backlog_cpu_ms: float  # of the main process, for one image
    one_image_ms: float
    live_median_ms: float
    live_99th_ms: float  # percentile
    first_ms: float
    spheroidkit_ms: float | None = None  # processor time of one plane


@dataclass(frozen=True)
class BareLoop:
    """The stages of one well image, without a store, on the files of a folder."""

    root: Path
    encoder: OnnxEncoder
    tissue: TissueMethod

    def read(self, files: Sequence[Path]) -> WellImage:
        """Read the files of one well image."""
        versions = tuple(
            FileVersion.of(str(path.relative_to(self.root)), path.stat()) for path in files
        )
        results = read_versions(self.root, versions, LIMITS, one_plane=True)
        read = tuple(result for result in results if isinstance(result, RawImage))
        well = files[0].name[:3]
        planes = stretch(read, well, bits=None)
        key = VisitKey(files[0].parent.parent.name, well, files[0].parent.name)
        scale = read[0].metadata.um_per_px
        return WellImage(key, 7, None, versions, planes, scale, complete=True)

    def run(self, files: Sequence[Path]) -> None:
        """Read and analyse one well image."""
        analyse(self.read(files), self.encoder, self.tissue)

    def stages_ms(self, files: Sequence[Path]) -> dict[str, float]:
        """Return the processor time of each stage of one well image."""
        watch = Stopwatch()
        image = self.read(files)
        watch.note("read")
        _ = image.digest
        watch.note("digest")
        quality = assess(image.planes)
        watch.note("quality")
        plane = image.planes[quality.sharpest_plane]
        self.encoder.embed(image, quality.sharpest_plane)
        watch.note("encode")
        tissue = self.tissue.segmenter.segment(plane, image.um_per_px)
        watch.note("segment")
        measure_tissue(plane, tissue, image.um_per_px)
        watch.note("measure")
        draw_outline_picture(plane, tissue)
        watch.note("picture")
        return watch.laps_ms


@dataclass
class Stopwatch:
    """Processor times of this process between notes."""

    laps_ms: dict[str, float] = field(default_factory=dict)
    _last_s: float = field(default_factory=time.process_time)

    def note(self, name: str) -> None:
        """Record the time since the last note under a name."""
        now_s = time.process_time()
        self.laps_ms[name] = 1000 * (now_s - self._last_s)
        self._last_s = now_s


def groups_of(folder: Path) -> list[list[Path]]:
    """Return the files of each well image in a folder, in order of their planes."""
    groups: dict[tuple[Path, str], list[Path]] = {}
    for path in sorted(folder.rglob("*.tif")):
        groups.setdefault((path.parent, path.name[:3]), []).append(path)
    return list(groups.values())


def median_stages(loop: BareLoop, groups: Sequence[Sequence[Path]]) -> dict[str, float]:
    """Return the median processor time of each stage in ms."""
    rows = [loop.stages_ms(files) for files in groups]
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def floor(
    loop: BareLoop, groups: Sequence[Sequence[Path]], workers: int
) -> tuple[float, float, float]:
    """Return the images a second, the processor time of one in ms, and the time of one alone."""
    alone_ms = []
    for files in groups[:SINGLE_IMAGES]:
        begun_s = time.perf_counter()
        loop.run(files)
        alone_ms.append(1000 * (time.perf_counter() - begun_s))
    begun_s, cpu_s = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(loop.run, groups))
    took_s, cpu_s = time.perf_counter() - begun_s, time.process_time() - cpu_s
    return len(groups) / took_s, 1000 * cpu_s / len(groups), statistics.median(alone_ms)


@dataclass
class Receiver(Subscriber):
    """A subscriber that notes when the message of each well image arrives."""

    received_s: dict[tuple[int, str], float] = field(default_factory=dict)  # by day and well

    def receive(self, message: Message) -> None:
        """Note the time of the message of a well image."""
        super().receive(message)
        data = message.body["data"]
        if message.topic.split(".")[2] == "observation":
            self.received_s[int(data["day"]), str(data["well"])] = time.perf_counter()


def write_images(folder: Path, size_px: int, planes: int, wells: int) -> Path:
    """Write the images of a virtual plate, and return their drop folder."""
    write_plates(
        folder,
        virtual_microscopes(1, 3, size_px, wells=wells),
        days=(*BACKLOG_DAYS, LIVE_DAY),
    )
    for path in (folder / "drop").rglob("*.tif") if planes == 1 else ():
        if not path.name.endswith(SHARPEST_PLANE):
            path.unlink()
    return folder / "drop"


@dataclass(frozen=True)
class Ingest:
    """Times of a running service."""

    backlog_per_s: float
    backlog_cpu_ms: float  # of the main process, for one image
    first_ms: float  # of the first image of a day, in a new folder
    live_ms: list[float]  # of the other images of this day, which arrive one at a time


def run_service(folder: Path, made: Path, planes: int) -> Ingest:
    """Let a service ingest a backlog and then single images, and return the times."""
    service = ServiceProcess(folder)
    service.drop.mkdir(parents=True)
    service.configure(source=f"planes = {planes}")
    receiver = Receiver(service)
    [plate] = [path for path in made.iterdir() if path.is_dir()]
    with service.running() as running, receiver.listening():
        service.wait_for(lambda: service.events("service.started"), END_S)
        process = psutil.Process(running.pid)
        copy_files(service, made, [path for path in plate.iterdir() if path.is_file()])
        # The first image is not measured: models and code pages are loaded for it.
        backlog = [copied for day in BACKLOG_DAYS for copied in groups_of(plate / f"day{day:02d}")]
        copy_files(service, made, backlog[0])
        service.wait_for(lambda: receiver.received_s, END_S)
        before_s = own_cpu_s(process)
        for files in backlog[1:]:
            copy_files(service, made, files)
        service.wait_for(lambda: len(receiver.received_s) == len(backlog), END_S)
        cpu_ms = 1000 * (own_cpu_s(process) - before_s) / (len(backlog) - 1)
        times = sorted(receiver.received_s.values())[1:]
        rate = (len(times) - 1) / (times[-1] - times[0])
        time.sleep(2.0)  # the ranking of the day
        live = groups_of(plate / f"day{LIVE_DAY:02d}")
        first_ms, *live_ms = [live_image_ms(receiver, files, made) for files in live]
        return Ingest(rate, cpu_ms, first_ms, live_ms)


def live_image_ms(receiver: Receiver, files: Sequence[Path], made: Path) -> float:
    """Return the time from the last file of one image being closed to its message, in ms."""
    known = len(receiver.received_s)
    copy_files(receiver.service, made, files)
    closed_s = time.perf_counter()
    while len(receiver.received_s) == known:
        time.sleep(0.001)
        if time.perf_counter() - closed_s > END_S:
            raise TimeoutError(files[0])
    return 1000 * (max(receiver.received_s.values()) - closed_s)


def own_cpu_s(process: psutil.Process) -> float:
    """Return the processor time of a process without its children in s."""
    times = process.cpu_times()
    return float(times.user + times.system)


def spheroidkit_ms(python: str, groups: Sequence[Sequence[Path]], loop: BareLoop) -> float:
    """Return the median processor time of spheroidkit for one plane in ms, without the first."""
    with tempfile.TemporaryDirectory() as folder:
        other = Spheroidkit(python, Path(folder))
        planes = [loop.read(files).planes for files in groups[:4]]
        times = [other.segment(np.asarray(each[len(each) // 2]))[1] for each in planes]
        other.close()
    return 1000 * statistics.median(times[1:])


def measure(folder: Path, size_px: int, planes: int, options: argparse.Namespace) -> Row:
    """Measure the bare loop and the service with images of one size and number of planes."""
    made = write_images(folder / "made", size_px, planes, options.wells)
    config = Config()
    workers = config.encoder.workers or len(os.sched_getaffinity(0))
    tissue = open_tissue(config.tissue, config.stain)
    loop = BareLoop(made, open_encoder(config), tissue)
    groups = groups_of(made)
    loop.run(groups[0])
    stages = median_stages(loop, groups[:SINGLE_IMAGES])
    floors = [floor(loop, groups, workers)]
    ingest = run_service(folder / "service", made, planes)
    floors.append(floor(loop, groups, workers))  # the load may have changed meanwhile
    per_s, cpu_ms, alone_ms = (statistics.mean(values) for values in zip(*floors, strict=True))
    return Row(
        size_px,
        planes,
        len(groups),
        workers,
        stages,
        per_s,
        cpu_ms,
        ingest.backlog_per_s,
        ingest.backlog_cpu_ms,
        alone_ms,
        statistics.median(ingest.live_ms),
        float(np.quantile(ingest.live_ms, 0.99)),
        ingest.first_ms,
        spheroidkit_ms(options.spheroidkit, groups, loop) if options.spheroidkit else None,
    )


def table(rows: Sequence[Row]) -> str:
    """Return the results as a table in Markdown."""
    stages = list(rows[0].stages_ms)
    heads = [
        "size, planes",
        *(f"{name}, ms" for name in stages),
        "floor, 1/s",
        "backlog, 1/s",
        "ratio",
        "floor, cpu ms",
        "backlog, cpu ms",
        "one image, ms",
        "live, ms",
        "live, 99 %, ms",
        "first, ms",
    ]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        cells = [
            f"{row.size_px}² × {row.planes}",
            *(f"{row.stages_ms[name]:.1f}" for name in stages),
            f"{row.floor_per_s:.1f}",
            f"{row.backlog_per_s:.1f}",
            f"{row.backlog_per_s / row.floor_per_s:.2f}",
            f"{row.floor_cpu_ms:.0f}",
            f"{row.backlog_cpu_ms:.0f}",
            f"{row.one_image_ms:.0f}",
            f"{row.live_median_ms:.0f}",
            f"{row.live_99th_ms:.0f}",
            f"{row.first_ms:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    for row in rows:
        if row.spheroidkit_ms is not None:
            ours_ms = row.stages_ms["segment"] + row.stages_ms["measure"]
            lines.append(
                f"{row.size_px}² × {row.planes}: spheroidkit {row.spheroidkit_ms:.0f} ms, segment "
                f"and measure {ours_ms:.0f} ms, {row.spheroidkit_ms / ours_ms:.0f} times as fast"
            )
    return "\n".join(lines)


def main() -> int:
    """Measure all sizes and numbers of planes, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--planes", type=int, nargs="+", choices=PLANES, default=PLANES)
    parser.add_argument("--wells", type=int, default=60, help="on three days")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--spheroidkit", metavar="PYTHON", help="an interpreter that has it")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    sys.setswitchinterval(SWITCH_INTERVAL_S)  # as in the service
    rows = []
    with threadpool_limits(1, user_api="blas"):
        for size_px in options.sizes:
            for planes in options.planes:
                with tempfile.TemporaryDirectory() as folder:
                    rows.append(measure(Path(folder), size_px, planes, options))
                print(rows[-1], flush=True)
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
