"""Daily log files: whole lines on a full disk, and deletion of old files; lines of the journal."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from daemon.logs import DailyJsonLines

DAY = "2026-11-22"


def write(lines: DailyJsonLines, event: str, **fields: object) -> None:
    lines(
        structlog.get_logger(),
        "info",
        {"timestamp": f"{DAY}T10:00:00Z", "level": "info", "event": event, **fields},
    )


def read(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / f"{DAY}.jsonl").read_text().splitlines()]


def test_lines_that_could_not_be_written_are_counted_and_reported_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "logs"
    lines = DailyJsonLines(folder, 90)
    write(lines, "first")
    (tmp_path / "away").mkdir()
    folder.rename(tmp_path / "away" / "logs")
    folder.write_text("no folder")
    for _ in range(3):
        write(lines, "missed")
    assert capsys.readouterr().err.count("the log cannot be written") == 1
    folder.unlink()
    (tmp_path / "away" / "logs").rename(folder)
    write(lines, "back")
    write(lines, "later")
    written = read(folder)
    assert [line["event"] for line in written] == ["first", "log.lines_missed", "back", "later"]
    assert written[1]["lines"] == 3


def test_a_lone_surrogate_and_a_line_break_stay_in_one_valid_line(tmp_path: Path) -> None:
    write(DailyJsonLines(tmp_path, 90), "image.rejected", plate="a\nb\ud800")
    assert read(tmp_path) == [
        {
            "timestamp": f"{DAY}T10:00:00Z",
            "level": "info",
            "event": "image.rejected",
            "plate": "a\nb\ud800",
        }
    ]


def test_daily_files_older_than_log_days_are_deleted_and_no_others(tmp_path: Path) -> None:
    kept = ["2026-11-20.jsonl", "2026-11-21.jsonl", "notes-2020-01-01.jsonl", "2020-01-01.txt"]
    for name in ("2026-11-18.jsonl", "2026-11-19.jsonl", *kept):
        (tmp_path / name).touch()
    write(DailyJsonLines(tmp_path, 2), "started")
    assert {path.name for path in tmp_path.iterdir()} == {f"{DAY}.jsonl", *kept}


def test_a_clock_set_forward_by_years_deletes_one_old_file_at_most(tmp_path: Path) -> None:
    names = {f"2020-01-{day:02d}.jsonl" for day in range(1, 6)}
    for name in names:
        (tmp_path / name).touch()
    write(DailyJsonLines(tmp_path, 5), "started")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f"{DAY}.jsonl"} | names - {"2020-01-01.jsonl"}


_LOG_TO_STDERR = """
import structlog
from daemon import logs
logs.install(None)
log = structlog.get_logger()
log.info("image.stored", plate="P1")
try:
    raise OSError("first\\nsecond")
except OSError:
    log.exception("ranking.failed")
"""


def _stderr_of_a_process(output: Path, environment: dict[str, str]) -> list[str]:
    with output.open("w") as stderr:
        subprocess.run(
            [sys.executable, "-c", _LOG_TO_STDERR],
            stderr=stderr,
            check=True,
            env=os.environ | environment,
        )
    return output.read_text().splitlines()


def test_the_journal_gets_priorities_and_no_second_timestamp(tmp_path: Path) -> None:
    output = tmp_path / "stderr"
    output.touch()
    status = output.stat()
    lines = _stderr_of_a_process(output, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
    assert lines[0] == "<6>image.stored plate=P1"
    assert lines[1] == "<3>ranking.failed"
    assert [line[:3] for line in lines[2:]] == ["<3>"] * (len(lines) - 2)
    assert lines[-1] == "<3>second"


def test_a_stderr_that_is_not_the_journal_gets_timestamps(tmp_path: Path) -> None:
    lines = _stderr_of_a_process(tmp_path / "stderr", {"JOURNAL_STREAM": "1:1"})
    assert lines[0].startswith("20")
    assert "[info     ] image.stored" in lines[0]
