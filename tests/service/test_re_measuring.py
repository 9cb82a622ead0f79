"""Another segmenter between dosing and readout, and the command ``spherorank measure --store``."""

import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemon.commands import app
from schemas.ranking import Ranking
from tests.service.test_specimens import add_plate
from tests.service_process import PLATE, WELLS, ServiceProcess

OTHER = "VIRTUAL-0005-02"
CLASSICAL = "classical-"


def use_segmenter(service: ServiceProcess, name: str) -> None:
    """Set ``tissue.segmenter`` in the configuration file."""
    service.configure()
    service.config.write_text(f'{service.config.read_text()}[tissue]\nsegmenter = "{name}"\n')


def methods(service: ServiceProcess, plate: str = PLATE) -> list[str | None]:
    """Return the method that measured each stored image of a plate."""
    with service.store() as store:
        return [image.measured_by for image in store.arrived(plate)]


def learned_methods(service: ServiceProcess) -> set[str | None]:
    """Return the methods other than the classical ones that measured images of both plates."""
    found = methods(service) + methods(service, OTHER)
    return {each for each in found if CLASSICAL not in str(each)}


def outdated(service: ServiceProcess, method: str) -> dict[str, int]:
    """Return the number of images of each plate that a method has not measured."""
    with service.store() as store:
        return {each.plate: each.outdated for each in store.outdated_measures(method)}


def newest(service: ServiceProcess) -> Ranking:
    """Return the newest ranking; the first one has no readout, because its deadline has passed."""
    *_, found = service.rankings()
    assert found.final
    return found


@pytest.fixture(scope="module")
def dosed(tmp_path_factory: pytest.TempPathFactory, rendered: Path) -> Path:
    """Return the folder of a service that has ingested a plate up to dosing."""
    service = ServiceProcess(tmp_path_factory.mktemp("dosed"))
    shutil.copytree(rendered / "drop", service.drop)
    shutil.rmtree(service.drop / PLATE / "day08")
    (service.drop / PLATE / "day10").rename(service.folder / "day10")
    service.configure()
    done = service.run_once()
    assert done.returncode == 0, done.stderr
    return service.folder


@pytest.fixture
def upgraded(tmp_path: Path, dosed: Path) -> ServiceProcess:
    """Return a copy of the service, with another segmenter and the images of the readout."""
    service = ServiceProcess(tmp_path / "site")
    shutil.copytree(dosed, service.folder, ignore=shutil.ignore_patterns("events", "requests"))
    use_segmenter(service, "learned")
    (service.folder / "day10").rename(service.drop / PLATE / "day10")
    return service


@pytest.mark.timeout(300)
def test_a_plate_that_two_segmenters_measured_is_measured_again_before_it_is_ranked(
    upgraded: ServiceProcess,
) -> None:
    checked = upgraded.ask("check")
    assert f"plate {PLATE}: {WELLS} of {WELLS} images" in checked.stdout
    assert "spherorank measure --store measures all of them" in checked.stdout
    assert checked.returncode == 0, checked.stderr

    done = upgraded.run_once()
    assert done.returncode == 0, done.stderr
    [method] = set(methods(upgraded))
    assert method is not None
    assert not method.startswith(CLASSICAL)
    ranking = newest(upgraded)
    assert (ranking.representation, ranking.measured_by) == ("both", method)
    assert not any("were measured by" in note for note in ranking.notes)
    [replaced] = upgraded.events("measures.replaced")
    assert (replaced["images"], replaced["kept"]) == (WELLS, 0)


@pytest.mark.timeout(300)
def test_images_whose_files_are_gone_are_never_mixed_with_those_of_the_next_segmenter(
    upgraded: ServiceProcess,
) -> None:
    shutil.rmtree(upgraded.drop / PLATE / "day07")
    done = upgraded.run_once()
    assert done.returncode == 0, done.stderr
    ranking = newest(upgraded)
    assert ranking.representation == "embedding"
    [note] = [note for note in ranking.notes if "were measured by" in note]
    assert note.startswith(f"The measures of {WELLS} images are not used")
    assert "`spherorank measure --store`" in note
    assert not any("_change" in name for well in ranking.wells for name in well.measures)
    assert "measures" in {each["kind"] for each in upgraded.events("alert.raised")}

    asked = upgraded.ask("measure", "--store")
    assert asked.returncode == 1
    assert f"{WELLS} keep their earlier measures" in asked.stdout
    assert f"{PLATE}/day07/" in asked.stderr
    assert "is missing, or not the version that was ingested" in asked.stderr
    kept = [method for method in methods(upgraded) if str(method).startswith(CLASSICAL)]
    assert len(kept) == WELLS


@pytest.mark.timeout(300)
def test_a_killed_measurement_loses_nothing_and_continues(upgraded: ServiceProcess) -> None:
    use_segmenter(upgraded, "classical")
    shutil.rmtree(upgraded.drop / PLATE / "day10")
    add_plate(upgraded, OTHER, "PAT-07")
    done = upgraded.run_once()
    assert done.returncode == 0, done.stderr
    assert [len(methods(upgraded, plate)) for plate in (PLATE, OTHER)] == [WELLS, WELLS]

    use_segmenter(upgraded, "learned")
    command = upgraded.command("measure", "--store", "--jobs", "2")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        upgraded.wait_for(lambda: learned_methods(upgraded))
        process.send_signal(signal.SIGKILL)
    [method] = learned_methods(upgraded)
    left = outdated(upgraded, str(method))
    assert 0 in left.values()
    assert set(left.values()) <= {0, WELLS}, "a plate is measured completely or not at all"

    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert again.returncode == 0, again.stderr
    assert again.stdout == (
        f"{sum(left.values())} images measured by {method}, 0 keep their earlier measures\n"
    )
    assert outdated(upgraded, str(method)) == {PLATE: 0, OTHER: 0}


def test_an_unmounted_folder_is_not_mistaken_for_missing_files(upgraded: ServiceProcess) -> None:
    upgraded.drop.rename(upgraded.folder / "aside")
    upgraded.drop.mkdir()
    asked = upgraded.ask("measure", "--store")
    assert asked.returncode == 1
    assert "is the share mounted?" in asked.stderr
    assert all(str(method).startswith(CLASSICAL) for method in methods(upgraded))


@pytest.mark.parametrize(
    "arguments",
    [
        ["measure"],
        ["measure", "a.tif"],
        ["measure", "--store", "a.tif"],
        ["measure", "--store", "--out", "m.csv"],
        ["measure", "--store", "--um-per-px", "1"],
    ],
)
def test_measure_needs_either_image_files_or_the_store(arguments: list[str]) -> None:
    asked = CliRunner().invoke(app, arguments)
    assert asked.exit_code == 2
    assert "expected image files with --out, or --store alone" in " ".join(
        asked.stderr.replace("│", " ").split()
    )
