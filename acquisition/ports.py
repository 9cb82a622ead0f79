"""Ports of acquisition: a source of well images, the files it may skip, and a microscope."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
import numpy.typing as npt

from acquisition.channels import Channel
from schemas.assay import Assay
from schemas.closed_folder import ClosedFolder
from schemas.plate_map import PlateMap
from schemas.well_image import FileVersion, Rejected, SourceStatus, WellImage

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


class Source(Protocol):
    """A source of well images, with their plate maps and assays.

    All methods are called from one thread, the main loop of the service.
    """

    def next(self, timeout_s: float) -> WellImage | Rejected | None:
        """Return the next well image or refusal; None if none is ready within ``timeout_s``.

        Each result is returned once. If the process ends before :meth:`done` is called for it, a
        new source returns it again.

        Raises
        ------
        SourceGoneError
            While the images cannot be read, for example because a share is not mounted. The next
            call tries again.
        StoreError
            If the outcomes of listed files cannot be read. The next call tries again.
        """
        ...

    def done(self, item: WellImage | Rejected) -> None:
        """Record that the outcome of a well image or refusal is committed to the store."""
        ...

    def postpone(self, image: WellImage, problem: str) -> None:
        """Take back a well image that cannot be processed now; :meth:`next` returns it again later.

        Parameters
        ----------
        image
            A well image that :meth:`next` returned, without a recorded outcome.
        problem
            The fault of this computer, for the status.
        """
        ...

    def read_again(self, files: Iterable[FileVersion]) -> None:
        """Forget the outcome of file versions, so that those still present are returned again.

        From now on :meth:`status` counts them as pending.
        """
        ...

    def plate_maps(self) -> dict[str, PlateMap]:
        """Return the valid plate maps that are known now, by plate id."""
        ...

    def assays(self) -> dict[str, Assay]:
        """Return the valid assays that are known now, by plate id."""
        ...

    def status(self, now: datetime) -> SourceStatus:
        """Return the waiting images, pending plates, invalid assays and problem of the source."""
        ...

    def close(self) -> None:
        """Release threads and file handles. Safe to call twice."""
        ...


class EndedFiles(Protocol):
    """The recorded outcomes of file versions; a source reads those of each file once."""

    def ended_files(self, paths: Iterable[str]) -> Iterable[FileVersion]:
        """Return every file version of some paths that has an outcome.

        Raises
        ------
        StoreError
            If the outcomes cannot be read.
        """
        ...


class ClosedPlates(Protocol):
    """The closed plates and their folders; each method may raise StoreError."""

    def plates(self) -> Collection[str]:
        """Return the ids of the plates that are closed now."""
        ...

    def has_stored(self, plate_map: PlateMap, assay: Assay | None) -> bool:
        """Return whether a plate map, and an assay if there is one, are the newest stored ones."""
        ...

    def folders(self) -> Sequence[ClosedFolder]:
        """Return the folders that were saved by :meth:`save_folder`, also before a restart."""
        ...

    def save_folder(self, folder: ClosedFolder) -> None:
        """Save a folder, in place of an earlier one with its path."""
        ...


@dataclass(frozen=True)
class FrameFormat:
    """Size, bit depth and scale that all frames of a camera have in common."""

    width_px: int
    height_px: int
    bits: int  # of a pixel: 8 to 16
    um_per_px: float
    to_stage: tuple[float, float, float, float] | None = None
    """Stage distance in µm of one pixel to the right (x, y) and one pixel down (x, y).

    None: the axes of stage and image are parallel, and y of the stage points up in the image.
    """

    @property
    def frame_bytes(self) -> int:
        """Number of bytes of the pixels of one frame."""
        bytes_per_px = 1 if self.bits <= 8 else 2  # noqa: PLR2004 - bits of a byte
        return self.width_px * self.height_px * bytes_per_px

    @property
    def stage_matrix(self) -> npt.NDArray[np.float64]:
        """The stage movement in µm, (x, y), for pixels to the right and down, (2, 2)."""
        x_right, y_right, x_down, y_down = self.to_stage or (
            self.um_per_px,
            0.0,
            0.0,
            -self.um_per_px,
        )
        return np.array([[x_right, x_down], [y_right, y_down]])

    def stage_um(self, right: float, down: float) -> tuple[float, float]:
        """Return the stage movement (x, y) in µm that brings a place in the image to its centre.

        ``right`` and ``down`` are the distances of the place from the centre of the image, in
        widths and heights of the image.
        """
        x_um, y_um = self.stage_matrix @ (right * self.width_px, down * self.height_px)
        return float(x_um), float(y_um)


@dataclass(frozen=True)
class OpticalPath:
    """The parts of the microscope that made a frame; an empty text for a part that is unknown.

    The texts are those of the hardware configuration, the devices and the settings. None is
    derived from another one.
    """

    channel: str = ""  # name of the channel
    preset: str = ""  # GROUP:PRESET that selects the channel
    contrast_method: str = ""  # as OME names it, such as Brightfield
    illumination: str = ""  # as OME names it, such as Transmitted
    stand: str = ""  # type of the microscope, as OME names it, such as Inverted
    objective: str = ""  # label of the objective in the turret
    pixel_size: str = ""  # name of the ConfigPixelSize that applies
    camera: str = ""  # label of the camera
    camera_device: str = ""  # adapter and device of the camera, such as DemoCamera/DCam
    camera_model: str = ""  # name that the camera reports
    camera_id: str = ""  # identifier that the camera reports
    binning: str = ""  # as the camera reports it, such as 2 or 2x2


@dataclass(frozen=True, eq=False)
class Frame:
    """One plane as read from the camera, with the stage position and the exposure time."""

    pixels: Pixels  # (H, W) uint8 or uint16
    x_um: float
    y_um: float
    z_um: float
    exposure_ms: float
    taken_at: datetime
    optical_path: OpticalPath = OpticalPath()


class ImagingStoppedError(Exception):
    """A step is not begun, because the process was asked to stop; this is no fault of a device."""


BeginStep = Callable[[str, float], None]
"""Is called before each step of a device that may take long.

The arguments are the device with its action, such as ``camera Camera: exposure of 9.3 s, plane 2 of
3``, and the longest expected time in seconds. It raises ImagingStoppedError to end the imaging.
"""


def ignore_step(step: str, expected_s: float) -> None:
    """Do nothing: there is no watchdog for the steps of a device."""
    del step, expected_s


class Microscope(Protocol):
    """A microscope with a stage, a lamp and a camera.

    All methods are called from one thread, except :meth:`lamp_off`.
    """

    @property
    def format(self) -> FrameFormat:
        """Size, bit depth and scale of the frames."""
        ...

    def check_unchanged(self) -> None:
        """Raise ScaleError if the frames do not have the :attr:`format` that they had at first.

        Called before each plate: the objective or the binning may have been changed.
        """
        ...

    @property
    def has_autofocus(self) -> bool:
        """True if the microscope has a hardware autofocus for :meth:`autofocus`."""
        ...

    def position(self) -> tuple[float, float, float]:
        """Return the position of the stage and the focus drive, (x, y, z) in µm.

        Raises
        ------
        MicroscopeError
            If a device failed.
        """
        ...

    def own_time(self) -> datetime | None:
        """Return the present time of the camera's own clock.

        None if the frames are dated by this computer's clock.

        Raises
        ------
        MicroscopeError
            If a device failed.
        """
        ...

    def move_to(self, x_um: float, y_um: float) -> None:
        """Move the stage to a position in µm and return when the position is reached.

        Raises
        ------
        MicroscopeError
            If a device failed or was too slow, or the stage reports another position.
        """
        ...

    def autofocus(self, near_z_um: float) -> float:
        """Run the hardware autofocus from a height in µm and return the height of the focus in µm.

        Raises
        ------
        MicroscopeError
            If no focus was found.
        """
        ...

    def stack(self, z_um: Sequence[float], channel: Channel | None = None) -> list[Frame]:
        """Return one frame for each height in µm, in the given order.

        The lamp is on during exposures only.

        Parameters
        ----------
        z_um
            The heights.
        channel
            The channel to image; None: bright field.

        Raises
        ------
        MicroscopeError
            If a device failed or was too slow, or a frame is missing.
        """
        ...

    def dark_frame(self) -> Frame:
        """Return one frame at the present position, taken with the lamp off.

        Raises
        ------
        MicroscopeError
            If a device failed or was too slow.
        """
        ...

    def home(self) -> None:
        """Drive the stage to its reference position, so that its coordinates are right again.

        Raises
        ------
        MicroscopeError
            If the stage failed or cannot do so.
        """
        ...

    def lamp_off(self) -> None:
        """Switch the lamp off.

        May be called from any thread and any number of times, also while another method hangs.

        Raises
        ------
        MicroscopeError
            If the shutter failed.
        """
        ...

    def close(self) -> None:
        """Switch the lamp off and release the devices. Safe to call twice."""
        ...
