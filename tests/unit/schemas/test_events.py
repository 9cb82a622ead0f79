import json
from datetime import datetime, timedelta, timezone

import pytest
from cloudevents.core.formats.json import JSONFormat

from schemas.events import to_event
from schemas.messages import AlertData, AlertKind, MessageData
from tests.samples import (
    NOW,
    PLATE,
    observation,
    observation_data,
    ranking,
    ranking_data,
    rejected,
    rejected_data,
    specimen_data,
    specimen_ranking,
    status_data,
)

ALERT = AlertData(kind=AlertKind.DISK, plate=None, message="2 GB left")


def event_of(
    data: MessageData, sequence: int = 7, service: str = "spherorank", at: datetime = NOW
) -> dict[str, object]:
    event: dict[str, object] = json.loads(to_event(data, sequence=sequence, service=service, at=at))
    return event


@pytest.mark.parametrize(
    ("data", "kind", "subject"),
    [
        (observation_data(observation()), "observation", PLATE),
        (rejected_data(rejected()), "rejected", PLATE),
        (rejected_data(rejected(plate="")), "rejected", None),
        (ranking_data(ranking()), "ranking", PLATE),
        (specimen_data(specimen_ranking()), "specimen", "PAT-07"),
        (status_data(), "status", None),
        (ALERT, "alert", None),
        (ALERT.model_copy(update={"plate": PLATE}), "alert", PLATE),
    ],
)
def test_every_message_is_a_cloud_event_about_its_plate(
    data: MessageData, kind: str, subject: str | None
) -> None:
    event = event_of(data)
    assert event.pop("data") == json.loads(data.model_dump_json())
    assert event.pop("subject", None) == subject
    assert event == {
        "specversion": "1.0",
        "type": f"spherorank.v1.{kind}",
        "source": "spherorank/spherorank",
        "id": "spherorank-7",
        "time": "2026-11-22T20:00:00Z",
        "datacontenttype": "application/json",
        "sequence": "00000000000000000007",
    }


def test_the_cloudevents_library_reads_a_published_event() -> None:
    data = observation_data(observation())
    event = JSONFormat().read(None, to_event(data, sequence=7, service="spherorank", at=NOW))
    assert event.get_time() == NOW
    assert event.get_subject() == PLATE
    assert type(data).model_validate(event.get_data()) == data


def test_sequence_numbers_as_text_sort_like_numbers() -> None:
    numbers = [1, 9, 10, 2**32, 2**64 - 1]
    texts = [str(event_of(ALERT, number)["sequence"]) for number in numbers]
    assert sorted(texts) == texts
    assert {len(text) for text in texts} == {20}


def test_ids_differ_between_services_and_numbers() -> None:
    ids = {
        (event["source"], event["id"])
        for service in ("lab-1", "lab-2")
        for event in (event_of(ALERT, 1, service), event_of(ALERT, 2, service))
    }
    assert len(ids) == 4


def test_the_name_of_a_service_may_be_any_text() -> None:
    assert event_of(ALERT, service="Labor 1/Süd")["source"] == "spherorank/Labor%201%2FS%C3%BCd"


def test_times_are_converted_to_utc() -> None:
    assert (
        event_of(ALERT, at=NOW.astimezone(timezone(timedelta(hours=9))))["time"]
        == "2026-11-22T20:00:00Z"
    )


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        event_of(ALERT, at=NOW.replace(tzinfo=None))


def test_a_name_that_is_not_utf8_gives_valid_json() -> None:
    refused = rejected("plaque-\udce9/µ🔬.tif", plate="plaque-\udce9")
    body = to_event(rejected_data(refused), sequence=1, service="spherorank", at=NOW)
    event = json.loads(body)
    assert event["data"]["files"] == ["plaque-�/µ🔬.tif"]
    assert event["subject"] == "plaque-�"
    json.dumps(event, ensure_ascii=False).encode()  # a lone surrogate would be refused here
