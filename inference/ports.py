"""Protocols of encoders, segmenters, stain predictors and forecasters, and of ranked data.

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
    """Computes the embedding of a well image."""

    @property
    def encoder_id(self) -> str:
        """Digest of the bundle: embeddings with different ids are never compared."""
        ...

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        ...

    def crop(self, image: WellImage) -> str | None:
        """Return the name of the part of a well image that is embedded; None for the whole field.

        Embeddings of parts with different names are never compared.
        """
        ...

    def embed(self, image: WellImage, sharpest_plane: int) -> npt.NDArray[np.float32]:
        """Return the embedding, (dimension,), of a well image with a given sharpest plane.

        Raises
        ------
        ImageError
            If the image cannot be embedded: too small, or the wrong number of planes for the
            bundle.
        """
        ...


class Segmenter(Protocol):
    """Finds the tissue in one plane of a well image."""

    @property
    def segmenter_id(self) -> str:
        """Name and version: outlines by segmenters with different ids are never compared."""
        ...

    def segment(self, plane: npt.NDArray[np.uint16], um_per_px: float | None) -> Segmentation:
        """Return the Segmentation of a plane, (H, W) uint16, with a scale in µm per px or None.

        White is 65535 in the plane.
        """
        ...


class StainPredictor(Protocol):
    """Predicts dead tissue from the bright-field image; it measures no stain."""

    @property
    def stain_id(self) -> str:
        """Name and version: predictions with different ids are never compared."""
        ...

    def predicted_measures(
        self, plane: npt.NDArray[np.uint16], tissue: Segmentation, um_per_px: float | None
    ) -> dict[str, float]:
        """Return predicted measures by name of a plane, (H, W) uint16, with its tissue and scale.

        All names begin with ``predicted_``. A refused image has no predictions.
        """
        ...


class EarlierPlateReader(Protocol):
    """Reads the plate maps and observations of earlier plates of the same line."""

    def earlier_plates(
        self, plate_map: PlateMap, day: int, encoder_id: str, most: int
    ) -> Sequence[PlateMap]:
        """Return up to ``most`` maps of plates before a PlateMap whose ``day`` an encoder embedded.

        Each run of a plate id is a plate of its own. These plates have the same line and dosing
        day, an earlier ``seeded_at``, and images of culture day ``day`` that the encoder has
        embedded.
        """
        ...

    def imaged(self, plate: str, encoder_id: str) -> Sequence[VisitVersion]:
        """Return every VisitVersion of a plate that an encoder has embedded."""
        ...

    def observations(
        self, images: Sequence[VisitVersion], encoder_id: str
    ) -> Sequence[Observation]:
        """Return the Observations of these VisitVersions with the embeddings of one encoder."""
        ...


@dataclass(frozen=True, eq=False)
class EarlierWells:
    """The m untreated wells of another plate, as differences from their mean."""

    past: npt.NDArray[np.float64]  # (m, P)
    readout: npt.NDArray[np.float64]  # (m, K)
    similarity: float = 1.0  # weight of one of its wells, 0 to 1


@dataclass(frozen=True, eq=False)
class Forecast:
    """A forecast of untreated wells that was learned from n untreated wells."""

    predict: Callable[
        [npt.NDArray[np.float64]], npt.NDArray[np.float64]
    ]  # (N, P) past of any wells -> (N, K) readout they would have untreated
    left_out: npt.NDArray[
        np.float64
    ]  # (n, K): the forecast of each of the n wells as learned from the others


class SequenceModel(Protocol):
    """Predicts the untreated features of a well from its images before the readout; pre-trained."""

    @property
    def name(self) -> str:
        """Name of the model, which includes its digest."""
        ...

    @property
    def days(self) -> Sequence[int]:
        """Culture days up to dosing on which a plate needs images."""
        ...

    def check_fits(self, feature_names: Sequence[str], encoder_id: str) -> None:
        """Raise ProfileError unless the model was made for these feature names and encoder id.

        Parameters
        ----------
        encoder_id
            The encoder of the embedding among the features; "" without an embedding.


        Raises
        ------
        ProfileError
            If they differ.
        """
        ...

    def predict(
        self, trajectories: Trajectories, before: Sequence[int], day: int
    ) -> npt.NDArray[np.float64]:
        """Return (N, D) features predicted for ``day`` from Trajectories on the days ``before``.

        A well without an image on these days has NaN.


        Raises
        ------
        ProfileError
            If encoder, features or days do not fit the model, or a prediction is not finite.
        """
        ...


class Forecaster(Protocol):
    """Learns the untreated development of wells from untreated wells."""

    def fit(
        self,
        past: npt.NDArray[np.float64],
        readout: npt.NDArray[np.float64],
        earlier: Sequence[EarlierWells] = (),
    ) -> Forecast:
        """Return a Forecast from past (n, P) and readout (n, K) of n ≥ 2 untreated wells.

        All values are finite. ``earlier`` are untreated wells of other plates.

        Past and readout are positions in the same K directions; P ≥ K.
        """
        ...
