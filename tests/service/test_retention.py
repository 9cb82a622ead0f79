"""The running service deletes old data every day, and a client learns of the gap."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.soak_clock import Compression
from tests.running_messages import ask
from tests.service_process import PLATE, ServiceProcess

DAY_S = 86_400.0


@dataclass(frozen=True)
class LaterService(ServiceProcess):
    """The service 40 days later, on a computer for which a day is four seconds."""

    def command(self, *arguments: str) -> list[str]:
        clock = self.folder / "clock.json"
        Compression(time.time(), time.time() + 40 * DAY_S, factor=20_000.0).write(clock)
        module = [sys.executable, "-m", "benchmarks.soak_clock", str(clock)]
        return [*module, *arguments, "--config", str(self.config)]


@pytest.mark.slow
def test_the_running_service_deletes_messages_and_pictures_of_a_closed_plate(
    ranked_copy: ServiceProcess,
) -> None:
    service = LaterService(ranked_copy.folder)
    with service.config.open("a") as file:
        file.write("[retention]\nmessages_days = 30\npictures_days = 30\n")
    before = _files(service.folder / "rankings")
    images = len(list(service.drop.rglob("*.tif")))
    with service.running():
        service.wait_for(lambda: service.events("store.pruned"))
        reply = ask(service.requests, kind="replay", after=1)
    with service.store() as store:
        wells = store.arrived(PLATE)
        assert store.pictures(wells) == {}
        topics = [each.topic.split(".")[2] for each in store.messages_after(0)]
        assert topics.count("observation") == 1
        assert topics.count("ranking") == len(store.rankings(PLATE))
    [pruned] = service.events("store.pruned")
    assert pruned["pictures"] == len(wells)
    assert pruned["messages"] >= len(wells) - 1
    assert reply["deleted_through"] > 1
    assert _files(service.folder / "rankings") == before
    assert len(list(service.drop.rglob("*.tif"))) == images


def _files(folder: Path) -> dict[str, str]:
    """Return the content of each JSON file in a folder, by path."""
    return {str(path): json.loads(path.read_text()) for path in folder.rglob("*/*.json")}
