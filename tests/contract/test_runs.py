"""Contract suite of the store about runs, the uses of one plate id, on SQLite and PostgreSQL."""

from dataclasses import replace
from datetime import UTC, timedelta

import pytest

from schemas.observation import Observation
from schemas.plate_map import PlateMap
from schemas.quality import Flag
from schemas.well_image import VisitKey
from tests.samples import (
    ENCODER_ID,
    NOW,
    PLATE,
    SEEDED_AT,
    assay,
    file_version,
    observation,
    plate_map,
    quality,
    ranking,
    ranking_data,
)
from tests.stored import (
    AnyStore,
    Opener,
    add,
    make_old_store,
    observed,
    old_embedding,
    old_observation,
    old_plate_map,
    same,
)

LATER = timedelta(days=30)
DAY = timedelta(days=1)
FIRST = plate_map()
SECOND = plate_map(seeded_at=SEEDED_AT + LATER, run=2)


def in_run(run: int, seed: int = 0, **changes: object) -> Observation:
    """Return an observation that arrived in a run; its time is of that run."""
    seen = observation(seed=seed)
    assert seen.taken_at is not None
    taken_at = seen.taken_at + LATER * (run - 1)
    return replace(seen, key=replace(seen.key, run=run), **{"taken_at": taken_at} | changes)


def runs_of(store: AnyStore) -> list[tuple[int, int]]:
    """Return the run and the version of every observation."""
    return [(each.key.run, each.version) for each in store.arrived(PLATE)]


def save(store: AnyStore, *maps: PlateMap) -> None:
    for each in maps:
        store.save_plate_map(each, NOW)


def test_a_map_keeps_its_run_and_each_run_its_newest_map(store: AnyStore) -> None:
    corrected = plate_map(readout_day=11)
    save(store, FIRST, corrected, SECOND)
    current = store.plate_map(PLATE)
    assert current is not None
    assert (current, current.run) == (SECOND, 2)
    assert store.plate_map(PLATE, run=1) == corrected
    assert store.plate_map(PLATE, FIRST.digest) == FIRST
    assert store.plate_map(PLATE, run=3) is None
    assert store.run_maps(PLATE) == [corrected, SECOND]
    assert store.run_maps("another plate") == []


def test_the_map_of_a_withdrawn_run_is_no_map_of_a_run(store: AnyStore) -> None:
    save(store, FIRST, SECOND, FIRST)
    assert store.run_maps(PLATE) == [FIRST]
    assert store.plate_map(PLATE) == FIRST


def test_the_same_visit_with_the_same_pixels_in_two_runs_is_two_observations(
    store: AnyStore,
) -> None:
    first, second = in_run(1), in_run(2)
    assert add(store, first) != add(store, second)
    assert runs_of(store) == [(1, 1), (2, 1)]
    assert store.version_of(second.key, second.digest) == 1
    assert store.version_of(replace(first.key, run=3), first.digest) is None
    assert store.next_version(first.key) == 2
    assert [each.key for each in observed(store)] == [first.key, second.key]


def test_a_new_run_leaves_the_images_of_the_run_before(store: AnyStore) -> None:
    save(store, FIRST)
    add(store, in_run(1))
    save(store, SECOND)
    assert runs_of(store) == [(1, 1)]


def test_images_from_after_the_seeding_that_came_before_the_map_leave_the_old_run(
    store: AnyStore,
) -> None:
    save(store, FIRST)
    add(store, in_run(1))
    add(store, in_run(1, seed=1, taken_at=SECOND.seeded_at + DAY))
    save(store, SECOND)
    assert runs_of(store) == [(0, 1), (1, 1)]


def test_images_of_a_withdrawn_run_belong_to_no_run(store: AnyStore) -> None:
    save(store, FIRST, SECOND)
    add(store, in_run(2))
    add(store, in_run(2, seed=1))
    add(store, in_run(0, seed=1))
    save(store, FIRST)
    # The pixels of the second image are stored outside the runs already, so it stays.
    assert runs_of(store) == [(0, 1), (0, 2), (2, 2)]


@pytest.mark.parametrize("taken_at", [SEEDED_AT + 6 * DAY, None])
def test_a_corrected_seeding_changes_the_days_that_follow_from_times(
    store: AnyStore, taken_at: object
) -> None:
    at = SEEDED_AT + 6 * DAY
    file = file_version(mtime_ns=int(at.timestamp() * 1e9))
    save(store, FIRST)
    add(store, in_run(1, taken_at=taken_at, files=(file,), day_from_time=True))
    save(store, plate_map(seeded_at=SEEDED_AT - 2 * DAY))
    [corrected] = observed(store)
    assert corrected.day == 9
    assert corrected.quality.flags == ()
    assert [each.day for each in store.arrived(PLATE)] == [9]


@pytest.mark.parametrize("day_from_time", [False, None])
def test_a_corrected_seeding_leaves_the_day_of_a_name_and_flags_what_disagrees(
    store: AnyStore,
    day_from_time: bool | None,  # noqa: FBT001 - a case
) -> None:
    given = in_run(1, day_from_time=day_from_time, quality=quality(flags=(Flag.BLURRED,)))
    save(store, FIRST)
    add(store, given)
    save(store, plate_map(seeded_at=SEEDED_AT - DAY))
    [flagged] = observed(store)
    assert flagged.day == 7
    assert flagged.quality.flags == (Flag.BLURRED, Flag.DAY_DISAGREES)
    save(store, FIRST)
    assert same(observed(store)[0], given)


def test_a_new_run_changes_no_day_of_the_run_before(store: AnyStore) -> None:
    save(store, FIRST)
    add(store, in_run(1, day_from_time=True))
    add(store, in_run(1, seed=1, day=37, taken_at=SECOND.seeded_at, day_from_time=True))
    save(store, SECOND)
    assert sorted((each.key.run, each.day) for each in store.arrived(PLATE)) == [(0, 1), (1, 7)]


def test_revisions_continue_over_runs(store: AnyStore) -> None:
    first, second = ranking(), ranking(revision=2, run=2, replaces=None)
    for each in (first, second):
        store.add_ranking(each, ranking_data(each))
    assert store.rankings(PLATE) == [first, second]


def test_an_assay_stays_with_its_run(store: AnyStore) -> None:
    old, new = assay(), assay(B02=90.0).model_copy(update={"run": 2})
    store.save_assay(old, NOW)
    store.save_assay(old.model_copy(update={"run": 2}), NOW)  # the file was not removed
    assert [(each, each.run) for each in store.assays()] == [(old, 1)]
    store.save_assay(new, NOW)
    assert [each.run for each in store.assays()] == [1, 2]
    kept = store.assay(PLATE, new.digest)
    assert kept is not None
    assert kept.run == 2


def test_each_run_is_an_earlier_plate_of_its_own(store: AnyStore) -> None:
    save(store, FIRST, SECOND)
    add(store, in_run(1, day=10))
    add(store, in_run(2, day=10))
    between = plate_map("between", seeded_at=SEEDED_AT + 5 * DAY)
    after = plate_map("after", seeded_at=SEEDED_AT + 2 * LATER)
    save(store, between, after)
    for of, runs in ((SECOND, [1]), (FIRST, []), (between, [1]), (after, [2, 1])):
        found = store.earlier_plates(of, 10, ENCODER_ID, 9)
        assert [(each.plate, each.run) for each in found] == [(PLATE, run) for run in runs]


def test_a_plate_is_of_the_specimens_of_all_its_runs(store: AnyStore) -> None:
    save(store, plate_map(specimen="PAT-07"))
    save(store, plate_map(specimen="PAT-08", seeded_at=SEEDED_AT + LATER, run=2))
    assert store.plates_of_specimen("PAT-07") == [PLATE]
    assert store.plates_of_specimen("PAT-08") == [PLATE]


def test_everything_in_a_store_from_before_runs_is_of_run_1(open_store: Opener, url: str) -> None:
    seen = observation()
    row = old_plate_map(FIRST) | {"dosed_on_day": 7, "seeded_at": FIRST.seeded_at.astimezone(UTC)}
    assay_row = {"plate": PLATE, "digest": assay().digest, "saved_at": NOW}
    make_old_store(
        url,
        "0006",
        plate_map=[row],
        assay=[assay_row | {"content": assay().model_dump(mode="json")}],
        observation=[old_observation(seen)],
        embedding=[old_embedding(seen)],
        picture=[{"observation_id": 1000, "jpeg": b"jpeg"}],
    )
    store = open_store()
    [kept] = observed(store)
    assert kept.key == VisitKey(PLATE, "B02", "day07", 1)
    expected = replace(
        seen, day_from_time=None, pixel_digest=seen.digest, file_scales=None, measured_by=None
    )
    assert same(kept, expected)
    assert store.pictures(store.imaged(PLATE, ENCODER_ID)) == {1000: b"jpeg"}
    assert store.run_maps(PLATE) == [FIRST]
    assert [each.run for each in store.assays()] == [1]
    add(store, replace(seen, key=replace(seen.key, run=2)))
    assert runs_of(store) == [(1, 1), (2, 1)]
