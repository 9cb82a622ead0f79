"""Content of a bundle's ``forecaster.json``, which describes the file ``forecaster.onnx``."""

from typing import Literal

from pydantic import Field

from schemas.frozen_model import FrozenModel


class ForecasterCard(FrozenModel):
    """Content of ``forecaster.json``: name, digest, encoder, features and days of a sequence model.

    The model's inputs are ``features`` (wells, days, features) float32 with NaN for a missing
    image, ``days`` (days,) float32 and ``readout_day`` () float32. Its output is ``readout``
    (wells, features) float32: the features of each well if it had stayed untreated.
    """

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=60)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of ``forecaster.onnx``."""
    encoder_id: str
    """Encoder of the embedding among the features; "" if all features are measures."""
    feature_names: tuple[str, ...] = Field(min_length=1)
    """Names of the features, in the order of the model's input."""
    days: tuple[int, ...] = ()
    """Days up to dosing of which a plate needs images; images of other days up to dosing are also
    used.
    """
    created_by: str
    """Program and version that wrote the bundle."""
