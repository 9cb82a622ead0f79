import stat
from pathlib import Path

import pytest

from daemon.messaging.key_files import KeyFolder, new_pair, read_client_keys, read_public_key
from schemas.errors import ConfigError


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    """Return a folder with the pair of a service, and a client pair ``lims`` next to it."""
    new_pair(tmp_path / "keys", "service")
    new_pair(tmp_path, "lims")
    return KeyFolder(tmp_path / "keys")


def test_only_the_owner_can_read_a_new_secret_key(keys: KeyFolder) -> None:
    assert stat.S_IMODE((keys.folder / "service.secret").stat().st_mode) == 0o600
    assert len((keys.folder / "service.public").read_text()) == 41  # with the line break
    assert keys.service_pair().public == read_public_key(keys.folder / "service.public")


def test_a_key_is_never_overwritten(keys: KeyFolder) -> None:
    before = keys.service_pair()
    with pytest.raises(ConfigError, match="exists already"):
        new_pair(keys.folder, "service")
    assert keys.service_pair() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_key_that_others_can_use_is_refused(mode: int, keys: KeyFolder) -> None:
    (keys.folder / "service.secret").chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}.*expected 0600"):
        keys.service_pair()


def test_a_systemd_credential_is_used_instead_of_the_file(keys: KeyFolder, tmp_path: Path) -> None:
    new_pair(tmp_path / "credentials", "service")
    (tmp_path / "credentials" / "service.secret").chmod(0o440)  # as systemd makes it with ACLs
    other = KeyFolder(keys.folder, tmp_path / "credentials")
    assert other.service_pair() != keys.service_pair()
    (tmp_path / "credentials" / "service.secret").unlink()
    assert other.service_pair() == keys.service_pair()


def test_without_a_key_the_error_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run spherorank keys new"):
        KeyFolder(tmp_path).service_pair()


def test_allowed_clients_are_read_again_each_time(keys: KeyFolder, tmp_path: Path) -> None:
    assert keys.allowed() == {}
    keys.allow("lims", tmp_path / "lims.public")
    assert list(keys.allowed().values()) == ["lims"]
    keys.revoke("lims")
    assert keys.allowed() == {}
    with pytest.raises(ConfigError, match="expected one of none: no client is allowed"):
        keys.revoke("lims")


def test_a_key_and_a_name_are_allowed_once(keys: KeyFolder, tmp_path: Path) -> None:
    keys.allow("lims", tmp_path / "lims.public")
    for name, file in (("other", "lims.public"), ("lims", "keys/service.public")):
        with pytest.raises(ConfigError, match="the client lims is already allowed"):
            keys.allow(name, tmp_path / file)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "x" * 65, ".hidden", "a\nb"])
def test_a_name_that_leaves_the_folder_is_refused(
    name: str, keys: KeyFolder, tmp_path: Path
) -> None:
    for attempt in (
        lambda: keys.allow(name, tmp_path / "lims.public"),
        lambda: keys.revoke(name),
        lambda: new_pair(tmp_path, name),
    ):
        with pytest.raises(ConfigError, match="expected 1 to 64 letters"):
            attempt()


@pytest.mark.parametrize("content", ["", "short", "x" * 41, "~" * 40, "\xff" * 40, "%" * 40])
def test_a_file_without_a_key_is_refused_and_its_content_is_not_shown(
    content: str, tmp_path: Path
) -> None:
    file = tmp_path / "some.key"
    file.write_text(content)
    with pytest.raises(ConfigError, match="contains no key; expected 40") as error:
        read_public_key(file)
    assert not content or content not in str(error.value)


def test_a_key_of_the_wrong_kind_is_refused(keys: KeyFolder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="contains a secret key; expected a public key"):
        keys.allow("lims", tmp_path / "lims.secret")
    with pytest.raises(ConfigError, match="contains a public key; expected a secret key"):
        read_client_keys(tmp_path / "lims.public", keys.folder / "service.public")


def test_no_text_of_the_keys_contains_the_secret(keys: KeyFolder) -> None:
    pair = keys.service_pair()
    assert pair.secret.decode() not in repr(pair) + str(keys)
