"""Contract suite of the ports of plate maps and earlier plates, on SQLite and PostgreSQL."""

from datetime import timedelta, timezone
from typing import Any

from schemas.plate_map import PlateMap
from tests.samples import (
    ENCODER_ID,
    NOW,
    PLATE,
    SEEDED_AT,
    observation,
    plate_map,
)
from tests.stored import (
    AnyStore,
    Opener,
    add,
    execute,
    make_old_store,
    old_embedding,
    old_observation,
    old_plate_map,
)


def test_the_newest_map_of_a_plate_is_kept(store: AnyStore) -> None:
    assert store.plate_map(PLATE) is None
    first, corrected = plate_map(), plate_map(readout_day=11)
    for content in (first, corrected, first):
        store.save_plate_map(content, NOW)
        assert store.plate_map(PLATE) == content
        assert isinstance(kept := store.plate_map(PLATE), PlateMap)
        assert kept.digest == content.digest


def test_an_equal_map_changes_nothing(open_store: Opener, url: str) -> None:
    store = open_store()
    store.save_plate_map(plate_map(), NOW)
    store.save_plate_map(plate_map(), NOW + timedelta(hours=1))
    assert execute(url, "SELECT count(*) FROM plate_map") == 1


def test_plates_are_listed_in_alphabetical_order(store: AnyStore) -> None:
    for name in ("b", "B", "a-2", "a1"):
        store.save_plate_map(plate_map(name), NOW)
    assert store.plates() == ["B", "a-2", "a1", "b"]


def test_an_earlier_map_of_a_plate_is_found_by_its_digest(store: AnyStore) -> None:
    first, corrected = plate_map(), plate_map(readout_day=11)
    for content in (first, corrected):
        store.save_plate_map(content, NOW)
    assert store.plate_map(PLATE, first.digest) == first
    assert store.plate_map(PLATE, corrected.digest) == corrected
    assert store.plate_map(PLATE, "0" * 64) is None


def earlier(store: AnyStore, of: PlateMap, most: int = 9) -> list[str]:
    return [found.plate for found in store.earlier_plates(of, 10, ENCODER_ID, most)]


def add_plate(
    store: AnyStore,
    plate: str,
    days_later: float,
    *,
    day: int = 10,
    encoder_id: str = ENCODER_ID,
    **changes: Any,  # noqa: ANN401 - any keys of the map
) -> PlateMap:
    content = plate_map(plate, seeded_at=SEEDED_AT + timedelta(days=days_later), **changes)
    store.save_plate_map(content, NOW)
    add(store, observation(plate=plate, day=day, encoder_id=encoder_id))
    return content


def test_earlier_plates_of_a_line_are_found_the_newest_first(store: AnyStore) -> None:
    own = add_plate(store, "own", 5)
    for plate, days_later in (("b", 1), ("a", 1), ("c", 4), ("same hour", 5), ("later", 6)):
        add_plate(store, plate, days_later)
    assert earlier(store, own) == ["c", "a", "b"]
    assert earlier(store, own, most=2) == ["c", "a"]
    assert [found.digest for found in store.earlier_plates(own, 10, ENCODER_ID, 1)] == [
        plate_map("c", seeded_at=SEEDED_AT + timedelta(days=4)).digest
    ]


def test_plates_of_another_line_dosing_day_encoder_or_readout_are_no_earlier_plates(
    store: AnyStore,
) -> None:
    own, of_line = add_plate(store, "own", 5), add_plate(store, "A673-2", 5, line="A673")
    add_plate(store, "A673-1", 1, line=" A673 ")
    add_plate(store, "other dosing", 2, dosed_on_day=6)
    add_plate(store, "other encoder", 2, encoder_id="another")
    add_plate(store, "not read out", 2, day=9)
    store.save_plate_map(plate_map("no image"), NOW)
    assert earlier(store, own) == []
    assert earlier(store, of_line) == ["A673-1"]


def test_a_plate_is_as_early_as_its_newest_map_says_in_any_time_zone(store: AnyStore) -> None:
    own = add_plate(store, "own", 5)
    add_plate(store, "mended", 9)
    assert earlier(store, own) == []
    an_hour_before = (own.seeded_at - timedelta(hours=1)).astimezone(timezone(timedelta(hours=9)))
    store.save_plate_map(plate_map("mended", seeded_at=an_hour_before), NOW)
    assert earlier(store, own) == ["mended"]
    store.save_plate_map(plate_map("mended", seeded_at=an_hour_before, line="A673"), NOW)
    assert earlier(store, own) == []


def test_maps_from_before_earlier_plates_could_be_found_are_found(
    open_store: Opener, url: str
) -> None:
    old, seen = plate_map("old"), observation(plate="old", day=10)
    make_old_store(
        url,
        "0003",
        plate_map=[old_plate_map(old)],
        observation=[old_observation(seen)],
        embedding=[old_embedding(seen)],
    )
    store = open_store()
    own = add_plate(store, "own", 5)
    assert earlier(store, own) == ["old"]
