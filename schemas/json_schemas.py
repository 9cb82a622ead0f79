"""The JSON Schemas of everything that goes out or is asked, made from the models; ``schemas/json/`` holds them as files."""

from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter

from schemas.events import SEQUENCE_DIGITS
from schemas.messages import (
    TOPIC_PREFIX,
    AlertData,
    MessageKind,
    ObservationData,
    RankingData,
    RejectedData,
    SpecimenData,
    StatusData,
)
from schemas.ranking import Ranking
from schemas.requests import Reply, Request
from schemas.specimen import SpecimenRanking

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MESSAGE_MODELS: dict[MessageKind, type[BaseModel]] = {
    "observation": ObservationData,
    "rejected": RejectedData,
    "ranking": RankingData,
    "specimen": SpecimenData,
    "status": StatusData,
    "alert": AlertData,
}
"""The model of each kind of message, in the order of a plate's life."""


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return every schema by the name of its file: one a message (the whole event), the files of rankings, requests and replies."""
    schemas = {f"{kind}.json": event_schema(kind) for kind in get_args(MessageKind)}
    schemas["ranking-file.json"] = Ranking.model_json_schema(mode="serialization")
    schemas["specimen-file.json"] = SpecimenRanking.model_json_schema(mode="serialization")
    schemas["request.json"] = _request_schema()
    schemas["reply.json"] = TypeAdapter[Any](Reply).json_schema(mode="serialization") | {
        "title": "Reply"
    }
    return {name: {"$schema": DIALECT} | schema for name, schema in schemas.items()}


def _request_schema() -> dict[str, Any]:
    schema = TypeAdapter[Any](Request).json_schema(mode="validation") | {"title": "Request"}
    for request in schema["$defs"].values():
        request["required"] = [
            "kind",
            *request.get("required", ()),
        ]  # has a default only for those who make it in Python
    return schema


def event_schema(kind: MessageKind) -> dict[str, Any]:
    """Return the schema of a message's body: a CloudEvents 1.0 event in structured mode."""
    data = MESSAGE_MODELS[kind].model_json_schema(mode="serialization")
    definitions = data.pop("$defs", {})
    properties = {
        "specversion": {"const": "1.0"},
        "type": {"const": f"{TOPIC_PREFIX}.{kind}"},
        "source": {
            "type": "string",
            "description": "`spherorank/<service>`: whose series of sequence numbers this is",
        },
        "id": {"type": "string", "description": "unique within `source`"},
        "time": {"type": "string", "format": "date-time"},
        "subject": {
            "type": "string",
            "description": "the plate or specimen, where the message is about one",
        },
        "datacontenttype": {"const": "application/json"},
        "sequence": {
            "type": "string",
            "pattern": f"^[0-9]{{{SEQUENCE_DIGITS}}}$",
            "description": "the message's number, padded so that text sorts as numbers do",
        },
        "data": data,
    }
    return {
        "title": f"{TOPIC_PREFIX}.{kind}",
        "description": data["description"],
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name != "subject"],
        "additionalProperties": False,
        "$defs": definitions,
    }
