"""Decision which scale a well image is measured with: that of its plate map or of its files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schemas.plate_map import PlateFile, ScaleFrom

SCALE_TOLERANCE = 0.02
"""Largest relative difference of two scales that agree.

Resolution tags and values written with three digits differ by less than 1 % from the calibrated
scale. Neighbouring objectives and binnings differ by 25 % and more.
"""

SAME_SCALE = 1e-6
"""Largest relative difference of one scale in two notations or databases."""

PLATE_MAP = "plate map"
"""Name of the plate map as the source of a scale."""

DECISION = 'expected um_per_px_from = "file" or "map" in the plate map'
MAP_DECISION = 'expected um_per_px and um_per_px_from = "map" in the plate map'


@dataclass(frozen=True)
class FileScale:
    """The scale in the metadata of an image file, and the kind of metadata."""

    um_per_px: float
    source: str  # such as "OME-XML"

    def __str__(self) -> str:
        return format_scale(self.um_per_px, self.source)


@dataclass(frozen=True)
class DecidedScale:
    """The scale to measure a well image with, and the reason why it is not certain."""

    um_per_px: float | None
    source: str = ""  # PLATE_MAP or the kind of metadata; empty without a scale
    problem: str = ""  # empty if the scale is certain


def agree(one: float | None, other: float | None, tolerance: float = SCALE_TOLERANCE) -> bool:
    """Return whether two scales differ by at most the relative tolerance; None equals only None."""
    if one is None or other is None:
        return one is other
    return abs(one - other) <= tolerance * min(one, other)


def format_scale(um_per_px: float | None, source: str = "") -> str:
    """Return a scale as text, such as ``2.72461 µm per pixel (OME-XML)``."""
    if um_per_px is None:
        return "no scale"
    return f"{um_per_px:g} µm per pixel" + (f" ({source})" if source else "")


def distinct_scales(scales: Iterable[FileScale | None]) -> tuple[FileScale, ...]:
    """Return the different scales of the files of a well image, in the order of the files.

    A file without a scale does not contradict the others: of the files of one OME-TIFF set only
    the first contains the metadata.
    """
    by_value = {scale.um_per_px: scale for scale in reversed(list(scales)) if scale is not None}
    return tuple(reversed(by_value.values()))


def decide_scale(plate_map: PlateFile, files: Sequence[FileScale]) -> DecidedScale:
    """Return the DecidedScale of a well image from its plate map and the FileScales of its files.

    Without ``um_per_px_from``, the plate map's scale is used, else that of the first file, and a
    contradiction between them is a problem.

    Parameters
    ----------
    files
        The different scales of the files; empty if no file has one.
    """
    of_map = DecidedScale(plate_map.um_per_px, PLATE_MAP if plate_map.um_per_px else "")
    if plate_map.um_per_px_from is ScaleFrom.MAP:
        return of_map
    if not files:
        return DecidedScale(of_map.um_per_px, of_map.source, _problem_without_scale(plate_map))
    of_file = DecidedScale(files[0].um_per_px, files[0].source)
    decided = (
        of_map
        if plate_map.um_per_px and plate_map.um_per_px_from is not ScaleFrom.FILE
        else of_file
    )
    if problem := _contradiction(files) or _contradiction_of_map(plate_map, files):
        return DecidedScale(decided.um_per_px, decided.source, problem)
    return decided


def _problem_without_scale(plate_map: PlateFile) -> str:
    """Return the problem of files without a scale whose plate map says that the files decide."""
    if plate_map.um_per_px_from is not ScaleFrom.FILE or plate_map.um_per_px is None:
        return ""
    return (
        'the files have no scale, and um_per_px_from in the plate map is "file" (its um_per_px is '
        f'{plate_map.um_per_px:g}); expected files with a scale, or um_per_px_from = "map"'
    )


def _contradiction(files: Sequence[FileScale]) -> str:
    """Return the problem of files of one image whose scales differ; empty if they agree."""
    other = next((file for file in files if not agree(file.um_per_px, files[0].um_per_px)), None)
    return f"its files say {files[0]} and {other}; {MAP_DECISION}" if other else ""


def _contradiction_of_map(plate_map: PlateFile, files: Sequence[FileScale]) -> str:
    """Return the problem of a file that contradicts an undecided plate map; empty if none does."""
    if plate_map.um_per_px is None or plate_map.um_per_px_from is not None:
        return ""
    other = next((file for file in files if not agree(file.um_per_px, plate_map.um_per_px)), None)
    if other is None:
        return ""
    return f"the file says {other}, the plate map {format_scale(plate_map.um_per_px)}; {DECISION}"
