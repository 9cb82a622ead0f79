"""A line of cells whose calibration raises an exception does not stop the service."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.calibrations import Calibrations
from daemon.heartbeat import Stopping
from schemas.errors import StoreError
from store.sql_store import SqlStore
from tests.made_up_site import Site
from tests.samples import NOW, PLATE, plate_map


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    store = SqlStore(f"sqlite:///{tmp_path}/store.sqlite")
    yield Site(store)
    store.close()


@pytest.mark.parametrize("error", [ZeroDivisionError(), StoreError("db", "locked"), Stopping()])
def test_only_a_stop_and_an_error_of_the_store_end_the_learning(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    site.store.save_plate_map(plate_map(), NOW)
    calibrations = site.days.calibrations
    calibrations.note(PLATE)
    calls = []

    def fail(self: Calibrations, *_: object) -> None:
        del self
        calls.append(1)
        raise error

    monkeypatch.setattr(Calibrations, "_find", fail)
    if isinstance(error, ZeroDivisionError):
        calibrations.learn_noted()
        calibrations.learn_noted()
        assert calls == [1]  # the line is learned again after its next assay
    else:
        with pytest.raises(type(error)):
            calibrations.learn_noted()
