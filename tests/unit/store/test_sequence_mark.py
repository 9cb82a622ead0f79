import os
from pathlib import Path
from threading import Thread

import pytest

from schemas.errors import StoreError
from store.sequence_mark import BLOCK, SequenceMark

BOOT, NEXT_BOOT = "1" * 36, "2" * 36


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite.sequence-lab"


def test_without_the_file_nothing_was_published(path: Path) -> None:
    mark = SequenceMark(path)
    assert mark.floor() == 0
    mark.close()
    assert not path.exists()


def test_the_number_is_exact_after_a_crash_of_the_process(path: Path) -> None:
    for number in (1, 7, 8, 3):
        SequenceMark(path, BOOT).raise_to(number)  # no close, as after SIGKILL
    assert SequenceMark(path, BOOT).floor() == 8


def test_after_a_power_cut_the_rest_of_the_block_counts_as_published(path: Path) -> None:
    SequenceMark(path, BOOT).raise_to(5)
    reserved = 5 + BLOCK
    assert SequenceMark(path, NEXT_BOOT).floor() == reserved
    SequenceMark(path, NEXT_BOOT).raise_to(4)  # an old message is published again
    assert SequenceMark(path, NEXT_BOOT).floor() == reserved
    SequenceMark(path, NEXT_BOOT).raise_to(reserved + 1)
    assert SequenceMark(path, NEXT_BOOT).floor() == reserved + 1


def test_a_restart_of_the_computer_after_an_orderly_end_skips_no_number(path: Path) -> None:
    mark = SequenceMark(path, BOOT)
    mark.raise_to(5)
    mark.close()
    assert SequenceMark(path, NEXT_BOOT).floor() == 5


def test_the_disk_is_synced_once_per_block(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark, synced = SequenceMark(path, BOOT), list[int]()
    mark.raise_to(1)
    monkeypatch.setattr(os, "fsync", synced.append)
    for number in range(2, 2 * BLOCK):
        mark.raise_to(number)
    assert len(synced) == 1


def test_a_number_above_the_reserved_ones_is_on_the_disk_before_it_is_published(
    path: Path,
) -> None:
    for number in (1, BLOCK, BLOCK + 1, BLOCK + 2, 10 * BLOCK):
        SequenceMark(path, BOOT).raise_to(number)
        assert SequenceMark(path, NEXT_BOOT).floor() >= number


def test_threads_that_publish_together_keep_the_largest_number(path: Path) -> None:
    def publish(numbers: range) -> None:
        mark = SequenceMark(path, BOOT)
        for number in numbers:
            mark.raise_to(number)

    threads = [Thread(target=publish, args=(range(start, 400, 4),)) for start in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert SequenceMark(path, BOOT).floor() == 399


def test_a_damaged_file_is_an_error_that_names_it(path: Path) -> None:
    SequenceMark(path, BOOT).raise_to(5)
    content = path.read_bytes()
    damaged = [content[:cut] for cut in range(len(content))]
    damaged += [
        content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]
        for place in range(len(content))
    ]
    for each in damaged:
        path.write_bytes(each)
        with pytest.raises(StoreError, match=r"store\.sqlite\.sequence-lab: is damaged"):
            SequenceMark(path, BOOT).floor()


def test_a_file_that_cannot_be_written_is_an_error_that_names_it() -> None:
    with pytest.raises(StoreError, match=r"/proc/no\.sequence-lab: cannot be used"):
        SequenceMark(Path("/proc/no.sequence-lab")).raise_to(1)
