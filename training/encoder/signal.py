"""Refusal of an objective that the training images give no signal to.

Without its signal, an objective would train without an error: a loss over no image is 0, and a
supervised loss without labels is the loss of two views alone.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from schemas.errors import ConfigError
from training.data.batch_plan import UNKNOWN_LABEL, BatchPlan, DayPairs
from training.data.crops import PlateCrops
from training.data.presets import get_preset
from training.data.records import PADDING, RecordContent
from training.data.sampling import ImageTable, check_plan, choose_batches, make_table, pair_days
from training.objectives.base import BatchNeeds

MIN_IMAGES = 2
"""Smallest number of images that can be compared."""


def check_signal(
    name: str, needs: BatchNeeds, plates: Sequence[PlateCrops], plan: BatchPlan
) -> None:
    """Raise ConfigError if a named objective would learn nothing from the training images.

    The error names the missing signal and the way to provide it.

    Parameters
    ----------
    needs
        The parts of a batch that the objective needs.
    plates
        The training images.
    """
    check_plan(plates, plan)
    table = make_table(plates, plan)
    if needs.measures:
        _check_measures(name, table)
    if needs.labels:
        _check_labels(name, table, plan)
    if needs.record is not None:
        _check_records(name, plates, table, needs.record)
    if plan.day_pairs in (DayPairs.UNTREATED, DayPairs.ANY):
        _check_day_pairs(name, table, plan.day_pairs)
    if needs.planes:
        _check_planes(name, plates)
    elif not (needs.labels or needs.measures) and (
        needs.views > 1 or (needs.consecutive_pairs and not _has_pairs(table, plan.day_pairs))
    ):
        _check_views(name, plan)
    choose_batches(table, plan, np.random.default_rng(0))


def _check_measures(name: str, table: ImageTable) -> None:
    rows = table.measures[table.has_measures]
    if len(rows) < MIN_IMAGES:
        raise ConfigError(
            "objective.name",
            f"is {name!r}, which learns from tissue measures, and {len(rows)} of "
            f"{len(table.has_measures)} training images have measures; expected images with tissue "
            "and with a scale: set um_per_px in plate maps or [[data.archives]], or choose an "
            "objective that needs no measures, such as 'simclr'",
        )
    if not np.ptp(rows, axis=0).any():
        raise ConfigError(
            "objective.name",
            f"is {name!r}, which learns from tissue measures, and all {len(rows)} training images "
            "with measures have the same; expected images of different wells",
        )


def _check_records(
    name: str, plates: Sequence[PlateCrops], table: ImageTable, content: RecordContent
) -> None:
    """Raise ConfigError unless two records differ, and every allowed fact is known somewhere."""
    if content.treatment and not any(any(plate.groups) for plate in plates):
        raise ConfigError(
            "objective.record_treatment",
            f"is true with the objective {name!r}, and no training image has a group; expected "
            "plate maps in the archive, or record_treatment = false",
        )
    viability = [plate.viability_percent for plate in plates]
    if content.assay and not any(
        each is not None and np.isfinite(each).any() for each in viability
    ):
        raise ConfigError(
            "objective.record_assay",
            f"is true with the objective {name!r}, and no training image of a readout day has an "
            "assay value; expected assay files beside the plate maps, or record_assay = false",
        )
    known = table.record_words[(table.record_words != PADDING).any(axis=1)]
    distinct = len(np.unique(known, axis=0))
    if distinct >= MIN_IMAGES:
        return
    raise ConfigError(
        "objective.name",
        f"is {name!r}, which compares images by their records, and {len(known)} of "
        f"{len(table.record_words)} training images have a record, of {distinct} kinds; expected "
        "two or more kinds: add a scale (um_per_px) for measures of the tissue, or culture days, "
        "or choose an objective that needs no records, such as 'simclr'",
    )


def _check_labels(name: str, table: ImageTable, plan: BatchPlan) -> None:
    """Raise ConfigError unless two labels, one of them of two images, can be in one batch."""
    if not plan.within_plate:
        best = _compare_labels(table.label)
    else:
        best = max(_compare_labels(table.label[table.plate == one]) for one in set(table.plate))
    labels, repeated = best
    if labels >= MIN_IMAGES and repeated:
        return
    known = int((table.label != UNKNOWN_LABEL).sum())
    found = len(set(table.label[table.label != UNKNOWN_LABEL].tolist()))
    where = " of one plate" if plan.within_plate else ""
    raise ConfigError(
        "objective.name",
        f"is {name!r}, which learns from labels (objective.label = '{plan.label}'), and {known} of "
        f"{len(table.label)} training images have a label, of {found} kinds; expected images of "
        f"two or more labels{where}, one of them with two or more images: add plate maps to "
        "the archive, or choose an objective that needs no labels, such as 'simclr'",
    )


def _compare_labels(labels: npt.NDArray[np.int64]) -> tuple[int, bool]:
    """Return the number of known labels, and whether one of them has two images."""
    counts = np.unique(labels[labels != UNKNOWN_LABEL], return_counts=True)[1]
    return len(counts), bool((counts >= MIN_IMAGES).any())


def _check_day_pairs(name: str, table: ImageTable, kind: DayPairs) -> None:
    if len(pair_days(table, kind, np.random.default_rng(0))):
        return
    untreated = kind is DayPairs.UNTREATED
    if not (table.day > 0).any():
        problem = "no image has a culture day"
        expected = "a pattern with {day}, or plate maps with seeded_at"
    elif untreated and not table.untreated.any():
        problem = "no well is known as untreated"
        expected = "plate maps with untreated wells"
    else:
        problem = f"no {'untreated ' if untreated else ''}well has images of two days"
        expected = "an archive with at least two days of a well"
    of_wells = "untreated wells" if untreated else "wells"
    raise ConfigError(
        "objective.name",
        f"is {name!r}, which learns from two days of {of_wells}, and {problem}; "
        f"expected {expected}, or another objective",
    )


def _has_pairs(table: ImageTable, kind: DayPairs) -> bool:
    """Return whether a well has two different images that are a pair of a kind."""
    pairs = pair_days(table, kind, np.random.default_rng(0))
    return bool((pairs[:, 0] != pairs[:, 1]).any())


def _check_planes(name: str, plates: Sequence[PlateCrops]) -> None:
    """Raise ConfigError if the three channels of every image are the same plane."""
    for plate in plates:
        for crop in plate.crops:
            if (crop[0] != crop[1]).any() or (crop[1] != crop[2]).any():
                return
    raise ConfigError(
        "objective.views_of",
        f"is 'planes' with the objective {name!r}, and every image has one plane only; expected "
        "images of several planes with data.planes = 'three_planes' or 'sharpest_neighbours', or "
        "views_of = 'augmentations'",
    )


def _check_views(name: str, plan: BatchPlan) -> None:
    """Raise ConfigError if the two views of an image are always the same."""
    is_changed = plan.mask_background > 0 or any(
        get_preset(preset) != get_preset("none")
        for preset in (plan.augment_first, plan.augment_second)
    )
    if not is_changed:
        raise ConfigError(
            "augment",
            f"has first = second = 'none', and the objective {name!r} compares two views of an "
            "image, which are then the same; expected an augmentation of at least one view",
        )
