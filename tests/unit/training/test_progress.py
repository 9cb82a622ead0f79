"""Tests of the log lines of long work whose output is a pipe."""

import itertools

from structlog.testing import capture_logs

from training.progress import LOG_EVERY_S, LoggedProgress, show_progress


def test_the_first_unit_the_last_one_and_one_each_half_minute_are_logged() -> None:
    now = itertools.count(0.0, 10.0)
    with capture_logs() as logs:
        advance = LoggedProgress("steps", 100, clock=lambda: next(now))
        for step in range(1, 101):
            advance(step, "loss 0.5")
    assert [entry["done"] for entry in logs] == [1, *range(4, 101, 3)]
    assert LOG_EVERY_S == 30.0
    assert logs[0] == {
        "event": "progress",
        "log_level": "info",
        "task": "steps",
        "done": 1,
        "total": 100,
        "remaining_s": 990,
        "note": "loss 0.5",
    }
    assert logs[-1]["remaining_s"] == 0


def test_the_remaining_time_of_continued_work_counts_only_the_new_units() -> None:
    now = itertools.count(0.0, 2.0)
    with capture_logs() as logs:
        LoggedProgress("steps", 100, done_before=90, clock=lambda: next(now))(91)
    assert logs[0]["remaining_s"] == 18


def test_work_in_a_pipe_is_logged() -> None:
    with capture_logs() as logs, show_progress("plates", 1) as advance:
        advance(1)
    assert [entry["task"] for entry in logs] == ["plates"]
