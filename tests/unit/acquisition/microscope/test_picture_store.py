from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from acquisition.microscope.picture_store import PictureStore
from acquisition.microscope.pictures import SIDE_PX, Picture

PICTURE = Picture(np.random.default_rng(1).normal(0, 0.1, (SIDE_PX, SIDE_PX)).astype(np.float32))


def test_the_day_before_is_the_last_one_with_pictures(tmp_path: Path) -> None:
    store = PictureStore(tmp_path, "P1", None)
    for day in (3, 5, 8):
        store.save(day, "B02", PICTURE)
    before, pictures = store.load_day_before(8)
    assert before == 5
    assert np.allclose(pictures["B02"].detail, PICTURE.detail, atol=1e-3)
    assert store.load_day_before(3) == (0, {})


def test_only_the_day_and_two_days_before_it_are_kept(tmp_path: Path) -> None:
    store = PictureStore(tmp_path, "P1", None)
    for day in (1, 2, 5, 7):
        store.save(day, "B02", PICTURE)
    assert sorted(path.name for path in (tmp_path / "pictures" / "P1").iterdir()) == [
        "day02",
        "day05",
        "day07",
    ]


def test_pictures_of_an_earlier_use_of_the_plate_id_do_not_count_and_are_removed(
    tmp_path: Path,
) -> None:
    PictureStore(tmp_path, "P1", None).save(10, "B02", PICTURE)
    store = PictureStore(tmp_path, "P1", datetime.now(UTC) + timedelta(hours=1))
    assert store.load(10) == {}
    store.save(1, "B02", PICTURE)
    assert [path.name for path in (tmp_path / "pictures" / "P1").iterdir()] == ["day01"]


def test_a_damaged_file_is_left_out(tmp_path: Path) -> None:
    store = PictureStore(tmp_path, "P1", None)
    store.save(7, "B02", PICTURE)
    (tmp_path / "pictures" / "P1" / "day07" / "B03.npy").write_bytes(b"\x93NUMPY")
    np.save(tmp_path / "pictures" / "P1" / "day07" / "B04.npy", np.zeros((2, 2)))
    assert store.load(7).keys() == {"B02"}
