"""What a deterioration model looks at: how a well differs from its plate's untreated wells at the readout, and in its change since dosing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA

from inference.departure.reduced_space import MAX_ABSOLUTE_VALUE, usable_rows
from schemas.arrays import BoolArray, Float64Array
from schemas.errors import ProfileError
from schemas.plate_map import Group
from schemas.trajectory import Representation, Trajectories

EMBEDDING_COMPONENTS = 12
MIN_POSITIVE_SHARE = 1e-3
"""Of a feature's median: the floor under a logarithm."""


@dataclass(frozen=True, eq=False)
class PlateFeatures:
    """A plate at dosing and at the readout; rows of wells that lack one of them are NaN."""

    name: str
    wells: tuple[str, ...]  # N
    feature_names: tuple[str, ...]  # D
    before: Float64Array  # (N, D) the last image up to dosing
    readout: Float64Array  # (N, D)
    untreated: BoolArray  # (N,) and seen
    single_dose: BoolArray  # (N,) and seen
    has_both: BoolArray  # (N,)
    embedding_dimension: int
    encoder_id: str

    @classmethod
    def from_trajectories(
        cls, trajectories: Trajectories, *, dosing_day: int, readout_day: int
    ) -> "PlateFeatures":
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
            before[usable_rows(features)] = features[usable_rows(features)]
        readout = (
            trajectories.on(readout_day)
            if readout_day in trajectories.days
            else np.full_like(before, np.nan)
        )
        with_tissue = np.array([group is not Group.BLANK for group in trajectories.groups])
        has_both = usable_rows(readout) & np.isfinite(before).any(axis=1) & with_tissue
        if not (has_both & trajectories.untreated()).any():
            raise ProfileError(
                trajectories.plate,
                f"no untreated well has an image of day {readout_day} and one up to day "
                f"{dosing_day}; expected some",
            )
        return cls(
            name=trajectories.plate,
            wells=trajectories.wells,
            feature_names=trajectories.feature_names,
            before=before,
            readout=readout,
            untreated=has_both & trajectories.untreated(),
            single_dose=has_both
            & np.array([group is Group.SINGLE_DOSE for group in trajectories.groups]),
            has_both=has_both,
            embedding_dimension=trajectories.embedding_dimension,
            encoder_id=trajectories.encoder_id,
        )

    def check_comparable(self, other: "PlateFeatures") -> None:
        """Make sure that both plates were looked at in the same way.

        Raises
        ------
        ProfileError
            If the features or the encoder are others.
        """
        if self.encoder_id != other.encoder_id:
            raise ProfileError(
                self.name,
                f"has features of the encoder {self.encoder_id!r}; expected {other.encoder_id!r} "
                f"as plate {other.name} has",
            )
        if self.feature_names != other.feature_names:
            raise ProfileError(
                self.name,
                f"has {len(self.feature_names)} features that differ from those of plate "
                f"{other.name}; expected the same {len(other.feature_names)}",
            )


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """How wells of any plate become rows of F numbers, settled on the plates that a model is learned from."""

    representation: Representation
    positive: BoolArray  # (M,) measures that are above 0 on every plate: their ratio to untreated wells says more than their difference
    components: PCA | None  # of an embedding's differences; None without one

    @classmethod
    def fit(cls, plates: Sequence[PlateFeatures], representation: Representation) -> "FeatureSpace":
        """Learn which measures have ratios, and the main directions of an embedding."""
        split = plates[0].embedding_dimension
        positive = np.ones(plates[0].readout.shape[1] - split, dtype=bool)
        for plate in plates:
            for image in (plate.before, plate.readout):
                positive &= (fill_missing(image, plate)[plate.has_both, split:] > 0).all(axis=0)
        if representation == "measures":
            return cls(representation, positive, None)
        differences = np.concatenate(
            [_differences(plate)[0][plate.has_both, :split] for plate in plates]
        )
        return cls(
            representation,
            positive,
            PCA(min(EMBEDDING_COMPONENTS, *differences.shape), random_state=0).fit(differences),
        )

    def transform(self, plate: PlateFeatures) -> Float64Array:
        """Return (N, F): differences from the untreated median, at the readout and of the change since dosing; NaN for wells that were not seen."""
        split = plate.embedding_dimension
        readout, change = _differences(plate)
        rows: list[Float64Array] = []
        if self.representation != "embedding":
            rows += [readout[:, split:], change[:, split:], *self._ratios(plate)]
        if self.components is not None:
            rows += [
                self.components.transform(np.nan_to_num(block[:, :split]))
                for block in (readout, change)
            ]
        features = np.concatenate(rows, axis=1)
        features[~plate.has_both] = np.nan
        return features

    def _ratios(self, plate: PlateFeatures) -> list[Float64Array]:
        before, readout = (
            fill_missing(image, plate)[:, plate.embedding_dimension :][:, self.positive]
            for image in (plate.before, plate.readout)
        )
        floors = (
            MIN_POSITIVE_SHARE * np.abs(np.median(readout[plate.untreated], axis=0))
            + np.finfo(float).tiny
        )
        log_readout = np.log(np.maximum(readout, floors))
        log_change = log_readout - np.log(np.maximum(before, floors))
        return [
            block - np.median(block[plate.untreated], axis=0) for block in (log_readout, log_change)
        ]


def fill_missing(image: Float64Array, plate: PlateFeatures) -> Float64Array:
    """Return (N, D) with what is missing taken to be like the median untreated well; a feature no untreated well has is 0 in all wells."""
    finite = np.where(np.abs(image) < MAX_ABSOLUTE_VALUE, image, np.nan)
    untreated = finite[plate.untreated]
    has_values = np.isfinite(untreated).any(axis=0)
    median = np.zeros(image.shape[1])
    median[has_values] = np.nanmedian(untreated[:, has_values], axis=0)
    return np.where(np.isfinite(finite) & has_values, finite, median)


def _differences(plate: PlateFeatures) -> tuple[Float64Array, Float64Array]:
    before, readout = fill_missing(plate.before, plate), fill_missing(plate.readout, plate)
    change = readout - before
    return readout - np.median(readout[plate.untreated], axis=0), change - np.median(
        change[plate.untreated], axis=0
    )
