"""Contract suite of :class:`store.retention_ports.RetentionStore` and its part for saved images."""

from datetime import datetime, timedelta

import pytest

from schemas.messages import AlertData, AlertKind
from store.sql_store import SqlStore
from tests.samples import (
    NOW,
    PLATE,
    assay,
    plate_map,
    ranking,
    ranking_data,
    rejected,
    rejected_data,
    status_data,
)
from tests.stored import Opener, add_image, close_plate

OLD = NOW - timedelta(days=100)
SINCE = NOW - timedelta(days=30)
ALL = 1_000_000  # a number that no message has


def add_ranking(store: SqlStore, at: datetime, plate: str = PLATE, **changes: object) -> int:
    """Store a final ranking of a plate, and return the number of its message."""
    made = ranking(plate, created_at=at, **changes)
    store.add_ranking(made, ranking_data(made))
    return store.last_sequence()


@pytest.fixture
def opened(open_store: Opener) -> SqlStore:
    """Return a store with a plate that was closed 100 days ago: images 1 to 3, and ranking 4."""
    store = open_store()
    store.save_plate_map(plate_map(), OLD)
    for well in ("B02", "B03", "B04"):
        add_image(store, well, OLD)
    add_ranking(store, OLD)
    close_plate(store, PLATE, OLD)
    return store


def test_a_plate_is_closed_since_its_newest_ranking(opened: SqlStore) -> None:
    assert opened.closed_before(SINCE) == [PLATE]
    assert opened.closed_before(OLD) == []
    add_ranking(opened, NOW, revision=2)
    close_plate(opened, PLATE)
    assert opened.closed_before(SINCE) == []


def test_a_plate_with_a_change_since_it_was_closed_is_not_closed(opened: SqlStore) -> None:
    add_image(opened, "B05", NOW)
    assert opened.closed_before(SINCE) == []


def test_a_plate_without_a_state_is_not_closed(opened: SqlStore) -> None:
    opened.save_plate_map(plate_map("P2"), OLD)
    add_ranking(opened, OLD, "P2")
    assert opened.closed_before(SINCE) == [PLATE]


def test_a_plate_whose_topics_are_those_of_a_live_plate_is_left_out(opened: SqlStore) -> None:
    opened.save_plate_map(plate_map("P 2"), OLD)
    add_ranking(opened, OLD, "P 2")
    close_plate(opened, "P 2")
    assert opened.closed_before(SINCE) == ["P 2", PLATE]
    add_image(opened, "B02", OLD, "P_2")
    assert opened.closed_before(SINCE) == [PLATE]


def test_pictures_of_images_that_arrived_later_are_kept(opened: SqlStore) -> None:
    add_image(opened, "B05", NOW)
    assert opened.old_pictures(PLATE, SINCE) == [1, 2, 3]
    assert opened.old_pictures(PLATE, SINCE, limit=2) == [1, 2]
    opened.delete_pictures([1, 2])
    assert opened.old_pictures(PLATE, SINCE) == [3]
    assert sorted(opened.pictures(opened.arrived(PLATE))) == [3, 4]
    assert len(opened.arrived(PLATE)) == 4


def test_messages_about_images_are_old_except_the_last_of_each_topic(opened: SqlStore) -> None:
    for path in ("a.tif", "b.tif"):
        refused = rejected(path)
        opened.add_rejected(refused, rejected_data(refused), OLD)  # messages 5 and 6
    assert opened.old_messages(PLATE, SINCE, ALL) == [1, 2, 5]
    assert opened.old_messages(PLATE, SINCE, ALL, limit=1) == [1]
    assert opened.old_messages(PLATE, SINCE, through=1) == [1]
    assert opened.old_messages(PLATE, OLD, ALL) == []


def test_alerts_are_old_unless_a_live_plate_or_the_last_alert(opened: SqlStore) -> None:
    numbers = [
        opened.add_message(AlertData(kind=AlertKind.DISK, plate=plate, message="text"), OLD)
        for plate in (None, PLATE, "P2", None)
    ]
    assert opened.old_alerts({PLATE}, SINCE, ALL) == numbers[:2]
    assert opened.old_alerts(set(), SINCE, ALL) == numbers[:1]
    assert opened.old_alerts({PLATE}, SINCE, ALL, limit=1) == numbers[:1]
    assert opened.old_alerts({PLATE}, SINCE, through=0) == []


def test_a_deleted_number_is_recorded_and_never_used_again(opened: SqlStore) -> None:
    assert opened.deleted_through() == 0
    opened.delete_messages([1, 3])
    opened.delete_messages([2])
    assert [each.sequence for each in opened.messages_after(0)] == [4]
    assert opened.deleted_through() == 3
    opened.delete_messages([4])
    assert opened.add_message(status_data(), NOW) == 5


def test_messages_of_another_service_are_kept(opened: SqlStore, open_store: Opener) -> None:
    other = open_store(service="other")
    add_image(other, "C02", OLD)
    add_image(other, "C03", OLD)
    opened.delete_messages([1, 2])
    assert [each.sequence for each in other.messages_after(0)] == [1, 2]
    assert (other.deleted_through(), other.closed_before(SINCE)) == (0, [])


def test_files_are_named_once_for_each_closing(opened: SqlStore) -> None:
    assert opened.plates_with_files(SINCE) == [PLATE]
    assert [file.path for file in opened.image_files(PLATE)] == [
        f"{PLATE}/{well}.tif" for well in ("B02", "B03", "B04")
    ]
    opened.note_files_deleted(PLATE, NOW)
    assert opened.plates_with_files(SINCE) == []
    close_plate(opened, PLATE, NOW + timedelta(days=1))
    assert opened.plates_with_files(SINCE) == [PLATE]


def test_files_of_a_plate_with_an_assay_are_never_named(opened: SqlStore) -> None:
    opened.save_assay(assay(), OLD)
    close_plate(opened, PLATE)
    assert opened.closed_before(SINCE) == [PLATE]
    assert opened.plates_with_files(SINCE) == []
