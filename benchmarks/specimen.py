"""Compare a joint ranking of the plates of a specimen with rankings of single plates.

    python -m benchmarks.specimen [--seeds 30]

The scores are simulated: 12 treatments of three wells and 18 untreated wells per plate. Half of the
treatments have no effect; the others shift their wells by 0.5 to 15 untreated spreads. On each
plate, all effects are multiplied by one gain, and each effect varies by a random share of itself.
The truth is the effect at gain 1.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import spearmanr, t, ttest_ind

from inference.ranking.significance import false_discovery_q_values
from inference.ranking.specimen import rank_specimen
from schemas.plate_map import Group
from schemas.ranking import Gate, Ranking, RankingQuality, Scale, TreatmentRank, Verdict, WellRank
from schemas.specimen import SpecimenTreatment

Array = npt.NDArray[np.float64]

TREATMENTS, WELLS, UNTREATED = 12, 3, 18
NONE = {
    "efficacy_rank": None,
    "scale_position": None,
    "condition": None,
    "deterioration_percent": None,
    "deterioration_low": None,
    "deterioration_high": None,
}
QUALITY = RankingQuality(
    gate=Gate.PASSED,
    reasons=(),
    z_prime=None,
    ssmd=None,
    edge_effect=None,
    row_effect=None,
    column_effect=None,
    left_out=(),
    missing_images=(),
)


@dataclass(frozen=True)
class Scenario:
    """The differences between the simulated plates of one specimen."""

    name: str
    gain: float  # standard deviation of its logarithm
    own: float  # standard deviation of each treatment on each plate, as a share of its effect
    shared: int = TREATMENTS  # treatments on every plate; the others are divided among the plates
    spoilt: bool = False  # the strongest treatment fails on the first plate
    effects: int = 6


SCENARIOS = (
    Scenario("plates alike", 0.0, 0.0),
    Scenario("usual", 0.2, 0.1),
    Scenario("plates far apart", 0.5, 0.1),
    Scenario("treatments differ", 0.2, 0.3),
    Scenario("4 of 12 shared", 0.2, 0.1, shared=4),
    Scenario("far apart, 4 of 12", 0.5, 0.1, shared=4),
    Scenario("none shared", 0.2, 0.1, shared=0),
    Scenario("one spoilt", 0.2, 0.1, spoilt=True),
    Scenario("nothing works", 0.2, 0.1, effects=0),
)


def simulate_specimen(
    rng: np.random.Generator, scenario: Scenario, plates: int
) -> tuple[list[Ranking], Array]:
    """Return (Rankings of simulated plates, true effects (TREATMENTS,)) of a Scenario."""
    truth = np.where(
        np.arange(TREATMENTS) < TREATMENTS - scenario.effects,
        0.0,
        np.exp(rng.uniform(np.log(0.5), np.log(15), TREATMENTS)),
    )
    rankings = []
    for plate in range(plates):
        present = [
            treatment
            for treatment in range(TREATMENTS)
            if treatment % 3 == 0 or scenario.shared == TREATMENTS or treatment % plates == plate
        ]
        if scenario.shared == 0:
            present = [treatment for treatment in range(TREATMENTS) if treatment % plates == plate]
        effect = (
            truth[present]
            * np.exp(rng.normal(0, scenario.gain))
            * (1 + rng.normal(0, scenario.own, len(present)))
        )
        if scenario.spoilt and plate == 0:
            effect[np.argmax(truth[present])] = 0.0
        rankings.append(
            rank_single_plate(
                f"plate-{plate + 1}",
                rng.normal(0, 1, UNTREATED),
                {n: rng.normal(e, 1, WELLS) for n, e in zip(present, effect, strict=True)},
            )
        )
    return rankings, truth


def rank_single_plate(name: str, untreated: Array, treated: dict[int, Array]) -> Ranking:
    """Return the Ranking of a named plate from untreated values and values by treatment number.

    Scores are means, with t intervals from a pooled variance.
    """
    location, spread = untreated.mean(), untreated.std(ddof=1)
    means = {
        treatment: float((wells.mean() - location) / spread) for treatment, wells in treated.items()
    }
    deviations = np.concatenate([(wells - wells.mean()) / spread for wells in treated.values()])
    freedom = len(treated) * (WELLS - 1)
    reach = float(t.ppf(0.95, freedom) * np.sqrt((deviations**2).sum() / freedom / WELLS))
    p_values = np.array(
        [ttest_ind(wells, untreated, alternative="greater").pvalue for wells in treated.values()]
    )
    q_values = false_discovery_q_values(p_values)
    order = sorted(means, key=lambda treatment: -means[treatment])
    rows = tuple(
        TreatmentRank(
            efficacy_rank=order.index(treatment) + 1,
            scale_position=len(order) - order.index(treatment),
            treatment=f"drug-{treatment}:1 uM",
            group=Group.SCREENING,
            wells=tuple(f"C{number + 2:02d}" for number in range(WELLS)),
            score=means[treatment],
            score_low=means[treatment] - reach,
            score_high=means[treatment] + reach,
            rank_low=1,
            rank_high=len(order),
            p_value=float(p),
            q_value=float(q),
            verdict=Verdict.EFFECTIVE if q <= 0.05 else Verdict.NO_EVIDENCE,  # noqa: PLR2004 - the false discovery rate of a plate
        )
        for treatment, p, q in zip(treated, p_values, q_values, strict=True)
    )
    return _ranking(name, rows)


def _ranking(name: str, treatments: tuple[TreatmentRank, ...]) -> Ranking:
    """Return the ranking of a plate from its treatments, with untreated wells of score 0."""
    wells = tuple(
        WellRank(
            well=f"B{number + 2:02d}",
            group=Group.UNTREATED,
            treatment="",
            score=0.0,
            flags=(),
            **NONE,
        )
        for number in range(UNTREATED)
    )
    return Ranking.model_validate(
        {
            "plate": name,
            "day": 10,
            "revision": 1,
            "final": True,
            "replaces": None,
            "created_at": "2026-11-22T20:00:00Z",
            "method": "departure",
            "representation": "measures",
            "encoder_id": "",
            "code_version": "",
            "config_digest": "",
            "inputs_digest": name,
            "specimen": "S",
            "treatments": treatments,
            "wells": wells,
            "scale": Scale(x=None, n=WELLS * len(treatments)),
            "quality": QUALITY,
            "notes": (),
        }
    )


def accuracy_of_ranking(
    rows: Sequence[TreatmentRank | SpecimenTreatment], truth: Array
) -> tuple[float, float, float, float]:
    """Return (Spearman, coverage, any false positive, detection rate) of rows against the truth.

    The coverage is that of the intervals. The detection rate is over treatments with a true effect
    of at least 1.
    """
    true = np.array([truth[_number(row.treatment)] for row in rows])
    effective = np.array([row.verdict is Verdict.EFFECTIVE for row in rows])
    covered = np.mean(
        [row.score_low <= value <= row.score_high for row, value in zip(rows, true, strict=True)]
    )
    found = effective[true >= 1].mean() if (true >= 1).any() else np.nan
    return (
        _spearman([row.score for row in rows], true),
        float(covered),
        float(effective[true == 0].any()),
        float(found),
    )


def mean_of_plates(rankings: Sequence[Ranking], truth: Array) -> float:
    """Return Spearman's correlation of the truth with each treatment's mean score in Rankings."""
    scores: dict[int, list[float]] = {}
    for row in (row for ranking in rankings for row in ranking.treatments):
        scores.setdefault(_number(row.treatment), []).append(row.score)
    return _spearman([float(np.mean(own)) for own in scores.values()], truth[list(scores)])


def _spearman(scores: Sequence[float], truth: Array) -> float:
    """Return Spearman's correlation of scores with the truth; NaN if the truth is constant."""
    return float(spearmanr(scores, truth).statistic) if np.ptp(truth) > 0 else np.nan


def _number(treatment: str) -> int:
    """Return the number in the name of a simulated treatment, such as 3 for ``drug-3:1 uM``."""
    return int(treatment.removeprefix("drug-").removesuffix(":1 uM"))


def main() -> None:
    """Print the accuracy of single and joint rankings, one row per scenario and plate count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--first-seed", type=int, default=1)
    arguments = parser.parse_args()
    print(
        f"{arguments.seeds} specimens per row, seeds from {arguments.first_seed}; alone: mean over "
        "the plates of a specimen"
    )
    print(
        f"{'':28}{'Spearman with the truth':>26}{'90 % interval holds':>20}{'any false call':>17}"
        f"{'effects ≥ 1 found':>20}"
    )
    print(
        f"{'':20}{'plates':>8}{'alone':>8}{'mean':>8}{'together':>10}"
        + 2 * f"{'alone':>9}{'together':>9}"
        + f"{'alone':>10}{'together':>9}"
    )
    for scenario in SCENARIOS:
        for plates in (2, 3):
            alone, means, together = [], [], []
            for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
                rankings, truth = simulate_specimen(
                    np.random.default_rng([seed, plates]), scenario, plates
                )
                alone += [accuracy_of_ranking(ranking.treatments, truth) for ranking in rankings]
                means.append(mean_of_plates(rankings, truth))
                together.append(
                    accuracy_of_ranking(rank_specimen(rankings, seed=seed).treatments, truth)
                )
            one, all_of_them = (
                pd.DataFrame(of).mean() for of in (alone, together)
            )  # skips the NaN of specimens without any effective treatment
            print(
                (
                    f"{scenario.name:20}{plates:8d}{one[0]:8.3f}{pd.Series(means).mean():8.3f}"
                    f"{all_of_them[0]:10.3f}"
                ),
                end="",
            )
            print("".join(f"{one[column]:9.3f}{all_of_them[column]:9.3f}" for column in (1, 2, 3)))


if __name__ == "__main__":
    main()
