"""The fixed virtual plates of the encoder evaluation, rendered and measured once.

Whole images are kept, so that every field and choice of planes can be cut from them.
"""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from acquisition.quality import assess
from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.measures import measure_tissue
from inference.tissue.ranked_measures import RANKED_MEASURES, ranked_values
from schemas.plate_map import Group
from schemas.well_image import VisitKey, WellImage
from simulation.kinds import Mechanism, OpticsName
from simulation.microscope import VirtualMicroscope
from simulation.plate import DOSED_ON_DAY, READOUT_DAY, plan_plate, select_wells
from training.progress import show_progress

DAYS = (DOSED_ON_DAY, READOUT_DAY)
MIXED, SHIFTED = "mixed", "phase_rim"
SHIFTED_OPTICS = OpticsName.PHASE_RIM
"""Optics that no training uses."""
SIZE_PX = 512
_PLANES_FILE, _FACTS_FILE = "planes.npy", "facts.npz"
_WHITE = 255
_IMAGE_CODE = (
    *(
        f"simulation/{part}"
        for part in (
            "growth",
            "microscope",
            "optics",
            "plate",
            "random_numbers",
            "scene",
            "tissue",
        )
    ),
    "acquisition/downscaling",
    "acquisition/quality",
    "acquisition/saturation",
    "acquisition/sharpness",
    *(
        f"inference/tissue/{part}"
        for part in (
            "background",
            "bodies",
            "body_outline",
            "candidate_regions",
            "classical_segmenter",
            "coarse_plane",
            "dispersal",
            "downscaled_plane",
            "drops",
            "fibres",
            "fragments",
            "masks",
            "measures",
            "openings",
            "optical_density",
            "outline",
            "prepared_plane",
            "quantiles",
            "ranked_measures",
            "shadow",
            "tissue_choice",
        )
    ),
)
Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class EvaluationSet:
    """The seeds of the evaluation plates by kind, and the size of the evaluation.

    The text of this object is part of the digest of a row: a renamed field makes all rows outdated.
    """

    mixed: tuple[int, ...] = tuple(range(201, 213))
    one_mechanism: tuple[int, ...] = tuple(range(201, 204))  # for each death mechanism
    shifted: tuple[int, ...] = tuple(range(201, 207))
    size_px: int = SIZE_PX
    wells: int = 60  # wells of a plate
    viewed_wells: int = 16  # wells of the last three mixed plates that are embedded in variants
    baseline_steps: int = 100  # training steps of the supervised baseline; 0: without it
    service_calibration: bool = True  # also use the service's own calibration, half of the time

    def kinds_and_seeds(self) -> tuple[tuple[str, int], ...]:
        """Return the pair (kind, seed) of each evaluation plate."""
        return (
            *((MIXED, seed) for seed in self.mixed),
            *((SHIFTED, seed) for seed in self.shifted),
            *((mechanism.value, seed) for mechanism in Mechanism for seed in self.one_mechanism),
        )


QUICK_SET = EvaluationSet(
    mixed=(201, 202, 203, 204),
    one_mechanism=(),
    shifted=(201, 202),
    size_px=256,
    wells=30,
    viewed_wells=4,
    baseline_steps=0,
    service_calibration=False,
)
"""A tenth of the images, without the supervised baseline: a first answer in less than two minutes.

The plates are smaller and fewer, so its numbers are not comparable with those of the whole set.
"""


@dataclass(frozen=True, eq=False)
class EvaluationPlate:
    """N wells of a virtual plate on the dosing day and the readout day, with their true kill."""

    name: str
    kind: str  # "mixed", "phase_rim" or a death mechanism
    seed: int  # plates of one seed with mixed mechanisms have the same wells under other optics
    wells: tuple[str, ...]  # N
    groups: tuple[Group, ...]  # N
    treatments: tuple[str, ...]  # N
    kill: Array  # (N,) on the readout day
    measures: Array  # (N, 2, M): ranked measures on both days
    sharpest: npt.NDArray[np.int64]  # (N, 2) index of the sharpest plane
    planes: npt.NDArray[np.uint8]
    """(N, 2, 3, H, W): the brightest pixel of an image is 255; memory-mapped."""
    um_per_px: float

    @property
    def untreated(self) -> Bools:
        """Mask of the untreated wells, (N,) bool."""
        return np.array([group is Group.UNTREATED for group in self.groups])

    def image(self, well: int, column: int) -> WellImage:
        """Return the WellImage of a well index on the dosing (0) or readout day (1).

        Parameters
        ----------
        well
            Index of the well.
        column
            0 for the dosing day, 1 for the readout day.
        """
        planes = np.asarray(self.planes[well, column]).astype(np.uint16) * np.uint16(
            65535 // _WHITE
        )
        day = DAYS[column]
        return WellImage(
            VisitKey(self.name, self.wells[well], f"day{day:02d}"),
            day,
            None,
            (),
            planes,
            self.um_per_px,
            complete=True,
        )


def evaluation_plates(chosen: EvaluationSet, cache_folder: Path) -> list[EvaluationPlate]:
    """Return the EvaluationPlates of an EvaluationSet, from the cache folder or rendered.

    A plate takes about 10 s.
    """
    folders = {
        (kind, seed): _plate_folder(chosen, cache_folder, kind, seed)
        for kind, seed in chosen.kinds_and_seeds()
    }
    absent = [(place, folder) for place, folder in folders.items() if not folder.is_dir()]
    with show_progress("evaluation plates", len(absent)) as advance:
        for number, ((kind, seed), folder) in enumerate(absent, start=1):
            _render_plate(_virtual_microscope(chosen, kind, seed), folder)
            advance(number)
    return [_load_plate(folder, kind, seed) for (kind, seed), folder in folders.items()]


def indices_of_kind(plates: Sequence[EvaluationPlate], kind: str) -> Iterator[int]:
    """Yield the indices of the plates of a kind."""
    return (number for number, plate in enumerate(plates) if plate.kind == kind)


@cache
def _code_digest() -> str:
    """Return a digest of the code that decides images and measures.

    So images of an older code are not used.
    """
    root, digest = Path(__file__).resolve().parents[2], hashlib.sha256()
    for name in _IMAGE_CODE:
        digest.update((root / f"{name}.py").read_bytes())
    return digest.hexdigest()[:12]


def _plate_folder(chosen: EvaluationSet, cache_folder: Path, kind: str, seed: int) -> Path:
    return (
        cache_folder
        / f"plates-{_code_digest()}"
        / f"{chosen.size_px}px-{chosen.wells}wells"
        / f"{kind}-{seed}"
    )


def _virtual_microscope(chosen: EvaluationSet, kind: str, seed: int) -> VirtualMicroscope:
    mechanism = None if kind in (MIXED, SHIFTED) else Mechanism(kind)
    plate = select_wells(plan_plate(seed, mechanism=mechanism), chosen.wells)
    return VirtualMicroscope(
        plate, chosen.size_px, SHIFTED_OPTICS if kind == SHIFTED else OpticsName.DEFAULT
    )


def _render_plate(scope: VirtualMicroscope, folder: Path) -> None:
    """Render and measure a plate into a folder, which is complete or does not exist."""
    aside = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    plans, segmenter = scope.plate.wells, ClassicalSegmenter()
    shape = (len(plans), len(DAYS), 3, scope.size_px, scope.size_px)
    kept = np.lib.format.open_memmap(aside / _PLANES_FILE, "w+", np.uint8, shape)
    sharpest, measures = np.empty(shape[:2], np.int64), np.empty((*shape[:2], len(RANKED_MEASURES)))
    for row, plan in enumerate(plans):
        for column, day in enumerate(DAYS):
            counts = scope.render(plan, day).planes
            planes = (counts.astype(np.uint32) * 65535 // scope.conditions.white).astype(np.uint16)
            sharpest[row, column] = assess(planes).sharpest_plane
            plane = planes[sharpest[row, column]]
            measures[row, column] = ranked_values(
                measure_tissue(plane, segmenter.segment(plane, scope.um_per_px), scope.um_per_px)
            )
            kept[row, column] = np.round(planes * (_WHITE / planes.max()))
    kept.flush()
    np.savez(
        aside / _FACTS_FILE,
        wells=[plan.well for plan in plans],
        groups=[plan.group.value for plan in plans],
        treatments=[plan.treatment for plan in plans],
        kill=[plan.kill(READOUT_DAY) for plan in plans],
        measures=measures,
        sharpest=sharpest,
        um_per_px=scope.um_per_px,
    )
    aside.rename(folder)


def _load_plate(folder: Path, kind: str, seed: int) -> EvaluationPlate:
    with np.load(folder / _FACTS_FILE) as facts:
        return EvaluationPlate(
            name=f"{kind}-{seed}",
            kind=kind,
            seed=seed,
            wells=tuple(facts["wells"].tolist()),
            groups=tuple(map(Group, facts["groups"].tolist())),
            treatments=tuple(facts["treatments"].tolist()),
            kill=facts["kill"],
            measures=facts["measures"],
            sharpest=facts["sharpest"],
            planes=np.load(folder / _PLANES_FILE, mmap_mode="r"),
            um_per_px=float(facts["um_per_px"]),
        )
