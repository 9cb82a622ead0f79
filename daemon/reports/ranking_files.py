"""Files of a plate's rankings: ``<plate>/day10-r1.{json,csv,html}`` and ``day10-r1-wells.csv``.

``<plate>/latest.json`` is a copy of the newest ranking's JSON. Files are complete when they appear.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from daemon.reports.ranking_page import ranking_html
from daemon.reports.revision_files import (
    Revision,
    RevisionIdentity,
    Written,
    find_written,
    write_revision,
)
from schemas.errors import OutputError
from schemas.ranking import Ranking
from schemas.tables import treatments_csv, wells_csv

PictureReader = Callable[[], Mapping[str, bytes]]
"""Returns the JPEG pictures by well; it is called only if an HTML page is written."""


class _RankingIdentity(RevisionIdentity):
    """Fields that identify one revision of a ranking of a plate."""

    plate: str
    run: int = 1  # files of earlier versions do not name it
    day: int

    @property
    def order(self) -> tuple[int, ...]:
        """Run, culture day and revision: a ranking of a later day is newer than any revision."""
        return self.run, self.day, self.revision

    @property
    def subject(self) -> str:
        """The plate (id)."""
        return self.plate


class _Run(BaseModel):
    """Fields that all rankings of one day of one run of a plate have in common."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    plate: str
    day: int
    seeded_at: datetime | None = None  # None in files of earlier versions


def write_ranking(ranking: Ranking, pictures: PictureReader, folder: Path) -> list[Path]:
    """Write the missing files of a ranking below ``folder`` and return the paths of all its files.

    ``latest.json`` is written last. Existing files are not overwritten, except that
    ``latest.json`` is replaced by a ranking of a later run, day or revision.

    Raises
    ------
    OutputError
        If a file cannot be written, or a file of this name holds another ranking. A later call
        writes the remaining files.
    """
    home = folder / ranking.plate
    if ranking.plate in (".", "..") or home.parent != folder:  # also C:x on Windows
        raise OutputError(
            folder, f"plate {ranking.plate!r} cannot name a folder; expected another plate id"
        )
    lead = ranking.model_dump(mode="json", include={"plate", "day", "revision", "final"})
    return write_revision(
        Revision(
            home,
            _RankingIdentity.model_validate(ranking),
            {
                f"{ranking.name}.json": lambda: ranking.model_dump_json(indent=2) + "\n",
                f"{ranking.name}.csv": lambda: treatments_csv([(lead, ranking)]),
                f"{ranking.name}-wells.csv": lambda: wells_csv([(lead, ranking)]),
                f"{ranking.name}.html": lambda: ranking_html(ranking, pictures()),
            },
        )
    )


def newest_written(ranking: Ranking, folder: Path) -> Written:
    """Return the newest revision of a ranking's plate and day that has a file below ``folder``."""
    return find_written(folder / ranking.plate, ranking.name, _Run.model_validate(ranking))
