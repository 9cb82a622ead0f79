import pytest

from schemas.assay import ASSAY_COLUMNS, Assay, parse_assay
from schemas.errors import PlateMapError
from schemas.plate_tables import csv_table
from tests.samples import PLATE, plate_map

NAME = f"{PLATE}/{PLATE}.assay.csv"
HEADER = "well,viability_percent\n"


def read(text: str) -> Assay:
    table = csv_table(text.encode(), NAME, ASSAY_COLUMNS)
    return parse_assay(table, plate=PLATE, wells=plate_map().by_well)


def refusal(text: str) -> str:
    with pytest.raises(PlateMapError) as refused:
        read(text)
    assert refused.value.where == NAME
    return refused.value.problem


def test_wells_and_their_viability_are_read() -> None:
    assay = read(HEADER + "B02,101.25\nD02,12.5\n")
    assert assay == Assay(plate=PLATE, viability_percent={"B02": 101.25, "D02": 12.5})


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + HEADER + "B02,100\nD02,12\n",
        HEADER + "b2,100\nD2,12\n",
        HEADER + " B02 , 100 \n D02 , 12 \n",
        "viability_percent,well\n100,B02\n12,D02\n",
        "well, viability_percent\r\nB02,100\r\nD02,12\r\n",
        "well,viability_percent\rB02,100\rD02,12\r",
        HEADER + '\n"B02","100"\n\nD02,1.2e1',
        "well;viability_percent\nB02;100,0\nD02;12,000\n",
        "Well\tViability Percent\t\t\nB02\t100 %\t\nD02\t12%\t\t\n\t\t\n",
        "sep=;\nwell;viability_percent\nB02;100\nD02;12\n",
        'viability of 2026-11-20\n\nwell,viability_percent\nB02,"100,0"\nD02,12\n',
    ],
    ids=[
        "byte order mark",
        "lower-case wells",
        "spaces",
        "columns turned",
        "Windows lines",
        "old Mac lines",
        "quotes, empty lines and no last line end",
        "semicolons and decimal commas",
        "tabs, percent signs, upper case and empty columns",
        "the separator that Excel declares",
        "a title and quoted decimal commas",
    ],
)
def test_csv_variants_of_common_programs_give_the_same_assay(text: str) -> None:
    assert read(text).viability_percent == {"B02": 100.0, "D02": 12.0}


def test_viabilities_from_0_to_200_percent_are_accepted() -> None:
    assert read(HEADER + "B02,0\nD02,200\n").viability_percent == {"B02": 0.0, "D02": 200.0}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("H12,50", "well H12 is not in the plate map; expected one of its 60 wells"),
        ("Z99,50", "'Z99' is not a well; expected a row letter A–P and a column 1–24"),
        (",50", "'' is not a well"),
        ("D02,200.1", "viability_percent is 200.1; expected 0 to 200"),
        ("D02,-3", "viability_percent is -3; expected 0 to 200"),
        ("D02,NaN", "viability_percent 'NaN' is not a number; expected 0 to 200"),
        ("D02,inf", "viability_percent 'inf' is not a number; expected 0 to 200"),
        ("D02,1_0", "viability_percent '1_0' is not a number; expected 0 to 200"),
        ("D02,1e999", "viability_percent '1e999' is not a number; expected 0 to 200"),
        ('D02,"1.000,5"', "viability_percent '1.000,5' is not a number; expected 0 to 200"),
        ("D02,250 %", "viability_percent is 250 %; expected 0 to 200"),
        ("D02,dead", "viability_percent 'dead' is not a number; expected 0 to 200"),
        ("D02,", "viability_percent '' is not a number; expected 0 to 200"),
        ("D02", "viability_percent '' is not a number; expected 0 to 200"),
        (
            "D02,87,5",
            "3 values; expected 2 (quote a value that contains the separator, such as a decimal",
        ),
        ("b2,50", "well B02 occurs twice, first on line 2; expected each well once"),
    ],
)
def test_a_bad_row_is_refused_with_line_value_and_expectation(row: str, message: str) -> None:
    assert refusal(f"{HEADER}B02,100\n{row}\nC02,40\n").startswith(f"line 3: {message}")


def test_all_problems_are_reported_together() -> None:
    problems = refusal(HEADER + "B02,100\nH12,50\nB03,high\nB04,250\nB02,90\n").split("; line ")
    assert [problem.removeprefix("line ").partition(":")[0] for problem in problems] == [
        "3",
        "4",
        "5",
        "6",
    ]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "\n",
        "well,viability\n",
        "well|viability_percent\n",
        "well,viability_percent,plate\n",
        "well,well,viability_percent\n",
        "B02,100\n",
    ],
    ids=[
        "empty",
        "an empty line",
        "another name",
        "vertical bars",
        "one more",
        "one twice",
        "none",
    ],
)
def test_another_header_is_refused_with_the_expected_header(header: str) -> None:
    problem = refusal(header + "B02,100\n" * bool(header.strip()))
    assert problem.startswith("line 1 has columns ")
    assert problem.endswith("; expected well,viability_percent")


@pytest.mark.parametrize(("rows", "found"), [("", "0 wells"), ("B02,100\n", "1 wells")])
def test_fewer_than_two_wells_are_refused(rows: str, found: str) -> None:
    assert refusal(HEADER + rows) == f"{found}; expected at least 2"


def test_an_assay_with_equal_values_in_all_wells_is_refused() -> None:
    assert (
        refusal(HEADER + "B02,99.5\nD02,99.50\nC02,99.5\n")
        == "all 3 wells have viability 99.5 %; expected values that differ"
    )


def test_a_corrected_value_changes_the_digest() -> None:
    assert (
        read(HEADER + "B02,100\nD02,12\n").digest
        == read("viability_percent,well\n100.0,b2\n12.0,d2\n").digest
    )
    assert read(HEADER + "B02,100\nD02,12\n").digest != read(HEADER + "B02,100\nD02,13\n").digest
