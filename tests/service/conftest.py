"""A small virtual plate for the real service, and a site whose images are made up."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.plate_map import Group
from simulation.kinds import Mechanism
from simulation.microscope import virtual_microscopes
from simulation.robot import write_plates
from store.sql_store import SqlStore
from tests.made_up_site import Site
from tests.service_process import DAYS, ServiceProcess


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Render a small plate on three days, once."""
    out = tmp_path_factory.mktemp("rendered")
    (scope,) = virtual_microscopes(1, 5, 128, mechanism=Mechanism.SHRINKING)
    treatments = list(
        dict.fromkeys(plan.treatment for plan in scope.plate.wells if plan.group is Group.SCREENING)
    )[:5]
    kept = [
        *[plan for plan in scope.plate.wells if plan.group is Group.UNTREATED][:10],
        *[plan for plan in scope.plate.wells if plan.group is Group.SINGLE_DOSE][:3],
        *[plan for plan in scope.plate.wells if plan.treatment in treatments],
    ]
    write_plates(out, [replace(scope, plate=replace(scope.plate, wells=tuple(kept)))], days=DAYS)
    return out


@pytest.fixture
def service(tmp_path: Path, rendered: Path) -> ServiceProcess:
    """Put the plate in a drop folder, not yet looked at by any service."""
    made = ServiceProcess(tmp_path)
    shutil.copytree(rendered / "drop", made.drop)
    made.configure()
    return made


@pytest.fixture
def empty_service(tmp_path: Path) -> ServiceProcess:
    """Make a drop folder with nothing in it."""
    made = ServiceProcess(tmp_path)
    made.drop.mkdir()
    made.configure()
    return made


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Open a store that has nothing yet."""
    store = SqlStore(f"sqlite:///{tmp_path}/store.sqlite")
    yield Site(store)
    store.close()
