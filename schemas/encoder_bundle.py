"""The encoder bundle: ``encoder.onnx`` and ``bundle.json`` side by side, and what the JSON promises."""

import hashlib
from enum import StrEnum
from typing import Literal

from pydantic import Field

from schemas.frozen_model import FrozenModel


class PlanePolicy(StrEnum):
    """How the focal planes of a well image become the encoder's three channels."""

    THREE_PLANES = "three_planes"  # planes 1, 2, 3 as channels; needs exactly three
    SHARPEST = "sharpest"  # the sharpest plane, three times
    SHARPEST_NEIGHBOURS = "sharpest_neighbours"  # the sharpest and its neighbours, repeated at the ends; serves 1 and 11 planes too


Providers = Literal["auto", "cpu", "cuda"]
"""What the encoder runs on; ``auto`` takes CUDA where it works, else the CPU."""


class Canary(FrozenModel):
    """A fixed well image, made by formula from ``seed``, and the first values of its embedding when the bundle was made."""

    seed: int
    expected: tuple[float, ...] = Field(min_length=1)
    tolerance: float = Field(gt=0)  # largest absolute difference of a value


class Preprocessing(FrozenModel):
    """What happens between the planes of a well image and the encoder's input, in this order."""

    planes: PlanePolicy
    field_um: float | None = Field(
        default=None, gt=0
    )  # side of the centred square that is embedded; None, or no scale known: the whole image
    background: float = Field(
        gt=0, le=1
    )  # the value in 0…1 that the empty background is brought to; the same value fills what lies outside the image
    mean: tuple[float, float, float]  # subtracted per channel, then
    std: tuple[float, float, float]  # divided by


class BundleCard(FrozenModel):
    """The content of ``bundle.json``."""

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=60)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")  # of encoder.onnx
    input_name: str
    input_size: int = Field(
        ge=32, le=2048
    )  # square side in pixels; the input is (batch, 3, side, side) float32
    output_name: str
    dimension: int = Field(ge=1, le=16384)
    preprocessing: Preprocessing
    canary: Canary
    ranking_weight: float = Field(
        default=0.0, ge=0, le=100
    )  # of the embedding beside measures in a ranking of both, chosen where the truth is known
    provenance: str
    licence: str

    @property
    def encoder_id(self) -> str:
        """Name and digest of all that decides an embedding: weights, input size and preprocessing. Different ids are never compared."""
        decisive = f"{self.sha256} {self.input_size} {self.preprocessing.model_dump_json()}"
        return f"{self.name}-{hashlib.sha256(decisive.encode()).hexdigest()[:16]}"
