"""File names of instruments, parsed by patterns, and names and patterns that are refused."""

import re
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acquisition.drop_folder.name_marks import channel_key, plate_key
from acquisition.drop_folder.naming import ParsedName, compile_pattern, is_ignored
from schemas.errors import ConfigError, ImageError

GUID = "46C9B2CD-0BB3-4B8A-9187-2805F4C90506"
OPERA = (
    "{plate}__{taken_at}-Measurement {n}/Images/"
    "r{row}c{col}f{field}p{plane}-ch{channel}sk{timepoint}fk1fl1.tiff"
)
GEN5 = (
    "{taken_at:%y%m%d_%H%M%S}_{plate}/"
    "{well}_{step:00}_{n:0}_{field}Z{plane}_{channel}_{read:000}.tif"
)
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
        "{plate}_{well}_{field}_{elapsed_day}d{elapsed_hours}h{elapsed_minutes}m.tif",
        "VID289_B2_1_07d06h30m.tif",
        ParsedName("B02", "VID289", field=1, elapsed=timedelta(days=7, hours=6, minutes=30)),
    ),
    "Incucyte, plate with underscores": (
        "{plate}_{well}_{field}_{elapsed_day}d{elapsed_hours}h{elapsed_minutes}m.tif",
        "R2_MDF_green_B2_1_00d00h00m.tif",
        ParsedName("B02", "R2_MDF_green", field=1, elapsed=timedelta()),
    ),
    "Incucyte, elapsed day alone": (
        "{plate}_{well}_{field}_{elapsed_day}d{hours}h{minutes}m.tif",
        "VID289_B2_1_07d00h00m.tif",
        ParsedName("B02", "VID289", day=8, field=1),
    ),
    "Incucyte, date": (
        "{plate}_{well}_{field}_{taken_at:%Yy%mm%dd_%Hh%Mm}.tif",
        "VID289_B2_1_2026y11m16d_14h00m.tif",
        ParsedName("B02", "VID289", field=1, taken_at=datetime(2026, 11, 16, 14)),  # noqa: DTZ001
    ),
    "elapsed hours alone": (
        "{well}_{elapsed_hours}h.tif",
        "B02_168h.tif",
        ParsedName("B02", elapsed=timedelta(days=7)),
    ),
    "Opera": (
        OPERA,
        "PDAC-0042__2026-11-16T14_00_00-Measurement 1/Images/r02c03f01p01-ch1sk1fk1fl1.tiff",
        ParsedName(
            "B03",
            "PDAC-0042",
            plane=1,
            field=1,
            taken_at=datetime(2026, 11, 16, 14),  # noqa: DTZ001
            channel="1",
        ),
    ),
    "Opera, without the folder of the measurement": (
        "r{row}c{col}f{field}p{plane}-ch{channel}sk{timepoint}fk1fl1.tiff",
        "r16c24f012p03-ch2sk11fk1fl1.tiff",
        ParsedName("P24", plane=3, field=12, channel="2"),
    ),
    "MetaXpress, sites and wavelengths": (
        "{name}_{well:a00}_s{field:0}_w{channel:0}{guid}.tif",
        f"val screen_B02_s1_w2{GUID}.tif",
        ParsedName("B02", field=1, channel="2"),
    ),
    "MetaXpress, z-stack": (
        "TimePoint_{t}/ZStep_{plane}/{name}_{well:a00}_s{field:0}_w{channel:0}{guid}.tif",
        f"TimePoint_1/ZStep_3/mix_E07_s1_w1{GUID}.tif",
        ParsedName("E07", plane=3, field=1, channel="1"),
    ),
    "ImageXpress HCS.ai": (
        "{name}_t{timepoint}_{well:a00}_s{field}_w{channel}_z{plane}.tif",
        "organoids_t0_C05_s0_w0_z2.tif",
        ParsedName("C05", plane=2, field=0, channel="0"),
    ),
    "Gen5": (
        GEN5,
        "261116_140000_Plate 1/B3_02_1_1Z0_Bright Field_001.tif",
        ParsedName(
            "B03",
            "Plate 1",
            plane=0,
            field=1,
            taken_at=datetime(2026, 11, 16, 14),  # noqa: DTZ001
            channel="Bright Field",
        ),
    ),
    "Gen5, one plane": (
        "{well}_{step:00}_{n:0}_{field}_{channel}_{read:000}.tif",
        "A10_03_2_1_GFP_001.tif",
        ParsedName("A10", field=1, channel="GFP"),
    ),
    "CellVoyager": (
        "{plate}_{well:a00}_T{timepoint:0000}F{field}L{l:00}A{a:00}Z{plane}C{channel}.tif",
        "AssayPlate_Greiner_#781956_B04_T0001F002L01A01Z03C01.tif",
        ParsedName("B04", "AssayPlate_Greiner_#781956", plane=3, field=2, channel="01"),
    ),
    "InCell": (
        "{row} - {col}(fld {field} wv {channel}).tif",
        "B - 03(fld 1 wv TL-Brightfield - Cy3).tif",
        ParsedName("B03", field=1, channel="TL-Brightfield - Cy3"),
    ),
    "InCell, z-stack": (
        "{row} - {col}(fld {field} wv {channel} z {plane}).tif",
        "A - 01(fld 1 wv Green - dsRed z 3).tif",
        ParsedName("A01", plane=3, field=1, channel="Green - dsRed"),
    ),
    "Celigo": (
        "{plate}_Scan_{taken_at:%m-%d-%Y-%I-%M-%S-%p}_Well_{well}_Ch{channel}_{res}um.tiff",
        "3500004991_Scan_2-4-2026-6-49-51-PM_Well_A1_Ch1_1um.tiff",
        ParsedName(
            "A01",
            "3500004991",
            taken_at=datetime(2026, 2, 4, 18, 49, 51),  # noqa: DTZ001
            channel="1",
        ),
    ),
    "Squid": (
        "{plate}_{taken_at}/{timepoint}/{well}_{field}_{plane}_{channel}.tiff",
        "pilot5_2026-11-16_14-00-00.710491/0/D16_2_1_BF_LED_matrix_full.tiff",
        ParsedName(
            "D16",
            "pilot5",
            plane=1,
            field=2,
            taken_at=datetime(2026, 11, 16, 14, 0, 0, 710491),  # noqa: DTZ001
            channel="BF_LED_matrix_full",
        ),
    ),
    "Micro-Manager": (
        "{well}-Site_{field}/img_channel{channel}_position{n}_time{t}_z{plane}.tif",
        "PDAC-0042/A1-Site_0/img_channel001_position000_time000000000_z002.tif",
        ParsedName("A01", plane=2, field=0, channel="001"),
    ),
    "Micro-Manager 1.4": (
        "{well}-Site_{field}/img_{t:000000000}_{channel}_{plane:000}.tif",
        "PDAC-0042/A1-Site_0/img_000000000_BF_lamp_002.tif",
        ParsedName("A01", plane=2, field=0, channel="BF_lamp"),
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


REFERENCE = Path(__file__).parents[4] / "docs" / "reference" / "drop-folder.md"
ROW = re.compile(
    r"\| ([^|]+) \| `([^`|]+\.(?:tiff?|TIF))` \| (?:`([^`]+)`|the same, or `([^`]+)`).*\|"
)


def documented_patterns() -> list[tuple[str, str, str]]:
    """Return the instrument, name and pattern of each row of the table in the reference."""
    rows = map(ROW.fullmatch, REFERENCE.read_text().splitlines())
    return [(row[1], row[2].replace("-…", GUID[8:]), row[3] or row[4]) for row in rows if row]


def test_each_pattern_of_the_reference_reads_the_name_beside_it() -> None:
    patterns = documented_patterns()
    assert len(patterns) >= 19
    for instrument, name, pattern in patterns:
        compiled = compile_pattern(pattern)
        parsed = compiled.parse(name)
        values = {"plate", "day", "plane", "field", "channel", "taken_at"} & compiled.fields
        assert parsed.well in {"A01", "A10", "B02", "B03", "B04", "C05"}, instrument
        assert all(getattr(parsed, value) is not None for value in values), instrument


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
        ("{well}_{day}_{elapsed_hours}.tif", "not both"),
        ("{well}_{plate:00}.tif", "expected {plate}"),
        ("{well}_{n:a}.tif", "expected {n}"),
        ("{well}_{Channel}.tif", "expected {channel}"),
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


METAXPRESS = "{name}_{well:a00}{guid}.tif"


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        (METAXPRESS, f"x_B02_s1_w2{GUID}.tif", ParsedName("B02", site=1, channel="2")),
        (METAXPRESS, f"x_B02_s12_w1{GUID}.tif", ParsedName("B02", site=12, channel="1")),
        (METAXPRESS, f"x_B02_s2{GUID}.tif", ParsedName("B02", site=2)),
        (METAXPRESS, f"x_B02_w2{GUID}.tif", ParsedName("B02", channel="2")),
        (METAXPRESS, "x_B02_w2.TIF", ParsedName("B02", channel="2")),
        (METAXPRESS, f"x_s5_w1_B02{GUID}.tif", ParsedName("B02")),
        (METAXPRESS, f"TimePoint_1/ZStep_2/x_B02{GUID}.tif", ParsedName("B02", plane=2)),
        ("{well}_s{plane}.tif", "B02_s2.tif", ParsedName("B02", plane=2)),
        ("{well}_s1_w{channel}.tif", "B02_s1_w2.tif", ParsedName("B02", channel="2")),
        ("{well}_s{n}.tif", "B02_s2.tif", ParsedName("B02", site=2)),
        ("{well}_w{day}.tif", "B02_w2.tif", ParsedName("B02", day=2)),
    ],
)
def test_the_site_and_wavelength_of_metaxpress_are_recognised_in_ignored_text(
    pattern: str, path: str, expected: ParsedName
) -> None:
    assert compile_pattern(pattern).parse(path) == expected


@pytest.mark.parametrize(
    "ending", [" (1)", "(2)", " - Copy", " - Copy (3)", " - Kopie", " copy", " copy 2", "_copy"]
)
@pytest.mark.parametrize("pattern", ["{well}_z{plane}.tif", "{well}_{rest}.tif"])
def test_the_name_of_a_copy_is_refused_with_the_name_of_the_original(
    pattern: str, ending: str
) -> None:
    with pytest.raises(ImageError, match=r"that of a copy of B02_z1\.tif"):
        compile_pattern(pattern).parse(f"P1/B02_z1{ending}.tif")


def test_a_number_in_brackets_is_read_if_the_pattern_describes_it() -> None:
    assert compile_pattern("{well} ({plane}).tif").parse("B02 (3).tif") == ParsedName(
        "B02", plane=3
    )


@pytest.mark.parametrize("name", ["B02_07d24h00m.tif", "B02_07d00h60m.tif"])
def test_an_impossible_elapsed_time_does_not_fit(name: str) -> None:
    with pytest.raises(ImageError, match="does not fit"):
        compile_pattern("{well}_{elapsed_day}d{elapsed_hours}h{elapsed_minutes}m.tif").parse(name)


@pytest.mark.parametrize(
    ("pattern", "first", "second", "is_repeated"),
    [
        (METAXPRESS, f"x_B02{GUID}.tif", "x_B02ED7830C1-C860-4559-BEF4-CA7ACDA30D05.tif", True),
        (METAXPRESS, "x_B02first.tif", "x_B02second.tif", True),
        (METAXPRESS, f"x_B02_t1{GUID}.tif", f"x_B02_t2{GUID}.tif", False),
        (METAXPRESS, f"x_B02{GUID}.tif", f"y_B02{GUID}.tif", False),
        ("{well}_{rest}.tif", "B02_20261116T140000.tif", "B02_20261116T150000.tif", True),
        ("{well}_{rest}.tif", "B02_green.tif", "B02_phase.tif", False),
        ("{well}_{rest}.tif", "B02_1.tif", "B02_2.tif", False),
        ("{well}_{rest}.tif", "B2_x01.tif", "b02_X1.tif", True),
        ("{well}_{a}d{h}h.tif", "B2_7d06h.tif", "B2_7d12h.tif", False),
    ],
)
def test_names_that_differ_in_more_than_an_identifier_are_of_two_settings(
    pattern: str, first: str, second: str, *, is_repeated: bool
) -> None:
    compiled = compile_pattern(pattern)
    assert (compiled.setting_of(first) == compiled.setting_of(second)) is is_repeated


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
        f"x_B02_s1_w1_thumb{GUID}.tif",
        "x_B02_s1_w1_thumbC02DD956-A29B-4B59-B231-A8DD0AAE37D1.tif",
        f"x_B02_w1_thumb_{GUID}.tif",
        "B02_thumb.tif",
        "B02_Thumbnail_2.png",
        "Thumb_B02.jpg",
        "P/Thumbs/B02.tif",
        "P/thumbnails/B02.tif",
        "P/thumbs_128x128/B02.tif",
        "B02Thumb.tif",
    ],
)
def test_hidden_and_temporary_files_and_thumbnails_are_ignored(path: str) -> None:
    assert is_ignored(path)


@pytest.mark.parametrize(
    "path",
    [
        "left thumb cells_B03ED7830C1-C860.tif",
        "thumbelina/day07/B02_z1.tif",
        "thumb_A/thumb_A.plate.toml",
        "B02_z1.tif",
    ],
)
def test_other_files_are_not_ignored(path: str) -> None:
    assert not is_ignored(path)


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


@given(
    well=st.tuples(st.sampled_from("ABCDEFGHIJKLMNOP"), st.integers(1, 24)),
    site=st.none() | st.integers(1, 99),
    channel=st.none() | st.integers(1, 9),
    guid=st.uuids(),
    name=st.from_regex(r"[A-Za-z0-9 ]{1,12}", fullmatch=True),
)
def test_a_site_and_a_wavelength_are_read_before_any_guid(
    well: tuple[str, int], site: int | None, channel: int | None, guid: object, name: str
) -> None:
    marks = (f"_s{site}" if site else "") + (f"_w{channel}" if channel else "")
    path = f"{name}_{well[0]}{well[1]:02d}{marks}{str(guid).upper()}.tif"
    expected = ParsedName(
        f"{well[0]}{well[1]:02d}", site=site, channel=str(channel) if channel else None
    )
    assert compile_pattern(METAXPRESS).parse(path) == expected


@given(hours=st.integers(0, 60 * 24), minutes=st.integers(0, 59))
def test_an_elapsed_time_is_read_whole(hours: int, minutes: int) -> None:
    path = f"V_C3_2_{hours // 24:02d}d{hours % 24:02d}h{minutes:02d}m.tif"
    pattern = "{plate}_{well}_{field}_{elapsed_day}d{elapsed_hours}h{elapsed_minutes}m.tif"
    parsed = compile_pattern(pattern).parse(path)
    assert parsed.elapsed == timedelta(hours=hours, minutes=minutes)
    assert (parsed.day, parsed.field) == (None, 2)


@given(path=st.text(max_size=60))
def test_any_text_is_parsed_or_refused(path: str) -> None:
    for pattern in (METAXPRESS, "{well}_z{plane}.tif", "{row}{col}{rest}.png"):
        try:
            parsed = compile_pattern(pattern).parse(path)
        except ImageError as error:
            assert error.where == path  # noqa: PT017 - either result is right
        else:
            assert parsed.well
    assert isinstance(is_ignored(path), bool)


@given(channel=st.text(st.characters(codec="utf-8", exclude_characters="/\\"), min_size=1))
def test_a_channel_is_read_as_it_is_written(channel: str) -> None:
    path = f"B02_{channel}.tif"
    if not is_ignored(path):
        compiled = compile_pattern("{well}_{channel}.tif")
        try:
            assert compiled.parse(path).channel == channel
        except ImageError as error:
            assert "copy" in error.problem  # noqa: PT017 - either result is right


@given(text=st.text(max_size=20))
def test_the_form_of_unicode_makes_no_other_plate_or_channel(text: str) -> None:
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert plate_key(composed) == plate_key(decomposed)
    assert channel_key(composed) == channel_key(decomposed)


@pytest.mark.parametrize(
    ("first", "second"),
    [("C01", "1"), ("w2", "02"), ("Bright_Field", "bright field"), ("ch3", "3"), ("d0", "0")],
)
def test_a_channel_may_be_written_in_several_ways(first: str, second: str) -> None:
    assert channel_key(first) == channel_key(second)
