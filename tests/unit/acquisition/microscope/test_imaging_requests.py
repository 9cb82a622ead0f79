from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from acquisition.microscope.imaging_requests import ASKED, Wish, Wishes
from schemas.errors import OutputError
from tests.samples import NOW, PLATE


def wish(*wells: str, **changes: Any) -> Wish:  # noqa: ANN401 - any field of a wish
    return Wish(
        **{
            "plate": PLATE,
            "day": 7,
            "wells": wells or ("B02",),
            "reason": "blurred",
            "made_at": NOW,
        }
        | changes
    )


def test_a_wish_is_there_for_whoever_opens_the_list_next(tmp_path: Path) -> None:
    made = wish("B02", "c3", wide=True, recentre=True)
    assert Wishes(tmp_path / "state" / "wishes").add(made)
    ((_, found),) = Wishes(tmp_path / "state" / "wishes").pending()
    assert found == made
    assert found.wells == ("B02", "C03")


def test_no_wish_was_ever_made_where_there_is_no_folder(tmp_path: Path) -> None:
    assert Wishes(tmp_path / "none").pending() == []


def test_wishes_come_oldest_first_whatever_their_time_zone(tmp_path: Path) -> None:
    wishes = Wishes(tmp_path)
    for minutes, well in ((5, "D05"), (1, "B02"), (3, "C03")):
        wishes.add(wish(well, made_at=NOW + timedelta(minutes=minutes)))
    assert [each.wells[0] for _, each in wishes.pending()] == ["B02", "C03", "D05"]


def test_the_same_wish_is_made_once_whether_it_waits_or_has_ended(tmp_path: Path) -> None:
    wishes = Wishes(tmp_path)
    assert wishes.add(wish("B02", "C03"))
    assert not wishes.add(wish("C03", "B02", made_at=NOW + timedelta(hours=1), wide=True))
    ((name, _),) = wishes.pending()
    wishes.done(name)
    assert wishes.pending() == []
    assert not wishes.add(wish("B02", "C03", made_at=NOW + timedelta(hours=2)))


@pytest.mark.parametrize(
    "changes", [{"plate": "PDAC-0043"}, {"day": 8}, {"wells": ("B03",)}, {"reason": "cut"}]
)
def test_a_wish_for_something_else_is_another_wish(tmp_path: Path, changes: dict[str, Any]) -> None:
    wishes = Wishes(tmp_path)
    wishes.add(wish("B02"))
    assert wishes.add(wish("B02", **changes))


def test_a_person_may_ask_for_the_same_as_often_as_they_like(tmp_path: Path) -> None:
    wishes = Wishes(tmp_path)
    names = [wishes.add(wish("B02", reason=ASKED)) for _ in range(3)]
    assert [name for name, _ in wishes.pending()] == names


def test_a_wish_that_another_process_ended_meanwhile_is_nobody_s_trouble(tmp_path: Path) -> None:
    wishes = Wishes(tmp_path)
    name = wishes.add(wish("B02"))
    assert name is not None
    wishes.drop(name, "a person thought better of it")
    with capture_logs() as logs:
        wishes.done(name)
        wishes.drop(name, "its day is over")
    assert logs == []


def test_a_dropped_wish_waits_no_longer_and_says_why_in_the_log(tmp_path: Path) -> None:
    wishes = Wishes(tmp_path)
    wishes.add(wish("B02"))
    ((name, _),) = wishes.pending()
    with capture_logs() as logs:
        wishes.drop(name, "its day is over")
    assert [(entry["event"], entry["why"]) for entry in logs] == [
        ("wish.dropped", "its day is over")
    ]
    assert wishes.pending() == []
    assert not wishes.add(wish("B02"))


@pytest.mark.parametrize(
    "content", [b"", b'{"plate": "PDAC-00', b'{"plate": "../etc", "day": 0}', b"\xff\xfe"]
)
def test_a_damaged_wish_is_put_aside_and_the_others_go_on(tmp_path: Path, content: bytes) -> None:
    wishes = Wishes(tmp_path)
    wishes.add(wish("B02"))
    (tmp_path / "20200101T000000.000000Z-0-1.json").write_bytes(content)
    with capture_logs() as logs:
        assert [each.wells for _, each in wishes.pending()] == [("B02",)]
    assert [entry["event"] for entry in logs] == ["wish.damaged"]
    assert Path(logs[0]["file"]).read_bytes() == content
    assert len(wishes.pending()) == 1


def test_a_wish_that_was_cut_short_by_a_crash_is_no_wish(tmp_path: Path) -> None:
    (tmp_path / ".20200101T000000.000000Z-0-1.json.part").write_text("{")
    assert Wishes(tmp_path).pending() == []


def test_a_wish_without_a_place_to_write_it_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "wishes").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="cannot be written"):
        Wishes(tmp_path / "wishes").add(wish())


@pytest.mark.parametrize(
    "changes",
    [
        {"plate": "../x"},
        {"day": 0},
        {"wells": ("Z99",)},
        {"reason": ""},
        {"made_at": NOW.replace(tzinfo=None)},
    ],
)
def test_what_is_no_wish_cannot_be_made(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        wish(**changes)
