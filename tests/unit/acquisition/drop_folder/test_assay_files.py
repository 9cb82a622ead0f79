"""Assays in the drop folder: the plate of each assay, its errors, and when it is read again."""

import errno
import os
from pathlib import Path

import pytest

from acquisition.drop_folder.assay_files import AssayFiles, wrong_assays
from acquisition.drop_folder.listing import list_files
from acquisition.drop_folder.plate_map_files import PlateMapFiles
from acquisition.drop_folder.settling import ListedFile
from tests.workbooks import workbook

TOML = 'plate = "P1"\nseeded_at = 2026-11-10T09:00:00+01:00\n'
WELLS = "well,group,treatment\nB02,untreated,\nB03,screening,drug:1 uM\n"
ASSAY = "well,viability_percent\nB02,99.5\nb3,12.5\n"


class PlateFolder:
    """A drop folder with the files of plate P1, and the plate maps and assays read from it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.maps = PlateMapFiles(root)
        self.assays = AssayFiles(root)

    def write(self, **files: str | bytes) -> None:
        """Write files by the end of their name: ``assay_csv`` is P1/P1.assay.csv."""
        for name, content in files.items():
            path = self.root / "P1" / f"P1.{name.replace('_', '.')}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def update(self, still_written: str = "nothing") -> None:
        """Read all files that have settled: all but those whose path ends in ``still_written``."""
        files = {
            version.path: ListedFile(version, unchanged_since_s=0.0)
            for version in list_files(self.root)
        }

        def is_settled(file: ListedFile) -> bool:
            return not file.version.path.endswith(still_written)

        self.maps.update(files, is_settled)
        self.assays.update(files, is_settled, self.maps)


@pytest.fixture
def folder(tmp_path: Path) -> PlateFolder:
    folder = PlateFolder(tmp_path)
    folder.write(plate_toml=TOML, wells_csv=WELLS)
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ("P1.plate.toml", "P1.wells.csv", "P1.assay.csv"),
        ("a/plate.toml", "a/wells.csv", "a/assay.csv"),
    ],
)
def test_an_assay_beside_a_plate_map_is_read(tmp_path: Path, names: tuple[str, str, str]) -> None:
    for name, content in zip(names, (TOML, WELLS, ASSAY), strict=True):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    folder = PlateFolder(tmp_path)
    folder.update()
    assert folder.assays.assays["P1"].viability_percent == {"B02": 99.5, "B03": 12.5}
    assert wrong_assays(tmp_path) == []


WRONG: dict[str, tuple[str | bytes, str]] = {
    "unknown well": (
        ASSAY + "C07,50\n",
        "P1/P1.assay.csv: line 4: well C07 is not in the plate map; expected one of its 2 wells",
    ),
    "no well": (ASSAY + "Z99,50\n", "line 4: 'Z99' is not a well; expected a row letter A–P"),
    "above 200": (
        ASSAY.replace("99.5", "200.5"),
        "line 2: viability_percent is 200.5; expected 0 to 200",
    ),
    "negative": (ASSAY.replace("99.5", "-1"), "line 2: viability_percent is -1; expected 0 to 200"),
    "no number": (
        ASSAY.replace("99.5", "dead"),
        "line 2: viability_percent 'dead' is not a number; expected 0 to 200",
    ),
    "twice": (
        ASSAY + "B02,50\n",
        "line 4: well B02 occurs twice, first on line 2; expected each well once",
    ),
    "all equal": (
        ASSAY.replace("99.5", "12.5"),
        "all 2 wells have viability 12.5 %; expected values that differ",
    ),
    "other columns": (
        "well,rlu\nB02,1\n",
        "line 1 has columns ['well', 'rlu']; expected well,viability_percent",
    ),
    "empty": ("", "line 1 has columns"),
    "no text": (
        "well,viability_percent\nB02,1\x81".encode("latin-1"),
        "P1/P1.assay.csv: is not UTF-8, UTF-16 or Windows-1252",
    ),
    "far too large": (
        b" " * 1_000_001,
        "P1/P1.assay.csv: is larger than 1000000 bytes; expected an assay",
    ),
}


@pytest.mark.parametrize(("content", "problem"), WRONG.values(), ids=WRONG.keys())
def test_the_error_of_a_wrong_assay_has_file_line_value_and_expected_value(
    folder: PlateFolder, content: str | bytes, problem: str
) -> None:
    folder.write(assay_csv=content)
    folder.update()
    assert folder.assays.assays == {}
    assert problem in str(folder.assays.problems["P1"])
    assert list(folder.maps.maps) == ["P1"]
    assert [str(found) for found in wrong_assays(folder.root)] == [
        str(folder.assays.problems["P1"])
    ]


def test_an_assay_without_a_plate_map_is_an_error_until_the_map_exists(tmp_path: Path) -> None:
    folder = PlateFolder(tmp_path)
    folder.write(assay_csv=ASSAY)
    folder.update()
    assert (
        str(folder.assays.problems["P1"])
        == "P1/P1.assay.csv: has no plate map; expected P1.plate.toml beside it"
    )
    folder.write(plate_toml=TOML, wells_csv=WELLS)
    folder.update()
    assert (list(folder.assays.assays), folder.assays.problems) == (["P1"], {})


def test_an_assay_beside_a_wrong_plate_map_is_not_an_error(folder: PlateFolder) -> None:
    folder.write(plate_toml="plate =", assay_csv=ASSAY)
    folder.update()
    assert (folder.assays.assays, folder.assays.problems, folder.assays.unread) == (
        {},
        {},
        frozenset(),
    )
    folder.write(plate_toml=TOML)
    folder.update()
    assert list(folder.assays.assays) == ["P1"]


@pytest.mark.parametrize("still_written", ["assay.csv", "wells.csv"])
def test_an_assay_is_read_after_it_and_its_plate_map_have_settled(
    folder: PlateFolder, still_written: str
) -> None:
    folder.write(assay_csv=ASSAY)
    folder.update(still_written)
    assert (folder.assays.assays, folder.assays.problems, folder.assays.unread) == ({}, {}, {"P1"})
    folder.update()
    assert (list(folder.assays.assays), folder.assays.unread) == (["P1"], frozenset())


def test_an_assay_is_read_again_after_a_change_and_kept_after_a_deletion(
    folder: PlateFolder,
) -> None:
    folder.write(assay_csv=ASSAY)
    folder.update()
    first = folder.assays.assays["P1"]
    folder.write(assay_csv=ASSAY.replace("12.5", "112.5"))
    folder.update("assay.csv")
    assert folder.assays.assays["P1"] == first
    folder.update()
    changed = folder.assays.assays["P1"]
    assert (changed.viability_percent["B03"], changed.digest == first.digest) == (112.5, False)
    (folder.root / "P1" / "P1.assay.csv").unlink()
    folder.update()
    assert folder.assays.assays["P1"] == changed


def test_an_assay_is_checked_again_after_a_correction_of_the_plate_map(folder: PlateFolder) -> None:
    folder.write(assay_csv=ASSAY)
    folder.update()
    folder.write(wells_csv=WELLS.replace("B03", "B04"))
    folder.update()
    assert folder.assays.assays == {}
    assert "line 3: well B03 is not in the plate map" in str(folder.assays.problems["P1"])


def test_an_assay_that_was_moved_with_its_plate_is_read_from_its_new_place(
    folder: PlateFolder,
) -> None:
    folder.write(assay_csv=ASSAY)
    folder.update()
    (folder.root / "P1").rename(folder.root / "done")
    (folder.root / "done" / "P1.assay.csv").write_text(ASSAY.replace("99.5", "101"))
    folder.update()
    assert folder.assays.assays["P1"].viability_percent["B02"] == 101
    assert folder.assays.problems == {}


def test_an_assay_that_cannot_be_read_is_reported_and_read_again(
    folder: PlateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write(assay_csv=ASSAY)
    open_file = os.open

    def fail(path: str, flags: int) -> int:
        if Path(path).name == "P1.assay.csv":
            raise OSError(errno.EIO, "Input/output error")
        return open_file(path, flags)

    monkeypatch.setattr(os, "open", fail)
    folder.update()
    expected = "P1/P1.assay.csv: cannot be read: Input/output error; it is tried again"
    assert str(folder.assays.problems["P1"]) == expected
    assert [str(problem) for problem in wrong_assays(folder.root)] == [expected]
    monkeypatch.undo()
    folder.update()
    assert (list(folder.assays.assays), folder.assays.problems) == (["P1"], {})
    monkeypatch.setattr(os, "open", fail)
    folder.write(assay_csv=ASSAY.replace("12.5", "112.5"))
    folder.update()
    assert folder.assays.assays["P1"].viability_percent["B03"] == 12.5
    assert list(folder.assays.unreadable) == ["P1/P1.assay.csv"]


def test_an_assay_is_read_from_an_excel_workbook(folder: PlateFolder) -> None:
    folder.write(assay_xlsx=workbook([("Well", "Viability percent"), ("B2", 99.5), ("B03", 12.5)]))
    folder.update()
    assert folder.assays.assays["P1"].viability_percent == {"B02": 99.5, "B03": 12.5}
    folder.write(assay_csv=ASSAY)
    folder.update()
    assert folder.assays.problems == {}
    folder.write(assay_csv=ASSAY.replace("99.5", "98"))
    folder.update()
    assert str(folder.assays.problems["P1"]) == (
        "P1/P1.assay.csv: differs from P1/P1.assay.xlsx; expected one file, or equal values"
    )


def test_a_csv_error_in_an_assay_is_the_error_of_its_plate(folder: PlateFolder) -> None:
    folder.write(assay_csv="well,viability_percent\rB02," + "9" * 200_000)
    folder.update()
    assert "line 2: field larger than field limit" in str(folder.assays.problems["P1"])


def test_an_assay_in_which_untreated_wells_are_dead_is_refused_as_that_of_another_plate(
    folder: PlateFolder,
) -> None:
    untreated = "".join(f"C{column:02d},untreated,\n" for column in range(2, 10))
    folder.write(wells_csv=WELLS + untreated)
    dead = "".join(f"C{column:02d},{20 if column < 5 else 98}\n" for column in range(2, 10))
    folder.write(assay_csv=ASSAY + dead)
    folder.update()
    assert folder.assays.assays == {}
    problem = str(folder.assays.problems["P1"])
    assert "P1.assay.csv" in problem
    assert (
        "3 of 9 untreated wells have a viability below 50 % (C02 20 %, C03 20 %, C04 20 %); "
        "expected the assay of this plate" in problem
    )
