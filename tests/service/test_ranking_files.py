import errno
import json
import os
import time
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from daemon.reports.ranking_files import newest_written, write_ranking
from daemon.reports.revision_files import Written
from schemas.errors import OutputError
from schemas.ranking import FOR_RESEARCH_USE_ONLY, Ranking
from store.sql_store import SqlStore
from tests.made_up_site import Site
from tests.samples import NOW, PLATE, plate_map, ranking


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_ranking_is_written_as_five_files(tmp_path: Path) -> None:
    written = write_ranking(ranking(), dict, tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [
        "PDAC-0042/day10-r1.json",
        "PDAC-0042/day10-r1.csv",
        "PDAC-0042/day10-r1-wells.csv",
        "PDAC-0042/day10-r1.html",
        "PDAC-0042/latest.json",
    ]
    assert names(tmp_path / "PDAC-0042") == {path.name for path in written}


def test_the_json_file_contains_the_ranking_and_starts_with_its_identity(tmp_path: Path) -> None:
    document = write_ranking(ranking(), dict, tmp_path)[0]
    assert Ranking.model_validate_json(document.read_bytes()) == ranking()
    content = json.loads(document.read_bytes())
    assert list(content)[:6] == ["plate", "seeded_at", "day", "revision", "final", "replaces"]
    assert content["notice"] == FOR_RESEARCH_USE_ONLY


def test_every_file_contains_the_research_use_notice(tmp_path: Path) -> None:
    for path in write_ranking(ranking(), dict, tmp_path):
        assert "For research use only" in path.read_text(encoding="utf-8")


def test_a_later_revision_becomes_the_latest_and_keeps_the_earlier_files(tmp_path: Path) -> None:
    first = write_ranking(ranking(), dict, tmp_path)
    before = [path.read_bytes() for path in first[:-1]]
    write_ranking(ranking(revision=2), dict, tmp_path)
    assert [path.read_bytes() for path in first[:-1]] == before
    assert json.loads(first[-1].read_bytes())["revision"] == 2


def test_a_lost_file_is_written_again_and_the_others_are_unchanged(tmp_path: Path) -> None:
    written = write_ranking(ranking(), dict, tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in written}
    written[1].unlink()
    assert write_ranking(ranking(), dict, tmp_path) == written
    assert {path for path in written if path.stat().st_mtime_ns != kept[path]} == {written[1]}


def test_writing_an_earlier_day_again_does_not_replace_the_latest(tmp_path: Path) -> None:
    write_ranking(ranking(day=8), dict, tmp_path)
    latest = write_ranking(ranking(day=10), dict, tmp_path)[-1]
    for path in (tmp_path / "PDAC-0042").glob("day08*"):
        path.unlink()
    write_ranking(ranking(day=8), dict, tmp_path)
    assert json.loads(latest.read_bytes())["day"] == 10


def test_a_damaged_latest_file_is_repaired(tmp_path: Path) -> None:
    latest = write_ranking(ranking(), dict, tmp_path)[-1]
    latest.write_text('{"day": ', encoding="utf-8")
    write_ranking(ranking(), dict, tmp_path)
    assert Ranking.model_validate_json(latest.read_bytes()) == ranking()


def test_another_ranking_with_the_same_name_is_not_overwritten(tmp_path: Path) -> None:
    document = write_ranking(ranking(), dict, tmp_path)[0]
    before = document.read_bytes()
    with pytest.raises(OutputError, match="holds another ranking") as error:
        write_ranking(ranking(created_at=NOW.replace(year=2027)), dict, tmp_path)
    assert error.value.where == str(document)
    assert document.read_bytes() == before


def test_plates_whose_folder_is_the_same_are_never_mixed(tmp_path: Path) -> None:
    latest = write_ranking(ranking(day=8), dict, tmp_path)[-1]
    before = latest.read_bytes()
    (tmp_path / "pdac-0042").symlink_to("PDAC-0042")  # as on a file system without case
    with pytest.raises(OutputError, match=r"has the rankings of 'PDAC-0042'; .* capital letters"):
        write_ranking(ranking(plate="pdac-0042", day=10), dict, tmp_path)
    assert latest.read_bytes() == before
    assert {path.name[:5] for path in latest.parent.iterdir()} == {"day08", "lates"}


@pytest.mark.parametrize(
    ("names", "newest"),
    [
        ((), 0),
        (("day10-r9-wells.csv", "day10-r12.json", "day08-r20.json", "latest.json"), 12),
        ((".day10-r3.json.part", "day10-rx.json", "day10-r5"), 0),
    ],
)
def test_the_newest_revision_of_a_day_is_found_in_its_files(
    names: tuple[str, ...], newest: int, tmp_path: Path
) -> None:
    (tmp_path / ranking().plate).mkdir()
    for name in names:
        (tmp_path / ranking().plate / name).touch()
    assert newest_written(ranking(), tmp_path).revision == newest


def test_a_new_store_continues_after_the_revisions_that_have_files(tmp_path: Path) -> None:
    folder = tmp_path / "rankings"
    published = []
    for number in range(2):  # the second store is new, as after the deletion of the database
        with closing(SqlStore(f"sqlite:///{tmp_path}/{number}.sqlite")) as store:
            site = Site(store)
            site.days = replace(
                site.days,
                write=partial(write_ranking, folder=folder),
                newest_written=partial(newest_written, folder=folder),
            )
            site.now += number * timedelta(days=1)
            published += site.rank(site.add(plate_map()))
    assert [(each.day, each.revision, each.replaces) for each in published] == [
        (10, 1, None),
        (10, 2, 1),
    ]
    first, second = (folder / PLATE / f"{each.name}.json" for each in published)
    assert Ranking.model_validate_json(first.read_bytes()) == published[0]
    assert Ranking.model_validate_json(second.read_bytes()) == published[1]
    assert (folder / PLATE / "latest.json").read_bytes() == second.read_bytes()


def test_a_ranking_of_another_run_of_a_plate_id_is_not_replaced(tmp_path: Path) -> None:
    earlier = ranking().model_copy(update={"seeded_at": NOW})
    write_ranking(earlier, dict, tmp_path)
    later = earlier.model_copy(update={"seeded_at": NOW + timedelta(days=30)})

    assert newest_written(earlier, tmp_path) == Written(1, is_of_same_run=True)
    assert newest_written(later, tmp_path) == Written(1, is_of_same_run=False)


@pytest.mark.parametrize("plate", ["..", ".", "a/b"])
def test_a_plate_name_cannot_lead_outside_the_folder(plate: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot name a folder"):
        write_ranking(ranking(plate=plate), dict, tmp_path / "rankings")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "rankings").write_text("no folder", encoding="utf-8")
    with pytest.raises(OutputError, match="Not a directory") as error:
        write_ranking(ranking(), dict, tmp_path / "rankings")
    assert str(tmp_path / "rankings") in error.value.where


def test_a_full_disk_leaves_no_half_file_and_the_next_try_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space left on device") as error:
            write_ranking(ranking(), dict, tmp_path)
    assert error.value.where.endswith("day10-r1.json")
    assert names(tmp_path / "PDAC-0042") == set()
    assert len(write_ranking(ranking(), dict, tmp_path)) == 5


@pytest.mark.parametrize("name", [".day10-r1.json.part", ".4711.day09-r1.csv.part"])
def test_a_partial_file_left_by_a_crash_is_removed_by_the_next_ranking(
    tmp_path: Path, name: str
) -> None:
    partial = tmp_path / "PDAC-0042" / name
    partial.parent.mkdir()
    partial.write_text('{"pla', encoding="utf-8")
    os.utime(partial, (0, time.time() - 3600))
    write_ranking(ranking(), dict, tmp_path)
    assert not partial.exists()


def test_a_partial_file_that_another_process_is_writing_is_kept(tmp_path: Path) -> None:
    partial = tmp_path / "PDAC-0042" / ".4711.day10-r1.json.part"
    partial.parent.mkdir()
    partial.write_text('{"pla', encoding="utf-8")
    write_ranking(ranking(), dict, tmp_path)
    assert partial.exists()
