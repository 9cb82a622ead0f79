"""Excess of every combination of a plate over its single agents, or why it is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inference.dose.combinations import (
    ExcessInputs,
    MeanEffects,
    bliss_excess,
    highest_single_agent_excess,
    loewe_excess,
)
from inference.dose.dosed_wells import UNTREATED, DosedWells, Substance, TreatmentKey
from inference.dose.logistic import LogisticFit
from schemas.dose_response import Combination, Effect

FRACTION_NOTE = (
    "Without an assay, effects are fractions of the strongest effect on this plate ({of}, score "
    "{score:.3g}). The Bliss excess depends on this choice; for highest single agent and Loewe it "
    "only changes the scale."
)
"""Note of a ranking without an assay, in which effects are not fractions."""
STRONGEST_NOTE = (
    "This combination is the strongest treatment of the plate and defines the effect of 1, so "
    "there is no Bliss excess."
)
"""Reason for a missing Bliss excess: any expectation would be exceeded."""


def evaluate_combinations(
    wells: DosedWells,
    effect: Effect,
    effects: Mapping[str, float],
    fits: Mapping[Substance, LogisticFit],
    rng: np.random.Generator,
) -> tuple[tuple[Combination, ...], tuple[str, ...]]:
    """Return (Combinations, notes) of DosedWells, from an Effect's value by well and fitted curves.

    The excess of every combination of the plate is estimated.

    Parameters
    ----------
    wells
        Wells of the plate by treatment.
    effect
        Quantity of the effects.
    effects
        Effect by well.
    fits
        Dose-response curves of the compounds that respond.
    rng
        Random generator of the Loewe errors.
    """
    combined = [key for key in wells.by_treatment if len(key) > 1]
    if not combined:
        return (), ()
    order = list(wells.by_treatment)
    untreated = order.index(UNTREATED) if UNTREATED in order else None
    means = MeanEffects.moderated(
        [np.array([effects[row.well] for row in wells.by_treatment[key]]) for key in order],
        untreated,
    )
    values = dict(zip(order, means.values.tolist(), strict=True))
    strongest = (
        None
        if effect is Effect.DETERIORATION
        else max((key for key in values if key), key=values.__getitem__)
    )
    evaluator = _CombinationEvaluator(
        wells, effect, means, {key: row for row, key in enumerate(order)}, strongest, fits
    )
    notes = (
        ()
        if strongest is None
        else (FRACTION_NOTE.format(of=wells.names[strongest], score=values[strongest]),)
    )
    return tuple(evaluator.evaluate(key, rng) for key in combined), notes


@dataclass(frozen=True, eq=False)
class _CombinationEvaluator:
    """Data that all combinations of a plate share."""

    wells: DosedWells
    effect: Effect
    means: MeanEffects
    rows: Mapping[TreatmentKey, int]
    """Index of each treatment in ``means``."""
    strongest: TreatmentKey | None
    """Treatment whose effect is the fraction 1; None if the effects are fractions already."""
    fits: Mapping[Substance, LogisticFit]

    def evaluate(self, key: TreatmentKey, rng: np.random.Generator) -> Combination:
        """Return the excess of one combination with the reasons for missing values."""
        inputs = self._inputs(key)
        base = Combination(
            treatment=self.wells.names[key],
            wells=tuple(row.well for row in self.wells.by_treatment[key]),
            effect=self.effect,
            observed=float(self.means.values[self.rows[key]]),
            full_effect=None,
            full_effect_of="",
            fraction=None,
            bliss=None,
            hsa=None,
            loewe=None,
            missing=(),
        )
        if isinstance(inputs, str):
            return base.model_copy(update={"missing": (inputs,)})
        not_given_alone = [
            f"No wells received {self.wells.format_amount(each)} alone, "
            "so there is no Bliss and no highest-single-agent excess."
            for each in key
            if (each,) not in self.rows
        ]
        strongest_note = [STRONGEST_NOTE] if key == self.strongest else []
        without_curve = [
            f"{each.substance.compound} alone has no rising dose-response curve, "
            "so there is no Loewe excess."
            for each in key
            if not self._has_rising_curve(each.substance)
        ]
        found = {
            "full_effect": inputs.scale + float(inputs.means.values[0]),
            "full_effect_of": "" if self.strongest is None else self.wells.names[self.strongest],
            "fraction": inputs.fractions(inputs.means.values)[0],
            "bliss": None if not_given_alone or strongest_note else bliss_excess(inputs),
            "hsa": None if not_given_alone else highest_single_agent_excess(inputs),
            "loewe": None if without_curve else loewe_excess(inputs, *self._curves(key), rng),
            "missing": (*not_given_alone, *strongest_note, *without_curve),
        }
        return base.model_copy(update=found)

    def _inputs(self, key: TreatmentKey) -> ExcessInputs | str:
        """Return the mean effects for the excess of a combination, or why it is missing."""
        if UNTREATED not in self.rows:
            return "There are no untreated wells, which define the effect of 0."
        singles = [(each,) for each in key if (each,) in self.rows]
        order: list[TreatmentKey] = [UNTREATED, key, *singles]
        if self.strongest is not None and self.strongest not in order:
            order.append(self.strongest)
        inputs = ExcessInputs(
            self.means.select([self.rows[each] for each in order]),
            len(singles),
            None if self.strongest is None else order.index(self.strongest),
        )
        if inputs.scale <= 0:
            return "No treatment has a stronger effect than untreated wells."
        if not np.isfinite(inputs.means.variances).all():
            return "No treatment has replicates, so the error of an effect is unknown."
        return inputs

    def _has_rising_curve(self, substance: Substance) -> bool:
        """Return True if a compound has a curve whose effect increases with its dose."""
        fit = self.fits.get(substance)
        return fit is not None and fit.curve.top > fit.curve.bottom

    def _curves(self, key: TreatmentKey) -> tuple[Sequence[LogisticFit], Sequence[float]]:
        """Return the curves of the single agents, and their doses in the units of the curves."""
        return [self.fits[each.substance] for each in key], [
            each.in_unit(self.wells.units[each.substance]) for each in key
        ]
