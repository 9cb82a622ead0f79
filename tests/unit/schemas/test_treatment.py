import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.treatment import UNITS, Dose, parse_treatment, spelling_notes, treatment_names

SAME = [
    ("gemcitabine:1 uM", "gemcitabine:1000 nM"),
    ("gemcitabine:1 uM", "gemcitabine: 0.001 mM"),
    ("gemcitabine:1 uM", "Gemcitabine:1uM"),
    ("gemcitabine:0.57 uM", "gemcitabine:570 nM"),
    ("x:1 ug/mL", "x:1000 ng/mL"),
    ("x:1 mg/mL", "x:1000 \u00b5g/ml"),
    ("x:1 \u00b5M", "x:1 \u03bcM"),
    ("x:0,5 uM", "x:0.5 uM"),
    ("x:2,5e1 nM", "x:25 nM"),
    ("5-FU:1 uM", "5\u2011fu:1 uM"),
    ("caf\u00e9:1 uM", "cafe\u0301:1 uM"),
    ("nab  paclitaxel:1 uM", "nab\u00a0paclitaxel:1 uM"),
    ("a:1 uM + b:2 nM", "B:0.002 uM + A:1000 nM"),
]
DIFFERENT = [
    ("x:1 uM", "x:1 nM"),
    ("x:1 uM", "x:1 ug/mL"),
    ("x:1 %", "x:1 mg/mL"),
    ("x:1 uM", "y:1 uM"),
    ("x:1 uM", "x:1.001 uM"),
    ("x:1 uM", "x:1 uM + y:1 uM"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_texts_of_one_treatment_have_one_key_and_the_first_name(one: str, other: str) -> None:
    assert parse_treatment(one).key == parse_treatment(other).key
    assert treatment_names([one, other])[other] == str(parse_treatment(one))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_treatments_keep_their_names(one: str, other: str) -> None:
    assert treatment_names([one, other]) == {one: one, other: other}


def test_a_compound_has_its_first_name_at_every_dose() -> None:
    names = treatment_names(
        ["Gemcitabine:1 uM", "gemcitabine:2 uM", "a:1 nM + gemcitabine:2000 nM"]
    )
    assert list(names.values()) == [
        "Gemcitabine:1 uM",
        "Gemcitabine:2 uM",
        "Gemcitabine:2000 nM + a:1 nM",
    ]


def test_notes_name_every_way_of_writing_a_compound_or_dose() -> None:
    assert spelling_notes(["Gem:1 uM", "gem:1000 nM", "b:1 nM", "Gem:2 uM"]) == (
        "'Gem' and 'gem' are read as one compound, Gem.",
        "'1 uM' and '1000 nM' of Gem are one dose.",
    )
    assert spelling_notes(["a:1 uM", "a:1 uM", "b:1 uM", ""]) == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x:1,000 nM", "'1,000' can be read as 1.000 or 1000"),
        ("x:12,345 nM", "'12,345' can be read as 12.345 or 12345"),
        ("x:1,000,000 nM", "does not parse"),
        ("x:1.000,5 nM", "does not parse"),
        ("x:1e999 nM", "'1e999' is too large"),
        ("x:0 nM", "the amount is 0; expected more than 0"),
        ("x:-1 nM", "does not parse"),
        ("x:1 M", "unit 'M' is unknown; expected one of nM, uM"),
        ("Gem:1 uM + gem:2 uM", "names 'Gem' twice"),
        ("x", "'x' does not parse"),
    ],
)
def test_a_text_that_is_no_treatment_is_refused_with_its_value(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match="treatment") as refused:
        parse_treatment(text)
    assert problem in str(refused.value)


@given(
    amount=st.integers(1, 999_999),
    exponent=st.integers(-3, 3),
    unit=st.sampled_from(UNITS),
    form=st.sampled_from(["NFC", "NFD"]),
)
def test_a_dose_reads_back_as_itself_in_any_form(
    amount: int, exponent: int, unit: str, form: str
) -> None:
    dose = Dose("émile-5", float(f"{amount}e{exponent}"), unit)
    text = unicodedata.normalize(form, str(dose)).replace("u", "\u03bc")
    (read,) = parse_treatment(text).doses
    assert (read.compound, read.unit) == (dose.compound, dose.unit)
    assert read.amount == pytest.approx(dose.amount, rel=1e-5)
    assert str(parse_treatment(str(read))) == str(read)
