"""Days without images: the alert, and the final ranking of a plate without a readout."""

import json
import shutil
from datetime import datetime, timedelta

import pandas as pd
import pytest

from daemon.missing_images import MissingImages
from schemas.messages import AlertKind
from schemas.plate_map import PlateMap
from schemas.ranking import Gate, Ranking
from tests.made_up_site import Site, small
from tests.service.test_runs import specimens_of
from tests.service_process import PLATE, WELLS, ServiceProcess

DAY = timedelta(days=1)
WAIT = timedelta(minutes=30)  # the readout deadline of the site


def end_of(plate: PlateMap, day: int) -> datetime:
    """Return the midnight after a culture day, by hand: the plate is seeded at 9:00."""
    return plate.seeded_at + timedelta(days=day - 1, hours=15)


def missing(site: Site, plate: PlateMap, at: datetime, **options: tuple[int, ...]) -> list[str]:
    """Check a plate for missing images at a time, and return all messages of the alert so far."""
    site.now = at
    MissingImages(site.store, site.days.due_days, site.days.alerts, **options).check(
        plate.plate, is_waiting=False
    )
    texts = [json.loads(body)["data"]["message"] for body in site.alerts(AlertKind.IMAGES_MISSING)]
    return [text.split(";")[0] for text in texts]


def newly_seeded(site: Site, **changes: object) -> PlateMap:
    """Store the map of a plate at its seeding; the site knows it from then on."""
    plate = small("P", **changes)
    site.now = plate.seeded_at
    site.add(plate, days=())
    site.rank(plate)
    missing(site, plate, site.now)
    return plate


def test_a_day_without_images_raises_one_alert_at_its_deadline_and_images_clear_it(
    site: Site,
) -> None:
    plate = newly_seeded(site)
    site.now = plate.seeded_at + 6 * DAY
    site.add(plate, days=(7,))
    deadline = end_of(plate, 8) + WAIT
    assert missing(site, plate, deadline - timedelta(seconds=1)) == []
    expected = ["plate P: no image of day 8 was stored by its deadline (2026-11-18T00:30+01:00)"]
    assert missing(site, plate, deadline) == expected
    assert missing(site, plate, deadline + timedelta(hours=1)) == expected
    assert site.days.alerts.active_count == 1
    site.add(plate, days=(8,))
    assert missing(site, plate, deadline + timedelta(hours=2)) == expected
    assert site.days.alerts.active_count == 0


def test_the_deadline_is_that_of_the_time_zone_of_seeded_at(site: Site) -> None:
    plate = small("P").model_copy(
        update={"seeded_at": datetime.fromisoformat("2026-11-10T09:00:00-08:00")}
    )
    site.now = plate.seeded_at
    site.add(plate, days=())
    missing(site, plate, site.now)
    assert missing(site, plate, datetime.fromisoformat("2026-11-17T08:29:00+00:00")) == []
    [text] = missing(site, plate, datetime.fromisoformat("2026-11-17T08:30:00+00:00"))
    assert "day 7" in text
    assert "2026-11-17T00:30-08:00" in text


@pytest.mark.parametrize(
    ("imaged", "changes", "options", "days"),
    [
        ((), {}, {}, [7, 10]),  # a plate that was never imaged: dosing and readout
        ((7,), {}, {}, [8, 9, 10]),
        ((6,), {}, {}, [7, 8, 9, 10]),
        ((1, 7), {}, {}, [8, 9, 10]),  # days before dosing are not needed
        ((7,), {"acquire_days": (1, 7, 10)}, {}, [10]),
        ((7,), {}, {"imaging_days": (6, 8, 10)}, [8, 10]),
        ((7, 8, 9, 10), {}, {}, []),
        ((7,), {"dosed_on_day": 5, "readout_day": 8}, {}, [5, 8]),
    ],
)
def test_only_days_that_a_ranking_needs_raise_an_alert(
    site: Site,
    imaged: tuple[int, ...],
    changes: dict[str, object],
    options: dict[str, tuple[int, ...]],
    days: list[int],
) -> None:
    plate = newly_seeded(site, **changes)
    site.add(plate, days=imaged)
    found = missing(site, plate, end_of(plate, plate.readout_day) + WAIT, **options)
    assert [text.split(" was ")[0] for text in found] == [
        f"plate P: no image of day {day}" for day in days
    ]


def test_no_day_is_missing_while_images_of_the_plate_are_queued_or_still_arrive(
    site: Site,
) -> None:
    plate = newly_seeded(site)
    site.now = end_of(plate, 20)
    assert site.days.due_days.missing_days(plate, is_waiting=True) == []
    assert site.days.due_days.missing_days(plate, is_waiting=False) == [7, 8, 9, 10]
    site.add(plate, days=(7,))
    assert site.days.due_days.missing_days(plate, is_waiting=False) == []
    site.now += site.settings.correction_quiet
    assert site.days.due_days.missing_days(plate, is_waiting=False) == [8, 9, 10]


def without_readout(site: Site, *days: int) -> tuple[PlateMap, Ranking]:
    """Return a plate with images of some days, and its only ranking after the readout deadline."""
    plate = newly_seeded(site)
    site.add(plate, days=days)
    site.now = end_of(plate, 10) + WAIT - timedelta(hours=2)  # rank advances the clock by 1 h
    provisional = [ranking.day for ranking in site.rank(plate)]
    assert provisional == [day for day in days if day > plate.dosed_on_day]
    [ranking] = site.rank(plate)
    return plate, ranking


@pytest.mark.parametrize("days", [(), (6, 7), (6, 7, 8)])
def test_a_plate_without_a_readout_image_gets_one_final_ranking_at_its_deadline(
    site: Site, days: tuple[int, ...]
) -> None:
    plate, ranking = without_readout(site, *days)
    assert (ranking.day, ranking.final, ranking.revision, ranking.replaces) == (10, True, 1, None)
    assert ranking.quality.gate is Gate.NO_READOUT
    assert ranking.quality.reasons == ("no image of day 10 was stored by the readout deadline",)
    assert ranking.quality.missing_images == plate.wells_with_tissue
    assert ranking.treatments == ()
    assert [row.score for row in ranking.wells] == [None] * len(plate.entries)
    assert site.rank(plate) == []
    site.restart()
    assert site.rank(plate) == site.rank(plate) == []
    assert missing(site, plate, site.now) == [
        "plate P: no image of day 10 was stored by the readout deadline"
    ]


def test_late_images_correct_a_ranking_without_a_readout(site: Site) -> None:
    plate, _ = without_readout(site, 6, 7)
    site.add(plate, days=(10,))
    [corrected] = site.rank(plate)
    assert (corrected.day, corrected.final, corrected.revision, corrected.replaces) == (
        10,
        True,
        2,
        1,
    )
    assert corrected.quality.gate is not Gate.NO_READOUT
    assert len(corrected.treatments) == 4
    assert site.rank(plate) == []


def test_a_readout_that_cannot_be_ranked_ends_without_a_readout_at_its_deadline(
    site: Site,
) -> None:
    plate = newly_seeded(site)
    site.now = plate.seeded_at + 9 * DAY
    site.add(plate, days=(10,))  # no image from before dosing
    assert site.days.run_due("P", is_waiting=False) == []
    [ranking] = site.rank(plate)
    assert ranking.quality.gate is Gate.NO_READOUT
    assert ranking.quality.missing_images == ()
    assert "dos" in ranking.quality.reasons[0]
    assert site.rank(plate) == []
    site.add(plate, days=(6, 7))
    [corrected] = site.rank(plate)
    assert (corrected.revision, len(corrected.treatments)) == (2, 4)


def test_a_readout_image_by_another_encoder_is_an_image(site: Site) -> None:
    plate = newly_seeded(site)
    site.add(plate)
    site.now = end_of(plate, 20)
    due_days = site.days.due_days
    other = type(due_days)(site.store, "other:1", site.settings, site.clock)
    assert other.of_plate(plate, is_waiting=False, all_is_in=True) == []


def test_a_plate_without_a_readout_takes_no_part_in_its_specimen(site: Site) -> None:
    specimens = specimens_of(site)
    for plate in (small("P", specimen="PAT-07"), small("Q", specimen="PAT-07")):
        site.add(plate, days=(6, 7) if plate.plate == "P" else (6, 7, 10))
        site.rank(plate)
        for ranking in site.rank(plate):
            specimens.note(ranking)
    assert [each.quality.gate for each in site.store.rankings("P")] == [Gate.NO_READOUT]
    for ranking in (*site.store.rankings("P"), *site.store.rankings("Q")):
        specimens.note(ranking)
    specimens.rank_noted()
    assert site.store.specimen_rankings("PAT-07") == []
    late = small("P", specimen="PAT-07")
    site.add(late, days=(10,))
    for ranking in site.rank(late):
        specimens.note(ranking)
    specimens.rank_noted()
    [ranked] = site.store.specimen_rankings("PAT-07")
    assert [each.plate for each in ranked.plates] == ["P", "Q"]


def test_no_readout_is_missing_while_the_drop_folder_is_gone(site: Site) -> None:
    plate = newly_seeded(site)
    site.now = end_of(plate, 20)
    due = site.days.due_days.of_plate
    assert due(plate, is_waiting=False, all_is_in=False, is_source_gone=True) == []
    assert [each.day for each in due(plate, is_waiting=False, all_is_in=False)] == [10]


def test_run_once_ends_a_plate_whose_readout_never_came_and_a_late_readout_corrects_it(
    service: ServiceProcess,
) -> None:
    readout = service.folder / "later"
    shutil.move(service.drop / PLATE / "day10", readout)
    done = service.run_once()
    assert done.returncode == 0, done.stderr
    assert [(each.day, each.final) for each in service.rankings()] == [(8, False), (10, True)]
    folder = service.folder / "rankings" / PLATE
    written = json.loads((folder / "latest.json").read_text())
    assert written["quality"]["gate"] == "no_readout"
    assert (written["day"], written["final"], written["treatments"]) == (10, True, [])
    assert len(pd.read_csv(folder / "day10-r1.csv")) == 0
    assert len(pd.read_csv(folder / "day10-r1-wells.csv")) == WELLS
    page = (folder / "day10-r1.html").read_text()
    assert "NO READOUT" in page
    assert "no image of day 10 was stored by the readout deadline" in page
    with service.store() as store:
        [message] = store.messages_after(0, f"spherorank.v1.ranking.{PLATE}")[-1:]
        [alert] = store.messages_after(0, "spherorank.v1.alert")
    assert json.loads(message.body)["data"] == written
    text = json.loads(alert.body)["data"]
    assert (text["kind"], text["plate"]) == ("images_missing", PLATE)
    assert "no image of day 10" in text["message"]
    service.run_once()
    assert len(service.rankings()) == 2
    shutil.move(readout, service.drop / PLATE / "day10")
    service.run_once()
    [*_, corrected] = service.rankings()
    assert (corrected.day, corrected.revision, corrected.replaces) == (10, 2, 1)
    assert (corrected.final, corrected.quality.gate) == (True, Gate.PASSED)


def test_the_running_service_ends_a_plate_without_images(empty_service: ServiceProcess) -> None:
    folder = empty_service.drop / "OLD"
    folder.mkdir()
    (folder / "OLD.plate.toml").write_text(
        'plate = "OLD"\nseeded_at = 2026-03-10T09:00:00+01:00\nwells = ["B02", "B03"]\n'
    )
    (folder / "OLD.wells.csv").write_text("well,group,treatment\nB02,untreated,\nB03,blank,\n")
    with empty_service.running():
        empty_service.wait_for(lambda: empty_service.rankings("OLD"), timeout_s=40)
    [ranking] = empty_service.rankings("OLD")
    assert (ranking.quality.gate, ranking.quality.missing_images) == (Gate.NO_READOUT, ("B02",))
    assert len(empty_service.events("alert.raised")) == 1


def test_a_folder_without_a_readable_image_logs_its_endings_once(
    empty_service: ServiceProcess,
) -> None:
    for name in ("B02_z1.bmp", "B03_z1.bmp", "plate.czi"):
        (empty_service.drop / name).write_bytes(b"image")
    done = empty_service.run_once()
    assert done.returncode == 0, done.stderr
    [line] = empty_service.events("files.passed_over")
    assert line["files"] == {".bmp": 2, ".czi": 1}
