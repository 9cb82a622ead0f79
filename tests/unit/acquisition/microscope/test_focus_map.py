from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from acquisition.microscope.focus_map import read_focus_map, write_focus_map
from acquisition.microscope.focus_surface import FocusPoint, FocusSurface, FoundBy
from acquisition.microscope.settings import MicroscopeSettings
from schemas.errors import ConfigError

pytestmark = pytest.mark.micromanager

AT = datetime(2026, 11, 16, 12, tzinfo=UTC)
WELLS = ("B02", "B03", "C02")
SETTINGS = MicroscopeSettings(
    config=Path("MMConfig.cfg"), a1_um=(0.0, 0.0), focus_z_um=3000.0, z_limits_um=(0.0, 10_000.0)
)
SURFACE = FocusSurface(
    (
        FocusPoint("B03", 18_000.0, -9000.0, 3021.4, FoundBy.AUTOFOCUS, AT),
        FocusPoint("B02", 9000.0, -9000.0, 3010.0, FoundBy.SCAN, AT),
    )
)


def read(
    folder: Path, text: str, settings: MicroscopeSettings = SETTINGS, plate: str = "P1"
) -> FocusSurface:
    file = folder / "map.csv"
    file.write_text(text)
    return read_focus_map(file, plate, WELLS, settings, AT)


def test_an_exported_map_has_one_line_per_well_and_is_read_back(tmp_path: Path) -> None:
    text = write_focus_map("P1", SURFACE)
    assert text.splitlines() == [
        "plate,well,x_um,y_um,z_um,found_by,at",
        "P1,B02,9000.0,-9000.0,3010.0,scan,2026-11-16T12:00:00+00:00",
        "P1,B03,18000.0,-9000.0,3021.4,autofocus,2026-11-16T12:00:00+00:00",
    ]
    surface = read(tmp_path, text)
    assert {point.well: point.z_um for point in surface.points} == {"B02": 3010.0, "B03": 3021.4}
    assert {point.found_by for point in surface.points} == {FoundBy.FOCUS_MAP}


def test_a_map_made_by_hand_needs_wells_and_heights_only(tmp_path: Path) -> None:
    surface = read(tmp_path, "\ufeffwell,z_um\nb2,3010\nC2,2990.5\n")
    assert [(each.well, each.x_um, each.y_um, each.z_um) for each in surface.points] == [
        ("B02", 9000.0, -9000.0, 3010.0),
        ("C02", 9000.0, -18_000.0, 2990.5),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("well,z_mm\nB02,3\n", "unknown columns z_mm; expected well, z_um"),
        ("well\nB02\n", "has no column z_um; expected well, z_um"),
        ("well,z_um,z_um\nB02,3010,3010\n", "expected each one once"),
        ("well,z_um\n", "has no heights"),
        ("well,z_um\nB02,3010,7\n", "more or fewer cells than columns in line 2"),
        ("well,z_um\nB02,high\n", "line 2: has z_um = 'high'; expected a number of µm"),
        ("well,z_um\nB02,nan\n", "line 2: has z_um = 'nan'"),
        ("well,z_um\nB02,10001\n", "line 2: has z_um = 10001; expected µm within z_limits_um"),
        ("well,z_um\nB02,3010\nB2,3020\n", "line 3: has well B02 a second time"),
        ("well,z_um\nH12,3010\n", "line 2: has well H12; expected a well of the plate map of P1"),
        ("well,z_um\nQ99,3010\n", "line 2: 'Q99' is not a well"),
        ("plate,well,z_um\nP2,B02,3010\n", "line 2: is of plate 'P2'; expected P1"),
        (
            "well,x_um,y_um,z_um\nB02,9,-9,3010\n",
            r"line 2: has well B02 at \(9, -9\) µm; expected at most 1000 µm from \(9000, -9000\)",
        ),
        ("well,z_um\nB02,3.01\nB03,2.99\n", "heights from 2.99 to 3.01, which look like mm"),
    ],
)
def test_a_wrong_map_is_refused_with_its_line_and_the_expected_value(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        read(tmp_path, text)


def test_all_wrong_lines_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)line 2: .*line 4: ") as caught:
        read(tmp_path, "well,z_um\nH12,3010\nB02,3010\nB03,\n")
    assert len(caught.value.problems) == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.csv: cannot be read"):
        read_focus_map(tmp_path / "none.csv", "P1", WELLS, SETTINGS, AT)


def test_heights_near_zero_are_no_millimetres_if_focus_is_expected_there(tmp_path: Path) -> None:
    settings = replace(SETTINGS, focus_z_um=0.0, z_limits_um=None)
    assert read(tmp_path, "well,z_um\nB02,3.01\n", settings).points[0].z_um == 3.01
