"""Compare the segmentation of one image of a hard case with its truth."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from acquisition.quality import assess
from inference.ports import Segmenter
from inference.tissue.condition import classify_condition
from inference.tissue.crowding import correct_flags
from inference.tissue.measures import measure_tissue
from schemas.quality import Flag
from schemas.ranking import Condition
from schemas.tissue import Segmentation, Unsure
from simulation.cases import CaseImage
from simulation.kinds import Case

STABLE_MEASURES = (
    "area",
    "equivalent_diameter",
    "circularity",
    "solidity",
    "perimeter",
    "pieces",
    "spread",
)
MAX_CHANGE = 9.99
"""Relative change of a measure that is missing at some sizes, and the largest that is shown."""

_NO_BACKGROUND = "no_background"
_BRIGHT = "bright"
_BODIES_TOLERANCE = 0.1  # relative difference of the number of bodies

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class CaseResult:
    """Result of one image of a case."""

    case: Case
    seed: int
    size_px: int
    blurred: bool  # in truth
    fragmentation: float
    has_scale: bool
    dice: float | None  # None for an empty well and a refused image
    condition_right: bool
    bodies_right: bool
    refused: bool
    empty: bool  # found to be empty, without a refusal
    flags: frozenset[str]
    doubts: frozenset[str]
    degree: float | None
    seconds: float  # CPU time of the segmentation
    true_area: float  # share of the field
    measures: Mapping[str, float] = field(default_factory=dict)
    """STABLE_MEASURES without the unit; sizes in µm, or as shares of the side of the image."""

    @property
    def flagged_blurred(self) -> bool:
        """True if quality control calls the image blurred."""
        return Flag.BLURRED in self.flags

    @property
    def doubted_blurred(self) -> bool:
        """True if the segmenter calls the outline blurred."""
        return Unsure.BLURRED in self.doubts


def dice_of(one: Mask, other: Mask) -> float:
    """Return the Dice coefficient of two masks, (H, W); 1 if both are empty."""
    total = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return 2 * int(np.count_nonzero(one & other)) / total if total else 1.0


def evaluate_case(segmenter: Segmenter, image: CaseImage, seed: int) -> CaseResult:
    """Return the CaseResult of a segmenter on an image of a case with its seed."""
    started = time.process_time()
    found = segmenter.segment(image.plane, image.um_per_px)
    seconds = time.process_time() - started
    doubts = frozenset(map(str, found.unsure))
    refused = found.is_empty and _is_refused(doubts)
    measures = {} if refused else measure_tissue(image.plane, found, image.um_per_px)
    condition, degree = (None, None) if refused else (classify_condition(measures) or (None, None))
    pieces = 0 if refused else round(measures["pieces"])
    has_tissue = bool(image.mask.any())
    return CaseResult(
        case=image.case,
        seed=seed,
        size_px=len(image.plane),
        blurred=image.blurred,
        fragmentation=image.fragmentation,
        has_scale=image.um_per_px is not None,
        dice=dice_of(found.body, image.mask) if has_tissue and not refused else None,
        condition_right=_condition_right(image, found, condition, refused=refused),
        bodies_right=refused or abs(pieces - image.bodies) <= _BODIES_TOLERANCE * image.bodies,
        refused=refused,
        empty=found.is_empty and not refused,
        flags=frozenset(map(str, correct_flags(assess(image.plane[None]), measures).flags)),
        doubts=doubts,
        degree=degree,
        seconds=seconds,
        true_area=float(image.mask.mean()),
        measures=_comparable(measures, image),
    )


def _is_refused(doubts: frozenset[str]) -> bool:
    """Return whether the doubts about an empty outline refuse the image."""
    return _NO_BACKGROUND in doubts or _BRIGHT in doubts


def _condition_right(
    image: CaseImage, found: Segmentation, condition: Condition | None, *, refused: bool
) -> bool:
    """Return whether the condition is that of the truth.

    An image without background must be refused, and an empty well must be found empty. Bright
    tissue may be refused.
    """
    if image.case is Case.NO_BACKGROUND:
        return refused
    if image.condition is None:
        return found.is_empty and not refused
    if image.case is Case.BRIGHT_ON_DARK and refused:
        return True
    return condition is image.condition


def _comparable(measures: Mapping[str, float], image: CaseImage) -> dict[str, float]:
    """Return STABLE_MEASURES by name without the unit, in a unit that all image sizes share."""
    side = float(len(image.plane))
    values = {}
    for name in STABLE_MEASURES:
        power = 2 if name == "area" else 1
        if name in measures:
            values[name] = measures[name]
        elif f"{name}_px" in measures:
            values[name] = measures[f"{name}_px"] / side**power
        else:
            unit = "um2" if name == "area" else "um"
            if f"{name}_{unit}" in measures:
                values[name] = measures[f"{name}_{unit}"]
    return values


def relative_change(values: Sequence[float | None]) -> float | None:
    """Return the difference of the largest and smallest value, relative to the median.

    The result is None if all values are missing or 0, and MAX_CHANGE if only some are missing.
    """
    known = [value for value in values if value is not None]
    if not any(known):
        return None
    if len(known) < len(values) or not all(known):
        return MAX_CHANGE
    return min(float((max(known) - min(known)) / np.median(known)), MAX_CHANGE)
