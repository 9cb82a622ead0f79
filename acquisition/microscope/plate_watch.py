"""Check after each visit that the right well of the right plate was seen, with light."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from acquisition.microscope.ome_tiff import WellFrames
from acquisition.microscope.picture_store import PictureStore
from acquisition.microscope.place_watch import PlaceWatch
from acquisition.microscope.plate_plan import WellPosition, plan_positions
from acquisition.microscope.sample_view import is_repeated, shows_tissue
from acquisition.microscope.sample_watch import SampleWatch, View, expected_wells
from acquisition.microscope.settings import MicroscopeSettings
from acquisition.microscope.visit_pictures import fields_of
from acquisition.ports import Frame, Microscope
from schemas.errors import MicroscopeError, OutputError
from schemas.plate_map import PlateMap


@dataclass
class PlateWatch:
    """Decides which visits of a run are saved, and which wells have to be imaged again.

    Parameters
    ----------
    day
        The culture day of the run.
    keeps_pictures
        Whether later days are compared with the pictures of this run.

    Attributes
    ----------
    ready
        The visits to save now; the caller removes them.
    """

    samples: SampleWatch
    places: PlaceWatch
    store: PictureStore
    day: int
    keeps_pictures: bool = True
    ready: list[WellFrames] = field(default_factory=list, init=False)
    _last_frame: Frame | None = field(default=None, init=False)

    def admit(
        self,
        images: Sequence[WellFrames],
        position: WellPosition,
        view: View,
        bytes_held: int,
    ) -> None:
        """Add the ranked image of a visit to ``ready``, or withhold it.

        Parameters
        ----------
        images, position
            The images of the visit in bright field, the ranked one last, and the position of its
            well.
        view
            Returns the images of another well.
        bytes_held
            The memory that the images of the visit need, in every field and channel.

        Raises
        ------
        MicroscopeError
            If the images are not those of the well, or a device fails.
        DayStoppedError
            If a fault concerns all wells.
        """
        visit = images[-1]
        self._check_repetition(images)
        if not shows_tissue(visit.frames):
            self.ready += self.samples.withhold(visit, self._checked(view), bytes_held)
            return
        pictures = self.places.check(position, images, view, self.samples.darkness(visit))
        if self.keeps_pictures:
            with contextlib.suppress(OutputError):  # on a full disk the archive reports it, too
                self.store.save(visit.day, visit.well, pictures)
        self.ready += self.samples.note_tissue(visit, position)

    def judge(self, view: View) -> None:
        """Add the withheld visits to ``ready`` if other wells show tissue.

        Errors are those of :meth:`admit`.
        """
        self.ready += self.samples.judge(self._checked(view))

    def _checked(self, view: View) -> View:
        """Return a view that raises an error if the stage is at another well than it reports.

        The withheld visits are then not those of empty wells: they are discarded and repeated.
        """

        def view_checked(position: WellPosition) -> Sequence[WellFrames]:
            images = view(position)
            if shows_tissue(images[-1].frames):
                try:
                    self.places.check_view(position, images)
                except MicroscopeError as error:
                    self.places.repeats |= {each.well: str(error) for each in self.withheld}
                    self.withheld.clear()
                    raise
            return images

        return view_checked

    @property
    def withheld(self) -> list[WellFrames]:
        """The visits that are neither saved nor discarded yet."""
        return self.samples.withheld

    def take_repeats(self) -> dict[str, str]:
        """Return the wells that have to be imaged again, with the reasons, and forget them.

        Their stored pictures are deleted, so that no later day is compared with them.
        """
        repeats, self.places.repeats = self.places.repeats, {}
        for well in repeats:
            self.store.discard(self.day, well)
        return repeats

    def take_dark(self) -> dict[str, str]:
        """Return the wells whose images are too dark, with the problems, and forget them."""
        dark, self.samples.dark = self.samples.dark, {}
        return dark

    def take_missed(self) -> dict[str, str]:
        """Return the wells whose tissue may have been missed, with the problems; forget them."""
        missed, self.samples.missed = self.samples.missed, {}
        return missed

    def missing_tissue(self) -> list[str]:
        """Return the wells of the run that have no tissue and should have it."""
        expected = {position.well for position in self.samples.expected}
        return sorted(expected & {*self.samples.empty})

    def _check_repetition(self, images: Sequence[WellFrames]) -> None:
        """Raise MicroscopeError if a frame of a visit has the pixels of the one before it."""
        for image in fields_of(images):
            for number, frame in enumerate(image.frames, start=1):
                before, self._last_frame = self._last_frame, frame
                if before is not None and is_repeated(frame, before):
                    raise MicroscopeError(
                        f"camera, well {image.well}",
                        f"plane {number} has the pixels of the frame before; expected a new frame",
                    )


def open_plate_watch(
    scope: Microscope,
    settings: MicroscopeSettings,
    state: Path,
    plate_map: PlateMap,
    day: int,
    since: datetime | None,
    *,
    recentre: bool = False,
) -> PlateWatch | None:
    """Return the PlateWatch of a plate on a culture day; None if the settings switch it off.

    Parameters
    ----------
    state
        The state folder of the microscope, which contains the pictures of earlier visits.
    since
        Start of the present use of the plate id; None: everything counts.
    recentre
        Whether the run moves the tissue into the middle of the field, so that its pictures are not
        comparable with those of other days.
    """
    if not settings.check_pictures:
        return None
    store = PictureStore(state, plate_map.plate, since)
    day_before, before = store.load_day_before(day)
    positions = {each.well: each for each in plan_positions(settings, plate_map.wells_with_tissue)}
    expected = set(expected_wells(plate_map, day, before.keys()))
    return PlateWatch(
        SampleWatch(
            scope,
            [each for well, each in positions.items() if well in expected],
            before.keys(),
        ),
        PlaceWatch(
            scope,
            positions,
            store.load(day),
            {} if recentre else before,
            day_before,
            home_stage=settings.home_stage,
            doubts_visits=settings.tries > 1,
        ),
        store,
        day,
        keeps_pictures=not recentre,
    )
