"""Contract suite of the ports of rankings of plates and specimens, on SQLite and PostgreSQL."""

import pytest

from schemas.errors import StoreError
from schemas.ranking import Ranking
from tests.samples import (
    NOW,
    PLATE,
    plate_map,
    ranking,
    ranking_data,
    specimen_data,
    specimen_ranking,
)
from tests.stored import AnyStore


def test_rankings_come_back_by_day_and_revision(store: AnyStore) -> None:
    for day, revision in ((10, 2), (8, 1), (10, 1)):
        of = ranking(day=day, revision=revision)
        store.add_ranking(of, ranking_data(of))
    assert store.rankings(PLATE) == [ranking(day=8), ranking(), ranking(revision=2)]
    assert store.rankings("another plate") == []


def test_a_ranking_that_was_published_does_not_change(store: AnyStore) -> None:
    store.add_ranking(ranking(), ranking_data(ranking()))
    changed = ranking(method="deterioration")
    with pytest.raises(StoreError, match="day10-r1 exists already; expected revision 2"):
        store.add_ranking(changed, ranking_data(changed))
    assert store.rankings(PLATE) == [ranking()]
    assert store.last_sequence() == 1


def test_a_ranking_can_be_stored_from_its_message(store: AnyStore) -> None:
    store.add_ranking(ranking_data(ranking()), ranking_data(ranking()))
    assert [type(kept) for kept in store.rankings(PLATE)] == [Ranking]


def test_the_plates_of_a_specimen_are_those_whose_newest_map_names_it(store: AnyStore) -> None:
    for plate, specimen in (
        ("b", "PAT-07"),
        ("a", "PAT-07"),
        ("c", "PAT-08"),
        ("d", None),
        ("e", "Prüf 7"),
    ):
        store.save_plate_map(plate_map(plate, specimen=specimen), NOW)
    assert store.plates_of_specimen("PAT-07") == ["a", "b"]
    assert store.plates_of_specimen("Prüf 7") == ["e"]
    store.save_plate_map(plate_map("a", specimen="PAT-08"), NOW)
    assert (
        store.plates_of_specimen("PAT-07"),
        store.plates_of_specimen("PAT-08"),
        store.plates_of_specimen("PAT-09"),
    ) == (
        ["b"],
        ["a", "c"],
        [],
    )


def test_rankings_of_a_specimen_come_back_by_revision_with_their_messages(store: AnyStore) -> None:
    for revision in (1, 2):
        of = specimen_ranking(revision)
        assert store.add_specimen_ranking(specimen_data(of), specimen_data(of)) == revision
    assert store.specimen_rankings("PAT-07") == [specimen_ranking(), specimen_ranking(2)]
    assert store.specimen_rankings("PAT-08") == []
    assert [message.topic for message in store.messages_after(0)] == [
        "spherorank.v1.specimen.PAT-07"
    ] * 2


def test_a_ranking_of_a_specimen_that_was_published_does_not_change(store: AnyStore) -> None:
    store.add_specimen_ranking(specimen_ranking(), specimen_data(specimen_ranking()))
    changed = specimen_ranking(notes=("another",))
    with pytest.raises(
        StoreError, match="the ranking r1 of specimen PAT-07 exists already; expected r2"
    ):
        store.add_specimen_ranking(changed, specimen_data(changed))
    assert store.specimen_rankings("PAT-07") == [specimen_ranking()]
    assert store.last_sequence() == 1
