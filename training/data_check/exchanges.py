"""Search for images that are filed under a wrong well, day or plate.

For each image that breaks the trajectory of its well, the possible explanations are compared by
Bayes' rule: an exchange with another image, another day of its well, a foreign image whose place is
not found, or no mistake. The weight of an explanation is its prior probability times the ratio by
which it raises the likelihood (:mod:`training.data_check.trajectories`). As in the label audit, the
logarithm of the ratio is multiplied by 0.6, because measures of one image are not independent.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from inference.ranking.label_audit import EVIDENCE_WEIGHT
from schemas.arrays import BoolArray, Float64Array
from training.data_check.doubts import REPORTED_PROBABILITY, DataDoubt, DoubtKind, ImageName
from training.data_check.trajectories import PlateTrajectories

SUSPICIOUS_GAIN = 8.0
"""Smallest gain in log likelihood by leaving out an image, for which mistakes are looked for.

An image that fits its well has a gain near 0.
"""
PRIORS = {
    DoubtKind.EXCHANGED_WELLS: 1 / 400,
    DoubtKind.EXCHANGED_DAYS: 1 / 400,
    DoubtKind.WRONG_DAY: 1 / 400,
    DoubtKind.EXCHANGED_PLATES: 1 / 1000,
    DoubtKind.FOREIGN: 1 / 100,
}
"""Prior probability of each mistake for one image, shared by all its possible partners."""
FOREIGN_DISTANCE = 6.0
"""Distance of a foreign image from its well, in standard deviations of each measure, whose
likelihood the image has if it is foreign."""
_VERBS = {
    DoubtKind.EXCHANGED_WELLS: "have each other's image",
    DoubtKind.EXCHANGED_DAYS: "have each other's image",
    DoubtKind.EXCHANGED_PLATES: "have each other's image",
}


@dataclass(frozen=True)
class _Place:
    """The place of an image: numbers of plate, well and day."""

    plate: int
    well: int
    day: int


@dataclass(frozen=True)
class _Explanation:
    kind: DoubtKind
    gain: float  # in log likelihood
    places: tuple[_Place, ...]


def find_exchanges(plates: Sequence[PlateTrajectories]) -> list[DataDoubt]:
    """Return a DataDoubt for each image that seems to be filed under a wrong well, day or plate.

    Two exchanged images are one doubt.
    """
    fits = [_fit(plate) for plate in plates]
    suspicious = [
        _Place(number, well, day)
        for number, plate in enumerate(plates)
        for well, day in np.argwhere(_gains_without(plate, fits[number]) > SUSPICIOUS_GAIN).tolist()
    ]
    best: dict[tuple[DoubtKind, tuple[ImageName, ...]], DataDoubt] = {}
    for place in suspicious:
        for doubt in _explain(place, plates, fits, suspicious):
            key = doubt.kind, doubt.images
            if key not in best or doubt.probability > best[key].probability:
                best[key] = doubt
    return list(best.values())


def _fit(plate: PlateTrajectories) -> Float64Array:
    """Return the log likelihood of each well, (N,)."""
    return np.array(
        [plate.log_likelihood(well, plate.values[well]) for well in range(len(plate.wells))]
    )


def _gains_without(plate: PlateTrajectories, fit: Float64Array) -> Float64Array:
    """Return the gain by leaving out each image, (N, T), beyond that of a usual image.

    A left-out image has fewer terms; the median gain of all images is subtracted.
    """
    gains = np.full(plate.values.shape[:2], np.nan)
    for well, day in np.argwhere(np.isfinite(plate.values).all(axis=2)):
        without = plate.values[well].copy()
        without[day] = np.nan
        gains[well, day] = plate.log_likelihood(int(well), without) - fit[well]
    beyond: Float64Array = np.nan_to_num(gains - np.nanmedian(gains), nan=-np.inf)
    return beyond


def _explain(
    place: _Place,
    plates: Sequence[PlateTrajectories],
    fits: Sequence[Float64Array],
    suspicious: Sequence[_Place],
) -> list[DataDoubt]:
    """Return the doubts about one image that are probable enough to report."""
    explanations = list(_explanations(place, plates, fits, suspicious))
    counts = {kind: sum(each.kind is kind for each in explanations) for kind in PRIORS}
    logs = np.array(
        [
            np.log(PRIORS[each.kind] / counts[each.kind]) + EVIDENCE_WEIGHT * each.gain
            for each in explanations
        ]
    )
    highest = max(0.0, float(logs.max()))
    weights = np.exp(logs - highest)
    probabilities = weights / (weights.sum() + np.exp(-highest))
    return [
        _doubt(each, float(probability), plates)
        for each, probability in zip(explanations, probabilities, strict=True)
        if probability >= REPORTED_PROBABILITY
    ]


def _explanations(
    place: _Place,
    plates: Sequence[PlateTrajectories],
    fits: Sequence[Float64Array],
    suspicious: Sequence[_Place],
) -> Iterator[_Explanation]:
    """Yield the possible mistakes of one image with their gains in log likelihood."""
    plate = plates[place.plate]
    imaged: BoolArray = np.asarray(np.isfinite(plate.values).all(axis=2))
    for well in np.flatnonzero(imaged[:, place.day]):
        if well != place.well:
            other = _Place(place.plate, int(well), place.day)
            yield _exchange(DoubtKind.EXCHANGED_WELLS, place, other, plates, fits)
    for day in range(len(plate.days)):
        if day == place.day:
            continue
        if imaged[place.well, day]:
            other = _Place(place.plate, place.well, day)
            yield _exchange(DoubtKind.EXCHANGED_DAYS, place, other, plates, fits)
        else:
            yield _move(place, day, plate, fits[place.plate])
    for other in suspicious:
        if other.plate != place.plate:
            yield _exchange(DoubtKind.EXCHANGED_PLATES, place, other, plates, fits)
    yield _foreign(place, plate, fits[place.plate])


def _exchange(
    kind: DoubtKind,
    one: _Place,
    other: _Place,
    plates: Sequence[PlateTrajectories],
    fits: Sequence[Float64Array],
) -> _Explanation:
    """Return the explanation that two images have each other's name."""
    changed = {
        (place.plate, place.well): plates[place.plate].values[place.well].copy()
        for place in (one, other)
    }
    for place, origin in ((one, other), (other, one)):
        changed[place.plate, place.well][place.day] = plates[origin.plate].values[
            origin.well, origin.day
        ]
    gain = sum(
        plates[plate].log_likelihood(well, values) - fits[plate][well]
        for (plate, well), values in changed.items()
    )
    return _Explanation(kind, float(gain), (one, other))


def _move(place: _Place, day: int, plate: PlateTrajectories, fit: Float64Array) -> _Explanation:
    """Return the explanation that an image is of another day, on which its well has no image."""
    values = plate.values[place.well].copy()
    values[day], values[place.day] = values[place.day], np.nan
    gain = plate.log_likelihood(place.well, values) - fit[place.well]
    target = _Place(place.plate, place.well, day)
    return _Explanation(DoubtKind.WRONG_DAY, float(gain), (place, target))


def _foreign(place: _Place, plate: PlateTrajectories, fit: Float64Array) -> _Explanation:
    """Return the explanation that an image is of a place that is not found."""
    values = plate.values[place.well].copy()
    values[place.day] = np.nan
    without = plate.log_likelihood(place.well, values)
    far = 2 * plate.log_density_at(FOREIGN_DISTANCE)  # of its value, and of a change
    return _Explanation(DoubtKind.FOREIGN, float(without + far - fit[place.well]), (place,))


def _doubt(
    explanation: _Explanation, probability: float, plates: Sequence[PlateTrajectories]
) -> DataDoubt:
    names = [
        ImageName(
            plates[place.plate].plate,
            plates[place.plate].wells[place.well],
            plates[place.plate].days[place.day],
        )
        for place in explanation.places
    ]
    match explanation.kind:
        case DoubtKind.WRONG_DAY:
            image, target = names
            sentence = f"{image} seems to be of day {target.day}: check its date."
            return DataDoubt(explanation.kind, probability, (image,), sentence)
        case DoubtKind.FOREIGN:
            sentence = f"{names[0]} does not fit the other days of its well: look at the image."
        case _:
            one, other = sorted(names)
            verb = _VERBS[explanation.kind]
            sentence = f"{one} and {other} seem to {verb}: compare both images with the other days."
    return DataDoubt(explanation.kind, probability, tuple(sorted(names)), sentence)
