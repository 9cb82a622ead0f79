"""Embeddings of the evaluation images by one encoder, kept in a cache folder.

So all metrics can be computed again in seconds.
"""

import hashlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from inference.ports import Encoder
from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.measures import measure_tissue
from inference.tissue.ranked_measures import RANKED_MEASURES, ranked_values
from schemas.well_image import WellImage
from training.evaluation import variants
from training.evaluation.plates import DAYS, MIXED, EvaluationPlate, indices_of_kind
from training.evaluation.real_images import sharpest_plane
from training.evaluation.variants import VARIANTS
from training.progress import show_progress

Array = npt.NDArray[np.float64]

ORIGINAL = "original"
VARIANT_PLATES = 3
"""Number of mixed plates, the last ones, whose wells are also embedded in every variant."""
TIMED_IMAGES = 20


@dataclass(frozen=True, eq=False)
class EvaluationEmbeddings:
    """The embeddings of all evaluation images by one encoder."""

    encoder_id: str
    plates: tuple[Array, ...]  # for each plate (N, 2, D): wells, days
    variants: Mapping[str, Array]  # by variant and ORIGINAL: (V, D), readout images of V wells
    variant_plates: npt.NDArray[np.str_]  # (V,) name of the plate of each well
    real: Mapping[str, Array]  # by variant and ORIGINAL: (R, D), R real images; R may be 0
    ms_per_image: float  # processor time from planes in memory, without other load
    own_units: bool  # whether each value has its own unit, as measures have
    ranking_weight: float  # above 0: a ranking by embedding and measures uses the embedding

    @property
    def dimension(self) -> int:
        """Number of values of an embedding."""
        return int(self.plates[0].shape[2])


class MeasuresAsEncoder:
    """The tissue measures in place of an embedding, as the reference for every encoder."""

    encoder_id = "measures"
    dimension = len(RANKED_MEASURES)

    def __init__(self) -> None:
        self._segmenter = ClassicalSegmenter()

    def crop(self, image: WellImage) -> str | None:
        """Return None: the whole image is used."""
        del image
        return None

    def embed(self, image: WellImage, sharpest_plane: int) -> npt.NDArray[np.float32]:
        """Return the measures, (11,) float32, of an image's sharpest plane, as in a ranking."""
        plane = image.planes[sharpest_plane]
        segmentation = self._segmenter.segment(plane, image.um_per_px)
        measures = measure_tissue(plane, segmentation, image.um_per_px)
        return ranked_values(measures).astype(np.float32)


def embed_evaluation_images(
    encoder: Encoder,
    plates: Sequence[EvaluationPlate],
    real: Sequence[WellImage],
    cache_folder: Path,
    *,
    ranking_weight: float,
    viewed_wells: int,
) -> EvaluationEmbeddings:
    """Return the EvaluationEmbeddings of plates and real images by an encoder, cached or computed.

    Each plate is one file, so that a stopped evaluation continues with the next plate.

    Parameters
    ----------
    real
        Real images; may be empty.
    viewed_wells
        Number of wells of a plate that are also embedded in every variant.
    """
    folder = cache_folder / "embeddings_of_fitting_fields" / encoder.encoder_id
    is_measures = isinstance(encoder, MeasuresAsEncoder)  # the plates already have measures
    embedded = []
    with show_progress(f"plates by {encoder.encoder_id}", len(plates)) as advance:
        for number, plate in enumerate(plates, start=1):
            path = folder / f"{_digest(plate)}.npy"
            embedded.append(
                plate.measures
                if is_measures
                else _load_or_make(path, partial(_embed_plate, encoder, plate))
            )
            advance(number)
    chosen = [plates[number] for number in indices_of_kind(plates, MIXED)][-VARIANT_PLATES:]
    places = [
        (plate, well) for plate in chosen for well in range(min(viewed_wells, len(plate.wells)))
    ]
    of_wells = _load_or_make(
        folder / f"views-{_variants_digest()}-{viewed_wells}-{_digest(*chosen)}.npy",
        lambda: _embed_variants(
            encoder,
            ((plate.image(well, -1), int(plate.sharpest[well, -1])) for plate, well in places),
        ),
    )
    names = [ORIGINAL, *VARIANTS]
    return EvaluationEmbeddings(
        encoder_id=encoder.encoder_id,
        plates=tuple(embedded),
        variants=dict(zip(names, of_wells, strict=True)),
        variant_plates=np.array([plate.name for plate, _ in places]),
        real=dict(zip(names, _embed_real(encoder, real, folder), strict=True)),
        ms_per_image=float(
            _load_or_make(
                folder / "processor_ms_per_image.npy",
                lambda: np.array(_ms_per_image(encoder, plates[0])),
            )
        ),
        own_units=is_measures,
        ranking_weight=ranking_weight,
    )


def _embed_real(encoder: Encoder, real: Sequence[WellImage], folder: Path) -> Array:
    """Return the embeddings of real images in every variant, (1 + variants, R, D)."""
    if not real:
        return np.empty((1 + len(VARIANTS), 0, encoder.dimension))
    digest = hashlib.sha256("".join(image.pixel_digest for image in real).encode()).hexdigest()[:12]
    return _load_or_make(
        folder / f"real-{_variants_digest()}-{digest}.npy",
        lambda: _embed_variants(encoder, ((image, sharpest_plane(image)) for image in real)),
    )


def scale_to_untreated_spread(
    embeddings: EvaluationEmbeddings, plates: Sequence[EvaluationPlate]
) -> EvaluationEmbeddings:
    """Return the embeddings in units of the spread between untreated wells of mixed plates.

    All values of an embedding have one unit, the root mean square of their spreads. Each measure
    has a unit of its own.
    """
    spreads = [
        of_plate[plate.untreated, -1].var(axis=0, ddof=1)
        for of_plate, plate in zip(embeddings.plates, plates, strict=True)
        if plate.kind == MIXED
    ]
    spread = np.sqrt(np.mean(spreads, axis=0))
    unit = spread if embeddings.own_units else np.sqrt(np.mean(spread**2))
    unit = np.where(unit > 0, unit, np.inf)
    return _transform(embeddings, lambda values: values / unit)


def join_encoders(
    parts: Sequence[EvaluationEmbeddings], plates: Sequence[EvaluationPlate]
) -> EvaluationEmbeddings:
    """Return the EvaluationEmbeddings of several encoders joined as those of one encoder.

    Each part is scaled to untreated wells and divided by the root of its dimension, so that squared
    distances are the sum of the parts' mean squared differences.
    """
    units = [scale_to_untreated_spread(part, plates) for part in parts]
    digest = hashlib.sha256(" ".join(part.encoder_id for part in parts).encode()).hexdigest()[:16]

    def concatenate(arrays: Sequence[Array]) -> Array:
        return np.concatenate([array / np.sqrt(array.shape[-1]) for array in arrays], axis=-1)

    names = units[0].variants
    return EvaluationEmbeddings(
        encoder_id=f"joined-{digest}",
        plates=tuple(
            concatenate(of_plate) for of_plate in zip(*(part.plates for part in units), strict=True)
        ),
        variants={name: concatenate([part.variants[name] for part in units]) for name in names},
        variant_plates=units[0].variant_plates,
        real={name: concatenate([part.real[name] for part in units]) for name in units[0].real},
        ms_per_image=sum(part.ms_per_image for part in parts),
        own_units=False,
        ranking_weight=statistics.fmean(part.ranking_weight for part in parts),
    )


def _transform(
    embeddings: EvaluationEmbeddings, change: Callable[[Array], Array]
) -> EvaluationEmbeddings:
    return replace(
        embeddings,
        plates=tuple(map(change, embeddings.plates)),
        variants={name: change(values) for name, values in embeddings.variants.items()},
        real={name: change(values) for name, values in embeddings.real.items()},
    )


def _digest(*plates: EvaluationPlate) -> str:
    content = hashlib.sha256()
    for plate in plates:
        content.update(f"{plate.name} {plate.planes.shape} {plate.um_per_px}".encode())
        content.update(plate.measures.tobytes())
    return f"{plates[0].name}-{content.hexdigest()[:12]}"


def _variants_digest() -> str:
    """Return a digest of the code of the variants, so that outdated embeddings are not used."""
    return hashlib.sha256(Path(variants.__file__).read_bytes()).hexdigest()[:8]


def _load_or_make(path: Path, make: Callable[[], Array]) -> Array:
    """Return the array of a file, which is made and written first if it does not exist."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".part.npy")
        np.save(aside, make())
        aside.rename(path)
    return np.asarray(np.load(path), np.float64)


def _embed_plate(encoder: Encoder, plate: EvaluationPlate) -> Array:
    images = [
        [
            encoder.embed(plate.image(well, day), int(plate.sharpest[well, day]))
            for day in range(len(DAYS))
        ]
        for well in range(len(plate.wells))
    ]
    return np.array(images, np.float32)


def _embed_variants(encoder: Encoder, images: Iterator[tuple[WellImage, int]]) -> Array:
    """Return the embeddings of the original images and of each variant, (1 + variants, images, D).

    The changes of an image are the same for every encoder.
    """
    embedded = []
    for number, (image, sharpest) in enumerate(images):
        rows = [encoder.embed(image, sharpest)]
        for place, change in enumerate(VARIANTS.values()):
            rows.append(
                encoder.embed(*change(image, sharpest, np.random.default_rng([number, place])))
            )
        embedded.append(rows)
    return np.swapaxes(np.array(embedded, np.float32), 0, 1)


def _ms_per_image(encoder: Encoder, plate: EvaluationPlate) -> float:
    """Return the median processor time of one embedding, in ms."""
    images = [
        (plate.image(well, -1), int(plate.sharpest[well, -1]))
        for well in range(min(TIMED_IMAGES, len(plate.wells)))
    ]
    times = []
    for image, sharpest in images:
        started = time.process_time()
        encoder.embed(image, sharpest)
        times.append(1000 * (time.process_time() - started))
    return statistics.median(times)
