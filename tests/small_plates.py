"""Small virtual plates, for tests of the whole service."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from schemas.plate_map import Group
from simulation.kinds import Mechanism
from simulation.microscope import VirtualMicroscope, virtual_microscopes
from simulation.robot import write_plates


def with_few_wells(
    scope: VirtualMicroscope, *, untreated: int, single_dose: int, treatments: int
) -> VirtualMicroscope:
    """Return a virtual plate with the first wells of each group and of some treatments only."""
    wells = scope.plate.wells
    screened = dict.fromkeys(plan.treatment for plan in wells if plan.group is Group.SCREENING)
    kept = [
        *[plan for plan in wells if plan.group is Group.UNTREATED][:untreated],
        *[plan for plan in wells if plan.group is Group.SINGLE_DOSE][:single_dose],
        *[plan for plan in wells if plan.treatment in list(screened)[:treatments]],
    ]
    return replace(scope, plate=replace(scope.plate, wells=tuple(kept)))


def write_assayed_plates(out: Path, plates: int, *, seed: int, days: Sequence[int]) -> Path:
    """Write virtual plates of 18 wells with assays on culture days; return their drop folder."""
    scopes = [
        with_few_wells(scope, untreated=7, single_dose=2, treatments=3)
        for scope in virtual_microscopes(plates, seed, 96, mechanism=Mechanism.SHRINKING)
    ]
    write_plates(out, scopes, days=days, assay=True)
    return out / "drop"
