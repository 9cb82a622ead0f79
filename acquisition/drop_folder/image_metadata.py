"""Read the metadata of a TIFF file: µm per pixel, acquisition time and camera bits."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from xml.etree import ElementTree as ET

import tifffile

CREDIBLE_UM_PER_PX = (0.05, 20.0)
"""Range of plausible scales; programs without a scale write 72 to 300 dots per inch (85–353 µm)."""

OUR_CREATOR = "SpheroRank"
_TYPE_BITS = 16  # written for uint16 by programs that do not know the bits of the camera
_UM = {
    "nm": 1e-3,
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "\\u00b5m": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    "inch": 25_400.0,
}
_TIFF_UNITS_UM = {2: 25_400.0, 3: 10_000.0}  # ResolutionUnit: inch, centimetre
_TIFF_TIME = re.compile(r"(\d{4})[:-]?(\d\d)[:-]?(\d\d)[ T](\d\d:\d\d:\d\d)(\.\d{1,6})?")


@dataclass(frozen=True)
class ImageMetadata:
    """The scale, acquisition time and camera bits in a file; None if the file has none."""

    um_per_px: float | None = None
    taken_at: datetime | None = None  # naive if the file has no time zone
    bits: int | None = None  # significant bits of a pixel
    scale_source: str = ""  # kind of metadata that contains the scale; empty without a scale


@dataclass(frozen=True)
class _OmeImage:
    """The metadata in the OME-XML of an OME-TIFF."""

    um_per_px: float | None
    taken_at: datetime | None
    bits: int | None
    images: int
    channels: int  # RGB is one channel
    times: int


def read_metadata(tif: tifffile.TiffFile) -> ImageMetadata:
    """Return the scale, acquisition time and camera bits of a TIFF file.

    Each value is taken from the first of these that has it: OME-XML, MetaSeries (MetaXpress),
    ImageJ (scale only) and the tags of the TIFF. Camera bits are in OME-XML only.
    """
    scale: float | None = None
    source = ""
    taken_at: datetime | None = None
    bits: int | None = None
    if (ome := _ome(tif)) is not None:
        scale, taken_at, bits = ome.um_per_px, ome.taken_at, ome.bits
        source = "OME-XML"
    if tif.is_metaseries:
        info = _plane_info(tif)
        if scale is None:
            scale, source = _metaseries_scale(info), "MetaSeries"
        found = info.get("acquisition-time-local")
        taken_at = taken_at or (found if isinstance(found, datetime) else None)
    if scale is None and tif.is_imagej:
        source = "ImageJ"
        scale = _resolution(
            tif.pages.first, _UM.get(str((tif.imagej_metadata or {}).get("unit", "")).lower())
        )
    if scale is None:
        source = "TIFF resolution tags"
        unit = tif.pages.first.tags.valueof("ResolutionUnit", default=2)
        scale = _credible(_resolution(tif.pages.first, _TIFF_UNITS_UM.get(int(unit))))
    return ImageMetadata(
        scale, taken_at or _tiff_time(tif.pages.first), bits, source if scale else ""
    )


def stack_problem(tif: tifffile.TiffFile, pages: int) -> str | None:
    """Return the reason why the pages of a TIFF are not the planes of one image, or None.

    Parameters
    ----------
    tif
        The opened file.
    pages
        The number of pages that are not thumbnails.
    """
    if (ome := _ome(tif)) is not None and pages > 1:
        counts = {"images": ome.images, "channels": ome.channels, "times": ome.times}
    elif tif.is_imagej:
        metadata = tif.imagej_metadata or {}
        if (expected := int(metadata.get("images", 1))) > pages:
            return (
                f"ImageJ's description says {expected} images, the file has {pages}; "
                "expected all of them"
            )
        counts = {
            "channels": int(metadata.get("channels", 1)),
            "times": int(metadata.get("frames", 1)),
        }
    else:
        return None
    several = [f"{count} {kind}" for kind, count in counts.items() if count > 1]
    return (
        f"a stack of {' and '.join(several)}; expected the focal planes of one image"
        if several
        else None
    )


def _ome(tif: tifffile.TiffFile) -> _OmeImage | None:
    """Return the OME metadata of a TIFF file; None without valid OME-XML."""
    if not tif.is_ome or not tif.ome_metadata:
        return None
    try:
        root = ET.fromstring(tif.ome_metadata)  # noqa: S314 - expat 2.4.1 refuses entity bombs
    except ET.ParseError:
        return None
    images = [element for element in root.iter() if _local(element) == "Image"]
    pixels = next((element for element in root.iter() if _local(element) == "Pixels"), None)
    if pixels is None:
        return None
    samples = max(
        (_number(e.get("SamplesPerPixel")) or 1 for e in pixels if _local(e) == "Channel"),
        default=1,
    )
    size = _number(pixels.get("PhysicalSizeX"))
    unit = _UM.get(pixels.get("PhysicalSizeXUnit", "µm"))
    dates = (
        element.text or ""
        for image in images[:1]
        for element in image.iter()
        if _local(element) in ("AcquisitionDate", "CreationDate")
    )
    return _OmeImage(
        um_per_px=size * unit if size and size > 0 and unit else None,
        taken_at=_iso_time(next(dates, "")),
        bits=_camera_bits(pixels.get("SignificantBits"), root.get("Creator", "")),
        images=len(images),
        channels=round((_number(pixels.get("SizeC")) or 1) / samples),
        times=round(_number(pixels.get("SizeT")) or 1),
    )


def _camera_bits(significant_bits: str | None, creator: str) -> int | None:
    """Return the significant bits in OME-XML; None if its creator writes 16 for every uint16."""
    bits = int(_number(significant_bits) or 0)
    is_known = 8 <= bits < _TYPE_BITS  # noqa: PLR2004 - a grey image has at least 8 bits
    is_ours = bits == _TYPE_BITS and creator.startswith(OUR_CREATOR)
    return bits if is_known or is_ours else None


def _local(element: ET.Element) -> str:
    """Return the name of an XML element without its namespace."""
    return element.tag.rsplit("}", 1)[-1]


def _number(text: object) -> float | None:
    """Return the finite number in a text, or None."""
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def _iso_time(text: str) -> datetime | None:
    """Return the ISO 8601 time in a text; None if there is none or its year is not plausible.

    Programs without a clock write the year 1, 1601 or 1970.
    """
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return time if 1990 <= time.year <= 2200 else None  # noqa: PLR2004 - plausible years


def _plane_info(tif: tifffile.TiffFile) -> Mapping[str, object]:
    """Return the MetaSeries values of the first plane by name; empty if there are none."""
    info = (tif.metaseries_metadata or {}).get("PlaneInfo", {})
    return info if isinstance(info, dict) else {}


def _metaseries_scale(info: Mapping[str, object]) -> float | None:
    """Return the µm per pixel in the MetaSeries values of a plane, or None."""
    value = _number(info.get("spatial-calibration-x"))
    unit = _UM.get(str(info.get("spatial-calibration-units", "")).lower())
    is_calibrated = info.get("spatial-calibration-state", True)
    return value * unit if value and value > 0 and unit and is_calibrated else None


def _resolution(page: tifffile.TiffPage, unit_um: float | None) -> float | None:
    """Return µm per pixel from the resolution tags of a page and the length of their unit in µm.

    Return None if a tag is missing or the two directions differ by more than 1 %.
    """
    found = [page.tags.valueof(name) for name in ("XResolution", "YResolution")]
    if unit_um is None or not all(
        isinstance(value, tuple) and len(value) == 2 and all(value)  # noqa: PLR2004 - a rational
        for value in found
    ):
        return None
    (x_count, x_per), (y_count, y_per) = found
    x_um, y_um = unit_um * x_per / x_count, unit_um * y_per / y_count
    return x_um if abs(x_um - y_um) <= 0.01 * x_um else None


def _credible(um_per_px: float | None) -> float | None:
    """Return a scale in µm per pixel if it is plausible, else None."""
    low, high = CREDIBLE_UM_PER_PX
    return um_per_px if um_per_px is not None and low <= um_per_px <= high else None


def _tiff_time(page: tifffile.TiffPage) -> datetime | None:
    """Return the time in the DateTime tag of a page, or None."""
    match = _TIFF_TIME.fullmatch(str(page.tags.valueof("DateTime", default="")).strip("\0 "))
    if match is None:
        return None
    return _iso_time(f"{match[1]}-{match[2]}-{match[3]}T{match[4]}{match[5] or ''}")
