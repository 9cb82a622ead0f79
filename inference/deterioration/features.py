"""What a deterioration model looks at: how a well differs from its plate's untreated wells at the readout, and in its change since dosing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA

from inference.departure.reduced_space import LARGEST, usable
from schemas.errors import ProfileError
from schemas.plate_map import Group
from schemas.trajectory import Trajectories

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Blocks = Literal["embedding", "measures", "both"]

EMBEDDING_COMPONENTS = 12
LEAST_POSITIVE = 1e-3
"""Of a feature's median: the floor under a logarithm."""


@dataclass(frozen=True, eq=False)
class SeenPlate:
    """A plate at dosing and at the readout; rows of wells that lack one of them are NaN."""

    name: str
    wells: tuple[str, ...]  # N
    feature_names: tuple[str, ...]  # D
    before: Array  # (N, D) the last image up to dosing
    readout: Array  # (N, D)
    untreated: Mask  # (N,) and seen
    single_dose: Mask  # (N,) and seen
    seen: Mask  # (N,)
    embedding_dimension: int
    encoder_id: str

    @classmethod
    def of(cls, trajectories: Trajectories, *, dosing_day: int, readout_day: int) -> "SeenPlate":
        """Take the two images from trajectories.

        Raises
        ------
        ProfileError
            If no untreated well has both.
        """
        days = [day for day in trajectories.days if day <= dosing_day]
        before = np.full(trajectories.features[:, 0].shape, np.nan)
        for day in days:
            features = trajectories.on(day)
            before[usable(features)] = features[usable(features)]
        readout = (
            trajectories.on(readout_day)
            if readout_day in trajectories.days
            else np.full_like(before, np.nan)
        )
        with_tissue = np.array([group is not Group.BLANK for group in trajectories.groups])
        seen = usable(readout) & np.isfinite(before).any(axis=1) & with_tissue
        if not (seen & trajectories.untreated()).any():
            raise ProfileError(
                trajectories.plate,
                f"no untreated well has an image of day {readout_day} and one up to day {dosing_day}; expected some",
            )
        return cls(
            name=trajectories.plate,
            wells=trajectories.wells,
            feature_names=trajectories.feature_names,
            before=before,
            readout=readout,
            untreated=seen & trajectories.untreated(),
            single_dose=seen
            & np.array([group is Group.SINGLE_DOSE for group in trajectories.groups]),
            seen=seen,
            embedding_dimension=trajectories.embedding_dimension,
            encoder_id=trajectories.encoder_id,
        )

    def check_comparable(self, other: "SeenPlate") -> None:
        """Make sure that both plates were looked at in the same way.

        Raises
        ------
        ProfileError
            If the features or the encoder are others.
        """
        if self.encoder_id != other.encoder_id:
            raise ProfileError(
                self.name,
                f"has features of the encoder {self.encoder_id!r}; expected {other.encoder_id!r} as plate {other.name} has",
            )
        if self.feature_names != other.feature_names:
            said = f"has {len(self.feature_names)} features, not all of them those of plate {other.name}; expected the same {len(other.feature_names)}"
            raise ProfileError(self.name, said)


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """How wells of any plate become rows of F numbers, settled on the plates that a model is learned from."""

    blocks: Blocks
    positive: Mask  # (M,) measures that are above 0 on every plate: their ratio to untreated wells says more than their difference
    components: PCA | None  # of an embedding's differences; None without one

    @classmethod
    def settle(cls, plates: Sequence[SeenPlate], blocks: Blocks) -> "FeatureSpace":
        """Learn which measures have ratios, and the main directions of an embedding."""
        split = plates[0].embedding_dimension
        positive = np.ones(plates[0].readout.shape[1] - split, dtype=bool)
        for plate in plates:
            for image in (plate.before, plate.readout):
                positive &= (filled(image, plate)[plate.seen, split:] > 0).all(axis=0)
        if blocks == "measures":
            return cls(blocks, positive, None)
        differences = np.concatenate(
            [_differences(plate)[0][plate.seen, :split] for plate in plates]
        )
        return cls(
            blocks,
            positive,
            PCA(min(EMBEDDING_COMPONENTS, *differences.shape), random_state=0).fit(differences),
        )

    def of(self, plate: SeenPlate) -> Array:
        """Return (N, F): differences from the untreated median, at the readout and of the change since dosing; NaN for wells that were not seen."""
        split = plate.embedding_dimension
        readout, change = _differences(plate)
        rows: list[Array] = []
        if self.blocks != "embedding":
            rows += [readout[:, split:], change[:, split:], *self._ratios(plate)]
        if self.components is not None:
            rows += [
                self.components.transform(np.nan_to_num(block[:, :split]))
                for block in (readout, change)
            ]
        features = np.concatenate(rows, axis=1)
        features[~plate.seen] = np.nan
        return features

    def _ratios(self, plate: SeenPlate) -> list[Array]:
        before, readout = (
            filled(image, plate)[:, plate.embedding_dimension :][:, self.positive]
            for image in (plate.before, plate.readout)
        )
        floors = (
            LEAST_POSITIVE * np.abs(np.median(readout[plate.untreated], axis=0))
            + np.finfo(float).tiny
        )
        logs, since = (
            np.log(np.maximum(readout, floors)),
            np.log(np.maximum(readout, floors)) - np.log(np.maximum(before, floors)),
        )
        return [block - np.median(block[plate.untreated], axis=0) for block in (logs, since)]


def filled(image: Array, plate: SeenPlate) -> Array:
    """Return (N, D) with what is missing taken to be like the median untreated well; a feature no untreated well has is 0 in all wells."""
    known = np.where(np.abs(image) < LARGEST, image, np.nan)
    controls = known[plate.untreated]
    compared = np.isfinite(controls).any(axis=0)
    median = np.zeros(image.shape[1])
    median[compared] = np.nanmedian(controls[:, compared], axis=0)
    return np.where(np.isfinite(known) & compared, known, median)


def _differences(plate: SeenPlate) -> tuple[Array, Array]:
    before, readout = filled(plate.before, plate), filled(plate.readout, plate)
    change = readout - before
    return readout - np.median(readout[plate.untreated], axis=0), change - np.median(
        change[plate.untreated], axis=0
    )
