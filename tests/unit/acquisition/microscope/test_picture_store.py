from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from acquisition.microscope.picture_store import PictureStore
from acquisition.microscope.pictures import SIDE_PX, Picture

PICTURES = tuple(
    Picture(detail.astype(np.float32))
    for detail in np.random.default_rng(1).normal(0, 0.1, (2, SIDE_PX, SIDE_PX))
)


def test_the_day_before_is_the_last_one_with_pictures(tmp_path: Path) -> None:
    store = PictureStore(tmp_path, "P1", None)
    for day in (3, 5, 8):
        store.save(day, "B02", PICTURES)
    before, pictures = store.load_day_before(8)
    assert before == 5
    assert len(pictures["B02"]) == len(PICTURES)
    for read, written in zip(pictures["B02"], PICTURES, strict=True):
        assert np.allclose(read.detail, written.detail, atol=1e-3)
    assert store.load_day_before(3) == (0, {})


def test_only_the_day_and_two_days_before_it_are_kept(tmp_path: Path) -> None:
    store = PictureStore(tmp_path, "P1", None)
    for day in (1, 2, 5, 7):
        store.save(day, "B02", PICTURES)
    assert sorted(path.name for path in (tmp_path / "pictures" / "P1").iterdir()) == [
        "day02",
        "day05",
        "day07",
    ]


def test_pictures_of_an_earlier_use_of_the_plate_id_do_not_count_and_are_removed(
    tmp_path: Path,
) -> None:
    PictureStore(tmp_path, "P1", None).save(10, "B02", PICTURES)
    store = PictureStore(tmp_path, "P1", datetime.now(UTC) + timedelta(hours=1))
    assert store.load(10) == {}
    store.save(1, "B02", PICTURES)
    assert [path.name for path in (tmp_path / "pictures" / "P1").iterdir()] == ["day01"]


def test_a_damaged_file_is_left_out(tmp_path: Path) -> None:
    store = PictureStore(tmp_path, "P1", None)
    store.save(7, "B02", PICTURES)
    (tmp_path / "pictures" / "P1" / "day07" / "B03.npy").write_bytes(b"\x93NUMPY")
    np.save(tmp_path / "pictures" / "P1" / "day07" / "B04.npy", np.zeros((2, 2)))
    assert store.load(7).keys() == {"B02"}


def test_a_discarded_picture_is_not_read_on_a_later_day(tmp_path: Path) -> None:
    store = PictureStore(tmp_path, "P1", None)
    store.save(7, "B02", PICTURES)
    store.save(7, "B03", PICTURES)
    store.discard(7, "B02")
    store.discard(7, "B09")
    assert store.load_day_before(8)[1].keys() == {"B03"}
