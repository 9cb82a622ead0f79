"""Rankings of specimens: by the service in its own process, and by ``Specimens`` on a store."""

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from daemon.alerts import Alerts
from daemon.reports.specimen_files import newest_written_of_specimen, write_specimen
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
    """Add the small plate to the drop folder under a plate name, as a plate of a specimen."""
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


def ranking_folder(service: ServiceProcess) -> Path:
    return service.folder / "rankings" / "specimen-PAT-07"


def rankings_of_specimen(service: ServiceProcess) -> list[SpecimenRanking]:
    with service.store() as store:
        return list(store.specimen_rankings("PAT-07"))


def specimen_topics(service: ServiceProcess) -> list[str]:
    with service.store() as store:
        return [
            message.topic for message in store.messages_after(0) if ".specimen." in message.topic
        ]


@pytest.fixture(scope="module")
def service_folder(tmp_path_factory: pytest.TempPathFactory, rendered: Path) -> Path:
    """Return the folder of a service that has ranked two plates of the specimen PAT-07."""
    service = ServiceProcess(tmp_path_factory.mktemp("service_folder"))
    shutil.copytree(rendered / "drop", service.drop)
    service.configure()
    add_plate(service, OTHER, "PAT-07")
    add_plate(service, PLATE, "PAT-07")
    done = service.run_once()
    assert done.returncode == 0, done.stderr
    return service.folder


@pytest.fixture
def ranked(tmp_path: Path, service_folder: Path) -> ServiceProcess:
    """Return a service that has ranked two plates of PAT-07, in the folder of one test."""
    service = ServiceProcess(tmp_path)
    shutil.copytree(
        service_folder,
        tmp_path,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("events", "requests"),
    )
    service.configure()
    return service


def test_two_plates_of_a_specimen_are_ranked_together_and_each_alone(
    ranked: ServiceProcess,
) -> None:
    [together] = rankings_of_specimen(ranked)
    assert {path.name for path in ranking_folder(ranked).iterdir()} == FILES
    assert (
        SpecimenRanking.model_validate_json((ranking_folder(ranked) / "r1.json").read_bytes())
        == together
    )
    assert json.loads((ranking_folder(ranked) / "latest.json").read_bytes()) == json.loads(
        (ranking_folder(ranked) / "r1.json").read_bytes()
    )
    assert all(
        FOR_RESEARCH_USE_ONLY in path.read_text() for path in ranking_folder(ranked).iterdir()
    )
    assert [(plate.plate, plate.left_out) for plate in together.plates] == [
        (PLATE, None),
        (OTHER, None),
    ]
    alone = ranked.rankings()[-1]
    assert [row.treatment for row in together.treatments] == [
        row.treatment for row in alone.treatments
    ]
    assert [len(row.plates) for row in together.treatments] == [2] * len(alone.treatments)
    assert specimen_topics(ranked) == ["spherorank.v1.specimen.PAT-07"]

    # A restart ranks nothing again and writes a lost file.
    (ranking_folder(ranked) / "r1.html").unlink()
    assert ranked.run_once().returncode == 0
    assert {path.name for path in ranking_folder(ranked).iterdir()} == FILES
    assert rankings_of_specimen(ranked) == [together]


def test_a_corrected_plate_causes_the_next_revision_that_the_rank_command_prints(
    ranked: ServiceProcess,
) -> None:
    wells = ranked.drop / OTHER / f"{OTHER}.wells.csv"
    lines = wells.read_text().splitlines()
    dropped = next(number for number, line in enumerate(lines) if ",screening," in line)
    wells.write_text("\n".join(lines[:dropped] + lines[dropped + 1 :]) + "\n")
    assert ranked.run_once().returncode == 0
    first, second = rankings_of_specimen(ranked)
    assert (second.revision, second.replaces) == (2, first.revision)
    assert [plate.revision for plate in second.plates] == [1, 2]
    assert json.loads((ranking_folder(ranked) / "latest.json").read_bytes())["revision"] == 2
    assert FILES | {"r2.json", "r2.csv", "r2.html"} == {
        path.name for path in ranking_folder(ranked).iterdir()
    }
    shown = ranked.ask("rank", "specimen", "PAT-07")
    assert shown.returncode == 0, shown.stderr
    assert "specimen PAT-07 r2, 2 of 2 plates" in shown.stdout
    assert len(rankings_of_specimen(ranked)) == 2


# Without a process of its own: rankings that are in the store already.


class RankedPlates:
    """Stored rankings of plates, and the ``Specimens`` that rank their specimens."""

    def __init__(self, folder: Path) -> None:
        self.store = SqlStore(f"sqlite:///{folder}/store.sqlite")
        self.folder = folder / "rankings"
        self.restart()

    def restart(self) -> None:
        """Replace ``Specimens`` by a new one on the same store and folder, as a restart does."""
        self.alerts = Alerts(self.store, lambda: NOW)
        self.specimens = Specimens(
            self.store,
            1,
            "c" * 64,
            "0.1.0",
            partial(write_specimen, folder=self.folder),
            self.alerts,
            lambda: NOW,
            partial(newest_written_of_specimen, folder=self.folder),
        )
        for plate in self.store.plates():
            for kept in self.store.rankings(plate):
                self.specimens.note(kept)

    def add_ranking(self, plate: str, specimen: str | None = "PAT-07", **changes: Any) -> None:  # noqa: ANN401 - any field of a ranking
        self.store.save_plate_map(plate_map(plate, specimen=specimen), NOW)
        made = ranking(plate, specimen=specimen, **changes)
        self.store.add_ranking(made, ranking_data(made))
        self.specimens.note(made)

    def used_plates(self, specimen: str = "PAT-07") -> list[list[tuple[str, int]]]:
        """Return, for each revision of a specimen, the name and revision of each plate."""
        return [
            [(plate.plate, plate.revision) for plate in each.plates]
            for each in self.store.specimen_rankings(specimen)
        ]

    def files(self) -> set[str]:
        """Return the paths of all written files, relative to the folder of rankings."""
        return {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*.*")}


@pytest.fixture
def plates(tmp_path: Path) -> Iterator[RankedPlates]:
    made = RankedPlates(tmp_path)
    yield made
    made.store.close()


def test_a_new_store_continues_after_the_revisions_of_a_specimen_that_have_files(
    tmp_path: Path,
) -> None:
    for revision in (1, 2):  # the second store is new, as after the deletion of the database
        plates = RankedPlates(tmp_path)
        for plate in ("A", "B"):
            plates.add_ranking(plate)
        plates.specimens.rank_noted()
        [ranked] = plates.store.specimen_rankings("PAT-07")
        assert (ranked.revision, ranked.replaces) == (revision, None if revision == 1 else 1)
        assert {f"specimen-PAT-07/r{number}.json" for number in range(1, revision + 1)} <= (
            plates.files()
        )
        plates.store.close()
        (tmp_path / "store.sqlite").unlink()


def test_a_specimen_is_ranked_only_with_final_readout_rankings_of_two_plates(
    plates: RankedPlates,
) -> None:
    plates.add_ranking("A")
    plates.add_ranking("B", final=False)
    plates.add_ranking("C", day=9)
    plates.add_ranking("D", None)
    plates.specimens.rank_noted()
    assert plates.used_plates() == []
    with pytest.raises(
        ProfileError,
        match="specimen PAT-07: is named by A, B, C in the store, of which A has a final ranking "
        "of its readout day; expected 2",
    ):
        plates.specimens.rank_again("PAT-07")
    with pytest.raises(ProfileError, match="specimen PAT-09: is named by no plate in the store"):
        plates.specimens.rank_again("PAT-09")


def test_only_a_corrected_plate_causes_a_new_revision(
    plates: RankedPlates,
) -> None:
    plates.add_ranking("A")
    plates.add_ranking("B")
    plates.specimens.rank_noted()
    plates.restart()
    plates.specimens.rank_noted()
    plates.specimens.rank_again("PAT-07")
    assert plates.used_plates() == [[("A", 1), ("B", 1)]]
    plates.add_ranking("A", revision=2, inputs_digest="d" * 64)
    plates.specimens.rank_noted()
    assert plates.used_plates() == [[("A", 1), ("B", 1)], [("A", 2), ("B", 1)]]
    assert plates.files() == {
        f"specimen-PAT-07/{name}" for name in FILES | {"r2.json", "r2.csv", "r2.html"}
    }


def test_after_a_crash_the_specimen_and_its_files_are_completed(plates: RankedPlates) -> None:
    plates.add_ranking("A")
    plates.add_ranking("B")
    plates.restart()
    plates.specimens.rank_noted()
    assert plates.used_plates() == [[("A", 1), ("B", 1)]]
    shutil.rmtree(plates.folder)
    plates.restart()
    plates.specimens.rank_noted()
    assert plates.files() == {f"specimen-PAT-07/{name}" for name in FILES}
    assert len(plates.used_plates()) == 1


def test_a_plate_of_a_corrected_specimen_name_is_removed_from_the_former_specimen(
    plates: RankedPlates,
) -> None:
    plates.add_ranking("A")
    plates.add_ranking("B")
    plates.specimens.rank_noted()
    plates.add_ranking("B", "PAT-08", revision=2)
    plates.specimens.rank_noted()
    assert plates.used_plates() == [[("A", 1), ("B", 1)], [("A", 1)]]
    assert plates.used_plates("PAT-08") == []
    assert "Only plate A could be used" in plates.store.specimen_rankings("PAT-07")[-1].notes[0]


def test_a_ranking_that_cannot_be_stored_is_made_again(
    plates: RankedPlates, monkeypatch: pytest.MonkeyPatch
) -> None:
    plates.add_ranking("A")
    plates.add_ranking("B")

    def full(*_: object) -> int:
        raise StoreError("store", "database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(SqlStore, "add_specimen_ranking", full)
        with pytest.raises(StoreError):
            plates.specimens.rank_noted()
    plates.specimens.rank_noted()
    assert plates.used_plates() == [[("A", 1), ("B", 1)]]


def test_a_specimen_that_raises_an_exception_does_not_stop_the_others(
    plates: RankedPlates, monkeypatch: pytest.MonkeyPatch
) -> None:
    for specimen in ("PAT-06", "PAT-07"):
        plates.add_ranking(f"{specimen} A", specimen)
        plates.add_ranking(f"{specimen} B", specimen)
    rank = Specimens._rank

    def fail_for_one(self: Specimens, specimen: str) -> SpecimenRanking | None:
        if specimen == "PAT-06":
            raise ZeroDivisionError
        return rank(self, specimen)

    with monkeypatch.context() as patched:
        patched.setattr(Specimens, "_rank", fail_for_one)
        plates.specimens.rank_noted()
    assert len(plates.store.specimen_rankings("PAT-07")) == 1
    assert plates.alerts.is_active(AlertKind.RANKING, "specimen PAT-06")
    plates.add_ranking("PAT-06 C", "PAT-06")
    plates.specimens.rank_noted()
    assert len(plates.store.specimen_rankings("PAT-06")) == 1
    assert not plates.alerts.is_active(AlertKind.RANKING, "specimen PAT-06")


def test_files_that_cannot_be_written_raise_an_alert_and_the_ranking_is_stored(
    plates: RankedPlates,
) -> None:
    plates.folder.write_text("no folder")
    plates.add_ranking("A")
    plates.add_ranking("B")
    plates.specimens.rank_noted()
    assert len(plates.used_plates()) == 1
    assert plates.alerts.is_active(AlertKind.DISK, "specimen PAT-07 r1")


def test_a_folder_that_belongs_to_a_plate_of_the_same_name_is_an_alert(
    plates: RankedPlates,
) -> None:
    plates.add_ranking("specimen-PAT-07")
    plates.add_ranking("B")
    plates.specimens.rank_noted()
    assert len(plates.used_plates()) == 1
    assert plates.alerts.is_active(AlertKind.DISK, "specimen PAT-07 r1")
    assert not plates.folder.exists()
