"""Pydantic base class of the models that are written to files, messages and bundles."""

import ast
import inspect
import textwrap
from itertools import pairwise
from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic_core import CoreSchema


class FrozenModel(BaseModel):
    """Immutable model that refuses unknown keys, NaN and infinity.

    The string below a field becomes the field's description in the JSON Schema.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        # pydantic's use_attribute_docstrings reads the source of each model in every process that
        # imports it, which is a tenth of the start of the service.
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in _field_descriptions(cls).items():
            properties.get(name, {}).setdefault("description", text)
        return schema


def _field_descriptions(model: type[FrozenModel]) -> dict[str, str]:
    """Return the string below each field of a model, also of its inherited fields, by name."""
    found = {}
    for each in reversed(model.__mro__):
        if not issubclass(each, FrozenModel):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        assert isinstance(definition, ast.ClassDef)  # noqa: S101 - the source of a class
        for field, below in pairwise(definition.body):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[name] = inspect.cleandoc(text)
    return found
