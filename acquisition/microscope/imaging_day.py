"""One plate on one day under the microscope, top to bottom: every well is gone to, focused, taken and saved, and none can end the day."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from acquisition.microscope.centring import OffCentre, off_centre
from acquisition.microscope.focus import FocusSurface, find_focus, scan
from acquisition.microscope.imaging_journal import Journal, WellState
from acquisition.microscope.ome_tiff import WellFrames, save
from acquisition.microscope.plate_plan import WellPosition
from acquisition.microscope.settings import Focusing, MicroscopeSettings
from acquisition.ports import Microscope
from schemas.errors import MicroscopeError, OutputError

TOO_MANY_IN_A_ROW = 3  # wells that failed one after the other: no longer the wells' fault
LONGEST_BACKOFF = 10  # times the first
WELL_CENTRED = 0.1  # of the field: nearer than this is near enough


class End(StrEnum):
    """How a day's imaging ended."""

    DONE = "done"  # every well was saved or given up
    STOPPED = "stopped"  # by a signal; the next start goes on


@dataclass(frozen=True)
class DayPlan:
    """What is to be imaged."""

    plate: str
    day: int
    positions: Sequence[WellPosition]  # in the order they are gone to
    saved_since: datetime | None = None  # images before it do not count; None: all of the day do
    tried_since: datetime | None = None  # the same of tries
    wide: bool = False  # look for focus farther out
    recentre: bool = False  # bring the tissue into the middle of the field first


@dataclass(frozen=True)
class DayResult:
    """What became of it."""

    end: End
    saved: tuple[str, ...]
    given_up: dict[str, str]  # well: what was wrong at its last try


@dataclass
class ImagingDay:
    """Takes one plan to its end. ``tell`` hears of every well; ``step`` is called before each thing that may take long, so that a stall is noticed."""

    scope: Microscope
    settings: MicroscopeSettings
    archive: Path
    journal: Journal
    surface: FocusSurface
    tell: Callable[..., None]
    step: Callable[[], None]
    should_stop: Callable[[], bool]
    wait: Callable[[float], None]
    clock: Callable[[], datetime]
    _in_a_row: int = field(default=0, init=False)

    def run(self, plan: DayPlan) -> DayResult:
        """Image every well of the plan that has no image yet; a well that fails is tried again after the others."""
        queue = deque(plan.positions)
        saved: list[str] = []
        given_up: dict[str, str] = {}
        failed: Counter[str] = Counter()
        problems: dict[str, str] = {}
        while queue:
            if self.should_stop():
                return DayResult(End.STOPPED, tuple(saved), given_up)
            position = queue.popleft()
            if self._known(position.well, plan.saved_since).saved:
                continue
            before = self._known(position.well, plan.tried_since)
            if (
                max(before.tries, failed[position.well]) >= self.settings.tries
            ):  # a full disk keeps tries out of the journal
                given_up[position.well] = (
                    problems.get(position.well) or before.last_problem or "tried often enough"
                )
                continue
            try:
                self._image(plan, position)
            except (MicroscopeError, OutputError) as error:
                failed[position.well] += 1
                problems[position.well] = str(error)
                self._note_failure(plan, position, error)
                queue.append(position)
            else:
                saved.append(position.well)
                self._in_a_row = 0
        return DayResult(End.DONE, tuple(saved), given_up)

    def _known(self, well: str, since: datetime | None) -> WellState:
        return self.journal.state(since).get(well, WellState())

    def _image(self, plan: DayPlan, position: WellPosition) -> None:
        """Take one well: the path of an image from the stage to the archive.

        Raises
        ------
        MicroscopeError
            If a device failed.
        OutputError
            If the image could not be saved.
        """
        self.journal.started(position.well, self.clock())
        self.step()
        self.scope.move_to(position.x_um, position.y_um)
        z_um = self._focus(position, wide=plan.wide)
        if plan.recentre:
            position = self._recentred(position, z_um)
        self.step()
        heights = self._heights(z_um)
        frames = self.scope.stack(heights)
        self.step()
        well = WellFrames(
            plan.plate,
            position.well,
            plan.day,
            tuple(frames),
            self.scope.format,
            position.x_um,
            position.y_um,
            tuple(heights),
            self.settings.plate,
        )
        file = save(self.archive, well)
        self.journal.saved(position.well, str(file.relative_to(self.archive)), self.clock())
        self.tell(
            "well.saved",
            plate=plan.plate,
            day=plan.day,
            well=position.well,
            file=str(file),
            z_um=round(z_um, 1),
        )

    def _note_failure(
        self, plan: DayPlan, position: WellPosition, error: MicroscopeError | OutputError
    ) -> None:
        self._in_a_row += 1
        self.tell(
            "well.failed", plate=plan.plate, day=plan.day, well=position.well, problem=str(error)
        )
        if self._in_a_row == TOO_MANY_IN_A_ROW:
            message = f"plate {plan.plate}, day {plan.day}: {TOO_MANY_IN_A_ROW} wells failed one after the other, the last was {position.well}: {error}"
            self.tell(
                "alert",
                kind="microscope",
                cause=f"{plan.plate} in a row",
                message=message,
                plate=plan.plate,
            )
        try:
            self.journal.failed(position.well, str(error), self.clock())
        except OutputError as unwritten:  # the disk is full for the journal too: the try counts all the same, it was begun
            self.tell("journal.failed", plate=plan.plate, day=plan.day, problem=str(unwritten))
        self.wait(self.settings.backoff_s * min(self._in_a_row, LONGEST_BACKOFF))

    def _focus(self, position: WellPosition, *, wide: bool) -> float:
        """Return the height of the tissue's middle, found by hardware, by software, or taken from the plate's other wells."""
        near_um = self.surface.predict(position.x_um, position.y_um)
        near_um = self.settings.focus_z_um if near_um is None else near_um
        focusing = self.settings.focusing
        if focusing is Focusing.OFF:
            return near_um
        if not wide and (
            focusing is Focusing.HARDWARE
            or (focusing is Focusing.AUTO and self.scope.has_autofocus)
        ):
            try:
                self.step()
                return self._remember(position, self.scope.autofocus(near_um))
            except MicroscopeError as error:
                self.tell("autofocus.failed", well=position.well, problem=str(error))
        for heights in self._scans(position, wide=wide):
            self.step()
            seen = self.scope.stack(heights)
            focus = find_focus([frame.pixels for frame in seen], [frame.z_um for frame in seen])
            if focus.found and not focus.at_edge:
                return self._remember(position, focus.z_um)
        self.tell("focus.not_found", well=position.well, taken_um=round(near_um, 1))
        return near_um

    def _scans(self, position: WellPosition, *, wide: bool) -> Iterable[tuple[float, ...]]:
        """Yield the heights to look at: first where focus is expected, then farther out."""
        first = scan(self.settings, self.surface, position.x_um, position.y_um, wide=wide)
        yield first
        if (
            farther := scan(self.settings, self.surface, position.x_um, position.y_um, wide=True)
        ) != first:
            yield farther

    def _remember(self, position: WellPosition, z_um: float) -> float:
        self.surface = self.surface.with_point(position.x_um, position.y_um, z_um)
        return z_um

    def _heights(self, z_um: float) -> list[float]:
        """Return the heights of the planes, the middle one in focus."""
        middle = (self.settings.planes - 1) / 2
        return [
            z_um + (number - middle) * self.settings.plane_step_um
            for number in range(self.settings.planes)
        ]

    def _recentred(self, position: WellPosition, z_um: float) -> WellPosition:
        """Bring the tissue into the middle of the field, as long as each move brings it nearer.

        A camera may stand mirrored without the configuration saying so: then the first move goes the wrong way, and the opposite is tried.
        """
        seen = self._off_centre(z_um)
        for sign in (1, 1, -1, -1):
            if seen is None or (seen.contact == 0 and seen.distance <= WELL_CENTRED):
                break
            dx_um, dy_um = self.scope.format.stage_um(*seen.towards)
            there = replace(
                position, x_um=position.x_um + sign * dx_um, y_um=position.y_um + sign * dy_um
            )
            try:
                self.scope.move_to(there.x_um, there.y_um)
            except MicroscopeError:  # beyond the stage's limits: the well is imaged where it is
                continue
            nearer = self._off_centre(z_um)
            if nearer is not None and nearer < seen:
                position, seen = there, nearer
        self.scope.move_to(position.x_um, position.y_um)
        return position

    def _off_centre(self, z_um: float) -> OffCentre | None:
        self.step()
        return off_centre(self.scope.stack([z_um])[0].pixels)


def outermost_heights(settings: MicroscopeSettings) -> tuple[float, float]:
    """Return the lowest and highest place that planes around the first focus lie at; scans keep within the limits by themselves."""
    reach_um = (settings.planes - 1) / 2 * settings.plane_step_um
    return settings.focus_z_um - reach_um, settings.focus_z_um + reach_um
