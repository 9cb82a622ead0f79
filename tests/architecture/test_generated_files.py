"""The generated files in the repository are those of the models."""

import importlib.util
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from schemas.json_schemas import json_schemas

ROOT = Path(__file__).parents[2]
REMEDY = "run `python docs/generate_messages.py`"


def generator() -> Any:  # noqa: ANN401 - a script, loaded as a module
    spec = importlib.util.spec_from_file_location(
        "generate_messages", ROOT / "docs" / "generate_messages.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_json_schemas_on_disk_are_those_of_the_code() -> None:
    made = {path: text for path, text in generator().files().items() if path.suffix == ".json"}
    on_disk = {
        path: path.read_text(encoding="utf-8") for path in (ROOT / "schemas" / "json").iterdir()
    }
    assert on_disk == made, REMEDY


def test_the_page_of_messages_is_that_of_the_code() -> None:
    path = ROOT / "docs" / "reference" / "messages.md"
    assert path.read_text(encoding="utf-8") == generator().files()[path], REMEDY


@pytest.mark.parametrize("name", sorted(json_schemas()))
def test_every_schema_is_a_valid_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schemas()[name])
