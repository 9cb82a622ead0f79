"""A backlog with assays is ranked by the calibration that all of its assays give."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from schemas.ranking import Ranking
from tests.made_up_site import Site
from tests.service.test_calibrations import calibrated, imaged
from tests.service_process import ServiceProcess
from tests.small_plates import write_assayed_plates

PLATES = tuple(f"VIRTUAL-0021-0{number}" for number in range(1, 5))
*ASSAYED, WITHOUT_ASSAY = PLATES
READOUT_DAY = 10
WAITING = timedelta(minutes=20)  # less than the readout deadline of the site


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a drop folder of four virtual plates on two days, three of them with assays."""
    out = tmp_path_factory.mktemp("archive")
    drop = write_assayed_plates(out, len(PLATES), seed=21, days=(7, READOUT_DAY))
    (drop / WITHOUT_ASSAY / f"{WITHOUT_ASSAY}.assay.csv").unlink()
    return drop


def newest(service: ServiceProcess) -> dict[tuple[str, int], Ranking]:
    """Return the newest ranking by plate and day."""
    return {
        (plate, ranking.day): ranking for plate in PLATES for ranking in service.rankings(plate)
    }


def order(ranking: Ranking) -> list[str]:
    """Return the ranked wells of a ranking, strongest effect first."""
    ranked = [(row.efficacy_rank, row.well) for row in ranking.wells if row.efficacy_rank]
    return [well for _, well in sorted(ranked)]


def assert_all_are_calibrated(rankings: dict[tuple[str, int], Ranking]) -> None:
    """Assert that each plate was ranked once, by all assays of the other plates."""
    assert rankings.keys() == {(plate, READOUT_DAY) for plate in PLATES}
    for (plate, _), ranking in rankings.items():
        assert ranking.revision == 1
        assert ranking.calibration is not None, ranking.notes
        assert set(ranking.calibration.plates) == set(ASSAYED) - {plate}
        assert ranking.method == "deterioration", ranking.notes


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_one_run_over_an_archive_ranks_every_plate_as_ranking_it_again_does(
    empty_service: ServiceProcess, archive: Path
) -> None:
    service = empty_service
    shutil.copytree(archive, service.drop, dirs_exist_ok=True)
    ended = service.run_once()
    assert ended.returncode == 0, ended.stderr
    ranked = newest(service)
    assert_all_are_calibrated(ranked)
    for plate in (ASSAYED[0], WITHOUT_ASSAY):
        asked = service.ask("rank", "plate", plate)
        assert asked.returncode == 0, asked.stderr
    again = newest(service)
    assert {place: order(each) for place, each in again.items()} == {
        place: order(each) for place, each in ranked.items()
    }
    assert_all_are_calibrated(again)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_running_service_ranks_a_backlog_after_its_assay_plates_are_ingested(
    empty_service: ServiceProcess, archive: Path
) -> None:
    service = empty_service
    shutil.copytree(archive, service.drop, dirs_exist_ok=True)
    with service.running():
        service.wait_for(lambda: len(newest(service)) == len(PLATES), timeout_s=200)
    assert_all_are_calibrated(newest(service))


def test_a_first_ranking_waits_while_the_calibration_of_its_line_needs_images(site: Site) -> None:
    calibrated(site)
    own = imaged(site, "own", 9)
    since = site.now
    site.now += WAITING
    assert site.days.run_due("own", is_waiting=False, catching_up_since=since) == []
    [ranking] = site.days.run_due("own", is_waiting=False)
    assert ranking.method == "deterioration"
    site.image(own, own.entries[-1].well, 10, seed=1)
    site.now += WAITING
    [corrected] = site.days.run_due("own", is_waiting=False, catching_up_since=since)
    assert (corrected.revision, corrected.method) == (2, "deterioration")


@pytest.mark.parametrize("is_waiting", [False, True])
def test_a_first_ranking_waits_for_a_calibration_until_the_readout_deadline(
    site: Site, *, is_waiting: bool
) -> None:
    imaged(site, "own", 9)
    since = site.now
    site.now += site.settings.readout_deadline - timedelta(seconds=1)
    assert site.days.run_due("own", is_waiting=is_waiting, catching_up_since=since) == []
    site.now += timedelta(seconds=1)
    [ranking] = site.days.run_due("own", is_waiting=is_waiting, catching_up_since=since)
    assert ranking.final


def test_a_deadline_that_passed_before_the_start_is_counted_from_the_start(site: Site) -> None:
    imaged(site, "own", 9)
    site.now += timedelta(days=3)
    since = site.now
    site.now += WAITING
    assert site.days.run_due("own", is_waiting=False, catching_up_since=since) == []
    site.now = since + site.settings.readout_deadline
    assert len(site.days.run_due("own", is_waiting=False, catching_up_since=since)) == 1


def test_only_pending_plates_of_a_line_with_an_assay_are_waited_for(site: Site) -> None:
    first, *_ = calibrated(site, line="A673")
    imaged(site, "own", 9)
    awaited = site.days.calibrations.awaited_lines
    assert awaited([], []) == frozenset()
    assert awaited([first.plate], []) == {"A673"}
    assert awaited(["own", "unknown"], []) == frozenset()
    assert awaited(["own"], ["own"]) == {None}
    site.method = "departure"
    site.restart()
    assert site.days.calibrations.awaited_lines([first.plate], []) == frozenset()
