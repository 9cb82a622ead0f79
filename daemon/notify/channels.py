"""Channels to people: mail, Teams, Slack, ntfy and others, each given by an apprise URL.

No text of this module contains a URL, because a URL may contain a password or token.
"""

import hashlib
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from apprise import Apprise, AppriseAsset, NotifyBase, NotifyFormat, PersistentStoreMode

from daemon.config_sections import NotifySection
from daemon.secret_files import read_credential, read_secret
from schemas.errors import ConfigError

CREDENTIAL = "notify.urls"
"""Name of the systemd credential with the URLs, one a line."""
MAX_FILE_BYTES = 65_536
EXPECTED = (
    "an apprise URL such as mailtos://user:password@host?to=person@host or ntfys://host/topic"
)
_APPRISE_LOG = logging.getLogger("apprise")
_APPRISE_LOG.propagate = False  # its texts may contain URLs
_ASSET = AppriseAsset(
    app_id="SpheroRank",
    app_desc="SpheroRank",
    app_url="",
    image_url_mask="",  # the icons of apprise are on another server
    storage_mode=PersistentStoreMode.MEMORY,
)


@dataclass(frozen=True)
class ChannelUrl:
    """An apprise URL, and the file or key with the line or position at which it is given."""

    where: str
    url: str = field(repr=False)


@dataclass(frozen=True)
class AppriseChannel:
    """One channel to people.

    Parameters
    ----------
    identity
        Digest of the URL without passwords and tokens, so that a new password changes nothing.
    where
        File or key, line and scheme of the URL.
    """

    identity: str
    where: str
    _service: Apprise = field(repr=False)
    _url: str = field(repr=False)

    def send(self, title: str, body: str) -> str:
        """Send a text, and return the problem; the empty text if it was sent."""
        with _apprise_warnings() as warnings:
            try:
                is_sent = bool(
                    self._service.notify(body=body, title=title, body_format=NotifyFormat.TEXT)
                )
            except Exception as error:  # noqa: BLE001 - plugins raise errors of many libraries
                warnings.append(type(error).__name__)
                is_sent = False
        if is_sent:
            return ""
        return without_url(" ".join(warnings) or "the attempt failed without a reason", self._url)


def without_url(text: str, url: str) -> str:
    """Return a text in which each part of a URL is replaced, except its scheme."""
    quoted = re.split(r"[:/?#@&=,\s]+", url.partition("://")[2])
    parts = {*quoted, *map(unquote, quoted)}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) > 2:  # noqa: PLR2004 - shorter ones are in many words
            text = re.sub(re.escape(part), "****", text, flags=re.IGNORECASE)
    return text


def channel_urls(section: NotifySection, credentials: Path | None) -> list[ChannelUrl]:
    """Return the URLs of the `[notify]` section: its list, then the lines of its file.

    Parameters
    ----------
    credentials
        The folder of the credentials of systemd. A credential ``notify.urls`` is read instead of
        the file.

    Raises
    ------
    ConfigError
        If the file cannot be read, or other users may read it.
    """
    found = [
        ChannelUrl(f"notify.urls, position {position}", url)
        for position, url in enumerate(section.urls, start=1)
    ]
    if section.urls_file is None:
        return found
    content = read_credential(credentials, CREDENTIAL, MAX_FILE_BYTES)
    where: object = f"credential {CREDENTIAL}"
    if content is None:
        content, where = read_secret(section.urls_file, MAX_FILE_BYTES), section.urls_file
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(where, "is not UTF-8; expected one URL a line") from error
    if len(content) == MAX_FILE_BYTES:
        raise ConfigError(where, f"is too large; expected less than {MAX_FILE_BYTES} bytes")
    return found + [
        ChannelUrl(f"{where}, line {number}", line.strip())
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]


def open_channels(section: NotifySection, credentials: Path | None) -> list[AppriseChannel]:
    """Return the channels of the `[notify]` section; nothing is sent.

    Raises
    ------
    ConfigError
        If there is no URL, or with each URL that cannot be used.
    """
    urls = channel_urls(section, credentials)
    if not urls:
        where = section.urls_file or "notify.urls"
        raise ConfigError(where, f"has no URL; expected {EXPECTED}")
    channels: list[AppriseChannel] = []
    problems: list[tuple[str, str]] = []
    for given in urls:
        try:
            channels.append(_open(given, [each.identity for each in channels]))
        except ConfigError as error:
            problems.append((error.where, error.problem))
    if problems:
        raise ConfigError(*problems[0], more=tuple(problems[1:]))
    return channels


def _open(given: ChannelUrl, known: Sequence[str]) -> AppriseChannel:
    """Return the channel of a URL, with another identity than the known ones."""
    scheme = _scheme_of(given)
    with _apprise_warnings():
        service = Apprise.instantiate(given.url, asset=_ASSET)
    if not isinstance(service, NotifyBase):
        raise ConfigError(
            given.where,
            f"has the scheme {scheme}, and apprise cannot use this URL: its scheme is unknown or a "
            f"part is missing or wrong; expected {EXPECTED}",
        )
    shown = _url_of(service, has_secrets=False)
    if given.where.startswith("notify.urls,") and shown != _url_of(service, has_secrets=True):
        raise ConfigError(
            given.where,
            "contains a password or token; expected this URL in the file notify.urls_file",
        )
    identity = hashlib.sha256(shown.encode()).hexdigest()[:16]
    while identity in known:
        identity += "+"
    collection = Apprise(asset=_ASSET)
    collection.add(service)
    return AppriseChannel(identity, f"{given.where} ({scheme})", collection, given.url)


def _url_of(service: NotifyBase, *, has_secrets: bool) -> str:
    """Return the complete URL of a service, with or without its passwords and tokens."""
    url = service.url(privacy=not has_secrets)  # type: ignore[no-untyped-call]
    return str(url)


def _scheme_of(given: ChannelUrl) -> str:
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]{0,20})://", given.url)
    if found is None:
        raise ConfigError(given.where, f"has no scheme; expected {EXPECTED}")
    return found[1].lower()


class _Texts(logging.Handler):
    """Collects the texts of log records."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Add the text of a record."""
        self.texts.append(record.getMessage())


@contextmanager
def _apprise_warnings() -> Iterator[list[str]]:
    """Collect the warnings of apprise, which are written nowhere else."""
    handler = _Texts()
    _APPRISE_LOG.addHandler(handler)
    try:
        yield handler.texts
    finally:
        _APPRISE_LOG.removeHandler(handler)
