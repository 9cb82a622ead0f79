"""The code version names the commit of a checkout, of an sdist and of a wheel."""

import importlib.metadata
import re
import runpy
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from daemon.code_version import code_version, commit_of_checkout

ROOT = Path(__file__).parents[3]
VERSION = importlib.metadata.version("spherorank")
PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "small"
version = "3"
[tool.hatch.build]
dev-mode-dirs = ["."]
[tool.hatch.build.targets.wheel]
packages = ["daemon"]
[tool.hatch.build.hooks.custom]
"""


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=Test", "-c", "user.email=test@example.org", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a git checkout of a small project with the real ``code_version.py`` and build hook."""
    folder = tmp_path / "checkout"
    (folder / "daemon").mkdir(parents=True)
    (folder / "daemon" / "__init__.py").touch()
    (folder / "pyproject.toml").write_text(PROJECT)
    shutil.copy(ROOT / "daemon" / "code_version.py", folder / "daemon")
    shutil.copy(ROOT / "hatch_build.py", folder)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "First")
    return folder


def head(folder: Path) -> str:
    return f"g{git(folder, 'rev-parse', 'HEAD')[:12]}"


def version_of(folder: Path) -> str:
    """Return the code version by the ``code_version.py`` of a folder."""
    return str(runpy.run_path(str(folder / "daemon" / "code_version.py"))["code_version"]())


def build(folder: Path, target: str) -> Path:
    """Build a wheel or an sdist of a project folder with hatchling, and return its path."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder / "dist")],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    (built,) = (folder / "dist").iterdir()
    return built


def test_the_version_of_this_code_is_one_by_pep_440() -> None:
    assert re.fullmatch(
        re.escape(VERSION) + r"\+(g[0-9a-f]{12}(\.dirty)?|unknown\.commit)", code_version()
    )


def test_a_checkout_has_the_commit_of_its_head(checkout: Path) -> None:
    assert commit_of_checkout(checkout, timeout_s=30) == head(checkout)
    git(checkout, "commit", "--quiet", "--allow-empty", "-m", "Second")
    assert version_of(checkout) == f"{VERSION}+{head(checkout)}"


def test_a_tag_does_not_take_the_place_of_the_commit(checkout: Path) -> None:
    git(checkout, "tag", "-a", "v1", "-m", "Version 1")
    assert commit_of_checkout(checkout, timeout_s=30) == head(checkout)


def test_changed_files_make_a_checkout_dirty_and_new_files_do_not(checkout: Path) -> None:
    (checkout / "notes.txt").write_text("untracked")
    assert version_of(checkout) == f"{VERSION}+{head(checkout)}"
    (checkout / "daemon" / "__init__.py").write_text("CHANGED = True\n")
    assert version_of(checkout) == f"{VERSION}+{head(checkout)}.dirty"


def test_a_second_worktree_has_its_own_commit(checkout: Path, tmp_path: Path) -> None:
    git(checkout, "worktree", "add", "--quiet", str(tmp_path / "second"))
    git(tmp_path / "second", "commit", "--quiet", "--allow-empty", "-m", "Second")
    assert head(tmp_path / "second") != head(checkout)
    assert commit_of_checkout(tmp_path / "second", timeout_s=30) == head(tmp_path / "second")


def test_a_checkout_of_another_user_has_its_commit(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = head(checkout)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        git(checkout, "rev-parse", "HEAD")
    assert "dubious ownership" in refused.value.stderr
    assert commit_of_checkout(checkout, timeout_s=30) == expected


def test_a_folder_without_git_inside_another_checkout_has_no_commit(checkout: Path) -> None:
    installed = checkout / "site-packages"
    shutil.copytree(checkout / "daemon", installed / "daemon")
    assert version_of(installed) == f"{VERSION}+unknown.commit"


def test_a_checkout_without_a_commit_or_with_a_damaged_git_folder_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert commit_of_checkout(tmp_path, timeout_s=30) is None
    (tmp_path / ".git" / "HEAD").write_text("damaged")
    assert commit_of_checkout(tmp_path, timeout_s=30) is None


def test_without_the_program_git_the_commit_is_unknown(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert version_of(checkout) == f"{VERSION}+unknown.commit"


def test_a_git_that_does_not_answer_is_ended_after_the_timeout(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(slow.parent))
    started_s = time.monotonic()
    assert commit_of_checkout(checkout, timeout_s=0.2) is None
    assert time.monotonic() - started_s < 20


def test_a_wheel_contains_the_commit_that_it_was_built_from(checkout: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(build(checkout, "wheel"), tmp_path / "site", "zip")
    assert version_of(tmp_path / "site") == f"{VERSION}+{head(checkout)}"


def test_a_wheel_of_an_sdist_contains_the_commit_of_the_sdist(
    checkout: Path, tmp_path: Path
) -> None:
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    subprocess.run(["tar", "-xzf", build(checkout, "sdist"), "-C", unpacked], check=True)
    (source,) = unpacked.iterdir()
    assert version_of(source) == f"{VERSION}+{head(checkout)}"
    shutil.unpack_archive(build(source, "wheel"), tmp_path / "site", "zip")
    assert version_of(tmp_path / "site") == f"{VERSION}+{head(checkout)}"


def test_a_wheel_of_a_folder_without_git_says_that_its_commit_is_unknown(
    checkout: Path, tmp_path: Path
) -> None:
    shutil.rmtree(checkout / ".git")
    shutil.unpack_archive(build(checkout, "wheel"), tmp_path / "site", "zip")
    assert version_of(tmp_path / "site") == f"{VERSION}+unknown.commit"


def test_an_editable_installation_records_no_commit(checkout: Path) -> None:
    (checkout / "dist").mkdir()
    program = (
        "from hatchling.build import build_editable; print(build_editable('dist')); "
        "from daemon.code_version import RECORDED_COMMIT; print(RECORDED_COMMIT.exists())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=checkout, check=True, capture_output=True, text=True
    )
    wheel, is_recorded = done.stdout.split()
    assert is_recorded == "False"
    assert "daemon/recorded_commit.txt" not in zipfile.ZipFile(checkout / "dist" / wheel).namelist()
