"""The commands ``train`` and ``evaluate``, run as real processes.

The cases include a signal, two processes, a full disk and a missing extra. A step before or after
such a case runs the same command in the process of the test, which has loaded torch already.
"""

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from typer.testing import CliRunner

from tests.service_process import SPHERORANK
from training import cli

CONFIG = """
[data]
virtual_plates = 2
virtual_wells = 6
crop_px = 64
validation_share = 0.5
cache = "{cache}"
[model]
backbone = "test_efficientnet"
weights = "none"
input_size = 32
fixed_batch_norm = true
[objective]
name = "simclr"
[run]
steps = {steps}
batch = 8
threads = 1
save_every_steps = 1000
accelerator = "cpu"
devices = {devices}
"""
HEAVY = {"torch", "torchvision", "timm", "lightly", "pytorch_lightning"}
RARELY_USED = {"openpyxl", "pandas", "sklearn"}  # by workbooks, tables of measures, calibrations

PRINT_MODULES = """
import json, sys
from daemon.commands import main
sys.argv = ["spherorank", *{!r}]
try:
    main()
except SystemExit as end:
    print()
    print(json.dumps([end.code or 0, sorted(sys.modules)]))
"""
"""Code that runs a command, and prints its exit code and the modules that it has loaded."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("crops")


AS_THE_DEFAULT = {
    'weights = "none"': 'weights = "none"\npooling = "levels"\nlast_blocks = 0',
    'name = "simclr"': (
        'name = "measures"\nlayer = "both"\ncompanion = "simclr"\ncompanion_weight = 0.3\n'
        "within_plate = false"
    ),
    "[run]": "[run]\nkept_views = 2",
}
"""Replacements in :data:`CONFIG` that train two heads on frozen features, as the default does."""


def write_config(
    folder: Path,
    cache: Path,
    *,
    steps: int,
    devices: int = 1,
    changes: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    text = CONFIG.format(cache=cache, steps=steps, devices=devices)
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "train.toml"
    path.write_text(text)
    return path


def call(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [SPHERORANK, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=200
    )


def train_here(config: Path, out: Path) -> str:
    """Run ``spherorank train ssl`` to its end in this process, and return its output."""
    done = CliRunner().invoke(cli.train, ["ssl", "--config", str(config), "--out", str(out)])
    assert done.exit_code == 0, done.output
    return done.stdout


def curve(out: Path) -> list[float]:
    with (out / "curve.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.train
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("changes", [{}, AS_THE_DEFAULT], ids=["simclr", "as the default"])
def test_two_processes_reach_the_same_losses_as_one(
    cache: Path, tmp_path: Path, changes: Mapping[str, str]
) -> None:
    train_here(write_config(tmp_path, cache, steps=4, changes=changes), tmp_path / "one")
    together = call(
        "train",
        "ssl",
        "--config",
        write_config(tmp_path, cache, steps=4, devices=2, changes=changes),
        "--out",
        tmp_path / "two",
    )
    assert together.returncode == 0, together.stderr
    assert curve(tmp_path / "two") == pytest.approx(curve(tmp_path / "one"), rel=1e-3)
    assert (tmp_path / "two" / "bundle" / "bundle.json").is_file()


@pytest.mark.train
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_signal_saves_a_checkpoint_and_the_same_command_continues(
    cache: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = [
        SPHERORANK,
        "train",
        "ssl",
        "--config",
        str(write_config(tmp_path, cache, steps=100_000)),
        "--out",
        str(out),
    ]
    training = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 90
    while not (out / "curve.csv").exists():
        assert training.poll() is None, training.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    training.send_signal(signal.SIGTERM)
    _, stderr = training.communicate(timeout=30)
    assert training.returncode == 1
    assert "the same command continues" in stderr
    done = len(curve(out))
    printed = train_here(write_config(tmp_path, cache, steps=done + 2), out)
    assert len(curve(out)) == done + 2
    assert f"{out / 'bundle'}: {done + 2} steps" in printed


@pytest.mark.train
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("room", [150_000, 40], ids=["for the curve", "for nothing"])
def test_a_full_disk_is_reported_and_the_previous_checkpoint_is_kept(
    cache: Path, tmp_path: Path, room: int
) -> None:
    train_here(write_config(tmp_path, cache, steps=2), tmp_path / "run")
    before = (tmp_path / "run" / "checkpoint.ckpt").read_bytes()
    assert len(before) > room
    command = [
        SPHERORANK,
        "train",
        "ssl",
        "--config",
        str(write_config(tmp_path, cache, steps=4)),
        "--out",
        str(tmp_path / "run"),
    ]

    def less_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    full = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=200, preexec_fn=less_room
    )
    assert full.returncode == 1
    stderr = " ".join(full.stderr.split())
    assert "cannot be read or written (File too large); expected images that can be read" in stderr
    assert "Traceback" not in full.stderr
    assert (tmp_path / "run" / "checkpoint.ckpt").read_bytes() == before
    assert not (tmp_path / "run" / "checkpoint.part").exists()
    train_here(write_config(tmp_path, cache, steps=4), tmp_path / "run")
    assert len(curve(tmp_path / "run")) == 4  # earlier steps included
    assert not list((tmp_path / "run").glob("*.part"))


@pytest.mark.train
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[run]\nstep = 5\n", ["run.step", "unknown", "steps"]),
        ("", ["data: has no images"]),
    ],
)
def test_a_wrong_configuration_names_key_value_and_expectation(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    path = tmp_path / "train.toml"
    path.write_text(text)
    done = call("train", "ssl", "--config", path, "--out", tmp_path / "run")
    assert done.returncode == 78
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["check"], None),
        (["run", "--once"], None),
        (["train", "--help"], 0),
        (["train", "ssl", "--help"], 0),
        (["evaluate", "--help"], 0),
    ],
)
def test_a_start_loads_neither_torch_nor_the_libraries_of_rare_work(
    tmp_path: Path, arguments: list[str], code: int | None
) -> None:
    (tmp_path / "drop").mkdir()
    config = tmp_path / "spherorank.toml"
    config.write_text(
        '[source]\nsettle_s = 0.1\n[health]\nhttp = ""\n[publisher]\n'
        f'events = "ipc://{tmp_path}/events"\nrequests = "ipc://{tmp_path}/requests"\n'
    )
    if code is None:
        arguments = [*arguments, "--config", str(config)]
    done = subprocess.run(
        [sys.executable, "-c", PRINT_MODULES.format(arguments)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    found, loaded = json.loads(done.stdout.splitlines()[-1])
    assert found == 0, done.stderr
    assert not (HEAVY | RARELY_USED) & set(loaded)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("train ssl --config train.toml --out run", "objective.name: is 'simsiam'"),
        ("train data check --config train.toml", "augment.first: is 'sphroid'"),
        ("train reduce no-such --to int8 --config train.toml --out run", "is no encoder bundle"),
        ("train forecaster --config forecaster.toml", "plates.csv: does not exist"),
        (
            "train forecaster --config frozen.toml",
            "pretraining.frozen: is true without pretraining",
        ),
        ("evaluate no-such --out run", "is no encoder bundle"),
        ("evaluate default --real-data none --out run", "--real-data: is none"),
    ],
)
def test_a_wrong_name_is_refused_before_torch_is_loaded(
    tmp_path: Path, arguments: str, words: str
) -> None:
    (tmp_path / "train.toml").write_text(
        '[data]\nvirtual_plates = 2\n[objective]\nname = "simsiam"\n[augment]\nfirst = "sphroid"\n'
    )
    (tmp_path / "forecaster.toml").write_text('[data]\nprofiles = ["plates.csv"]\n')
    (tmp_path / "frozen.toml").write_text("[pretraining]\nfrozen = true\n")
    done = subprocess.run(
        [sys.executable, "-c", PRINT_MODULES.format(arguments.split())],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        timeout=60,
    )
    found, loaded = json.loads(done.stdout.splitlines()[-1])
    assert found == 78
    assert words in done.stderr
    assert not HEAVY & set(loaded)
    assert not (tmp_path / "run").exists()


def test_without_the_extra_the_command_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(
        "raise ModuleNotFoundError('No module named torch', name='torch')"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    config = tmp_path / "train.toml"
    config.write_text("[data]\nvirtual_plates = 2\n")
    for command in (
        ["train", "ssl", "--config", str(config), "--out", str(tmp_path / "run")],
        ["train", "segmenter", "--out", str(tmp_path / "run")],
    ):
        done = subprocess.run(
            [SPHERORANK, *command], capture_output=True, text=True, check=False, env=environment
        )
        assert done.returncode == 78, done.stderr
        assert (
            'torch is missing; expected the extra: pip install "spherorank[train]"' in done.stderr
        )
    assert not (tmp_path / "run").exists()
