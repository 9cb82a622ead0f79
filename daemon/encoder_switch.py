"""Check that an encoder has embedded all images that the service still ranks.

Embeddings of two encoders are never compared, so the service switches to another encoder only then.
"""

from collections.abc import Sequence

from schemas.errors import ConfigError
from schemas.observation import EmbeddingProgress
from store.ports import EmbeddingLedger, RankingStore

PLATES_NAMED = 5  # in an error message


def is_unfinished(store: RankingStore, plate: str) -> bool:
    """Return whether a plate has no final ranking, by any encoder."""
    return not any(ranking.final for ranking in store.rankings(plate))


def blocking_plates(
    ledger: EmbeddingLedger, store: RankingStore, encoder_id: str
) -> list[EmbeddingProgress]:
    """Return the EmbeddingProgress of each plate that prevents a switch to an encoder (id).

    Such a plate has images that the encoder has neither embedded nor refused. It is unfinished, or
    the encoder has embedded only a part of its images, and a ranking would use that part alone.
    A finished plate without any embedding by the encoder is never ranked again.
    """
    return [
        plate
        for plate in ledger.embedded(encoder_id)
        if plate.open and (plate.open < plate.images or is_unfinished(store, plate.plate))
    ]


def check_all_embedded(ledger: EmbeddingLedger, store: RankingStore, encoder_id: str) -> None:
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
