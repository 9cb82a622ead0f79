"""Ports of the inference: protocols of encoders, segmenters, forecasters, and the data that a ranking reads.

Each port has a contract suite in ``tests/contract`` that every implementation passes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from schemas.observation import Observation, VisitVersion
from schemas.plate_map import PlateMap
from schemas.tissue import Segmentation
from schemas.trajectory import Trajectories
from schemas.well_image import WellImage


class Encoder(Protocol):
    """Turns a well image into an embedding."""

    @property
    def encoder_id(self) -> str:
        """Digest of the bundle: embeddings with different ids are never compared."""
        ...

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        ...

    def embed(self, image: WellImage, sharpest_plane: int) -> npt.NDArray[np.float32]:
        """Return the embedding, (dimension,).

        Raises
        ------
        ImageError
            If the image cannot be embedded: too small, or the wrong number of planes for the bundle.
        """
        ...


class Segmenter(Protocol):
    """Finds the tissue in one plane of a well image."""

    def segment(self, plane: npt.NDArray[np.uint16], um_per_px: float | None) -> Segmentation:
        """Return the tissue of a plane, (H, W), white = 65535."""
        ...


class EarlierPlateReader(Protocol):
    """Reads the plate maps and observations of earlier plates of the same line."""

    def earlier_plates(
        self, plate_map: PlateMap, day: int, encoder_id: str, most: int
    ) -> Sequence[PlateMap]:
        """Return the newest maps of at most ``most`` earlier plates that can support a ranking, newest plate first.

        These plates have the same line and dosing day, an earlier ``seeded_at``, and images of
        culture day ``day`` that the encoder has embedded.
        """
        ...

    def imaged(self, plate: str, encoder_id: str) -> Sequence[VisitVersion]:
        """Return every version of every visit of a plate that an encoder has embedded."""
        ...

    def observations(self, images: Sequence[VisitVersion], encoder_id: str) -> Sequence[Observation]:
        """Return the observations of these images with the embeddings of one encoder."""
        ...


@dataclass(frozen=True, eq=False)
class EarlierWells:
    """The m untreated wells of another plate, as they differ from their own mean."""

    past: npt.NDArray[np.float64]  # (m, P)
    readout: npt.NDArray[np.float64]  # (m, K)
    similarity: float = 1.0  # 0…1: what one of its wells counts beside one of this plate's


@dataclass(frozen=True, eq=False)
class Forecast:
    """What was learned from n untreated wells."""

    predict: Callable[
        [npt.NDArray[np.float64]], npt.NDArray[np.float64]
    ]  # (N, P) past of any wells -> (N, K) readout they would have untreated
    left_out: npt.NDArray[
        np.float64
    ]  # (n, K): the forecast of each of the n wells as learned from the others


class SequenceModel(Protocol):
    """Foresees, from all that was seen of a well up to dosing, what its image will be if it stays untreated; learned elsewhere, on many plates."""

    @property
    def name(self) -> str:
        """Of the model, with the digest that tells it from every other."""
        ...

    @property
    def days(self) -> Sequence[int]:
        """Days up to dosing of which a plate needs images."""
        ...

    def check_fits(self, feature_names: Sequence[str], encoder_id: str) -> None:
        """Hold what wells are compared by to what the model was made for; ``encoder_id`` is that of the embedding among the features, "" without one.

        Raises
        ------
        ProfileError
            If they differ.
        """
        ...

    def predict(
        self, trajectories: Trajectories, before: Sequence[int], day: int
    ) -> npt.NDArray[np.float64]:
        """Return (N, D): the features of every well on ``day`` as foreseen from the days ``before``, NaN for a well without an image on any of these.

        Raises
        ------
        ProfileError
            If encoder, features or days of the plate are not those that the model was made for, or if it foresees no number.
        """
        ...


class Forecaster(Protocol):
    """Learns from untreated wells what a well becomes."""

    def fit(
        self,
        past: npt.NDArray[np.float64],
        readout: npt.NDArray[np.float64],
        earlier: Sequence[EarlierWells] = (),
    ) -> Forecast:
        """Learn from the (n, P) past, days up to dosing, and the (n, K) readout of n ≥ 2 untreated wells, and of wells of other plates; all are finite.

        Past and readout are positions in the same K directions; P is K or more where more is known of a well.
        """
        ...
