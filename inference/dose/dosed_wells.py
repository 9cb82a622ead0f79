"""Scored wells of a plate grouped by treatment, with doses converted to common units."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from schemas.plate_map import Group
from schemas.ranking import WellRank
from schemas.treatment import UNIT_FACTORS, Dose, parse_treatment, round_amount


@dataclass(frozen=True, order=True)
class Substance:
    """Compound with the kind of its unit: molar, mass or percent.

    Kinds are never converted into each other, because molar masses are unknown.
    """

    compound: str
    kind: str


@dataclass(frozen=True, order=True)
class Amount:
    """Dose in the smallest unit of its kind, so that 0.1 uM equals 100 nM."""

    substance: Substance
    value: float

    @classmethod
    def of(cls, dose: Dose) -> "Amount":
        """Return a Dose as an amount."""
        return cls(Substance(dose.compound, dose.kind), dose.smallest_units)

    def in_unit(self, unit: str) -> float:
        """Return the value of the amount in a unit of the same kind."""
        return round_amount(self.value / UNIT_FACTORS[unit][1])


TreatmentKey = tuple[Amount, ...]
"""Amounts of a treatment, ordered by compound; () = untreated."""
UNTREATED: TreatmentKey = ()
"""Key of untreated wells."""


@dataclass(frozen=True)
class DosedWells:
    """Wells of a plate that are scored, not left out, and have a readable treatment.

    A dose of untreated wells is a vehicle and is ignored in all wells.
    """

    by_treatment: Mapping[TreatmentKey, Sequence[WellRank]]
    """Wells by treatment."""
    names: Mapping[TreatmentKey, str]
    """Text of each treatment in the plate map."""
    units: Mapping[Substance, str]
    """Most frequent unit of each substance in the plate map."""
    unreadable: tuple[str, ...]
    """Treatment texts that contain no readable dose."""

    @classmethod
    def of(cls, wells: Iterable[WellRank], left_out: Collection[str]) -> "DosedWells":
        """Group the scored WellRanks of a plate by treatment, without the left-out wells."""
        rows = [
            row
            for row in wells
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
        """Return (well, effect) pairs by dose of a Substance given alone, from effects by well.

        Dose 0 is untreated. Wells without an effect are omitted.

        Parameters
        ----------
        substance
            Compound and kind of unit; doses are in ``units[substance]``.
        effects
            Effect by well.
        """
        unit = self.units[substance]
        by_dose = {0.0: self.by_treatment.get(UNTREATED, ())}
        by_dose |= {
            key[0].in_unit(unit): rows
            for key, rows in self.by_treatment.items()
            if len(key) == 1 and key[0].substance == substance
        }
        return {
            dose: [(row.well, effects[row.well]) for row in rows_of_dose if row.well in effects]
            for dose, rows_of_dose in by_dose.items()
        }

    @property
    def single_agents(self) -> list[Substance]:
        """Substances that some wells received alone."""
        return sorted({key[0].substance for key in self.by_treatment if len(key) == 1})

    def format_amount(self, amount: Amount) -> str:
        """Return the text of an amount, such as ``gemcitabine:1 uM``."""
        unit = self.units[amount.substance]
        return str(Dose(amount.substance.compound, amount.in_unit(unit), unit))


def _treatment_key(doses: tuple[Dose, ...] | None, vehicles: set[Amount]) -> TreatmentKey | None:
    """Return the key of doses without vehicles, or None if no dose remains."""
    return (
        tuple(sorted(amount for amount in map(Amount.of, doses or ()) if amount not in vehicles))
        or None
    )


def _parse_doses(treatment: str) -> tuple[Dose, ...] | None:
    """Return the doses of a treatment text, or None if it is not readable."""
    try:
        return parse_treatment(treatment).doses
    except ValueError:  # treatment names in a profile table are free text
        return None
