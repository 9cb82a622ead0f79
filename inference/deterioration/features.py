"""Features of a deterioration model: differences of wells from the untreated wells of their plate.

The differences are taken at the readout and in the change since dosing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import numpy as np

from inference.departure.reduced_space import MAX_ABSOLUTE_VALUE, usable_rows
from schemas.arrays import BoolArray, Float64Array
from schemas.errors import ProfileError
from schemas.plate_map import Group
from schemas.trajectory import Representation, Trajectories

SPHERICAL_SHARE = 0.3
"""Weight of equal variances of all values in the covariance of an embedding."""
MIN_POSITIVE_SHARE = 1e-3
"""Smallest value before a logarithm, as a fraction of the feature's untreated median."""


@dataclass(frozen=True, eq=False)
class PlateFeatures:
    """Features of N wells before dosing and at the readout; NaN where an image is missing."""

    name: str
    wells: tuple[str, ...]  # N
    feature_names: tuple[str, ...]  # D
    before: Float64Array  # (N, D) last image up to dosing
    readout: Float64Array  # (N, D)
    untreated: BoolArray  # (N,), True for untreated wells with both images
    single_dose: BoolArray  # (N,), True for single-dose wells with both images
    has_both: BoolArray  # (N,), True for wells with tissue and both images
    embedding_dimension: int
    encoder_id: str
    measured_by: str | None = None  # segmenter and version of the measures, if any

    @classmethod
    def from_trajectories(
        cls, trajectories: Trajectories, *, dosing_day: int, readout_day: int
    ) -> "PlateFeatures":
        """Select the last image up to a dosing day and the readout image of Trajectories' wells.

        Raises
        ------
        ProfileError
            If no untreated well has both images.
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
            measured_by=trajectories.measured_by,
        )

    def check_comparable(self, other: "PlateFeatures") -> None:
        """Raise ProfileError unless another plate has the same features, encoder and method."""
        if self.encoder_id != other.encoder_id:
            raise ProfileError(
                self.name,
                f"has features of the encoder {self.encoder_id!r}; expected {other.encoder_id!r} "
                f"as plate {other.name} has",
            )
        if self.measured_by != other.measured_by:
            raise ProfileError(
                self.name,
                f"has measures by the method {self.measured_by!r}; expected {other.measured_by!r} "
                f"as plate {other.name} has",
            )
        if self.feature_names != other.feature_names:
            raise ProfileError(
                self.name,
                f"has {len(self.feature_names)} features that differ from those of plate "
                f"{other.name}; expected the same {len(other.feature_names)}",
            )


@dataclass(frozen=True, eq=False)
class Whitening:
    """Linear transformation after which untreated wells have similar variances in all directions.

    The covariance of the untreated wells is shrunk towards equal variances: Ledoit and Wolf, J.
    Multivar. Anal. 88 (2004) 365, with the fixed weight :data:`SPHERICAL_SHARE`.
    """

    directions: Float64Array  # (E, R) directions in which untreated wells differ, orthonormal
    factors: Float64Array  # (R,) 1 / standard deviation along these directions
    other_factor: float  # 1 / standard deviation along all other directions

    @classmethod
    def fit(cls, rows: Float64Array) -> "Whitening":
        """Return the whitening of centred rows (n, E) of untreated wells."""
        _, values, directions = np.linalg.svd(rows, full_matrices=False)
        variance = values**2 / len(rows)
        spherical = SPHERICAL_SHARE * (float(variance.sum()) / rows.shape[1] or 1.0)
        return cls(
            directions.T,
            1 / np.sqrt((1 - SPHERICAL_SHARE) * variance + spherical),
            float(1 / np.sqrt(spherical)),
        )

    def whiten(self, rows: Float64Array) -> Float64Array:
        """Return (n, E) whitened rows (n, E)."""
        along = rows @ self.directions
        return np.asarray(
            rows * self.other_factor
            + (along * (self.factors - self.other_factor)) @ self.directions.T
        )


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """Transformation of the features of any plate to rows of F numbers.

    It is fitted on training plates.
    """

    representation: Representation
    positive: BoolArray
    """(M,): measures that are positive on every plate; for these, ratios to untreated wells are
    used in addition to differences.
    """
    whitening: "Whitening | None"
    """Whitening of the embedding's differences; None without an embedding."""

    @classmethod
    def fit(cls, plates: Sequence[PlateFeatures], representation: Representation) -> "FeatureSpace":
        """Return the space fitted to the PlateFeatures of training plates, in a representation.

        The positive measures and the noise of the embedding in untreated wells are found.
        """
        split = plates[0].embedding_dimension
        positive = np.ones(plates[0].readout.shape[1] - split, dtype=bool)
        for plate in plates:
            for image in (plate.before, plate.readout):
                positive &= (fill_missing(image, plate)[plate.has_both, split:] > 0).all(axis=0)
        if representation == "measures":
            return cls(representation, positive, None)
        untreated = [_differences(plate)[0][plate.untreated, :split] for plate in plates]
        return cls(
            representation,
            positive,
            Whitening.fit(np.concatenate([rows - rows.mean(axis=0) for rows in untreated])),
        )

    @property
    def embedded(self) -> int:
        """Number of features, from the last, that are the whitened embedding."""
        return 0 if self.whitening is None else self.whitening.directions.shape[0]

    def transform(self, plate: PlateFeatures) -> Float64Array:
        """Return (N, F) rows of PlateFeatures, as differences from the untreated wells.

        The differences are those at the readout and since dosing, from the untreated median; those
        of the embedding are at the readout. Rows of wells without both images are NaN.
        """
        split = plate.embedding_dimension
        readout, change = _differences(plate)
        rows: list[Float64Array] = []
        if self.representation != "embedding":
            rows += [readout[:, split:], change[:, split:], *self._ratios(plate)]
        if self.whitening is not None:
            rows.append(self.whitening.whiten(np.nan_to_num(readout[:, :split])))
        features = np.concatenate(rows, axis=1)
        features[~plate.has_both] = np.nan
        return features

    def _ratios(self, plate: PlateFeatures) -> list[Float64Array]:
        """Return log ratios of positive measures to the untreated median: readout and change."""
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
    """Return features (N, D) with missing values replaced by a PlateFeatures' untreated median.

    A feature that no untreated well has is 0 in all wells.
    """
    finite = np.where(np.abs(image) < MAX_ABSOLUTE_VALUE, image, np.nan)
    untreated = finite[plate.untreated]
    is_finite = np.isfinite(untreated)
    has_values, has_all = is_finite.any(axis=0), is_finite.all(axis=0)
    median = np.zeros(image.shape[1])
    median[has_all] = np.median(untreated[:, has_all], axis=0)
    some = has_values & ~has_all
    if some.any():  # nanmedian is slow
        median[some] = np.nanmedian(untreated[:, some], axis=0)
    return np.where(np.isfinite(finite) & has_values, finite, median)


def _differences(plate: PlateFeatures) -> tuple[Float64Array, Float64Array]:
    """Return (N, D) differences from the untreated median: at the readout and of the change."""
    before, readout = fill_missing(plate.before, plate), fill_missing(plate.readout, plate)
    change = readout - before
    return readout - np.median(readout[plate.untreated], axis=0), change - np.median(
        change[plate.untreated], axis=0
    )
