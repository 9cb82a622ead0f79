"""Read the XML that Harmony (Operetta, Opera Phenix) writes into the TIFF tag 65500.

Sources: the tag in https://github.com/ome/bioformats (OperettaReader, ``XMLTAG = 65500``); the
elements of Index.idx.xml in https://github.com/mobie/mobie-viewer-fiji/issues/987. The resolution
tags of these files hold the pixel of the camera, not of the image, see
https://github.com/mobie/mobie-viewer-fiji/issues/990, so that they are never used as a scale. The
scale is camera pixel × binning ÷ (magnification of the objective × that of the instrument).
"""

from collections.abc import Sequence
from xml.etree import ElementTree as ET

import tifffile

from acquisition.drop_folder.metadata.statements import FileMetadata, PageIndex, Scale
from acquisition.drop_folder.metadata.tiff_tags import resolution_scale
from acquisition.drop_folder.metadata.values import (
    bits_of_white,
    number,
    positive,
    square_scale,
    time_of,
    unit_um,
)
from acquisition.drop_folder.metadata.xml_text import (
    descendants,
    local_name,
    only_text,
    parse_xml,
    texts,
)

SOURCE = "Harmony XML"
TAG = 65500
_LONGEST_IN_METRES = 1e-3  # a pixel with a larger number is not in metres


def read(tif: tifffile.TiffFile, pages: Sequence[tifffile.TiffPage]) -> FileMetadata | None:
    """Return the FileMetadata of an open TIFF file from Harmony; None for a file from elsewhere."""
    del tif  # each page describes itself
    found = [_xml_text(page) for page in pages]
    if found[0] is None:
        return None
    roots = [parse_xml(text) if text is not None else None for text in found]
    first = roots[0]
    if first is None:
        return FileMetadata(SOURCE, Scale(None))
    known = [root for root in roots if root is not None]
    scales = {_scale(root, pages[0]) for root in known}
    return FileMetadata(
        SOURCE,
        scales.pop() if len(scales) == 1 else Scale(None),
        time_of(only_text(first, "AbsTime")),
        bits_of_white(number(only_text(first, "MaxIntensity"))),
        pages=tuple(_page(root) for root in known) if len(known) == len(pages) else (),
        problem=(
            f"Harmony's XML describes {len(known)} of its {len(pages)} pages; expected one page"
            if len(known) < len(pages)
            else ""
        ),
    )


def _xml_text(page: tifffile.TiffPage) -> str | bytes | None:
    """Return the XML in the tag of a page; None if the page has no such text."""
    value = page.tags.valueof(TAG)
    if isinstance(value, tuple) and all(byte in range(256) for byte in value):
        value = bytes(value)
    if isinstance(value, str):
        return value if value.lstrip("\ufeff \0\r\n").startswith("<") else None
    if isinstance(value, bytes):
        return value if b"<" in value[:16] else None
    return None


def _scale(root: ET.Element, page: tifffile.TiffPage) -> Scale:
    """Return the scale from XML and page; without a value if unknown or two sources differ."""
    camera = _camera_scale(root) or resolution_scale(page, _tag_unit_um(page))
    factor = _magnification(root)
    binning = _binning(root)
    computed = None
    if camera and camera.um_per_px and factor and binning:
        computed = camera.um_per_px * binning / factor
    stated = _lengths_scale(root, "ImageResolution")
    if stated is None:
        return Scale(computed)
    if stated.um_per_px is None:
        return stated
    other = computed
    if other is None:
        if camera is None or camera.um_per_px is None:
            return stated
        # A value that equals the pixel of the camera is not that of the image.
        is_camera = abs(stated.um_per_px - camera.um_per_px) <= 0.01 * camera.um_per_px
        return Scale(None) if is_camera else stated
    return stated if abs(stated.um_per_px - other) <= 0.01 * other else Scale(None)


def _tag_unit_um(page: tifffile.TiffPage) -> float:
    """Return the length of the unit of the resolution tags in µm; 0 for none."""
    unit = number(page.tags.valueof("ResolutionUnit", default=2))
    return {2: 25_400.0, 3: 10_000.0}.get(int(unit or 0), 0.0)


def _camera_scale(root: ET.Element) -> Scale | None:
    """Return the size of a pixel of the camera; None if the XML does not have it."""
    for name in ("CameraPixelSize", "CameraPixelPitch", "SensorPixelSize"):
        if (scale := _lengths_scale(root, name)) is not None:
            return scale
    for camera in root.iter():
        if local_name(camera).startswith(("Camera", "Detector")):
            for name in ("PixelSize", "PixelPitch"):
                if (scale := _lengths_scale(camera, name)) is not None:
                    return scale
    return None


def _lengths_scale(root: ET.Element, name: str) -> Scale | None:
    """Return the scale in the elements ``nameX`` and ``nameY``, or ``name``; None without."""
    x_um, y_um = _length_um(root, f"{name}X"), _length_um(root, f"{name}Y")
    return square_scale(x_um, y_um) or square_scale(_length_um(root, name), None)


def _length_um(root: ET.Element, name: str) -> float | None:
    """Return the length in µm in the elements with a name; None if none or they differ."""
    found = set()
    for element in descendants(root, name):
        value, unit = positive(element.text), element.get("Unit")
        if value is None:
            continue
        default = "m" if value < _LONGEST_IN_METRES else "µm"
        length_um = unit_um(unit or default)
        found.add(None if length_um is None else value * length_um)
    return found.pop() if len(found) == 1 else None


def _magnification(root: ET.Element) -> float | None:
    """Return the magnification from tissue to camera; None if one part of it is unknown."""
    objectives = {
        *texts(root, "ObjectiveMagnification"),
        *(
            text
            for element in root.iter()
            if local_name(element).startswith("Objective")
            for text in texts(element, local_name(element), "Magnification")
        ),
    }
    objective = positive(objectives.pop()) if len(objectives) == 1 else None
    instrument = positive(only_text(root, "InstrumentDescription", "Magnification"))
    return objective * instrument if objective and instrument else None


def _binning(root: ET.Element) -> float | None:
    """Return the binning of the camera; None if it is unknown or differs in x and y."""
    found = {
        positive(factor)
        for element in root.iter()
        if "binning" in local_name(element).lower()
        for text in (element.text, *element.attrib.values(), *(child.text for child in element))
        if text and text.strip()
        for factor in text.lower().replace("×", "x").split("x")
    }
    return found.pop() if len(found) == 1 else None


def _page(root: ET.Element) -> PageIndex:
    """Return the place of a page in the axes of its measurement from the XML of the page."""
    return PageIndex(
        number(only_text(root, "PlaneID")),
        only_text(root, "ChannelID") or only_text(root, "ChannelName"),
        only_text(root, "TimepointID"),
        only_text(root, "FieldID"),
    )
