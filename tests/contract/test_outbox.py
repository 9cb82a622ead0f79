"""Contract suite of the port of the outbox, on SQLite and PostgreSQL."""

import json
from datetime import timedelta
from threading import Barrier, Thread

from schemas.messages import AlertData, AlertKind
from tests.samples import (
    NOW,
    PLATE,
    file_version,
    observation,
    observation_data,
    rejected,
    rejected_data,
    status_data,
)
from tests.stored import AnyStore, Opener, add, all_ended_files, observed


def test_messages_are_numbered_from_one_and_hold_the_event(store: AnyStore) -> None:
    assert store.last_sequence() == 0
    assert (
        store.add_message(AlertData(kind=AlertKind.DISK, plate=None, message="2 GB left"), NOW) == 1
    )
    assert add(store, observation()) == 2
    first, second = store.messages_after(0)
    assert (first.sequence, first.topic) == (1, "spherorank.v1.alert")
    assert (second.sequence, second.topic) == (2, f"spherorank.v1.observation.{PLATE}")
    event = json.loads(second.body)
    assert event["sequence"] == "00000000000000000002"
    assert event["data"] == json.loads(observation_data(observation()).model_dump_json())


def test_messages_are_read_after_a_number_by_topic_and_in_portions(store: AnyStore) -> None:
    for well in ("B02", "B03", "B04"):
        add(store, observation(well))
    add(store, observation(plate="PDAC-0043"))
    store.add_message(status_data(), NOW)
    assert [message.sequence for message in store.messages_after(3)] == [4, 5]
    assert [message.sequence for message in store.messages_after(0, limit=2)] == [1, 2]
    assert [
        message.sequence
        for message in store.messages_after(1, "spherorank.v1.observation.PDAC-0042")
    ] == [2, 3]
    assert [message.sequence for message in store.messages_after(0, "spherorank.v1.status")] == [5]
    assert store.messages_after(0, "spherorank.v1.STATUS") == []
    assert store.messages_after(0, "spherorank_v1") == []
    assert store.messages_after(5) == []


def test_heartbeats_older_than_a_day_go_and_their_numbers_are_not_used_again(
    open_store: Opener,
) -> None:
    store = open_store()
    add(store, observation())
    for hours in range(3):
        store.add_message(status_data(), NOW + timedelta(hours=hours))
    assert store.add_message(status_data(), NOW + timedelta(hours=25, minutes=30)) == 5
    assert [message.sequence for message in store.messages_after(0)] == [1, 4, 5]
    assert store.add_message(status_data(), NOW + timedelta(days=9)) == 6
    assert open_store().last_sequence() == 6
    assert [message.sequence for message in store.messages_after(0)] == [1, 6]


def test_the_published_number_is_stored_and_never_decreases(open_store: Opener) -> None:
    store = open_store()
    assert store.published_through() == 0
    for well in ("B02", "B03", "B04"):
        add(store, observation(well))
    store.mark_published(2)
    store.mark_published(1)
    assert store.published_through() == 2
    assert open_store().published_through() == 2


def test_services_that_share_a_database_have_their_own_numbers_messages_and_files(
    open_store: Opener,
) -> None:
    one, two = open_store("lab-1"), open_store("lab-2")
    refused = rejected("same/path.tif")
    assert one.add_rejected(refused, rejected_data(refused), NOW) == 1
    assert add(two, observation()) == 1
    assert add(two, observation("B03")) == 2
    one.mark_published(1)
    assert (one.last_sequence(), two.last_sequence()) == (1, 2)
    assert (one.published_through(), two.published_through()) == (1, 0)
    assert [message.topic.split(".")[2] for message in one.messages_after(0)] == ["rejected"]
    assert [listed.path for listed in two.rejected()] == []
    assert file_version("same/path.tif") not in set(all_ended_files(two))
    assert len(observed(one)) == 2


def test_two_threads_take_numbers_without_gap_or_double(open_store: Opener) -> None:
    store, together, taken = open_store(), Barrier(2), dict[str, list[int]]()

    def images() -> None:
        together.wait()
        taken["images"] = [
            add(store, observation(visit=f"day07-{number:02d}", seed=number))
            for number in range(30)
        ]

    def heartbeats() -> None:
        together.wait()
        taken["heartbeats"] = [store.add_message(status_data(), NOW) for _ in range(30)]

    threads = [Thread(target=images), Thread(target=heartbeats)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken["images"] + taken["heartbeats"]) == list(range(1, 61))
    assert taken["images"] == sorted(taken["images"])
    assert [message.sequence for message in store.messages_after(0)] == list(range(1, 61))


def test_messages_count_as_unpublished_until_they_are_marked(store: AnyStore) -> None:
    assert store.unpublished() == 0
    for well in ("B02", "B03", "B04"):
        add(store, observation(well))
    assert store.unpublished() == 3
    store.mark_published(2)
    assert store.unpublished() == 1


def test_a_test_of_writing_commits_and_changes_nothing(store: AnyStore, open_store: Opener) -> None:
    add(store, observation())
    store.mark_published(1)
    other = open_store()
    before = other.change_number()
    store.check_writable()
    assert (store.published_through(), store.last_sequence()) == (1, 1)
    assert before is None or other.change_number() != before
