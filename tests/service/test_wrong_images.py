"""Images that were saved and later found to show another well, from the microscope to a ranking."""

from pathlib import Path

import pytest

from acquisition.microscope.imaging_journal import day_journal
from daemon.config import load_config
from daemon.jobs.offline_ranking import rank_plate_again
from daemon.wiring.service import open_service
from schemas.ranking import Ranking
from tests.imaged_plate import ImagedPlate
from tests.laboratory import now

pytestmark = [pytest.mark.micromanager, pytest.mark.slow]

DOSED, DAY = 7, 8
REASON = "B08 shows the picture of B07 (likeness 0.81)"


@pytest.fixture
def plate(tmp_path: Path) -> ImagedPlate:
    """Return a plate whose images of two days are saved."""
    made = ImagedPlate.make(tmp_path, day=DOSED, wells=12)
    made.image(DOSED)
    made.world.place_plate(made.plate, DAY)
    made.image(DAY)
    return made


def rankings(plate: ImagedPlate) -> list[Ranking]:
    """Run the service until all images are ranked, and return those of the day."""
    config = load_config(plate.folder / "spherorank.toml")
    with open_service(config, once=True) as service:
        service.run(once=True)
        return [each for each in service.store.rankings(plate.plate) if each.day == DAY]


def left_out(ranking: Ranking) -> dict[str, str]:
    return {each.well: each.reason for each in ranking.quality.left_out}


def test_wrong_images_are_left_out_of_the_ranking_until_new_images_replace_them(
    plate: ImagedPlate,
) -> None:
    first, second = plate.wells[5:7]
    config = load_config(plate.folder / "spherorank.toml")
    journal = day_journal(plate.folder / "microscope", plate.plate, DAY)
    [ranked] = rankings(plate)
    assert left_out(ranked) == {}

    journal.record_repeat(first, REASON, now())
    offline = rank_plate_again(config, plate.plate, DAY, final=False)
    why = f"image of day {DAY} does not count: {REASON}"
    assert left_out(offline) == {first: why}

    journal.record_repeat(second, REASON, now())
    *_, by_service = rankings(plate)
    assert by_service.revision == 3
    assert left_out(by_service) == {first: why, second: why}
    assert by_service.quality.missing_images == ()
    assert [row.well for row in by_service.wells if row.score is None] == [first, second]

    plate.image(DAY, first, second)
    *_, replaced = rankings(plate)
    assert replaced.revision == 4
    assert left_out(replaced) == {}
    assert all(row.score is not None for row in replaced.wells)
