"""Notice that a well is unlike itself on the day before, while the other wells are not.

How much a well resembles its picture of the day before depends on the growth of the tissue and on
the place of the plate on the stage. Each run therefore measures it: the likeness of the other wells
of the day with themselves and with a stranger, another well. If these two differ too little, a well
cannot be recognised a day later, and nothing is reported.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from acquisition.microscope.pictures import WellPictures, day_likeness

FEWEST_COMPARED = 5  # other wells, from which the usual likeness is known
MIN_DIFFERENCE = 0.2
"""Lowest difference of the median likenesses of wells with themselves and with strangers."""

MAX_SHARE = 0.4
"""A well is unlike itself below this share of the way from a stranger to the other wells.

See ``benchmarks/well_identity.py`` for the rates of false and missed reports.
"""


@dataclass(frozen=True)
class Likeness:
    """The likeness of a visit with its well on the day before, and with another well."""

    own: float
    stranger: float


@dataclass
class DayComparison:
    """Compares visits of a day with the pictures of the day before.

    Parameters
    ----------
    before
        The pictures of the wells on the last day before, which is ``day_before``.
    """

    before: Mapping[str, WellPictures]
    day_before: int
    _known: dict[str, tuple[WellPictures, Likeness]] = field(default_factory=dict, init=False)

    def problem(
        self, well: str, pictures: WellPictures, today: Mapping[str, WellPictures]
    ) -> str | None:
        """Return the problem if a visit shows too little of its well on the day before.

        Parameters
        ----------
        today
            The pictures of the accepted visits of the day.
        """
        if well not in self.before or len(self.before) < 2:  # noqa: PLR2004 - a well and a stranger
            return None
        others = [
            self._likeness(other, each)
            for other, each in today.items()
            if other != well and other in self.before
        ]
        if len(others) < FEWEST_COMPARED:
            return None
        limit = limit_of(others)
        own = day_likeness(pictures, self.before[well])
        if limit is None or own >= limit:
            return None
        return (
            f"{well} is unlike itself on day {self.day_before} (likeness {own:.2f}, other wells "
            f"{median(each.own for each in others):.2f})"
        )

    def _likeness(self, well: str, pictures: WellPictures) -> Likeness:
        """Return the likeness of a visit to a well of the day before, computed once."""
        known = self._known.get(well)
        if known is None or known[0] is not pictures:
            stranger = next(other for other in self.before if other != well)
            known = self._known[well] = (
                pictures,
                Likeness(
                    day_likeness(pictures, self.before[well]),
                    day_likeness(pictures, self.before[stranger]),
                ),
            )
        return known[1]


def limit_of(others: list[Likeness]) -> float | None:
    """Return the likeness below which a well is unlike itself; None if no well can be recognised.

    Parameters
    ----------
    others
        The likenesses of other wells of the day.
    """
    stranger = median(each.stranger for each in others)
    difference = median(each.own for each in others) - stranger
    return stranger + MAX_SHARE * difference if difference >= MIN_DIFFERENCE else None
