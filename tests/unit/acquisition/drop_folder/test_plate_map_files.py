"""Plate maps in a drop folder, and the errors of wrong ones."""

from pathlib import Path

import pytest

from acquisition.drop_folder.plate_map_files import read_plate_maps
from schemas.errors import PlateMapError, SourceGoneError
from schemas.plate_map import PlateMap

TOML = 'plate = "P1"\nseeded_at = 2026-11-10T09:00:00+01:00\n'
CSV = "well,group,treatment\nB02,untreated,\n"


def write(root: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize(
    "names",
    [
        ("P1/P1.plate.toml", "P1/P1.wells.csv"),
        ("P1.plate.toml", "P1.wells.csv"),
        ("P1/plate.toml", "P1/wells.csv"),
        ("a/b/P1.plate.toml", "a/b/P1.wells.csv"),
    ],
)
def test_a_plate_map_is_found_in_any_folder(tmp_path: Path, names: tuple[str, str]) -> None:
    write(tmp_path, dict(zip(names, (TOML, CSV), strict=True)))
    (plate_map,) = read_plate_maps(tmp_path).values()
    assert isinstance(plate_map, PlateMap)
    assert plate_map.plate == "P1"


WRONG: dict[str, tuple[dict[str, str | bytes], str, str]] = {
    "no wells": (
        {"P1/P1.plate.toml": TOML},
        "P1",
        "P1/P1.wells.csv: is missing; expected beside P1.plate.toml",
    ),
    "another plate's name": (
        {"P2.plate.toml": TOML, "P2.wells.csv": CSV},
        "P2",
        "P2.plate.toml: plate is 'P1'; expected 'P2', as the file is named",
    ),
    "no TOML": (
        {"P1.plate.toml": "plate = ", "P1.wells.csv": CSV},
        "P1",
        "P1.plate.toml: is not TOML",
    ),
    "no text": (
        {"P1.plate.toml": TOML, "P1.wells.csv": CSV.encode() + b"B03,screening,\x81:1 uM\n"},
        "P1",
        "P1.wells.csv: is not UTF-8, UTF-16 or Windows-1252",
    ),
    "far too large": (
        {"P1.plate.toml": TOML, "P1.wells.csv": b" " * 1_000_001},
        "P1",
        "P1.wells.csv: is larger than 1000000 bytes",
    ),
    "a folder's name": (
        {"P3/plate.toml": "plate = ", "P3/wells.csv": CSV},
        "P3",
        "P3/plate.toml: is not TOML",
    ),
}


@pytest.mark.parametrize(("files", "plate", "problem"), WRONG.values(), ids=WRONG.keys())
def test_the_error_of_a_wrong_plate_map_has_the_file_and_the_expected_value(
    tmp_path: Path, files: dict[str, str | bytes], plate: str, problem: str
) -> None:
    write(tmp_path, files)
    found = read_plate_maps(tmp_path)[plate]
    assert isinstance(found, PlateMapError)
    assert problem in str(found)


def test_a_missing_drop_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceGoneError, match="expected the drop folder"):
        read_plate_maps(tmp_path / "missing")
