"""Migration of a database to the tables of this version, with Alembic.

Alembic is imported here only: most starts find the tables of this version, and need no migration.
"""

import alembic.command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from schemas.errors import StoreError

MIGRATIONS = "store:migrations"


def migrate(connection: Connection, where: str) -> None:
    """Create or migrate the tables of a database, in the transaction of a connection.

    Parameters
    ----------
    where
        Address of the database, for errors.

    Raises
    ------
    StoreError
        If the tables were made by a newer version, or a migration fails.
    """
    config = Config()
    config.set_main_option("script_location", MIGRATIONS)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    found = MigrationContext.configure(connection).get_current_revision()
    if found is not None and found not in known:
        raise StoreError(
            where,
            f"its tables have revision {found}, which this version of SpheroRank does not know; "
            "expected a database of this or an earlier version: install the newer SpheroRank "
            "again, or name another database",
        )
    config.attributes["connection"] = connection
    try:
        alembic.command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError(where, str(error)) from error
