"""Render plates of simulated laboratories, measure and embed them, and cache the results.

Images pass the same quality control and segmenter as in the service. Each plate is one folder
of the cache, with a file for its tissue and a file for each source of features. The names contain
digests of the code and of the networks, so results of earlier code are not read.
"""

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from acquisition.quality import assess
from inference.bundle import Bundle
from inference.departure.assembly import feature_names, join_features
from inference.encoding.onnx_encoder import OnnxEncoder
from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.measures import measure_tissue
from inference.tissue.ranked_measures import ranked_values
from schemas.plate_map import Group
from schemas.tissue import Segmentation
from schemas.trajectory import Representation, Trajectories
from schemas.well_image import WellImage
from simulation.laboratories.laboratory import Laboratory, LaboratoryMicroscope
from simulation.laboratories.spheroid import Spheroid
from simulation.microscope import NO_MECHANISM
from simulation.plate import DOSED_ON_DAY, READOUT_DAY, select_wells
from training.evaluation.virtual_images import IMAGE_CODE, virtual_image
from training.progress import show_progress

Array = npt.NDArray[np.float64]
Arrays = npt.NDArray[np.generic]
Bools = npt.NDArray[np.bool_]

DAYS = (DOSED_ON_DAY, READOUT_DAY)
PARAMETERS = (
    "radius_um",
    "opacity",
    "core",
    "grain",
    "outline",
    "roughness",
    "burst",
    "loose_cells",
    "debris",
)
"""Parameters of a spheroid that a mechanism changes; the orders of the texture follow them."""


class FeatureExtractor(Protocol):
    """Computes one or more vectors of features from a well image."""

    @property
    def digest(self) -> str:
        """Text that differs for every other network or method."""
        ...

    def extract(
        self, image: WellImage, sharpest_plane: int, segmentation: Segmentation
    ) -> Mapping[str, npt.NDArray[np.float32]]:
        """Return vectors of features by name."""
        ...


class BundleExtractor:
    """The embedding of an encoder bundle, as the service computes it."""

    def __init__(self, name: str, bundle: Bundle) -> None:
        self._name = name
        self._encoder = OnnxEncoder(bundle, providers="cpu", intra_op_threads=1)

    @property
    def digest(self) -> str:
        """Name and id of the encoder."""
        return f"bundle {self._name} {self._encoder.encoder_id}"

    def extract(
        self,
        image: WellImage,
        sharpest_plane: int,
        segmentation: Segmentation,  # noqa: ARG002 - an encoder of the service does not use it
    ) -> Mapping[str, npt.NDArray[np.float32]]:
        """Return the embedding by the name of the bundle."""
        return {self._name: self._encoder.embed(image, sharpest_plane)}


@dataclass
class StageTimes:
    """Seconds that each stage of a benchmark took."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to a named stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - started

    def __str__(self) -> str:
        """One line with the seconds of each stage."""
        return ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds.items())


@dataclass(frozen=True, eq=False)
class LaboratoryPlate:
    """Measures, features and truth of N wells of a laboratory's plate on the :data:`DAYS`."""

    laboratory: Laboratory
    name: str
    wells: tuple[str, ...]  # N
    groups: tuple[Group, ...]  # N
    treatments: tuple[str, ...]  # N
    mechanisms: tuple[str, ...]  # N; NO_MECHANISM for untreated wells
    kill: Array  # (N,) on the readout day, 0…1
    measures: Array  # (N, 2, len(RANKED_MEASURES))
    parameters: Array  # (N, 2, P): the state of the tissue from which the images are drawn
    features: Mapping[str, Array]  # (N, 2, D) by name

    @property
    def untreated(self) -> Bools:
        """(N,) True for untreated wells."""
        return np.array([group is Group.UNTREATED for group in self.groups])

    def select(self, kept: Bools) -> "LaboratoryPlate":
        """Return the plate with the wells of a mask (N,) alone."""
        rows = np.flatnonzero(kept)
        return replace(
            self,
            wells=tuple(self.wells[row] for row in rows),
            groups=tuple(self.groups[row] for row in rows),
            treatments=tuple(self.treatments[row] for row in rows),
            mechanisms=tuple(self.mechanisms[row] for row in rows),
            kill=self.kill[kept],
            measures=self.measures[kept],
            parameters=self.parameters[kept],
            features={name: values[kept] for name, values in self.features.items()},
        )

    def trajectories(self, representation: Representation, encoder: str) -> Trajectories:
        """Return the trajectories of the wells with the embedding of a named encoder."""
        embedding = self.features[encoder] if representation != "measures" else self.measures
        dimension = embedding.shape[2] if representation != "measures" else 0
        is_measured = np.asarray(np.isfinite(self.measures).any(axis=2))
        return Trajectories(
            plate=self.name,
            wells=self.wells,
            groups=self.groups,
            treatments=self.treatments,
            days=DAYS,
            features=join_features(representation, embedding, self.measures, is_measured),
            feature_names=feature_names(representation, dimension),
            embedding_dimension=dimension,
            encoder_id=encoder if dimension else "",
        )


def observe_plates(
    scopes: Sequence[LaboratoryMicroscope],
    extractors: Sequence[FeatureExtractor],
    folder: Path,
    times: StageTimes,
    *,
    wells: int,
) -> list[LaboratoryPlate]:
    """Return the LaboratoryPlate of each microscope; plates that are not cached are rendered.

    Parameters
    ----------
    scopes
        Microscopes, one per plate.
    extractors
        Sources of the features.
    folder
        Cache folder.
    times
        Receives the seconds of each stage.
    wells
        Number of wells of a plate that are observed.
    """
    plates = []
    with show_progress("plates of a laboratory", len(scopes)) as advance:
        for number, scope in enumerate(scopes, start=1):
            chosen = replace(scope, plate=select_wells(scope.plate, wells))
            of_plate = folder / "plates" / _plate_digest(chosen)
            tissue = of_plate / "tissue.npz"
            files = {
                of_plate
                / f"{hashlib.sha256(extractor.digest.encode()).hexdigest()[:12]}.npz": extractor
                for extractor in extractors
            }
            missing = {path: each for path, each in files.items() if not path.exists()}
            if missing or not tissue.exists():
                of_plate.mkdir(parents=True, exist_ok=True)
                found, features = _observe(chosen, list(missing.values()), times)
                for path, arrays in zip(missing, features, strict=True):
                    _save(path, arrays)
                _save(tissue, found)
            plates.append(_read_plate(chosen, tissue, list(files)))
            advance(number)
    return plates


def _plate_digest(scope: LaboratoryMicroscope) -> str:
    """Return the name of a plate's folder in the cache."""
    content = hashlib.sha256()
    for file in IMAGE_CODE:
        content.update(file.read_bytes())
    content.update(f"{scope.laboratory} {scope.size_px} {scope.plate}".encode())
    return f"{scope.laboratory.renderer_name}-{scope.plate.name}-{content.hexdigest()[:12]}"


def _observe(
    scope: LaboratoryMicroscope, extractors: Sequence[FeatureExtractor], times: StageTimes
) -> tuple[dict[str, Arrays], list[dict[str, Arrays]]]:
    """Return measures, truth and parameters of a plate's wells, and the features by extractor."""
    plans, segmenter = scope.plate.wells, ClassicalSegmenter()
    measures: list[Array] = []
    features: list[dict[str, list[Arrays]]] = [defaultdict(list) for _ in extractors]
    for plan in plans:
        for day in DAYS:
            with times.stage("render"):
                image = virtual_image(scope, plan, day)
            with times.stage("measure"):
                sharpest = assess(image.planes).sharpest_plane
                plane = image.planes[sharpest]
                segmentation = segmenter.segment(plane, scope.um_per_px)
                measured = measure_tissue(plane, segmentation, scope.um_per_px)
                measures.append(ranked_values(measured))
            with times.stage("embed"):
                for extractor, rows in zip(extractors, features, strict=True):
                    for name, vector in extractor.extract(image, sharpest, segmentation).items():
                        rows[name].append(vector)
    shape = len(plans), len(DAYS), -1
    parameters = [_parameters(scope.spheroid(plan, day)) for plan in plans for day in DAYS]
    return (
        {
            "wells": np.array([plan.well for plan in plans]),
            "groups": np.array([plan.group.value for plan in plans]),
            "treatments": np.array([plan.treatment for plan in plans]),
            "mechanisms": np.array([plan.mechanism or NO_MECHANISM for plan in plans]),
            "kill": np.array([plan.kill(READOUT_DAY) for plan in plans]),
            "measures": np.reshape(measures, shape),
            "parameters": np.reshape(parameters, shape),
        },
        [{name: np.reshape(vectors, shape) for name, vectors in rows.items()} for rows in features],
    )


def _save(path: Path, arrays: Mapping[str, Arrays]) -> None:
    """Write arrays to a file, which exists only when it is complete."""
    part = path.with_suffix(".part.npz")
    with part.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub takes a keyword for another argument
    part.rename(path)


def _parameters(spheroid: Spheroid) -> list[float]:
    """Return the parameters of a spheroid that a mechanism changes."""
    values = asdict(spheroid)
    return [*(float(values[name]) for name in PARAMETERS), *spheroid.order.values()]


def _read_plate(
    scope: LaboratoryMicroscope, tissue: Path, feature_files: Sequence[Path]
) -> LaboratoryPlate:
    """Return the plate of the files of its folder in the cache."""
    features: dict[str, Array] = {}
    for path in feature_files:
        with np.load(path) as arrays:
            features |= {name: arrays[name].astype(np.float64) for name in arrays.files}
    with np.load(tissue) as arrays:
        return LaboratoryPlate(
            laboratory=scope.laboratory,
            name=scope.plate.name,
            wells=tuple(arrays["wells"].tolist()),
            groups=tuple(map(Group, arrays["groups"].tolist())),
            treatments=tuple(arrays["treatments"].tolist()),
            mechanisms=tuple(arrays["mechanisms"].tolist()),
            kill=arrays["kill"],
            measures=arrays["measures"],
            parameters=arrays["parameters"],
            features=features,
        )
