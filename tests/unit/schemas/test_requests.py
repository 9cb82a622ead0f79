import pytest

from schemas.requests import LatestRequest, ReplayRequest, StatusRequest, parse_request


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"kind": "status"}', StatusRequest()),
        (b'{"kind": "latest", "plate": "PDAC-0042"}', LatestRequest(plate="PDAC-0042")),
        (
            b'{"kind": "replay", "after": 7, "topic": "spherorank.v1.ranking"}',
            ReplayRequest(after=7, topic="spherorank.v1.ranking"),
        ),
        (b'{"kind": "replay", "after": 0}', ReplayRequest(after=0, topic="")),
    ],
)
def test_a_request_is_read(text: bytes, expected: object) -> None:
    assert parse_request(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", ["not JSON", "expected an object"]),
        (b"\xff\xfe\xfa", ["not JSON"]),
        (b"[" * 100_000, ["not JSON"]),
        (b"[1]", ["[1]", "expected an object"]),
        (b"{}", ["kind is missing", "status, latest, replay"]),
        (b'{"kind": ["status"]}', ['["status"]', "status, latest, replay"]),
        (
            b'{"kind": "delete", "plate": "P"}',
            ['"delete"', "status, latest, replay"],
        ),
        (b'{"kind": "replay"}', ["after is missing"]),
        (b'{"kind": "replay", "after": "7"}', ['after is "7"', "integer"]),
        (b'{"kind": "replay", "after": true}', ["after is true", "integer"]),
        (b'{"kind": "replay", "after": -1}', ["after is -1", "greater than or equal to 0"]),
        (b'{"kind": "replay", "after": 9223372036854775808}', ["after is 9223372036854775808"]),
        (b'{"kind": "replay", "after": 1, "topic": 5}', ["topic is 5", "string"]),
        (b'{"kind": "latest"}', ["plate is missing"]),
        (b'{"kind": "latest", "plate": "P", "day": 10}', ["day is unknown", "kind, plate"]),
    ],
)
def test_the_error_of_a_wrong_request_names_found_and_expected_value(
    text: bytes, words: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"expected") as error:
        parse_request(text)
    assert [word for word in words if word not in str(error.value)] == []
