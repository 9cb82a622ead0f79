"""The scored wells of a plate by what they were given, whatever unit it was written in."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.plate_map import Group
from schemas.ranking import TreatmentTable, WellRank
from schemas.treatment import Dose, parse_treatment

_UNIT_FACTORS = {
    "nM": ("molar", 1.0),
    "uM": ("molar", 1e3),
    "mM": ("molar", 1e6),
    "ng/mL": ("mass", 1.0),
    "ug/mL": ("mass", 1e3),
    "mg/mL": ("mass", 1e6),
    "%": ("percent", 1.0),
}


@dataclass(frozen=True, order=True)
class Substance:
    """A compound measured in one kind of unit; kinds are never mixed: a molar mass is not known."""

    compound: str
    kind: str


@dataclass(frozen=True, order=True)
class Amount:
    """A dose in the smallest unit of its kind, so that 0.1 uM and 100 nM are one."""

    substance: Substance
    smallest_units: float

    @classmethod
    def of(cls, dose: Dose) -> "Amount":
        """Convert a dose."""
        kind, factor = _UNIT_FACTORS[dose.unit]
        return cls(Substance(dose.compound, kind), _round_amount(dose.amount * factor))

    def in_unit(self, unit: str) -> float:
        """Return the amount in a unit of the same kind."""
        return _round_amount(self.smallest_units / _UNIT_FACTORS[unit][1])


TreatmentKey = tuple[Amount, ...]
"""What a well was given, ordered by compound; () is untreated."""
UNTREATED: TreatmentKey = ()


@dataclass(frozen=True)
class DosedWells:
    """The wells that take part: scored, not left out, and with a treatment that can be read.

    A dose that untreated wells carry is the vehicle, and counts as nothing in other wells too.
    """

    by_treatment: Mapping[TreatmentKey, Sequence[WellRank]]
    names: Mapping[TreatmentKey, str]  # a treatment as the plate map spells it
    units: Mapping[Substance, str]  # the unit that most wells of it are written in
    unreadable: tuple[str, ...]  # treatments that are no doses

    @classmethod
    def of(cls, table: TreatmentTable) -> "DosedWells":
        """Gather the wells of a ranking."""
        left_out = {left.well for left in table.quality.left_out}
        rows = [
            row
            for row in table.wells
            if row.group is not Group.BLANK and row.score is not None and row.well not in left_out
        ]
        doses = {text: _parse_doses(text) for text in dict.fromkeys(row.treatment for row in rows)}
        vehicles = {
            Amount.of(dose)
            for row in rows
            if row.group is Group.UNTREATED
            for dose in doses[row.treatment] or ()
        }
        by_treatment: dict[TreatmentKey, list[WellRank]] = {}
        names: dict[TreatmentKey, str] = {}
        unit_counts: dict[Substance, Counter[str]] = {}
        for row in rows:
            key = (
                UNTREATED
                if row.group is Group.UNTREATED
                else _treatment_key(doses[row.treatment], vehicles)
            )
            if key is None:
                continue
            by_treatment.setdefault(key, []).append(row)
            names.setdefault(key, row.treatment)
            for dose in doses[row.treatment] or ():
                unit_counts.setdefault(Amount.of(dose).substance, Counter())[dose.unit] += 1
        units = {
            substance: counted.most_common(1)[0][0] for substance, counted in unit_counts.items()
        }
        unreadable = {
            row.treatment
            for row in rows
            if row.group is not Group.UNTREATED and doses[row.treatment] is None
        }
        return cls(by_treatment, names, units, tuple(sorted(unreadable)))

    def by_dose(
        self, substance: Substance, effects: Mapping[str, float]
    ) -> dict[float, list[tuple[str, float]]]:
        """Return the wells and effects of each dose of a substance given alone, in its unit; 0 is untreated. Wells without an effect are left out."""
        unit = self.units[substance]
        rows = {0.0: self.by_treatment.get(UNTREATED, ())}
        rows |= {
            key[0].in_unit(unit): rows_of_key
            for key, rows_of_key in self.by_treatment.items()
            if len(key) == 1 and key[0].substance == substance
        }
        return {
            dose: [(row.well, effects[row.well]) for row in of_dose if row.well in effects]
            for dose, of_dose in rows.items()
        }

    @property
    def single_agents(self) -> list[Substance]:
        """The substances that some wells were given alone."""
        return sorted({key[0].substance for key in self.by_treatment if len(key) == 1})

    def format_amount(self, amount: Amount) -> str:
        """Return an amount as a treatment is written."""
        unit = self.units[amount.substance]
        return str(Dose(amount.substance.compound, amount.in_unit(unit), unit))


def _treatment_key(doses: tuple[Dose, ...] | None, vehicles: set[Amount]) -> TreatmentKey | None:
    """Return what counts of some doses; None where nothing does, in wells that are not called untreated."""
    return (
        tuple(sorted(amount for amount in map(Amount.of, doses or ()) if amount not in vehicles))
        or None
    )


def _parse_doses(treatment: str) -> tuple[Dose, ...] | None:
    try:
        return parse_treatment(treatment).doses
    except ValueError:  # a profile table may name treatments as it likes
        return None


def _round_amount(amount: float) -> float:
    return float(f"{amount:.9g}")  # 0.57 uM x 1000 is not quite 570 nM
