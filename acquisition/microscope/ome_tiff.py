"""One visit of a well as one OME-TIFF: all its planes, and where and when they were taken. Whole in the archive, or not there at all."""

import importlib.metadata
import io
import math
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
from ome_types import model as ome

from acquisition.drop_folder.image_metadata import OUR_CREATOR
from acquisition.durable_files import make_folder, write_durably
from acquisition.ports import Frame, FrameFormat
from schemas.errors import MicroscopeError, OutputError
from schemas.well import PLATE_SHAPES, row_column

NAMESPACE = "spherorank/acquisition"
_METADATA_BYTES = 64 * 1024  # of one file at most
_UM = "µm"  # the schema's own unit of a position is that of no known frame
_SOFTWARE = f"{OUR_CREATOR} {importlib.metadata.version('spherorank')}"


@dataclass(frozen=True, eq=False)
class WellFrames:
    """The planes of one visit, and what was planned."""

    plate: str
    well: str
    day: int
    frames: tuple[Frame, ...]  # in the order of their planes
    format: FrameFormat
    planned_x_um: float
    planned_y_um: float
    planned_z_um: tuple[float, ...] = ()  # of each plane
    plate_wells: int = 96

    @property
    def taken_at(self) -> datetime:
        """When the first plane was taken."""
        return min(frame.taken_at for frame in self.frames)


def prepare(root: Path, plate: str, day: int) -> None:
    """Make the folder of a plate's day in the archive below ``root``, and remove what a crash left half-written in it.

    Raises
    ------
    OutputError
        If it cannot be made or looked into.
    """
    folder = _folder(root, plate, day)
    try:
        make_folder(folder)
        for leftover in folder.glob(".*.ome.tif.part"):
            leftover.unlink()
    except OSError as error:
        raise OutputError(
            folder, f"cannot be made or cleared ({error.strerror}); expected a writable archive"
        ) from error


def save(root: Path, well: WellFrames) -> Path:
    """Write a visit into the archive below ``root`` and return the file; an earlier visit is never overwritten.

    The folder was made by :func:`prepare`: where a share is unmounted meanwhile, nothing may be written below its empty mount point.

    Raises
    ------
    MicroscopeError
        If the frames are not what the camera said they would be.
    OutputError
        If the file cannot be written; nothing is left behind then.
    """
    content = encode(well)
    folder = _folder(root, well.plate, well.day)
    if not folder.is_dir():
        raise OutputError(
            folder,
            "is gone; expected the folder that this day's images are saved in (is the archive's share mounted?)",
        )
    at = well.taken_at
    while (
        path := folder / archive_name(well.well, at)
    ).exists():  # a camera whose clock stands still
        at += timedelta(milliseconds=1)
    write_durably(path, content)
    return path


def _folder(root: Path, plate: str, day: int) -> Path:
    return root / plate / f"day{day:02d}"


def archive_name(well: str, taken_at: datetime) -> str:
    """Return a file's name, as :data:`acquisition.microscope.settings.ARCHIVE_PATTERN` reads it."""
    return (
        f"{well}_{taken_at:%Y%m%dT%H%M%S}.{taken_at.microsecond // 1000:03d}{taken_at:%z}.ome.tif"
    )


def encode(well: WellFrames) -> bytes:
    """Return the content of the file.

    Raises
    ------
    MicroscopeError
        If the frames are not what the camera said they would be.
    """
    pixels = _stack(well)
    per_cm = 1e4 / well.format.um_per_px
    out = io.BytesIO()
    with tifffile.TiffWriter(out, bigtiff=pixels.nbytes > 2**31) as tif:
        tif.write(
            pixels,
            photometric="minisblack",
            description=_metadata(well).to_xml().encode(),
            metadata=None,  # the description is complete
            resolution=(per_cm, per_cm),
            resolutionunit="CENTIMETER",
            datetime=well.taken_at.replace(tzinfo=None),
            software=_SOFTWARE,
        )
    return out.getvalue()


def bytes_needed(frame_format: FrameFormat, planes: int, wells: int) -> int:
    """Return how much room one visit of so many wells takes in the archive."""
    return wells * (planes * frame_format.frame_bytes + _METADATA_BYTES)


def check_space(root: Path, needed: int, keep_free: int) -> None:
    """Check that the archive's disk has room.

    Raises
    ------
    OutputError
        If it has not, or cannot be asked.
    """
    there = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    try:
        free = shutil.disk_usage(there).free
    except OSError as error:
        raise OutputError(
            root,
            f"its free space cannot be asked for ({error.strerror}); expected a folder that can be read",
        ) from error
    if free < needed + keep_free:
        raise OutputError(
            root,
            f"{free} bytes free; expected {needed + keep_free}: {needed} for the images, and {keep_free} that stay free",
        )


def _stack(well: WellFrames) -> npt.NDArray[np.generic]:
    """Return (planes, H, W), uint8 or uint16, checked against the camera's own word."""
    expected = (well.format.height_px, well.format.width_px)
    dtype = np.dtype(np.uint8 if well.format.frame_bytes == math.prod(expected) else np.uint16)
    white = 2**well.format.bits - 1
    if not well.frames:
        raise MicroscopeError(f"camera, well {well.well}", "no frames; expected one of each plane")
    for frame in well.frames:
        if frame.pixels.shape != expected or frame.pixels.dtype != dtype:
            found = f"a frame of {frame.pixels.shape[::-1]} {frame.pixels.dtype}"
            raise MicroscopeError(
                f"camera, well {well.well}",
                f"{found}; expected {expected[::-1]} {dtype}, as the camera said",
            )
        if int(frame.pixels.max()) > white:
            # Saved all the same, it would be stretched unlike the other wells, or refused later.
            problem = f"a pixel is {frame.pixels.max()}; expected at most {white}, as it counts in {well.format.bits} bits"
            raise MicroscopeError(f"camera, well {well.well}", problem)
    return np.stack([frame.pixels for frame in well.frames])


def _metadata(well: WellFrames) -> ome.OME:
    row, column = row_column(well.well)
    rows, columns = PLATE_SHAPES[well.plate_wells]
    sample = ome.WellSample(
        id="WellSample:0",
        index=0,
        image_ref=ome.ImageRef(id="Image:0"),
        position_x=well.planned_x_um,
        position_x_unit=_UM,
        position_y=well.planned_y_um,
        position_y_unit=_UM,
        timepoint=well.taken_at,
    )
    return ome.OME(
        creator=_SOFTWARE,
        plates=[
            ome.Plate(
                id="Plate:0",
                name=well.plate,
                external_identifier=well.plate,
                rows=rows,
                columns=columns,
                row_naming_convention="letter",
                column_naming_convention="number",
                wells=[
                    ome.Well(
                        id="Well:0",
                        row=row - 1,
                        column=column - 1,
                        external_identifier=well.well,
                        well_samples=[sample],
                    )
                ],
            )
        ],
        instruments=[
            ome.Instrument(
                id="Instrument:0",
                microscope=ome.Microscope(type="Inverted"),
                detectors=[ome.Detector(id="Detector:0")],
            )
        ],
        images=[
            ome.Image(
                id="Image:0",
                name=f"{well.plate} {well.well} day {well.day}",
                acquisition_date=well.taken_at,
                instrument_ref=ome.InstrumentRef(id="Instrument:0"),
                pixels=_pixels(well),
                annotation_refs=[ome.AnnotationRef(id="Annotation:0")],
            )
        ],
        structured_annotations=ome.StructuredAnnotations(map_annotations=[_plan(well)]),
    )


def _pixels(well: WellFrames) -> ome.Pixels:
    camera = well.format
    steps_um = np.diff([frame.z_um for frame in well.frames])
    planes = [
        ome.Plane(
            the_z=number,
            the_c=0,
            the_t=0,
            position_x=frame.x_um,
            position_x_unit=_UM,
            position_y=frame.y_um,
            position_y_unit=_UM,
            position_z=frame.z_um,
            position_z_unit=_UM,
            exposure_time=frame.exposure_ms,
            exposure_time_unit="ms",
            delta_t=(frame.taken_at - well.taken_at).total_seconds(),
        )
        for number, frame in enumerate(well.frames)
    ]
    return ome.Pixels(
        id="Pixels:0",
        dimension_order="XYZCT",
        type=str(well.frames[0].pixels.dtype),
        significant_bits=camera.bits,
        size_x=camera.width_px,
        size_y=camera.height_px,
        size_z=len(planes),
        size_c=1,
        size_t=1,
        physical_size_x=camera.um_per_px,
        physical_size_y=camera.um_per_px,
        physical_size_z=float(np.median(np.abs(steps_um))) or None if len(steps_um) else None,
        channels=[
            ome.Channel(
                id="Channel:0",
                name="bright field",
                samples_per_pixel=1,
                contrast_method="Brightfield",
                illumination_type="Transmitted",
            )
        ],
        tiff_data_blocks=[
            ome.TiffData(ifd=number, first_z=number, plane_count=1) for number in range(len(planes))
        ],
        planes=planes,
    )


def _plan(well: WellFrames) -> ome.MapAnnotation:
    """Return what OME has no place of its own for."""
    known = {
        "plate": well.plate,
        "well": well.well,
        "culture_day": str(well.day),
        "software": _SOFTWARE,
        "planned_x_um": f"{well.planned_x_um:.3f}",
        "planned_y_um": f"{well.planned_y_um:.3f}",
        "planned_z_um": " ".join(f"{z:.3f}" for z in well.planned_z_um),
    }
    return ome.MapAnnotation(
        id="Annotation:0",
        namespace=NAMESPACE,
        value=ome.Map(ms=[ome.Map.M(k=key, value=value) for key, value in known.items() if value]),
    )
