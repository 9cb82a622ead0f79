"""Image the wells of one plate on one culture day: move, focus, take the planes, save.

A well that fails is tried again after the other wells; no failure ends the day.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from acquisition.channels import Channel, plane_heights
from acquisition.microscope.centring import TissueOffset, find_tissue_offset
from acquisition.microscope.field_imaging import FieldImaging, WellVisit
from acquisition.microscope.fields import recentred_fields, well_fields
from acquisition.microscope.focus import find_focus
from acquisition.microscope.focus_surface import FocusSurface, scan_heights
from acquisition.microscope.image_archive import save_visit
from acquisition.microscope.imaging_journal import ImagingJournal, WellProgress
from acquisition.microscope.missing_images import missing_images
from acquisition.microscope.ome_tiff import WellFrames
from acquisition.microscope.plate_plan import WellPosition
from acquisition.microscope.settings import Focusing, MicroscopeSettings
from acquisition.ports import Microscope
from schemas.errors import MicroscopeError, OutputError

ALERT_AFTER_FAILURES = 3  # consecutive failed wells; the fault is then not that of one well
MAX_BACKOFF = 10  # longest pause after a failure, as a multiple of ``backoff_s``
CENTRED_DISTANCE = 0.1  # field widths; tissue nearer to the middle needs no centring


class EndReason(StrEnum):
    """The reason for which the imaging of a day ended."""

    COMPLETED = "completed"  # every well was saved or given up
    STOPPED = "stopped"  # by a signal; the next start continues


@dataclass(frozen=True)
class DayPlan:
    """The wells of one plate to image on one culture day, and the way to image them."""

    plate: str
    day: int
    positions: Sequence[WellPosition]  # in the order of their visits
    saved_since: datetime | None = None  # ignore images saved before; None: count all of the day
    attempts_since: datetime | None = None  # ignore attempts before; None: count all of the day
    wide_scan: bool = False  # scan ``wide_range_um`` for focus
    recentre: bool = False  # move the tissue into the middle of the field first
    channels: tuple[Channel, ...] = ()  # to image after bright field


@dataclass(frozen=True)
class DayResult:
    """The wells that were saved and given up on one day."""

    reason: EndReason
    saved: tuple[str, ...]
    given_up: dict[str, str]  # the last problem of each well


@dataclass
class ImagingDay:
    """Images the wells of a day's plan one after the other.

    Parameters
    ----------
    surface
        The focus heights known of the plate; replaced by one with the heights found here.
    emit
        Is called with the name and fields of each event, such as ``well.saved``.
    report_progress
        Is called before each step that may take long, so that the watchdog notices a stall.
    should_stop
        Returns True once the process is to end.
    wait
        Waits for a number of seconds.
    clock
        Returns the current time.
    """

    scope: Microscope
    settings: MicroscopeSettings
    archive: Path
    journal: ImagingJournal
    surface: FocusSurface
    emit: Callable[..., None]
    report_progress: Callable[[], None]
    should_stop: Callable[[], bool]
    wait: Callable[[float], None]
    clock: Callable[[], datetime]
    _consecutive_failures: int = field(default=0, init=False)

    def run(self, plan: DayPlan) -> DayResult:
        """Image the wells of a DayPlan that have no image yet; return the DayResult."""
        queue = deque(plan.positions)
        saved: list[str] = []
        given_up: dict[str, str] = {}
        failures: Counter[str] = Counter()
        problems: dict[str, str] = {}
        while queue:
            if self.should_stop():
                return DayResult(EndReason.STOPPED, tuple(saved), given_up)
            position = queue.popleft()
            well = position.well
            missing = missing_images(self.journal, [well], plan.channels, plan.saved_since)
            if not missing:
                continue
            before = self._progress(well, plan.attempts_since)
            # Attempts are missing in the journal if the disk is full, so both are counted.
            if max(before.attempts, failures[well]) >= self.settings.tries:
                problem = problems.get(well) or before.last_problem or "no attempt is left"
                given_up |= dict.fromkeys(missing, problem)
                saved += [] if well in missing else [well]
                continue
            try:
                self._image_well(plan, position, missing)
            except (MicroscopeError, OutputError) as error:
                failures[well] += 1
                problems[well] = str(error)
                self._record_failure(plan, position, error)
                queue.append(position)
            else:
                saved.append(well)
                self._consecutive_failures = 0
        return DayResult(EndReason.COMPLETED, tuple(saved), given_up)

    def _progress(self, well: str, since: datetime | None) -> WellProgress:
        """Return the progress of one well, counting journal entries from ``since`` on."""
        return self.journal.progress(since).get(well, WellProgress())

    def _image_well(self, plan: DayPlan, position: WellPosition, missing: Sequence[str]) -> None:
        """Image one well: move, focus, take the planes, save them in the archive.

        Parameters
        ----------
        plan, position
            The plan of the day, and the well with its position.
        missing
            The images to take, as :func:`missing_images` returns them.

        Raises
        ------
        MicroscopeError
            If a device failed.
        OutputError
            If the image cannot be saved.
        """
        self.journal.record_start(position.well, self.clock())
        fields = well_fields(position, self.settings, self.scope.format)
        with_tissue = self._fields.find_tissue(fields, self._expected_focus_um(position))
        place = replace(position, x_um=with_tissue.x_um, y_um=with_tissue.y_um)
        z_um = self._focus(place, wide=plan.wide_scan)
        if plan.recentre:
            place = position = self._centre_tissue(place, z_um)
            fields = recentred_fields(place, fields, self.settings, self.scope.format)
        visit = WellVisit(plan.plate, plan.day, position, fields, z_um)
        if position.well in missing:
            self._save(visit, self._fields.bright_field(visit))
        for channel in plan.channels:
            if f"{position.well} {channel.name}" in missing:
                self._save(visit, self._fields.other_channel(visit, channel), channel)

    @property
    def _fields(self) -> FieldImaging:
        """The imaging of the fields of a well."""
        return FieldImaging(self.scope, self.settings, self.emit, self.report_progress)

    def _save(
        self, visit: WellVisit, images: Sequence[WellFrames], channel: Channel | None = None
    ) -> None:
        """Save the images of a visit in one channel, the main one last, and record that."""
        self.report_progress()
        file = [save_visit(self.archive, image) for image in images][-1]
        name, well = str(file.relative_to(self.archive)), visit.middle.well
        self.journal.record_saved(well, name, self.clock(), channel.name if channel else None)
        self.emit(
            "channel.saved" if channel else "well.saved",
            plate=visit.plate,
            day=visit.day,
            well=well,
            **({"channel": channel.name} if channel else {}),
            file=str(file),
            z_um=round(visit.focus_um, 1),
        )

    def _record_failure(
        self, plan: DayPlan, position: WellPosition, error: MicroscopeError | OutputError
    ) -> None:
        """Report and record a failed attempt, then pause."""
        self._consecutive_failures += 1
        day = {"plate": plan.plate, "day": plan.day}
        self.emit("well.failed", **day, well=position.well, problem=str(error))
        if self._consecutive_failures == ALERT_AFTER_FAILURES:
            message = (
                f"plate {plan.plate}, day {plan.day}: {ALERT_AFTER_FAILURES} consecutive wells "
                f"failed, the last was {position.well}: {error}"
            )
            self.emit(
                "alert",
                kind="microscope",
                cause=f"{plan.plate} in a row",
                message=message,
                plate=plan.plate,
            )
        try:
            self.journal.record_failure(position.well, str(error), self.clock())
        except OutputError as unwritten:  # the start of the attempt is in the journal, so it counts
            self.emit("journal.failed", **day, problem=str(unwritten))
        self.wait(self.settings.backoff_s * min(self._consecutive_failures, MAX_BACKOFF))

    def _focus(self, position: WellPosition, *, wide: bool) -> float:
        """Return the focus height in µm of the tissue at a position.

        The height is found by the autofocus device or by a coarse scan. If neither finds tissue, it
        is predicted from the other wells of the plate.
        """
        expected_um = self._expected_focus_um(position)
        focusing = self.settings.focusing
        if focusing is Focusing.OFF:
            return expected_um
        if not wide and (
            focusing is Focusing.HARDWARE
            or (focusing is Focusing.AUTO and self.scope.has_autofocus)
        ):
            try:
                self.report_progress()
                return self._add_to_surface(position, self.scope.autofocus(expected_um))
            except MicroscopeError as error:
                self.emit("autofocus.failed", well=position.well, problem=str(error))
        for heights in self._scans(position, wide=wide):
            self.report_progress()
            frames = self.scope.stack(heights)
            focus = find_focus([frame.pixels for frame in frames], [frame.z_um for frame in frames])
            if focus.found and not focus.at_edge:
                return self._add_to_surface(position, focus.z_um)
        self.emit("focus.not_found", well=position.well, taken_um=round(expected_um, 1))
        return expected_um

    def _scans(self, position: WellPosition, *, wide: bool) -> Iterable[tuple[float, ...]]:
        """Yield the heights of the first focus scan at a position, then those of a wide scan."""
        x_um, y_um = position.x_um, position.y_um
        first = scan_heights(self.settings, self.surface, x_um, y_um, wide=wide)
        yield first
        second = scan_heights(self.settings, self.surface, x_um, y_um, wide=True)
        if second != first:
            yield second

    def _add_to_surface(self, position: WellPosition, z_um: float) -> float:
        """Add the focus height of a well to the plate's surface and return it."""
        self.surface = self.surface.with_point(position.x_um, position.y_um, z_um)
        return z_um

    def _expected_focus_um(self, position: WellPosition) -> float:
        """Return the focus height in µm that is expected at a position before it is searched."""
        predicted_um = self.surface.predict(position.x_um, position.y_um)
        return self.settings.focus_z_um if predicted_um is None else predicted_um

    def _centre_tissue(self, position: WellPosition, z_um: float) -> WellPosition:
        """Move the stage until the tissue is in the middle of the field; return its position.

        A move that brings the tissue no nearer is undone. The opposite direction is tried, too: the
        camera may be mirrored without an entry in the hardware configuration.
        """
        offset = self._tissue_offset(z_um)
        for sign in (1, 1, -1, -1):
            if offset is None or (
                offset.border_contact == 0 and offset.distance <= CENTRED_DISTANCE
            ):
                break
            dx_um, dy_um = self.scope.format.stage_um(*offset.direction)
            target = replace(
                position, x_um=position.x_um + sign * dx_um, y_um=position.y_um + sign * dy_um
            )
            try:
                self.scope.move_to(target.x_um, target.y_um)
            except MicroscopeError:  # beyond the stage limits; the well is imaged where it is
                continue
            new_offset = self._tissue_offset(z_um)
            if new_offset is not None and new_offset < offset:
                position, offset = target, new_offset
        self.scope.move_to(position.x_um, position.y_um)
        return position

    def _tissue_offset(self, z_um: float) -> TissueOffset | None:
        """Return the offset of the tissue in a frame taken here, or None without tissue."""
        self.report_progress()
        return find_tissue_offset(self.scope.stack([z_um])[0].pixels)


def outer_plane_heights(settings: MicroscopeSettings) -> tuple[float, float]:
    """Return the heights in µm of the lowest and highest plane at the settings' ``focus_z_um``.

    The planes of all channels are included.
    """
    focus_um = settings.focus_z_um
    heights = plane_heights(focus_um, settings.planes, settings.plane_step_um)
    heights += [z for channel in settings.channels for z in channel.heights(focus_um)]
    return min(heights), max(heights)
