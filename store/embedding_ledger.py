"""SQL implementation of :class:`store.ports.EmbeddingLedger`."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sqlalchemy import and_, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from schemas.observation import EmbeddingProgress, StoredImage
from store.checksums import read_rows, with_checksum
from store.database import Database
from store.plate_changes import note_changes, plate_of
from store.rows import stored_image_of
from store.tables import embedding_refusals, embeddings, observations


class SqlEmbeddingLedger:
    """Embeddings and refusals of the images of one service by encoders that were installed later.

    Parameters and errors are those of :class:`store.sql_part.SqlPart`. Images of other services are
    not included, because their paths belong to other folders.
    """

    def __init__(self, url: str, *, service: str = "spherorank", timeout_s: float = 10.0) -> None:
        self._service = service
        self._database = Database(url, timeout_s=timeout_s)
        self._insert = (
            postgresql.insert if self._database.dialect == "postgresql" else sqlite.insert
        )

    def has_embedded_all(self, encoder_id: str) -> bool:
        """Return whether an encoder has embedded every stored image; False if that is not plain.

        Rows are counted only, which takes a tenth of the time of :meth:`embedded`. Images of other
        services can only make the number of stored images larger than that of embeddings.
        """
        with self._database.reading() as connection:
            images = connection.scalar(select(func.count()).select_from(observations))
            done = select(func.count()).where(embeddings.c.encoder_id == encoder_id)
            return images == connection.scalar(done)

    def embedded(self, encoder_id: str) -> Sequence[EmbeddingProgress]:
        """Return the numbers of stored, embedded and refused images of each run of each plate."""
        by_encoder = and_(
            embeddings.c.observation_id == observations.c.id, embeddings.c.encoder_id == encoder_id
        )
        refused = and_(
            embedding_refusals.c.observation_id == observations.c.id,
            embedding_refusals.c.encoder_id == encoder_id,
        )
        query = (
            select(
                observations.c.plate,
                func.count(observations.c.id),
                func.count(embeddings.c.encoder_id),
                func.count(embedding_refusals.c.encoder_id),
                observations.c.run,
            )
            .select_from(
                observations.outerjoin(embeddings, by_encoder).outerjoin(
                    embedding_refusals, refused
                )
            )
            .where(observations.c.service == self._service)
            .group_by(observations.c.plate, observations.c.run)
            .order_by(observations.c.plate, observations.c.run)
        )
        with self._database.reading() as connection:
            return [EmbeddingProgress(*row) for row in connection.execute(query)]

    def not_embedded(
        self, plate: str, encoder_id: str, *, again: bool = False
    ) -> Sequence[StoredImage]:
        """Return the StoredImages of a plate that an encoder has not embedded, in order of arrival.

        Refused images are included, and with ``again`` those of which no crop is recorded.
        """
        done = and_(
            embeddings.c.observation_id == observations.c.id, embeddings.c.encoder_id == encoder_id
        )
        if again:
            done = and_(done, embeddings.c.crop.is_not(None))
        query = (
            select(observations)
            .where(
                observations.c.service == self._service,
                observations.c.plate == plate,
                ~select(1).where(done).exists(),
            )
            .order_by(observations.c.id)
        )
        with self._database.reading() as connection:
            return read_rows(connection, query, observations, stored_image_of)

    def add_embedding(
        self,
        observation_id: int,
        encoder_id: str,
        embedding: npt.NDArray[np.float32],
        crop: str | None = None,
    ) -> None:
        """Store an encoder's embedding of the image with an observation id; delete its refusal.

        An embedding of the same crop that is already stored is unchanged; one of another crop is
        replaced.
        """
        row = with_checksum(
            embeddings,
            {
                "observation_id": observation_id,
                "encoder_id": encoder_id,
                "crop": crop,
                "vector": embedding,
            },
        )
        adding = self._insert(embeddings).values(row)
        refused = and_(
            embedding_refusals.c.observation_id == observation_id,
            embedding_refusals.c.encoder_id == encoder_id,
        )
        with self._database.writing() as connection:
            connection.execute(
                adding.on_conflict_do_update(
                    index_elements=list(embeddings.primary_key),
                    set_={name: adding.excluded[name] for name in ("crop", "vector", "checksum")},
                    where=embeddings.c.crop.is_distinct_from(adding.excluded.crop),
                )
            )
            connection.execute(delete(embedding_refusals).where(refused))
            note_changes(connection, connection.scalars(plate_of(observation_id)))

    def add_refusal(self, observation_id: int, encoder_id: str, reason: str) -> None:
        """Store the reason why an encoder cannot embed the image with an observation id.

        It replaces an earlier reason.
        """
        row = {"observation_id": observation_id, "encoder_id": encoder_id, "reason": reason}
        adding = self._insert(embedding_refusals).values(row)
        with self._database.writing() as connection:
            connection.execute(
                adding.on_conflict_do_update(
                    index_elements=list(embedding_refusals.primary_key), set_={"reason": reason}
                )
            )

    def close(self) -> None:
        """Close all connections; safe to call twice."""
        self._database.close()
