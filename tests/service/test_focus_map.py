"""The real command ``acquire focus-map`` with a virtual microscope."""

import csv
from pathlib import Path

import pytest
from rich.console import Console

from daemon.config import load_config
from daemon.microscope.focus_maps import export_focus_map
from schemas.errors import ConfigError
from schemas.portable_files import read_holder
from tests.laboratory import Laboratory, wait_until

pytestmark = pytest.mark.micromanager


def test_heights_are_exported_changed_imported_and_used(tmp_path: Path) -> None:
    laboratory = Laboratory.make(tmp_path, size_px=256)
    first, second = laboratory.wells[:2]
    table = tmp_path / "map.csv"
    with pytest.raises(ConfigError, match=f"has no heights of plate {laboratory.plate}"):
        export_focus_map(
            load_config(tmp_path / "spherorank.toml"), laboratory.plate, table, Console()
        )

    laboratory.image_plate(7, "--well", first, "--well", second)
    exported = laboratory.acquire("focus-map", "export", laboratory.plate, str(table))

    assert exported.returncode == 0, exported.stderr
    assert f"{table}: plate {laboratory.plate}: 2 focus heights, " in exported.stdout
    rows = list(csv.DictReader(table.read_text().splitlines()))
    truth = {
        plan.well: laboratory.world.focus_height_um(plan)
        for plan in laboratory.world.scopes[laboratory.plate].plate.wells
    }
    assert {row["well"] for row in rows} == {first, second}
    assert all(float(row["z_um"]) == pytest.approx(truth[row["well"]], abs=12) for row in rows)
    assert {row["found_by"] for row in rows} == {"scan"}

    table.write_text(f"well,z_um\n{first},2777.5\n")
    imported = laboratory.acquire("focus-map", "import", laboratory.plate, str(table))
    assert imported.returncode == 0, imported.stderr
    assert "1 focus heights, 2777.5 to 2777.5 µm" in imported.stdout
    config = laboratory.folder / "spherorank.toml"
    config.write_text(config.read_text().replace("settle_ms", 'focusing = "off"\nsettle_ms'))
    imaged = laboratory.image_plate(7, "--well", first)
    assert "z_um=2777.5 focus=focus_map focus_verified=False" in imaged.stdout


def test_a_map_of_the_plate_that_is_being_imaged_is_refused(tmp_path: Path) -> None:
    laboratory = Laboratory.make(tmp_path)
    table = tmp_path / "map.csv"
    table.write_text(f"well,z_um\n{laboratory.wells[0]},3000\n")
    lock = laboratory.folder / "microscope" / "lock"
    with laboratory.serving() as process:
        wait_until(lambda: lock.exists() and read_holder(lock) == str(process.pid))
        handed = laboratory.image_plate(7, "--no-wait")
        assert handed.returncode == 0, handed.stdout + handed.stderr
        wait_until(laboratory.files)
        refused = laboratory.acquire("focus-map", "import", laboratory.plate, str(table))
    assert refused.returncode == 1
    assert f"plate {laboratory.plate}: is under the microscope, which is driven by process " in (
        refused.stderr
    )
    assert f"{process.pid}; expected an import while" in refused.stderr
