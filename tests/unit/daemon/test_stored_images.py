"""Worker processes that read stored images again, on a share that hangs."""

import time

import psutil
import pytest

from daemon.stored_images import results_in_order, worker_pool
from schemas.errors import MachineError


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def prepare() -> None:
    """Prepare nothing in a worker process."""


def nap_in_workers(results: list[float]) -> None:
    """Add results of a worker process to a list until one hangs."""
    with worker_pool(1, prepare) as pool:
        results += results_in_order(pool, nap, [0.2, 0.1], lambda: None, limit_s=100)
        results += results_in_order(pool, nap, [0.0, 300.0], lambda: results.append(-1), limit_s=1)


def test_a_worker_that_hangs_ends_the_work_within_its_limit() -> None:
    results: list[float] = []
    before = set(psutil.Process().children())
    with pytest.raises(MachineError, match="does the file server run"):
        nap_in_workers(results)
    ticks = results.count(-1)
    assert [each for each in results if each >= 0] == [0.2, 0.1, 0.0]
    assert ticks >= 2
    _, alive = psutil.wait_procs(set(psutil.Process().children()) - before, timeout=30)
    assert [each for each in alive if "spawn_main" in " ".join(each.cmdline())] == []
