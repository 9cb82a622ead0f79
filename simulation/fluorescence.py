"""Fluorescence images of live cells, dead cells and nuclei in virtual wells, with known truth.

The number of live cells follows from the kill: 1 − kill of the untreated tissue. A part of the dead
cells stays in the well; the part depends on the death mechanism. Each cell has the brightness of
its stain, and the light of all cells above one another adds up. The absorption of light inside the
tissue is not simulated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import tifffile

from simulation.kinds import HiddenMechanism, Mechanism
from simulation.microscope import PlateMicroscope, VirtualMicroscope
from simulation.plate import READOUT_DAY, WellPlan
from simulation.random_numbers import RandomPurpose, random_generator
from simulation.robot import write_rows
from simulation.scene import Floats, draw_scene, smooth_noise
from simulation.tissue import simulate_tissue

CHANNELS = {"live": "FITC", "dead": "TRITC", "nuclei": "DAPI"}
"""Name of the channel of each stain in the file names."""
PLANES = 3
_BRIGHTNESS = {"live": 1.0, "dead": 0.6, "nuclei": 0.8}  # of one cell, relative
_STAYING: Mapping[str, float] = {
    Mechanism.SHRINKING: 0.15,
    Mechanism.BURSTING: 0.3,
    Mechanism.IN_PLACE: 0.7,
    Mechanism.GROWTH_ARREST: 0.0,
    **dict.fromkeys(HiddenMechanism, 1.0),  # the tissue keeps its size
}
"""Share of the dead cells that are still in the well."""
_NATURAL_DEATH = 0.02  # dead cells for each live cell without treatment
_BLEED_THROUGH = 0.02  # share of the light of live cells in the channel of dead cells
_CELL_UM = 12.0
_DARK_COUNTS, _READ_NOISE, _WHITE = 110.0, 4.0, 4095
_FULL_COUNTS = 1500.0  # of the thickest untreated tissue in one plane
_FULL_HEIGHT_UM = 500.0  # its thickness
_OUT_OF_FOCUS_UM = 12.0  # blur of the light from the other planes


@dataclass(frozen=True)
class FluorescenceTruth:
    """True cells of one well; the fields are the columns of ``fluorescence_truth.csv``."""

    plate: str
    well: str
    live: float  # live cells relative to the same well untreated, 0…1
    dead: float  # dead cells in the well, relative to the same
    live_share: float  # live cells divided by all cells in the well


def true_cells(scope: PlateMicroscope, plan: WellPlan, day: int = READOUT_DAY) -> FluorescenceTruth:
    """Return the true live and dead cells of a planned well on a culture day."""
    live, dead = cells_after(plan.kill(day), plan.mechanism)
    return FluorescenceTruth(
        scope.plate.name, plan.well, round(live, 4), round(dead, 4), round(live / (live + dead), 4)
    )


def cells_after(kill: float, mechanism: str | None) -> tuple[float, float]:
    """Return live and dead cells in a well, relative to its live cells without treatment.

    Parameters
    ----------
    kill
        1 − live cells relative to the same well untreated, 0…1.
    mechanism
        Death mechanism; any other text or None without treatment.
    """
    live = 1.0 - kill
    return live, _NATURAL_DEATH * live + _STAYING.get(mechanism or "", 0.0) * kill


def render_stains(scope: VirtualMicroscope, plan: WellPlan) -> dict[str, npt.NDArray[np.uint16]]:
    """Return the z-stack (3, H, W) uint16 of each stain in a planned well on the readout day."""
    tissue = simulate_tissue(scope.plate, plan, READOUT_DAY, scope.cell_line)
    height = draw_scene(tissue, scope.size_px).smooth_um
    rng = random_generator(
        scope.plate.seed, RandomPurpose.FLUORESCENCE, scope.plate.index, plan.key
    )
    cells = true_cells(scope, plan)
    # Untreated tissue of this well has the volume of a ball; its thickness sums up to it.
    um_per_px = scope.um_per_px
    whole = 4 / 3 * np.pi * tissue.whole_radius_um**3 / um_per_px**2
    share = height / max(float(height.sum()), 1.0)
    live = share * whole * cells.live * _cell_texture(rng, um_per_px, scope.size_px)
    dead = _spots(rng, share, cells.dead * whole, um_per_px)
    light = {"live": live, "dead": dead, "nuclei": live + dead}
    gain = _FULL_COUNTS * PLANES / _FULL_HEIGHT_UM
    stained = {stain: gain * _BRIGHTNESS[stain] * amount for stain, amount in light.items()}
    stained["dead"] = stained["dead"] + _BLEED_THROUGH * stained["live"]
    return {stain: _record(rng, counts, um_per_px) for stain, counts in stained.items()}


def write_stained_plates(out: Path, scopes: Sequence[VirtualMicroscope]) -> None:
    """Write the stains of the microscopes' plates on the readout day into a folder.

    The images of a plate are in ``out/fluorescence/PLATE``, with the settings of the stains in
    ``fluorescence.toml``. The true cells of all wells are in ``out/fluorescence_truth.csv``.
    """
    truths = []
    for scope in scopes:
        folder = out / "fluorescence" / scope.plate.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "fluorescence.toml").write_text(settings_toml(scope.um_per_px), encoding="utf-8")
        for plan in scope.plate.wells:
            for stain, planes in render_stains(scope, plan).items():
                path = folder / f"{plan.well}_{CHANNELS[stain]}.tif"
                tifffile.imwrite(path, planes, photometric="minisblack", metadata=None)
            truths.append(true_cells(scope, plan))
    write_rows(
        out / "fluorescence_truth.csv",
        [field.name for field in fields(FluorescenceTruth)],
        (asdict(truth).values() for truth in truths),
    )


def settings_toml(um_per_px: float) -> str:
    """Return the settings with which the written stains are quantified, as TOML."""
    return (
        'pattern = "{well}_{channel}.tif"\nprojection = "sum"\nviability = "live"\n'
        f"um_per_px = {um_per_px:.6g}\n\n"
        f'[stains.live]\nchannel = "{CHANNELS["live"]}"\n\n'
        f'[stains.dead]\nchannel = "{CHANNELS["dead"]}"\n'
        f"bleed_from = {{ live = {_BLEED_THROUGH} }}\n\n"
        f'[stains.nuclei]\nchannel = "{CHANNELS["nuclei"]}"\n'
    )


def _cell_texture(rng: np.random.Generator, um_per_px: float, size_px: int) -> Floats:
    """Return the brightness of single cells, (size, size), with mean 1."""
    count = max(4, round(size_px * um_per_px / _CELL_UM))
    texture = np.exp(0.3 * smooth_noise(rng, count, size_px))
    return np.asarray(texture / texture.mean(), np.float32)


def _spots(rng: np.random.Generator, share: Floats, amount: float, um_per_px: float) -> Floats:
    """Return the light of dead cells, (H, W), whose sum is ``amount``, at random places of tissue.

    Parameters
    ----------
    share
        (H, W) share of the tissue in each pixel.
    amount
        Sum of the thickness in pixels × µm.
    """
    cell = 4 / 3 * np.pi * (_CELL_UM / 2) ** 3 / um_per_px**2
    spots = rng.poisson(share * (amount / cell)).astype(np.float32) * np.float32(cell)
    total = float(spots.sum())
    if total > 0:
        spots *= np.float32(amount / total)
    blur_px = max(0.3, _CELL_UM / 4 / um_per_px)
    return np.asarray(cv2.GaussianBlur(spots, (0, 0), blur_px), np.float32)


def _record(rng: np.random.Generator, counts: Floats, um_per_px: float) -> npt.NDArray[np.uint16]:
    """Return the z-stack (3, H, W) uint16 that a camera records of the counts of all planes."""
    far = cv2.GaussianBlur(counts, (0, 0), _OUT_OF_FOCUS_UM / um_per_px)
    planes = []
    for plane in range(PLANES):
        near = (0.25, 0.5, 0.25)[plane]
        light = near * 0.6 * counts + 0.4 / PLANES * far
        shot = rng.normal(0, 1, counts.shape) * np.sqrt(np.maximum(light, 0) + _READ_NOISE**2)
        planes.append(np.clip(np.round(_DARK_COUNTS + light + shot), 0, _WHITE))
    return np.stack(planes).astype(np.uint16)
