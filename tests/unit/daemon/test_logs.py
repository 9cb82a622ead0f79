"""Log files on a disk that is full: no exception, whole lines, and the number of missing lines."""

import json
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
    lines = DailyJsonLines(folder)
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
    write(DailyJsonLines(tmp_path), "image.rejected", plate="a\nb\ud800")
    assert read(tmp_path) == [
        {
            "timestamp": f"{DAY}T10:00:00Z",
            "level": "info",
            "event": "image.rejected",
            "plate": "a\nb\ud800",
        }
    ]
