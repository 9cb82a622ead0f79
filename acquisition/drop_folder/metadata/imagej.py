"""Read the description that ImageJ writes into a TIFF: scale and axes of the pages.

Format: https://imagej.net/ij/developer/api/ij/ij/io/TiffEncoder.html, and the writer of hyperstacks
in https://github.com/cgohlke/tifffile. The tags ``XResolution`` and ``YResolution`` hold pixels per
``unit`` of the description, not per ``ResolutionUnit``. Planes are in the order C, Z, T.
"""

from collections.abc import Sequence

import tifffile

from acquisition.drop_folder.metadata.statements import FileMetadata, PageIndex, Scale
from acquisition.drop_folder.metadata.tiff_tags import resolution_scale
from acquisition.drop_folder.metadata.values import number, unit_um

SOURCE = "ImageJ"


def read(tif: tifffile.TiffFile, pages: Sequence[tifffile.TiffPage]) -> FileMetadata | None:
    """Return the FileMetadata that ImageJ wrote into an open TIFF file; None for other files."""
    if not tif.is_imagej:
        return None
    values = tif.imagej_metadata or {}
    images = _count(values.get("images", 1))
    channels, slices, frames = (
        _count(values.get(name, 1)) for name in ("channels", "slices", "frames")
    )
    if channels * slices * frames != len(pages) and channels == frames == 1:
        slices = len(pages)
    return FileMetadata(
        SOURCE,
        _scale(values.get("unit"), values.get("yunit"), pages[0]),
        pages=tuple(
            PageIndex(
                index // channels % slices, index % channels, index // (channels * slices) % frames
            )
            for index in range(len(pages))
        ),
        missing=(
            f"ImageJ's description says {images} images, the file has {len(pages)}"
            if images > len(pages)
            else ""
        ),
        problem=(
            f"a stack of {channels} channels and {frames} times; "
            "expected the focal planes of one image"
            if channels * slices * frames != len(pages) > 1
            else ""
        ),
    )


def _scale(unit: object, y_unit: object, page: tifffile.TiffPage) -> Scale | None:
    """Return the scale of a page in units of ImageJ; without a value if the unit is no length."""
    if unit is None:
        return None
    length_um = unit_um(unit)
    if length_um is None or (y_unit is not None and unit_um(y_unit) != length_um):
        return Scale(None)
    return resolution_scale(page, length_um)


def _count(value: object) -> int:
    """Return a number of images; 1 for a value that is no such number."""
    return max(1, round(number(value) or 1))
