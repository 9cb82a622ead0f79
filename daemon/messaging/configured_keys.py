"""The keys that a configuration names.

It is a module of its own, because the process of the sockets reads no configuration.
"""

from daemon.config import Config, credentials_folder
from daemon.messaging.key_files import ClientKeys, KeyFolder


def configured_keys(config: Config) -> KeyFolder | None:
    """Return the keys of the service and its clients; None without encryption."""
    settings = config.publisher
    return KeyFolder(settings.keys, credentials_folder()) if settings.curve else None


def keys_of_own_client(config: Config) -> ClientKeys | None:
    """Return the keys with which a command on this machine connects; None without encryption.

    It uses the pair of the service itself, which is always allowed.
    """
    keys = configured_keys(config)
    if keys is None:
        return None
    pair = keys.service_pair()
    return ClientKeys(pair, pair.public)
