"""What one encoder makes of the evaluation images: embedded once and kept, so that numbers can be computed again in seconds."""

import hashlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.progress import track

from inference.ports import Encoder
from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.measures import measure_tissue
from inference.tissue.ranked_measures import RANKED_MEASURES, ranked_values
from schemas.well_image import WellImage
from training.evaluation import variants
from training.evaluation.plates import DAYS, MIXED, EvaluationPlate, of_kind
from training.evaluation.real_images import sharpest_plane
from training.evaluation.variants import VARIANTS

Array = npt.NDArray[np.float64]

ORIGINAL = "original"
VIEWED_PLATES = 3
"""Mixed plates, from the last, whose wells are looked at in other views too."""
TIMED = 20


@dataclass(frozen=True, eq=False)
class Looks:
    """Embeddings of all evaluation images."""

    encoder_id: str
    plates: tuple[Array, ...]  # each (N, 2, D): wells, days
    views: Mapping[str, Array]  # by variant and ORIGINAL: (V, D), readout images of some wells
    viewed_plates: npt.NDArray[np.str_]  # (V,)
    real: Mapping[str, Array]  # by variant and ORIGINAL: (R, D); R may be 0
    ms_per_image: (
        float  # of one processor, from planes in memory: other work on the machine does not count
    )
    own_units: (
        bool  # each value has a unit of its own, as measures have; an embedding's values share one
    )
    ranking_weight: float  # of the embedding beside measures in a ranking of both

    @property
    def dimension(self) -> int:
        """D."""
        return int(self.plates[0].shape[2])


class MeasuresEncoder:
    """The hand measures in an encoder's place: the rival of every embedding."""

    encoder_id = "measures"
    dimension = len(RANKED_MEASURES)

    def __init__(self) -> None:
        self._segmenter = ClassicalSegmenter()

    def embed(self, image: WellImage, sharpest_plane: int) -> npt.NDArray[np.float32]:
        """Return the measures that a ranking compares, (11,)."""
        plane = image.planes[sharpest_plane]
        return ranked_values(
            measure_tissue(plane, self._segmenter.segment(plane, image.um_per_px), image.um_per_px)
        ).astype(np.float32)


def look(
    encoder: Encoder,
    plates: Sequence[EvaluationPlate],
    real: Sequence[WellImage],
    cache_folder: Path,
    *,
    ranking_weight: float,
    viewed_wells: int,
) -> Looks:
    """Embed what is not in the cache and return it all; a plate at a time is kept, so that a run that is killed goes on where it was."""
    kept = cache_folder / "embeddings" / encoder.encoder_id
    by_hand = isinstance(encoder, MeasuresEncoder)  # the plates bring their measures along
    embedded = [
        plate.measures
        if by_hand
        else _kept(kept / f"{_digest(plate)}.npy", partial(_embed_plate, encoder, plate))
        for plate in track(plates, encoder.encoder_id, disable=not sys.stderr.isatty())
    ]
    chosen = [plates[number] for number in of_kind(plates, MIXED)][-VIEWED_PLATES:]
    places = [
        (plate, well) for plate in chosen for well in range(min(viewed_wells, len(plate.wells)))
    ]
    names = [ORIGINAL, *VARIANTS]
    views = _kept(
        kept / f"views-{_views_digest()}-{viewed_wells}-{_digest(*chosen)}.npy",
        lambda: _embed_views(
            encoder,
            ((plate.image(well, -1), int(plate.sharpest[well, -1])) for plate, well in places),
        ),
    )
    real_views = np.empty((len(names), 0, encoder.dimension))
    if real:
        digest = hashlib.sha256("".join(image.digest for image in real).encode()).hexdigest()[:12]
        real_views = _kept(
            kept / f"real-{_views_digest()}-{digest}.npy",
            lambda: _embed_views(encoder, ((image, sharpest_plane(image)) for image in real)),
        )
    return Looks(
        encoder_id=encoder.encoder_id,
        plates=tuple(embedded),
        views=dict(zip(names, views, strict=True)),
        viewed_plates=np.array([plate.name for plate, _ in places]),
        real=dict(zip(names, real_views, strict=True)),
        ms_per_image=float(
            _kept(
                kept / "processor_ms_per_image.npy",
                lambda: np.array(_ms_per_image(encoder, plates[0])),
            )
        ),
        own_units=by_hand,
        ranking_weight=ranking_weight,
    )


def scaled(looks: Looks, plates: Sequence[EvaluationPlate]) -> Looks:
    """Return them in units of the spread between untreated wells of a plate: one unit for all values of an embedding, each measure in its own."""
    spreads = [
        of_plate[plate.untreated, -1].var(axis=0, ddof=1)
        for of_plate, plate in zip(looks.plates, plates, strict=True)
        if plate.kind == MIXED
    ]
    spread = np.sqrt(np.mean(spreads, axis=0))
    unit = spread if looks.own_units else np.sqrt(np.mean(spread**2))
    unit = np.where(unit > 0, unit, np.inf)
    return _changed(looks, lambda values: values / unit)


def joined(parts: Sequence[Looks], plates: Sequence[EvaluationPlate]) -> Looks:
    """Return several encoders as one: each in its own unit, side by side, so that squared distances are the mean of theirs."""
    units = [scaled(part, plates) for part in parts]
    digest = hashlib.sha256(" ".join(part.encoder_id for part in parts).encode()).hexdigest()[:16]

    def beside(arrays: Sequence[Array]) -> Array:
        return np.concatenate([array / np.sqrt(array.shape[-1]) for array in arrays], axis=-1)

    return Looks(
        encoder_id=f"joined-{digest}",
        plates=tuple(
            beside(of_plate) for of_plate in zip(*(part.plates for part in units), strict=True)
        ),
        views={name: beside([part.views[name] for part in units]) for name in units[0].views},
        viewed_plates=units[0].viewed_plates,
        real={name: beside([part.real[name] for part in units]) for name in units[0].real},
        ms_per_image=sum(part.ms_per_image for part in parts),
        own_units=False,
        ranking_weight=statistics.fmean(part.ranking_weight for part in parts),
    )


def _changed(looks: Looks, change: Callable[[Array], Array]) -> Looks:
    return Looks(
        encoder_id=looks.encoder_id,
        plates=tuple(map(change, looks.plates)),
        views={name: change(values) for name, values in looks.views.items()},
        viewed_plates=looks.viewed_plates,
        real={name: change(values) for name, values in looks.real.items()},
        ms_per_image=looks.ms_per_image,
        own_units=looks.own_units,
        ranking_weight=looks.ranking_weight,
    )


def _digest(*plates: EvaluationPlate) -> str:
    content = hashlib.sha256()
    for plate in plates:
        content.update(f"{plate.name} {plate.planes.shape} {plate.um_per_px}".encode())
        content.update(plate.measures.tobytes())
    return f"{plates[0].name}-{content.hexdigest()[:12]}"


def _views_digest() -> str:
    """Return a digest of what makes the views, so that no stale ones are read."""
    return hashlib.sha256(Path(variants.__file__).read_bytes()).hexdigest()[:8]


def _kept(path: Path, make: Callable[[], Array]) -> Array:
    """Return the array of a file; it is made first where there is none."""
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


def _embed_views(encoder: Encoder, images: Iterator[tuple[WellImage, int]]) -> Array:
    """Return (1 + variants, images, D): as they are, then each variant; the same changes for every encoder."""
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
    images = [
        (plate.image(well, -1), int(plate.sharpest[well, -1]))
        for well in range(min(TIMED, len(plate.wells)))
    ]
    times = []
    for image, sharpest in images:
        started = time.process_time()
        encoder.embed(image, sharpest)
        times.append(1000 * (time.process_time() - started))
    return statistics.median(times)
