"""A readout deadline that passes while the service is down: images that wait are ingested first."""

import shutil
import time
from pathlib import Path

import pytest

from tests.service_process import PLATE, ServiceProcess

DEADLINE_S = 3.0


@pytest.mark.slow
def test_images_that_arrived_while_the_service_was_down_are_in_the_final_ranking(
    service: ServiceProcess, tmp_path: Path
) -> None:
    shutil.rmtree(service.drop / PLATE / "day08")
    late = service.wells()[0]
    moved = service.well(late, 10)
    for path in moved:
        shutil.move(path, tmp_path)
    service.configure(ranking=f"readout_deadline_h = {60 / 3600}")
    images = len(list(service.drop.rglob("*_z1.tif")))
    with service.running() as process:
        service.wait_for(lambda: len(service.events("image.stored")) == images)
        process.terminate()
        process.wait(timeout=20)
    assert service.rankings() == []
    for path in moved:
        shutil.move(tmp_path / path.name, path)
    service.configure(ranking=f"readout_deadline_h = {DEADLINE_S / 3600}")
    time.sleep(DEADLINE_S)
    with service.running():
        service.wait_for(service.rankings)
    [ranking] = service.rankings()
    assert ranking.final
    assert ranking.quality.missing_images == ()
    assert late in {row.well for row in ranking.wells if row.score is not None}
