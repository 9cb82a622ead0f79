"""Contract suite of the port of acknowledgements, on SQLite and PostgreSQL."""

from datetime import timedelta

from tests.samples import NOW, PLATE, ranking, ranking_data, status_data
from tests.stored import AnyStore, Opener


def test_each_final_ranking_is_listed_with_its_message_and_a_provisional_one_is_not(
    store: AnyStore,
) -> None:
    store.add_message(status_data(), NOW)
    for of in (ranking(day=8, final=False), ranking(), ranking(revision=2)):
        store.add_ranking(of, ranking_data(of))
    first, second = store.finals_after(0, limit=10)
    assert (first.sequence, first.plate, first.day, first.revision) == (3, PLATE, 10, 1)
    assert (second.sequence, second.revision) == (4, 2)
    assert first.created_at == ranking().created_at
    assert [final.sequence for final in store.finals_after(3, limit=10)] == [4]
    assert [final.sequence for final in store.finals_after(0, limit=1)] == [3]


def test_an_acknowledgement_never_decreases(store: AnyStore) -> None:
    assert store.acknowledged() == {}
    for number in (5, 3, 9, 8):
        store.acknowledge("lims", number, NOW + timedelta(seconds=number))
    store.acknowledge("archive", 2, NOW)
    assert store.acknowledged() == {"lims": 9, "archive": 2}


def test_each_service_has_its_own_acknowledgements_and_finals(open_store: Opener) -> None:
    one, other = open_store("one"), open_store("other")
    one.acknowledge("lims", 7, NOW)
    one.add_ranking(ranking(), ranking_data(ranking()))
    assert one.acknowledged() == {"lims": 7}
    assert other.acknowledged() == {}
    assert other.finals_after(0, limit=10) == []
