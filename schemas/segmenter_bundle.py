"""The segmenter bundle: ``segmenter.onnx`` and ``segmenter.json`` side by side, and what the JSON promises."""

from typing import Literal

from pydantic import Field

from schemas.encoder_bundle import Canary
from schemas.frozen_model import FrozenModel


class SegmenterCard(FrozenModel):
    """The content of ``segmenter.json``."""

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=60)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")  # of segmenter.onnx
    input_name: str
    output_name: str  # (batch, 2, side, side) float32: body and debris, in log odds
    input_size: int = Field(
        ge=64, le=1024, multiple_of=32
    )  # square side in pixels; the input is (batch, 1, side, side) float32, optical density
    threshold: float = Field(
        default=0.5, gt=0, lt=1
    )  # what is at least this likely to be body is body
    canary: Canary  # its values are mean log odds of body on a grid of 8 × 8
    provenance: str
    licence: str
