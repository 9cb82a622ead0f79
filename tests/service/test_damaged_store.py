"""Databases and logs that are cut or changed: an error, never a wrong value without a message."""

import random
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from benchmarks.store_faults import Damage, Recording, Result, record, result_of
from tests.service_process import PLATE, ServiceProcess

POSITIONS = 12  # of each kind of damage; `python -m benchmarks.store_faults` tries thousands


@pytest.fixture(scope="module")
def in_log(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(tmp_path_factory.mktemp("log"), is_checkpointed=False)


@pytest.fixture(scope="module")
def in_database(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(tmp_path_factory.mktemp("database"), is_checkpointed=True)


@pytest.mark.parametrize("damage", [Damage.CUT, Damage.ZEROS])
def test_a_log_that_is_cut_anywhere_has_every_commit_before_the_cut(
    in_log: Recording, damage: Damage, tmp_path: Path
) -> None:
    at_commits = [size + offset for size in in_log.log_sizes[1:4] for offset in (-1, 0)]
    rng = random.Random(damage)  # noqa: S311 - positions
    cuts = [*rng.sample(range(len(in_log.log)), POSITIONS - len(at_commits)), *at_commits]
    for cut in cuts:
        with capture_logs():
            result = result_of(in_log, tmp_path / "copy", in_log=True, damage=damage, position=cut)
        assert result[0] in (Result.EARLIER, Result.INTACT, Result.REFUSED), (cut, result)


@pytest.mark.parametrize("damage", list(Damage))
def test_a_damaged_database_is_refused_or_the_damage_is_found(
    in_database: Recording, damage: Damage, tmp_path: Path
) -> None:
    results: Counter[Result] = Counter()
    rng = random.Random(damage)  # noqa: S311 - positions
    for position in rng.sample(range(len(in_database.database)), POSITIONS):
        with capture_logs():
            result, text = result_of(
                in_database,
                tmp_path / "copy",
                in_log=False,
                damage=damage,
                position=position,
                bit=rng.randrange(8),
            )
        assert result is not Result.ERROR, (position, text)
        results[result] += 1
    if damage is not Damage.BIT:  # free pages and pictures make most of the changed bits harmless
        assert results[Result.REFUSED] == POSITIONS


def test_a_changed_bit_of_the_log_gives_an_earlier_state(in_log: Recording, tmp_path: Path) -> None:
    rng = random.Random(3)  # noqa: S311 - positions
    for position in rng.sample(range(len(in_log.log)), POSITIONS):
        with capture_logs():
            result = result_of(
                in_log, tmp_path / "copy", in_log=True, damage=Damage.BIT, position=position
            )
        assert result[0] in (Result.EARLIER, Result.INTACT, Result.REFUSED), (position, result)


def test_the_service_and_the_check_name_a_damaged_database_and_print_no_traceback(
    in_database: Recording, empty_service: ServiceProcess
) -> None:
    file = empty_service.folder / "spherorank.sqlite"
    file.write_bytes(in_database.database[: len(in_database.database) // 2])
    for arguments in (("run", "--once"), ("store", "check")):
        done = empty_service.ask(*arguments)
        assert done.returncode == 1
        assert f"sqlite:///{file}: " in done.stderr
        assert "restore a backup (spherorank store restore)" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_damaged_index_prevents_the_start(empty_service: ServiceProcess, tmp_path: Path) -> None:
    file = tmp_path / "spherorank.sqlite"
    recording = record(tmp_path, is_checkpointed=True)
    file.write_bytes(recording.database)
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute("DELETE FROM sqlite_master WHERE name = 'observation_by_day'")
    done = empty_service.ask("check")
    assert done.returncode == 78
    assert f"sqlite:///{file}: is damaged, " in done.stderr
    assert "restore a backup (spherorank store restore)" in done.stderr


def change(service: ServiceProcess, statement: str) -> None:
    with closing(sqlite3.connect(service.folder / "spherorank.sqlite")) as database, database:
        database.execute(statement)


def test_a_damaged_image_is_an_alert_of_its_plate_and_gives_no_ranking(
    ranked_copy: ServiceProcess,
) -> None:
    before = ranked_copy.rankings()
    change(ranked_copy, "UPDATE observation SET um_per_px = um_per_px + 1 WHERE id = 1")
    done = ranked_copy.run_once()
    assert done.returncode == 1
    assert f"{PLATE}: cannot be ranked" in done.stderr
    [alert] = [each for each in ranked_copy.events("alert.raised") if each["kind"] == "ranking"]
    assert f"the row id=1 plate={PLATE} well=B02" in alert["message"]
    assert ranked_copy.rankings() == before


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_other_plates_are_ranked_while_the_map_of_a_plate_is_damaged(
    ranked_copy: ServiceProcess,
) -> None:
    other = "OTHER-1"
    before = ranked_copy.rankings()
    change(ranked_copy, "UPDATE plate_map SET run = 2 WHERE id = 1")
    copy_plate(ranked_copy.drop / PLATE, other)
    done = ranked_copy.run_once()
    assert done.returncode == 1
    assert f"{PLATE}: cannot be ranked" in done.stderr
    assert "Traceback" not in done.stderr
    [alert] = [each for each in ranked_copy.events("alert.raised") if each["kind"] == "ranking"]
    assert alert["plate"] == PLATE
    assert f"id=1 plate={PLATE}" in alert["message"]
    assert [each.final for each in ranked_copy.rankings(other)] == [each.final for each in before]
    assert ranked_copy.rankings() == before


def copy_plate(folder: Path, name: str) -> None:
    """Copy the files of a plate to a plate of another name."""
    shutil.copytree(folder, folder.with_name(name))
    for path in folder.with_name(name).glob(f"{PLATE}.*"):
        text = path.read_text().replace(PLATE, name)
        path.with_name(path.name.replace(PLATE, name)).write_text(text)
        path.unlink()
