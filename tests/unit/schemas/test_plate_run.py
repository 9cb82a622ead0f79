"""An image takes part in the run of its plate in which it was taken."""

from datetime import datetime, timedelta

import pytest

from schemas.observation import VisitVersion
from schemas.plate_run import OUTSIDE, agree_with_seeding, is_in_run, readout_deadline
from schemas.well_image import VisitKey
from tests.samples import SEEDED_AT, plate_map

MAP = plate_map(run=2)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
NOW = SEEDED_AT + 12 * DAY
LONG_AGO = datetime.fromisoformat("1980-01-01T00:00:00+00:00")


def image(
    *,
    day: int = 7,
    run: int = 2,
    taken_at: datetime | None = None,
    saved_at: datetime | None = None,
    received_at: datetime = NOW,
) -> VisitVersion:
    return VisitVersion(
        observation_id=1,
        key=VisitKey(MAP.plate, "B02", f"day{day:02d}", run),
        version=1,
        digest="0" * 64,
        pixel_digest="0" * 64,
        day=day,
        taken_at=taken_at,
        received_at=received_at,
        complete=True,
        um_per_px=1.36,
        file_scales=(),
        saved_at=saved_at,
    )


DATED = {
    "at seeding": (SEEDED_AT, True),
    "before seeding": (SEEDED_AT - HOUR, False),
    "last year": (SEEDED_AT - 365 * DAY, False),
    "on the day after the readout": (SEEDED_AT + 10 * DAY, True),
    "two days after the readout": (SEEDED_AT + 11 * DAY, False),
}


@pytest.mark.parametrize("run", [2, OUTSIDE])
@pytest.mark.parametrize(("taken_at", "expected"), DATED.values(), ids=DATED)
def test_the_time_of_the_microscope_decides(
    taken_at: datetime,
    expected: bool,  # noqa: FBT001 - a case
    run: int,
) -> None:
    assert is_in_run(image(taken_at=taken_at, run=run), MAP) is expected


def test_a_day_after_the_readout_may_have_a_time_after_the_readout() -> None:
    assert is_in_run(image(day=14, taken_at=SEEDED_AT + 13 * DAY), MAP)


def test_no_image_of_another_run_takes_part_whatever_its_time() -> None:
    for run in (1, 3):
        assert not is_in_run(image(run=run, taken_at=SEEDED_AT + DAY), MAP)
        assert not is_in_run(image(run=run), MAP)


WRONG_CLOCKS = {
    "never set": LONG_AGO,
    "ahead of this computer": NOW + 2 * DAY,
}


@pytest.mark.parametrize("at", WRONG_CLOCKS.values(), ids=WRONG_CLOCKS)
def test_a_wrong_clock_does_not_move_an_image_out_of_the_run_in_which_it_arrived(
    at: datetime,
) -> None:
    assert is_in_run(image(taken_at=at), MAP)
    assert is_in_run(image(saved_at=at), MAP)
    assert not is_in_run(image(taken_at=at, run=OUTSIDE), MAP)


def test_a_plate_in_the_future_of_this_computer_is_compared_with_the_same_clock() -> None:
    early = SEEDED_AT - 100 * DAY
    assert is_in_run(image(taken_at=SEEDED_AT + DAY, received_at=early), MAP)
    assert not is_in_run(image(taken_at=SEEDED_AT - DAY, received_at=early), MAP)
    assert is_in_run(image(saved_at=early, received_at=early), MAP)


UNDATED = {
    "a file from before seeding": (2, SEEDED_AT - HOUR, False),
    "a file of the run": (2, SEEDED_AT + HOUR, True),
    "a copied file": (2, SEEDED_AT + 300 * DAY, True),
    "no file": (2, None, True),
    "outside, and no file": (OUTSIDE, None, False),
    "outside, a file of the run": (OUTSIDE, SEEDED_AT + HOUR, True),
    "outside, a file from before seeding": (OUTSIDE, SEEDED_AT - HOUR, False),
    "outside, a copied file": (OUTSIDE, SEEDED_AT + 300 * DAY, False),
}


@pytest.mark.parametrize(("run", "saved_at", "expected"), UNDATED.values(), ids=UNDATED)
def test_without_a_time_the_arrival_decides_unless_the_file_is_older_than_the_seeding(
    run: int,
    saved_at: datetime | None,
    expected: bool,  # noqa: FBT001 - a case
) -> None:
    received_at = SEEDED_AT + 300 * DAY
    assert is_in_run(image(run=run, saved_at=saved_at, received_at=received_at), MAP) is expected


MIDNIGHT = datetime.fromisoformat("2026-11-19T00:00:00+01:00")  # of the readout day
DEADLINES = {
    "after the first readout image": (
        [image(day=10, taken_at=MIDNIGHT + 9 * HOUR), image(day=10, taken_at=MIDNIGHT + 8 * HOUR)],
        MIDNIGHT + 14 * HOUR,
    ),
    "after it was stored, without a time": (
        [image(day=10, received_at=MIDNIGHT + 10 * HOUR)],
        MIDNIGHT + 16 * HOUR,
    ),
    "stored long after the readout day": (
        [image(day=10, received_at=MIDNIGHT + 400 * DAY)],
        MIDNIGHT + 30 * HOUR,
    ),
    "stored before the readout day": (
        [image(day=10, received_at=MIDNIGHT - 400 * DAY)],
        MIDNIGHT + 6 * HOUR,
    ),
    "no image of the readout day": (
        [image(day=9, taken_at=MIDNIGHT - 15 * HOUR)],
        MIDNIGHT + 30 * HOUR,
    ),
    "no image": ([], MIDNIGHT + 30 * HOUR),
}


@pytest.mark.parametrize(("images", "expected"), DEADLINES.values(), ids=DEADLINES)
def test_the_readout_deadline_counts_from_the_first_readout_image_within_its_day(
    images: list[VisitVersion], expected: datetime
) -> None:
    assert readout_deadline(MAP, images, 6 * HOUR) == expected


def test_images_agree_with_a_seeding_if_most_of_their_days_follow_from_it() -> None:
    typed_a_month_early = plate_map(seeded_at=SEEDED_AT - 31 * DAY)
    images = [image(day=day, saved_at=SEEDED_AT + (day - 1) * DAY) for day in (1, 2, 3)]
    copied = [image(day=4, saved_at=SEEDED_AT + 40 * DAY)]
    assert agree_with_seeding([*images, *copied], MAP)
    assert not agree_with_seeding(images, typed_a_month_early)
    assert not agree_with_seeding([images[0], *copied], MAP)
    assert agree_with_seeding([], MAP)
