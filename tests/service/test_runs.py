"""A plate id that is used again: rankings, calibrations and specimens, and the real service."""

import json
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import tifffile

from daemon.assay_plates import PlateKind
from daemon.encoder_switch import check_all_embedded
from daemon.specimens import Specimens
from schemas.errors import ConfigError
from schemas.plate_map import PlateMap
from schemas.ranking import Gate, Ranking, TreatmentTable
from simulation.kinds import Mechanism
from simulation.microscope import virtual_microscopes
from simulation.robot import write_plates
from store.embedding_ledger import SqlEmbeddingLedger
from tests.made_up_site import MEASURED_BY, Site, small
from tests.service.test_calibrations import calibrated, imaged
from tests.service_process import DAYS, PLATE, WELLS, ServiceProcess
from tests.small_plates import with_few_wells

KIND = PlateKind(with_scale=True, measured_by=MEASURED_BY)

RUN_2_LATER = timedelta(days=13)  # the readout of run 1 is on day 10
LINE = 'line = "B"\n'  # so that run 2 does not use the untreated wells of run 1


def again(plate: str, run: int = 2, **changes: object) -> PlateMap:
    """Return the map of a later run: other labels, seeded a month after the run before."""
    of = small(plate, 30 * (run - 1), run=run, **changes)
    return of.model_copy(update={"entries": tuple(sorted(of.entries, key=lambda each: each.well))})


def identity(ranking: Ranking) -> tuple[int, int, int, int | None]:
    return ranking.run, ranking.day, ranking.revision, ranking.replaces


def test_a_later_run_is_ranked_from_its_own_images_and_continues_the_revisions(site: Site) -> None:
    first, second = small("P"), again("P")
    [old] = site.rank(site.add(first))
    site.store.save_plate_map(second, site.now)
    assert site.rank(second) == []
    site.add(second, days=(6, 7))
    assert site.rank(second) == []
    [new] = site.rank(site.add(second, days=(10,)))
    assert [identity(each) for each in (old, new)] == [(1, 10, 1, None), (2, 10, 2, None)]
    assert [old.seeded_at, new.seeded_at] == [first.seeded_at, second.seeded_at]
    assert {row.well: row.treatment for row in new.wells} == {
        entry.well: entry.treatment for entry in second.entries
    }
    assert not new.quality.missing_images
    assert site.store.rankings("P") == [old, new]
    site.image(second, second.entries[-1].well, 10, seed=1)
    assert [identity(each) for each in site.rank(second)] == [(2, 10, 3, 2)]


def test_a_run_chooses_its_method_itself(site: Site) -> None:
    [old] = site.rank(imaged(site, "P"))
    assert old.method == "departure"
    calibrated(site)
    second = imaged(site, "P", 30, run=2)
    [new] = site.rank(second)
    assert (new.method, new.run) == ("deterioration", 2)


def test_a_corrected_seeding_ranks_the_run_again(site: Site) -> None:
    [first] = site.rank(site.add(small("P")))
    corrected = small("P").model_copy(update={"seeded_at": first.created_at - timedelta(days=12.5)})
    site.store.save_plate_map(corrected, site.now)
    [second] = site.rank(corrected)
    assert identity(second) == (1, 10, 2, 1)
    assert second.seeded_at == corrected.seeded_at


def test_a_map_that_goes_back_makes_no_ranking(site: Site) -> None:
    first = small("P")
    site.rank(site.add(first))
    for each in (again("P"), first):
        site.store.save_plate_map(each, site.now)
    assert site.rank(first) == []
    assert site.again(first) is None


def test_assay_plates_whose_ids_are_used_again_calibrate_with_their_own_labels(site: Site) -> None:
    calibrated(site)
    own = imaged(site, "own", 9)
    before = site.days.calibrations.choose(own, None, KIND).card
    assert before is not None
    assert before.valid
    for number in range(4):
        site.add(again(f"assay-{number}"), days=(7, 10), seed=7)
    site.restart()
    assert site.days.calibrations.choose(own, None, KIND).card == before
    # The run of an assay plate before this one is another plate, which may calibrate it.
    later = site.days.calibrations.choose(again("assay-0"), None, KIND).card
    assert later == before


def test_the_earlier_run_of_a_plate_is_one_of_its_earlier_plates(site: Site) -> None:
    site.add(small("P"))
    [ranking] = site.rank(site.add(again("P")))
    assert ranking.earlier_plates == ("P",)
    [ranking] = site.rank(site.add(small("Q", 15)))
    assert ranking.earlier_plates == ("P",)


def specimens_of(site: Site) -> Specimens:
    return Specimens(
        store=site.store,
        seed=1,
        config_digest="c" * 64,
        code_version="0.1.0",
        write=lambda _ranking: (),
        alerts=site.days.alerts,
        clock=site.clock,
    )


def test_a_specimen_keeps_the_ranking_of_a_run_when_its_plate_id_is_used_again(site: Site) -> None:
    for plate in ("P", "Q"):
        site.rank(site.add(small(plate, specimen="PAT-07")))
    site.store.save_plate_map(again("P", specimen="PAT-08"), site.now)
    ranking = specimens_of(site).rank_again("PAT-07")
    assert [(each.plate, each.run, each.revision) for each in ranking.plates] == [
        ("P", 1, 1),
        ("Q", 1, 1),
    ]


def test_two_runs_of_one_plate_id_are_two_plates_of_a_specimen(site: Site) -> None:
    for plate in (small("P", specimen="PAT-07"), again("P", specimen="PAT-07")):
        site.rank(site.add(plate))
    ranking = specimens_of(site).rank_again("PAT-07")
    assert [(each.label, each.left_out) for each in ranking.plates] == [
        ("P", None),
        ("P run 2", None),
    ]
    assert {len(row.plates) for row in ranking.treatments} == {2}


def test_an_encoder_is_not_changed_while_the_current_run_is_unfinished(
    site: Site, tmp_path: Path
) -> None:
    ledger = SqlEmbeddingLedger(f"sqlite:///{tmp_path}/store.sqlite")
    site.rank(site.add(small("P")))
    check_all_embedded(ledger, site.store, "another")
    second = site.add(again("P"), days=(6,))
    with pytest.raises(ConfigError, match=r"another has not embedded 20 of 20 images of P;"):
        check_all_embedded(ledger, site.store, "another")
    # The images of the finished run alone need no embedding.
    for image in ledger.not_embedded("P", "another"):
        if image.key.run == second.run:
            ledger.add_embedding(
                image.observation_id, "another", site.look(second, "B02", 6).embedding
            )
    check_all_embedded(ledger, site.store, "another")
    ledger.close()


# The service in its own process, with images of two virtual plates that have one plate id.


@pytest.fixture(scope="module")
def second_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a drop folder with another virtual plate under the id of the rendered plate."""
    out = tmp_path_factory.mktemp("second_run")
    (scope,) = virtual_microscopes(1, 6, 128, mechanism=Mechanism.IN_PLACE)
    few = with_few_wells(scope, untreated=8, single_dose=2, treatments=2)
    plate = replace(few.plate, name=PLATE, seeded_at=few.plate.seeded_at + RUN_2_LATER)
    write_plates(out, [replace(few, plate=plate)], days=DAYS)
    toml = out / "drop" / PLATE / f"{PLATE}.plate.toml"
    toml.write_text(toml.read_text() + LINE)
    return out / "drop"


def table(ranking: Ranking) -> dict[str, object]:
    """Return the treatments, wells and quality of a ranking."""
    return ranking.model_dump(include=set(TreatmentTable.model_fields))


def copy_map(source: Path, service: ServiceProcess) -> None:
    for name in ("plate.toml", "wells.csv"):
        shutil.copy(source / PLATE / f"{PLATE}.{name}", service.drop / PLATE)


@pytest.fixture(scope="module")
def alone(second_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Ranking]:
    """Return the rankings of a service that sees the images of run 2 only."""
    service = ServiceProcess(tmp_path_factory.mktemp("alone"))
    shutil.copytree(second_run, service.drop)
    service.configure()
    done = service.run_once()
    assert done.returncode == 0, done.stderr
    return service.rankings()


def test_a_plate_id_that_is_used_again_is_ranked_from_its_new_images_alone(
    service: ServiceProcess, second_run: Path, alone: list[Ranking]
) -> None:
    assert service.run_once().returncode == 0
    first = service.rankings()
    folder = service.folder / "rankings" / PLATE
    files = {path: path.read_bytes() for path in folder.iterdir() if path.name != "latest.json"}

    copy_map(second_run, service)
    assert service.run_once().returncode == 0
    [*before, without_readout] = service.rankings()  # its readout deadline has passed
    assert before == first
    assert identity(without_readout) == (2, 10, 2, None)
    assert without_readout.quality.gate is Gate.NO_READOUT
    alerts = service.events("alert.raised")
    assert [alert["kind"] for alert in alerts] == ["plate_map", "images_missing"]
    assert "run 2 starts" in alerts[0]["message"]
    files |= {path: path.read_bytes() for path in folder.glob("day10-r2*")}

    shutil.copytree(second_run, service.drop, dirs_exist_ok=True)
    assert service.run_once().returncode == 0
    of_run_2 = [each for each in service.rankings() if each.run == 2 and each.treatments]
    assert [identity(each) for each in of_run_2] == [(2, 8, 2, None), (2, 10, 3, 2)]
    assert [each.final for each in of_run_2] == [False, True]
    assert [table(each) for each in of_run_2] == [table(each) for each in alone]
    assert {path: path.read_bytes() for path in files} == files
    latest = json.loads((folder / "latest.json").read_bytes())
    assert (latest["run"], latest["day"], latest["revision"]) == (2, 10, 3)
    with service.store() as store:
        runs = [image.key.run for image in store.arrived(PLATE)]
    assert (runs.count(1), runs.count(2)) == (WELLS * len(DAYS), WELLS * len(DAYS))

    assert service.run_once().returncode == 0  # after a restart nothing is ranked again
    assert len(service.rankings()) == len(first) + 1 + len(of_run_2)


def test_a_new_store_ranks_the_run_of_the_map_although_older_files_lie_in_its_folder(
    service: ServiceProcess, second_run: Path, alone: list[Ranking]
) -> None:
    service.configure(source='pattern = "{plate}/day{day}/{id}-{well}_z{plane}.tif"')
    for image in sorted(service.drop.rglob("*.tif")):
        image.rename(image.with_name(f"old-{image.name}"))
    copy_map(second_run, service)
    for image in sorted(second_run.rglob("*.tif")):
        day = service.drop / PLATE / image.parent.name
        shutil.copyfile(image, day / f"new-{image.name}")
    assert service.run_once().returncode == 0
    rankings = service.rankings()
    assert [identity(each) for each in rankings] == [(1, 8, 1, None), (1, 10, 1, None)]
    assert [table(each) for each in rankings] == [table(each) for each in alone]
    [alert] = service.events("alert.raised")
    assert alert["kind"] == "plate_map"
    assert "outside run 1" in alert["message"]
    with service.store() as store:
        runs = [image.key.run for image in store.arrived(PLATE)]
    assert (runs.count(0), runs.count(1)) == (WELLS * len(DAYS), WELLS * len(DAYS))


def remove_times(folder: Path) -> None:
    """Write the images of a folder again without their time."""
    for image in folder.rglob("*.tif"):
        pixels = tifffile.imread(image)
        tifffile.imwrite(image, pixels, metadata=None, datetime=None)


@pytest.mark.slow
def test_a_running_service_separates_two_runs_whose_images_have_no_time(
    service: ServiceProcess, second_run: Path, alone: list[Ranking], tmp_path: Path
) -> None:
    remove_times(service.drop)
    with_no_time = tmp_path / "with_no_time"
    shutil.copytree(second_run, with_no_time)
    remove_times(with_no_time)
    with service.running():
        service.wait_for(lambda: [each for each in service.rankings() if each.final])
        first = service.rankings()
        copy_map(with_no_time, service)  # and the images at once
        for image in sorted(with_no_time.rglob("*.tif")):
            shutil.copyfile(image, service.drop / image.relative_to(with_no_time))
        service.wait_for(
            lambda: [each for each in service.rankings() if each.final and each.run == 2]
        )
    rankings = service.rankings()
    assert [identity(each) for each in rankings] == [
        (1, 8, 1, None),
        (2, 8, 2, None),
        (1, 10, 1, None),
        (2, 10, 2, None),
    ]
    assert [each for each in rankings if each.run == 1] == first
    assert [table(each) for each in rankings if each.run == 2] == [table(each) for each in alone]
