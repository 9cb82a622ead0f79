"""Rankings as files: ``<plate>/day10-r1.{json,csv,html}``, ``day10-r1-wells.csv`` and ``latest.json``. What stands under its name is whole."""

from collections.abc import Callable, Mapping
from pathlib import Path

from daemon.reports.ranking_page import report_html
from daemon.reports.revision_files import Identity, Revision, missing_files, write_revision
from schemas.errors import OutputError
from schemas.ranking import Ranking
from schemas.tables import treatments_csv, wells_csv

Pictures = Callable[[], Mapping[str, bytes]]
"""The JPEG of each well that has one, asked for only where a page is written."""


class _Identity(Identity):
    plate: str
    day: int

    @property
    def order(self) -> tuple[int, ...]:
        """A later day goes before a later revision."""
        return self.day, self.revision


def write_ranking(ranking: Ranking, pictures: Pictures, folder: Path) -> list[Path]:
    """Write what is missing of a ranking's files below ``folder``, ``latest.json`` last; return the paths of all of them.

    A revision's files are never written over. ``latest.json`` only ever goes to a later day or revision.

    Raises
    ------
    OutputError
        If a file cannot be written, or another ranking of this name stands there. Trying again later goes on where it failed.
    """
    return write_revision(_revision(ranking, pictures, folder))


def missing(ranking: Ranking, folder: Path) -> list[Path]:
    """Return which of a ranking's files are not there; ``latest.json`` among them while it is absent or tells of an earlier day or revision.

    Raises
    ------
    OutputError
        If the folder cannot be looked into.
    """
    return missing_files(_revision(ranking, dict, folder))


def _revision(ranking: Ranking, pictures: Pictures, folder: Path) -> Revision:
    if ranking.plate in (".", "..") or "/" in ranking.plate:
        raise OutputError(
            folder, f"plate {ranking.plate!r} cannot name a folder; expected another plate id"
        )
    lead = ranking.model_dump(mode="json", include={"plate", "day", "revision", "final"})
    return Revision(
        folder / ranking.plate,
        _Identity.model_validate(ranking),
        {
            f"{ranking.name}.json": lambda: ranking.model_dump_json(indent=2) + "\n",
            f"{ranking.name}.csv": lambda: treatments_csv([(lead, ranking)]),
            f"{ranking.name}-wells.csv": lambda: wells_csv([(lead, ranking)]),
            f"{ranking.name}.html": lambda: report_html(ranking, pictures()),
        },
    )
