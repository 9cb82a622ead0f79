"""The times at which unreadable files are read again."""

import pytest

from acquisition.drop_folder.retries import LONGEST_PAUSE_S, REPORTED_ATTEMPTS, Retries
from schemas.well_image import FileVersion
from tests.robot_folder import ManualClock

ONE, OTHER = FileVersion("P1/B02.tif", 1, 1), FileVersion("P1/B03.tif", 1, 1)


def test_the_pauses_double_up_to_five_minutes() -> None:
    clock = ManualClock()
    retries = Retries(clock)
    pauses = []
    for _ in range(12):
        retries.add_failure(ONE, "Input/output error")
        pauses.append(retries.retry_at_s([ONE]) - clock.now_s)
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, *[LONGEST_PAUSE_S] * 3]


def test_a_group_waits_for_the_latest_of_its_files() -> None:
    retries = Retries(ManualClock())
    assert retries.retry_at_s([ONE, OTHER]) == float("-inf")
    retries.add_failure(ONE, "locked")
    retries.wait_until(OTHER, 1060.0)
    assert retries.retry_at_s([ONE, OTHER]) == 1060.0
    assert retries.retry_at_s([ONE]) == 1001.0


def test_a_problem_is_reported_after_several_attempts_and_forgotten_after_success() -> None:
    retries = Retries(ManualClock())
    for attempt in range(1, REPORTED_ATTEMPTS + 1):
        retries.add_failure(ONE, "locked")
        assert retries.is_reported([OTHER, ONE]) == (attempt == REPORTED_ATTEMPTS)
    assert retries.problems() == {"P1/B02.tif": "locked"}
    retries.forget([ONE])
    assert retries.problems() == {}
    assert retries.retry_at_s([ONE]) == float("-inf")


@pytest.mark.parametrize("listed", [[], [OTHER]])
def test_versions_that_are_no_longer_listed_are_forgotten(listed: list[FileVersion]) -> None:
    retries = Retries(ManualClock())
    retries.add_failure(ONE, "locked")
    retries.wait_until(OTHER, 1060.0)
    retries.keep_only(listed.__contains__)
    assert retries.retry_at_s([ONE]) == float("-inf")
    assert retries.retry_at_s([OTHER]) == (1060.0 if listed else float("-inf"))
