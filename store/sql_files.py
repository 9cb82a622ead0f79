"""SQL implementation of :class:`store.ports.FileLedger`."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice

from sqlalchemy import and_, select, tuple_

from schemas.messages import MessageData
from schemas.observation import Outcome, RejectedFile
from schemas.well_image import FileVersion, Rejected, WellImage
from store.sql_part import SqlPart
from store.tables import file_versions

PATHS_AT_ONCE = 1000
"""The outcomes of many files are read in portions of this many paths."""


class SqlFileLedger(SqlPart):
    """The recorded outcome of every file version."""

    def ended_files(self, paths: Iterable[str]) -> Iterator[FileVersion]:
        """Return every FileVersion of some paths that has an outcome."""
        columns = file_versions.c.path, file_versions.c.size, file_versions.c.mtime_ns
        rest = iter(paths)
        while portion := list(islice(rest, PATHS_AT_ONCE)):
            query = select(*columns).where(
                file_versions.c.service == self._service, file_versions.c.path.in_(portion)
            )
            with self._database.reading() as connection:
                rows = connection.execute(query).all()
            yield from (FileVersion(*row) for row in rows)

    def rejected(self) -> Sequence[RejectedFile]:
        """Return the newest RejectedFile of each path without a later outcome, oldest first."""
        later = file_versions.alias("later")
        undone = and_(
            later.c.service == file_versions.c.service,
            later.c.path == file_versions.c.path,
            tuple_(later.c.ended_at, later.c.mtime_ns)
            > tuple_(file_versions.c.ended_at, file_versions.c.mtime_ns),
        )
        query = (
            select(file_versions)
            .where(
                file_versions.c.service == self._service,
                file_versions.c.outcome == Outcome.REJECTED,
                ~select(1).where(undone).exists(),
            )
            .order_by(file_versions.c.ended_at, file_versions.c.path)
        )
        with self._database.reading() as connection:
            return [
                RejectedFile(
                    row.path, row.size, row.mtime_ns, row.plate, row.well, row.reason, row.ended_at
                )
                for row in connection.execute(query)
            ]

    def add_rejected(self, rejected: Rejected, message: MessageData, now: datetime) -> int:
        """Commit rejected files with their message and the time; return the message's number."""
        with self._database.writing() as connection:
            sequence = self._enqueue(connection, message, now)
            self._record_outcome(
                connection,
                rejected.files,
                Outcome.REJECTED,
                at=now,
                plate=rejected.plate,
                well=rejected.well,
                reason=rejected.reason,
            )
            return sequence

    def add_duplicate(self, image: WellImage, now: datetime) -> None:
        """Record, at a time, that the files of a WellImage hold pixels that are already stored."""
        with self._database.writing() as connection:
            self._record_outcome(
                connection,
                image.files,
                Outcome.DUPLICATE,
                at=now,
                plate=image.key.plate,
                well=image.key.well,
            )
