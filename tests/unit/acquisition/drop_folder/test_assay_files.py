"""Assays in the drop folder: which plate they belong to, what is told of wrong ones, and when they are read again."""

from pathlib import Path

import pytest

from acquisition.drop_folder.assay_files import AssayFiles, wrong_assays
from acquisition.drop_folder.listing import list_files
from acquisition.drop_folder.plate_map_files import PlateMapFiles
from acquisition.drop_folder.settling import ListedFile

TOML = 'plate = "P1"\nseeded_at = 2026-11-10T09:00:00+01:00\n'
WELLS = "well,group,treatment\nB02,untreated,\nB03,screening,drug:1 uM\n"
ASSAY = "well,viability_percent\nB02,99.5\nb3,12.5\n"


class Folder:
    """A drop folder, and what is known of it after each look."""

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

    def look(self, still_written: str = "nothing") -> None:
        files = {
            version.path: ListedFile(version, unchanged_since_s=0.0)
            for version in list_files(self.root)
        }

        def is_settled(file: ListedFile) -> bool:
            return not file.version.path.endswith(still_written)

        self.maps.update(files, is_settled)
        self.assays.update(files, is_settled, self.maps)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    made.write(plate_toml=TOML, wells_csv=WELLS)
    return made


@pytest.mark.parametrize(
    "names",
    [
        ("P1.plate.toml", "P1.wells.csv", "P1.assay.csv"),
        ("a/plate.toml", "a/wells.csv", "a/assay.csv"),
    ],
)
def test_an_assay_lies_beside_its_plates_map(tmp_path: Path, names: tuple[str, str, str]) -> None:
    for name, content in zip(names, (TOML, WELLS, ASSAY), strict=True):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    folder = Folder(tmp_path)
    folder.look()
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
    "twice": (ASSAY + "B02,50\n", "line 4: well B02 occurs twice; expected each well once"),
    "all equal": (
        ASSAY.replace("99.5", "12.5"),
        "all 2 wells have viability 12.5 %; expected values that differ",
    ),
    "other columns": (
        "well,rlu\nB02,1\n",
        "line 1 has columns ['well', 'rlu']; expected well,viability_percent",
    ),
    "empty": ("", "line 1 has columns"),
    "not UTF-8": (
        "well,viability_percent\nB02,µ".encode("latin-1"),
        "P1/P1.assay.csv: is not UTF-8",
    ),
    "far too large": (
        b" " * 1_000_001,
        "P1/P1.assay.csv: is larger than 1000000 bytes; expected an assay",
    ),
}


@pytest.mark.parametrize(("content", "problem"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_assay_says_file_line_value_and_what_was_expected(
    folder: Folder, content: str | bytes, problem: str
) -> None:
    folder.write(assay_csv=content)
    folder.look()
    assert folder.assays.assays == {}
    assert problem in str(folder.assays.problems["P1"])
    assert list(folder.maps.maps) == ["P1"]
    assert [str(found) for found in wrong_assays(folder.root)] == [
        str(folder.assays.problems["P1"])
    ]


def test_an_assay_without_a_map_beside_it_says_so_until_the_map_comes(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write(assay_csv=ASSAY)
    folder.look()
    assert (
        str(folder.assays.problems["P1"])
        == "P1/P1.assay.csv: has no plate map; expected P1.plate.toml beside it"
    )
    folder.write(plate_toml=TOML, wells_csv=WELLS)
    folder.look()
    assert (list(folder.assays.assays), folder.assays.problems) == (["P1"], {})


def test_an_assay_beside_a_wrong_map_waits_in_silence(folder: Folder) -> None:
    folder.write(plate_toml="plate =", assay_csv=ASSAY)
    folder.look()
    assert (folder.assays.assays, folder.assays.problems, folder.assays.unread) == (
        {},
        {},
        frozenset(),
    )
    folder.write(plate_toml=TOML)
    folder.look()
    assert list(folder.assays.assays) == ["P1"]


@pytest.mark.parametrize("still_written", ["assay.csv", "wells.csv"])
def test_an_assay_is_read_once_it_and_the_map_are_whole(folder: Folder, still_written: str) -> None:
    folder.write(assay_csv=ASSAY)
    folder.look(still_written)
    assert (folder.assays.assays, folder.assays.problems, folder.assays.unread) == ({}, {}, {"P1"})
    folder.look()
    assert (list(folder.assays.assays), folder.assays.unread) == (["P1"], frozenset())


def test_an_assay_is_read_again_when_it_changes_and_kept_when_it_vanishes(folder: Folder) -> None:
    folder.write(assay_csv=ASSAY)
    folder.look()
    first = folder.assays.assays["P1"]
    folder.write(assay_csv=ASSAY.replace("12.5", "112.5"))
    folder.look("assay.csv")
    assert folder.assays.assays["P1"] == first
    folder.look()
    changed = folder.assays.assays["P1"]
    assert (changed.viability_percent["B03"], changed.digest == first.digest) == (112.5, False)
    (folder.root / "P1" / "P1.assay.csv").unlink()
    folder.look()
    assert folder.assays.assays["P1"] == changed


def test_an_assay_is_held_to_a_corrected_map(folder: Folder) -> None:
    folder.write(assay_csv=ASSAY)
    folder.look()
    folder.write(wells_csv=WELLS.replace("B03", "B04"))
    folder.look()
    assert folder.assays.assays == {}
    assert "line 3: well B03 is not in the plate map" in str(folder.assays.problems["P1"])


def test_an_assay_that_was_moved_with_its_plate_counts_where_it_is(folder: Folder) -> None:
    folder.write(assay_csv=ASSAY)
    folder.look()
    (folder.root / "P1").rename(folder.root / "done")
    (folder.root / "done" / "P1.assay.csv").write_text(ASSAY.replace("99.5", "101"))
    folder.look()
    assert folder.assays.assays["P1"].viability_percent["B02"] == 101
    assert folder.assays.problems == {}
