"""Locks and replacement of files, also where a program has the target open as on Windows."""

import os
from collections.abc import Callable
from pathlib import Path
from threading import Timer

import pytest

from acquisition.durable_files import write_durably
from schemas.errors import OutputError
from schemas.portable_files import (
    open_lock_file,
    read_holder,
    replace_file,
    try_lock,
    wait_for_lock,
    write_holder,
)


@pytest.fixture
def replaces_like_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the replacement of a file fail while this process has the target open."""
    replace: Callable[[Path, Path], None] = os.replace

    def replace_unless_open(source: Path, target: Path) -> None:
        opened = {os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()}
        if str(target) in opened:
            raise PermissionError(13, "Access is denied", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_unless_open)


@pytest.mark.usefixtures("replaces_like_windows")
def test_a_file_is_replaced_when_its_reader_has_closed_it(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    new.write_text("new")
    old.write_text("old")
    reader = old.open()
    closing = Timer(0.2, reader.close)
    closing.start()
    replace_file(new, old)
    closing.join()
    assert old.read_text() == "new"
    assert not new.exists()


@pytest.mark.usefixtures("replaces_like_windows")
def test_after_the_longest_wait_both_files_are_unchanged_and_the_error_names_the_reason(
    tmp_path: Path,
) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    new.write_text("new")
    old.write_text("old")
    with (
        old.open(),
        pytest.raises(PermissionError, match=r"open in another program, .*/old") as raised,
    ):
        replace_file(new, old, wait_s=0.1)
    assert raised.value.filename == str(old)
    assert (new.read_text(), old.read_text()) == ("new", "old")


@pytest.mark.usefixtures("replaces_like_windows")
def test_a_ranking_file_that_stays_open_is_an_output_error_without_a_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replace_file, "__kwdefaults__", {"wait_s": 0.1})
    latest = tmp_path / "latest.json"
    latest.write_text("old")
    with (
        latest.open(),
        pytest.raises(
            OutputError, match=r"latest\.json: cannot be written \(is open in another program"
        ),
    ):
        write_durably(latest, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["latest.json"]
    assert latest.read_text() == "old"


def test_a_lock_is_refused_to_a_second_file_until_the_first_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with open_lock_file(path) as second:
        with open_lock_file(path) as first:
            assert try_lock(first)
            assert not try_lock(second)
            Timer(0.05, first.close).start()
            wait_for_lock(second)
        with open_lock_file(path) as third:
            assert not try_lock(third)


def test_the_holder_is_read_without_the_locked_first_byte(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with open_lock_file(path) as file:
        assert read_holder(path) == ""
        write_holder(file, "a long name")
        write_holder(file, "λ 1")
    assert read_holder(path) == "λ 1"
    assert path.read_bytes()[:1] == b" "
