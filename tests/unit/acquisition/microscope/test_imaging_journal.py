from datetime import timedelta
from pathlib import Path

import pytest

from acquisition.microscope.imaging_journal import (
    INTERRUPTED,
    ImagingJournal,
    WellProgress,
    day_journal,
    day_journals,
    run_start,
)
from schemas.errors import OutputError
from tests.samples import NOW


def test_a_missing_journal_has_no_progress(tmp_path: Path) -> None:
    assert ImagingJournal(tmp_path / "journal" / "P-day07.jsonl").progress() == {}


def test_saved_and_failed_wells_are_read_back_by_another_process(tmp_path: Path) -> None:
    path = tmp_path / "journal" / "P-day07.jsonl"
    journal = ImagingJournal(path)
    journal.record_start("B02", NOW)
    journal.record_saved("B02", "P/day07/B02_1.ome.tif", NOW)
    journal.record_start("B03", NOW)
    journal.record_failure("B03", "XY: the stage does not move", NOW)
    assert ImagingJournal(path).progress() == {
        "B02": WellProgress(1, saved=True),
        "B03": WellProgress(1, saved=False, last_problem="XY: the stage does not move"),
    }


def test_an_attempt_without_an_outcome_was_interrupted(tmp_path: Path) -> None:
    journal = ImagingJournal(tmp_path / "P-day07.jsonl")
    journal.record_start("B02", NOW)
    assert journal.progress() == {"B02": WellProgress(1, saved=False, last_problem=INTERRUPTED)}
    journal.record_start("B02", NOW)
    journal.record_saved("B02", "file", NOW)
    assert journal.progress() == {"B02": WellProgress(2, saved=True)}


def test_a_failed_second_attempt_does_not_undo_a_saved_image(tmp_path: Path) -> None:
    journal = ImagingJournal(tmp_path / "P-day07.jsonl")
    journal.record_start("B02", NOW)
    journal.record_saved("B02", "file", NOW)
    journal.record_start("B02", NOW)
    journal.record_failure("B02", "no focus", NOW)
    assert journal.progress() == {"B02": WellProgress(2, saved=True, last_problem="no focus")}


def test_a_line_truncated_at_any_byte_is_ignored_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "P-day07.jsonl"
    journal = ImagingJournal(path)
    journal.record_start("B02", NOW)
    journal.record_saved("B02", "file", NOW)
    whole = path.read_bytes()
    journal.record_start("C03", NOW)
    last = path.read_bytes().removeprefix(whole)
    for cut in range(len(last) - 1):  # all but the line end: then nothing is missing
        path.write_bytes(whole + last[:cut])
        assert journal.progress() == {"B02": WellProgress(1, saved=True)}
        journal.record_start("D04", NOW)
        assert journal.progress() == {
            "B02": WellProgress(1, saved=True),
            "D04": WellProgress(1, saved=False, last_problem=INTERRUPTED),
        }


def test_a_journal_that_cannot_be_written_or_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "P-day07.jsonl").mkdir()
    journal = ImagingJournal(tmp_path / "P-day07.jsonl")
    with pytest.raises(OutputError, match="cannot be written"):
        journal.record_start("B02", NOW)
    with pytest.raises(OutputError, match="cannot be read"):
        journal.progress()


def test_progress_since_a_time_ignores_earlier_entries(tmp_path: Path) -> None:
    journal = ImagingJournal(tmp_path / "P-day07.jsonl")
    journal.record_start("B02", NOW)
    journal.record_saved("B02", "file", NOW)
    later = NOW + timedelta(minutes=5)
    assert journal.progress(since=later) == {}
    journal.record_start("B02", later)
    assert journal.progress(since=later) == {
        "B02": WellProgress(1, saved=False, last_problem=INTERRUPTED)
    }


def test_only_images_saved_before_a_repetition_of_their_well_are_wrong(tmp_path: Path) -> None:
    journal = ImagingJournal(tmp_path / "P-day07.jsonl")
    for well, file, channel in (
        ("B02", "B02_1", None),
        ("B02", "B02_1_stain", "stain"),
        ("B03", "B03_1", None),
        ("B02", "B02_2", None),
    ):
        journal.record_saved(well, file, NOW, channel)
    journal.record_repeat("B02", "B03 shows the picture of B02", NOW)
    journal.record_saved("B02", "B02_3", NOW)
    reason = "B03 shows the picture of B02"
    assert journal.wrong_files() == {"B02_1": reason, "B02_2": reason}
    journal.record_repeat("B03", "again", NOW)
    assert journal.wrong_files() == {"B02_1": reason, "B02_2": reason, "B03_1": "again"}


def test_the_journals_of_a_plate_are_not_those_of_a_plate_with_a_longer_name(
    tmp_path: Path,
) -> None:
    for plate in ("P1", "P1-day", "P1-day07-b"):
        day_journal(tmp_path, plate, 7).record_start("B02", NOW)
    assert [path.name for path in day_journals(tmp_path, "P1")] == ["P1-day07.jsonl"]


def test_only_entries_since_the_seeding_are_about_a_plate_unless_it_is_in_the_future() -> None:
    assert run_start(NOW, NOW) == NOW
    assert run_start(NOW + timedelta(seconds=1), NOW) is None
