"""The demo of the virtual microscope, up to the final ranking of its plate."""

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import ome_types
import pytest

from simulation.world import World
from tests.service_process import SPHERORANK

pytestmark = pytest.mark.micromanager

DAYS, WELLS = (6, 7, 8, 10), 24


def spherorank(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [SPHERORANK, *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_demo_images_a_plate_in_focus_and_ranks_it_like_the_truth(
    tmp_path: Path,
) -> None:
    out = tmp_path / "demo"
    done = spherorank(
        "demo",
        "--microscope",
        "--out",
        out,
        "--seed",
        4,
        "--wells",
        WELLS,
        "--days",
        ",".join(map(str, DAYS)),
    )

    assert done.returncode == 0, done.stdout + done.stderr + (out / "service.log").read_text()
    assert "day 10: final ranking" in done.stdout
    (agreement,) = re.findall(r"Spearman correlation .*: ([\d.]+)", done.stdout)
    assert float(agreement) >= 0.9
    assert (out / "world" / "lamp").read_text() == "off\n"
    world = World.load(out / "world", clock=lambda: datetime.now(UTC))
    (plate,) = world.scopes
    off_um = []
    for day in DAYS:
        world.place_plate(plate, day)
        files = sorted((out / "archive" / plate / f"day{day:02d}").glob("*.ome.tif"))
        assert len(files) == WELLS
        for plan, file in zip(world.scopes[plate].plate.wells, files, strict=True):
            planes = ome_types.from_tiff(file).images[0].pixels.planes
            off_um.append(abs(planes[1].position_z - world.focus_height_um(plan)))
    assert len({file.name.partition("_")[0] for file in files}) == WELLS
    assert np.mean(np.array(off_um) <= 15) >= 0.95
    assert max(off_um) <= 30


def test_check_finds_no_problem_in_a_virtual_microscope(tmp_path: Path) -> None:
    made = spherorank(
        "simulate", "--microscope", "--out", tmp_path / "lab", "--size", 128, "--wells", 12
    )
    assert made.returncode == 0, made.stderr

    listed = spherorank("acquire", "devices", "--config", tmp_path / "lab" / "spherorank.toml")
    assert listed.returncode == 0, listed.stderr
    assert "VirtualCamera" in listed.stdout
    checked = spherorank("acquire", "check", "--config", tmp_path / "lab" / "spherorank.toml")
    assert (checked.returncode, checked.stdout) == (0, "")


def test_a_virtual_microscope_is_not_overwritten_by_another(tmp_path: Path) -> None:
    first, second = (
        spherorank("simulate", "--microscope", "--out", tmp_path, "--size", 64, "--wells", 12)
        for _ in range(2)
    )

    assert (first.returncode, second.returncode) == (0, 78)
    assert "already has a virtual microscope" in second.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("simulate", "--microscope", "--masks"), 2, "without --masks"),
        (("simulate", "--laboratory", "3", "--optics", "dim"), 2, "without --seed, --optics"),
        (("demo", "--microscope", "--days", "7,8"), 78, "expected day 10"),
        (("demo", "--microscope", "--days", "8,10"), 78, "up to dosing on day 7"),
        (("demo", "--microscope", "--days", "six"), 2, "such as 6,7,8,10"),
    ],
)
def test_wrong_options_are_refused_before_a_file_is_written(
    tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    refused = spherorank(*arguments, "--out", tmp_path / "new")

    assert refused.returncode == code
    assert message in " ".join(refused.stderr.replace("│", " ").split())
    assert not (tmp_path / "new").exists()
