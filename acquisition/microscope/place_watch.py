"""Notice from the pictures of the wells that the stage is at another well than it reports.

A stage that lost steps reports its target. Two wells of a run that show the same picture are then
one well. Wells that show the pictures of their neighbours on the day before are displaced. A well
that is unlike itself on the day before is imaged once more.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from acquisition.downscaling import Floats
from acquisition.microscope.day_comparison import FEWEST_COMPARED, DayComparison
from acquisition.microscope.day_stop import DayStoppedError, StopReason
from acquisition.microscope.ome_tiff import WellFrames
from acquisition.microscope.pictures import (
    FEWEST_FOR_COMMON,
    SAME_PICTURE,
    SURELY_SAME,
    WellPictures,
    common_detail,
    day_likeness,
    likeness,
)
from acquisition.microscope.plate_plan import WellPosition
from acquisition.microscope.sample_watch import View
from acquisition.microscope.visit_pictures import make_pictures
from acquisition.ports import Microscope
from schemas.errors import MicroscopeError
from schemas.well import row_column, well_at

WELLS_COMPARED = 4  # visits in a row that have to show their neighbours' pictures
MIN_DAY_ADVANTAGE = 0.15
"""Lowest mean advantage of the neighbours' pictures over the wells' own ones of the day before.

Of wells at their own place it is -0.26 or less (virtual plates, one to five days apart), of wells
displaced by one well about 0.4.
"""

MIN_DAY_LIKENESS = 0.25  # lowest mean likeness with the neighbours' pictures
SURELY_LESS = 0.15
"""Two wells are different if the likeness of their images is lower by this much than that of two
images of one of them.
"""

REFERENCES = 3  # wells that are viewed again to find out whether the stage is right
_FEWEST_REFERENCES = 2  # that prove a wrong place if none is found again
_NEIGHBOURS = tuple((r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if (r, c) != (0, 0))


@dataclass
class PlaceWatch:
    """Compares each visit of a run with the other wells of the day, and with the day before.

    Parameters
    ----------
    positions
        The positions of the wells of the plate.
    today
        The pictures of the wells on the day of imaging; visits are added.
    before
        The pictures of the wells on the last day before, which is ``day_before``.
    home_stage
        Whether to home the stage after lost steps.
    doubts_visits
        Whether a well may be imaged once more because its image is doubtful.
    """

    scope: Microscope
    positions: Mapping[str, WellPosition]
    today: dict[str, WellPictures]
    before: Mapping[str, WellPictures]
    day_before: int
    home_stage: bool
    doubts_visits: bool = True
    repeats: dict[str, str] = field(default_factory=dict, init=False)  # wells and why
    _visited: dict[str, WellPictures] = field(default_factory=dict, init=False)  # latest last
    _doubted: set[str] = field(default_factory=set, init=False)  # wells, each only once

    def __post_init__(self) -> None:
        self._days = DayComparison(self.before, self.day_before)

    def check(
        self,
        position: WellPosition,
        images: Sequence[WellFrames],
        view: View,
        problem: str | None = None,
    ) -> WellPictures:
        """Return the pictures of a visit to a well whose images show tissue.

        Parameters
        ----------
        position, images
            The position of the well, and the images of the visit.
        view
            Returns the images of another well.
        problem
            A reason to doubt that the images are those of the well; None: there is none so far.

        Raises
        ------
        MicroscopeError
            If the images are those of another well, or two fields show one place. ``repeats`` gets
            the wells that have to be imaged again, apart from this one.
        DayStoppedError
            If the stage is at wrong places also afterwards.
        """
        pictures = make_pictures(images)
        well = position.well
        others = {other: each for other, each in self.today.items() if other != well}
        sight = self._sight(others)
        if len(others) == FEWEST_FOR_COMMON:
            self._repeat_equal_pairs(others, sight)
            others = {other: each for other, each in others.items() if other in self.today}
        self._check_fields_differ(position, pictures, sight)
        alike = {other: sight.likeness(pictures, each) for other, each in others.items()}
        twin = max(alike, key=alike.__getitem__, default=well)
        if twin != well and alike[twin] >= sight.limit:
            self._separate(position, twin, sight, alike[twin], view)
        self._check_displacement(position, pictures, view)
        problem = problem or self._days.problem(well, pictures, self.today)
        if problem is not None and self._may_doubt(well):
            self._doubt(position, problem, sight, view)
        self.today[well] = pictures
        if len(self.today) == FEWEST_COMPARED + 1:
            self._repeat_unlike_wells()
        return pictures

    def check_view(self, position: WellPosition, images: Sequence[WellFrames]) -> None:
        """Check that images of a well that is viewed again do not show another well of the day.

        Raises
        ------
        MicroscopeError
            If they do, and the stage was homed.
        DayStoppedError
            If they do, and the stage may not be homed.
        """
        well, seen = position.well, make_pictures(images)
        if well not in self.today:
            return
        others = {other: each for other, each in self.today.items() if other != well}
        sight = self._sight(others)
        limit = max(sight.limit, sight.likeness(seen, self.today[well]))
        for other, each in others.items():
            if (alike := sight.likeness(seen, each)) >= limit:
                problem = f"{well}, viewed again, shows the picture of {other} ({alike:.2f})"
                if not self.home_stage:
                    raise self._stop(problem)
                self._move_away(position)
                raise MicroscopeError(
                    "stage",
                    f"{problem}; the stage was homed, and the wells without tissue are imaged "
                    "again",
                )

    def _sight(self, others: Mapping[str, WellPictures]) -> "_Sight":
        """Return the limit and common detail to compare with, from pictures of other wells."""
        for pictures in (others, self.before):
            if len(pictures) >= FEWEST_FOR_COMMON:
                return _Sight(SAME_PICTURE, common_detail(list(pictures.values())))
        return _Sight(SURELY_SAME)

    def _check_fields_differ(
        self, position: WellPosition, pictures: WellPictures, sight: "_Sight"
    ) -> None:
        """Raise MicroscopeError if the stage did not move between two fields of a visit."""
        for first, second in combinations(pictures, 2):
            if (alike := sight.likeness((first,), (second,))) >= SURELY_SAME:
                self._move_away(position)
                raise MicroscopeError(
                    "stage",
                    f"two fields of {position.well} show the same picture (likeness {alike:.2f}); "
                    "expected neighbouring fields: the stage did not move between them",
                )

    def _repeat_equal_pairs(self, others: Mapping[str, WellPictures], sight: "_Sight") -> None:
        """Have wells with equal pictures imaged again, now that their common detail is known."""
        for first, second in combinations(others, 2):
            if sight.likeness(others[first], others[second]) >= sight.limit:
                for well in (first, second):
                    self._withdraw(well, f"{first} and {second} show the same picture")

    def _may_doubt(self, well: str) -> bool:
        """Return whether a well may be imaged once more, and note that it is."""
        is_first = well not in self._doubted
        self._doubted.add(well)
        return self.doubts_visits and is_first

    def _doubt(self, position: WellPosition, problem: str, sight: "_Sight", view: View) -> None:
        """Raise the error by which a well is imaged once more, or the run is stopped.

        It is stopped if earlier wells of the day are not found again.
        """
        self._move_away(position)
        checked = self._references(position.well)
        if len(checked) >= _FEWEST_REFERENCES and not self._find(checked, sight, view):
            raise self._stop(f"{problem}, and {', '.join(checked)} are not found again")
        raise MicroscopeError("stage", f"{problem}; {position.well} is imaged once more")

    def _repeat_unlike_wells(self) -> None:
        """Have the first wells imaged again that are unlike themselves on the day before."""
        for well, pictures in list(self.today.items()):
            problem = self._days.problem(well, pictures, self.today)
            if problem is not None and self._may_doubt(well):
                self._withdraw(well, problem)

    def _withdraw(self, well: str, problem: str) -> None:
        """Have an accepted visit of a well imaged again; its picture does not count any more."""
        self.repeats[well] = problem
        self.today.pop(well, None)
        self._visited.pop(well, None)

    def _references(self, *without: str) -> list[str]:
        """Return the wells of the day that were visited last, without some wells."""
        latest = [well for well in reversed(list(self.today)) if well not in without]
        return [well for well in latest if well in self.positions][:REFERENCES]

    def _find(self, wells: Sequence[str], sight: "_Sight", view: View) -> str | None:
        """Return the first of some wells of the day that is found again, or None."""
        for well in wells:
            seen = make_pictures(view(self.positions[well]))
            if sight.likeness(seen, self.today[well]) >= sight.limit:
                return well
        return None

    def _separate(
        self, position: WellPosition, twin: str, sight: "_Sight", alike: float, view: View
    ) -> None:
        """Find out which of two equal pictures is wrong, and raise the error that tells it.

        Nothing is raised if the other well is found again with a clearly higher likeness: both
        wells look alike. If it is found again and further wells are not, both were visited by a
        displaced stage.
        """
        well = position.well
        problem = f"{well} shows the picture of {twin} (likeness {alike:.2f})"
        self._move_away(position)
        others = self._references(well, twin)
        is_twin_found = False
        if twin in self.positions:
            others = others[: REFERENCES - 1]
            seen = make_pictures(view(self.positions[twin]))
            found_alike = sight.likeness(seen, self.today[twin])
            if alike <= found_alike - SURELY_LESS:
                return
            is_twin_found = found_alike >= sight.limit
        missed = [] if self._find(others, sight, view) else others
        if not is_twin_found and twin in self.positions and len(missed) == len(others):
            missed = [twin, *missed]
        is_displaced = len(missed) >= _FEWEST_REFERENCES
        if is_displaced == is_twin_found:
            self._withdraw(twin, problem)
        if is_displaced:
            raise self._stop(f"{problem}, and {', '.join(missed)} are not found again")
        raise MicroscopeError(
            "stage",
            f"{problem}; expected another picture: the stage did not go to {well}, "
            "which is imaged again",
        )

    def _check_displacement(
        self, position: WellPosition, visited: WellPictures, view: View
    ) -> None:
        """Raise an error if the last visits show the pictures of neighbours on the day before."""
        if position.well not in self.before:
            return
        self._visited.pop(position.well, None)
        self._visited[position.well] = visited
        pictures, wells = self._visited, list(self._visited)[-WELLS_COMPARED:]
        if len(wells) < WELLS_COMPARED:
            return
        own = [day_likeness(pictures[well], self.before[well]) for well in wells]
        for shift in _NEIGHBOURS:
            shifted = [_neighbour(well, shift) for well in wells]
            if any(well not in self.before for well in shifted):
                continue
            other = [
                day_likeness(pictures[well], self.before[each])
                for well, each in zip(wells, shifted, strict=True)
            ]
            advantages = [b - a for a, b in zip(own, other, strict=True)]
            if (
                min(advantages) > 0
                and sum(advantages) >= MIN_DAY_ADVANTAGE * len(wells)
                and sum(other) >= MIN_DAY_LIKENESS * len(wells)
            ):
                self._correct_displacement(position, wells, shifted, view)

    def _correct_displacement(
        self, position: WellPosition, wells: list[str], shifted: list[str], view: View
    ) -> None:
        """Home the stage if that is allowed; raise the error that tells if it helped."""
        problem = (
            f"{', '.join(wells)} show the pictures of {', '.join(shifted)} on day {self.day_before}"
        )
        for well in wells[:-1]:
            if self.today.pop(well, None) is not None:
                self.repeats[well] = problem
        self._visited.clear()
        if self.home_stage:
            self._move_away(position)
            seen = make_pictures(view(position))
            own, other = (
                day_likeness(seen, self.before[each]) for each in (wells[-1], shifted[-1])
            )
            if own > other:
                raise MicroscopeError(
                    "stage", f"{problem}; the stage was homed, and these wells are imaged again"
                )
        raise self._stop(problem)

    def _move_away(self, position: WellPosition) -> None:
        """Home the stage if that is allowed, then move it to the well that is farthest away."""
        if self.home_stage:
            self.scope.home()
        farthest = max(
            self.positions.values(),
            key=lambda each: math.hypot(each.x_um - position.x_um, each.y_um - position.y_um),
        )
        self.scope.move_to(farthest.x_um, farthest.y_um)

    def _stop(self, problem: str) -> DayStoppedError:
        """Return the error that stops the run because the stage is at wrong places."""
        homed = " (it was homed)" if self.home_stage else ""
        return DayStoppedError(
            StopReason.WRONG_PLACE,
            "stage",
            f"{problem}: the stage is at other wells than it reports{homed}; expected the wells "
            "at their positions: home the stage, and check the plate and a1_um",
        )


@dataclass(frozen=True)
class _Sight:
    """The way to compare pictures: the limit of their likeness, and detail that does not count."""

    limit: float
    common: Floats | float = 0.0

    def likeness(self, first: WellPictures, second: WellPictures) -> float:
        """Return the likeness of the pictures of two visits."""
        return likeness(first, second, self.common)


def _neighbour(well: str, shift: tuple[int, int]) -> str:
    """Return the well that is (rows, columns) away from a well; "" outside the plate."""
    row, column = row_column(well)
    row, column = row + shift[0], column + shift[1]
    return well_at(row, column) if row > 0 and column > 0 else ""
