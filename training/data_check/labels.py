"""Search for wells whose label is wrong, such as untreated wells among the treated ones.

It is the label audit of the rankings, on the measures of the training images.
"""

from collections.abc import Sequence

import numpy as np

from inference.ranking.plate_ranking import score_plate
from inference.tissue.ranked_measures import RANKED_MEASURES
from schemas.errors import SpheroRankError
from schemas.plate_map import Group
from schemas.ranking import LabelDoubt
from schemas.trajectory import Trajectories
from training.data.crops import PlateCrops
from training.data_check.doubts import DataDoubt, DoubtKind, ImageName

EXCHANGED = "exchanged"


def audit_plate(plate: PlateCrops) -> tuple[list[DataDoubt], str]:
    """Return the doubts about the labels of a plate, and the reason if it cannot be audited.

    The readout day is the last imaged day. The plate needs a dosing day, untreated wells with their
    label, and images of both days.

    Returns
    -------
    doubts : list of DataDoubt
        Empty if there are none.
    reason : str
        "" if the plate was audited.
    """
    days = sorted({int(day) for day in plate.days if day > 0})
    if not plate.dosed_on_day:
        return [], "it has no plate map with a dosing day"
    if not days or days[-1] <= plate.dosed_on_day:
        return [], f"it has no image after the dosing day {plate.dosed_on_day}"
    trajectories = _trajectories(plate, days)
    try:
        scored = score_plate(
            trajectories, dosing_day=plate.dosed_on_day, readout_day=days[-1], seed=0
        )
    except SpheroRankError as error:
        return [], error.problem
    return [_doubt(plate.plate, days[-1], each) for each in scored.label_doubts], ""


def _trajectories(plate: PlateCrops, days: Sequence[int]) -> Trajectories:
    """Return the Trajectories of the wells of a plate that have a group."""
    labels = {
        well: (Group(group), treatment)
        for well, group, treatment in zip(plate.wells, plate.groups, plate.treatments, strict=True)
        if group
    }
    wells = tuple(sorted(labels))
    features = np.full((len(wells), len(days), len(RANKED_MEASURES)), np.nan)
    for row, (well, day) in enumerate(zip(plate.wells, plate.days, strict=True)):
        if well in labels and day > 0:
            features[wells.index(well), days.index(int(day))] = plate.measures[row]
    return Trajectories(
        plate=plate.plate,
        wells=wells,
        groups=tuple(labels[well][0] for well in wells),
        treatments=tuple(labels[well][1] for well in wells),
        days=tuple(days),
        features=features,
        feature_names=RANKED_MEASURES,
    )


def _doubt(plate: str, day: int, doubt: LabelDoubt) -> DataDoubt:
    kind = (
        DoubtKind.TURNED_PLATE
        if len(doubt.wells) > 2  # noqa: PLR2004 - a pair is exchanged, more are a turned plate
        else DoubtKind.EXCHANGED_LABELS
        if doubt.seems == EXCHANGED
        else DoubtKind.LABEL
    )
    images = tuple(ImageName(plate, well, day) for well in doubt.wells)
    return DataDoubt(kind, doubt.probability, images, f"{plate}: {doubt.sentence}")
