"""Small virtual plates with assays, for tests of the whole service."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from schemas.plate_map import Group
from simulation.kinds import Mechanism
from simulation.microscope import virtual_microscopes
from simulation.robot import write_plates


def write_assayed_plates(out: Path, plates: int, *, seed: int, days: Sequence[int]) -> Path:
    """Write virtual plates of 18 wells with assays on culture days; return their drop folder."""
    scopes = []
    for scope in virtual_microscopes(plates, seed, 96, mechanism=Mechanism.SHRINKING):
        wells = scope.plate.wells
        treatments = list(
            dict.fromkeys(plan.treatment for plan in wells if plan.group is Group.SCREENING)
        )[:3]
        kept = [
            *[plan for plan in wells if plan.group is Group.UNTREATED][:7],
            *[plan for plan in wells if plan.group is Group.SINGLE_DOSE][:2],
            *[plan for plan in wells if plan.treatment in treatments],
        ]
        scopes.append(replace(scope, plate=replace(scope.plate, wells=tuple(kept))))
    write_plates(out, scopes, days=days, assay=True)
    return out / "drop"
