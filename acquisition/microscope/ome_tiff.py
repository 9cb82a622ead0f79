"""Encode one visit of a well as an OME-TIFF: all planes, with the position and time of each."""

import importlib.metadata
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt
import tifffile
from ome_types import model as ome

from acquisition.drop_folder.metadata.ome import (
    NAMESPACE,
    OTHER_CHANNEL,
    OUR_CREATOR,
    ROLE,
)
from acquisition.microscope.ome_optics import (
    annotations_of,
    channel_of,
    instrument_of,
    objective_settings_of,
)
from acquisition.ports import Frame, FrameFormat, OpticalPath
from schemas.errors import MicroscopeError
from schemas.well import PLATE_SHAPES, row_column

_UM = "µm"  # OME's default unit of a position is "reference frame", which has no length
_SOFTWARE = f"{OUR_CREATOR} {importlib.metadata.version('spherorank')}"


@dataclass(frozen=True, eq=False)
class WellFrames:
    """The frames of one image of a well at one visit, with the planned positions."""

    plate: str
    well: str
    day: int
    frames: tuple[Frame, ...]  # one per plane, in the order of the planes
    format: FrameFormat
    planned_x_um: float
    planned_y_um: float
    planned_z_um: tuple[float, ...] = ()  # one per plane
    plate_wells: int = 96
    focus: Mapping[str, str] = field(default_factory=dict)  # entries of the annotation
    channel: str | None = None  # name of a channel besides bright field; None: bright field
    field: int = 0  # number of the only field that the image shows, of several; 0: all of them
    is_ranked: bool = True  # False: only saved

    @property
    def taken_at(self) -> datetime:
        """The time of the first frame."""
        return min(frame.taken_at for frame in self.frames)

    @property
    def part(self) -> str:
        """The channel and field of an image that is not ranked, for its name; else empty."""
        if self.is_ranked:
            return ""
        named = (self.channel, f"field{self.field:02d}" if self.field else None)
        return "-".join(each for each in named if each)

    @property
    def optical_path(self) -> OpticalPath:
        """The optical path of the frames."""
        return self.frames[0].optical_path


def encode_ome_tiff(visit: WellFrames) -> bytes:
    """Return the content of an OME-TIFF file with the frames of one visit.

    Raises
    ------
    MicroscopeError
        If the frames do not have the format of the camera.
    """
    pixels = _stack_frames(visit)
    per_cm = 1e4 / visit.format.um_per_px
    out = io.BytesIO()
    with tifffile.TiffWriter(out, bigtiff=pixels.nbytes > 2**31) as tif:
        tif.write(
            pixels,
            photometric="minisblack",
            description=_ome(visit).to_xml().encode(),
            metadata=None,  # tifffile must not add metadata to the complete description
            resolution=(per_cm, per_cm),
            resolutionunit="CENTIMETER",
            datetime=visit.taken_at.replace(tzinfo=None),
            software=_SOFTWARE,
        )
    return out.getvalue()


def _stack_frames(visit: WellFrames) -> npt.NDArray[np.generic]:
    """Return the pixels of all frames, (planes, H, W) uint8 or uint16.

    Raises
    ------
    MicroscopeError
        If a frame's shape, type or largest value contradicts the format of the camera.
    """
    expected = (visit.format.height_px, visit.format.width_px)
    dtype = np.dtype(np.uint8 if visit.format.frame_bytes == math.prod(expected) else np.uint16)
    white = 2**visit.format.bits - 1
    if not visit.frames:
        raise MicroscopeError(f"camera, well {visit.well}", "no frames; expected one per plane")
    for frame in visit.frames:
        if frame.pixels.shape != expected or frame.pixels.dtype != dtype:
            found = f"a frame of {frame.pixels.shape[::-1]} {frame.pixels.dtype}"
            raise MicroscopeError(
                f"camera, well {visit.well}",
                f"{found}; expected {expected[::-1]} {dtype}, the format of the camera",
            )
        if int(frame.pixels.max()) > white:
            # Readers scale by the number of bits: the image would be refused or scaled differently.
            brightest = f"a pixel is {frame.pixels.max()}"
            problem = f"{brightest}; expected at most {white} with {visit.format.bits} bits"
            raise MicroscopeError(f"camera, well {visit.well}", problem)
    return np.stack([frame.pixels for frame in visit.frames])


def _ome(visit: WellFrames) -> ome.OME:
    """Return the OME metadata of a visit."""
    return ome.OME(
        creator=_SOFTWARE,
        plates=[_plate(visit)],
        instruments=[instrument_of(visit.optical_path)],
        images=[
            ome.Image(
                id="Image:0",
                name=f"{visit.plate} {visit.well} day {visit.day} {visit.part}".rstrip(),
                acquisition_date=visit.taken_at,
                instrument_ref=ome.InstrumentRef(id="Instrument:0"),
                objective_settings=objective_settings_of(visit.optical_path),
                pixels=_pixels(visit),
                annotation_refs=[ome.AnnotationRef(id="Annotation:0")],
            )
        ],
        structured_annotations=ome.StructuredAnnotations(map_annotations=[_annotation(visit)]),
    )


def _plate(visit: WellFrames) -> ome.Plate:
    """Return the plate of a visit, with one well and its planned position."""
    row, column = row_column(visit.well)
    rows, columns = PLATE_SHAPES[visit.plate_wells]
    sample = ome.WellSample(
        id="WellSample:0",
        index=0,
        image_ref=ome.ImageRef(id="Image:0"),
        position_x=visit.planned_x_um,
        position_x_unit=_UM,
        position_y=visit.planned_y_um,
        position_y_unit=_UM,
        timepoint=visit.taken_at,
    )
    well = ome.Well(
        id="Well:0",
        row=row - 1,
        column=column - 1,
        external_identifier=visit.well,
        well_samples=[sample],
    )
    return ome.Plate(
        id="Plate:0",
        name=visit.plate,
        external_identifier=visit.plate,
        rows=rows,
        columns=columns,
        row_naming_convention="letter",
        column_naming_convention="number",
        wells=[well],
    )


def _pixels(visit: WellFrames) -> ome.Pixels:
    """Return the OME description of the pixels: size, scale, channel and planes."""
    camera = visit.format
    steps_um = np.diff([frame.z_um for frame in visit.frames])
    planes = [_plane(visit, number) for number in range(len(visit.frames))]
    return ome.Pixels(
        id="Pixels:0",
        dimension_order="XYZCT",
        type=str(visit.frames[0].pixels.dtype),
        significant_bits=camera.bits,
        size_x=camera.width_px,
        size_y=camera.height_px,
        size_z=len(planes),
        size_c=1,
        size_t=1,
        physical_size_x=camera.um_per_px,
        physical_size_y=camera.um_per_px,
        physical_size_z=float(np.median(np.abs(steps_um))) or None if len(steps_um) else None,
        channels=[channel_of(visit.optical_path)],
        tiff_data_blocks=[
            ome.TiffData(ifd=number, first_z=number, plane_count=1) for number in range(len(planes))
        ],
        planes=planes,
    )


def _plane(visit: WellFrames, number: int) -> ome.Plane:
    """Return the position, exposure and time of one plane, counted from 0."""
    frame = visit.frames[number]
    return ome.Plane(
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
        delta_t=(frame.taken_at - visit.taken_at).total_seconds(),
    )


def annotation_values(visit: WellFrames) -> dict[str, str]:
    """Return the values of a visit that OME has no element for, by name; none is empty."""
    values = {
        "plate": visit.plate,
        "well": visit.well,
        "culture_day": str(visit.day),
        "software": _SOFTWARE,
        "planned_x_um": f"{visit.planned_x_um:.3f}",
        "planned_y_um": f"{visit.planned_y_um:.3f}",
        "planned_z_um": " ".join(f"{z:.3f}" for z in visit.planned_z_um),
        **visit.focus,
        ROLE: "bright field" if visit.channel is None else OTHER_CHANNEL,
        "channel": visit.channel or "",
        "ranked": "yes" if visit.is_ranked else "no",
        "field": str(visit.field) if visit.field else "",
        **annotations_of(visit.optical_path),
    }
    return {key: value for key, value in values.items() if value}


def _annotation(visit: WellFrames) -> ome.MapAnnotation:
    """Return an annotation with the values that OME has no element for."""
    values = annotation_values(visit)
    return ome.MapAnnotation(
        id="Annotation:0",
        namespace=NAMESPACE,
        value=ome.Map(ms=[ome.Map.M(k=key, value=value) for key, value in values.items()]),
    )
