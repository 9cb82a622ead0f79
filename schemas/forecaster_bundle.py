"""The forecaster bundle: ``forecaster.onnx`` and ``forecaster.json`` side by side, and what the JSON promises."""

from typing import Literal

from pydantic import Field

from schemas.frozen_model import FrozenModel


class ForecasterCard(FrozenModel):
    """The content of ``forecaster.json``.

    The model takes ``features`` (wells, days, features) float32 with NaN for a missing image, ``days`` (days,) float32 and ``readout_day`` () float32, and
    gives ``readout`` (wells, features) float32: what each well would have become untreated.
    """

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=60)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")  # of forecaster.onnx
    encoder_id: str  # whose embedding is among the features; "" where all are measures
    feature_names: tuple[str, ...] = Field(min_length=1)  # in the model's order
    days: tuple[
        int, ...
    ] = ()  # up to dosing, on which a plate needs images; other days up to dosing are given to the model as well
    created_by: str
