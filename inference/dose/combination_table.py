"""The combinations of a plate, each beside the single agents it is made of, and what could not be said and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inference.dose.combinations import Means, Parts, bliss, highest_single_agent, loewe
from inference.dose.dosed_wells import UNTREATED, DosedWells, Given, Substance
from inference.dose.logistic import LogisticFit
from schemas.dose_response import Combination, Effect

SHARE_OF_STRONGEST = (
    "Without an assay a fraction of effect is a share of the strongest effect seen on this plate ({of}, score {score:.3g}): "
    "Bliss excess rests on that choice; highest single agent and Loewe do not, but for their scale."
)


def combinations(
    wells: DosedWells,
    effect: Effect,
    effects: Mapping[str, float],
    fits: Mapping[Substance, LogisticFit],
    rng: np.random.Generator,
) -> tuple[tuple[Combination, ...], tuple[str, ...]]:
    """Return what each combination of a plate does beyond its parts, and what a reader has to know.

    Parameters
    ----------
    effects
        Of every well that takes part.
    fits
        Of the compounds that respond.
    """
    combined = [given for given in wells.by_given if len(given) > 1]
    if not combined:
        return (), ()
    order = list(wells.by_given)
    untreated = order.index(UNTREATED) if UNTREATED in order else None
    means = Means.moderated(
        [np.array([effects[row.well] for row in wells.by_given[given]]) for given in order],
        untreated,
    )
    values = dict(zip(order, means.values.tolist(), strict=True))
    strongest = (
        None
        if effect is Effect.DETERIORATION
        else max((given for given in values if given), key=values.__getitem__)
    )
    plate = _Plate(
        wells, effect, means, {given: row for row, given in enumerate(order)}, strongest, fits
    )
    notes = (
        ()
        if strongest is None
        else (SHARE_OF_STRONGEST.format(of=wells.names[strongest], score=values[strongest]),)
    )
    return tuple(plate.combination(given, rng) for given in combined), notes


@dataclass(frozen=True, eq=False)
class _Plate:
    """What all combinations of a plate share."""

    wells: DosedWells
    effect: Effect
    means: Means
    rows: Mapping[Given, int]  # of the means
    strongest: Given | None  # whose effect counts as 1; None: an effect of 1 is a whole as it is
    fits: Mapping[Substance, LogisticFit]

    def combination(self, given: Given, rng: np.random.Generator) -> Combination:
        parts = self._parts(given)
        known = Combination(
            treatment=self.wells.names[given],
            wells=tuple(row.well for row in self.wells.by_given[given]),
            effect=self.effect,
            observed=float(self.means.values[self.rows[given]]),
            full_effect=None,
            full_effect_of="",
            fraction=None,
            bliss=None,
            hsa=None,
            loewe=None,
            missing=(),
        )
        if isinstance(parts, str):
            return known.model_copy(update={"missing": (parts,)})
        not_alone = [
            f"No wells have {self.wells.spelled(each)} alone: no Bliss and no highest single agent."
            for each in given
            if (each,) not in self.rows
        ]
        itself = (
            [
                "It is the plate's strongest effect, which counts as 1, so any Bliss expectation would be exceeded."
            ]
            if given == self.strongest
            else []
        )
        no_curve = [
            f"{each.substance.compound} alone has no rising dose-response curve: no Loewe."
            for each in given
            if not self._rises(each.substance)
        ]
        found = {
            "full_effect": parts.scale + float(parts.means.values[0]),
            "full_effect_of": "" if self.strongest is None else self.wells.names[self.strongest],
            "fraction": parts.fractions(parts.means.values)[0],
            "bliss": None if not_alone or itself else bliss(parts),
            "hsa": None if not_alone else highest_single_agent(parts),
            "loewe": None if no_curve else loewe(parts, *self._curves(given), rng),
            "missing": (*not_alone, *itself, *no_curve),
        }
        return known.model_copy(update=found)

    def _parts(self, given: Given) -> Parts | str:
        """Return what an excess rests on, or why there can be none."""
        if UNTREATED not in self.rows:
            return "There are no untreated wells to measure an effect from."
        singles = [(each,) for each in given if (each,) in self.rows]
        order: list[Given] = [UNTREATED, given, *singles]
        if self.strongest is not None and self.strongest not in order:
            order.append(self.strongest)
        parts = Parts(
            self.means.take([self.rows[each] for each in order]),
            len(singles),
            None if self.strongest is None else order.index(self.strongest),
        )
        if parts.scale <= 0:
            return "No treatment has a stronger effect than untreated wells: there is no fraction of it."
        if not np.isfinite(parts.means.variances).all():
            return "No treatment has replicates: the error of an effect is not known."
        return parts

    def _rises(self, substance: Substance) -> bool:
        fit = self.fits.get(substance)
        return fit is not None and fit.curve.top > fit.curve.bottom

    def _curves(self, given: Given) -> tuple[Sequence[LogisticFit], Sequence[float]]:
        """Return the single agents' curves, and the doses in their units."""
        return [self.fits[each.substance] for each in given], [
            each.in_unit(self.wells.units[each.substance]) for each in given
        ]
