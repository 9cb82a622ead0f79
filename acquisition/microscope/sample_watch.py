"""Withhold images without tissue until it is certain that plate and light are there.

An image without tissue may be that of an empty well, or the lamp is off, or no plate is on the
stage. It is withheld until a later image of the run shows tissue. After a few such images in a row,
and at the end of the run, wells that should have tissue are viewed again:

- the wells in which the run saw tissue last;
- else wells of the plate that are expected to have tissue (:func:`expected_wells`).

If one of them shows tissue, the withheld images are those of empty wells and are saved. If none
does, the run is stopped, and the withheld images are discarded. A well that should have tissue, or
had tissue on the day before, is imaged once more before an image without tissue is saved.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from statistics import median

from acquisition.microscope.day_stop import DayStoppedError, StopReason
from acquisition.microscope.ome_tiff import WellFrames
from acquisition.microscope.plate_plan import WellPosition
from acquisition.microscope.sample_view import (
    MIN_LEVEL_OF_RUN,
    is_unlit,
    light_level,
    shows_tissue,
)
from acquisition.ports import Frame, Microscope
from schemas.plate_map import Group, PlateMap

MOST_WITHHELD = 4  # images without tissue in a row; then other wells are viewed
MOST_WITHHELD_BYTES = 500_000_000  # of withheld images, which are kept in memory
SEEN_WELLS_VIEWED = 2  # of those in which this run saw tissue
EXPECTED_WELLS_VIEWED = 4  # without tissue in this run so far
FEWEST_EXPECTED = 3  # expected wells; with fewer, all of them may be empty for other reasons

View = Callable[[WellPosition], Sequence[WellFrames]]
"""Moves to a position, finds the focus and returns the bright-field images, the ranked one last."""


def expected_wells(plate_map: PlateMap, day: int, seen_before: Collection[str]) -> list[str]:
    """Return the wells of a plate that should show tissue on a culture day.

    Up to the day of dosing these are all wells with tissue, later the untreated wells only: a
    treatment may dissolve the tissue of every treated well.

    Parameters
    ----------
    seen_before
        The wells that showed tissue on the last day of imaging. Without any, all count.
    """
    return [
        entry.well
        for entry in plate_map.entries
        if entry.group is not Group.BLANK
        and (day <= plate_map.dosed_on_day or entry.group is Group.UNTREATED)
        and (not seen_before or entry.well in seen_before)
    ]


@dataclass
class SampleWatch:
    """Decides in one run whether images without tissue are those of empty wells.

    Parameters
    ----------
    expected
        The positions of the wells that should show tissue.
    seen_before
        The wells that showed tissue on the last day of imaging.
    """

    scope: Microscope
    expected: Sequence[WellPosition]
    seen_before: Collection[str] = ()
    withheld: list[WellFrames] = field(default_factory=list, init=False)
    empty: list[str] = field(default_factory=list, init=False)  # wells without tissue
    dark: dict[str, str] = field(default_factory=dict, init=False)  # wells with too little light
    missed: dict[str, str] = field(default_factory=dict, init=False)  # wells to image once more
    _doubted: set[str] = field(default_factory=set, init=False)  # wells, each only once
    _seen: list[WellPosition] = field(default_factory=list, init=False)
    _levels: list[float] = field(default_factory=list, init=False)  # of images with tissue

    def note_tissue(self, visit: WellFrames, position: WellPosition) -> list[WellFrames]:
        """Note a visit with tissue; return the visits to save: the withheld ones and this one."""
        self._levels.append(light_level(visit.frames, self.scope.format))
        self._seen = [each for each in self._seen if each.well != position.well] + [position]
        self.empty = [well for well in self.empty if well != position.well]
        return [*self._release(), visit]

    def withhold(self, visit: WellFrames, view: View, bytes_held: int) -> list[WellFrames]:
        """Withhold a visit without tissue; return the visits to save, usually none.

        ``bytes_held`` is the memory that its images need, in every field and channel.

        Raises
        ------
        DayStoppedError
            If the wells that should have tissue have none.
        MicroscopeError
            If a device fails while other wells are viewed; the visit is then not withheld.
        """
        self.withheld.append(visit)
        if len(self.withheld) < min(MOST_WITHHELD, 1 + MOST_WITHHELD_BYTES // bytes_held):
            return []
        try:
            return self.judge(view)
        except DayStoppedError:
            raise
        except BaseException:
            self.withheld[:] = [each for each in self.withheld if each is not visit]
            raise

    def judge(self, view: View) -> list[WellFrames]:
        """View wells that should have tissue; return the withheld visits if one of them has.

        Errors are those of :meth:`withhold`.
        """
        viewed = self._seen[-SEEN_WELLS_VIEWED:][::-1] or self._unvisited_expected_wells()
        frames: Sequence[Frame] = self.withheld[-1].frames
        for position in viewed:
            frames = view(position)[-1].frames
            if shows_tissue(frames):
                return self._release()
        stop = self._stop([position.well for position in viewed], frames)
        too_few = not self._seen and len(self.expected) < FEWEST_EXPECTED
        if too_few and stop.reason is StopReason.NO_TISSUE:
            return self._release()
        raise stop

    def _unvisited_expected_wells(self) -> list[WellPosition]:
        """Return some expected wells that are not withheld, spread over the plate."""
        if len(self.expected) < FEWEST_EXPECTED:
            return list(self.expected)
        withheld = {visit.well for visit in self.withheld}
        others = [position for position in self.expected if position.well not in withheld]
        count = min(EXPECTED_WELLS_VIEWED, len(others))
        return [others[(2 * number + 1) * len(others) // (2 * count)] for number in range(count)]

    def _release(self) -> list[WellFrames]:
        """Return the withheld visits, without those that are too dark, which have failed."""
        released, self.withheld = self.withheld, []
        visits = []
        for visit in released:
            if darkness := self.darkness(visit):
                self.dark[visit.well] = darkness
                continue
            self.empty.append(visit.well)
            if self._may_be_missed(visit.well):
                self.missed[visit.well] = (
                    f"{visit.well} shows no tissue; expected tissue there: it is imaged once more"
                )
            else:
                visits.append(visit)
        return visits

    def darkness(self, visit: WellFrames) -> str | None:
        """Return why a visit has too little light, relative to those with tissue; else None."""
        level = light_level(visit.frames, self.scope.format)
        usual = median(self._levels) if self._levels else 0.0
        if level >= MIN_LEVEL_OF_RUN * usual:
            return None
        return (
            f"the image is dark: {level:.1%} of the camera's range, "
            f"in other wells {usual:.1%}; expected the same light in all wells"
        )

    def _may_be_missed(self, well: str) -> bool:
        """Return whether the tissue of an empty well may have been missed, once for each well."""
        should_have = well in self.seen_before or well in {each.well for each in self.expected}
        is_first = well not in self._doubted
        self._doubted.add(well)
        return should_have and is_first

    def _stop(self, viewed: Sequence[str], frames: Sequence[Frame]) -> DayStoppedError:
        """Return the error that stops the run, with the cause that the frames show."""
        camera = self.scope.format
        level = light_level(frames, camera)
        usual = median(self._levels) if self._levels else 0.0
        wells = ", ".join(dict.fromkeys([*(visit.well for visit in self.withheld), *viewed]))
        if level < MIN_LEVEL_OF_RUN * usual or is_unlit(frames, self.scope.dark_frame(), camera):
            return DayStoppedError(
                StopReason.NO_LIGHT,
                "lamp or shutter",
                f"the images of {wells} are dark ({level:.1%} of the camera's range); expected "
                "light: check the lamp, the shutter and the channel",
            )
        return DayStoppedError(
            StopReason.NO_TISSUE,
            "plate",
            f"{wells} show light but no tissue; expected tissue: check that a plate is on the "
            "stage, that it is this plate, and the positions of its wells",
        )
