"""Read the OME-XML of an OME-TIFF: scale, time, bits and the axes of the pages in this file.

Format: https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/specification.html and
https://docs.openmicroscopy.org/ome-model/latest/developers/6d-7d-and-8d-storage.html. Each file of
a series contains the XML of all files; ``TiffData/UUID`` tells which planes are in which file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import PurePath
from xml.etree import ElementTree as ET

import tifffile

from acquisition.drop_folder.metadata.statements import FileMetadata, PageIndex, Scale
from acquisition.drop_folder.metadata.values import (
    earliest,
    number,
    positive,
    square_scale,
    time_of,
    unit_s,
    unit_um,
)
from acquisition.drop_folder.metadata.xml_text import children, parse_xml

SOURCE = "OME-XML"
OUR_CREATOR = "SpheroRank"
NAMESPACE = "spherorank/acquisition"
"""The namespace of SpheroRank's own annotation."""

ROLE, OTHER_CHANNEL = "role", "other channel"
"""Key and value in this annotation of an image that is not bright field."""

_TYPE_BITS = 16  # written for uint16 by programs that do not know the bits of the camera
_AXES = {"Z": "SizeZ", "C": "SizeC", "T": "SizeT"}
_MOST_PLANES = 1_000_000  # of one image; a larger number is damaged


@dataclass(frozen=True)
class _Image:
    """One image of OME-XML: a position with its planes."""

    number: int
    element: ET.Element
    pixels: ET.Element
    order: str  # of the planes, the fastest axis first, such as "ZCT"
    sizes: dict[str, int]  # planes along Z, C and T; RGB is one channel

    @property
    def planes(self) -> int:
        """The number of planes."""
        return self.sizes["Z"] * self.sizes["C"] * self.sizes["T"]

    @cached_property
    def plane_elements(self) -> dict[tuple[object, object, object], list[ET.Element]]:
        """The ``Plane`` elements by their place along Z, C and T."""
        found: dict[tuple[object, object, object], list[ET.Element]] = {}
        for element in children(self.pixels, "Plane"):
            z, c, t = (number(element.get(name)) for name in ("TheZ", "TheC", "TheT"))
            found.setdefault((z, c, t), []).append(element)
        return found

    def plane(self, index: int) -> PageIndex:
        """Return the PageIndex (Z, C, T) of a plane from its index in the order of the planes."""
        at = {}
        for axis in self.order:
            index, at[axis] = divmod(index, self.sizes[axis])
        return PageIndex(at["Z"], at["C"], at["T"], self.number)


@dataclass(frozen=True)
class _Block:
    """The planes of a ``TiffData`` element: consecutive pages from ``ifd`` on."""

    image: _Image
    ifd: int
    first: int  # index of the first plane in the order of the planes
    count: int
    uuid: str  # of the file with the pages; "" if it is not stated
    file: str


def read(tif: tifffile.TiffFile, pages: Sequence[tifffile.TiffPage]) -> FileMetadata | None:
    """Return the FileMetadata in the OME-XML of an open TIFF file; None if it is no OME-TIFF."""
    if not tif.is_ome:
        return None
    root = parse_xml(tif.ome_metadata or "")
    if root is None:
        problem = "its OME-XML cannot be parsed; expected valid XML" if len(pages) > 1 else ""
        return FileMetadata(SOURCE, Scale(None), problem=problem)
    images = list(_images(root, pages[0]))
    if not images:
        companion = next(
            (found.get("MetadataFile", "") for found in children(root, "BinaryOnly")), ""
        )
        problem = (
            f"the axes of its {len(pages)} pages are in another file ({companion}); "
            "expected one page, or a file with its own OME-XML"
        )
        return FileMetadata(SOURCE, problem=problem if len(pages) > 1 else "")
    blocks = [block for image in images for block in _blocks(image, len(pages))]
    own = _own_blocks(blocks, root.get("UUID", ""), tif.filename)
    if own is None:
        return _of_unknown_planes(root, images, blocks, len(pages))
    places = [
        [
            (block.image, block.image.plane(block.first + page.index - block.ifd))
            for block in own
            if 0 <= page.index - block.ifd < block.count
        ]
        for page in pages
    ]
    stated = sum(block.count for block in own)
    here = [place for found in places for place in found]
    here_images = [image for image, _ in here] or images
    return FileMetadata(
        SOURCE,
        _scale(here_images),
        _earliest(image_time(image, plane) for image, plane in here),
        _bits(here_images, root.get("Creator", "")),
        pages=tuple(plane for _, plane in here) if all(len(p) == 1 for p in places) else (),
        missing=_missing(stated, len(pages)),
        problem=_other_channel(root) or _problem([len(found) for found in places]),
    )


def _images(root: ET.Element, page: tifffile.TiffPage) -> Iterator[_Image]:
    """Yield the images of OME-XML that have pixels."""
    for count, element in enumerate(children(root, "Image")):
        pixels = next(iter(children(element, "Pixels")), None)
        if pixels is None:
            continue
        sizes = {axis: max(1, round(number(pixels.get(name)) or 1)) for axis, name in _AXES.items()}
        sizes = {axis: min(size, _MOST_PLANES) for axis, size in sizes.items()}
        samples = max(
            (round(positive(c.get("SamplesPerPixel")) or 1) for c in children(pixels, "Channel")),
            default=page.samplesperpixel,
        )
        if samples > 1 and sizes["C"] % samples == 0:
            sizes["C"] //= samples
        order = pixels.get("DimensionOrder", "XYZCT")[2:]
        yield _Image(
            count, element, pixels, order if sorted(order) == list("CTZ") else "ZCT", sizes
        )


def _blocks(image: _Image, pages: int) -> Iterator[_Block]:
    """Yield the blocks of planes of an image; one block with all planes if the XML has no blocks.

    A block with neither ``IFD`` nor ``PlaneCount`` has all planes, or those of all ``pages`` of a
    file that it names.
    """
    found = children(image.pixels, "TiffData")
    if not found:
        yield _Block(image, 0, 0, image.planes, "", "")
    for data in found:
        first, step = 0, 1
        for axis in image.order:
            first += step * max(0, round(number(data.get(f"First{axis}")) or 0))
            step *= image.sizes[axis]
        ifd, count = number(data.get("IFD")), number(data.get("PlaneCount"))
        uuid = next(iter(children(data, "UUID")), None)
        if count is None:
            count = 1 if ifd is not None else image.planes if uuid is None else pages
        yield _Block(
            image,
            max(0, round(ifd or 0)),
            first,
            max(0, min(round(count), image.planes - first)),
            "" if uuid is None else (uuid.text or "").strip(),
            "" if uuid is None else PurePath(uuid.get("FileName", "").replace("\\", "/")).name,
        )


def _own_blocks(blocks: list[_Block], uuid: str, name: str) -> list[_Block] | None:
    """Return the blocks whose pages are in this file; None if the file is not recognised.

    Parameters
    ----------
    blocks
        All blocks of the XML.
    uuid
        The UUID of this file; "" if it is not stated.
    name
        The name of this file.
    """
    files = {(block.uuid, block.file) for block in blocks}
    if len(files) <= 1:
        return blocks  # of one file, which may have been renamed
    by_uuid = [block for block in blocks if uuid and block.uuid == uuid]
    by_name = [block for block in blocks if block.file and block.file == PurePath(name).name]
    return by_uuid or by_name or None


def _of_unknown_planes(
    root: ET.Element, images: list[_Image], blocks: list[_Block], pages: int
) -> FileMetadata:
    """Return the FileMetadata that all planes of a series share, for a file that was renamed."""
    names = sorted({block.file for block in blocks})
    problem = (
        f"its OME-XML describes other files ({', '.join(names[:3])}), so that the axes of its "
        f"{pages} pages are unknown; expected one page, or a file with its original name"
    )
    is_one_time = all(image.sizes["T"] == 1 for image in images) and len(images) == 1
    return FileMetadata(
        SOURCE,
        _scale(images),
        image_time(images[0], images[0].plane(0)) if is_one_time else None,
        _bits(images, root.get("Creator", "")),
        problem=problem if pages > 1 else "",
    )


def _missing(stated: int, pages: int) -> str:
    """Return a text about planes that the XML states but the file lacks; "" if none is missing."""
    return f"OME-XML describes {stated} pages, the file has {pages}" if stated > pages else ""


def _other_channel(root: ET.Element) -> str:
    """Return as text that SpheroRank saved a channel besides bright field; "" otherwise."""
    values = {
        entry.get("K"): entry.text
        for annotations in children(root, "StructuredAnnotations")
        for annotation in children(annotations, "MapAnnotation")
        if annotation.get("Namespace") == NAMESPACE
        for value in children(annotation, "Value")
        for entry in children(value, "M")
    }
    if values.get(ROLE) != OTHER_CHANNEL:
        return ""
    return (
        f"SpheroRank took it in the channel {values.get('channel')}, which is not bright field; "
        "expected an image in bright field"
    )


def _problem(planes_of_pages: list[int]) -> str:
    """Return as text why pages cannot be assigned to planes; "" if they can, or with one page."""
    pages = len(planes_of_pages)
    if pages == 1:
        return ""
    if max(planes_of_pages) > 1:
        return "its OME-XML assigns several planes to one page; expected one plane per page"
    described = sum(planes_of_pages)
    if described < pages:
        return f"OME-XML describes {described} pages, the file has {pages}; expected all of them"
    return ""


def _scale(images: list[_Image]) -> Scale | None:
    """Return the scale of the images; without a value if it differs between them."""
    scales = list(dict.fromkeys(_image_scale(image.pixels) for image in images))
    return scales[0] if len(scales) == 1 else Scale(None)


def _image_scale(pixels: ET.Element) -> Scale | None:
    """Return the scale of one image; None if it is not stated."""
    sizes = [positive(pixels.get(f"PhysicalSize{axis}")) for axis in "XY"]
    names = [pixels.get(f"PhysicalSize{axis}Unit") for axis in "XY"]
    if sizes[0] == sizes[1] and None in names:  # a program that writes one unit for both
        names = [names[0] or names[1]] * 2
    units = [unit_um("µm" if name is None else name) for name in names]
    if any(size and unit is None for size, unit in zip(sizes, units, strict=True)):
        return Scale(None)
    x_um, y_um = (
        size * unit if size and unit else None for size, unit in zip(sizes, units, strict=True)
    )
    return square_scale(x_um, y_um)


def _bits(images: list[_Image], creator: str) -> int | None:
    """Return the significant bits of a pixel; None if the XML has only the bits of the type."""
    found = {round(number(image.pixels.get("SignificantBits")) or 0) for image in images}
    bits = found.pop() if len(found) == 1 else 0
    is_known = 8 <= bits < _TYPE_BITS  # noqa: PLR2004 - a grey image has at least 8 bits
    is_ours = bits == _TYPE_BITS and creator.startswith(OUR_CREATOR)
    return bits if is_known or is_ours else None


def image_time(image: _Image, plane: PageIndex) -> datetime | None:
    """Return the time of one plane: the date of its image and the plane's own offset.

    Return None if there is no date, or no offset for a plane of a later time point.
    """
    dates = [
        time_of(found.text)
        for name in ("AcquisitionDate", "CreationDate")
        for found in children(image.element, name)
    ]
    date = next((found for found in dates if found is not None), None)
    offset_s = _offset_s(image, plane)
    if date is None or offset_s is None:
        return None
    try:
        return date + timedelta(seconds=offset_s)
    except OverflowError:
        return None


def _offset_s(image: _Image, plane: PageIndex) -> float | None:
    """Return the seconds from the date of an image to one of its planes; None if unknown."""
    same = image.plane_elements.get((plane.z, plane.channel, plane.time), [])
    if not same and image.planes == 1:
        same = [element for found in image.plane_elements.values() for element in found]
    for element in same:
        delta, unit = number(element.get("DeltaT")), unit_s(element.get("DeltaTUnit", "s"))
        if delta is not None:
            return None if unit is None else delta * unit
    if plane.time == 0:
        return 0.0
    step = positive(image.pixels.get("TimeIncrement"))
    unit = unit_s(image.pixels.get("TimeIncrementUnit", "s"))
    if step is None or unit is None:
        return None
    return float(plane.time or 0) * step * unit


def _earliest(times: Iterator[datetime | None]) -> datetime | None:
    """Return the earliest time; None if one is unknown, or there is none."""
    found = list(times)
    return None if None in found else earliest(found)
