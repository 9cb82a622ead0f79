"""Policies that decide which wells are imaged again, from stored images and rankings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from acquisition.microscope.imaging_requests import ImagingRequest
from schemas.observation import Observation
from schemas.quality import Flag
from schemas.ranking import Ranking, Verdict


class ImagingPolicy(Protocol):
    """A rule that makes imaging requests from images and rankings of the current day.

    It is called after the image or ranking is committed. For the same input it makes the same
    requests, so that a repeated call has no effect.
    """

    def after_image(self, observation: Observation, now: datetime) -> Sequence[ImagingRequest]:
        """Return the imaging requests that a stored observation causes at the time ``now``."""
        ...

    def after_ranking(self, ranking: Ranking, now: datetime) -> Sequence[ImagingRequest]:
        """Return the imaging requests that a ranking causes at the time ``now``."""
        ...


class ReimageUnclearWells:
    """Requests a second image of a well that is out of focus, cut off or seems empty.

    The second image is taken with a wider focus scan, or with its tissue moved into the middle.
    """

    def after_image(self, observation: Observation, now: datetime) -> Sequence[ImagingRequest]:
        """Return one request for the well of an unclear observation, or none."""
        flags = set(observation.quality.flags)
        wide, recentre = bool(flags & {Flag.BLURRED, Flag.EMPTY}), Flag.CUT in flags
        if not (wide or recentre):
            return ()
        key = observation.key
        return (
            ImagingRequest(
                plate=key.plate,
                day=observation.day,
                wells=(key.well,),
                reason="unclear",
                wide=wide,
                recentre=recentre,
                made_at=now,
            ),
        )

    def after_ranking(self, ranking: Ranking, now: datetime) -> Sequence[ImagingRequest]:
        """Return an empty sequence: no ranking causes an imaging request."""
        del ranking, now
        return ()


@dataclass(frozen=True)
class ReimageUndecidedTreatments:
    """Requests second images of wells whose treatment a provisional ranking leaves undecided."""

    max_wells: int  # per plate and day

    def after_image(self, observation: Observation, now: datetime) -> Sequence[ImagingRequest]:
        """Return an empty sequence: no observation causes an imaging request."""
        del observation, now
        return ()

    def after_ranking(self, ranking: Ranking, now: datetime) -> Sequence[ImagingRequest]:
        """Return one request for wells of a ranking's undecided treatments, or none.

        A treatment is undecided if its verdict is ``no_evidence`` and its interval reaches above
        the weakest effective treatment. The treatments with the highest intervals come first. Final
        and corrected rankings cause no request: second images correct a ranking.
        """
        if ranking.final or ranking.replaces is not None:
            return ()
        weakest_effect = min(
            (each.score for each in ranking.treatments if each.verdict is Verdict.EFFECTIVE),
            default=0.0,
        )
        undecided = [
            each
            for each in ranking.treatments
            if each.verdict is Verdict.NO_EVIDENCE and each.score_high > weakest_effect
        ]
        undecided.sort(key=lambda each: each.score_high, reverse=True)
        wells = [well for each in undecided for well in each.wells][: self.max_wells]
        if not wells:
            return ()
        return (
            ImagingRequest(
                plate=ranking.plate,
                day=ranking.day,
                wells=tuple(wells),
                reason="uncertain",
                made_at=now,
            ),
        )
