"""Files of a ranking that cannot be written: an alert, and another attempt at a later check."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from daemon.daily import DailyPath
from daemon.reports.ranking_files import PictureReader
from schemas.errors import OutputError
from schemas.messages import AlertKind
from schemas.ranking import Ranking
from store.sql_store import SqlStore
from tests.made_up_site import Site
from tests.samples import PLATE, ranking


@dataclass
class Printer:
    """A writer of ranking files that raises an exception until it is repaired."""

    error: Exception | None
    written: list[str] = field(default_factory=list)

    def __call__(self, of: Ranking, pictures: PictureReader) -> Sequence[Path]:
        del pictures
        if self.error is not None:
            raise self.error
        self.written.append(of.plate)
        return ()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    store = SqlStore(f"sqlite:///{tmp_path}/store.sqlite")
    yield store
    store.close()


@pytest.mark.parametrize("error", [OutputError("day10", "disk full"), KeyError("unexpected")])
def test_files_that_cannot_be_written_are_written_at_a_later_sweep(
    store: SqlStore, error: Exception
) -> None:
    site, printer = Site(store), Printer(error)
    days: DailyPath = replace(site.days, write=printer)
    days.write_files(ranking())
    assert len(site.alerts(AlertKind.DISK)) == 1
    days.write_missing_files()
    assert printer.written == []
    printer.error = None
    days.write_missing_files()
    days.write_missing_files()
    assert printer.written == [PLATE]
    assert not days.alerts.is_active(AlertKind.DISK, f"{PLATE} {ranking().name}")
