"""Simulated plates of known true deterioration, as assay plates and in calibrations."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from inference.deterioration.calibration import AssayPlate, calibrate
from schemas.calibration import CalibrationCard
from schemas.plate_map import Group
from schemas.trajectory import Trajectories
from schemas.well import INNER_60

Array = npt.NDArray[np.float64]

DOSING_DAY, READOUT_DAY = 7, 10
MEASURES = ("area_um2", "density", "tilt", "grain", "idle")
ASSAY_NOISE_POINTS = 3.0


@dataclass(frozen=True, eq=False)
class KnownPlate:
    """The trajectories of a simulated plate and the true deterioration of its wells."""

    trajectories: Trajectories
    percent: Array  # (N,) true deterioration

    def assayed(
        self,
        measured: Callable[[Group], bool] = lambda group: group is not Group.BLANK,
        *,
        noise_points: float = ASSAY_NOISE_POINTS,
    ) -> AssayPlate:
        """Return the plate with assay values of the wells of some groups, in percent deterioration.

        Parameters
        ----------
        measured
            Whether the assay measures the wells of a group; by default all but blank wells.
        noise_points
            Standard deviation of the assay's error, in percentage points.
        """
        noise = noise_points * np.random.default_rng(
            [*self.trajectories.plate.encode()]
        ).standard_normal(len(self.percent))
        said = zip(
            self.trajectories.wells,
            self.trajectories.groups,
            (self.percent + noise).tolist(),
            strict=True,
        )
        return AssayPlate(
            self.trajectories,
            {well: percent for well, group, percent in said if measured(group)},
            DOSING_DAY,
            READOUT_DAY,
        )


def known_plate(
    seed: int,
    *,
    untreated: int = 20,
    single_dose: int = 4,
    treatments: int = 12,
    telling: bool = True,
    foreign: bool = False,
    embedding: int = 0,
) -> KnownPlate:
    """Return a simulated plate with measures of each well on the dosing and readout days.

    Area and density are positive and differ between plates by a factor. Tilt has both signs and
    differs between plates by an offset. Grain and idle do not depend on the kill.

    Parameters
    ----------
    seed
        Seed of the random numbers; also part of the plate's name.
    untreated, single_dose
        Numbers of wells of these groups.
    treatments
        Number of screening treatments, each with three wells and another true kill.
    telling
        Whether area, density and tilt depend on the kill.
    foreign
        Whether the measures of the plate have a large offset from those of other plates.
    embedding
        Dimension of an additional embedding, which is a linear map of area, density and tilt.
    """
    rng = np.random.default_rng([seed, 5])
    screening = 3 * treatments
    kill = np.concatenate(
        [
            np.zeros(untreated),
            np.full(single_dose, 0.7),
            np.repeat(rng.permutation(np.linspace(0, 1, treatments)), 3),
        ]
    )
    wells = len(kill)
    kill = np.clip(kill + 0.04 * rng.standard_normal(wells) * (kill > 0), 0, 1)
    seen = kill if telling else np.zeros(wells)
    trait, offset = (
        0.15 * rng.standard_normal((wells, 2)),
        0.1 * rng.standard_normal(3) + (1.5 if foreign else 0.0),
    )
    images = [
        np.column_stack(
            [
                5e4
                * np.exp(
                    growth
                    + trait[:, 0]
                    + offset[0]
                    - 1.0 * lost
                    + 0.05 * rng.standard_normal(wells)
                ),
                np.exp(trait[:, 1] + offset[1] + 0.9 * lost**2 + 0.05 * rng.standard_normal(wells)),
                3.0 * offset[2] + 2.0 * np.sqrt(lost) + 0.3 * rng.standard_normal(wells),
                20 + rng.standard_normal(wells),
                rng.standard_normal(wells),
            ]
        )
        for growth, lost in ((0.0, np.zeros(wells)), (0.3, seen))
    ]
    if embedding:
        turn = np.random.default_rng(99).standard_normal((3, embedding))
        logs = [
            np.column_stack([np.log(image[:, 0]), np.log(image[:, 1]), image[:, 2]])
            for image in images
        ]
        images = [
            np.column_stack([log @ turn + 0.1 * rng.standard_normal((wells, embedding)), image])
            for log, image in zip(logs, images, strict=True)
        ]
    names = [f"drug{number}:1 uM" for number in range(treatments) for _ in range(3)]
    return KnownPlate(
        Trajectories(
            plate=f"K-{seed}",
            wells=INNER_60[:wells],
            groups=(Group.UNTREATED,) * untreated
            + (Group.SINGLE_DOSE,) * single_dose
            + (Group.SCREENING,) * screening,
            treatments=("",) * untreated + ("gemcitabine:1 uM",) * single_dose + tuple(names),
            days=(DOSING_DAY, READOUT_DAY),
            features=np.stack(images, axis=1),
            feature_names=tuple(f"embedding_{number}" for number in range(embedding)) + MEASURES,
            embedding_dimension=embedding,
            encoder_id="e" * 64 if embedding else "",
        ),
        100 * kill,
    )


def assayed(count: int, first_seed: int = 0) -> list[AssayPlate]:
    """Return a number of assay plates with consecutive seeds."""
    return [known_plate(seed).assayed() for seed in range(first_seed, first_seed + count)]


def learn(plates: list[AssayPlate]) -> CalibrationCard:
    """Return the card of the calibration that is learned from assay plates."""
    return calibrate(plates, digest="d" * 64, seed=1)


def with_fewer_features(plate: AssayPlate) -> AssayPlate:
    """Return the plate with the first four features only."""
    trajectories = plate.trajectories
    return replace(
        plate,
        trajectories=replace(
            trajectories,
            features=trajectories.features[:, :, :4],
            feature_names=trajectories.feature_names[:4],
        ),
    )


def of_another_encoder(plate: AssayPlate) -> AssayPlate:
    """Return the plate with features that name another encoder."""
    return replace(plate, trajectories=replace(plate.trajectories, encoder_id="f" * 64))
