"""Read the MetaSeries XML that MetaXpress and MetaMorph write into the description of a TIFF.

Sources: real files of an ImageXpress (the data set ``mls11_spheroids`` of docs/reference/data.md),
and the values in https://github.com/fmi-faim/faim-ipa/issues/18.
"""

from collections.abc import Mapping, Sequence

import tifffile

from acquisition.drop_folder.metadata.statements import FileMetadata, PageIndex, Scale
from acquisition.drop_folder.metadata.values import number, positive, square_scale, time_of, unit_um
from acquisition.drop_folder.metadata.xml_text import descendants, parse_xml

SOURCE = "MetaSeries"


def read(tif: tifffile.TiffFile, pages: Sequence[tifffile.TiffPage]) -> FileMetadata | None:
    """Return the MetaSeries FileMetadata of an open TIFF file and its pages; None without any."""
    if not tif.is_metaseries:
        return None
    found = [_plane_info(page) for page in pages]
    first = found[0]
    if first is None:
        return FileMetadata(SOURCE, Scale(None))
    described = [info for info in found if info is not None]
    return FileMetadata(
        SOURCE,
        _scale(first),
        time_of(first.get("acquisition-time-local", "")),
        pages=tuple(_page(info) for info in described) if len(described) == len(pages) else (),
    )


def _plane_info(page: tifffile.TiffPage) -> Mapping[str, str] | None:
    """Return the MetaSeries values of a page by name; None if the page has no valid XML."""
    root = parse_xml(page.description) if page.description.startswith("<MetaData>") else None
    if root is None:
        return None
    return {
        prop.get("id", ""): prop.get("value", "")
        for info in descendants(root, "PlaneInfo")
        for prop in descendants(info, "prop")
    }


def _scale(info: Mapping[str, str]) -> Scale | None:
    """Return the scale in the values of a page; None if the image is not calibrated."""
    is_calibrated = info.get("spatial-calibration-state", "on").lower() in ("on", "true", "1")
    x, y = (positive(info.get(f"spatial-calibration-{axis}")) for axis in "xy")
    if not is_calibrated or x is None:
        return None
    length_um = unit_um(info.get("spatial-calibration-units", ""))
    if length_um is None:
        return Scale(None)
    return square_scale(x * length_um, None if y is None else y * length_um)


def _page(info: Mapping[str, str]) -> PageIndex:
    """Return the place of a page in the axes of its acquisition from the values of the page."""
    channel = info.get("_IllumSetting_") or info.get("wavelength")
    return PageIndex(number(info.get("z-position")), channel, None, info.get("stage-label"))
