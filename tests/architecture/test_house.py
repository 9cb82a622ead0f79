"""The rules of the house, held by the house itself."""

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

from daemon.cli import app
from daemon.config import Config, MicromanagerSection, load_config

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "store", "acquisition", "inference", "simulation", "daemon", "training")
LIST_MODULES = "import json, sys; json.dump(sorted(sys.modules), sys.stdout)"


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{LIST_MODULES}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_import_contracts_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("command", ["--help", "run --help", "run --once --config {config}"])
def test_the_service_never_loads_torch(command: str, tmp_path: Path) -> None:
    (tmp_path / "drop").mkdir()
    config = tmp_path / "spherorank.toml"
    config.write_text(
        f'[source]\nsettle_s = 0.1\n[health]\nhttp = ""\n[publisher]\nevents = "ipc://{tmp_path}/events"\nrequests = "ipc://{tmp_path}/requests"\n'
    )
    arguments = command.format(config=config).split()
    loaded = modules_after(
        f"""
import sys
from daemon.cli import main
sys.argv = ['spherorank', *{arguments!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""
    )
    assert "daemon.cli" in loaded
    if "--once" in command:
        assert "onnxruntime" in loaded
    assert not {"torch", "torchvision", "timm", "lightly", "pytorch_lightning", "training"} & loaded


def test_help_loads_no_heavy_library() -> None:
    assert not {"onnxruntime", "sqlalchemy", "scipy", "sklearn", "pandas"} & modules_after(
        "import daemon.cli"
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_nobody_else_owns_our_package_names(package: str) -> None:
    assert set(importlib.metadata.packages_distributions().get(package, ())) <= {"spherorank"}
    assert __import__(package).__file__ == str(ROOT / package / "__init__.py")


def test_the_example_configuration_loads_and_shows_every_key() -> None:
    example = ROOT / "deploy" / "spherorank.example.toml"
    config = load_config(example)
    assert config.source.path == Path("/srv/robot/drop")
    text = example.read_text()
    models = {section: type(field.default) for section, field in Config.model_fields.items()} | {
        "source.micromanager": MicromanagerSection
    }
    for section, model in models.items():
        shown = re.split(
            r"^(?:# )?\[",
            text.split(f"\n[{section}]" if f"\n[{section}]" in text else f"\n# [{section}]")[1],
            flags=re.MULTILINE,
        )[0]
        for key in set(model.model_fields) - {"micromanager"}:
            assert re.search(rf"^(# )?{key} = ", shown, re.MULTILINE), (
                f"{section}.{key} is not in the example"
            )


def test_the_example_shows_the_defaults() -> None:
    shown = tomllib.loads((ROOT / "deploy" / "spherorank.example.toml").read_text())
    server_paths = {
        ("source", "path"),
        ("store", "url"),
        ("output", "rankings"),
        ("output", "logs"),
    }
    defaults = Config.model_construct().model_dump(mode="json")
    for section, keys in shown.items():
        for key, value in keys.items():
            if (section, key) not in server_paths:
                assert value == defaults[section][key], f"{section}.{key}"


def test_the_microscope_of_the_example_can_be_had_by_taking_its_signs_away(tmp_path: Path) -> None:
    table = (
        (ROOT / "deploy" / "spherorank.example.toml")
        .read_text()
        .split("\n# [source.micromanager]\n")[1]
        .split("\n\n")[0]
    )
    without_signs = re.sub(r"^# ", "", table, flags=re.MULTILINE)
    config = tmp_path / "spherorank.toml"
    config.write_text(f'[source]\nkind = "micromanager"\n[source.micromanager]\n{without_signs}\n')
    section = load_config(config).source.micromanager
    assert section is not None
    own = {
        "config",
        "a1_um",
        "adapters",
        "state",
        "spacing_um",
        "stage_limits_um",
        "z_limits_um",
        "um_per_px",
        "acquire_days",
    }  # a lab's own, or unset
    for key, field in MicromanagerSection.model_fields.items():
        assert key in own or getattr(section, key) == field.default, key


def test_every_command_is_documented_and_has_help() -> None:
    documented = (ROOT / "docs" / "commands.md").read_text()
    commands = get_command(app).commands  # type: ignore[attr-defined] # a typer app with several commands is a click group
    assert len(commands) > 5
    for name, command in commands.items():
        assert command.help, name
        assert f"## spherorank {name}\n" in documented, name
        for option in command.params:
            if option.name != "help":
                assert any(
                    flag in documented.split(f"## spherorank {name}\n")[1].split("\n## ")[0]
                    for flag in [*option.opts, option.name.upper()]
                ), f"{name} {option.name}"
    for name in re.findall(r"^## spherorank (\S+)$", documented, re.MULTILINE):
        assert name in commands, f"{name} is documented and does not exist"


def test_no_package_has_a_junk_drawer() -> None:
    names = {path.stem for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert not {"utils", "helpers", "util", "misc", "common"} & names


def test_environment_is_read_in_one_file() -> None:
    readers = [
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"os\.environ|getenv", path.read_text())
    ]
    assert readers == ["daemon/config.py"]
