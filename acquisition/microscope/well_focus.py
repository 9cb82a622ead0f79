"""Find the focus of the tissue in a well, and confirm it in images.

An autofocus device reports success also if it has found another surface, has drifted or has not
moved. Its height is therefore believed only if a short stack around it has its sharpest plane
inside. Otherwise a scan follows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from acquisition.microscope.focus import FocusResult, find_focus
from acquisition.microscope.focus_surface import (
    FocusPoint,
    FocusSurface,
    FoundBy,
    heights_around,
    scan_heights,
)
from acquisition.microscope.plate_plan import WellPosition
from acquisition.microscope.settings import Focusing, MicroscopeSettings
from acquisition.ports import Microscope
from schemas.errors import MicroscopeError

VERIFICATION_STEPS = 3
"""Planes to either side of the height of an autofocus device, ``focus_step_um`` apart."""

MAX_MISSES = 3
"""Consecutive wells with a wrong autofocus, after which it is not used for the rest of the day."""

_SAME_OFFSET_UM = 20.0  # the focus heights of the wells of a plate differ by about as much


@dataclass(frozen=True)
class WellFocus:
    """The focus height of one well."""

    z_um: float
    found_by: FoundBy
    is_verified: bool  # whether a stack of images has its sharpest plane at this height
    is_lost: bool = False  # whether the focus was searched and not found

    def annotation(self) -> dict[str, str]:
        """Return the height and its origin as texts for the metadata of an image."""
        return {
            "focus_z_um": f"{self.z_um:.3f}",
            "focus_found_by": self.found_by.value,
            "focus_verified": "yes" if self.is_verified else "no",
        }


@dataclass(frozen=True)
class _Miss:
    """A well in which the autofocus device was wrong."""

    well: str
    error_um: float | None  # from its height up to the sharpest plane; None: it returned no height


@dataclass
class WellFocusing:
    """Finds the focus of the wells of a plate one after the other.

    Parameters
    ----------
    surface
        The focus heights known of the plate; replaced by one with the heights found here. Only
        heights that images have confirmed are added.
    emit
        Is called with the name and fields of each event, such as ``autofocus.failed``.
    clock
        Returns the current time.
    """

    scope: Microscope
    settings: MicroscopeSettings
    plate: str
    surface: FocusSurface
    emit: Callable[..., None]
    clock: Callable[[], datetime]
    _misses: list[_Miss] = field(default_factory=list, init=False)  # consecutive ones

    def find(self, position: WellPosition, *, wide: bool) -> WellFocus:
        """Return the WellFocus of the tissue at a position, at which the stage already is.

        The autofocus device is used if the settings select one, then scans. If none of them finds
        tissue, the height is predicted from the other wells of the plate.

        Parameters
        ----------
        wide
            Scan ``wide_range_um`` at once, without the autofocus device.

        Raises
        ------
        MicroscopeError
            If a device other than the autofocus device failed.
        """
        if self.settings.focusing is Focusing.OFF:
            return self._given(position)
        device_um = None
        is_tried = self._uses_autofocus and not wide
        if is_tried:
            device_um, found = self._focus_by_device(position)
            if found is not None:
                return found
        result: FocusResult | None = None
        heights: tuple[float, ...] = ()
        for heights in self._scans(position, device_um, wide=wide):
            result = self._judge(heights)
            if result.is_sharp:
                break
        if result is not None and result.found and result.at_edge:  # it lies beyond all scans
            heights = heights_around(self.settings, result.z_um, self.settings.wide_range_um)
            result = self._judge(heights)
        if result is None or not result.is_sharp:
            return self._predicted(position, _describe(result, heights))
        if is_tried:
            self._add_miss(position.well, device_um, result.z_um)
        return self._remembered(position, result.z_um, FoundBy.SCAN)

    @property
    def _uses_autofocus(self) -> bool:
        """True if the autofocus device is to be used."""
        is_selected = self.settings.focusing is Focusing.HARDWARE or (
            self.settings.focusing is Focusing.AUTO and self.scope.has_autofocus
        )
        return is_selected and len(self._misses) < MAX_MISSES

    def _focus_by_device(self, position: WellPosition) -> tuple[float | None, WellFocus | None]:
        """Return the tissue's height by the autofocus device, and the WellFocus if it is right.

        Both are None if the device returns no height.
        """
        offset_um = self.settings.autofocus_offset_um
        try:
            device_um = self.scope.autofocus(self.expected_um(position) - offset_um)
            tissue_um = device_um + offset_um
            heights = heights_around(
                self.settings, tissue_um, VERIFICATION_STEPS * self.settings.focus_step_um
            )
            result = self._judge(heights)
        except MicroscopeError as error:
            self._report_failure(position.well, str(error))
            return None, None
        if result.is_sharp:
            self._misses.clear()
            return tissue_um, self._remembered(position, result.z_um, FoundBy.AUTOFOCUS)
        offset = f" (with the offset of {offset_um:g} µm {tissue_um:.1f} µm)" if offset_um else ""
        returned = f"the autofocus device returned {device_um:.1f} µm{offset}"
        self._report_failure(position.well, f"{returned}, but {_describe(result, heights)}")
        return tissue_um, None

    def _report_failure(self, well: str, problem: str) -> None:
        """Report that the autofocus device gave no height that the images confirm."""
        self.emit("autofocus.failed", well=well, problem=f"{problem}; a scan follows")

    def _add_miss(self, well: str, device_um: float | None, tissue_um: float) -> None:
        """Count a well in which a scan found what the autofocus device missed.

        The last miss that is allowed raises an alert.
        """
        error_um = None if device_um is None else tissue_um - device_um
        self._misses.append(_Miss(well, error_um))
        if len(self._misses) == MAX_MISSES:
            message = f"plate {self.plate}: {_describe_misses(self._misses, self.settings)}"
            cause = f"{self.plate} autofocus"
            self.emit("alert", kind="microscope", cause=cause, message=message, plate=self.plate)

    def _scans(
        self, position: WellPosition, device_um: float | None, *, wide: bool
    ) -> Iterator[tuple[float, ...]]:
        """Yield the heights of the first focus scan, of a wide scan, and of one near the device."""
        x_um, y_um = position.x_um, position.y_um
        first = scan_heights(self.settings, self.surface, x_um, y_um, wide=wide)
        yield first
        second = scan_heights(self.settings, self.surface, x_um, y_um, wide=True)
        if second != first:
            yield second
        if device_um is not None and not second[0] <= device_um <= second[-1]:
            yield heights_around(self.settings, device_um, self.settings.wide_range_um)

    def _judge(self, heights: Sequence[float]) -> FocusResult:
        """Return the FocusResult of a stack taken at rising heights in µm."""
        frames = self.scope.stack(heights)
        return find_focus([frame.pixels for frame in frames], [frame.z_um for frame in frames])

    def expected_um(self, position: WellPosition) -> float:
        """Return the expected focus height in µm at a position."""
        predicted_um = self.surface.predict(position.x_um, position.y_um)
        return self.settings.focus_z_um if predicted_um is None else predicted_um

    def _given(self, position: WellPosition) -> WellFocus:
        """Return the height of the well in the focus map, of the plate's plane, or of the setting.

        No image confirms it.
        """
        known = self.surface.point_of(position.well)
        if known is not None:
            return WellFocus(known.z_um, FoundBy.FOCUS_MAP, is_verified=False)
        return self._unverified(position)

    def _predicted(self, position: WellPosition, problem: str) -> WellFocus:
        """Return the expected height of a well in which no focus was found, and report that."""
        focus = replace(self._unverified(position), is_lost=True)
        self.emit(
            "focus.not_found", well=position.well, taken_um=round(focus.z_um, 1), problem=problem
        )
        return focus

    def _unverified(self, position: WellPosition) -> WellFocus:
        """Return the height predicted from other wells or set by the operator."""
        is_predicted = self.surface.predict(position.x_um, position.y_um) is not None
        found_by = FoundBy.PREDICTED if is_predicted else FoundBy.SETTING
        return WellFocus(self.expected_um(position), found_by, is_verified=False)

    def _remembered(self, position: WellPosition, z_um: float, found_by: FoundBy) -> WellFocus:
        """Add a confirmed height in µm to the plate's surface and return the WellFocus."""
        point = FocusPoint(
            position.well, position.x_um, position.y_um, z_um, found_by, self.clock()
        )
        self.surface = self.surface.with_point(point)
        return WellFocus(z_um, found_by, is_verified=True)


def _describe(result: FocusResult | None, heights: Sequence[float]) -> str:
    """Return why a stack at these heights in µm confirms no focus."""
    if result is None or not heights:
        return "no heights can be scanned"
    scanned = f"from {heights[0]:.1f} to {heights[-1]:.1f} µm"
    if not result.changes:
        return f"the images {scanned} are all alike: the focus drive may not move"
    if not result.found:
        return f"the images {scanned} show no tissue"
    return f"the sharpest of the images {scanned} is at the edge of this range"


def _describe_misses(misses: Sequence[_Miss], settings: MicroscopeSettings) -> str:
    """Return a description of consecutive misses of the autofocus device, with a remedy."""
    wells = ", ".join(miss.well for miss in misses)
    follows = "the other wells are focused by scans"
    errors_um = [miss.error_um for miss in misses if miss.error_um is not None]
    if len(errors_um) < len(misses):
        return f"the autofocus device failed in wells {wells}, one after another; {follows}"
    spread_um = max(errors_um) - min(errors_um)
    listed = ", ".join(f"{error:+.1f}" for error in errors_um)
    missed = f"the tissue of wells {wells} is {listed} µm from the height of the autofocus device"
    if spread_um > _SAME_OFFSET_UM:
        return f"{missed}; {follows}"
    offset_um = settings.autofocus_offset_um + float(np.median(errors_um))
    return (
        f"{missed}, always by nearly the same distance; expected "
        f"source.micromanager.autofocus_offset_um = {offset_um:.0f} "
        f"(it is {settings.autofocus_offset_um:g}), or a device that finds the right surface; "
        f"{follows}"
    )
