"""The pydantic base class of the data that SpheroRank writes to files and messages."""

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """An immutable model that refuses unknown keys, NaN and infinity.

    The string below a field becomes the field's description in the JSON Schema.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )
