"""The content of a training batch of well images, and the settings that decide it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from torch import Tensor

from training.data.crops import PlateCrops
from training.data.labels import LabelKind
from training.data.records import RecordEncoder

UNKNOWN_LABEL = -1
"""Label of an image whose group or treatment is unknown."""
MAX_MEASURE_SPREADS = 5.0
"""Limit of a standardised measure. A larger one comes from a wrong outline, and would dominate a
squared loss."""


class DayPairs(StrEnum):
    """The pairs of culture days of one well that a batch shows together."""

    NONE = "none"
    ANY = "any"  # any two days of a well
    UNTREATED = "untreated"  # any two days of an untreated well
    SINCE_DOSING = "since_dosing"
    """The dosing day and a later day. An image of a well without such a pair is paired with itself:
    its measured change is zero."""
    CONSECUTIVE = "consecutive"
    """Two consecutive days of a well without a drug in between: up to the dosing day, or of an
    untreated well. An image without such a pair is paired with itself."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Two augmented views of B well images with their labels and measures; tensors have B rows."""

    first: Tensor  # (B, 3, s, s) float32: augmented, then normalised
    second: Tensor  # (B, 3, s, s): the same images with other random changes
    clean: Tensor | None  # (B, 3, s, s): without augmentation, as the service sees them
    plate: Tensor  # (B,) int64: index of the plate
    well: Tensor  # (B,) int64: number of the well, unique over all plates
    day: Tensor  # (B,) int64: culture day; 0 if unknown
    label: Tensor  # (B,) int64: UNKNOWN_LABEL if unknown
    untreated: Tensor  # (B,) bool
    measures: Tensor  # (B, M): standardised, of the clean image; 0 if unknown
    has_measures: Tensor  # (B,) bool
    record_words: Tensor  # (B, L) int64: numbers of words; L = 0 without a record encoder
    record_numbers: Tensor  # (B, K) float32: the facts of the records; K = 0 without one
    later: "Batch | None" = None  # the same wells in the same order, on a later day
    days_apart: Tensor | None = None  # (B,) int64: days from this image to that of `later`


@dataclass(frozen=True, eq=False)
class MeasureScale:
    """Mean and standard deviation of each measure over the training images."""

    mean: npt.NDArray[np.float32]  # (M,)
    spread: npt.NDArray[np.float32]  # (M,) standard deviation

    @classmethod
    def of(cls, plates: Sequence[PlateCrops]) -> "MeasureScale":
        """Return the scale computed from all images of the plates that have measures.

        Without such an image the mean is 0 and the standard deviation 1.
        """
        rows = np.concatenate([plate.measures for plate in plates])
        rows = rows[np.isfinite(rows).all(axis=1)].astype(np.float64)
        if not len(rows):
            count = plates[0].measures.shape[1]
            return cls(np.zeros(count, np.float32), np.ones(count, np.float32))
        return cls(
            rows.mean(axis=0).astype(np.float32),
            np.maximum(rows.std(axis=0), 1e-6).astype(np.float32),
        )

    def standardise(self, plates: Sequence[PlateCrops]) -> npt.NDArray[np.float32]:
        """Return the standardised measures of all images of the plates, (n, M); NaN if unknown."""
        return (np.concatenate([plate.measures for plate in plates]) - self.mean) / self.spread


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """The settings from which batches are made."""

    scale: MeasureScale
    size: int = 64  # images, or pairs of days, over all processes
    side_px: int = 128  # side of a view; at most the side of a crop
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)  # normalisation of each channel,
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)  # as the pretrained weights expect it
    augment_first: str = "spheroid"
    augment_second: str = "spheroid"
    mask_background: float = 0.0  # share of views that show tissue and debris only
    clean: bool = False  # whether a batch also has the clean images
    within_plate: bool = False  # whether all images of a batch are of one plate
    day_pairs: DayPairs = DayPairs.NONE
    label: LabelKind = LabelKind.GROUP
    records: RecordEncoder | None = None  # None: a batch has no records
    kept: tuple[npt.NDArray[np.float16], ...] = ()
    """Features of a frozen backbone, one array (variants, N, D) for each plate. If there are any, a
    batch has features (B, D) in place of pixels."""
    rank: int = 0  # number of this process
    world_size: int = 1  # number of processes
