"""Observed plates of simulated laboratories, without images: the first measure shows the kill."""

import numpy as np

from schemas.plate_map import Group
from simulation.kinds import HiddenMechanism, Mechanism
from simulation.laboratories.laboratory import Laboratory
from simulation.microscope import NO_MECHANISM
from training.evaluation.laboratory_plates import LaboratoryPlate


def make_plate(laboratory: Laboratory, seed: int) -> LaboratoryPlate:
    """Return a plate of 15 wells whose first measure shows the kill of every mechanism."""
    rng = np.random.default_rng(seed)
    mechanisms = np.repeat([NO_MECHANISM, Mechanism.SHRINKING, HiddenMechanism.ALIGNING], 5)
    kill = np.where(mechanisms == NO_MECHANISM, 0, rng.random(15))
    measures = rng.normal(size=(15, 2, 11)) + 30
    measures[:, 1, 0] += 10 * kill
    return LaboratoryPlate(
        laboratory=laboratory,
        name=f"P{seed}",
        wells=tuple(f"B{well:02d}" for well in range(1, 16)),
        groups=tuple(
            Group.UNTREATED if each == NO_MECHANISM else Group.SCREENING for each in mechanisms
        ),
        treatments=tuple("" if each == NO_MECHANISM else f"drug{each}" for each in mechanisms),
        mechanisms=tuple(mechanisms.tolist()),
        kill=kill,
        measures=measures,
        parameters=np.zeros((15, 2, 1)),
        features={"encoder": rng.normal(size=(15, 2, 3))},
    )
