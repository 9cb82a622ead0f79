"""Contract suite of the port of assays and calibrations, on SQLite and PostgreSQL."""

from datetime import timedelta

from schemas.calibration import CalibrationPlate
from tests.samples import (
    NOW,
    PLATE,
    assay,
    calibration_card,
    plate_map,
)
from tests.stored import AnyStore, Opener, execute, make_old_store, old_plate_map


def test_the_newest_assay_of_each_plate_is_kept_and_earlier_ones_are_found_by_their_digest(
    store: AnyStore,
) -> None:
    assert store.assays() == []
    first, corrected, other = assay(), assay(B02=98.5), assay("a plate")
    for content in (first, other, corrected, corrected):
        store.save_assay(content, NOW)
    assert store.assays() == [corrected, other]
    assert store.assay(PLATE, first.digest) == first
    assert store.assay(PLATE, corrected.digest) == corrected
    assert store.assay("a plate", first.digest) is None
    store.save_assay(first, NOW)
    assert store.assays() == [first, other]


def test_an_equal_assay_changes_nothing(open_store: Opener, url: str) -> None:
    store = open_store()
    store.save_assay(assay(), NOW)
    store.save_assay(assay(), NOW + timedelta(hours=1))
    assert execute(url, "SELECT count(*) FROM assay") == 1


def test_a_calibration_comes_back_with_its_card_and_its_plates(
    store: AnyStore,
) -> None:
    learned_from = [
        CalibrationPlate(
            plate=PLATE,
            assay_digest=assay().digest,
            map_digest=plate_map().digest,
            images=(("B02", "day07", "1" * 64),),
        )
    ]
    card = calibration_card(left_out_percent=(1 / 3, 1e-17), left_out_error=(-0.1, 0.2))
    assert store.calibration(card.digest) is None
    store.add_calibration(card, learned_from, NOW)
    assert store.calibration(card.digest) == (card, learned_from)
    assert store.calibration("0" * 64) is None


def test_the_first_card_of_a_digest_stays(store: AnyStore) -> None:
    store.add_calibration(calibration_card(), [], NOW)
    store.add_calibration(calibration_card(spearman=0.1), [], NOW)
    kept = store.calibration(calibration_card().digest)
    assert kept is not None
    assert kept[0] == calibration_card()


def test_a_store_from_before_assays_has_none_and_takes_them(open_store: Opener, url: str) -> None:
    make_old_store(url, "0003", plate_map=[old_plate_map(plate_map())])
    again = open_store()
    assert again.assays() == []
    again.save_assay(assay(), NOW)
    assert again.assays() == [assay()]
    assert again.plate_map(PLATE) == plate_map()
