"""From the kept views of many plates to batches of tensors, the same for the same seed and epoch, whole or shared out among processes."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from schemas.errors import ConfigError
from schemas.plate_map import Group
from training.augment import Draw, augment, draw, preset
from training.well_views import WellViews, foregrounds

UNKNOWN_LABEL = -1
FARTHEST = 5.0  # spreads from the mean: a measure beyond is an outline gone wrong, and would rule a squared loss


class DayPairs(StrEnum):
    """Which two days of a well are shown together."""

    NONE = "none"
    ANY = "any"  # any two of a well
    UNTREATED = "untreated"  # any two of an untreated well
    SINCE_DOSING = "since_dosing"  # the dosing day and one after it


class LabelKind(StrEnum):
    """What a label is."""

    GROUP = "group"
    TREATMENT = "treatment"  # all untreated wells have one


@dataclass(frozen=True, eq=False)
class Batch:
    """B well images, twice augmented; all tensors have B rows."""

    first: Tensor  # (B, 3, s, s) float32, augmented and normalised
    second: Tensor  # (B, 3, s, s) the same images, augmented otherwise
    clean: Tensor | None  # (B, 3, s, s) as the service would see them
    plate: Tensor  # (B,) long
    well: Tensor  # (B,) long, unique over plates
    day: Tensor  # (B,) long; 0 unknown
    label: Tensor  # (B,) long; UNKNOWN_LABEL where nothing is known
    untreated: Tensor  # (B,) bool
    measures: Tensor  # (B, M) standardised, of the clean image; 0 where there are none
    has_measures: Tensor  # (B,) bool
    later: "Batch | None" = None  # the same wells in the same order on a later day
    days_apart: Tensor | None = None  # (B,) long, of the pairs


@dataclass(frozen=True, eq=False)
class MeasureScale:
    """What measures are standardised by: always that of the training set."""

    mean: npt.NDArray[np.float32]  # (M,)
    spread: npt.NDArray[np.float32]  # (M,)

    @classmethod
    def of(cls, views: Sequence[WellViews]) -> "MeasureScale":
        """Return mean and spread over all images that have measures."""
        rows = np.concatenate([plate.measures for plate in views])
        rows = rows[np.isfinite(rows).all(axis=1)].astype(np.float64)
        if not len(rows):
            return cls(np.zeros(views[0].measures.shape[1], np.float32), np.ones(views[0].measures.shape[1], np.float32))
        return cls(rows.mean(axis=0).astype(np.float32), np.maximum(rows.std(axis=0), 1e-6).astype(np.float32))


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """What a batch is made of."""

    scale: MeasureScale
    size: int = 64  # images, or pairs of days, over all processes
    side_px: int = 128  # at most the crops'
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)  # normalisation: the pretrained weights' own
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    augment_first: str = "spheroid"
    augment_second: str = "spheroid"
    mask_background: float = 0.0  # share of the augmented views in which only tissue and debris stay
    clean: bool = False  # whether the clean images are in the batch
    within_plate: bool = False  # each batch from one plate
    day_pairs: DayPairs = DayPairs.NONE
    label: LabelKind = LabelKind.GROUP
    rank: int = 0  # of this process
    world_size: int = 1  # processes
