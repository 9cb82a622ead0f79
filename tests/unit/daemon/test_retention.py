"""Deletion of old data: what is deleted, who has to have acknowledged it, and in which steps."""

import itertools
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from daemon.messaging.replies import Replies
from daemon.messaging.status_snapshot import StatusSnapshot
from daemon.retention import Batch, DailyPruning, Kind, Retention
from schemas.requests import ReplayReply, ReplayRequest, StatusDetails
from schemas.well_image import FileVersion
from store.database import Database
from store.maintenance.check import find_problems
from store.sql_store import SqlStore
from tests.samples import (
    NOW,
    PLATE,
    observation,
    observation_data,
    plate_map,
    ranking,
    ranking_data,
    status_data,
)
from tests.stored import close_plate

OLD = NOW - timedelta(days=100)
AGE = timedelta(days=30)
IMAGES = 5


@dataclass
class Clock:
    """The time of the service, which the test sets."""

    time: datetime = NOW

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    """Yield a store with a closed plate of five images, whose files are in ``archive``."""
    archive = tmp_path / "archive"
    archive.mkdir()
    with closing(SqlStore(f"sqlite:///{tmp_path}/store.sqlite")) as opened:
        opened.save_plate_map(plate_map(), OLD)
        for number in range(IMAGES):
            path = archive / f"{number}.tif"
            path.write_bytes(b"pixels")
            image = observation(
                visit=f"day07-{number}",
                seed=number,
                received_at=OLD,
                files=(FileVersion.of(path.name, path.stat()),),
            )
            opened.add_observation(image, observation_data(image), b"\xff\xd8")
        final = ranking(created_at=OLD)
        opened.add_ranking(final, ranking_data(final))
        close_plate(opened, PLATE, OLD)
        opened.mark_published(opened.last_sequence())
        yield opened


@pytest.fixture
def retention(store: SqlStore, tmp_path: Path) -> Retention:
    return Retention(
        store,
        messages=AGE,
        pictures=AGE,
        images=AGE,
        must_ack=(),
        folder=tmp_path / "archive",
        now=Clock(),
    )


def numbers(retention: Retention, *, dry_run: bool) -> dict[Kind, int]:
    """Return the number of rows and files of each kind of all batches."""
    batches = list(retention.batches(dry_run=dry_run))
    return {kind: sum(each.number for each in batches if each.kind is kind) for kind in Kind}


def sequences(store: SqlStore) -> list[int]:
    return [each.sequence for each in store.messages_after(0)]


def test_a_dry_run_deletes_nothing_and_counts_as_the_deletion_does(
    retention: Retention, store: SqlStore, tmp_path: Path
) -> None:
    planned = numbers(retention, dry_run=True)
    assert sequences(store) == [1, 2, 3, 4, 5, 6]
    assert len(list((tmp_path / "archive").iterdir())) == IMAGES
    assert numbers(retention, dry_run=False) == planned
    assert planned == {Kind.MESSAGES: 4, Kind.PICTURES: 5, Kind.IMAGES: 5}
    assert sequences(store) == [5, 6]  # the last observation, and the final ranking
    assert list((tmp_path / "archive").iterdir()) == []
    assert store.pictures(store.arrived(PLATE)) == {}
    assert sum(numbers(retention, dry_run=False).values()) == 0


def test_all_inputs_and_results_of_rankings_are_kept(
    retention: Retention, store: SqlStore, tmp_path: Path
) -> None:
    before = (store.arrived(PLATE), store.rankings(PLATE), store.plate_map(PLATE))
    assert sum(numbers(retention, dry_run=False).values()) > 0
    assert (store.arrived(PLATE), store.rankings(PLATE), store.plate_map(PLATE)) == before
    with closing(Database(f"sqlite:///{tmp_path}/store.sqlite", timeout_s=5)) as database:
        assert list(find_problems(database)) == []


def test_data_without_an_age_are_kept(retention: Retention) -> None:
    nothing = replace(retention, messages=None, pictures=None, images=None)
    assert not nothing.is_set
    assert list(nothing.batches(dry_run=False)) == []
    assert numbers(replace(nothing, pictures=AGE), dry_run=False) == {
        Kind.MESSAGES: 0,
        Kind.PICTURES: 5,
        Kind.IMAGES: 0,
    }


def test_no_message_is_deleted_that_a_required_subscriber_has_not_acknowledged(
    retention: Retention, store: SqlStore
) -> None:
    required = replace(retention, must_ack=("lims", "archive"))
    store.acknowledge("lims", 6, NOW)
    assert numbers(required, dry_run=False)[Kind.MESSAGES] == 0
    store.acknowledge("archive", 2, NOW)
    assert numbers(required, dry_run=False)[Kind.MESSAGES] == 2
    assert sequences(store) == [3, 4, 5, 6]


def test_a_message_that_is_not_published_is_kept(retention: Retention, tmp_path: Path) -> None:
    with closing(SqlStore(f"sqlite:///{tmp_path}/other.sqlite")) as unpublished:
        unpublished.save_plate_map(plate_map(), OLD)
        for number in range(2):
            image = observation(visit=f"day07-{number}", seed=number, received_at=OLD)
            unpublished.add_observation(image, observation_data(image))
        final = ranking(created_at=OLD)
        unpublished.add_ranking(final, ranking_data(final))
        close_plate(unpublished, PLATE, OLD)
        assert numbers(replace(retention, store=unpublished), dry_run=True)[Kind.MESSAGES] == 0
        unpublished.mark_published(3)
        assert numbers(replace(retention, store=unpublished), dry_run=True)[Kind.MESSAGES] == 1


def test_a_changed_file_and_a_link_are_kept(
    retention: Retention, store: SqlStore, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    (archive / "0.tif").write_bytes(b"other pixels")
    (archive / "1.tif").rename(tmp_path / "elsewhere.tif")
    (archive / "1.tif").symlink_to(tmp_path / "elsewhere.tif")
    assert numbers(retention, dry_run=False)[Kind.IMAGES] == 3
    assert {path.name for path in archive.iterdir()} == {"0.tif", "1.tif"}
    assert store.plates_with_files(NOW) == []


def test_a_replay_from_before_the_deleted_messages_names_the_gap(
    retention: Retention, store: SqlStore
) -> None:
    replies = Replies(store, (), lambda: NOW)
    snapshot = StatusSnapshot(status=status_data(), details=StatusDetails(), loop_age_s=0.0)

    def replay(after: int) -> ReplayReply:
        request = ReplayRequest(after=after).model_dump_json().encode()
        return ReplayReply.model_validate_json(replies.reply_to(request, None, snapshot))

    assert replay(0).deleted_through == 0
    assert numbers(retention, dry_run=False)[Kind.MESSAGES] == 4
    reply = replay(1)
    assert (reply.deleted_through, [each.sequence for each in reply.messages]) == (4, [5, 6])


def test_an_interrupted_deletion_is_finished_by_the_next_one(
    retention: Retention, store: SqlStore
) -> None:
    first = next(iter(retention.batches(dry_run=False)))
    assert first == Batch(Kind.MESSAGES, PLATE, 4)
    assert numbers(retention, dry_run=False) == {
        Kind.MESSAGES: 0,
        Kind.PICTURES: 5,
        Kind.IMAGES: 5,
    }
    assert store.deleted_through() == 4


def test_one_batch_has_a_limited_number_of_rows_or_files(retention: Retention) -> None:
    found = [each.number for each in replace(retention, batch=2).batches(dry_run=False)]
    assert [each for each in found if each] == [2, 2, 2, 2, 1, 2, 2, 1]


def test_the_service_deletes_once_a_day_and_one_batch_at_a_time(
    retention: Retention, store: SqlStore
) -> None:
    clock = Clock()
    # Each reading of this clock is the end of a step.
    pruning = DailyPruning(replace(retention, now=clock), clock=itertools.count(step=0.15).__next__)
    pruning.step()
    assert sequences(store) == [5, 6]
    assert len(store.old_pictures(PLATE, NOW)) == IMAGES
    while store.plates_with_files(NOW):
        pruning.step()
    pruning.step()
    image = observation(visit="day07-late", seed=99, received_at=OLD)
    store.add_observation(image, observation_data(image), b"\xff\xd8")
    close_plate(store, PLATE, OLD)
    clock.time = NOW + timedelta(hours=23)
    pruning.step()
    assert len(store.old_pictures(PLATE, NOW)) == 1
    clock.time = NOW + timedelta(hours=25)
    for _ in range(10):
        pruning.step()
    assert store.old_pictures(PLATE, NOW) == []


def test_a_file_that_cannot_be_deleted_is_tried_again_a_day_later(
    retention: Retention, store: SqlStore, tmp_path: Path
) -> None:
    clock = Clock()
    pruning = DailyPruning(
        replace(retention, now=clock, folder=tmp_path / "store.sqlite")  # a file, not a folder
    )
    pruning.step()
    assert store.plates_with_files(NOW) == [PLATE]
    pruning.retention = replace(retention, now=clock)
    clock.time = NOW + timedelta(hours=25)
    pruning.step()
    assert store.plates_with_files(NOW) == []


def test_a_store_that_fails_is_tried_again_an_hour_later(
    retention: Retention, store: SqlStore, tmp_path: Path
) -> None:
    clock = Clock()
    pruning = DailyPruning(replace(retention, now=clock))
    file = tmp_path / "store.sqlite"
    file.rename(tmp_path / "moved.sqlite")
    pruning.step()
    (tmp_path / "moved.sqlite").rename(file)
    clock.time = NOW + timedelta(minutes=59)
    pruning.step()
    assert len(sequences(store)) == IMAGES + 1
    clock.time = NOW + timedelta(minutes=61)
    pruning.step()
    assert sequences(store) == [5, 6]
