"""Reports of the influence of the encoder and of the methods, for ``spherorank check``."""

from contextlib import closing
from pathlib import Path

from daemon.config import load_config
from daemon.wiring.networks import present_method
from daemon.wiring.store import open_store
from inference.bundle import load_bundle
from schemas.encoder_bundle import describe_ranking_weight
from schemas.errors import SpheroRankError

PLATES_NAMED = 5


def describe_encoder(path: Path | None) -> list[str]:
    """Return lines on the encoder and its influence on rankings.

    The list is empty if the configuration or the bundle has a problem, which
    ``find_start_problems`` returns.

    Parameters
    ----------
    path
        The configuration file; None for the default settings.
    """
    try:
        config = load_config(path)
        card = load_bundle(config.encoder.bundle).card
    except SpheroRankError:
        return []
    representation = config.ranking.representation
    influence = (
        describe_ranking_weight(card.ranking_weight)
        if representation == "both"
        else f"rankings compare the {representation} alone (ranking.representation), "
        f"and ranking_weight {card.ranking_weight:g} is not used"
    )
    return [f"encoder {card.encoder_id}", f"  {influence}"]


def describe_methods(path: Path | None) -> list[str]:
    """Return lines on the stored images that the present method has not measured.

    The list is empty without such images, and if the configuration, the segmenter or the store has
    a problem, which ``find_start_problems`` returns.

    Parameters
    ----------
    path
        The configuration file; None for the default settings.
    """
    try:
        config = load_config(path)
        method = present_method(config)
        with closing(open_store(config)) as store:
            plates = [each for each in store.outdated_measures(method) if each.outdated]
    except SpheroRankError:
        return []
    if not plates:
        return []
    named = [
        f"  plate {each.plate}: {each.outdated} of {each.images} images"
        for each in plates[:PLATES_NAMED]
    ]
    more = len(plates) - PLATES_NAMED
    advice = (
        "  The service measures the images of a plate again before it ranks the plate; "
        "spherorank measure --store measures all of them."
    )
    return [
        f"measures: images that were not measured by {method}",
        *named,
        *([f"  and images of {more} more plates"] if more > 0 else []),
        advice,
    ]
