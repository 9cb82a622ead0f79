"""The configuration on Windows: paths with drive letters, backslashes and shares."""

import sys
from pathlib import Path, PureWindowsPath

import pytest
from sqlalchemy import make_url

from acquisition.drop_folder.folder_identity import Mount, folder_identity, share_folder
from daemon.config import anchored_url, load_config, microscope_settings
from schemas.errors import ConfigError

BASE = PureWindowsPath(r"C:\ProgramData\SpheroRank")


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:///spherorank.sqlite", "C:/ProgramData/SpheroRank/spherorank.sqlite"),
        ("sqlite:///data/store.sqlite", "C:/ProgramData/SpheroRank/data/store.sqlite"),
        ("sqlite:///D:/lab/store.sqlite", "D:/lab/store.sqlite"),
        (r"sqlite:///D:\lab\store.sqlite", "D:/lab/store.sqlite"),
    ],
)
def test_the_file_of_the_store_has_a_drive_letter_and_slashes(url: str, file: str) -> None:
    anchored = anchored_url(url, BASE)
    assert anchored == f"sqlite:///{file}"
    assert make_url(anchored).database == file


def test_other_addresses_of_a_store_are_unchanged() -> None:
    for url in ("sqlite:////srv/store.sqlite", "postgresql+psycopg://lab@host/spherorank"):
        assert anchored_url(url, BASE) == url


def test_a_share_has_the_same_identity_on_windows_and_where_linux_mounts_it(tmp_path: Path) -> None:
    mount = Mount(str(tmp_path), "cifs", "//robot/images", "/")
    (tmp_path / "drop").mkdir()
    on_windows = share_folder(PureWindowsPath(r"\\robot\images\drop"))
    assert on_windows == folder_identity(tmp_path / "drop", [mount]) == "//robot/images/drop"
    assert share_folder(PureWindowsPath("\\\\robot\\images\\")) == "//robot/images"
    assert share_folder(PureWindowsPath(r"D:\drop")) is None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (r'path = "D:\robot\new"', r"has the control code U\+000D in .*single quotation marks"),
        (r'path = "D:\data"', r"is not TOML: .*a path with / or in single quotation marks"),
    ],
)
def test_backslashes_in_double_quotation_marks_are_refused_with_the_remedy(
    line: str, problem: str, tmp_path: Path
) -> None:
    config = tmp_path / "spherorank.toml"
    config.write_text(f"[source]\n{line}\n")
    with pytest.raises(ConfigError, match=problem):
        load_config(config)


def test_backslashes_in_single_quotation_marks_are_read(tmp_path: Path) -> None:
    config = tmp_path / "spherorank.toml"
    config.write_text("[source]\npath = 'D:\\robot\\new'\n")
    assert PureWindowsPath(load_config(config).source.path.name) == PureWindowsPath(r"D:\robot\new")


def test_a_microscope_is_refused_on_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "spherorank.toml"
    file.write_text(
        '[source]\nkind = "micromanager"\n[source.micromanager]\nconfig = "scope.cfg"\n'
        'a1_um = [0, 0]\nstage_limits_um = "unchecked"\n'
    )
    config = load_config(file)
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ConfigError, match='works on Linux only; expected "drop_folder"'):
        microscope_settings(config)
