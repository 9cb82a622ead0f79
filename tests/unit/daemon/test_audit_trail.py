"""Notes of a ranking on the decisions of persons."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daemon.audit_trail import final_note, kept_final_notes, map_change_notes
from store.sql_store import SqlStore
from tests.samples import PLATE, plate_map, ranking

AT = datetime(2026, 11, 20, 9, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    store = SqlStore(f"sqlite:///{tmp_path}/store.sqlite")
    yield store
    store.close()


def test_each_change_of_a_plate_map_is_a_note_with_its_time(store: SqlStore) -> None:
    versions = [plate_map(), plate_map(readout_day=11), plate_map(readout_day=11, um_per_px=2.0)]
    for hours, version in enumerate(versions):
        store.save_plate_map(version, AT + timedelta(hours=hours))
    assert map_change_notes(store, versions[0]) == ()
    notes = map_change_notes(store, versions[2])
    assert len(notes) == 2
    assert notes[0].startswith("The plate map was changed at 2026-11-20T10:00+00:00: readout_day")
    assert "um_per_px from" in notes[1]
    assert map_change_notes(store, versions[1]) == notes[:1]


def test_a_map_that_was_stored_twice_without_a_change_has_no_note(store: SqlStore) -> None:
    store.save_plate_map(plate_map(), AT)
    store.save_plate_map(plate_map(), AT + timedelta(hours=1))
    assert map_change_notes(store, plate_map()) == ()
    assert len(store.map_versions(PLATE, 1)) == 1


def test_the_map_of_another_run_is_no_change(store: SqlStore) -> None:
    later = plate_map(seeded_at=plate_map().seeded_at + timedelta(days=60), run=2)
    store.save_plate_map(plate_map(), AT)
    store.save_plate_map(later, AT + timedelta(days=60))
    assert map_change_notes(store, later) == ()


def test_a_ranking_that_a_person_made_final_keeps_the_note_in_later_revisions() -> None:
    note = final_note(AT)
    assert "made final by a person at 2026-11-20T09:00+00:00" in note
    assert kept_final_notes(ranking(notes=("another note", note))) == (note,)
    assert kept_final_notes(None) == ()
