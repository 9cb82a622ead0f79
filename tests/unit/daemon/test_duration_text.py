from datetime import timedelta

import pytest

from daemon.duration_text import duration_text


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(seconds=-3), "0 s"),
        (timedelta(seconds=59), "59 s"),
        (timedelta(seconds=60), "1 min"),
        (timedelta(minutes=133), "2 h 13 min"),
        (timedelta(hours=26), "1 d 2 h"),
    ],
)
def test_a_duration_is_written_in_its_two_largest_units(duration: timedelta, text: str) -> None:
    assert duration_text(duration) == text
