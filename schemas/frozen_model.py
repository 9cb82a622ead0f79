"""Pydantic base class of the models that are written to files, messages and bundles."""

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """Immutable model that refuses unknown keys, NaN and infinity.

    The string below a field becomes the field's description in the JSON Schema.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )
