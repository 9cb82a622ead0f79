"""Render virtual plates, compute their embeddings and measures, and cache them for the benchmarks.

Images pass the same quality control, encoder and segmenter as in the service. The environment
variable ``SPHERORANK_BENCH_ENCODER`` names the encoder bundle (default: ``default``).
"""

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog
from rich.progress import track

from acquisition.quality import assess
from inference.bundle import load_bundle
from inference.departure.assembly import feature_names, join_features
from inference.encoding.onnx_encoder import OnnxEncoder
from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.measures import measure_tissue
from inference.tissue.ranked_measures import RANKED_MEASURES, ranked_values
from schemas.plate_map import Group
from schemas.trajectory import Representation, Trajectories
from simulation.kinds import Mechanism
from simulation.laboratories.laboratory import LaboratoryMicroscope, draw_laboratory
from simulation.microscope import VirtualMicroscope
from simulation.plate import (
    DOSED_ON_DAY,
    READOUT_DAY,
    VirtualPlate,
    WellPlan,
    plan_plate,
)
from training.evaluation.virtual_images import IMAGE_CODE, virtual_image

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "observed_plates"
SIZE_PX = 512
ENCODER = os.environ.get("SPHERORANK_BENCH_ENCODER", "default")
Array = npt.NDArray[np.float64]

SCREENS = (*Mechanism, "mixed")  # three wells per treatment
DAILY = tuple(f"daily-{kind}" for kind in SCREENS)
"""The same kinds, imaged on every day from dosing to the readout."""
WEAK_KILLS = (0.0, 0.15, 0.15, 0.3, 0.5, 0.7, 0.9)  # six wells per treatment, 18 untreated
LABORATORY_SIZE_PX = 384
WIDE_SIZE_SPREAD = 0.15  # the area then varies by at least 30 % between wells
GROWN_DAYS = (READOUT_DAY + 1, READOUT_DAY + 2)
"""Days on which untreated wells have grown more than on the readout day."""


@dataclass(frozen=True, eq=False)
class ObservedPlate:
    """The embeddings, measures and true kill of a virtual plate of N wells on T days."""

    name: str
    wells: tuple[str, ...]  # N
    groups: tuple[Group, ...]  # N
    treatments: tuple[str, ...]  # N
    days: tuple[int, ...]  # T
    embedding: Array  # (N, T, E)
    measures: Array  # (N, T, len(RANKED_MEASURES))
    kill: Array  # (N,) on the readout day

    def trajectories(self, representation: Representation = "both") -> Trajectories:
        """Return the trajectories of the plate's wells in one representation, to rank them."""
        dimension = 0 if representation == "measures" else self.embedding.shape[2]
        is_measured = np.asarray(np.isfinite(self.measures).any(axis=2))
        return Trajectories(
            plate=self.name,
            wells=self.wells,
            groups=self.groups,
            treatments=self.treatments,
            days=self.days,
            features=join_features(representation, self.embedding, self.measures, is_measured),
            feature_names=feature_names(representation, dimension),
            embedding_dimension=dimension,
            encoder_id=load_bundle(ENCODER).card.encoder_id if dimension else "",
        )


def plan_observation(
    kind: str, seed: int
) -> tuple[VirtualMicroscope | LaboratoryMicroscope, tuple[int, ...]]:
    """Return the virtual microscope for a plate of one kind and seed, and the days to image.

    Kinds: a mechanism, ``mixed``, ``daily-<kind>`` (imaged every day from dosing to readout),
    ``weak-<mechanism>`` (:data:`WEAK_KILLS`), ``wide-<kind>`` (sizes differ widely at dosing),
    ``untreated``, and ``laboratory-untreated``: a plate of the laboratory of the seed without
    treatments.
    """
    variant, _, name = kind.rpartition("-")
    if variant == "laboratory":
        return _untreated_laboratory(seed), (DOSED_ON_DAY, READOUT_DAY)
    mechanism = None if name in ("mixed", "untreated") else Mechanism(name)
    plate = plan_plate(seed, mechanism=mechanism)
    days: tuple[int, ...] = (DOSED_ON_DAY, READOUT_DAY)
    if kind == "untreated":
        plate, days = (
            replace(plate, wells=tuple(_as_untreated(plan) for plan in plate.wells)),
            (*days, *GROWN_DAYS),
        )
    elif variant == "weak" and mechanism is not None:
        plate = _with_weak_kills(plate, mechanism)
    elif variant == "wide":
        plate = replace(plate, growth=replace(plate.growth, spread=WIDE_SIZE_SPREAD))
    elif variant == "daily":
        days = tuple(range(DOSED_ON_DAY, READOUT_DAY + 1))
    return VirtualMicroscope(plate, SIZE_PX), days


def _untreated_laboratory(seed: int) -> LaboratoryMicroscope:
    """Return a plate without treatments of the simulated laboratory of a seed."""
    (scope,) = draw_laboratory(seed).plates(1, size_px=LABORATORY_SIZE_PX)
    wells = tuple(_as_untreated(plan) for plan in scope.plate.wells)
    return replace(scope, plate=replace(scope.plate, wells=wells))


def _as_untreated(plan: WellPlan) -> WellPlan:
    """Return the plan of a well without its treatment."""
    return replace(plan, group=Group.UNTREATED, treatment="", mechanism=None, readout_kill=0.0)


def _with_weak_kills(plate: VirtualPlate, mechanism: Mechanism) -> VirtualPlate:
    """Return the plate with one of seven treatments of known kill in each well not untreated."""
    rng = np.random.default_rng(plate.seed)
    darkens = rng.random(len(WEAK_KILLS)) < 0.5  # noqa: PLR2004 - even odds
    treated = iter(rng.permutation(np.repeat(np.arange(len(WEAK_KILLS)), 6)).tolist())
    wells = []
    for plan in plate.wells:
        if plan.group is Group.UNTREATED:
            wells.append(plan)
        else:
            number = next(treated)
            wells.append(
                replace(
                    plan,
                    group=Group.SCREENING,
                    treatment=f"drug{number}:1 uM",
                    mechanism=mechanism,
                    readout_kill=WEAK_KILLS[number],
                    rate_per_day=0.6,
                    darkens=bool(darkens[number]),
                )
            )
    return replace(plate, wells=tuple(wells))


def observe_plates(
    kinds: Iterable[str], seeds: Iterable[int], *, jobs: int = 1, folder: Path = CACHE
) -> Iterator[tuple[str, int, ObservedPlate]]:
    """Yield (kind, seed, plate) for every kind and seed; render plates that are not cached."""
    wanted = [(kind, seed) for kind in kinds for seed in seeds]
    absent = [place for place in wanted if not _cache_file(folder, *place).exists()]
    if absent:
        with ProcessPoolExecutor(jobs) as pool:
            for _ in track(
                pool.map(partial(_observe_plate, folder), *zip(*absent, strict=True)),
                "plates rendered",
                total=len(absent),
                disable=not sys.stdout.isatty(),
            ):
                pass
    for kind, seed in wanted:
        yield kind, seed, _read_plate(_cache_file(folder, kind, seed))


@cache
def _code_digest() -> str:
    """Return a digest of the encoder and of the code that determines a plate's observations.

    The digest is part of the cache path, so plates of earlier code are not read.
    """
    digest = hashlib.sha256(load_bundle(ENCODER).card.encoder_id.encode())
    for file in IMAGE_CODE:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _cache_file(folder: Path, kind: str, seed: int) -> Path:
    """Return the cache file of a plate of one kind and seed."""
    return folder / _code_digest() / f"{kind}-{seed}.npz"


def _observe_plate(folder: Path, kind: str, seed: int) -> None:
    """Render and measure one virtual plate, and write it to the cache folder."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    scope, days = plan_observation(kind, seed)
    encoder, segmenter = OnnxEncoder(load_bundle(ENCODER), intra_op_threads=1), ClassicalSegmenter()
    wells = scope.plate.wells
    embedding, measures = (
        np.empty((len(wells), len(days), encoder.dimension), np.float32),
        np.empty((len(wells), len(days), len(RANKED_MEASURES))),
    )
    for row, plan in enumerate(wells):
        for column, day in enumerate(days):
            image = virtual_image(scope, plan, day)
            quality = assess(image.planes)
            sharpest = image.planes[quality.sharpest_plane]
            embedding[row, column] = encoder.embed(image, quality.sharpest_plane)
            measures[row, column] = ranked_values(
                measure_tissue(
                    sharpest, segmenter.segment(sharpest, scope.um_per_px), scope.um_per_px
                )
            )
    path = _cache_file(folder, kind, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez_compressed(
        part,
        wells=[plan.well for plan in wells],
        groups=[plan.group.value for plan in wells],
        treatments=[plan.treatment for plan in wells],
        days=days,
        embedding=embedding,
        measures=measures,
        kill=[plan.kill(READOUT_DAY) for plan in wells],
    )
    part.rename(path)


def _read_plate(path: Path) -> ObservedPlate:
    """Return the observed plate of a cache file."""
    with np.load(path) as arrays:
        return ObservedPlate(
            name=path.stem,
            wells=tuple(arrays["wells"].tolist()),
            groups=tuple(map(Group, arrays["groups"].tolist())),
            treatments=tuple(arrays["treatments"].tolist()),
            days=tuple(arrays["days"].tolist()),
            embedding=arrays["embedding"].astype(np.float64),
            measures=arrays["measures"],
            kill=arrays["kill"],
        )
