"""The password of the database comes from a file or credential and is in no text for people."""

from pathlib import Path

import pytest
from sqlalchemy import make_url

from daemon.config import load_config
from daemon.store_address import CREDENTIAL, store_address
from schemas.errors import SpheroRankError
from store.address import parse_address
from store.sql_store import SqlStore

HIDDEN = "p@ss/w:or d?#%"
URL = "postgresql+psycopg://spherorank@127.0.0.1:1/plates"  # no server listens at port 1


def configured(folder: Path, lines: str) -> str:
    """Return the address of the store of a configuration with some lines in its section."""
    (folder / "spherorank.toml").write_text(f"[store]\n{lines}\n")
    return store_address(load_config(folder / "spherorank.toml"))


def secret_file(path: Path, content: str = f"{HIDDEN}\n", mode: int = 0o600) -> Path:
    path.write_text(content)
    path.chmod(mode)
    return path


def test_the_password_comes_from_a_file_beside_the_configuration(tmp_path: Path) -> None:
    secret_file(tmp_path / "store.password")
    url = configured(tmp_path, f'url = "{URL}"\npassword_file = "store.password"')
    assert make_url(url).password == HIDDEN
    assert make_url(url).render_as_string() == URL.replace("@", ":***@")


def test_a_systemd_credential_is_used_instead_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret_file(tmp_path / CREDENTIAL, HIDDEN, 0o440)  # as systemd makes it with ACLs
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    url = configured(tmp_path, f'url = "{URL}"\npassword_file = "absent"')
    assert make_url(url).password == HIDDEN


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_password_file_that_others_can_read_is_refused(mode: int, tmp_path: Path) -> None:
    secret_file(tmp_path / "store.password", mode=mode)
    with pytest.raises(SpheroRankError, match=f"mode {mode:04o}.*expected 0600") as refused:
        configured(tmp_path, f'url = "{URL}"\npassword_file = "store.password"')
    assert HIDDEN not in str(refused.value)


def test_sqlite_needs_no_password(tmp_path: Path) -> None:
    secret_file(tmp_path / "store.password")
    url = configured(tmp_path, 'url = "sqlite:///a.sqlite"\npassword_file = "store.password"')
    assert url == f"sqlite:///{tmp_path}/a.sqlite"


@pytest.mark.parametrize(
    "lines",
    [
        'url = "postgresql://spherorank:hidden@host/plates"',
        'url = "postgresql://spherorank@host/plates?password=hidden"',
        'url = "postgresql://spherorank:hid@hidden@host/plates"',
        'url = "postgresql://spherorank:hidden/plates"',
        'url = "mysql://spherorank:hidden@host/plates"',
        'url = ["postgresql://spherorank:hidden@host/plates"]',
        'adress = "postgresql://spherorank:hidden@host/plates"',
        'password = "hidden"',
        'password_file = ["hidden"]',
    ],
)
def test_no_error_about_the_configuration_shows_a_password(lines: str, tmp_path: Path) -> None:
    with pytest.raises(SpheroRankError) as refused:
        configured(tmp_path, lines)
    assert "hidden" not in str(refused.value)
    assert "expected" in str(refused.value)


@pytest.mark.parametrize("content", [b"\xff\xfehidden", b"hidden\nhidden", b""])
def test_a_file_without_one_line_of_text_is_refused(content: bytes, tmp_path: Path) -> None:
    secret_file(tmp_path / "store.password").write_bytes(content)
    with pytest.raises(SpheroRankError, match="one line of printable UTF-8") as refused:
        configured(tmp_path, f'url = "{URL}"\npassword_file = "store.password"')
    assert "hidden" not in str(refused.value)


def test_no_error_of_the_server_shows_the_password(tmp_path: Path) -> None:
    secret_file(tmp_path / "store.password")
    url = configured(tmp_path, f'url = "{URL}"\npassword_file = "store.password"')
    with pytest.raises(SpheroRankError, match="connection failed") as failed:
        SqlStore(url, timeout_s=2)
    for secret in (HIDDEN, make_url(url).render_as_string(hide_password=False)):
        assert secret not in str(failed.value)
    assert parse_address(url).password == HIDDEN  # the address itself had it
