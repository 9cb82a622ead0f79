"""Rules of the whole repository: imports, packages, the command line and the example settings."""

import importlib.metadata
import json
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from acquisition.channels import Channel
from daemon.commands import app
from daemon.config import Config, load_config
from daemon.config_sections import MicromanagerSection

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "store", "acquisition", "inference", "simulation", "daemon", "training")
SLOW_TO_IMPORT = {
    *("numpy", "cv2", "pandas", "scipy", "sklearn", "onnxruntime", "sqlalchemy", "pyarrow"),
    *("structlog", "zmq", "pymmcore_plus"),
}
SHORT_HELP_CHARACTERS = 62  # beside the name of a command on a terminal of 80 columns
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
        '[source]\nsettle_s = 0.1\n[health]\nhttp = ""\n[publisher]\n'
        f'events = "ipc://{tmp_path}/events"\nrequests = "ipc://{tmp_path}/requests"\n'
    )
    arguments = command.format(config=config).split()
    loaded = modules_after(
        f"""
import sys
from daemon.commands import main
sys.argv = ['spherorank', *{arguments!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""
    )
    assert "daemon.commands" in loaded
    if "--once" in command:
        assert "onnxruntime" in loaded
    assert not {"torch", "torchvision", "timm", "lightly", "pytorch_lightning", "training"} & loaded


@pytest.mark.parametrize("arguments", ["", "--help", "rank --help", "acquire --help"])
def test_the_first_import_and_help_of_the_command_line_load_no_heavy_library(
    arguments: str,
) -> None:
    call_help = f"""
import sys
sys.argv = ["spherorank", *{arguments.split()!r}]
try:
    daemon.commands.main()
except SystemExit as end:
    assert not end.code, end.code
"""
    loaded = modules_after("import daemon.commands" + (call_help if arguments else ""))
    assert "daemon.commands" in loaded
    assert not SLOW_TO_IMPORT & loaded
    is_sub_command = " " in arguments
    assert is_sub_command or "pydantic" not in loaded  # typer itself imports it for a sub-command


def test_help_starts_about_as_fast_as_its_libraries() -> None:
    libraries = [sys.executable, "-c", "import typer, rich.console"]
    help_page = [Path(sys.executable).parent / "spherorank", "--help"]
    library_s, help_s = map(min, zip(*(timed(libraries, help_page) for _ in range(7)), strict=True))
    assert help_s <= 2.5 * library_s, f"{help_s:.3f} s against {library_s:.3f} s"


def timed(*commands: Sequence[object]) -> list[float]:
    """Run each command and return its wall times in seconds."""
    times_s = []
    for command in commands:
        started_s = time.perf_counter()
        subprocess.run([str(part) for part in command], stdout=subprocess.DEVNULL, check=True)
        times_s.append(time.perf_counter() - started_s)
    return times_s


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_installs_a_package_of_the_same_name(package: str) -> None:
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
        ("publisher", "keys"),
        ("notify", "state"),
    }
    defaults = Config.model_construct().model_dump(mode="json")
    for section, keys in shown.items():
        for key, value in keys.items():
            if (section, key) not in server_paths:
                assert value == defaults[section][key], f"{section}.{key}"


def test_the_microscope_section_of_the_example_is_valid_without_its_comment_signs(
    tmp_path: Path,
) -> None:
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
        "um_per_px_from",
        "plan",
        "acquire_days",
        "contrast_method",
        "illumination",
        "stand",
    }  # set by each laboratory, or unset
    for key, field in MicromanagerSection.model_fields.items():
        assert key in own or getattr(section, key) == field.default, key


def test_the_channel_of_the_example_is_valid_without_its_comment_signs_and_shows_every_key() -> (
    None
):
    text = (ROOT / "deploy" / "spherorank.example.toml").read_text()
    table = text.split("\n# [[source.micromanager.channels]]\n")[1].split("\n\n")[0]
    given = tomllib.loads(re.sub(r"^# ", "", table, flags=re.MULTILINE))
    assert given.keys() == Channel.model_fields.keys()
    channel = Channel(**given)
    for key in ("offset_um", "planes", "plane_step_um"):
        assert getattr(channel, key) == Channel.model_fields[key].default, key


def all_commands(
    command: TyperCommand | TyperGroup, name: str = ""
) -> Iterator[tuple[str, TyperCommand | TyperGroup]]:
    """Yield the full name of each typer command and group below a command, with the command."""
    for part, below in getattr(command, "commands", {}).items():
        yield f"{name} {part}".strip(), below
        yield from all_commands(below, f"{name} {part}".strip())


def test_every_command_and_option_has_help_and_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "commands.md").read_text()
    headed = re.split(r"^#{2,3} spherorank (.+)\n", page, flags=re.MULTILINE)[1:]
    sections = dict(zip(headed[::2], headed[1::2], strict=True))
    commands = dict(all_commands(get_command(app)))
    for entry in importlib.metadata.entry_points(group="spherorank.commands"):
        commands[entry.name] = get_command(entry.load())
        commands |= dict(all_commands(commands[entry.name], entry.name))
    assert {"run", "rank plate", "acquire lamp-off", "train ssl"} <= set(commands)
    assert set(sections) == set(commands)
    for name, command in commands.items():
        assert command.help, name
        in_list_of_commands = command.get_short_help_str(SHORT_HELP_CHARACTERS)
        assert not in_list_of_commands.endswith("..."), f"{name}: {in_list_of_commands}"
        for parameter in command.params:
            if parameter.name == "help":
                continue
            assert parameter.help, f"{name} {parameter.name}"
            shown = [f"`{flag}" for flag in parameter.opts] + [f"`{parameter.name.upper()}"]
            assert any(text in sections[name] for text in shown), f"{name} {parameter.name}"


def test_no_module_is_named_for_unrelated_functions() -> None:
    names = {path.stem for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert not {"utils", "helpers", "util", "misc", "common"} & names


def test_environment_is_read_in_one_file() -> None:
    readers = [
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"os\.environ(?!\.setdefault)|getenv", path.read_text())
    ]
    assert readers == ["daemon/config.py"]


def test_text_is_printed_by_one_file() -> None:
    printing = re.compile(r"\becho\(|(?<![\w.])print\(|\bConsole\((?!stderr=True)")
    printers = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "daemon").rglob("*.py")
        if printing.search(path.read_text())
    ]
    assert printers == ["daemon/commands/console.py"]  # it escapes control characters
