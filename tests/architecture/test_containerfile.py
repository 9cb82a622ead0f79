"""The Containerfile fits the package, the example configuration and the health page."""

import json
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from daemon.config import Config, load_config
from daemon.stop_signals import STOP_SIGNALS

ROOT = Path(__file__).parents[2]
PYTHON_OF_DEBIAN = {"bookworm": "3.11", "trixie": "3.13"}


def instructions() -> Iterator[tuple[str, str]]:
    """Yield each instruction of the Containerfile and its arguments, on one line."""
    text = (ROOT / "deploy" / "Containerfile").read_text()
    lines = re.sub(r"^#.*\n|\\\n", "", text, flags=re.MULTILINE).splitlines()
    for line in filter(None, lines):
        name, _, arguments = line.partition(" ")
        yield name, " ".join(arguments.split())


def arguments_of(name: str) -> list[str]:
    return [arguments for each, arguments in instructions() if each == name]


def project() -> dict[str, dict[str, object]]:
    content: dict[str, dict[str, object]] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return content


def example() -> Config:
    return load_config(ROOT / "deploy" / "spherorank.example.toml")


def test_the_base_has_a_python_that_the_package_supports() -> None:
    [base] = [each.removeprefix("BASE=") for each in arguments_of("ARG") if "BASE=" in each]
    [python] = [each for name, each in PYTHON_OF_DEBIAN.items() if name in base]
    assert f"Programming Language :: Python :: {python}" in str(project()["project"]["classifiers"])


def test_the_wheel_is_that_of_the_project_with_extras_that_exist_and_without_torch() -> None:
    [install] = [each for each in arguments_of("RUN") if "pip install" in each]
    found = re.search(r'"\$\(echo /wheels/(\w+)-\*\.whl\)\[([\w,]+)\]"', install)
    assert found is not None
    assert found[1] == project()["project"]["name"]
    extras = project()["project"]["optional-dependencies"]
    assert isinstance(extras, dict)
    assert set(found[2].split(",")) <= extras.keys() - {"train", "dev"}


def test_copied_files_exist_and_are_part_of_the_build() -> None:
    rules = (ROOT / ".containerignore").read_text().splitlines()
    kept = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    sources = [each.split()[0] for each in arguments_of("COPY") if not each.startswith("--from")]
    files = [source for source in sources if source != "dist"]  # dist is made for a build
    assert files
    for file in files:
        assert (ROOT / file).is_file()
        assert any(fnmatch(file, rule) for rule in kept)
    assert "dist/*.whl" in kept


def test_the_volumes_are_the_folders_of_the_configuration_in_the_image() -> None:
    config = example()
    [volumes] = map(json.loads, arguments_of("VOLUME"))
    state = {
        Path(config.store.url.removeprefix("sqlite:///")).parent,
        config.output.rankings.parent,
        config.publisher.keys.parent,
    }
    assert {Path(each) for each in volumes} == {config.source.path, config.output.logs, *state}


def test_the_image_starts_the_service_with_its_configuration_as_another_user_than_root() -> None:
    [entrypoint] = map(json.loads, arguments_of("ENTRYPOINT"))
    assert entrypoint == list(project()["project"]["scripts"])  # type: ignore[call-overload]
    [command] = map(json.loads, arguments_of("CMD"))
    [copied] = [each.split() for each in arguments_of("COPY") if "example.toml" in each]
    assert command == ["run", "--config", copied[1]]
    assert arguments_of("USER") == ["spherorank:spherorank"]
    assert getattr(signal, *arguments_of("STOPSIGNAL")) in STOP_SIGNALS


@pytest.mark.parametrize(("code", "exit_code"), [(200, 0), (503, 1)])
def test_the_health_check_fails_with_the_health_page(code: int, exit_code: int) -> None:
    [check] = arguments_of("HEALTHCHECK")
    probe = json.loads(check.partition(" CMD ")[2])
    assert shlex.join(probe).count(f"http://{example().health.http}/healthz") == 1

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.handle_request, daemon=True).start()
        here = [each.replace("9464", str(server.server_port)) for each in probe[1:]]
        done = subprocess.run([sys.executable, *here], capture_output=True, check=False, timeout=30)
    assert done.returncode == exit_code, done.stderr
