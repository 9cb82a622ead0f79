"""What the daemon needs from a source of well images, a source from the daemon, and a day's imaging from a microscope."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
import numpy.typing as npt

from schemas.assay import Assay
from schemas.plate_map import PlateMap
from schemas.well_image import FileVersion, Rejected, SourceStatus, WellImage

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


class Source(Protocol):
    """Where well images come from. Called from the service's one loop only."""

    def next(self, timeout_s: float) -> WellImage | Rejected | None:
        """Return the next image that is ready or refused, or None when none became ready in ``timeout_s``.

        Each is handed out once until :meth:`done` is called or the source is opened anew.

        Raises
        ------
        SourceGoneError
            While the place the images come from cannot be read; the next call tries again.
        """
        ...

    def done(self, item: WellImage | Rejected) -> None:
        """Take note that the outcome of these file versions is committed: they are never handed out again."""
        ...

    def plate_maps(self) -> dict[str, PlateMap]:
        """Return the valid plate maps known now, by plate id."""
        ...

    def assays(self) -> dict[str, Assay]:
        """Return the valid assays known now, by plate id."""
        ...

    def status(self, now: datetime) -> SourceStatus:
        """Return what waits, what is held and whether the source can be read."""
        ...

    def close(self) -> None:
        """Release threads and handles. Safe to call twice."""
        ...


class EndedFiles(Protocol):
    """Which versions of files ended already; kept by the store, asked by the source when it starts."""

    def ended_files(self) -> Iterable[FileVersion]:
        """Return every version of a file that has an outcome."""
        ...


@dataclass(frozen=True)
class FrameFormat:
    """What every frame of the camera is like."""

    width_px: int
    height_px: int
    bits: int  # that the camera counts in
    um_per_px: float
    to_stage: tuple[float, float, float, float] | None = (
        None  # stage µm of a pixel to the right, (x, y), and of one down; None: y grows upwards
    )

    @property
    def frame_bytes(self) -> int:
        """Size of the pixels of one plane."""
        return self.width_px * self.height_px * (1 if self.bits <= 8 else 2)  # noqa: PLR2004 - bits of a byte

    def stage_um(self, right: float, down: float) -> tuple[float, float]:
        """Return how far the stage goes, in x and y, to see what lies so far right and down of the middle, in widths and heights of the field."""
        x_right, y_right, x_down, y_down = self.to_stage or (
            self.um_per_px,
            0.0,
            0.0,
            -self.um_per_px,
        )
        right_px, down_px = right * self.width_px, down * self.height_px
        return x_right * right_px + x_down * down_px, y_right * right_px + y_down * down_px


@dataclass(frozen=True, eq=False)
class Frame:
    """One plane as the camera gave it, and where the stage stood."""

    pixels: Pixels  # (H, W)
    x_um: float
    y_um: float
    z_um: float
    exposure_ms: float
    taken_at: datetime


class Microscope(Protocol):
    """A stage, a lamp and a camera. Called from one thread only, but for :meth:`lamp_off`."""

    @property
    def format(self) -> FrameFormat:
        """What every frame is like."""
        ...

    @property
    def has_autofocus(self) -> bool:
        """Whether :meth:`autofocus` can work at all."""
        ...

    def move_to(self, x_um: float, y_um: float) -> None:
        """Move the stage and return when it stands there.

        Raises
        ------
        MicroscopeError
            If a device failed, was too slow, or the stage does not stand where it was sent.
        """
        ...

    def autofocus(self, near_z_um: float) -> float:
        """Let the hardware find focus, starting from ``near_z_um``; return where.

        Raises
        ------
        MicroscopeError
            If it does not find it.
        """
        ...

    def stack(self, z_um: Sequence[float]) -> list[Frame]:
        """Return one frame at each of these heights, in this order; the lamp is on only meanwhile.

        Raises
        ------
        MicroscopeError
            If a device failed or was too slow, or a frame is missing.
        """
        ...

    def lamp_off(self) -> None:
        """Switch the lamp off, whatever else hangs. Safe from any thread and as often as one likes.

        Raises
        ------
        MicroscopeError
            If the shutter failed.
        """
        ...

    def close(self) -> None:
        """Switch the lamp off and let go of the devices. Safe to call twice."""
        ...
