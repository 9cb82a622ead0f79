"""The script for Debian packages installs the missing ones, as root or with sudo."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "install-debian-packages.sh"
PRESENT = ("git", "initdb", "promtool")


class Machine:
    """A folder of programs that the script finds, in which apt-get writes its calls to a file."""

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "bin"
        self.programs.mkdir()
        for name in ("sh", "ls", "env", "mktemp", "tar", "install", "rm"):
            (self.programs / name).symlink_to(str(shutil.which(name)))
        self.calls = folder / "calls"
        self.calls.touch()
        self.script = folder / SCRIPT.name
        self.local = folder / "local"
        self.local.mkdir()
        self.script.write_text(
            SCRIPT.read_text()
            .replace("/usr/lib/postgresql", f"{folder}/none")
            .replace("/usr/local/bin", str(self.local))
        )
        program = folder / "package" / "usr" / "bin" / "promtool"
        program.parent.mkdir(parents=True)
        program.write_text("promtool of the package")
        self.add("dpkg-deb", f"exec tar -C {folder}/package -c ./usr/bin/promtool")

    def add(self, program: str, code: str = "") -> None:
        path = self.programs / program
        path.write_text(f"#!/bin/sh\n{code}\n")
        path.chmod(0o755)

    def run(self) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["sh", self.script],
            env={"PATH": str(self.programs)},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine of root with apt-get, without git, PostgreSQL and promtool."""
    made = Machine(tmp_path)
    made.add("id", "echo 0")
    made.add("apt-get", f'echo "$DEBIAN_FRONTEND $*" >> {made.calls}')
    return made


def test_missing_packages_are_installed(machine: Machine) -> None:
    assert machine.run().returncode == 0
    assert machine.calls.read_text().splitlines() == [
        " update -qq",
        "noninteractive install -y -qq --no-install-recommends git postgresql",
        " -o APT::Sandbox::User=root -qq download prometheus",
    ]
    assert (machine.local / "promtool").read_text() == "promtool of the package"


def test_only_what_is_missing_is_installed(machine: Machine) -> None:
    machine.add("git")
    machine.add("promtool")
    assert machine.run().returncode == 0
    assert machine.calls.read_text().endswith("--no-install-recommends postgresql\n")


def test_nothing_is_called_where_all_is_present(machine: Machine) -> None:
    for program in PRESENT:
        machine.add(program)
    assert machine.run().returncode == 0
    assert machine.calls.read_text() == ""


def test_a_user_without_root_installs_by_sudo(machine: Machine) -> None:
    machine.add("id", "echo 1000")
    machine.add("sudo", f'echo sudo >> {machine.calls}; exec "$@"')
    assert machine.run().returncode == 0
    calls = machine.calls.read_text().splitlines()
    assert calls[:5:2] == ["sudo", "sudo", " -o APT::Sandbox::User=root -qq download prometheus"]
    assert calls[5:] == ["sudo"]


@pytest.mark.parametrize(
    ("without", "words"), [("apt-get", "no apt-get here"), ("id", "needs root or sudo")]
)
def test_a_machine_that_cannot_install_is_an_error_with_the_packages(
    machine: Machine, without: str, words: str
) -> None:
    (machine.programs / without).unlink()
    if without == "id":
        machine.add("id", "echo 1000")
    done = machine.run()
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.endswith("Debian packages: git postgresql prometheus\n")


def test_a_failed_installation_is_an_error(machine: Machine) -> None:
    machine.add("apt-get", "exit 100")
    assert machine.run().returncode == 100
