"""Contract suite of the port of plate states, on SQLite and PostgreSQL."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from daemon.closed_plates import StoredClosedPlates
from schemas.calibration import CalibrationPlate
from schemas.closed_folder import ClosedFolder
from schemas.observation import NewMeasures
from schemas.plate_state import PlateState, StoredPlateState
from store.embedding_ledger import SqlEmbeddingLedger
from store.sql_store import SqlStore
from tests.samples import (
    ENCODER_ID,
    NOW,
    PLATE,
    assay,
    calibration_card,
    observation,
    plate_map,
    quality,
    ranking,
    ranking_data,
    rejected,
    rejected_data,
    well_image,
)
from tests.stored import Opener, add, make_old_store, old_plate_map

BASIS = "settings and version"
METHOD = "a later method"
CLOSED = StoredPlateState(PlateState.CLOSED, run=1, changes=0, basis=BASIS, at=NOW)


def close(store: SqlStore, plate: str = PLATE, **changes: object) -> None:
    """Store that a live plate is closed, with its present number of changes."""
    number = store.live_plates(BASIS)[plate]
    closed = replace(CLOSED, changes=number, **changes)  # type: ignore[arg-type] # mypy mixes the values
    store.save_plate_state(plate, closed)


@pytest.fixture
def closed(open_store: Opener) -> SqlStore:
    """Return a store with an image of a closed plate, and a closed plate of the same line."""
    store = open_store()
    for plate in (PLATE, "another"):
        store.save_plate_map(plate_map(plate), NOW)
    add(store, observation())
    close(store)
    close(store, "another")
    assert store.live_plates(BASIS) == {}
    assert store.closed_plates(BASIS) == {PLATE: 2, "another": 1}
    return store


def test_a_plate_without_a_state_is_live(open_store: Opener) -> None:
    store = open_store()
    add(store, observation("B02", plate="no map"))
    store.save_plate_map(plate_map(), NOW)
    assert store.live_plates(BASIS) == {PLATE: 1}
    assert store.closed_plates(BASIS) == {}


@pytest.mark.parametrize("state", [each for each in PlateState if each is not PlateState.CLOSED])
def test_a_plate_in_another_state_is_live(closed: SqlStore, state: PlateState) -> None:
    closed.save_plate_state(PLATE, replace(CLOSED, state=state, changes=2))
    assert closed.live_plates(BASIS) == {PLATE: 2}


def test_a_plate_that_was_closed_by_other_settings_or_another_version_is_live(
    closed: SqlStore,
) -> None:
    assert closed.live_plates("other settings") == {PLATE: 2, "another": 1}
    assert closed.closed_plates("other settings") == {}


@pytest.mark.usefixtures("closed")
def test_a_plate_that_another_service_closed_is_live(open_store: Opener) -> None:
    assert open_store("another service").live_plates(BASIS) == {PLATE: 2, "another": 1}


def test_a_change_while_a_plate_is_examined_keeps_it_live(closed: SqlStore) -> None:
    add(closed, observation(seed=1))
    examined = closed.live_plates(BASIS)[PLATE]
    add(closed, observation(seed=2))
    closed.save_plate_state(PLATE, replace(CLOSED, changes=examined))
    assert closed.live_plates(BASIS) == {PLATE: examined + 1}


def _of_calibration(store: SqlStore) -> None:
    learned_from = CalibrationPlate(
        plate=PLATE, assay_digest=assay().digest, map_digest=plate_map().digest, images=()
    )
    store.add_calibration(calibration_card(), [learned_from], NOW)


def _of_measures(store: SqlStore) -> None:
    [image] = store.images_to_measure(PLATE, METHOD)
    measured = NewMeasures(image.observation_id, quality(), {"area_um2": 7.0}, (), b"picture")
    store.replace_measures([measured], METHOD)


def _of_embedding(store: SqlStore) -> None:
    [image] = store.imaged(PLATE, ENCODER_ID)
    with closing(SqlEmbeddingLedger(store._database.url)) as ledger:
        ledger.add_embedding(image.observation_id, "another", np.zeros(3, np.float32))


CHANGES: dict[str, Callable[[SqlStore], object]] = {
    "a new image": lambda store: add(store, observation("B03", seed=1)),
    "a replaced image": lambda store: add(store, observation(seed=1)),
    "a corrected map": lambda store: store.save_plate_map(plate_map(readout_day=9), NOW),
    "an assay": lambda store: store.save_assay(assay(), NOW),
    "a ranking by a person": lambda store: store.add_ranking(ranking(), ranking_data(ranking())),
    "an excluded image": lambda store: store.exclude_images(
        PLATE, {observation().files[0].path: "of a wrong place"}
    ),
    "measures by another method": _of_measures,
    "an embedding by another encoder": _of_embedding,
    "a calibration": _of_calibration,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("service", ["spherorank", "another service"])
def test_each_change_makes_a_closed_plate_live_for_every_service(
    closed: SqlStore, open_store: Opener, change: Callable[[SqlStore], object], service: str
) -> None:
    reader = open_store(service)
    for plate in (PLATE, "another"):
        if plate in reader.live_plates(BASIS):
            close(reader, plate)
    change(closed)
    assert PLATE in reader.live_plates(BASIS)


def test_a_calibration_makes_every_plate_of_its_line_live_once(closed: SqlStore) -> None:
    closed.save_plate_map(plate_map("of another line", line="another"), NOW)
    close(closed, "of another line")
    _of_calibration(closed)
    assert set(closed.live_plates(BASIS)) == {PLATE, "another"}
    close(closed)
    close(closed, "another")
    _of_calibration(closed)
    assert closed.live_plates(BASIS) == {}


def test_what_changes_no_ranking_leaves_a_plate_closed(closed: SqlStore) -> None:
    closed.save_plate_map(plate_map(), NOW)
    closed.add_duplicate(well_image(), NOW)
    add(closed, observation())
    refused = rejected("P/x.tif")
    closed.add_rejected(refused, rejected_data(refused), NOW)
    assert closed.exclude_images(PLATE, {"another file": "why"}) == []
    assert closed.live_plates(BASIS) == {}


def test_the_plates_of_an_earlier_version_are_live(open_store: Opener, url: str) -> None:
    make_old_store(url, "0001", plate_map=[old_plate_map(plate_map())])
    store = open_store()
    assert store.live_plates(BASIS) == {PLATE: 0}
    close(store)
    assert store.closed_plates(BASIS) == {PLATE: 0}


def test_closed_folders_come_back_and_the_newest_of_a_path_replaces_the_others(
    open_store: Opener,
) -> None:
    store = open_store()
    first = ClosedFolder("drop/P1", "1" * 64, frozenset({"P1"}))
    newest = ClosedFolder("drop/P1", "2" * 64, frozenset({"P1", "P2"}))
    other = ClosedFolder("a µ", "3" * 64, frozenset())
    for folder in (first, other, newest):
        store.save_closed_folder(folder)
    assert open_store().closed_folders() == [other, newest]
    assert open_store("another service").closed_folders() == []


def test_a_plate_map_or_an_assay_that_is_not_stored_keeps_its_folder_from_resting(
    open_store: Opener,
) -> None:
    store = open_store()
    closed = StoredClosedPlates(store, BASIS)
    assert not closed.has_stored(plate_map(), None)
    store.save_plate_map(plate_map(), NOW)
    assert closed.has_stored(plate_map(), None)
    assert not closed.has_stored(plate_map(readout_day=9), None)
    assert not closed.has_stored(plate_map(), assay())
    store.save_assay(assay(), NOW)
    assert closed.has_stored(plate_map(), assay())
    store.save_assay(assay(B02=98.5), NOW)
    assert not closed.has_stored(plate_map(), assay())
