"""The address of the database of a configuration, with the password from a file of its own."""

from pathlib import Path

from daemon.config import Config, credentials_folder
from daemon.secret_files import read_credential, read_secret
from schemas.errors import ConfigError
from store.address import has_password, with_password

CREDENTIAL = "store.password"
"""Name of the systemd credential with the password of the database."""


def store_address(config: Config) -> str:
    """Return the URL of the store with its password: a secret that no text for people may contain.

    The password comes from the systemd credential ``store.password``, otherwise from the file
    ``store.password_file``. Without both, the URL has no password.

    Raises
    ------
    ConfigError
        If the URL itself contains a password, or the file cannot be used.
    StoreError
        If the URL is not the address of a database.
    """
    return address_with_password(config.store.url, config.store.password_file)


def address_with_password(url: str, password_file: Path | None) -> str:
    """Return the URL of a database with the password from the credential or a file.

    Errors are those of :func:`store_address`.
    """
    if has_password(url):
        raise ConfigError(
            "the address of the database",
            "contains a password; expected it in store.password_file or the systemd credential "
            f"{CREDENTIAL}, and an address such as postgresql+psycopg://user@host/database",
        )
    secret = read_credential(credentials_folder(), CREDENTIAL)
    if secret is None and password_file is not None:
        secret = read_secret(password_file)
    if secret is None:
        return url
    try:
        password = secret.decode()
    except UnicodeDecodeError:
        password = ""
    if not password.isprintable() or not password:
        raise ConfigError(
            "the password of the database", "is not one line of printable UTF-8; expected one line"
        )
    return with_password(url, password)
