"""Find the images of a day that its journal lacks: bright field and other channels of each well."""

from collections.abc import Iterable
from datetime import datetime

from acquisition.channels import Channel
from acquisition.microscope.imaging_journal import ImagingJournal


def missing_images(
    journal: ImagingJournal,
    wells: Iterable[str],
    channels: Iterable[Channel],
    since: datetime | None,
) -> list[str]:
    """Return the missing images of a day: ``B02`` for bright field, ``B02 calcein`` for a channel.

    Parameters
    ----------
    journal
        The journal of the day.
    wells
        The wells to image.
    channels
        The channels that are taken on this day, besides bright field.
    since
        Entries before this time are ignored; None: none are.
    """
    wells = list(wells)
    saved = _saved_wells(journal, since)
    missing = [well for well in wells if well not in saved]
    for channel in channels:
        saved = _saved_wells(journal, since, channel.name)
        missing += [f"{well} {channel.name}" for well in wells if well not in saved]
    return missing


def finished_wells(
    journal: ImagingJournal,
    channels: Iterable[Channel],
    since: datetime | None,
    max_attempts: int,
) -> set[str]:
    """Return the wells that have all images of a day or have had ``max_attempts`` attempts.

    Parameters
    ----------
    journal
        The journal of the day.
    channels
        The channels that are taken on this day, besides bright field.
    since
        Entries before this time are ignored; None: none are.
    max_attempts
        Maximum number of attempts to image one well on one day.
    """
    progress = journal.progress(since)
    finished = {well for well, each in progress.items() if each.is_finished(max_attempts)}
    given_up = {well for well, each in progress.items() if each.attempts >= max_attempts}
    for channel in channels:
        finished &= given_up | _saved_wells(journal, since, channel.name)
    return finished


def _saved_wells(
    journal: ImagingJournal, since: datetime | None, channel: str | None = None
) -> set[str]:
    """Return the wells with a saved image of bright field, or of a further channel by its name."""
    progress = journal.progress(since, channel)
    return {well for well, each in progress.items() if each.saved}
