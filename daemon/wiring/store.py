"""Open the store of a configuration: its database, its lock and the ledger of embeddings."""

from collections.abc import Callable
from contextlib import closing

from acquisition.drop_folder.folder_identity import folder_identity, read_mounts
from daemon.alerts import Alerts
from daemon.config import Config
from daemon.encoder_switch import check_all_embedded
from daemon.store_address import store_address
from schemas.errors import ConfigError, StoreError
from schemas.messages import AlertKind
from store.embedding_ledger import SqlEmbeddingLedger
from store.locks import ServiceUse, StoreLock, lock_store
from store.sql_store import SqlStore


def open_store(config: Config, *, before_migration: Callable[[], None] = lambda: None) -> SqlStore:
    """Open the store of a configuration, with the database migrated to this version."""
    return SqlStore(
        store_address(config),
        service=config.publisher.service,
        before_migration=before_migration,
    )


def lock_for_service(config: Config) -> StoreLock:
    """Lock the store of a configuration for its service; raise StoreInUseError if that fails."""
    # One service uses a SQLite database, with any folder: a share that hangs delays no start.
    is_shared = not config.store.url.startswith("sqlite")
    folder = folder_identity(config.source.path, read_mounts()) if is_shared else ""
    return lock_store(store_address(config), ServiceUse(config.publisher.service, folder))


def check_store(store: SqlStore, lock: StoreLock, alerts: Alerts) -> None:
    """Raise StoreError if the database or its lock is no longer that of this service.

    The alert is in the log only, because the store takes no message any more.
    """
    try:
        store.check_in_place()
        lock.check()
    except (StoreError, ConfigError) as error:
        alerts.raise_once(AlertKind.DISK, "store", str(error))
        raise


def open_embedding_ledger(config: Config) -> SqlEmbeddingLedger:
    """Open the ledger of the images that each encoder has embedded."""
    return SqlEmbeddingLedger(store_address(config), service=config.publisher.service)


def check_encoder_switch(config: Config, store: SqlStore, encoder_id: str) -> None:
    """Raise ConfigError unless an encoder (id) has embedded every image that is still ranked.

    See :func:`daemon.encoder_switch.check_all_embedded`.
    """
    with closing(open_embedding_ledger(config)) as ledger:
        check_all_embedded(ledger, store, encoder_id)
