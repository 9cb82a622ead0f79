"""The wells of one plate over the days, as arrays: the one input of every ranking."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from schemas.plate_map import Group

Representation = Literal["embedding", "measures", "both"]
"""What of a well image is compared: what the encoder made of it, what was measured of its tissue, or both."""


@dataclass(frozen=True, eq=False)
class Trajectories:
    """N wells × T days × D features; a missing image is a row of NaN.

    The features are two blocks: first an embedding, whose values share one unit, then measures, each in a unit of its own. Either may be missing.
    Only wells that the plate map names stand here. ``wells`` is opaque text: it need not be a position on a plate.
    """

    plate: str
    wells: tuple[str, ...]  # N
    groups: tuple[Group, ...]  # N
    treatments: tuple[str, ...]  # N, canonical text; "" for an untreated well without vehicle
    days: tuple[int, ...]  # T, ascending culture days
    features: npt.NDArray[np.float64]  # (N, T, D)
    feature_names: tuple[str, ...]  # D
    embedding_dimension: int = 0  # so many of the D, from the first
    embedding_weight: float = (
        1.0  # of the whole embedding beside all measures; without measures it has no meaning
    )
    encoder_id: str = ""  # "" for a profile table of measures

    @property
    def representation(self) -> Representation:
        """What the features are."""
        if self.embedding_dimension == 0:
            return "measures"
        return "both" if self.embedding_dimension < len(self.feature_names) else "embedding"

    def has(self, day: int) -> npt.NDArray[np.bool_]:
        """Return (N,): which wells have an image of this day."""
        if day not in self.days:
            return np.zeros(len(self.wells), dtype=bool)
        return np.asarray(np.isfinite(self.on(day)).any(axis=1), dtype=np.bool_)

    def on(self, day: int) -> npt.NDArray[np.float64]:
        """Return (N, D): the features of one day, NaN where missing."""
        return self.features[:, self.days.index(day)]

    def untreated(self) -> npt.NDArray[np.bool_]:
        """Return (N,): which wells are untreated."""
        return np.array([group is Group.UNTREATED for group in self.groups], dtype=bool)
