"""One encoder's row: every number it is judged by, from its embeddings of the evaluation images."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from schemas.treatment import parse_treatment
from simulation.kinds import Mechanism
from training.evaluation.looks import ORIGINAL, Looks, scaled
from training.evaluation.pairs import (
    dose_order,
    effective_rank,
    plate_leakage,
    same_well,
    small_kills,
    variation,
)
from training.evaluation.plates import MIXED, SHIFTED, EvaluationPlate, of_kind
from training.evaluation.probe import probes
from training.evaluation.ranked import (
    calibrated_percent,
    departure_scores,
    deterioration_percent,
    folds,
    order,
)
from training.evaluation.retrieval import found_again, replicate_retrieval
from training.evaluation.variants import VARIANTS

Array = npt.NDArray[np.float64]
SEED = 1
ONE_MECHANISM = "one_mechanism"
KINDS: Mapping[str, tuple[str, ...]] = {
    MIXED: (MIXED,),
    SHIFTED: (SHIFTED,),
    ONE_MECHANISM: tuple(mechanism.value for mechanism in Mechanism),
}
"""Of plates, by the name under which their mean stands."""


def split(plates: Sequence[EvaluationPlate]) -> tuple[list[int], list[int]]:
    """Return the places of the mixed plates that probes learn on and of those they are tried on."""
    *_, last = folds(plates)
    return list(last.teaching), [
        place for place in of_kind(plates, MIXED) if place not in last.teaching
    ]


def label_numbers(looks: Looks, plates: Sequence[EvaluationPlate]) -> dict[str, float]:
    """Return what classifiers and neighbours make of embeddings in their own unit (:func:`training.evaluation.looks.scaled`)."""
    train, test = split(plates)
    readouts = [
        np.concatenate([looks.plates[place][:, -1] for place in places]) for places in (train, test)
    ]
    groups = [
        [group.value for place in places for group in plates[place].groups]
        for places in (train, test)
    ]
    mixed = list(of_kind(plates, MIXED))
    retrievals = [
        replicate_retrieval(
            looks.plates[place][:, -1], plates[place].treatments, plates[place].untreated
        )
        for place in mixed
    ]
    wells = [looks.plates[place][plates[place].untreated] for place in mixed]
    names = [
        plates[place].name for place in mixed for _ in range(int(plates[place].untreated.sum()))
    ]
    return {
        **probes(readouts[0], groups[0], readouts[1], groups[1], SEED),
        "replicate_map": float(np.mean([each.mean_average_precision for each in retrievals])),
        "replicate_map_chance": float(np.mean([each.chance for each in retrievals])),
        "same_well": float(
            np.mean([same_well(of_plate[:, 0], of_plate[:, -1]) for of_plate in wells])
        ),
        "plate_leakage": plate_leakage(
            np.concatenate([of_plate[:, 0] for of_plate in wells]), names, SEED
        ),
        "plate_leakage_chance": 1 / len(mixed),
        "effective_rank": effective_rank(
            np.concatenate([looks.plates[place][:, -1] for place in mixed])
        ),
    }


def view_numbers(looks: Looks) -> dict[str, float]:
    """Return how much a view of a well moves its embedding, and whether a real spheroid is found again by another view of it."""
    numbers = {}
    for name in VARIANTS:
        plates = [looks.viewed_plates == plate for plate in np.unique(looks.viewed_plates)]
        numbers[f"variation_{name}"] = float(
            np.mean(
                [variation(looks.views[name][rows], looks.views[ORIGINAL][rows]) for rows in plates]
            )
        )
    if len(looks.real[ORIGINAL]):
        found = {
            f"real_{name}": found_again(looks.real[name], looks.real[ORIGINAL]) for name in VARIANTS
        }
        numbers |= {**found, "real": float(np.mean(list(found.values())))}
    return numbers


def ranking_numbers(
    looks: Looks, plates: Sequence[EvaluationPlate], *, service_calibration: bool
) -> tuple[dict[str, float], dict[str, list[Array]]]:
    """Return the order of wells by kind of plate, and the scores themselves, one array a plate, by readout.

    ``uncalibrated``: as the service ranks from the embedding; ``uncalibrated_both``: with measures; ``calibrated`` and ``calibrated_both``: with eight
    assay plates; ``deterioration`` and ``deterioration_both``: with the same by the service's own calibration, on the last fold's plates. Where the
    measures stand in the encoder's place there is nothing to set beside them.
    """
    scores: dict[str, list[Array]] = {}
    if looks.own_units:
        scores["uncalibrated"] = [
            departure_scores(plate, None, "measures", 1.0) for plate in plates
        ]
        scores["calibrated"] = calibrated_percent(plates, None, with_measures=True)
        if service_calibration:
            scores["deterioration"] = deterioration_percent(plates, None, with_measures=True)
    else:
        embedded, weight = list(zip(plates, looks.plates, strict=True)), looks.ranking_weight
        scores["uncalibrated"] = [
            departure_scores(plate, each, "embedding", 1.0) for plate, each in embedded
        ]
        scores["uncalibrated_both"] = [
            departure_scores(plate, each, "both" if weight else "measures", weight)
            for plate, each in embedded
        ]
        scores["calibrated"] = calibrated_percent(plates, looks.plates, with_measures=False)
        scores["calibrated_both"] = calibrated_percent(plates, looks.plates, with_measures=True)
        if service_calibration:
            scores["deterioration"] = deterioration_percent(
                plates, looks.plates, with_measures=False
            )
            scores["deterioration_both"] = deterioration_percent(
                plates, looks.plates, with_measures=True
            )
    numbers = {}
    for readout, of_plates in scores.items():
        orders = [
            order(score, plate.kill, plate.untreated)
            for score, plate in zip(of_plates, plates, strict=True)
        ]
        for name, kinds in KINDS.items():
            chosen = [
                each
                for each, plate in zip(orders, plates, strict=True)
                if plate.kind in kinds and np.isfinite(each)
            ]
            if chosen:
                numbers[f"{readout}_{name}"] = float(np.mean(chosen))
    return numbers, scores


def sensitivity_numbers(
    scores: Sequence[Array], plates: Sequence[EvaluationPlate]
) -> dict[str, float]:
    """Return what the uncalibrated scores of mixed plates, (N,) each, say of doses and of small kills."""
    means: list[float] = []
    compounds: list[str] = []
    doses: list[float] = []
    mixed = list(of_kind(plates, MIXED))
    for place in mixed:
        plate, names = plates[place], np.array(plates[place].treatments)
        for name in dict.fromkeys(names[~plate.untreated].tolist()):
            given = parse_treatment(name).doses
            if len(given) == 1:
                means.append(float(np.nanmean(scores[place][names == name])))
                compounds.append(f"{plate.name} {given[0].compound}")
                doses.append(given[0].amount)
    pooled, kill, untreated = (
        np.concatenate([each[place] for place in mixed])
        for each in (
            scores,
            [plate.kill for plate in plates],
            [plate.untreated for plate in plates],
        )
    )
    known = np.isfinite(pooled)
    return {
        "dose_order": dose_order(np.array(means), compounds, np.array(doses)),
        "small_kills": small_kills(pooled[known], kill[known], untreated[known]),
    }


def numbers_of(
    looks: Looks, plates: Sequence[EvaluationPlate], *, service_calibration: bool
) -> tuple[dict[str, float], dict[str, list[Array]]]:
    """Return every number of an encoder but the baseline's, and its scores by readout, one array a plate."""
    in_units = scaled(looks, plates)
    ranked, scores = ranking_numbers(looks, plates, service_calibration=service_calibration)
    sensitive = sensitivity_numbers(scores["uncalibrated"], plates)
    return {
        **ranked,
        **label_numbers(in_units, plates),
        **view_numbers(in_units),
        **sensitive,
        "ms_per_image": looks.ms_per_image,
    }, scores
