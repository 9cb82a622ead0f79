"""``spherorank store``: backup while a writer runs, restore, and the output of every command."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from daemon.reports.ranking_files import newest_written, write_ranking
from daemon.reports.specimen_files import newest_written_of_specimen
from schemas.errors import StoreError, StoreInUseError
from store.database import Database
from store.locks import ServiceUse, lock_store
from store.maintenance.check import find_problems
from store.maintenance.files import back_up, restore
from store.sql_store import SqlStore
from tests.samples import (
    ENCODER_ID,
    NOW,
    PLATE,
    observation,
    observation_data,
    plate_map,
    ranking,
    ranking_data,
    specimen_data,
    specimen_ranking,
    status_data,
)
from tests.service_process import SPHERORANK
from tests.stored import close_plate

FINAL = ranking(created_at=NOW - timedelta(days=99))
ROOT = Path(__file__).parents[2]

WRITER = """
import itertools, sys
from store.sql_store import SqlStore
from tests.samples import file_version, observation, observation_data
store = SqlStore(sys.argv[1])
for number in itertools.count(store.last_sequence() + 1):
    files = (file_version(f"{number}.tif"),)
    image = observation(visit=f"day07-{number}", seed=number, files=files)
    print(store.add_observation(image, observation_data(image), b"\\xff\\xd8"), flush=True)
"""


# Copies message 1 to 4000 messages with the numbers from 4 on, all of them published.
MANY_MESSAGES = """
WITH RECURSIVE each(number) AS (SELECT 4 UNION ALL SELECT number + 1 FROM each WHERE number < 4003)
INSERT INTO message (service, sequence, topic, body, created_at)
SELECT service, number, topic, json_set(body, '$.sequence', printf('%020d', number)), created_at
FROM message JOIN each WHERE sequence = 1;
UPDATE sequence_counter SET last = 4003, published_through = 4003;
"""


# Restores a backup again and again, each time on a new copy of the files. The process of the
# restore ends, as by SIGKILL, at its first change of a file, at its second, and so on. Prints the
# number of images and the next sequence number after each restore, until one is finished.
ENDED_RESTORES = """
import os, shutil, sys
from contextlib import closing
from itertools import count
from pathlib import Path
from store.maintenance.files import restore
from store.sql_store import SqlStore
from tests.samples import ENCODER_ID, NOW, PLATE, status_data

def ending(function, calls, at):
    def call(*arguments, **options):
        if next(calls) == at:
            os._exit(9)
        return function(*arguments, **options)
    return call

prepared = Path(sys.argv[1])
for at in count():
    folder = prepared.with_name(f"turn{at}")
    shutil.copytree(prepared, folder)
    url = f"sqlite:///{folder}/store.sqlite"
    if (child := os.fork()) == 0:
        calls = count()
        for name in ("link", "unlink", "replace", "fsync"):
            setattr(os, name, ending(getattr(os, name), calls, at))
        restore(url, folder / "backup.sqlite", NOW)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    with closing(SqlStore(url)) as store:
        images = len(store.imaged(PLATE, ENCODER_ID))
        print("result", images, store.add_message(status_data(), NOW), flush=True)
    if status == 0:
        break
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return the URL of a database with a ranked plate, of which 3 messages are published."""
    url = f"sqlite:///{tmp_path}/store.sqlite"
    with closing(SqlStore(url)) as store:
        store.save_plate_map(plate_map(), NOW - timedelta(days=99))
        image = observation(received_at=NOW - timedelta(days=99))
        store.add_observation(image, observation_data(image), b"\xff\xd8 old")
        store.add_ranking(FINAL, ranking_data(FINAL))
        close_plate(store, PLATE)
        store.add_message(status_data(), NOW)
        assert len(store.messages_after(0)) == 3
    return url


def problems(file: Path) -> list[str]:
    with closing(Database(f"sqlite:///{file}", timeout_s=5.0)) as database:
        return list(find_problems(database))


def images(file: Path) -> int:
    with closing(SqlStore(f"sqlite:///{file}")) as store:
        return len(store.imaged(PLATE, ENCODER_ID))


def test_a_backup_beside_a_writer_is_complete_and_the_writer_continues(
    url: str, tmp_path: Path
) -> None:
    backup = tmp_path / "backup" / "backup.sqlite"
    backup.parent.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, url],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as writer:
        assert writer.stdout is not None
        for _ in range(3):  # the later ones replace the first
            first = int(writer.stdout.readline())
            back_up(url, backup)
            assert images(backup) >= first - 2
        writer.send_signal(signal.SIGKILL)
    assert list(backup.parent.iterdir()) == [backup]
    assert problems(backup) == []


def test_a_restored_backup_continues_the_numbers_and_keeps_the_old_database(
    url: str, tmp_path: Path
) -> None:
    back_up(url, tmp_path / "backup.sqlite")
    with closing(SqlStore(url)) as store:
        for _ in range(7):
            store.add_message(status_data(), NOW)
        assert store.messages_after(0)[-1].sequence == 10
    aside = restore(url, tmp_path / "backup.sqlite", NOW)
    assert aside == tmp_path / "store.sqlite.before-restore-20261122T200000Z"
    with closing(SqlStore(url)) as store:
        assert store.rankings(PLATE) == [FINAL]
        assert [message.sequence for message in store.messages_after(0)] == [1, 2, 3]
        assert store.add_message(status_data(), NOW) == 11
    with closing(SqlStore(f"sqlite:///{aside}")) as old:
        assert len(old.messages_after(0)) == 10


def test_a_restore_that_is_killed_leaves_the_old_or_the_new_database(
    url: str, tmp_path: Path
) -> None:
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    back_up(url, prepared / "backup.sqlite")  # one image
    with closing(SqlStore(url)) as store:
        image = observation("B03", seed=1)
        store.add_observation(image, observation_data(image))
        assert store.last_sequence() == 4
        for path in tmp_path.glob("store.sqlite*"):  # with the log, as after a kill
            (prepared / path.name).write_bytes(path.read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", ENDED_RESTORES, prepared],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    results = [
        tuple(map(int, line.split()[1:]))
        for line in done.stdout.splitlines()
        if line.startswith("result")
    ]
    assert set(results) == {(2, 5), (1, 5)}  # images and next number of the old and of the new one
    assert results == sorted(results, reverse=True)
    assert len(results) > 5  # moments


def test_a_plain_copy_with_its_log_is_a_backup(url: str, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    with closing(SqlStore(url)) as store:  # the log still has the last commit
        store.add_message(status_data(), NOW)
        for path in tmp_path.glob("store.sqlite*"):
            (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
    restore(url, tmp_path / "copy" / "store.sqlite", NOW)
    with closing(SqlStore(url)) as store:
        assert len(store.messages_after(0)) == 4


def test_a_damaged_backup_is_refused_and_nothing_changes(url: str, tmp_path: Path) -> None:
    backup = tmp_path / "backup.sqlite"
    back_up(url, backup)
    with closing(sqlite3.connect(backup)) as damaged, damaged:
        damaged.execute("UPDATE observation SET day = 8")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(StoreError, match=r"backup\.sqlite: is damaged, 1 problems: .*the row id=1"):
        restore(url, backup, NOW)
    backup.write_bytes(backup.read_bytes()[:-5000])
    with pytest.raises(StoreError, match=r"backup\.sqlite: (cannot be read|is damaged).*malformed"):
        restore(url, backup, NOW)
    backup.write_bytes(b"")
    with pytest.raises(StoreError, match=r"backup\.sqlite: has no tables"):
        restore(url, backup, NOW)
    backup.unlink()
    with pytest.raises(StoreError, match=r"backup\.sqlite: is no file"):
        restore(url, backup, NOW)
    before.remove("backup.sqlite")
    left = {path.name for path in tmp_path.iterdir()} - {"store.sqlite.lock"}
    assert sorted(left) == [name for name in before if name != "store.sqlite.lock"]
    assert problems(tmp_path / "store.sqlite") == []


def test_a_damaged_database_gives_no_backup_and_the_last_backup_is_kept(
    url: str, tmp_path: Path
) -> None:
    backup = tmp_path / "backup.sqlite"
    back_up(url, backup)
    content = backup.read_bytes()
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as damaged, damaged:
        damaged.execute("UPDATE observation SET day = 8")
    with pytest.raises(StoreError, match=r"backup\.sqlite: is damaged"):
        back_up(url, backup)
    assert backup.read_bytes() == content


def test_the_database_is_not_its_own_backup(url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is the database itself"):
        back_up(url, tmp_path / "store.sqlite")


def test_a_backup_into_a_missing_folder_is_an_error_that_names_the_file(url: str) -> None:
    with pytest.raises(StoreError, match=r"/no/backup\.sqlite: cannot be written"):
        back_up(url, Path("/no/backup.sqlite"))


def restored_by_command(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run ``spherorank store restore`` with the store and the backup in a folder."""
    config = folder / "spherorank.toml"
    config.write_text('[store]\nurl = "sqlite:///store.sqlite"\n[output]\nrankings = "rankings"\n')
    return subprocess.run(
        [SPHERORANK, "store", "restore", folder / "backup.sqlite", "--config", config],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_revision_without_files_is_reserved_before_an_older_backup_is_restored(
    url: str, tmp_path: Path
) -> None:
    back_up(url, tmp_path / "backup.sqlite")
    folder = tmp_path / "rankings"
    with closing(SqlStore(url)) as store:
        specimen = specimen_ranking()
        for each in (ranking(day=8), ranking(day=9), ranking(day=9, revision=2)):
            store.add_ranking(each, ranking_data(each))
        store.add_specimen_ranking(specimen, specimen_data(specimen))
    write_ranking(ranking(day=8), dict, folder)
    assert restored_by_command(tmp_path).returncode == 0
    assert newest_written(ranking(day=8), folder).revision == 1
    assert newest_written(ranking(day=9), folder).revision == 2
    assert newest_written_of_specimen(specimen, folder).revision == specimen.revision
    assert sorted(path.name for path in folder.rglob("*.reserved")) == [
        "day09-r2.reserved",
        "r1.reserved",
    ]


def test_a_backup_is_restored_in_place_of_a_damaged_store_whose_rankings_are_unknown(
    url: str, tmp_path: Path
) -> None:
    back_up(url, tmp_path / "backup.sqlite")
    (tmp_path / "store.sqlite").write_bytes(b"damaged" * 1000)
    (tmp_path / "store.sqlite-wal").unlink(missing_ok=True)
    done = restored_by_command(tmp_path)
    assert (done.returncode, "store.revisions_unknown" in done.stderr) == (0, True)
    assert problems(tmp_path / "store.sqlite") == []


def test_nothing_is_restored_while_a_service_runs(url: str, tmp_path: Path) -> None:
    back_up(url, tmp_path / "backup.sqlite")
    with (
        closing(lock_store(url, ServiceUse("lab", "host:/drop"))),
        pytest.raises(StoreInUseError, match="is used by the service lab"),
    ):
        restore(url, tmp_path / "backup.sqlite", NOW)


def test_postgresql_has_programs_of_its_own(tmp_path: Path) -> None:
    url = "postgresql://lab:secret@127.0.0.1/spherorank"
    with pytest.raises(StoreError, match="use pg_dump of PostgreSQL") as raised:
        back_up(url, tmp_path / "backup")
    assert "secret" not in str(raised.value)
    with pytest.raises(StoreError, match="use pg_restore of PostgreSQL"):
        restore(url, tmp_path / "backup", NOW)


def messages(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute("SELECT count(*) FROM message").fetchone()[0])


def test_a_killed_prune_leaves_a_whole_store_and_can_be_repeated(url: str, tmp_path: Path) -> None:
    file, config = tmp_path / "store.sqlite", tmp_path / "spherorank.toml"
    config.write_text(f'[store]\nurl = "{url}"\n[retention]\nmessages_days = 30\n')
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(MANY_MESSAGES)
    command = [SPHERORANK, "store", "prune", "--config", config]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while messages(file) == 4003:
            assert process.poll() is None
        process.kill()
    assert 3 < messages(file) < 4003
    assert problems(file) == []
    with closing(SqlStore(url)) as store:
        kept = [each.sequence for each in store.messages_after(0, limit=5000)]
        assert store.deleted_through() < min(set(kept) - {2, 3})
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert again.stdout == f"{PLATE}: {len(kept) - 3} messages deleted\n"
    assert messages(file) == 3
    with closing(SqlStore(url)) as store:
        assert [each.sequence for each in store.messages_after(0)] == [2, 3, 4003]
        assert store.add_message(status_data(), NOW) == 4004
    assert problems(file) == []


def test_each_command_prints_its_result(url: str, tmp_path: Path) -> None:
    config = tmp_path / "spherorank.toml"
    config.write_text(f'[store]\nurl = "{url}"\n')

    def ask(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [SPHERORANK, "store", *arguments, "--config", config],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr

    backup = str(tmp_path / "backup.sqlite")
    assert ask("check") == (0, "No problem found.\n")
    code, printed = ask("backup", backup)
    assert (code, printed.startswith(f"{backup}: ")) == (0, True)
    code, printed = ask("size")
    assert code == 0
    assert {"observation 1", f"{PLATE} 1"} <= {
        " ".join(line.split()[:2]) for line in printed.splitlines()
    }
    assert ask("prune")[0] == 78
    config.write_text(f'[store]\nurl = "{url}"\n[retention]\npictures_days = 30\n')
    found = f"{PLATE}: 1 pictures"
    assert ask("prune", "--dry-run") == (0, f"{found} would be deleted\n")
    assert ask("prune") == (0, f"{found} deleted\n")
    code, printed = ask("restore", backup)
    assert (code, "The next message has the sequence number 4." in printed) == (0, True)
    assert "store.sqlite.before-restore-" in printed
    code, printed = ask("copy", f"sqlite:///{tmp_path}/copied.sqlite")
    assert (code, "observation: 1 rows" in printed) == (0, True)
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as damaged, damaged:
        damaged.execute("UPDATE observation SET day = 8")
    code, printed = ask("check")
    assert (code, "the row id=1 plate=PDAC-0042 well=B02" in printed) == (1, True)
