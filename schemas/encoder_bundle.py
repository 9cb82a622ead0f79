"""Content of an encoder bundle's ``bundle.json``, which describes the file ``encoder.onnx``."""

import hashlib
from enum import StrEnum
from typing import Literal

from pydantic import Field

from schemas.frozen_model import FrozenModel


class PlanePolicy(StrEnum):
    """Rule that selects three input channels from the focal planes of a well image."""

    THREE_PLANES = "three_planes"
    """Planes 1, 2 and 3 as channels; the image needs exactly three planes."""
    SHARPEST = "sharpest"
    """The sharpest plane as all three channels."""
    SHARPEST_NEIGHBOURS = "sharpest_neighbours"
    """The sharpest plane between its two neighbours; at the ends a plane is repeated. Any number of
    planes is accepted.
    """
    EXTENDED_DEPTH = "extended_depth"
    """All planes fused into one, in which every region is taken from the planes that show it
    sharpest, as all three channels. Any number of planes is accepted.
    """


def describe_ranking_weight(weight: float) -> str:
    """Return a sentence that states a bundle's ``ranking_weight`` and its meaning, without a dot.

    Examples
    --------
    >>> describe_ranking_weight(0)[:44]
    'ranking_weight 0: the embedding has no influ'
    """
    if weight == 0:
        return (
            "ranking_weight 0: the embedding has no influence on rankings by embedding and "
            "measures (`both`), which compare the measures alone; `spherorank evaluate` proposes a "
            "value"
        )
    return (
        f"ranking_weight {weight:g}: rankings by embedding and measures (`both`) compare the "
        "embedding as well; any value above 0 has the same effect"
    )


Providers = Literal["auto", "cpu", "cuda"]
"""Execution provider of the encoder; ``auto`` uses CUDA where it works, else the CPU."""


class Canary(FrozenModel):
    """Test image and the first values of its expected embedding, to verify an encoder at start.

    The image is computed by a formula from ``seed``.
    """

    seed: int
    """Seed of the test image."""
    expected: tuple[float, ...] = Field(min_length=1)
    """First values of the embedding when the bundle was made."""
    tolerance: float = Field(gt=0)
    """Largest accepted absolute difference of a value."""


class Preprocessing(FrozenModel):
    """Steps from the planes of a well image to the encoder's input, in the order of the fields."""

    planes: PlanePolicy
    """Selection of the three channels."""
    field_um: float | None = Field(default=None, gt=0)
    """Side in µm of the centred square that is embedded; None, or an unknown scale: the largest
    square of the image. In an image that is narrower, a smaller field is embedded.
    """
    background: float = Field(gt=0, le=1)
    """Value in 0…1 to which the empty background is scaled."""
    mean: tuple[float, float, float]
    """Value subtracted from each channel."""
    std: tuple[float, float, float]
    """Value by which each channel is then divided."""


class BundleCard(FrozenModel):
    """Content of ``bundle.json``: name, digest, input, output and preprocessing of an encoder."""

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=60)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of ``encoder.onnx``."""
    input_name: str
    """Name of the input, (batch, 3, side, side) float32."""
    input_size: int = Field(ge=32, le=2048)
    """Side of the square input in pixels."""
    output_name: str
    """Name of the output, (batch, dimension) float32."""
    dimension: int = Field(ge=1, le=16384)
    """Number of values of an embedding."""
    preprocessing: Preprocessing
    canary: Canary
    ranking_weight: float = Field(default=0.0, ge=0, le=100)
    """Above 0: a ranking by embedding and measures uses the embedding; 0: the measures alone.

    How much the embedding contributes follows from the plate.
    """
    provenance: str
    """Origin of the weights and of the training data."""
    licence: str
    """Licence of the weights."""

    @property
    def encoder_id(self) -> str:
        """Name and digest of the weights, input size and preprocessing.

        Everything that determines an embedding is included. Embeddings with different ids are never
        compared.
        """
        decisive = f"{self.sha256} {self.input_size} {self.preprocessing.model_dump_json()}"
        return f"{self.name}-{hashlib.sha256(decisive.encode()).hexdigest()[:16]}"
