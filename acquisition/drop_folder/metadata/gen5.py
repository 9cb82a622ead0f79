"""Read the XML that Gen5 (Cytation, Lionheart) writes into the description of a TIFF.

Source: https://github.com/ome/bioformats (BioTekReader): root ``BTIImageMetaData`` with
``ImageAcquisition/ImageWidthMicrons``, and ``ImageReference/Date`` and ``Time`` in the forms
``MM/dd/yy`` and ``HH:mm:ss``. The scale is ``ImageWidthMicrons`` ÷ ``PixelWidth``.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from xml.etree import ElementTree as ET

import tifffile

from acquisition.drop_folder.metadata.statements import FileMetadata, PageIndex, Scale
from acquisition.drop_folder.metadata.values import (
    bits_of_white,
    earliest,
    number,
    positive,
    square_scale,
    time_of,
)
from acquisition.drop_folder.metadata.xml_text import descendants, only_text, parse_xml, texts

SOURCE = "Gen5 XML"
_ROOT = "BTIImageMetaData"
_DATE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d\d|\d{4})")
_CLOCK = re.compile(r"(\d{1,2}):(\d\d):(\d\d(?:\.\d+)?)\s*([AP]M)?", re.IGNORECASE)
_NOON = 12


def read(tif: tifffile.TiffFile, pages: Sequence[tifffile.TiffPage]) -> FileMetadata | None:
    """Return the FileMetadata of an open TIFF file from Gen5; None for a file from elsewhere."""
    del tif  # each page describes itself
    if _ROOT not in pages[0].description:
        return None
    found = [_root(page) for page in pages]
    first = found[0]
    if first is None:
        return FileMetadata(SOURCE, Scale(None))
    known = [root for root in found if root is not None]
    scales = {_scale(root, page) for root, page in zip(known, pages, strict=False)}
    return FileMetadata(
        SOURCE,
        scales.pop() if len(scales) == 1 else Scale(None),
        earliest(_time(root) for root in known),
        bits_of_white(number(only_text(first, "SaturationLevel"))),
        pages=tuple(_page(root) for root in known),
        problem=_problem(known, len(pages)),
    )


def _root(page: tifffile.TiffPage) -> ET.Element | None:
    """Return the element with the metadata of a page; None if it has none."""
    root = parse_xml(page.description)
    return None if root is None else next(descendants(root, _ROOT), None)


def _scale(root: ET.Element, page: tifffile.TiffPage) -> Scale | None:
    """Return the scale from XML and page; without a value if the image was shrunk later."""
    px = [positive(only_text(root, name)) for name in ("PixelWidth", "PixelHeight")]
    um = [positive(only_text(root, f"Image{side}Microns")) for side in ("Width", "Height")]
    x_um, y_um = (
        length / count if length and count else None for length, count in zip(um, px, strict=True)
    )
    if px[0] and px[1]:
        shrunk = px[0] / page.imagewidth, px[1] / page.imagelength
        if shrunk[0] == shrunk[1] and shrunk[0] != 1:
            return Scale(None)
    return square_scale(x_um, y_um)


def _time(root: ET.Element) -> datetime | None:
    """Return the date and time of a page; None without a valid one."""
    date = _DATE.fullmatch(only_text(root, "Date") or "")
    clock = _CLOCK.fullmatch(only_text(root, "Time") or "")
    if date is None or clock is None:
        return None
    month, day, year = date.groups()
    hour = int(clock[1])
    if clock[4]:
        hour = hour % _NOON + (_NOON if clock[4].upper() == "PM" else 0)
    year = f"20{year}" if len(year) == 2 else year  # noqa: PLR2004 - two digits
    return time_of(f"{year}-{month:0>2}-{day:0>2} {hour:02}:{clock[2]}:{clock[3]}")


def _page(root: ET.Element) -> PageIndex:
    """Return the place of a page in the axes of its measurement from the XML of the page."""
    channels = texts(root, "Channel", "Color")
    return PageIndex(
        number(only_text(root, "ImageReference", "ZStackPosition")),
        "/".join(channels) or None,
        only_text(root, "ImageReference", "KineticSequence"),
        only_text(root, "ImageReference", "Well"),
    )


def _problem(known: list[ET.Element], pages: int) -> str:
    """Return as text why several pages of Gen5 are not focal planes; "" if they are."""
    if pages == 1:
        return ""
    positions = {_page(root).z for root in known} - {None}
    if len(positions) < pages:
        return (
            f"a stack of {pages} pages from Gen5 with {len(positions)} positions of the focus; "
            "expected one page, or pages with different ZStackPosition"
        )
    return ""
