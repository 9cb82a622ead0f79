"""Training images of a stain network: wells of simulated laboratories with known dead cells.

The dead share of a well follows from its kill and its death mechanism (:mod:`simulation.
fluorescence`): dead cells of some mechanisms leave the well. The simulation has no places in the
tissue where more cells are dead than at others.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from acquisition.quality import assess
from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.onnx_stain import stain_input
from simulation.fluorescence import true_cells
from simulation.kinds import RendererName
from simulation.laboratories.laboratory import LaboratoryMicroscope, draw_laboratory
from simulation.plate import DOSED_ON_DAY, READOUT_DAY, WellPlan
from training.data.seeds import FIRST_TRAINING_SEED

WELLS_OF_A_PLATE = 12
SIZE_PX = 384  # side of a rendered image
_READOUT_SHARE = 0.8  # of the images are of the readout day, the others of an earlier day
_CODE_VERSION = 1  # raise it whenever an example of any seed changes

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class StainExamples:
    """Inputs of a stain network with the true dead share of each pixel."""

    inputs: Floats  # (n, 2, side, side) optical density, and cover of tissue 0…1
    dead_share: Floats  # (n, side, side) 0…1; NaN where it is unknown

    @classmethod
    def uniform(cls, inputs: Floats, dead_share: Floats) -> "StainExamples":
        """Return examples whose wells have one dead share, (n,), in all places."""
        shape = len(inputs), *inputs.shape[2:]
        return cls(inputs, np.broadcast_to(dead_share[:, None, None], shape))

    def __len__(self) -> int:
        return len(self.dead_share)


def render_examples(
    count: int, *, seed: int, side_px: int, renderers: Sequence[RendererName]
) -> StainExamples:
    """Return examples of wells of laboratories of consecutive seeds, with the renderers in turn.

    Parameters
    ----------
    count
        Number of examples. Wells without visible tissue are left out and replaced.
    seed
        Offset of the laboratories' seeds from :data:`FIRST_TRAINING_SEED`.
    side_px
        Side of an input in pixels.
    renderers
        Renderers of the laboratories.
    """
    inputs: list[Floats] = []
    shares: list[float] = []
    segmenter = ClassicalSegmenter()
    for scope, plan, day in _wells(seed, renderers):
        if len(shares) == count:
            break
        rendered = scope.render(plan, day).planes
        planes = (rendered.astype(np.uint32) * 65535 // scope.conditions.white).astype(np.uint16)
        plane = planes[assess(planes).sharpest_plane]
        tissue = segmenter.segment(plane, scope.um_per_px)
        if not tissue.is_empty:
            inputs.append(stain_input(plane, tissue, side_px))
            shares.append(1 - true_cells(scope, plan, day).live_share)
    return StainExamples.uniform(np.stack(inputs), np.array(shares, np.float32))


def _wells(
    seed: int, renderers: Sequence[RendererName]
) -> Iterator[tuple[LaboratoryMicroscope, WellPlan, int]]:
    """Yield wells of random plates without end, with a day after dosing."""
    rng = np.random.default_rng(seed)
    number = 0
    while True:
        name = renderers[number % len(renderers)]
        laboratory = draw_laboratory(FIRST_TRAINING_SEED + seed + number, name)
        (scope,) = laboratory.plates(1, size_px=SIZE_PX)
        for place in rng.permutation(len(scope.plate.wells))[:WELLS_OF_A_PLATE]:
            is_readout = rng.random() < _READOUT_SHARE
            day = READOUT_DAY if is_readout else int(rng.integers(DOSED_ON_DAY, READOUT_DAY))
            yield scope, scope.plate.wells[place], day
        number += 1


def cached_examples(
    folder: Path, count: int, *, seed: int, side_px: int, renderers: Sequence[RendererName]
) -> StainExamples:
    """Return the examples of :func:`render_examples`, from a file in a folder if it exists."""
    names = "-".join(renderers)
    path = folder / f"examples-{_CODE_VERSION}-{seed}-{count}-{side_px}-{names}.npz"
    if not path.exists():
        examples = render_examples(count, seed=seed, side_px=side_px, renderers=renderers)
        folder.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".part.npz")
        np.savez(aside, inputs=examples.inputs, dead_share=examples.dead_share[:, 0, 0])
        aside.rename(path)
    with np.load(path) as arrays:
        return StainExamples.uniform(arrays["inputs"], arrays["dead_share"])


def draw_batch(
    examples: StainExamples, rng: np.random.Generator, batch: int
) -> tuple[Floats, Floats]:
    """Return inputs, (batch, 2, side, side), and dead shares, (batch, side, side), at random.

    Each example has a random orientation. Its density is scaled and shifted at random, as plates
    and light differ.
    """
    drawn = []
    for place in rng.integers(len(examples), size=batch):
        turns, step = int(rng.integers(4)), 1
        if rng.random() < 0.5:  # noqa: PLR2004 - half
            step = -1
        image = np.rot90(examples.inputs[place], turns, axes=(1, 2))[:, :, ::step].copy()
        image[0] = image[0] * np.exp(rng.normal(0, 0.15)) + rng.normal(0, 0.02)
        drawn.append((image, np.rot90(examples.dead_share[place], turns)[:, ::step]))
    inputs, shares = (np.stack(part).astype(np.float32) for part in zip(*drawn, strict=True))
    return inputs, shares
