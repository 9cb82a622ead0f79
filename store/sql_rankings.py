"""SQL implementation of the ports RankingStore and SpecimenStore of the store."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, and_, func, select

from schemas.errors import StoreError
from schemas.messages import MessageData
from schemas.ranking import Ranking
from schemas.specimen import SpecimenRanking
from store.checksums import read_rows, with_checksum
from store.plate_changes import note_changes
from store.sql_part import SqlPart
from store.tables import final_messages, rankings, specimen_rankings


class SqlRankings(SqlPart):
    """Every revision of the rankings of plates and specimens."""

    def rankings(self, plate: str) -> Sequence[Ranking]:
        """Return every ranking of a plate, by day and revision."""
        query = (
            select(rankings)
            .where(rankings.c.plate == plate)
            .order_by(rankings.c.day, rankings.c.revision)
        )
        with self._database.reading() as connection:
            return read_rows(connection, query, rankings, _ranking_of)

    def add_ranking(self, ranking: Ranking, message: MessageData) -> int:
        """Commit a ranking and its message in one transaction; return the message's number.

        Raises
        ------
        StoreError
            Also if this revision exists: a published ranking never changes.
        """
        with self._database.writing() as connection:
            this = and_(rankings.c.plate == ranking.plate, rankings.c.day == ranking.day)
            newest = connection.scalar(select(func.max(rankings.c.revision)).where(this)) or 0
            if connection.scalar(select(1).where(this, rankings.c.revision == ranking.revision)):
                raise StoreError(
                    self._database.where,
                    f"the ranking {ranking.plate} {ranking.name} exists already; expected "
                    f"revision {newest + 1}",
                )
            sequence = self._enqueue(connection, message, ranking.created_at)
            row = {
                name: getattr(ranking, name)
                for name in ("plate", "day", "revision", "final", "created_at")
            }
            row["content"] = ranking.model_dump(mode="json", include=set(Ranking.model_fields))
            connection.execute(rankings.insert().values(with_checksum(rankings, row)))
            note_changes(connection, [ranking.plate])
            if ranking.final:
                values = {name: row[name] for name in ("plate", "day", "revision", "created_at")}
                connection.execute(
                    final_messages.insert().values(
                        service=self._service, sequence=sequence, **values
                    )
                )
            return sequence

    def specimen_rankings(self, specimen: str) -> Sequence[SpecimenRanking]:
        """Return every ranking of a specimen, by revision."""
        query = (
            select(specimen_rankings)
            .where(specimen_rankings.c.specimen == specimen)
            .order_by(specimen_rankings.c.revision)
        )
        with self._database.reading() as connection:
            return read_rows(connection, query, specimen_rankings, _specimen_ranking_of)

    def add_specimen_ranking(self, ranking: SpecimenRanking, message: MessageData) -> int:
        """Commit a specimen's ranking and its message together; return the message's number.

        Raises
        ------
        StoreError
            Also if this revision exists: a published ranking never changes.
        """
        with self._database.writing() as connection:
            this = specimen_rankings.c.specimen == ranking.specimen
            newest = (
                connection.scalar(select(func.max(specimen_rankings.c.revision)).where(this)) or 0
            )
            if ranking.revision <= newest:
                raise StoreError(
                    self._database.where,
                    f"the ranking {ranking.name} of specimen {ranking.specimen} exists already; "
                    f"expected r{newest + 1}",
                )
            sequence = self._enqueue(connection, message, ranking.created_at)
            row = {name: getattr(ranking, name) for name in ("specimen", "revision", "created_at")}
            content = ranking.model_dump(mode="json", include=set(SpecimenRanking.model_fields))
            row = with_checksum(specimen_rankings, row | {"content": content})
            connection.execute(specimen_rankings.insert().values(row))
            return sequence


def _ranking_of(row: Row[Any]) -> Ranking:
    return Ranking.model_validate(row.content)


def _specimen_ranking_of(row: Row[Any]) -> SpecimenRanking:
    return SpecimenRanking.model_validate(row.content)
