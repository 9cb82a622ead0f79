"""Two plates of one specimen through the real service, from the drop folder to the files of the specimen."""

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from daemon.alerts import Alerts
from daemon.reports.specimen_files import write_specimen
from daemon.specimens import Specimens
from schemas.errors import ProfileError, StoreError
from schemas.messages import AlertKind
from schemas.ranking import FOR_RESEARCH_USE_ONLY
from schemas.specimen import SpecimenRanking
from store.sql_store import SqlStore
from tests.samples import NOW, plate_map, ranking, ranking_data
from tests.service_process import PLATE, ServiceProcess

OTHER = "VIRTUAL-0005-02"
FILES = {"r1.json", "r1.csv", "r1.html", "latest.json"}


def add_plate(service: ServiceProcess, plate: str, specimen: str) -> None:
    """Put the small plate into the drop folder under another name, as another plate of a specimen."""
    folder = service.drop / plate
    if plate != PLATE:
        shutil.copytree(service.drop / PLATE, folder)
        (folder / f"{PLATE}.wells.csv").rename(folder / f"{plate}.wells.csv")
        (folder / f"{PLATE}.plate.toml").rename(folder / f"{plate}.plate.toml")
    toml = folder / f"{plate}.plate.toml"
    lines = [
        line
        for line in toml.read_text().splitlines()
        if not line.startswith(("plate =", "specimen ="))
    ]
    toml.write_text("\n".join([f'plate = "{plate}"', f'specimen = "{specimen}"', *lines]) + "\n")


def home(service: ServiceProcess) -> Path:
    return service.folder / "rankings" / "specimen-PAT-07"


def of_specimen(service: ServiceProcess) -> list[SpecimenRanking]:
    with service.store() as store:
        return list(store.specimen_rankings("PAT-07"))


def told(service: ServiceProcess) -> list[str]:
    with service.store() as store:
        return [
            message.topic for message in store.messages_after(0) if ".specimen." in message.topic
        ]


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory, rendered: Path) -> Path:
    """Let the service rank two plates of PAT-07, once for all tests."""
    service = ServiceProcess(tmp_path_factory.mktemp("once"))
    shutil.copytree(rendered / "drop", service.drop)
    service.configure()
    add_plate(service, OTHER, "PAT-07")
    add_plate(service, PLATE, "PAT-07")
    done = service.run_once()
    assert done.returncode == 0, done.stderr
    return service.folder


@pytest.fixture
def ranked(tmp_path: Path, once: Path) -> ServiceProcess:
    """Return a service whose two plates of PAT-07 have been ranked."""
    service = ServiceProcess(tmp_path)
    shutil.copytree(
        once, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("events", "requests")
    )
    service.configure()
    return service


def test_plates_of_one_specimen_are_ranked_together_as_well_as_alone(
    ranked: ServiceProcess,
) -> None:
    [together] = of_specimen(ranked)
    assert {path.name for path in home(ranked).iterdir()} == FILES
    assert SpecimenRanking.model_validate_json((home(ranked) / "r1.json").read_bytes()) == together
    assert json.loads((home(ranked) / "latest.json").read_bytes()) == json.loads(
        (home(ranked) / "r1.json").read_bytes()
    )
    assert all(FOR_RESEARCH_USE_ONLY in path.read_text() for path in home(ranked).iterdir())
    assert [(plate.plate, plate.left_out) for plate in together.plates] == [
        (PLATE, None),
        (OTHER, None),
    ]
    alone = ranked.rankings()[-1]
    assert [row.treatment for row in together.treatments] == [
        row.treatment for row in alone.treatments
    ]
    assert [len(row.plates) for row in together.treatments] == [2] * len(alone.treatments)
    assert told(ranked) == ["spherorank.v1.specimen.PAT-07"]

    # A restart makes nothing new and mends what was lost.
    (home(ranked) / "r1.html").unlink()
    assert ranked.run_once().returncode == 0
    assert {path.name for path in home(ranked).iterdir()} == FILES
    assert of_specimen(ranked) == [together]


def test_a_corrected_plate_makes_the_next_revision_and_a_command_shows_it(
    ranked: ServiceProcess,
) -> None:
    wells = ranked.drop / OTHER / f"{OTHER}.wells.csv"
    lines = wells.read_text().splitlines()
    dropped = next(number for number, line in enumerate(lines) if ",screening," in line)
    wells.write_text("\n".join(lines[:dropped] + lines[dropped + 1 :]) + "\n")
    assert ranked.run_once().returncode == 0
    first, second = of_specimen(ranked)
    assert (second.revision, second.replaces) == (2, first.revision)
    assert [plate.revision for plate in second.plates] == [1, 2]
    assert json.loads((home(ranked) / "latest.json").read_bytes())["revision"] == 2
    assert FILES | {"r2.json", "r2.csv", "r2.html"} == {
        path.name for path in home(ranked).iterdir()
    }
    shown = ranked.ask("rank", "specimen", "PAT-07")
    assert shown.returncode == 0, shown.stderr
    assert "specimen PAT-07 r2, 2 of 2 plates" in shown.stdout
    assert len(of_specimen(ranked)) == 2


# The same without the process: what is kept, told and written for rankings that are in the store already.


class Upkeep:
    """A store with plates of specimens, and what ranks them; ``restart`` is a new process on the same store and folder."""

    def __init__(self, folder: Path) -> None:
        self.store = SqlStore(f"sqlite:///{folder}/store.sqlite")
        self.folder = folder / "rankings"
        self.restart()

    def restart(self) -> None:
        self.alerts = Alerts(self.store, lambda: NOW)
        write = partial(write_specimen, folder=self.folder)
        self.specimens = Specimens(
            self.store, 1, "c" * 64, "0.1.0", write, self.alerts, lambda: NOW
        )
        for plate in self.store.plates():
            for kept in self.store.rankings(plate):
                self.specimens.note(kept)

    def rank(self, plate: str, specimen: str | None = "PAT-07", **changes: Any) -> None:  # noqa: ANN401 - any field of a ranking
        self.store.save_plate_map(plate_map(plate, specimen=specimen), NOW)
        made = ranking(plate, specimen=specimen, **changes)
        self.store.add_ranking(made, ranking_data(made))
        self.specimens.note(made)

    def made(self, specimen: str = "PAT-07") -> list[list[tuple[str, int]]]:
        """Return plate and revision of each plate that each revision rests on."""
        return [
            [(plate.plate, plate.revision) for plate in each.plates]
            for each in self.store.specimen_rankings(specimen)
        ]

    def names(self) -> set[str]:
        return {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*.*")}


@pytest.fixture
def upkeep(tmp_path: Path) -> Iterator[Upkeep]:
    made = Upkeep(tmp_path)
    yield made
    made.store.close()


def test_one_plate_makes_no_ranking_and_provisional_ones_do_not_count(upkeep: Upkeep) -> None:
    upkeep.rank("A")
    upkeep.rank("B", final=False)
    upkeep.rank("C", day=9)
    upkeep.rank("D", None)
    upkeep.specimens.rank_noted()
    assert upkeep.made() == []
    with pytest.raises(
        ProfileError,
        match="specimen PAT-07: is named by A, B, C in the store, of which A has a final ranking of its readout day; expected 2",
    ):
        upkeep.specimens.rank_again("PAT-07")
    with pytest.raises(ProfileError, match="specimen PAT-09: is named by no plate in the store"):
        upkeep.specimens.rank_again("PAT-09")


def test_equal_plates_make_no_new_revision_and_a_corrected_one_makes_the_next(
    upkeep: Upkeep,
) -> None:
    upkeep.rank("A")
    upkeep.rank("B")
    upkeep.specimens.rank_noted()
    upkeep.restart()
    upkeep.specimens.rank_noted()
    upkeep.specimens.rank_again("PAT-07")
    assert upkeep.made() == [[("A", 1), ("B", 1)]]
    upkeep.rank("A", revision=2, inputs_digest="d" * 64)
    upkeep.specimens.rank_noted()
    assert upkeep.made() == [[("A", 1), ("B", 1)], [("A", 2), ("B", 1)]]
    assert upkeep.names() == {
        f"specimen-PAT-07/{name}" for name in FILES | {"r2.json", "r2.csv", "r2.html"}
    }


def test_a_crash_between_the_plates_and_the_specimen_loses_nothing(upkeep: Upkeep) -> None:
    upkeep.rank("A")
    upkeep.rank("B")
    upkeep.restart()
    upkeep.specimens.rank_noted()
    assert upkeep.made() == [[("A", 1), ("B", 1)]]
    shutil.rmtree(upkeep.folder)
    upkeep.restart()
    upkeep.specimens.rank_noted()
    assert upkeep.names() == {f"specimen-PAT-07/{name}" for name in FILES}
    assert len(upkeep.made()) == 1


def test_a_plate_that_turns_out_to_be_of_another_specimen_leaves_the_first(upkeep: Upkeep) -> None:
    upkeep.rank("A")
    upkeep.rank("B")
    upkeep.specimens.rank_noted()
    upkeep.rank("B", "PAT-08", revision=2)
    upkeep.specimens.rank_noted()
    assert upkeep.made() == [[("A", 1), ("B", 1)], [("A", 1)]]
    assert upkeep.made("PAT-08") == []
    assert "Only plate A could be used" in upkeep.store.specimen_rankings("PAT-07")[-1].notes[0]


def test_what_the_store_does_not_take_is_tried_again(
    upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    upkeep.rank("A")
    upkeep.rank("B")

    def full(*_: object) -> int:
        raise StoreError("store", "database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(SqlStore, "add_specimen_ranking", full)
        with pytest.raises(StoreError):
            upkeep.specimens.rank_noted()
    upkeep.specimens.rank_noted()
    assert upkeep.made() == [[("A", 1), ("B", 1)]]


def test_files_that_cannot_be_written_raise_an_alert_and_the_ranking_is_kept(
    upkeep: Upkeep,
) -> None:
    upkeep.folder.write_text("no folder")
    upkeep.rank("A")
    upkeep.rank("B")
    upkeep.specimens.rank_noted()
    assert len(upkeep.made()) == 1
    assert upkeep.alerts.stands(AlertKind.DISK, "specimen PAT-07 r1")


def test_a_plate_that_bears_the_name_of_the_folder_keeps_it(upkeep: Upkeep) -> None:
    upkeep.rank("specimen-PAT-07")
    upkeep.rank("B")
    upkeep.specimens.rank_noted()
    assert len(upkeep.made()) == 1
    assert upkeep.alerts.stands(AlertKind.DISK, "specimen PAT-07 r1")
    assert not upkeep.folder.exists()
