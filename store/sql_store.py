"""The store in one relational database: SQLite or PostgreSQL."""

from store.sql_acknowledgements import SqlAcknowledgements
from store.sql_assays import SqlAssays
from store.sql_files import SqlFileLedger
from store.sql_measures import SqlMeasures
from store.sql_observations import SqlObservations
from store.sql_outbox import SqlOutbox
from store.sql_plate_maps import SqlPlateMaps
from store.sql_plate_states import SqlPlateStates
from store.sql_rankings import SqlRankings
from store.sql_retention import SqlRetention


class SqlStore(
    SqlFileLedger,
    SqlObservations,
    SqlMeasures,
    SqlPlateMaps,
    SqlAssays,
    SqlPlateStates,
    SqlRankings,
    SqlOutbox,
    SqlAcknowledgements,
    SqlRetention,
):
    """The store of one service in the database at a URL: every port except the embedding ledger.

    Parameters and errors are those of :class:`store.sql_part.SqlPart`. It is safe to use from
    several threads.
    """
