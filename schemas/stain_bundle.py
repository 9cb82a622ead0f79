"""Content of a bundle's ``stain.json``, which describes the file ``stain.onnx``."""

from typing import Literal

from pydantic import Field

from schemas.encoder_bundle import Canary
from schemas.frozen_model import FrozenModel


class StainCard(FrozenModel):
    """Content of ``stain.json``: name, digest, input and output of a stain network.

    The network predicts dead tissue from a bright-field image; it does not measure a stain.
    """

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=60)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of ``stain.onnx``."""
    input_name: str
    """Name of the input, (batch, 2, side, side) float32: optical density, and cover of tissue 0…1.
    """
    output_name: str
    """Name of the output, (batch, 1, side, side) float32: log odds that a cell at this place is
    dead."""
    input_size: int = Field(ge=32, le=1024, multiple_of=8)
    """Side of the square input in pixels."""
    canary: Canary
    """Test image; its expected values are mean log odds on a grid of 8 × 8."""
    provenance: str
    """Origin of the weights and of the training data."""
    licence: str
    """Licence of the weights."""
