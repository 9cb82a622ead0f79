"""Measured wells of assay plates, from which a deterioration model is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from inference.deterioration.assay_checks import (
    check_assay,
    check_not_copied,
    is_confounded,
    single_treatment,
)
from inference.deterioration.features import PlateFeatures
from schemas.arrays import Float64Array, IndexArray
from schemas.errors import ProfileError
from schemas.trajectory import Trajectories

PARTS_OF_SINGLE_PLATE = 5
"""Number of parts of a single assay plate that are left out in turn."""


@dataclass(frozen=True, eq=False)
class AssayPlate:
    """A plate with measured viability of some or all of its wells."""

    trajectories: Trajectories
    deterioration_percent: Mapping[str, float]
    """100 − viability in percent, by well."""
    dosing_day: int
    readout_day: int


@dataclass(frozen=True, eq=False)
class TrainingPlate:
    """Features and measured deterioration of one assay plate."""

    features: PlateFeatures
    rows: IndexArray  # indices of the measured wells
    percent: Float64Array  # (rows,) measured deterioration
    treatments: tuple[str, ...]
    """(rows,) treatments; "" for untreated wells with any vehicle."""


def training_plates(plates: Sequence[AssayPlate]) -> tuple[list[TrainingPlate], tuple[str, ...]]:
    """Return the plates that a model can be trained on, and the reasons why others are skipped."""
    training: list[TrainingPlate] = []
    skipped: list[str] = []
    for plate in plates:
        try:
            check_not_copied(
                plate.trajectories.plate,
                plate.deterioration_percent,
                {
                    other.trajectories.plate: other.deterioration_percent
                    for other in plates
                    if other is not plate
                },
            )
            training.append(_training_plate(plate, training[0].features if training else None))
        except ProfileError as error:
            skipped.append(f"skipped: {error}")
    return training, tuple(skipped)


def _training_plate(plate: AssayPlate, first: PlateFeatures | None) -> TrainingPlate:
    """Return the measured wells of a plate; raise ProfileError if it is unsuitable for training."""
    features = PlateFeatures.from_trajectories(
        plate.trajectories, dosing_day=plate.dosing_day, readout_day=plate.readout_day
    )
    if first is not None:
        features.check_comparable(first)
    rows = np.array(
        [
            row
            for row, well in enumerate(features.wells)
            if features.has_both[row] and well in plate.deterioration_percent
        ],
        dtype=np.intp,
    )
    percent = np.array([plate.deterioration_percent[features.wells[row]] for row in rows])
    found = f"{len(rows)} measured wells have images"
    if len(rows) == 0 or np.ptp(percent) == 0:
        raise ProfileError(features.name, f"{found}, and their values do not differ")
    if features.untreated[rows].all():
        raise ProfileError(features.name, f"{found}, and none of them was treated")
    treatments = tuple(
        "" if features.untreated[row] else plate.trajectories.treatments[row] for row in rows
    )
    check_assay(features.name, [features.wells[row] for row in rows], percent, treatments)
    return TrainingPlate(features, rows, percent, treatments)


def parts_of_plate(plate: TrainingPlate, seed: int) -> list[TrainingPlate]:
    """Return the parts of a single plate, which are left out in turn.

    All wells of a treatment are in one part. Untreated wells, and the wells of a treatment that is
    the only one, are divided among the parts.
    """
    names = np.array(plate.treatments)
    treated = [name for name in dict.fromkeys(plate.treatments) if name]
    rng = np.random.default_rng(seed)
    units = [np.flatnonzero(names == name) for name in treated]
    if len(treated) == 1:
        units = [np.array([row]) for row in units[0]]
    untreated = [np.array([row]) for row in np.flatnonzero(names == "")]
    members: list[list[int]] = [[] for _ in range(min(PARTS_OF_SINGLE_PLATE, len(units)))]
    for kind in (units, untreated):
        for place, number in enumerate(rng.permutation(len(kind))):
            members[place % len(members)] += kind[number].tolist()
    return [
        replace(
            plate,
            rows=plate.rows[rows],
            percent=plate.percent[rows],
            treatments=tuple(plate.treatments[row] for row in rows),
        )
        for rows in members
    ]


def limits_of_layout(training: Sequence[TrainingPlate]) -> dict[str, object]:
    """Return the entries of the card about treatments that the assay plates cannot separate."""
    return {
        "single_treatment": single_treatment([plate.treatments for plate in training]),
        "confounded": tuple(
            plate.features.name
            for plate in training
            if is_confounded([plate.features.wells[row] for row in plate.rows], plate.treatments)
        ),
    }


def error_without_images(plates: Sequence[TrainingPlate]) -> float:
    """Return the mean absolute error of predictions that use no image.

    They predict every well as untreated, or as the median well of the other plates, whichever error
    is smaller.
    """
    measured = np.concatenate([plate.percent for plate in plates])
    medians = [
        np.median(np.concatenate([other.percent for other in plates if other is not plate]))
        for plate in plates
    ]
    usual = np.concatenate(
        [np.abs(plate.percent - median) for plate, median in zip(plates, medians, strict=True)]
    )
    return float(min(np.abs(measured).mean(), usual.mean()))
