"""Check that an encoder has embedded all images that the service still ranks.

Embeddings of two encoders are never compared, so the service switches to another encoder only then.
"""

from collections.abc import Sequence
from typing import Protocol

from schemas.errors import ConfigError
from schemas.observation import EmbeddingProgress
from schemas.plate_run import OUTSIDE
from store.ports import EmbeddingLedger, PlateMapStore, RankingStore

PLATES_NAMED = 5  # in an error message


class SwitchStore(PlateMapStore, RankingStore, Protocol):
    """The parts of the store that tell whether a plate is finished."""


def is_unfinished(store: SwitchStore, plate: str) -> bool:
    """Return whether the current run of a plate has no final ranking, by any encoder."""
    plate_map = store.plate_map(plate)
    run = plate_map.run if plate_map else 1
    return not any(ranking.final and ranking.run == run for ranking in store.rankings(plate))


def blocking_plates(
    ledger: EmbeddingLedger, store: SwitchStore, encoder_id: str
) -> list[EmbeddingProgress]:
    """Return the EmbeddingProgress of each plate that prevents a switch to an encoder (id).

    Such a plate has images of its current run that the encoder has neither embedded nor refused.
    The run is unfinished, or the encoder has embedded only a part of its images, and a ranking
    would use that part alone. Finished runs without any embedding by the encoder are never ranked
    again. Images outside a run count while the current run is unfinished, because a corrected
    plate map may bring them in.
    """
    if ledger.has_embedded_all(encoder_id):
        return []
    return [each for each in ledger.embedded(encoder_id) if each.open and _blocks(each, store)]


def _blocks(of_run: EmbeddingProgress, store: SwitchStore) -> bool:
    plate_map = store.plate_map(of_run.plate)
    current = plate_map.run if plate_map else 1
    is_partial = of_run.run == current and of_run.open < of_run.images
    return is_partial or (of_run.run in (current, OUTSIDE) and is_unfinished(store, of_run.plate))


def check_all_embedded(ledger: EmbeddingLedger, store: SwitchStore, encoder_id: str) -> None:
    """Raise ConfigError unless an encoder (id) has embedded every image that is still ranked.

    Raises
    ------
    ConfigError
        If :func:`blocking_plates` finds any plate. The message names up to :data:`PLATES_NAMED`.
    """
    if plates := blocking_plates(ledger, store, encoder_id):
        raise ConfigError(
            "encoder.bundle",
            f"{encoder_id} has not embedded {_named(plates)}; "
            "expected all images of plates without a final ranking: "
            "run spherorank embed --store with this configuration, or name the bundle used so far",
        )


def _named(plates: Sequence[EmbeddingProgress]) -> str:
    named = ", ".join(
        f"{plate.open} of {plate.images} images of {plate.plate}" for plate in plates[:PLATES_NAMED]
    )
    if len(plates) <= PLATES_NAMED:
        return named
    return f"{named} and images of {len(plates) - PLATES_NAMED} more plates"
