"""The scale of each plate and its source, as ``spherorank check`` prints them."""

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile

from daemon.jobs.scale_report import describe_scales

SEEDED = 'plate = "P1"\nseeded_at = 2026-11-10T09:00:00+01:00\n'
DAY = "P1/day{:02d}/B02_z1.tif"
TAGS = "(TIFF resolution tags)"
DECISION = 'expected um_per_px_from = "file" or "map" in the plate map'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a configuration whose drop folder has the well list of plate P1."""
    (tmp_path / "drop" / "P1").mkdir(parents=True)
    (tmp_path / "drop" / "P1" / "P1.wells.csv").write_text("well,group,treatment\nB02,untreated,\n")
    file = tmp_path / "spherorank.toml"
    file.write_text(f'[source]\npath = "{tmp_path}/drop"\n')
    return file


def write(config: Path, plate_toml: str, scales: dict[int, float | None]) -> None:
    """Write the plate map and one image of well B02 for each culture day."""
    drop = config.parent / "drop"
    (drop / "P1" / "P1.plate.toml").write_text(SEEDED + plate_toml)
    for day, um_per_px in scales.items():
        content = io.BytesIO()
        tags = (
            {"resolution": (1e4 / um_per_px,) * 2, "resolutionunit": "CENTIMETER"}
            if um_per_px
            else {}
        )
        tifffile.imwrite(content, np.zeros((64, 64), np.uint16), metadata=None, **tags)
        path = drop / DAY.format(day)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.getvalue())


@pytest.mark.parametrize(
    ("plate_toml", "scales", "lines"),
    [
        ("um_per_px = 1.25\n", {}, ["plate P1: 1.25 µm per pixel (plate map)"]),
        ("", {}, ["plate P1: no scale"]),
        (
            "um_per_px = 1.25\n",
            {7: 1.25, 10: None},
            [
                "plate P1: 1.25 µm per pixel (plate map)",
                f"  day 7: 1.25 µm per pixel (TIFF resolution tags), {DAY.format(7)}",
                f"  day 10: no scale in the file, {DAY.format(10)}",
            ],
        ),
        (
            "um_per_px = 5\n",
            {7: 2.5},
            [
                "plate P1: 5 µm per pixel (plate map)",
                f"  day 7: 2.5 µm per pixel (TIFF resolution tags), {DAY.format(7)}",
                (
                    f"  scale_disagrees: the file says 2.5 µm per pixel {TAGS}, "
                    f"the plate map 5 µm per pixel; {DECISION}"
                ),
            ],
        ),
        (
            "",
            {5: 2.5, 6: 2.5, 7: 1.0},
            [
                f"plate P1: 1 µm per pixel {TAGS}, 2.5 µm per pixel {TAGS}",
                f"  day 5: 2.5 µm per pixel (TIFF resolution tags), {DAY.format(5)}",
                f"  day 6: 2.5 µm per pixel (TIFF resolution tags), {DAY.format(6)}",
                f"  day 7: 1 µm per pixel (TIFF resolution tags), {DAY.format(7)}",
                (
                    f"  scale_disagrees: its files have 1 µm per pixel {TAGS}, "
                    f"most images of the plate have 2.5 µm per pixel {TAGS}; {DECISION}"
                ),
            ],
        ),
    ],
)
def test_the_scale_of_a_plate_is_described_with_its_source_and_contradictions(
    config: Path, plate_toml: str, scales: dict[int, float | None], lines: list[str]
) -> None:
    write(config, plate_toml, scales)
    assert describe_scales(config) == lines


def test_a_scale_that_the_files_decide_is_described_without_contradiction(config: Path) -> None:
    write(config, 'um_per_px = 5\num_per_px_from = "file"\n', {6: 2.5, 7: 1.0})
    described = describe_scales(config)
    assert described[0].endswith(
        "1 µm per pixel (TIFF resolution tags), 2.5 µm per pixel (TIFF resolution tags)"
    )
    assert not [line for line in described if "scale_disagrees" in line]


def test_a_configuration_or_folder_with_a_problem_has_no_description(config: Path) -> None:
    assert describe_scales(config.with_name("missing.toml")) == []
    config.write_text('[source]\npath = "/nonexistent/drop"\n')
    assert describe_scales(config) == []
