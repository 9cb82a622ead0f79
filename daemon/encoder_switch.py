"""Whether the service may switch to another encoder: only when it has embedded all images that rankings still need."""

from collections.abc import Sequence

from inference.ports import EmbeddingLedger, Store
from schemas.errors import ConfigError
from schemas.observation import Embedded

PLATES_NAMED = 5


def is_alive(store: Store, plate: str) -> bool:
    """Return whether a plate has no final ranking yet, by whatever encoder."""
    return not any(ranking.final for ranking in store.rankings(plate))


def incomplete(ledger: EmbeddingLedger, store: Store, encoder_id: str) -> list[Embedded]:
    """Return the plates that keep the service from this encoder.

    They have images that it has not been shown, and are alive or were begun: one begun would be ranked anew from a part of its images. Plates that are
    final and were never begun stay as they are.
    """
    return [
        each
        for each in ledger.embedded(encoder_id)
        if each.open and (each.open < each.images or is_alive(store, each.plate))
    ]


def check_complete(ledger: EmbeddingLedger, store: Store, encoder_id: str) -> None:
    """Hold the start to it.

    Raises
    ------
    ConfigError
        If the encoder has not embedded all images of the plates that are alive or begun.
    """
    if plates := incomplete(ledger, store, encoder_id):
        raise ConfigError(
            "encoder.bundle",
            f"{encoder_id} has not embedded {_listed(plates)}; expected all images of plates without a final ranking: "
            "run spherorank embed --store with this configuration, or name the bundle used so far",
        )


def _listed(plates: Sequence[Embedded]) -> str:
    named = ", ".join(
        f"{each.open} of {each.images} images of {each.plate}" for each in plates[:PLATES_NAMED]
    )
    return (
        f"{named} and images of {len(plates) - PLATES_NAMED} more plates"
        if len(plates) > PLATES_NAMED
        else named
    )
