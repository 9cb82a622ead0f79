"""JSON Schemas of all messages, ranking files, requests and replies, generated from the models.

``docs/generate_messages.py`` writes them to ``schemas/json/``.
"""

from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter

from schemas.events import SEQUENCE_DIGITS
from schemas.messages import (
    TOPIC_PREFIX,
    AcquisitionData,
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
"""JSON Schema dialect of the generated schemas."""
MESSAGE_MODELS: dict[MessageKind, type[BaseModel]] = {
    "observation": ObservationData,
    "rejected": RejectedData,
    "ranking": RankingData,
    "specimen": SpecimenData,
    "acquisition": AcquisitionData,
    "status": StatusData,
    "alert": AlertData,
}
"""Model of the data of each kind of message."""


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schemas of messages, ranking files, requests and replies by file name."""
    schemas = {f"{kind}.json": event_schema(kind) for kind in get_args(MessageKind)}
    schemas["ranking-file.json"] = Ranking.model_json_schema(mode="serialization")
    schemas["specimen-file.json"] = SpecimenRanking.model_json_schema(mode="serialization")
    schemas["request.json"] = _request_schema()
    schemas["reply.json"] = TypeAdapter[Any](Reply).json_schema(mode="serialization") | {
        "title": "Reply"
    }
    return {name: {"$schema": DIALECT} | schema for name, schema in schemas.items()}


def _request_schema() -> dict[str, Any]:
    """Return the JSON Schema of a request, in which ``kind`` is required."""
    schema = TypeAdapter[Any](Request).json_schema(mode="validation") | {"title": "Request"}
    for request in schema["$defs"].values():
        request["required"] = [
            "kind",
            *request.get("required", ()),
        ]  # the default of kind exists only in Python
    return schema


def event_schema(kind: MessageKind) -> dict[str, Any]:
    """Return the JSON Schema of the CloudEvents event of one kind of message."""
    data = MESSAGE_MODELS[kind].model_json_schema(mode="serialization")
    definitions = data.pop("$defs", {})
    properties = {
        "specversion": {"const": "1.0"},
        "type": {"const": f"{TOPIC_PREFIX}.{kind}"},
        "source": {
            "type": "string",
            "description": "`spherorank/<service>`; each service has its own series of "
            "sequence numbers.",
        },
        "id": {"type": "string", "description": "Unique within `source`."},
        "time": {"type": "string", "format": "date-time"},
        "subject": {
            "type": "string",
            "description": "Plate or specimen of the message, if it has one.",
        },
        "datacontenttype": {"const": "application/json"},
        "sequence": {
            "type": "string",
            "pattern": f"^[0-9]{{{SEQUENCE_DIGITS}}}$",
            "description": "Sequence number with leading zeros, so that texts sort like numbers.",
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
