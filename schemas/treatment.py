"""Parse treatment texts, such as ``gemcitabine:0.5 uM + paclitaxel:10 nM`` or ``""``."""

import re
from dataclasses import dataclass

UNITS = ("nM", "uM", "mM", "ng/mL", "ug/mL", "mg/mL", "%")
"""Units of a dose."""
_SPELLINGS = {unit.lower(): unit for unit in UNITS} | {
    "µm": "uM",
    "μm": "uM",
    "µg/ml": "ug/mL",
    "μg/ml": "ug/mL",
}
_DOSE = re.compile(
    r"(?P<compound>[^:+]+):\s*(?P<amount>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)\s*(?P<unit>\S+)"
)


@dataclass(frozen=True)
class Dose:
    """One compound at one concentration; ``amount`` is in ``unit``, one of :data:`UNITS`."""

    compound: str
    amount: float
    unit: str

    def __str__(self) -> str:
        return f"{self.compound}:{self.amount:g} {self.unit}"


@dataclass(frozen=True)
class Treatment:
    """The doses of a well, ordered by compound: none (untreated), one, or a combination."""

    doses: tuple[Dose, ...] = ()

    def __str__(self) -> str:
        return " + ".join(map(str, self.doses))


def parse_treatment(text: str) -> Treatment:
    """Parse a treatment text into a Treatment; equivalent texts give equal results.

    Raises
    ------
    ValueError
        If a part is not ``compound:amount unit`` with a positive amount and a known unit, or a
        compound occurs twice.
    """
    if not text.strip():
        return Treatment()
    # The look-behind keeps "1e+3 nM" in one part.
    doses = sorted(
        (_parse_dose(part.strip(), text) for part in re.split(r"(?<![eE])\+", text)),
        key=lambda dose: dose.compound,
    )
    compounds = [dose.compound for dose in doses]
    for compound in compounds:
        if compounds.count(compound) > 1:
            raise ValueError(
                f"treatment {text!r} names {compound!r} twice; expected each compound once"
            )
    return Treatment(tuple(doses))


def _parse_dose(part: str, whole: str) -> Dose:
    """Return the dose in one part of a treatment text; raise ValueError if it is not valid."""
    match = _DOSE.fullmatch(part)
    if match is None:
        raise ValueError(
            f"treatment {whole!r}: {part!r} does not parse; "
            "expected compound:amount unit, such as gemcitabine:1 uM"
        )
    unit = _SPELLINGS.get(match["unit"].lower())
    if unit is None:
        raise ValueError(
            f"treatment {whole!r}: unit {match['unit']!r} is unknown; "
            f"expected one of {', '.join(UNITS)}"
        )
    amount = float(match["amount"])
    if amount <= 0:
        raise ValueError(
            f"treatment {whole!r}: the amount is {match['amount']}; "
            "expected more than 0 (an untreated well has an empty treatment)"
        )
    return Dose(match["compound"].strip(), amount, unit)
