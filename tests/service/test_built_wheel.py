"""A wheel of this checkout, installed elsewhere, runs the service without the checkout."""

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

from tests.service_process import PLATE

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "store", "acquisition", "inference", "simulation", "daemon", "training")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Installation:
    """A virtual environment with the wheel and with the libraries of this interpreter."""

    wheel: Path
    folder: Path

    def run(self, program: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [self.folder / "bin" / program, *map(str, arguments)],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )

    @property
    def site_packages(self) -> Path:
        (folder,) = self.folder.glob("lib/python*/site-packages")
        return folder


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp("installation")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (folder / "dist").iterdir()
    made = Installation(wheel, folder / "venv")
    venv.create(made.folder, with_pip=False)
    install = ("install", "--quiet", "--no-deps", "--no-index", str(wheel))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "--python", made.folder, *install], check=True, capture_output=True)
    # Python reads no .pth file of a folder that a .pth file names, so the checkout is not found.
    libraries = sysconfig.get_path("purelib")
    (made.site_packages / "libraries.pth").write_text(f"{libraries}\n")
    return made


def write_config(folder: Path) -> Path:
    config = folder / "spherorank.toml"
    config.write_text(
        f'[source]\nsettle_s = 0.3\n[tissue]\nsegmenter = "learned"\n[health]\nhttp = ""\n'
        f'[publisher]\nevents = "ipc://{folder}/events"\nrequests = "ipc://{folder}/requests"\n'
    )
    return config


def test_the_wheel_contains_every_file_of_the_packages_and_the_bundles(
    installation: Installation,
) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", *PACKAGES, "deploy/encoders", "deploy/segmenters"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert tracked
    expected = {path.replace("deploy/", "inference/") for path in tracked if (ROOT / path).exists()}
    assert not expected - set(zipfile.ZipFile(installation.wheel).namelist())


def test_the_modules_come_from_the_wheel_alone(installation: Installation) -> None:
    program = (
        "import importlib, json, sys; "
        f"found = [importlib.import_module(name).__file__ for name in {PACKAGES}]; "
        "print(json.dumps([found, sys.path]))"
    )
    done = installation.run("python", "-P", "-c", program)
    assert done.returncode == 0, done.stderr
    files, search_path = json.loads(done.stdout)
    assert all(file.startswith(str(installation.site_packages)) for file in files)
    assert str(ROOT) not in search_path


def test_the_installed_command_and_the_module_print_their_help(installation: Installation) -> None:
    for done in (
        installation.run("spherorank", "--help"),
        installation.run("python", "-P", "-m", "daemon", "--help"),
    ):
        assert done.returncode == 0, done.stderr
        assert "For research use only" in done.stdout


def test_check_finds_encoder_and_segmenter_of_the_wheel(
    installation: Installation, tmp_path: Path
) -> None:
    (tmp_path / "drop").mkdir()
    done = installation.run("spherorank", "check", "--config", write_config(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_installed_service_ranks_a_plate_once_and_an_upgrade_makes_no_new_ranking(
    installation: Installation, tmp_path: Path, rendered: Path
) -> None:
    shutil.copytree(rendered / "drop", tmp_path / "drop")
    config = write_config(tmp_path)
    done = installation.run("spherorank", "run", "--once", "--config", config)
    assert done.returncode == 0, done.stderr
    rankings = tmp_path / "rankings" / PLATE
    ranking = json.loads((rankings / "day10-r1.json").read_text())
    recorded = installation.site_packages / "daemon" / "recorded_commit.txt"
    commit = recorded.read_text().strip() if (ROOT / ".git").exists() else "unknown.commit"
    assert ranking["code_version"] == f"{metadata.version('spherorank')}+{commit}"
    assert "<style>" in (rankings / "day10-r1.html").read_text()

    files = {path.name: path.read_bytes() for path in rankings.iterdir()}
    recorded.write_text("gabcdef012345\n")
    again = installation.run("spherorank", "run", "--once", "--config", config)
    assert again.returncode == 0, again.stderr
    assert {path.name: path.read_bytes() for path in rankings.iterdir()} == files
