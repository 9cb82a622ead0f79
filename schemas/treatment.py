"""Parse treatment texts, such as ``gemcitabine:0.5 uM + paclitaxel:10 nM`` or ``""``."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace

from schemas.decimal_text import parse_decimal
from schemas.ids import first_invisible

UNITS = ("nM", "uM", "mM", "ng/mL", "ug/mL", "mg/mL", "%")
"""Units of a dose."""
UNIT_FACTORS = {
    "nM": ("molar", 1.0),
    "uM": ("molar", 1e3),
    "mM": ("molar", 1e6),
    "ng/mL": ("mass", 1.0),
    "ug/mL": ("mass", 1e3),
    "mg/mL": ("mass", 1e6),
    "%": ("percent", 1.0),
}
"""Kind of each unit, and its factor to the smallest unit of this kind."""
_SPELLINGS = {unit.lower(): unit for unit in UNITS} | {
    unit.lower().replace("u", micro): unit
    for unit in ("uM", "ug/mL")
    for micro in ("\u00b5", "\u03bc")  # the micro sign and the Greek letter
}
_DOSE = re.compile(
    r"(?P<compound>[^:+]+):\s*"
    r"(?P<amount>(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?)\s*(?P<unit>\S+)"
)
_HYPHENS = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212"), "-")

DoseKey = tuple[str, str, float]
"""Compound, kind of unit and amount in the smallest unit: equal for one dose in any writing."""


@dataclass(frozen=True)
class Dose:
    """One compound at one concentration; ``amount`` is in ``unit``, one of :data:`UNITS`."""

    compound: str
    amount: float
    unit: str

    def __str__(self) -> str:
        return f"{self.compound}:{self.amount:g} {self.unit}"

    @property
    def compound_key(self) -> str:
        """Name of the compound without differences in case, spaces, hyphens and Unicode form."""
        name = unicodedata.normalize("NFC", self.compound).translate(_HYPHENS).casefold()
        return unicodedata.normalize("NFC", " ".join(name.split()))

    @property
    def kind(self) -> str:
        """Kind of the unit: ``molar``, ``mass`` or ``percent``."""
        return UNIT_FACTORS[self.unit][0]

    @property
    def smallest_units(self) -> float:
        """Amount in the smallest unit of its kind: 0.1 uM equals 100 nM."""
        return round_amount(self.amount * UNIT_FACTORS[self.unit][1])

    @property
    def key(self) -> DoseKey:
        """Key that is equal for equal amounts of one compound in any unit."""
        return (self.compound_key, self.kind, self.smallest_units)


@dataclass(frozen=True)
class Treatment:
    """The doses of a well, ordered by compound: none (untreated), one, or a combination."""

    doses: tuple[Dose, ...] = ()

    def __str__(self) -> str:
        return " + ".join(map(str, self.doses))

    @property
    def key(self) -> tuple[DoseKey, ...]:
        """Key that is equal for treatments with equal compounds and amounts in any unit."""
        return tuple(sorted(dose.key for dose in self.doses))


def round_amount(amount: float) -> float:
    """Return an amount rounded to 9 digits, because 0.57 uM x 1000 is not quite 570 nM."""
    return float(f"{amount:.9g}")


def parse_treatment(text: str) -> Treatment:
    """Parse a treatment text into a Treatment of doses in the units of the text.

    Raises
    ------
    ValueError
        If a part is not ``compound:amount unit`` with a positive amount and a known unit, or a
        compound occurs twice.
    """
    if not text.strip():
        return Treatment()
    if (wrong := first_invisible(" ".join(text.split()))) is not None:
        raise ValueError(
            f"treatment {text!r} contains the character U+{ord(wrong):04X}; "
            "expected printable characters"
        )
    # The look-behind keeps "1e+3 nM" in one part.
    doses = sorted(
        (_parse_dose(part.strip(), text) for part in re.split(r"(?<![eE])\+", text)),
        key=lambda dose: dose.compound,
    )
    compounds = [dose.compound_key for dose in doses]
    for dose in doses:
        if compounds.count(dose.compound_key) > 1:
            raise ValueError(
                f"treatment {text!r} names {dose.compound!r} twice; expected each compound once"
            )
    return Treatment(tuple(doses))


def treatment_names(texts: Iterable[str]) -> dict[str, str]:
    """Return one name for each treatment text; texts of one treatment have the same name.

    ``1 uM`` and ``1000 nM`` of a compound are one treatment, and names of compounds that differ in
    case, spaces or Unicode form are one compound. The first form is the name. A text that is not a
    treatment is its own name.
    """
    compounds: dict[str, str] = {}
    names: dict[tuple[DoseKey, ...], str] = {}
    name_of: dict[str, str] = {}
    for text in dict.fromkeys(texts):
        try:
            treatment = parse_treatment(text)
        except ValueError:
            name_of[text] = text
            continue
        doses = (
            replace(dose, compound=compounds.setdefault(dose.compound_key, dose.compound))
            for dose in treatment.doses
        )
        first = Treatment(tuple(sorted(doses, key=lambda dose: dose.compound)))
        name_of[text] = names.setdefault(treatment.key, str(first))
    return name_of


def spelling_notes(texts: Iterable[str]) -> tuple[str, ...]:
    """Return a sentence for each treatment or compound that these texts write in several ways."""
    compounds: dict[str, dict[str, None]] = {}
    amounts: dict[DoseKey, dict[str, None]] = {}
    for text in dict.fromkeys(texts):
        for dose in parse_treatment(text).doses:
            compounds.setdefault(dose.compound_key, {})[dose.compound] = None
            amounts.setdefault(dose.key, {})[f"{dose.amount:g} {dose.unit}"] = None
    names = {key: next(iter(written)) for key, written in compounds.items()}
    return (
        *(
            f"{_quoted(written)} are read as one compound, {names[key]}."
            for key, written in compounds.items()
            if len(written) > 1
        ),
        *(
            f"{_quoted(written)} of {names[key]} are one dose."
            for (key, _, _), written in amounts.items()
            if len(written) > 1
        ),
    )


def _quoted(texts: Iterable[str]) -> str:
    """Return texts in quotes, joined by ``and``."""
    return " and ".join(map(repr, texts))


def _parse_dose(part: str, whole: str) -> Dose:
    """Return the dose in one part of a treatment text; raise ValueError if it is not valid."""
    match = _DOSE.fullmatch(part)
    if match is None:
        raise ValueError(
            f"treatment {whole!r}: {part!r} does not parse; "
            "expected compound:amount unit, such as gemcitabine:1 uM"
        )
    unit = _SPELLINGS.get(unicodedata.normalize("NFC", match["unit"]).lower())
    if unit is None:
        raise ValueError(
            f"treatment {whole!r}: unit {match['unit']!r} is unknown; "
            f"expected one of {', '.join(UNITS)}"
        )
    try:
        amount = parse_decimal(match["amount"])
    except ValueError as error:
        raise ValueError(f"treatment {whole!r}: {error}") from None
    if amount <= 0:
        raise ValueError(
            f"treatment {whole!r}: the amount is {match['amount']}; "
            "expected more than 0 (an untreated well has an empty treatment)"
        )
    compound = " ".join(unicodedata.normalize("NFC", match["compound"]).split())
    return Dose(compound, amount, unit)
