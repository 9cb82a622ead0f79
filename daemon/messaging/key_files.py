"""CURVE keys in files: the pair of the service, pairs of clients, and the list of allowed clients.

A key file contains one key of 32 bytes as Z85 text of 40 characters (ZeroMQ RFC 32). No error text
contains the content of a file.
"""

import contextlib
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.utils import z85

from daemon.secret_files import read_credential, read_secret, read_short_file
from schemas.errors import ConfigError
from schemas.requests import SUBSCRIBER_NAME

KEY_CHARACTERS = 40
PUBLIC, SECRET = ".public", ".secret"
SERVICE = "service"
_NEW = "spherorank keys new"


@dataclass(frozen=True)
class KeyPair:
    """The public and the secret key of one side, as Z85."""

    public: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class ClientKeys:
    """The pair of a client, and the public key of the service that it expects."""

    pair: KeyPair
    server: bytes

    def apply(self, socket: zmq.Socket[bytes]) -> None:
        """Let a socket that is not connected yet use the keys."""
        socket.set(zmq.CURVE_PUBLICKEY, self.pair.public)
        socket.set(zmq.CURVE_SECRETKEY, self.pair.secret)
        socket.set(zmq.CURVE_SERVERKEY, self.server)


@dataclass(frozen=True)
class KeyFolder:
    """The folder ``publisher.keys``.

    It has the files ``service.public`` and ``service.secret``, and a file
    ``clients/<name>.public`` of each client that may connect.

    Parameters
    ----------
    credentials
        Folder of the credentials that systemd passes. A file ``service.secret`` in it is used
        instead of the one in ``folder``.
    """

    folder: Path
    credentials: Path | None = None

    @property
    def clients(self) -> Path:
        """The folder of the public keys of allowed clients."""
        return self.folder / "clients"

    def service_pair(self) -> KeyPair:
        """Read the key pair of the service.

        Raises
        ------
        ConfigError
            If there is none, or another user may read it.
        """
        path = self.folder / f"{SERVICE}{SECRET}"
        credential = read_credential(self.credentials, path.name)
        if credential is not None:
            secret = _checked_key(credential, path.name)
        elif path.exists():
            secret = _read_secret(path)
        else:
            raise ConfigError(path, f"does not exist; expected the key of the service: run {_NEW}")
        return KeyPair(zmq.curve_public(secret), secret)

    def allowed(self) -> Mapping[bytes, str]:
        """Return the name of each allowed client by its public key; files are read each time.

        A file that cannot be used allows no client.
        """
        found = {}
        with contextlib.suppress(OSError):
            for path in sorted(self.clients.glob(f"*{PUBLIC}")):
                with contextlib.suppress(ConfigError):
                    found[_read_key(path)] = path.name.removesuffix(PUBLIC)
        return found

    def allow(self, name: str, file: Path) -> None:
        """Allow the client whose public key a file contains, under a name.

        Raises
        ------
        ConfigError
            If the name or the file cannot be used, or the name or the key is already allowed.
        """
        check_name(name)
        public = read_public_key(file)
        for known, known_name in self.allowed().items():
            if known == public or known_name == name:
                raise ConfigError(
                    file,
                    f"the client {known_name} is already allowed; expected another key and name, "
                    f"or first: spherorank keys revoke {known_name}",
                )
        _make_folder(self.clients)
        _write_new(self.clients / f"{name}{PUBLIC}", public, mode=0o644)

    def revoke(self, name: str) -> None:
        """Allow the client with a name no longer.

        Raises
        ------
        ConfigError
            If no such client is allowed.
        """
        check_name(name)
        try:
            (self.clients / f"{name}{PUBLIC}").unlink()
        except FileNotFoundError as error:
            names = ", ".join(self.allowed().values()) or "none: no client is allowed"
            raise ConfigError("NAME", f"is {name}; expected one of {names}") from error
        except OSError as error:
            raise ConfigError(self.clients, f"cannot be changed ({error.strerror})") from error


def new_pair(folder: Path, name: str) -> Path:
    """Write a new key pair ``<name>.public`` and ``<name>.secret``; return the public file.

    Raises
    ------
    ConfigError
        If the name cannot be used, a file exists, or the folder cannot be written.
    """
    check_name(name)
    public, secret = zmq.curve_keypair()
    _make_folder(folder)
    _write_new(folder / f"{name}{SECRET}", secret, mode=0o600)
    path = folder / f"{name}{PUBLIC}"
    _write_new(path, public, mode=0o644)
    return path


def check_name(name: str) -> None:
    """Raise ConfigError unless a text can be the name of a client."""
    if not re.fullmatch(SUBSCRIBER_NAME, name) or name.startswith("."):
        raise ConfigError(
            "NAME", f"is {name!r}; expected 1 to 64 letters, digits, dots, underscores and hyphens"
        )


def read_client_keys(secret_file: Path, server_file: Path) -> ClientKeys:
    """Read the secret key of a client and the public key of a service.

    Raises
    ------
    ConfigError
        If a file cannot be used, or other users may read the secret key.
    """
    secret = _read_secret(secret_file)
    return ClientKeys(KeyPair(zmq.curve_public(secret), secret), read_public_key(server_file))


def read_public_key(path: Path) -> bytes:
    """Read a public key; raise ConfigError for a file that cannot be used or has a secret key."""
    if path.suffix == SECRET:
        raise ConfigError(
            path, f"contains a secret key; expected a public key, in a file {path.stem}{PUBLIC}"
        )
    return _read_key(path)


def _read_secret(path: Path) -> bytes:
    """Read a secret key from a file that only its owner may read."""
    if path.suffix == PUBLIC:
        raise ConfigError(
            path, f"contains a public key; expected a secret key, in a file {path.stem}{SECRET}"
        )
    return _checked_key(read_secret(path), path)


def _read_key(path: Path) -> bytes:
    return _checked_key(read_short_file(path), path)


def _checked_key(key: bytes, where: object) -> bytes:
    """Return a key unchanged; raise ConfigError for bytes that are no key."""
    with contextlib.suppress(ValueError, KeyError, struct.error):
        if len(key) == KEY_CHARACTERS and z85.encode(z85.decode(key)) == key:
            return key
    raise ConfigError(where, f"contains no key; expected {KEY_CHARACTERS} characters of Z85")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    except OSError as error:
        raise ConfigError(folder, f"cannot be made ({error.strerror})") from error


def _write_new(path: Path, key: bytes, *, mode: int) -> None:
    """Write a key to a file that does not exist, with a mode from its first moment on."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(key + b"\n")
    except FileExistsError as error:
        raise ConfigError(
            path, "exists already; expected no file, so that no key is lost"
        ) from error
    except OSError as error:
        raise ConfigError(path, f"cannot be written ({error.strerror})") from error
