"""The features of all wells of one plate on all culture days: the input of a ranking."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from schemas.arrays import BoolArray, Float64Array
from schemas.plate_map import Group

Representation = Literal["embedding", "measures", "both"]
"""Features that represent a well image: its embedding, the measures of its tissue, or both."""


@dataclass(frozen=True, eq=False)
class Trajectories:
    """The features of N wells on T days as an (N, T, D) array; a missing image is a row of NaN.

    The D features are two blocks: first an embedding, whose values share one unit, then measures,
    each with its own unit. Either block may be empty. Only wells of the plate map are included.
    Well names are arbitrary text and need not be positions on a plate.
    """

    plate: str
    wells: tuple[str, ...]  # N
    groups: tuple[Group, ...]  # N
    treatments: tuple[str, ...]
    """N canonical treatment texts; "" for an untreated well without vehicle."""
    days: tuple[int, ...]  # T ascending culture days
    features: Float64Array  # (N, T, D)
    feature_names: tuple[str, ...]  # D
    embedding_dimension: int = 0
    """Number of features, from the first, that are an embedding."""
    encoder_id: str = ""
    """Digest of the encoder bundle; "" for a profile table of measures."""
    measured_by: str | None = None
    """Segmenter and version of the measures; None without measures or if it is not recorded."""

    @property
    def representation(self) -> Representation:
        """Kind of the features: embedding, measures or both."""
        if self.embedding_dimension == 0:
            return "measures"
        return "both" if self.embedding_dimension < len(self.feature_names) else "embedding"

    def has(self, day: int) -> BoolArray:
        """Return a mask (N,): True for wells with an image of a culture day."""
        if day not in self.days:
            return np.zeros(len(self.wells), dtype=bool)
        return np.asarray(np.isfinite(self.on(day)).any(axis=1), dtype=np.bool_)

    def on(self, day: int) -> Float64Array:
        """Return the (N, D) features of all wells on a culture day, NaN where missing."""
        return self.features[:, self.days.index(day)]

    def untreated(self) -> BoolArray:
        """Return a mask (N,): True for untreated wells."""
        return np.array([group is Group.UNTREATED for group in self.groups], dtype=bool)
