"""Fixtures of the service tests: a small virtual plate, the service on it, and a site."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulation.kinds import Mechanism
from simulation.microscope import virtual_microscopes
from simulation.robot import write_plates
from store.sql_store import SqlStore
from tests.made_up_site import Site
from tests.service_process import DAYS, ServiceProcess
from tests.small_plates import with_few_wells


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the drop folder of a small virtual plate, rendered on three days."""
    out = tmp_path_factory.mktemp("rendered")
    (scope,) = virtual_microscopes(1, 5, 128, mechanism=Mechanism.SHRINKING)
    few = with_few_wells(scope, untreated=8, single_dose=2, treatments=2)
    write_plates(out, [few], days=DAYS)
    return out


@pytest.fixture
def service(tmp_path: Path, rendered: Path) -> ServiceProcess:
    """Return a service that is not started, with the small plate in its drop folder."""
    made = ServiceProcess(tmp_path)
    shutil.copytree(rendered / "drop", made.drop)
    made.configure()
    return made


@pytest.fixture(scope="session")
def ranked_service(tmp_path_factory: pytest.TempPathFactory, rendered: Path) -> ServiceProcess:
    """Return a service that has ranked the small plate; tests only read it."""
    made = ServiceProcess(tmp_path_factory.mktemp("ranked"))
    shutil.copytree(rendered / "drop", made.drop)
    made.configure()
    done = made.run_once()
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def ranked_copy(tmp_path: Path, ranked_service: ServiceProcess) -> ServiceProcess:
    """Return a copy of the service that has ranked the small plate; tests may change it.

    Copied files keep their modification times, so they are the ingested versions.
    """
    made = ServiceProcess(tmp_path / "copy")
    sockets = shutil.ignore_patterns("events", "requests")
    shutil.copytree(ranked_service.folder, made.folder, ignore=sockets)
    made.configure()
    return made


@pytest.fixture
def empty_service(tmp_path: Path) -> ServiceProcess:
    """Return a service that is not started, with an empty drop folder."""
    made = ServiceProcess(tmp_path)
    made.drop.mkdir()
    made.configure()
    return made


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Yield a site with an empty SQLite store."""
    store = SqlStore(f"sqlite:///{tmp_path}/store.sqlite")
    yield Site(store)
    store.close()
