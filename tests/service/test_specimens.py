"""Two plates of one specimen through the real service, from the drop folder to the files of the specimen."""

import json
import shutil
from pathlib import Path

import pytest

from schemas.ranking import FOR_RESEARCH_USE_ONLY
from schemas.specimen import SpecimenRanking
from tests.service_bench import PLATE, Bench

OTHER = "VIRTUAL-0005-02"
FILES = {"r1.json", "r1.csv", "r1.html", "latest.json"}


def add_plate(bench: Bench, plate: str, specimen: str) -> None:
    """Put the small plate into the drop folder under another name, as another plate of a specimen."""
    folder = bench.drop / plate
    if plate != PLATE:
        shutil.copytree(bench.drop / PLATE, folder)
        (folder / f"{PLATE}.wells.csv").rename(folder / f"{plate}.wells.csv")
        (folder / f"{PLATE}.plate.toml").rename(folder / f"{plate}.plate.toml")
    toml = folder / f"{plate}.plate.toml"
    lines = [line for line in toml.read_text().splitlines() if not line.startswith(("plate =", "specimen ="))]
    toml.write_text("\n".join([f'plate = "{plate}"', f'specimen = "{specimen}"', *lines]) + "\n")


def home(bench: Bench) -> Path:
    return bench.folder / "rankings" / "specimen-PAT-07"


def of_specimen(bench: Bench) -> list[SpecimenRanking]:
    with bench.store() as store:
        return list(store.specimen_rankings("PAT-07"))


def told(bench: Bench) -> list[str]:
    with bench.store() as store:
        return [message.topic for message in store.messages_after(0) if ".specimen." in message.topic]


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory, rendered: Path) -> Path:
    """Let the service rank two plates of PAT-07, once for all tests."""
    bench = Bench(tmp_path_factory.mktemp("once"))
    shutil.copytree(rendered / "drop", bench.drop)
    bench.configure()
    add_plate(bench, OTHER, "PAT-07")
    add_plate(bench, PLATE, "PAT-07")
    done = bench.run_once()
    assert done.returncode == 0, done.stderr
    return bench.folder


@pytest.fixture
def ranked(tmp_path: Path, once: Path) -> Bench:
    """Return a bench whose two plates of PAT-07 have been ranked."""
    bench = Bench(tmp_path)
    shutil.copytree(once, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("events", "requests"))
    bench.configure()
    return bench


def test_plates_of_one_specimen_are_ranked_together_as_well_as_alone(ranked: Bench) -> None:
    [ranking] = of_specimen(ranked)
    assert {path.name for path in home(ranked).iterdir()} == FILES
    assert SpecimenRanking.model_validate_json((home(ranked) / "r1.json").read_bytes()) == ranking
    assert json.loads((home(ranked) / "latest.json").read_bytes()) == json.loads((home(ranked) / "r1.json").read_bytes())
    assert all(FOR_RESEARCH_USE_ONLY in path.read_text() for path in home(ranked).iterdir())
    assert [(plate.plate, plate.left_out) for plate in ranking.plates] == [(PLATE, None), (OTHER, None)]
    alone = ranked.rankings()[-1]
    assert [row.treatment for row in ranking.treatments] == [row.treatment for row in alone.treatments]
    assert [len(row.plates) for row in ranking.treatments] == [2] * len(alone.treatments)
    assert told(ranked) == ["spherorank.v1.specimen.PAT-07"]

    # A restart makes nothing new and mends what was lost.
    (home(ranked) / "r1.html").unlink()
    assert ranked.run_once().returncode == 0
    assert {path.name for path in home(ranked).iterdir()} == FILES
    assert of_specimen(ranked) == [ranking]


def test_a_crash_between_the_plates_and_the_specimen_loses_nothing(ranked: Bench) -> None:
    [before] = of_specimen(ranked)
    shutil.rmtree(home(ranked))
    with ranked.store() as store, store._database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM specimen_ranking")
    assert ranked.run_once().returncode == 0
    [after] = of_specimen(ranked)
    assert after.model_copy(update={"created_at": before.created_at}) == before
    assert {path.name for path in home(ranked).iterdir()} == FILES


def test_a_corrected_plate_makes_the_next_revision_and_a_command_shows_it(ranked: Bench) -> None:
    wells = ranked.drop / OTHER / f"{OTHER}.wells.csv"
    lines = wells.read_text().splitlines()
    dropped = next(number for number, line in enumerate(lines) if ",screening," in line)
    wells.write_text("\n".join(lines[:dropped] + lines[dropped + 1 :]) + "\n")
    assert ranked.run_once().returncode == 0
    first, second = of_specimen(ranked)
    assert (second.revision, second.replaces) == (2, first.revision)
    assert [plate.revision for plate in second.plates] == [1, 2]
    assert json.loads((home(ranked) / "latest.json").read_bytes())["revision"] == 2
    assert FILES | {"r2.json", "r2.csv", "r2.html"} == {path.name for path in home(ranked).iterdir()}
    shown = ranked.ask("rank", "--specimen", "PAT-07")
    assert shown.returncode == 0, shown.stderr
    assert "specimen PAT-07 r2, 2 of 2 plates" in shown.stdout
    assert len(of_specimen(ranked)) == 2
    unknown = ranked.ask("rank", "--specimen", "PAT-09")
    assert unknown.returncode == 1
    assert "specimen PAT-09: is named by no plate in the store" in unknown.stderr


def test_a_plate_that_turns_out_to_be_of_another_specimen_leaves_the_first(ranked: Bench) -> None:
    add_plate(ranked, PLATE, "PAT-08")
    assert ranked.run_once().returncode == 0
    first, second = of_specimen(ranked)
    assert [plate.plate for plate in first.plates] == [PLATE, OTHER]
    assert [plate.plate for plate in second.plates] == [OTHER]
    assert second.notes == (f"Only plate {OTHER} could be used: its own ranking stands here, with nothing to compare it with.",)
    assert not (ranked.folder / "rankings" / "specimen-PAT-08").exists()
    refused = ranked.ask("rank", "--specimen", "PAT-08")
    assert refused.returncode == 1
    assert f"specimen PAT-08: is named by {PLATE} in the store, of which {PLATE} has a final ranking" in refused.stderr
    assert "expected 2 plates or more" in refused.stderr
