"""Report the result of a day of imaging: its event, and alerts about wells without a good image."""

from acquisition.microscope.day_plan import DayResult
from daemon.microscope.active_alerts import ActiveAlerts
from daemon.microscope.imaging_progress import ImagingProgress
from daemon.microscope.imaging_queue import ImagingJob

FEWEST_REPORTED = 3  # wells without tissue, against expectation, that raise an alert


def report_wrong_images(alerts: ActiveAlerts, job: ImagingJob, result: DayResult) -> None:
    """Raise an alert about saved images of wrong places that no new image replaced."""
    if not result.wrong_images:
        return
    wells = ", ".join(result.wrong_images)
    alerts.raise_once(
        f"{job.plate} day {job.day} wrong {wells}",
        f"plate {job.plate}, day {job.day}: the saved images of {wells} may show other "
        "wells, and no new images replaced them; rankings leave them out; image these "
        f"wells again on this day (spherorank acquire run {job.plate} --well WELL)",
        job.plate,
    )


def report_done(
    alerts: ActiveAlerts,
    job: ImagingJob,
    result: DayResult,
    progress: ImagingProgress,
    *,
    tries: int,
) -> None:
    """Report the result of a completed job; wells without tissue or image raise an alert."""
    progress.emit_event(
        "day.done",
        saved=len(result.saved),
        given_up=sorted(result.given_up),
        unfocused=sorted(result.unfocused),
        missing_tissue=list(result.missing_tissue),
    )
    if len(result.missing_tissue) >= FEWEST_REPORTED:
        wells = ", ".join(result.missing_tissue)
        alerts.raise_once(
            f"{job.plate} day {job.day} tissue {wells}",
            f"plate {job.plate}, day {job.day}: no tissue in {wells}; expected tissue there, "
            "as in the other wells: check how the plate lies, and the positions of its wells",
            job.plate,
        )
    if result.given_up:
        wells = ", ".join(sorted(result.given_up))
        last = next(iter(result.given_up.values()))
        alerts.raise_once(
            f"{job.plate} day {job.day} {wells}",
            f"plate {job.plate}, day {job.day}: no image of {wells} after {tries} attempts; "
            f"the last problem: {last}",
            job.plate,
        )
