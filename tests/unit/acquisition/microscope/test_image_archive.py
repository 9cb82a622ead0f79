import errno
import os
import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from acquisition.drop_folder.naming import compile_pattern
from acquisition.microscope.archive_names import visit_file_name
from acquisition.microscope.image_archive import (
    bytes_needed,
    check_free_space,
    prepare_day_folder,
    save_visit,
)
from acquisition.microscope.ome_tiff import encode_ome_tiff
from acquisition.microscope.settings import ARCHIVE_PATTERN
from acquisition.ports import FrameFormat
from schemas.errors import MicroscopeError, OutputError
from tests.well_frames import TAKEN_AT, well_frames

pytestmark = pytest.mark.micromanager


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Return an archive with the folder of a plate's day 7."""
    prepare_day_folder(tmp_path, "PDAC-0042", 7)
    return tmp_path


@pytest.mark.parametrize("zone", ["+01:00", "-05:30", "+00:00"])
def test_the_path_of_a_visit_has_the_pattern_of_the_archive(archive: Path, zone: str) -> None:
    at = datetime.fromisoformat(f"2026-11-16T15:00:00.123456{zone}")
    visit = well_frames()
    frame = replace(visit.frames[0], taken_at=at)
    path = save_visit(archive, replace(visit, frames=(frame,), planned_z_um=()))
    fields = compile_pattern(ARCHIVE_PATTERN).parse(path.relative_to(archive).as_posix())
    assert (fields.plate, fields.day, fields.well) == ("PDAC-0042", 7, "B02")
    assert fields.taken_at == at.replace(microsecond=123_000)


def test_an_earlier_visit_is_not_overwritten_even_if_the_clock_of_the_camera_stopped(
    archive: Path,
) -> None:
    first, second = save_visit(archive, well_frames()), save_visit(archive, well_frames())
    assert first.name == visit_file_name("B02", TAKEN_AT) == "B02_20261116T150000.123+0100.ome.tif"
    assert second.name == "B02_20261116T150000.124+0100.ome.tif"
    assert sorted(archive.rglob("*.*")) == sorted([first, second])


def test_a_full_disk_leaves_no_file_behind(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"B02_.*No space left on device"):
        save_visit(archive, well_frames())
    assert list((archive / "PDAC-0042" / "day07").iterdir()) == []


def test_a_file_in_place_of_the_plate_s_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "PDAC-0042").write_text("")
    with pytest.raises(OutputError, match=r"Not a directory|File exists"):
        prepare_day_folder(tmp_path, "PDAC-0042", 7)


def test_nothing_is_written_below_the_mount_point_of_an_unmounted_share(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"day07: does not exist any more; expected .*mounted"):
        save_visit(tmp_path, well_frames())
    assert list(tmp_path.iterdir()) == []


def test_only_half_written_files_are_removed_from_the_day_s_folder(archive: Path) -> None:
    kept = save_visit(archive, well_frames())
    kept.with_name(f".{kept.name}.part").write_bytes(b"half")
    prepare_day_folder(archive, "PDAC-0042", 7)
    assert list(kept.parent.iterdir()) == [kept]


def test_frames_that_contradict_the_format_of_the_camera_are_not_saved(archive: Path) -> None:
    with pytest.raises(MicroscopeError, match=r"expected \(512, 512\)"):
        save_visit(archive, well_frames(format=FrameFormat(512, 512, 12, 1.36)))
    assert list(archive.rglob("*.tif")) == []


def test_the_bytes_needed_are_the_pixels_and_a_little_metadata() -> None:
    needed = bytes_needed(FrameFormat(2048, 2048, 12, 0.68), planes=3, wells=60)
    assert needed == pytest.approx(60 * 3 * 2048 * 2048 * 2, rel=0.01)
    visit = well_frames()
    assert len(encode_ome_tiff(visit)) < bytes_needed(visit.format, planes=3, wells=1)


def test_too_little_free_space_is_an_error_that_names_the_bytes(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    check_free_space(tmp_path / "not" / "there" / "yet", free // 4, free // 4)
    expected = rf"expected {2 * free}: {free} for the images and {free} that must stay free"
    with pytest.raises(OutputError, match=rf"bytes free; {expected}"):
        check_free_space(tmp_path, free, free)
