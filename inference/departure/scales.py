"""Detection of stored images whose scale is contradictory, or not the one that the map decides."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.plate_map import PlateMap, ScaleFrom
from schemas.scale import (
    DECISION,
    MAP_DECISION,
    PLATE_MAP,
    SAME_SCALE,
    FileScale,
    agree,
    decide_scale,
    format_scale,
)
from schemas.well_image import VisitKey

NO_SCALE_NOTE = (
    "The images have no scale (µm per pixel). Without it, sizes in µm cannot be computed: sizes "
    "are in pixels, the degree of explosion is relative to the size of the tissue of each well, "
    "and texture and condition assume that the tissue is 40 cells wide."
)
NO_FIELD_NOTE = (
    "The encoder's field of {field:g} µm cannot be cropped without a scale: the encoder sees the "
    "largest square of the image."
)


class MeasuredImage(Protocol):
    """A stored image with the scale that it was measured with and the scales of its files."""

    @property
    def key(self) -> VisitKey:
        """The VisitKey of the image."""

    @property
    def day(self) -> int:
        """The culture day of the image, from 1."""

    @property
    def um_per_px(self) -> float | None:
        """The scale in µm per pixel that the image was measured with; None without a scale."""

    @property
    def file_scales(self) -> tuple[FileScale, ...] | None:
        """The different scales that the files of the image state; None if they are not recorded."""


@dataclass(frozen=True)
class ScaleProblem:
    """The reason why the measures of a well cannot be compared with those of other wells."""

    well: str
    day: int  # of the first image with this problem
    sentence: str  # both scales with their sources, and the expected correction
    is_outdated: bool  # measured with another scale than the plate map decides now

    @property
    def reason(self) -> str:
        """The sentence of the problem with the culture day."""
        return f"scale of day {self.day}: {self.sentence}"


def has_scale(images: Iterable[MeasuredImage]) -> bool:
    """Return whether the images of a plate were measured in µm: most of them have a scale.

    True without images.
    """
    with_scale = [image.um_per_px is not None for image in images]
    return 2 * sum(with_scale) >= len(with_scale)


def scale_notes(images: Sequence[MeasuredImage], field_um: float | None) -> tuple[str, ...]:
    """Return notes on the values that cannot be computed, if the images of a plate have no scale.

    Parameters
    ----------
    images
        The selected images of one plate, up to the ranked day.
    field_um
        Width of the field that the encoder sees; None if the embedding is not compared or needs no
        scale.
    """
    if has_scale(images):
        return ()
    return (NO_SCALE_NOTE, *((NO_FIELD_NOTE.format(field=field_um),) if field_um else ()))


def scale_problems(images: Iterable[MeasuredImage], plate_map: PlateMap) -> dict[str, ScaleProblem]:
    """Return the first ScaleProblem of each well that has one, by well, for images and a map.

    Unless the plate map decides the scale, the images of a plate need one scale. Images that differ
    from the scale of most images have a problem; without a majority, all images have one.

    Parameters
    ----------
    images
        The selected images of one plate, up to the ranked day.
    """
    in_order = sorted(images, key=lambda image: (image.day, image.key))
    usual = _Majority.of([image.um_per_px for image in in_order], plate_map)
    source = next((_source(image) for image in in_order if usual.includes(image.um_per_px)), "")
    problems: dict[str, ScaleProblem] = {}
    for image in in_order:
        found = image_problem(image, plate_map) or usual.problem_of(image, source)
        if found is not None:
            problems.setdefault(image.key.well, found)
    return problems


def image_problem(image: MeasuredImage, plate_map: PlateMap) -> ScaleProblem | None:
    """Return the ScaleProblem of one image and the plate map, without other images, or None."""
    used = format_scale(image.um_per_px)
    if image.file_scales is None:
        if plate_map.um_per_px_from is ScaleFrom.FILE:
            sentence = f"measured with {used}; the scale of its files was not recorded"
            return ScaleProblem(image.key.well, image.day, sentence, is_outdated=True)
        scale = plate_map.um_per_px or image.um_per_px
        source = PLATE_MAP
    else:
        decided = decide_scale(plate_map, image.file_scales)
        if decided.problem:
            return ScaleProblem(image.key.well, image.day, decided.problem, is_outdated=False)
        scale, source = decided.um_per_px, decided.source
    if agree(image.um_per_px, scale, SAME_SCALE):
        return None
    sentence = (
        f"measured with {used}, and the scale is now {format_scale(scale, source)}; "
        "expected its files in the drop folder, to measure it again"
    )
    return ScaleProblem(image.key.well, image.day, sentence, is_outdated=True)


def differs_from_plate(
    um_per_px: float | None, counts: Mapping[float | None, int], plate_map: PlateMap
) -> bool:
    """Return whether a scale in µm per pixel differs from most counted ones, and no map decides.

    Parameters
    ----------
    counts
        The number of stored images of the plate by scale; without images nothing differs.
    """
    stored = [scale for scale, count in counts.items() for _ in range(count)]
    usual = _Majority.of(stored, plate_map)
    return usual.is_needed and bool(stored) and not usual.includes(um_per_px)


def _source(image: MeasuredImage) -> str:
    """Return the source of the scale in the files of an image; empty without one."""
    return image.file_scales[0].source if image.file_scales else ""


@dataclass(frozen=True)
class _Majority:
    """The scale of more than half of the images of a plate."""

    is_needed: bool  # False if the plate map decides the scale
    exists: bool
    um_per_px: float | None
    has_any: bool  # a file decides for each image: every image needs a scale, but not the same one

    @classmethod
    def of(cls, found: Sequence[float | None], plate_map: PlateMap) -> "_Majority":
        """Return the majority among the scales of the images of a plate."""
        has_any = plate_map.um_per_px_from is ScaleFrom.FILE
        needed = plate_map.um_per_px is None
        for scale in dict.fromkeys(found):
            candidate = cls(needed, exists=True, um_per_px=scale, has_any=has_any)
            if 2 * sum(map(candidate.includes, found)) > len(found):
                return candidate
        return cls(needed, exists=False, um_per_px=None, has_any=has_any)

    def includes(self, um_per_px: float | None) -> bool:
        """Return whether a scale is that of the majority."""
        if self.has_any:
            return self.exists and (um_per_px is None) == (self.um_per_px is None)
        return self.exists and agree(um_per_px, self.um_per_px)

    def problem_of(self, image: MeasuredImage, source: str) -> ScaleProblem | None:
        """Return the problem of an image whose scale is not that of the majority, or None.

        Parameters
        ----------
        source
            The source of the majority's scale.
        """
        if not self.is_needed or self.includes(image.um_per_px):
            return None
        usual = (
            f"most images of the plate have {format_scale(self.um_per_px, source)}"
            if self.exists
            else "the images of the plate have no common scale"
        )
        is_missing = image.um_per_px is None or (self.exists and self.um_per_px is None)
        sentence = (
            f"its files have {format_scale(image.um_per_px, _source(image))}, {usual}; "
            f"{MAP_DECISION if is_missing else DECISION}"
        )
        return ScaleProblem(image.key.well, image.day, sentence, is_outdated=False)
