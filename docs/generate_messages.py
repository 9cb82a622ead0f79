"""Write ``schemas/json/*.json`` and ``docs/reference/messages.md`` from the models: ``python docs/generate_messages.py``. A test holds the files to the code."""

# ruff: noqa: INP001 - a script beside the pages it writes, no package

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from schemas.events import to_event  # noqa: E402 - the repository's root has to be on the path first
from schemas.json_schemas import MESSAGE_MODELS, json_schemas  # noqa: E402 - as above
from schemas.messages import AlertData, AlertKind, DayDeparture, MessageData, MessageKind, topic_of  # noqa: E402 - as above
from tests import samples  # noqa: E402 - as above

_SERVICE = "spherorank"
_PLATE_TOPICS = {"observation", "rejected", "ranking", "specimen"}
_WHEN = {
    "observation": "A well image was embedded and stored. After dosing `departures` follows the well over every day seen.",
    "rejected": "A file or image was refused.",
    "ranking": "A ranking, provisional or final. `data` has the fields of the ranking's JSON file (`ranking-file.json`).",
    "specimen": "The plates of one specimen ranked together. `data` has the fields of its JSON file (`specimen-file.json`).",
    "status": "Every 5 s while the service takes images, and once each as `online` and `stopping`. No heartbeat for 15 s: look at the service.",
    "alert": "A person should look.",
}
_INTRODUCTION = """\
# Messages

For developers of lab control systems who read the messages and call the request socket.

<!-- made by docs/generate_messages.py from schemas/; edit those -->

To subscribe, step by step: [Follow the messages](../how-to/follow-messages.md).

A message on the PUB socket (`publisher.events`) has three parts:

| part | |
|---|---|
| topic | ASCII, as below. A plate's name stands in it with `_` for blanks and for what is not ASCII; the body has the name as it is |
| sequence | 8 bytes, unsigned, big-endian; from 1, never reused, survives restarts; one series a service. A replay lacks the numbers of old heartbeats |
| body | UTF-8 JSON: a CloudEvents 1.0 event in structured mode, whose `data` is described below. Its `sequence` is the same number in 20 digits |

A message may come twice (after a crash everything that is not known to have been sent is sent again): drop a number that was seen.
A number that is skipped is a message that was lost on the way: ask for a replay.

JSON Schemas of the bodies, requests and replies: [`schemas/json/`](../../schemas/json/). They are installed with the package.
"""


def files() -> dict[Path, str]:
    """Return every generated file and its content."""
    schemas = {
        ROOT / "schemas" / "json" / name: json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in json_schemas().items()
    }
    return schemas | {ROOT / "docs" / "reference" / "messages.md": _page()}


def examples() -> dict[MessageKind, MessageData]:
    """Return one message of each kind."""
    departures = (DayDeparture(day=7, departure=0.4), DayDeparture(day=8, departure=1.9))
    return {
        "observation": samples.observation_data(samples.observation("D02", 8)).model_copy(
            update={"departures": departures}
        ),
        "rejected": samples.rejected_data(samples.rejected()),
        "ranking": samples.ranking_data(samples.ranking()),
        "specimen": samples.specimen_data(samples.specimen_ranking()),
        "status": samples.status_data(),
        "alert": AlertData(
            kind=AlertKind.IMAGES_MISSING,
            plate=samples.PLATE,
            message="day 9: no image for 6 h; expected 60 well images",
        ),
    }


def _page() -> str:
    parts = [_INTRODUCTION]
    for sequence, (kind, data) in enumerate(examples().items(), start=41):
        schema = MESSAGE_MODELS[kind].model_json_schema(mode="serialization")
        event = json.loads(to_event(data, sequence=sequence, service=_SERVICE, at=samples.NOW))
        topic = topic_of(data)
        if kind in _PLATE_TOPICS:
            topic = topic.replace(samples.PLATE, "<plate>").replace(samples.SPECIMEN, "<specimen>")
        parts.append(
            f"## `{topic}`\n\n{_WHEN[kind]}\n\n{_tables(schema)}\nExample, topic `{topic_of(data)}`:\n\n{_fence(event)}"
        )
    parts.append(_requests())
    return "\n".join(parts)


def _requests() -> str:
    schemas = json_schemas()
    text = (
        "## Requests\n\nOn the ROUTER socket (`publisher.requests`), from a REQ or DEALER socket: one JSON object in, one out. "
        'A request that is not understood is answered with `{"kind": "error", "error": "…", "retry": false}`,\n'
        "which says what was found and what was expected.\n\n"
    )
    for title, name in (("Request", "request.json"), ("Reply", "reply.json")):
        schema = schemas[name]
        for kind, reference in schema["discriminator"]["mapping"].items():
            model = schema["$defs"][reference.rpartition("/")[2]]
            text += f"### {title} `{kind}`\n\n{_plain(model['description'])}\n\n{_table(model)}\n"
    return text


def _tables(schema: dict[str, Any]) -> str:
    text = _table(schema)
    for name, definition in schema.get("$defs", {}).items():
        if "properties" in definition:
            text += f"\n{name}: {_plain(definition['description'])}\n\n{_table(definition)}"
        else:
            text += f"\n{name}: {_plain(definition['description'])} {', '.join(f'`{value}`' for value in definition['enum'])}\n"
    return text


def _table(schema: dict[str, Any]) -> str:
    rows = [
        f"| `{name}` | {_type(field)} | {_plain(field.get('description', ''))} |"
        for name, field in schema["properties"].items()
    ]
    return "\n".join(["| field | type | |", "|---|---|---|", *rows]) + "\n"


def _type(field: dict[str, Any]) -> str:
    match field:
        case {"$ref": reference}:
            text = str(reference).rpartition("/")[2]
        case {"anyOf": choices}:
            text = " or ".join(map(_type, choices))
        case {"const": value}:
            text = f"`{value}`"
        case {"enum": values}:
            text = " or ".join(f"`{value}`" for value in values)
        case {"type": "array", "items": items}:
            text = f"list of {_type(items)}"
        case {"type": "object", "additionalProperties": dict() as values}:
            text = f"object: name → {_type(values)}"
        case {"format": "date-time"}:
            text = "time (RFC 3339)"
        case {"type": kind}:
            text = {"string": "text", "boolean": "true or false"}.get(kind, kind)
        case _:
            text = "anything"
    return text


def _plain(text: str) -> str:
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())


def _fence(value: object) -> str:
    return f"```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```\n"


if __name__ == "__main__":
    for path, content in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
