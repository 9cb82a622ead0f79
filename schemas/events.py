"""Envelope of every message: a CloudEvents 1.0 event in structured mode, as JSON."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from schemas.messages import TOPIC_PREFIX, MessageData, kind_of, subject_of

SEQUENCE_DIGITS = 20
"""Digits of the largest unsigned 64-bit number; padded texts sort like the numbers."""


def to_event(data: MessageData, *, sequence: int, service: str, at: datetime) -> str:
    """Return the CloudEvents JSON text of a message with its number, service name and time.

    The text is stored in the outbox and published.

    The attribute ``sequencetype`` is omitted: its only value, ``Integer``, means 32 bits without
    padding.

    Parameters
    ----------
    data
        Content of the message.
    sequence
        Sequence number of the message.
    service
        Name of the service that sends it.
    at
        Time of the message.

    Raises
    ------
    ValueError
        If ``at`` has no time zone.
    """
    if at.tzinfo is None:
        raise ValueError(f"the time {at.isoformat()} has no time zone; expected a time with one")
    attributes = {
        "type": f"{TOPIC_PREFIX}.{kind_of(data)}",
        "source": f"spherorank/{quote(service, safe='')}",
        "id": f"{service}-{sequence}",
        "time": at.astimezone(UTC),
        "datacontenttype": "application/json",
        "sequence": f"{sequence:0{SEQUENCE_DIGITS}d}",
    }
    if subject := subject_of(data):
        attributes["subject"] = as_utf8(subject)
    return (
        JSONFormat().write(CloudEvent(attributes, as_utf8(data.model_dump(mode="json")))).decode()
    )


def as_utf8(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a JSON value with ``�`` in place of every byte that is not valid UTF-8.

    Python represents such bytes of a file name as lone surrogates, which strict JSON readers
    refuse.
    """
    match value:
        case str():
            return (
                value
                if value.isascii()
                else value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            )
        case list():
            return [as_utf8(item) for item in value]
        case dict():
            return {as_utf8(key): as_utf8(item) for key, item in value.items()}
    return value
