"""Alerts about a new ranking that a person should check before its results are used."""

from collections.abc import Callable, Sequence

from daemon.alerts import Alerts
from daemon.missing_images import missing_day_cause
from inference.departure.assembly import AssembledPlate
from inference.departure.measuring_methods import MEASURE_COMMAND, name_method, name_methods
from inference.ranking.image_notes import name_wells
from inference.ranking.plate_ranking import ONE_BLOCK
from schemas.messages import AlertKind
from schemas.plate_map import Group
from schemas.ranking import Gate, Ranking


def alert_if_doubtful(
    ranking: Ranking, others: Callable[[], Sequence[Ranking]], alerts: Alerts
) -> None:
    """Raise alerts if a ranking fails its quality gate, or is final without some images.

    Parameters
    ----------
    others
        Returns the other rankings of the plate and run. An alert about the layout of the plate is
        raised by the first ranking only.
    """
    quality = ranking.quality
    if quality.gate is Gate.FAILED:
        # The inputs digest would suppress the next ranking of the same inputs, which is final.
        cause = f"{ranking.plate} {ranking.name}"
        alerts.raise_once(
            AlertKind.QUALITY_GATE,
            cause,
            f"{ranking.name} fails its quality gate: {'; '.join(quality.reasons)}",
            ranking.plate,
        )
    if quality.untreated_in_one_block and not any(
        each.quality.untreated_in_one_block for each in others()
    ):
        alerts.raise_once(
            AlertKind.LAYOUT, ranking.plate, f"plate {ranking.plate}: {ONE_BLOCK}", ranking.plate
        )
    if ranking.final and quality.missing_images:
        _alert_about_missing_images(ranking, alerts)


def alert_about_refused_wells(ranking: Ranking, plate: AssembledPlate, alerts: Alerts) -> None:
    """Raise an alert if wells are left out of a final ranking because their images were refused."""
    left_out = {each.well for each in ranking.quality.left_out}
    refused = [well for well in plate.refused if well in left_out]
    if ranking.final and refused:
        alerts.raise_once(
            AlertKind.IMAGES_MISSING,
            f"{ranking.inputs_digest} refused",
            f"{ranking.name} is final without {name_wells(refused)}: no background is in view in "
            "their images; expected background around the tissue",
            ranking.plate,
        )


def alert_about_methods(ranking: Ranking, plate: AssembledPlate, alerts: Alerts) -> None:
    """Raise an alert if a ranking leaves out measures, because other methods measured images.

    A later ranking of the plate without such images clears it.
    """
    cause = f"{ranking.plate} methods"
    if not plate.other_methods:
        alerts.clear(AlertKind.MEASURES, cause)
        return
    consequence = (
        "all wells are compared by their embedding alone"
        if plate.deciding_other_methods
        else "their measures are not used"
    )
    alerts.raise_once(
        AlertKind.MEASURES,
        cause,
        f"{ranking.name}: {len(plate.other_methods)} images were measured by "
        f"{name_methods(plate.other_methods)}, the other images by "
        f"{name_method(plate.measured_by)}: {consequence}; expected the files of all images, so "
        f"that {MEASURE_COMMAND} can measure them again",
        ranking.plate,
    )


def alert_if_by_departure(ranking: Ranking, why_departure: str, alerts: Alerts) -> None:
    """Raise an alert, with the reason, if a ranking by deterioration was requested but not made."""
    if ranking.method == "departure":
        message = (
            f"{ranking.name} is ranked by departure, and ranking.method asks for "
            f"deterioration: {why_departure}"
        )
        alerts.raise_once(
            AlertKind.ASSAY, f"{ranking.plate}: {why_departure}", message, ranking.plate
        )


def _alert_about_missing_images(ranking: Ranking, alerts: Alerts) -> None:
    quality = ranking.quality
    if quality.gate is Gate.NO_READOUT and _has_no_image(ranking):
        alerts.raise_once(
            AlertKind.IMAGES_MISSING,
            missing_day_cause(ranking.plate, ranking.run, ranking.day),
            f"plate {ranking.plate}: {'; '.join(quality.reasons)}; {ranking.name} is final "
            "without a readout",
            ranking.plate,
        )
    else:
        missing = ", ".join(quality.missing_images)
        alerts.raise_once(
            AlertKind.IMAGES_MISSING,
            ranking.inputs_digest,
            f"{ranking.name} is final without images of {missing}",
            ranking.plate,
        )


def _has_no_image(ranking: Ranking) -> bool:
    """Return whether every well with tissue lacks an image of the ranked day."""
    with_tissue = [each.well for each in ranking.wells if each.group is not Group.BLANK]
    return set(ranking.quality.missing_images) >= set(with_tissue)
