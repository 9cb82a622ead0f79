"""File names of instruments, parsed by patterns, and names and patterns that are refused."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acquisition.drop_folder.naming import ParsedName, compile_pattern, is_ignored
from schemas.errors import ConfigError, ImageError

VENDORS = {
    "default": (
        "{plate}/day{day}/{well}_z{plane}.tif",
        "PDAC-0042/day07/B02_z1.tif",
        ParsedName("B02", "PDAC-0042", day=7, plane=1),
    ),
    "default, in lower case and without zeros": (
        "{plate}/day{day}/{well}_z{plane}.tif",
        "PDAC-0042/day7/b2_z01.TIF",
        ParsedName("B02", "PDAC-0042", day=7, plane=1),
    ),
    "MetaXpress": (
        "{name}_{well:a00}{guid}.tif",
        "MLS11 spheroids_B03ED7830C1-C860-4559-BEF4-CA7ACDA30D05.tif",
        ParsedName("B03"),
    ),
    "MetaXpress, GUID starts with digits": (
        "{name}_{well:a00}{guid}.tif",
        "MLS11 spheroids_E11B69C508E-C860.tif",
        ParsedName("E11"),
    ),
    "MetaXpress, 384 wells": (
        "{name}_{well:a00}{guid}.tif",
        "MLS11 spheroids_L066C2A62B8-EA1B.tif",
        ParsedName("L06"),
    ),
    "EVOS": (
        "D{day}_auto_{name}_p{position}_z{plane}_{n}_{well:a00}f{field}d{channel}.TIF",
        "D6_auto_Plate_M_p00_z01_0_A01f00d0.TIF",
        ParsedName("A01", day=6, plane=1, field=0, channel="0"),
    ),
    "Incucyte": (
        "{plate}_{well}_{field}_{elapsed_day}d{hours}h{minutes}m.tif",
        "VID289_B2_1_07d00h00m.tif",
        ParsedName("B02", "VID289", day=8, field=1),
    ),
    "Opera": (
        "r{row}c{col}f{field}p{plane}-ch1sk{day}fk1fl1.tiff",
        "r02c03f01p01-ch1sk1fk1fl1.tiff",
        ParsedName("B03", day=1, plane=1, field=1),
    ),
    "time by a format": (
        "{well}_{taken_at:%Y%m%d_%H%M%S}.png",
        "C3_20261116_140000.png",
        ParsedName("C03", taken_at=datetime(2026, 11, 16, 14)),  # noqa: DTZ001
    ),
    "time as ISO 8601": (
        "{well}_{taken_at}.png",
        "C3_2026-11-16T14-00-05Z.png",
        ParsedName("C03", taken_at=datetime(2026, 11, 16, 14, 0, 5, tzinfo=UTC)),
    ),
    "a field that occurs twice": (
        "{plate}/{plate}_{well}.jpg",
        "P_1/P_1_H12.jpg",
        ParsedName("H12", "P_1"),
    ),
    "folders above the pattern": (
        "{plate}/day{day}/{well}.tif",
        "robot 2/P1/day03/G11.tif",
        ParsedName("G11", "P1", day=3),
    ),
    "rows and columns as numbers": ("{row:00}{col:00}.tif", "0203.tif", ParsedName("B03")),
    "rows as letters": ("{row}{col}.tif", "b12.tif", ParsedName("B12")),
}


@pytest.mark.parametrize(("pattern", "path", "expected"), VENDORS.values(), ids=VENDORS.keys())
def test_the_file_names_of_common_instruments_are_parsed(
    pattern: str, path: str, expected: ParsedName
) -> None:
    assert compile_pattern(pattern).parse(path) == expected


@pytest.mark.parametrize(
    ("pattern", "name", "both"),
    [
        ("{name}_{well}{guid}.tif", "MLS11 spheroids_E11B69C508E.tif", ("well E01", "well E11")),
        ("{name}_{well:a00}{rest}.tif", "run_C04_B03x.tif", ("well B03", "well C04")),
        ("{row}{col}.tif", "123.tif", ("well A23", "well L03")),
        ("{well}_{day}{plane}.tif", "B02_101.tif", ("day 1, plane 1", "day 10, plane 1")),
        ("{plate}_{x}_{well}.tif", "a_b_c_B02.tif", ("well B02, plate a;", "well B02, plate a_b")),
    ],
)
def test_an_ambiguous_name_is_refused_with_both_results(
    pattern: str, name: str, both: tuple[str, str]
) -> None:
    with pytest.raises(ImageError, match="in two ways") as refusal:
        compile_pattern(pattern).parse(name)
    assert all(values in refusal.value.problem for values in both)


def test_a_name_is_not_ambiguous_if_only_ignored_text_differs() -> None:
    assert compile_pattern("{a}_{b}_{c}_{well:a00}.tif").parse("x_y_z_u_v_w_B02.tif") == ParsedName(
        "B02"
    )


@pytest.mark.parametrize(
    "name",
    [
        "B00_z1.tif",
        "B25_z1.tif",
        "Q02_z1.tif",
        "B02_z.tif",
        "B02_z1.png",
        "B02-z1.tif",
        "B02_z1.tif.tif",
        "xB02_z1.tif",
    ],
)
def test_a_name_that_does_not_fit_is_refused_with_the_pattern(name: str) -> None:
    with pytest.raises(ImageError, match=r"does not fit the pattern \{well\}_z\{plane\}.tif"):
        compile_pattern("{well}_z{plane}.tif").parse(name)


def test_a_field_that_occurs_twice_has_to_agree() -> None:
    with pytest.raises(ImageError, match="does not fit"):
        compile_pattern("{plate}/{plate}_{well}.tif").parse("P1/P2_B02.tif")


def test_a_name_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(ImageError, match="not UTF-8"):
        compile_pattern("{name}_{well}.tif").parse(r"\xff_B02.tif")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("{plate}/day{day}.tif", "either {well} or both {row} and {col}"),
        ("{row}_{day}.tif", "either {well} or both {row} and {col}"),
        ("{well}_{row}{col}.tif", "either {well} or both {row} and {col}"),
        ("{well}_{day}_{elapsed_day}.tif", "not both"),
        ("{well}.bmp", "ends in one of .tif"),
        ("{name}_{well}", "ends in one of .tif"),
        ("/{well}.tif", "path below the drop folder"),
        ("../{well}.tif", "path below the drop folder"),
        ("{well:A1}.tif", "{well} or {well:a00}"),
        ("{Well}.tif", "expected {well}"),
        ("{well}_{day:d}.tif", "{day:00}"),
        ("{well}_{taken_at:%H%M}.tif", "year, month and day"),
        ("{well}_{taken_at:%Y-%m-%d %Q}.tif", "year, month and day"),
        ("{well.tif", "expected placeholders"),
        ("", "expected a path"),
    ],
)
def test_a_wrong_pattern_is_refused_with_the_expected_form(pattern: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        compile_pattern(pattern)
    assert refusal.value.where == "source.pattern"
    assert expected in refusal.value.problem
    assert repr(pattern) in refusal.value.problem


@pytest.mark.parametrize(
    "path",
    [
        ".hidden.tif",
        "P/._B02.tif",
        ".snap/B02.tif",
        "B02.tif~",
        "B02.tif.part",
        "B02.tmp.tif",
        "~B02.tif",
        "P/@eaDir/B02.jpg",
    ],
)
def test_hidden_and_temporary_files_are_ignored(path: str) -> None:
    assert is_ignored(path)


@given(
    plate=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,12}", fullmatch=True),
    row=st.sampled_from("ABCDEFGHIJKLMNOPabcdefghijklmnop"),
    column=st.integers(1, 24),
    day=st.integers(1, 99),
    plane=st.integers(0, 40),
    padded=st.booleans(),
)
def test_names_of_the_default_pattern_are_parsed(
    plate: str, row: str, column: int, day: int, plane: int, *, padded: bool
) -> None:
    number = "02d" if padded else "d"
    path = f"{plate}/day{day:{number}}/{row}{column:{number}}_z{plane}.tif"
    expected = ParsedName(f"{row.upper()}{column:02d}", plate, day=day, plane=plane)
    assert compile_pattern("{plate}/day{day}/{well}_z{plane}.tif").parse(path) == expected


@given(
    name=st.from_regex(r"[A-Za-z0-9 ]{1,20}", fullmatch=True),
    guid=st.uuids(),
    row=st.sampled_from("ABCDEFGHIJKLMNOP"),
    column=st.integers(1, 24),
)
def test_a_well_with_two_digits_is_parsed_before_any_guid(
    name: str, guid: object, row: str, column: int
) -> None:
    path = f"{name}_{row}{column:02d}{str(guid).upper()}.tif"
    assert compile_pattern("{name}_{well:a00}{guid}.tif").parse(path).well == f"{row}{column:02d}"


@given(path=st.text(alphabet="aB0129_-/T:.", max_size=40))
def test_the_error_of_any_name_contains_the_name(path: str) -> None:
    with pytest.raises(ImageError) as refusal:  # no such text has the literal part of the pattern
        compile_pattern("{plate}_{well}_{taken_at}{rest}_{plane}zz.tif").parse(path)
    assert refusal.value.where == path
