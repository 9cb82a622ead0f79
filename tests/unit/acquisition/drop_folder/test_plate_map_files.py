"""Plate maps in a drop folder, and the errors of wrong ones."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from acquisition.drop_folder.listing import list_files
from acquisition.drop_folder.plate_map_files import PlateMapFiles, read_plate_maps
from acquisition.drop_folder.settling import ListedFile
from schemas.errors import PlateMapError, SourceGoneError
from schemas.plate_map import PlateMap
from tests.workbooks import workbook

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
        "P1/P1.wells.csv: is missing; expected beside P1.plate.toml (or as P1.wells.xlsx there)",
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


LISTED = [("Well", "Group", "Treatment"), ("C03", "screening", "x:1 uM"), ("B02", "untreated", "")]
AS_GRID = [["", 2, 3], ["B", "untreated", None], ["C", None, "X:1000 nM"]]
AS_CSV = "well,group,treatment\nB02,untreated,\nC03,screening,x:0.001 mM\n"


@pytest.mark.parametrize(
    "files",
    [
        {"P1.wells.xlsx": workbook(LISTED)},
        {"P1.wells.xlsx": workbook(AS_GRID)},
        {"P1.wells.csv": AS_CSV.replace("\n", "\r").encode()},
        {"P1.wells.csv": AS_CSV.encode("utf-16")},
        {"P1.wells.csv": AS_CSV.encode(), "P1.wells.xlsx": workbook(LISTED)},
        {"P1.wells.csv": AS_CSV.encode(), "P1.wells.xlsx": workbook(AS_GRID)},
    ],
    ids=["Excel", "a grid", "CR line ends", "UTF-16", "both, equal", "both, list and grid"],
)
def test_a_map_is_read_from_csv_and_excel(tmp_path: Path, files: dict[str, bytes]) -> None:
    write(tmp_path, {"P1.plate.toml": TOML, **files})
    (found,) = read_plate_maps(tmp_path).values()
    assert isinstance(found, PlateMap)
    assert {well: str(entry.group) for well, entry in found.by_well.items()} == {
        "B02": "untreated",
        "C03": "screening",
    }


def test_a_csv_and_an_excel_file_that_differ_are_refused_with_both_names(tmp_path: Path) -> None:
    different = AS_CSV.replace("0.001 mM", "2 uM")
    write(
        tmp_path,
        {"P1.plate.toml": TOML, "P1.wells.csv": different, "P1.wells.xlsx": workbook(LISTED)},
    )
    assert str(read_plate_maps(tmp_path)["P1"]) == (
        "P1.wells.csv: differs from P1.wells.xlsx: well C03 is screening 'x:2 uM' and screening "
        "'x:1 uM'; expected one file, or equal wells"
    )


@pytest.mark.parametrize("form", ["e\u0301", "\u00e9"])
def test_a_plate_id_is_compared_in_any_unicode_form(tmp_path: Path, form: str) -> None:
    toml = TOML.replace("P1", "\u00e9-1")
    write(tmp_path, {f"{form}-1.plate.toml": toml, f"{form}-1.wells.csv": CSV})
    assert isinstance(read_plate_maps(tmp_path)["\u00e9-1"], PlateMap)


@pytest.mark.parametrize(
    "wells", [b"well,group,treatment\rB02,untreated," + b"x" * 200_000, b"\x00" * 9, b"PK\x03\x04"]
)
@pytest.mark.parametrize("name", ["P1.wells.csv", "P1.wells.xlsx"])
def test_a_wrong_map_does_not_affect_other_plates(tmp_path: Path, name: str, wells: bytes) -> None:
    write(tmp_path, {"P1.plate.toml": TOML, name: wells})
    write(tmp_path, {"P2.plate.toml": TOML.replace("P1", "P2"), "P2.wells.csv": CSV})
    found = read_plate_maps(tmp_path)
    assert str(found["P1"]).startswith(f"{name}: ")
    assert isinstance(found["P2"], PlateMap)


def listed(root: Path) -> dict[str, ListedFile]:
    return {version.path: ListedFile(version, 0.0) for version in list_files(root)}


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Let readings of P1.wells.csv fail with an error number of the system, if it is set."""
    errors: list[int | None] = [None]
    open_file = os.open

    def open_or_fail(path: str, flags: int) -> int:
        if errors[0] is not None and Path(path).name == "P1.wells.csv":
            raise OSError(errors[0], os.strerror(errors[0]))
        return open_file(path, flags)

    monkeypatch.setattr(os, "open", open_or_fail)
    return lambda error: errors.__setitem__(0, error)


@pytest.mark.parametrize("error", [errno.EIO, errno.EACCES, errno.ESTALE, errno.ENOMEM])
def test_a_map_that_cannot_be_read_is_reported_and_read_again(
    tmp_path: Path, fail: Callable[[int | None], None], error: int
) -> None:
    write(tmp_path, {"P1.plate.toml": TOML, "P1.wells.csv": CSV})
    maps = PlateMapFiles(tmp_path)
    fail(error)
    maps.update(listed(tmp_path), lambda _: True)
    assert str(maps.problems["P1"]) == (
        f"P1.wells.csv: cannot be read: {os.strerror(error)}; it is tried again"
    )
    fail(None)
    maps.update(listed(tmp_path), lambda _: True)
    assert (list(maps.maps), maps.problems, maps.unreadable) == (["P1"], {}, {})


def test_a_corrected_map_that_cannot_be_read_yet_leaves_the_earlier_one_in_use(
    tmp_path: Path, fail: Callable[[int | None], None]
) -> None:
    write(tmp_path, {"P1.plate.toml": TOML, "P1.wells.csv": CSV})
    maps = PlateMapFiles(tmp_path)
    maps.update(listed(tmp_path), lambda _: True)
    write(tmp_path, {"P1.wells.csv": CSV + "B03,untreated,\n"})
    fail(errno.EIO)
    maps.update(listed(tmp_path), lambda _: True)
    assert (list(maps.maps["P1"].by_well), maps.problems) == (["B02"], {})
    assert list(maps.unreadable) == ["P1.wells.csv"]
    fail(None)
    maps.update(listed(tmp_path), lambda _: True)
    assert (list(maps.maps["P1"].by_well), maps.unreadable) == (["B02", "B03"], {})
