"""The departures of a rolling view that keeps earlier images in memory are those of a new one."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from daemon.rolling_view import PLATES_KEPT, RollingView
from inference.departure.departure_settings import DepartureSettings
from inference.tissue.ranked_measures import RANKED_MEASURES
from schemas.messages import DayDeparture
from schemas.observation import NewMeasures, Observation
from schemas.plate_map import Group, PlateMap, WellEntry
from store.embedding_ledger import SqlEmbeddingLedger
from store.sql_store import SqlStore
from tests.samples import ENCODER_ID, NOW, PLATE, observation, plate_map, quality
from tests.stored import add

WELLS = tuple(f"B{column:02d}" for column in range(2, 12))
TREATED = WELLS[-2:]
NEWEST = WELLS[-1]
LATE = "B05"
DAYS = (6, 7, 8, 9)
METHOD = "another method"

Departures = list[tuple[DayDeparture, ...]]


def map_of(untreated: tuple[str, ...] = WELLS[:-2], plate: str = PLATE) -> PlateMap:
    entries = [
        WellEntry(well=well, group=Group.UNTREATED)
        if well in untreated
        else WellEntry(well=well, group=Group.SCREENING, treatment="gemcitabine:1 uM")
        for well in WELLS
    ]
    return plate_map(plate, entries=tuple(entries))


def image_of(well: str, day: int, seed: int = 0, plate: str = PLATE) -> Observation:
    """Return an observation with random measures, which depend on well, day and seed."""
    number = 1000 * seed + 10 * WELLS.index(well) + day
    values = np.random.default_rng(number).uniform(0.2, 0.8, len(RANKED_MEASURES))
    measures = dict(zip(RANKED_MEASURES, map(float, values), strict=True))
    return observation(well, day, plate=plate, seed=number, measures=measures)


def view_of(store: SqlStore) -> RollingView:
    return RollingView(store, "both", 0.5, DepartureSettings())


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with the images of ten wells on four days, and of eight on the last one."""
    file = tmp_path_factory.mktemp("filled") / "store.sqlite"
    with closing(SqlStore(f"sqlite:///{file}")) as store:
        store.save_plate_map(map_of(), NOW)
        for day in DAYS:
            for well in WELLS:
                if day != DAYS[-1] or well not in (NEWEST, LATE):
                    add(store, image_of(well, day))
    return file


@pytest.fixture
def store(filled: Path, tmp_path: Path) -> Iterator[SqlStore]:
    """Yield a copy of the filled store."""
    shutil.copyfile(filled, tmp_path / "store.sqlite")
    with closing(SqlStore(f"sqlite:///{tmp_path}/store.sqlite")) as store:
        yield store


def _measure_again(store: SqlStore) -> None:
    measures = dict.fromkeys(RANKED_MEASURES, 0.1)
    for image in store.images_to_measure(PLATE, METHOD):
        other = {
            name: value + 0.01 * (image.observation_id % 7) for name, value in measures.items()
        }
        measured = NewMeasures(image.observation_id, quality(), other, (), b"picture")
        store.replace_measures([measured], METHOD)


def _embed_another_crop(store: SqlStore) -> None:
    with closing(SqlEmbeddingLedger(store._database.url)) as ledger:
        for number, image in enumerate(store.imaged(PLATE, ENCODER_ID)):
            vector = np.random.default_rng(number).standard_normal(8).astype(np.float32)
            ledger.add_embedding(image.observation_id, ENCODER_ID, vector, "500 um")


CHANGES: dict[str, Callable[[SqlStore], object]] = {
    "a late image of the same day": lambda store: add(store, image_of(LATE, DAYS[-1])),
    "a replaced image of the same day": lambda store: add(store, image_of("B03", 9, seed=1)),
    "a replaced image of an earlier day": lambda store: add(store, image_of("B03", 8, seed=1)),
    "a replaced image of the dosing day": lambda store: add(store, image_of("B03", 7, seed=1)),
    "an excluded image": lambda store: store.exclude_images(
        PLATE, {image_of("B04", 9).files[0].path: "of a wrong place"}
    ),
    "an excluded image of the dosing day": lambda store: store.exclude_images(
        PLATE, {image_of("B04", 7).files[0].path: "of a wrong place"}
    ),
    "measures by another method": _measure_again,
    "embeddings of another crop": _embed_another_crop,
}


def departures(
    view: RollingView, newest: Observation | None = None, of_map: PlateMap | None = None
) -> Departures:
    return view.departures([newest or image_of(NEWEST, DAYS[-1])], of_map or map_of())


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_departures_after_a_change_are_those_of_a_view_without_memory(
    store: SqlStore, change: Callable[[SqlStore], object]
) -> None:
    view = view_of(store)
    before = departures(view)
    change(store)
    after = departures(view)
    assert after == departures(view_of(store))
    assert after != before
    assert all(each.departure is not None for each in before[0])


def test_departures_after_changed_groups_are_those_of_a_view_without_memory(
    store: SqlStore,
) -> None:
    view = view_of(store)
    before = departures(view)
    corrected = map_of(untreated=WELLS[1:-1])
    after = departures(view, of_map=corrected)
    assert after == departures(view_of(store), of_map=corrected)
    assert after != before


def test_another_image_of_the_newest_well_has_other_departures(store: SqlStore) -> None:
    view = view_of(store)
    first = departures(view)
    other = image_of(NEWEST, DAYS[-1], seed=2)
    assert departures(view, other) == departures(view_of(store), other) != first
    assert departures(view) == first


def test_the_departures_of_images_that_are_stored_together_are_those_of_all_of_them(
    store: SqlStore,
) -> None:
    replaced = [image_of(well, DAYS[-1], seed=3) for well in TREATED]
    together = view_of(store).departures(replaced, map_of())
    for each in replaced:
        add(store, each)
    again = [view_of(store).departures([each], map_of()) for each in replaced]
    assert together == [of_image for [of_image] in again]
    assert [each.day for each in together[0]] == [8, 9]


def test_a_plate_that_left_the_memory_has_the_same_departures(store: SqlStore) -> None:
    view = view_of(store)
    first = departures(view)
    for number in range(PLATES_KEPT):
        plate = f"other-{number}"
        view.departures([image_of(NEWEST, DAYS[-1], plate=plate)], map_of(plate=plate))
    assert PLATE not in view._plates
    assert departures(view) == first
