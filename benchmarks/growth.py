"""Measure what a service costs with 10, 100 and 1,000 stored plates of 60 wells and 10 days.

    python -m benchmarks.growth

For each size a new store is written, see :mod:`benchmarks.grown_store`. Its plates are closed. The
service starts on it, and the command measures:

start
    Processor time and time until the service is ready.
idle
    Processor time of the main process and of the process of the sockets, as a share of one core.
memory
    Resident memory of both processes when idle, and of the main process after the images.
status
    Time of one request for the status.
ingest
    Processor time of a well image of 128 × 128 pixels, from its files to its message.
ranking
    Processor time of a ranking of one plate, in this process.

The result is a table with the ratio of the largest store to the smallest. Times depend on the
computer and its load; the ratios less so.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from benchmarks.grown_store import TEMPLATE, close_plates, grow
from daemon.alerts import Alerts
from daemon.config import load_config
from daemon.messaging.asking import ask
from daemon.wiring.rankings import open_days
from daemon.wiring.service_clock import now
from daemon.wiring.store import open_store
from inference.bundle import load_bundle
from schemas.requests import StatusReply, StatusRequest
from simulation.microscope import virtual_microscopes
from simulation.robot import write_plates
from tests.service_process import ServiceProcess
from tests.small_plates import with_few_wells

SIZES = (10, 100, 1000)
IDLE_S = 60.0
LIMIT_S = 3600.0
STATUS_REQUESTS = 50
RANKINGS = 5
LIVE_DAY = 7


@dataclass(frozen=True)
class Cost:
    """The costs of a service with a number of stored plates."""

    plates: int
    store_mb: float
    start_s: float
    start_cpu_s: float
    idle_percent: float  # of one core
    main_mib: float
    sockets_mib: float
    main_after_ingest_mib: float
    status_ms: float
    ingest_cpu_ms: float
    ranking_cpu_ms: float


def measure(folder: Path, plates: int, idle_s: float) -> Cost:
    """Write a store with a number of plates into a folder, and measure the service on it."""
    service = ServiceProcess(folder)
    store = folder / "spherorank.sqlite"
    if not store.exists():
        service.drop.mkdir(parents=True)
        write_configuration(service)
        grow(load_config(service.config), plates)
    close_plates(load_config(service.config))  # of an earlier run with another version
    started = len(service.events("service.started"))
    begun_s = time.monotonic()
    with service.running() as running:
        process = psutil.Process(running.pid)
        while len(service.events("service.started")) == started:
            time.sleep(0.05)
        start_s, start_cpu_s = time.monotonic() - begun_s, processor_s(process)
        time.sleep(10.0)  # the first sweep and the first listing
        before_s = processor_s(process)
        time.sleep(idle_s)
        idle_percent = 100 * (processor_s(process) - before_s) / idle_s
        [sockets] = [each for each in process.children() if "spawn_main" in str(each.cmdline())]
        memory = process.memory_info().rss, sockets.memory_info().rss
        status_ms = statistics.median(timed(lambda: ask_status(service), STATUS_REQUESTS))
        ingest_cpu_ms = ingest(service, process)
        after_ingest = process.memory_info().rss
    return Cost(
        plates,
        store.stat().st_size / 1e6,
        start_s,
        start_cpu_s,
        idle_percent,
        memory[0] / 2**20,
        memory[1] / 2**20,
        after_ingest / 2**20,
        1000 * status_ms,
        ingest_cpu_ms,
        1000 * statistics.median(rank(service)),
    )


def write_configuration(service: ServiceProcess) -> None:
    """Write a configuration with the default intervals, and with the sockets in the folder."""
    service.config.write_text(
        '[health]\nhttp = ""\n[ranking]\nmethod = "departure"\n'
        f'[publisher]\nevents = "ipc://{service.folder}/events"\n'
        f'requests = "{service.requests}"\n'
    )


def ask_status(service: ServiceProcess) -> StatusReply:
    """Ask the service for its status."""
    return ask(service.requests, StatusRequest(), StatusReply, timeout_s=30.0)


def ingest(service: ServiceProcess, process: psutil.Process) -> float:
    """Let a robot write a day of a new plate; return the processor time of an image in ms."""
    stored = len(service.events("image.stored"))  # also those of an earlier run with this store
    [scope] = virtual_microscopes(1, 3 + stored, 128)
    few = with_few_wells(scope, untreated=8, single_dose=2, treatments=2)
    images = len(few.plate.wells)
    made = service.folder / f"made-{stored}"
    write_plates(made, [few], days=(LIVE_DAY,))
    before_s = processor_s(process)
    shutil.copytree(made / "drop", service.drop, dirs_exist_ok=True)
    service.wait_for(lambda: len(service.events("image.stored")) >= stored + images, LIMIT_S)
    return 1000 * (processor_s(process) - before_s) / images


def rank(service: ServiceProcess) -> list[float]:
    """Rank a stored plate several times in this process; return the processor times in s."""
    config = load_config(service.config)
    card = load_bundle(config.encoder.bundle).card
    with closing(open_store(config)) as store:
        days = open_days(config, store, card, Alerts(store, now))
        plate_map = store.plate_map(TEMPLATE)
        if plate_map is None:
            raise LookupError(TEMPLATE)
        seconds = []
        for _ in range(RANKINGS):
            begun_s = time.process_time()
            days.rank_day(days.due_days.requested(plate_map, plate_map.readout_day, final=False))
            seconds.append(time.process_time() - begun_s)
    return seconds


def timed(call: Callable[[], object], times: int) -> list[float]:
    """Return the times of several calls in s."""
    seconds = []
    for _ in range(times):
        begun_s = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begun_s)
    return seconds


def processor_s(process: psutil.Process) -> float:
    """Return the processor time of a process and its children in s."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def table(costs: Sequence[Cost]) -> str:
    """Return the costs as a table in Markdown, with the ratios of the last to the first."""
    columns = [asdict(cost) for cost in costs]
    lines = [
        "| | " + " | ".join(f"{cost.plates:,} plates" for cost in costs) + " | ratio |",
        "|---" * (len(costs) + 2) + "|",
    ]
    for name in list(columns[0])[1:]:
        values = [column[name] for column in columns]
        ratio = values[-1] / values[0] if values[0] else float("nan")
        cells = [*(f"{value:,.3g}" for value in values), f"{ratio:.2f}"]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Measure the stores of all sizes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--idle-s", type=float, default=IDLE_S)
    parser.add_argument("--stores", type=Path, help="folder of stores that are kept and used again")
    options = parser.parse_args()
    costs = []
    for plates in options.sizes:
        with tempfile.TemporaryDirectory() as temporary:
            folder = (options.stores or Path(temporary)) / str(plates)
            costs.append(measure(folder, plates, options.idle_s))
            print(costs[-1], flush=True)
    print(table(costs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
