"""Predict the focus height of a well from the focus heights of other wells of its plate."""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import AwareDatetime, FiniteFloat, TypeAdapter

from acquisition.durable_files import write_durably
from acquisition.microscope.settings import MicroscopeSettings

MIN_WELLS_FOR_NARROW_SCAN = 8
"""Number of wells with known focus from which on only heights near the surface are scanned."""

_NARROW_STEPS = 3  # of a scan, to either side; fewer planes do not show whether the drive moved
_MIN_WELLS = 3  # fewer define no plane
_SAME_WELL_UM = 1000.0  # two points nearer than this belong to one well
_NEWEST_WELLS = 5
# A shift of the newest wells counts if it exceeds this many spreads of all wells: the median of
# five wells with random errors is smaller.
_MIN_SHIFT_SPREADS = 1.5
_FULL_WEIGHT_UM = 10.0  # a residual up to this has weight 1; ten times as much has weight 0.1
# Prior of the fit: a usual plate is tilted by 1e-3 (100 µm from end to end), and the focus height
# of one well has an error of 20 µm. A few neighbouring wells therefore do not determine the tilt.
_PRIOR_ERROR_UM = 20.0
_PRIOR_TILT = 1e-3
_ITERATIONS = 20  # of the reweighted least squares

Floats = npt.NDArray[np.float64]


class FoundBy(StrEnum):
    """The way in which a focus height was found."""

    AUTOFOCUS = "autofocus"  # by the autofocus device, and confirmed by a stack of images
    SCAN = "scan"  # the sharpest height of a focus scan
    FOCUS_MAP = "focus_map"  # given by an operator in an imported focus map
    PREDICTED = "predicted"  # from the other wells of the plate
    SETTING = "setting"  # the setting ``focus_z_um``


@dataclass(frozen=True)
class FocusPoint:
    """The focus height of one well, and how it was found."""

    well: str
    x_um: FiniteFloat
    y_um: FiniteFloat
    z_um: FiniteFloat
    found_by: FoundBy
    at: AwareDatetime


_POINTS = TypeAdapter(tuple[FocusPoint, ...])


@dataclass(frozen=True)
class FocusSurface:
    """The focus heights found on one plate, and a robust plane through them."""

    points: tuple[FocusPoint, ...] = ()  # oldest first

    def with_point(self, point: FocusPoint) -> "FocusSurface":
        """Return a copy with the focus height of a well, in place of its former one."""
        others = (each for each in self.points if not _is_near(each, point.x_um, point.y_um))
        return replace(self, points=(*others, point))

    def point_of(self, well: str) -> FocusPoint | None:
        """Return the newest focus height of a well, in any of its fields; None if none is known."""
        return next((each for each in reversed(self.points) if each.well == well), None)

    def predict(self, x_um: float, y_um: float) -> float | None:
        """Return the expected focus height in µm at (x, y) in µm, or None below three wells."""
        if len(self.points) < _MIN_WELLS:
            return None
        middle, plane = self._plane()
        return float(plane @ (1.0, x_um - middle[0], y_um - middle[1])) + self._recent_shift_um(
            middle, plane
        )

    @property
    def spread_um(self) -> float:
        """The robust standard deviation of the wells from the plane, or infinity below three wells.

        It is 1.4826 times the median absolute residual.
        """
        if len(self.points) < _MIN_WELLS:
            return math.inf
        middle, plane = self._plane()
        return float(1.4826 * np.median(np.abs(self._residuals(middle, plane))))

    def to_json(self) -> str:
        """Return the points as JSON text."""
        return _POINTS.dump_json(self.points).decode()

    @classmethod
    def from_json(cls, text: str) -> "FocusSurface":
        """Return the surface stored as JSON text by :meth:`to_json`.

        Raises
        ------
        ValueError
            If the text is no list of finite points.
        """
        return cls(_POINTS.validate_json(text))

    def _places(self) -> Floats:
        """Return x, y and z of each point in µm, (n, 3)."""
        return np.array([(each.x_um, each.y_um, each.z_um) for each in self.points], np.float64)

    def _plane(self) -> tuple[Floats, Floats]:
        """Fit a plane to the points by iteratively reweighted least squares.

        Returns
        -------
        middle
            (2,) mean x and y of the points.
        plane
            (3,) height in the middle, slope along x and slope along y.
        """
        points = self._places()
        middle = points[:, :2].mean(axis=0)
        rows = np.column_stack([np.ones(len(points)), points[:, :2] - middle])
        prior = np.diag(
            [0.0, (_PRIOR_ERROR_UM / _PRIOR_TILT) ** 2, (_PRIOR_ERROR_UM / _PRIOR_TILT) ** 2]
        )
        plane = np.array([np.median(points[:, 2]), 0.0, 0.0])
        for _ in range(_ITERATIONS):
            weight = _FULL_WEIGHT_UM / np.maximum(
                np.abs(points[:, 2] - rows @ plane), _FULL_WEIGHT_UM
            )
            plane = np.linalg.solve(
                rows.T @ (rows * weight[:, None]) + prior, rows.T @ (points[:, 2] * weight)
            )
        return middle, plane

    def _recent_shift_um(self, middle: Floats, plane: Floats) -> float:
        """Return the common distance of the newest wells from the plane, or 0 if they disagree.

        A plate that was removed and put back lies a little higher or lower.
        """
        newest = self._residuals(middle, plane)[-_NEWEST_WELLS:]
        shift = float(np.median(newest))
        agree = np.median(np.abs(newest - shift)) <= max(self.spread_um, _FULL_WEIGHT_UM)
        return shift if agree and abs(shift) > _MIN_SHIFT_SPREADS * self.spread_um else 0.0

    def _residuals(self, middle: Floats, plane: Floats) -> Floats:
        """Return the height of each point above the plane, in µm."""
        points = self._places()
        return np.asarray(points[:, 2] - plane[0] - (points[:, :2] - middle) @ plane[1:])


def load_focus_surface(state: Path, plate: str) -> FocusSurface:
    """Return the stored FocusSurface of a plate (id) from the microscope's state folder.

    It is empty if there is no readable file. Files of earlier versions are not read, because they
    may contain heights that no image confirmed.
    """
    try:
        return FocusSurface.from_json(_surface_file(state, plate).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return FocusSurface()


def save_focus_surface(state: Path, plate: str, surface: FocusSurface) -> None:
    """Write the focus surface of a plate into the state folder of the microscope.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    write_durably(_surface_file(state, plate), surface.to_json().encode())


def _surface_file(state: Path, plate: str) -> Path:
    """Return the file of a plate's focus surface in the state folder."""
    return state / "focus" / f"{plate}.json"


def scan_heights(
    settings: MicroscopeSettings, surface: FocusSurface, x_um: float, y_um: float, *, wide: bool
) -> tuple[float, ...]:
    """Return the rising heights in µm of a normal or wide focus scan at the position (x, y) in µm.

    The scan is centred on the predicted focus height. It is narrower where enough wells of the
    plate lie on one plane, and stays within the limits of the focus drive.

    Parameters
    ----------
    wide
        Scan ``wide_range_um`` to either side.
    """
    predicted = surface.predict(x_um, y_um)
    if wide:
        half_um = settings.wide_range_um
    elif len(surface.points) >= MIN_WELLS_FOR_NARROW_SCAN:
        half_um = min(
            max(_NARROW_STEPS * settings.focus_step_um, 3 * surface.spread_um),
            settings.focus_range_um,
        )
    else:
        half_um = settings.focus_range_um
    middle_um = settings.focus_z_um if predicted is None else predicted
    return heights_around(settings, middle_um, half_um)


def heights_around(
    settings: MicroscopeSettings, middle_um: float, half_um: float
) -> tuple[float, ...]:
    """Return at least three rising heights, ``half_um`` to either side of a height in µm.

    They are at most ``focus_step_um`` apart and stay within the limits of the focus drive.
    """
    lowest, highest = settings.z_limits_um or (-math.inf, math.inf)
    middle_um = min(max(middle_um, lowest), highest)
    low, high = max(middle_um - half_um, lowest), min(middle_um + half_um, highest)
    steps = max(math.ceil((high - low) / settings.focus_step_um - 1e-6), 2)
    return tuple(float(z) for z in np.linspace(low, high, steps + 1))


def _is_near(point: FocusPoint, x_um: float, y_um: float) -> bool:
    """Return whether a point belongs to the well at (x, y) in µm."""
    return math.dist((point.x_um, point.y_um), (x_um, y_um)) <= _SAME_WELL_UM
