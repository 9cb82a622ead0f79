"""Content of a bundle's ``segmenter.json``, which describes the file ``segmenter.onnx``."""

from typing import Literal

from pydantic import Field

from schemas.encoder_bundle import Canary
from schemas.frozen_model import FrozenModel


class SegmenterCard(FrozenModel):
    """Content of ``segmenter.json``: name, digest, input and outputs of a segmenter network."""

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=60)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of ``segmenter.onnx``."""
    input_name: str
    """Name of the input, (batch, 1, side, side) float32 optical density."""
    output_name: str
    """Name of the output, (batch, 2, side, side) float32 log odds of body and debris."""
    input_size: int = Field(ge=64, le=1024, multiple_of=32)
    """Side of the square input in pixels."""
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """Smallest probability at which a pixel belongs to the body."""
    canary: Canary
    """Test image; its expected values are mean log odds of body on a grid of 8 × 8."""
    provenance: str
    """Origin of the weights and of the training data."""
    licence: str
    """Licence of the weights."""
