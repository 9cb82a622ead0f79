from datetime import timedelta
from pathlib import Path

import pytest

from acquisition.microscope.imaging_journal import INTERRUPTED, Journal, WellState
from schemas.errors import OutputError
from tests.samples import NOW


def test_a_day_without_a_journal_has_not_begun(tmp_path: Path) -> None:
    assert Journal(tmp_path / "journal" / "P-day07.jsonl").state() == {}


def test_saved_and_failed_wells_are_told_apart_by_whoever_reads_it_next(tmp_path: Path) -> None:
    path = tmp_path / "journal" / "P-day07.jsonl"
    journal = Journal(path)
    journal.started("B02", NOW)
    journal.saved("B02", "P/day07/B02_1.ome.tif", NOW)
    journal.started("B03", NOW)
    journal.failed("B03", "XY: the stage does not move", NOW)
    assert Journal(path).state() == {
        "B02": WellState(1, saved=True),
        "B03": WellState(1, saved=False, last_problem="XY: the stage does not move"),
    }


def test_a_try_without_an_end_is_one_that_failed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "P-day07.jsonl")
    journal.started("B02", NOW)
    assert journal.state() == {"B02": WellState(1, saved=False, last_problem=INTERRUPTED)}
    journal.started("B02", NOW)
    journal.saved("B02", "file", NOW)
    assert journal.state() == {"B02": WellState(2, saved=True)}


def test_a_well_imaged_again_without_success_keeps_the_image_it_has(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "P-day07.jsonl")
    journal.started("B02", NOW)
    journal.saved("B02", "file", NOW)
    journal.started("B02", NOW)
    journal.failed("B02", "no focus", NOW)
    assert journal.state() == {"B02": WellState(2, saved=True, last_problem="no focus")}


def test_a_line_cut_short_at_any_byte_costs_that_line_only(tmp_path: Path) -> None:
    path = tmp_path / "P-day07.jsonl"
    journal = Journal(path)
    journal.started("B02", NOW)
    journal.saved("B02", "file", NOW)
    whole = path.read_bytes()
    journal.started("C03", NOW)
    last = path.read_bytes().removeprefix(whole)
    for cut in range(len(last) - 1):  # all but the line end: then nothing is missing
        path.write_bytes(whole + last[:cut])
        assert journal.state() == {"B02": WellState(1, saved=True)}
        journal.started("D04", NOW)
        assert journal.state() == {
            "B02": WellState(1, saved=True),
            "D04": WellState(1, saved=False, last_problem=INTERRUPTED),
        }


def test_a_journal_that_cannot_be_written_or_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "P-day07.jsonl").mkdir()
    journal = Journal(tmp_path / "P-day07.jsonl")
    with pytest.raises(OutputError, match="cannot be written"):
        journal.started("B02", NOW)
    with pytest.raises(OutputError, match="cannot be read"):
        journal.state()


def test_only_events_after_a_request_count_for_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "P-day07.jsonl")
    journal.started("B02", NOW)
    journal.saved("B02", "file", NOW)
    later = NOW + timedelta(minutes=5)
    assert journal.state(since=later) == {}
    journal.started("B02", later)
    assert journal.state(since=later) == {
        "B02": WellState(1, saved=False, last_problem=INTERRUPTED)
    }
