from datetime import datetime, timedelta
from typing import Any

from daemon.microscope.imaging_progress import ImagingProgress

START = datetime.fromisoformat("2026-11-16T12:00:00+01:00")


class RecordedProgress:
    """The progress of a day with four wells, one of which is saved already, and its events."""

    def __init__(self) -> None:
        self.now = START
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.progress = ImagingProgress(
            emit=lambda event, **fields: self.events.append((event, fields)),
            plate="P1",
            day=7,
            reason="due",
            wells_total=4,
            wells_saved=1,
            clock=lambda: self.now,
        )

    def save(self, well: str, *, after_s: float) -> dict[str, Any]:
        """Emit that a well was saved after a number of seconds; return the fields of the event."""
        self.now += timedelta(seconds=after_s)
        self.progress.emit_event("well.saved", well=well)
        return self.events[-1][1]


def test_the_time_left_is_the_mean_time_per_well_without_pauses() -> None:
    recorded = RecordedProgress()
    assert recorded.save("B02", after_s=10)["remaining_s"] == 20
    recorded.now += timedelta(hours=1)
    recorded.progress.add_pause(timedelta(hours=1))
    assert recorded.save("B03", after_s=20)["remaining_s"] == 15


def test_events_that_are_no_progress_are_passed_on_unchanged() -> None:
    recorded = RecordedProgress()
    recorded.progress.emit_event("autofocus.failed", well="B02", problem="no signal")
    assert recorded.events == [("autofocus.failed", {"well": "B02", "problem": "no signal"})]
