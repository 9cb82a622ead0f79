"""All metrics of one encoder in the evaluation, from its embeddings of the evaluation images."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
from scipy.stats import t

from schemas.treatment import parse_treatment
from simulation.kinds import Mechanism
from training.evaluation.discrimination import (
    dose_order_agreement,
    effective_rank,
    plate_leakage_accuracy,
    relative_displacement,
    same_well_auc,
    small_kill_auc,
)
from training.evaluation.embeddings import (
    ORIGINAL,
    EvaluationEmbeddings,
    scale_to_untreated_spread,
)
from training.evaluation.plates import MIXED, SHIFTED, EvaluationPlate, indices_of_kind
from training.evaluation.probe import probe_accuracies
from training.evaluation.ranking_quality import (
    calibrated_percent,
    departure_scores,
    deterioration_percent,
    kill_correlation,
    plate_folds,
)
from training.evaluation.retrieval import reciprocal_rank, replicate_retrieval
from training.evaluation.variants import VARIANTS

Array = npt.NDArray[np.float64]
SEED = 1
PROPOSED_WEIGHT = 0.1
"""Ranking weight of an encoder that improves rankings; any value above 0 has the same effect."""
ONE_MECHANISM = "one_mechanism"
KINDS: Mapping[str, tuple[str, ...]] = {
    MIXED: (MIXED,),
    SHIFTED: (SHIFTED,),
    ONE_MECHANISM: tuple(mechanism.value for mechanism in Mechanism),
}
"""The kinds of plates over which a ranking metric is averaged, by the name in the metric."""


def probe_folds(
    plates: Sequence[EvaluationPlate],
) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the indices of the plates that train a probe, and of those that test it, by fold.

    Each mixed plate is tested once.
    """
    mixed = list(indices_of_kind(plates, MIXED))
    for fold in plate_folds(plates):
        yield (
            list(fold.calibration),
            [place for place in mixed if plates[place].seed in fold.tested],
        )


def readouts_in_plate(embeddings: EvaluationEmbeddings) -> list[Array]:
    """Return for each plate the readout embeddings relative to its mean well, (N, D).

    Plates differ in tissue, so without this step a probe of few plates learns their levels.
    Rankings compare the wells of one plate, so the level has no influence on them. Labels are not
    used.
    """
    return [
        of_plate[:, -1] - of_plate[:, -1].mean(axis=0)  # (N, D) − (D,)
        for of_plate in embeddings.plates
    ]


def group_metrics(
    embeddings: EvaluationEmbeddings, plates: Sequence[EvaluationPlate]
) -> dict[str, float]:
    """Return the accuracies by name of :func:`probe_accuracies`, as means over :func:`probe_folds`.

    The wells are those of :func:`readouts_in_plate`.
    """
    readouts = readouts_in_plate(embeddings)
    groups = [[group.value for group in plate.groups] for plate in plates]
    folds = [
        probe_accuracies(
            np.concatenate([readouts[place] for place in train]),
            list(chain.from_iterable(groups[place] for place in train)),
            np.concatenate([readouts[place] for place in test]),
            list(chain.from_iterable(groups[place] for place in test)),
            SEED,
        )
        for train, test in probe_folds(plates)
    ]
    return {name: float(np.mean([fold[name] for fold in folds])) for name in folds[0]}


def label_metrics(
    embeddings: EvaluationEmbeddings, plates: Sequence[EvaluationPlate]
) -> dict[str, float]:
    """Return the metrics by name of classifiers and nearest neighbours on scaled embeddings.

    The embeddings are scaled by :func:`scale_to_untreated_spread`.
    """
    mixed = list(indices_of_kind(plates, MIXED))
    retrievals = [
        replicate_retrieval(
            embeddings.plates[place][:, -1], plates[place].treatments, plates[place].untreated
        )
        for place in mixed
    ]
    untreated = [embeddings.plates[place][plates[place].untreated] for place in mixed]
    names = [
        plates[place].name for place in mixed for _ in range(int(plates[place].untreated.sum()))
    ]
    same_well = [same_well_auc(of_plate[:, 0], of_plate[:, -1]) for of_plate in untreated]
    return {
        **group_metrics(embeddings, plates),
        "replicate_map": float(np.mean([each.mean_average_precision for each in retrievals])),
        "replicate_map_chance": float(np.mean([each.chance for each in retrievals])),
        "same_well": float(np.mean(same_well)),
        "plate_leakage": plate_leakage_accuracy(
            np.concatenate([of_plate[:, 0] for of_plate in untreated]), names, SEED
        ),
        "plate_leakage_chance": 1 / len(mixed),
        "effective_rank": effective_rank(
            np.concatenate([embeddings.plates[place][:, -1] for place in mixed])
        ),
    }


def variant_metrics(embeddings: EvaluationEmbeddings) -> dict[str, float]:
    """Return the metrics by name of the displacement and retrieval of variants of images."""
    metrics = {}
    for name in VARIANTS:
        plates = [
            embeddings.variant_plates == plate for plate in np.unique(embeddings.variant_plates)
        ]
        displacements = [
            relative_displacement(
                embeddings.variants[name][rows], embeddings.variants[ORIGINAL][rows]
            )
            for rows in plates
        ]
        metrics[f"variation_{name}"] = float(np.mean(displacements))
    if len(embeddings.real[ORIGINAL]):
        ranks = {
            f"real_{name}": reciprocal_rank(embeddings.real[name], embeddings.real[ORIGINAL])
            for name in VARIANTS
        }
        metrics |= {**ranks, "real": float(np.mean(list(ranks.values())))}
    return metrics


def ranking_metrics(
    embeddings: EvaluationEmbeddings,
    plates: Sequence[EvaluationPlate],
    *,
    service_calibration: bool,
) -> tuple[dict[str, float], dict[str, list[Array]]]:
    """Return correlations of scores with true kill by name, and the scores of each plate by name.

    The names of the scores are

    - ``uncalibrated``: the service's score from the embedding;
    - ``calibrated``: percent of deterioration, calibrated on eight assay plates;
    - ``deterioration``: the same by the service's own calibration, on the last fold's plates.

    With ``_both`` appended, embedding and measures are used together. If the measures are evaluated
    in place of an encoder, there are no such scores.

    Parameters
    ----------
    service_calibration
        Whether to compute ``deterioration``.

    Returns
    -------
    metrics : dict
        Mean correlation by score and kind of plate, such as ``calibrated_mixed``.
    scores : dict
        For each score one array (N,) of each plate.
    """
    metrics: dict[str, float] = {}
    if embeddings.own_units:
        scores = _measure_scores(plates, service_calibration=service_calibration)
    else:
        scores, metrics = _embedding_scores(
            embeddings, plates, service_calibration=service_calibration
        )
    for score, of_plates in scores.items():
        correlations = [
            kill_correlation(values, plate.kill, plate.untreated)
            for values, plate in zip(of_plates, plates, strict=True)
        ]
        for name, kinds in KINDS.items():
            chosen = [
                correlation
                for correlation, plate in zip(correlations, plates, strict=True)
                if plate.kind in kinds and np.isfinite(correlation)
            ]
            if chosen:
                metrics[f"{score}_{name}"] = float(np.mean(chosen))
    return metrics, scores


def _measure_scores(
    plates: Sequence[EvaluationPlate], *, service_calibration: bool
) -> dict[str, list[Array]]:
    scores = {
        "uncalibrated": [departure_scores(plate, None, "measures") for plate in plates],
        "calibrated": calibrated_percent(plates, None, with_measures=True),
    }
    if service_calibration:
        scores["deterioration"] = deterioration_percent(plates, None, with_measures=True)
    return scores


def _embedding_scores(
    embeddings: EvaluationEmbeddings,
    plates: Sequence[EvaluationPlate],
    *,
    service_calibration: bool,
) -> tuple[dict[str, list[Array]], dict[str, float]]:
    """Return the scores by name, and the metrics of the embedding's influence on rankings."""
    embedded = list(zip(plates, embeddings.plates, strict=True))
    with_it = [departure_scores(plate, each, "both") for plate, each in embedded]
    without_it = [departure_scores(plate, None, "measures") for plate in plates]
    scores = {
        "uncalibrated": [departure_scores(plate, each, "embedding") for plate, each in embedded],
        "uncalibrated_both": with_it if embeddings.ranking_weight else without_it,
        "calibrated": calibrated_percent(plates, embeddings.plates, with_measures=False),
        "calibrated_both": calibrated_percent(plates, embeddings.plates, with_measures=True),
    }
    if service_calibration:
        scores["deterioration"] = deterioration_percent(
            plates, embeddings.plates, with_measures=False
        )
        scores["deterioration_both"] = deterioration_percent(
            plates, embeddings.plates, with_measures=True
        )
    return scores, embedding_gain(with_it, without_it, plates)


def embedding_gain(
    with_it: Sequence[Array], without_it: Sequence[Array], plates: Sequence[EvaluationPlate]
) -> dict[str, float]:
    """Return the gain in correlation by an embedding beside the measures, and the proposed weight.

    The weight :data:`PROPOSED_WEIGHT` is proposed if the gain is above 0 with 95 % confidence, by a
    t interval over the plates of mixed mechanisms under both microscopes, else 0.

    Parameters
    ----------
    with_it, without_it
        Uncalibrated scores (N,) of each plate by embedding and measures, and by measures alone.
    """
    gains = np.array(
        [
            kill_correlation(one, plate.kill, plate.untreated)
            - kill_correlation(other, plate.kill, plate.untreated)
            for one, other, plate in zip(with_it, without_it, plates, strict=True)
            if plate.kind in (MIXED, SHIFTED)
        ]
    )
    gains = gains[np.isfinite(gains)]
    if len(gains) < 2:  # noqa: PLR2004 - an interval needs two values
        return {}
    error = float(gains.std(ddof=1)) / len(gains) ** 0.5
    low = float(gains.mean() - t.ppf(0.975, len(gains) - 1) * error)
    return {
        "embedding_gain": float(gains.mean()),
        "embedding_gain_low": low,
        "embedding_gain_plates": float(len(gains)),
        "proposed_ranking_weight": PROPOSED_WEIGHT if low > 0 else 0.0,
    }


def sensitivity_metrics(
    scores: Sequence[Array], plates: Sequence[EvaluationPlate]
) -> dict[str, float]:
    """Return metrics by name from each plate's scores: dose order and detection of small kills.

    Parameters
    ----------
    scores
        Uncalibrated scores (N,) of the wells of each plate; mixed plates are used.
    """
    means: list[float] = []
    compounds: list[str] = []
    doses: list[float] = []
    mixed = list(indices_of_kind(plates, MIXED))
    for place in mixed:
        plate, names = plates[place], np.array(plates[place].treatments)
        for name in dict.fromkeys(names[~plate.untreated].tolist()):
            parts = parse_treatment(name).doses
            if len(parts) == 1:
                means.append(float(np.nanmean(scores[place][names == name])))
                compounds.append(f"{plate.name} {parts[0].compound_key} {parts[0].kind}")
                doses.append(parts[0].smallest_units)
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
        "dose_order": dose_order_agreement(np.array(means), compounds, np.array(doses)),
        "small_kills": small_kill_auc(pooled[known], kill[known], untreated[known]),
    }


def compute_metrics(
    embeddings: EvaluationEmbeddings,
    plates: Sequence[EvaluationPlate],
    *,
    service_calibration: bool,
) -> tuple[dict[str, float], dict[str, list[Array]]]:
    """Return metrics of EvaluationEmbeddings by name, and by name the well scores of each plate.

    The supervised baseline is left out.

    Returns and parameters are those of :func:`ranking_metrics`.
    """
    scaled = scale_to_untreated_spread(embeddings, plates)
    of_ranking, scores = ranking_metrics(
        embeddings, plates, service_calibration=service_calibration
    )
    sensitivity = sensitivity_metrics(scores["uncalibrated"], plates)
    return {
        **of_ranking,
        **label_metrics(scaled, plates),
        **variant_metrics(scaled),
        **sensitivity,
        "ms_per_image": embeddings.ms_per_image,
    }, scores
