from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from inference.departure.departures import (
    Departures,
    measure_departures,
    residuals_of_scorable_wells,
)
from inference.ranking.significance import false_discovery_q_values
from inference.ranking.treatment_comparison import compare_with_untreated
from schemas.plate_map import Group
from schemas.trajectory import Representation, Trajectories
from tests.known_plates import DOSING_DAY, READOUT_DAY, joined, plate, with_hidden

KILLS = np.linspace(0.05, 0.95, 12)
VISIBLE, THIRD_HIDDEN, ALL_HIDDEN = [False] * 12, [True, False, False] * 4, [True] * 12


def part_of(both: Trajectories, representation: Representation) -> Trajectories:
    """Return the trajectories with the features of one representation alone."""
    dimension = both.embedding_dimension
    chosen = {
        "embedding": slice(0, dimension),
        "measures": slice(dimension, None),
        "both": slice(None),
    }[representation]
    return replace(
        both,
        features=both.features[:, :, chosen],
        feature_names=both.feature_names[chosen],
        embedding_dimension=0 if representation == "measures" else dimension,
        encoder_id="" if representation == "measures" else both.encoder_id,
    )


def departures(both: Trajectories, representation: Representation = "both") -> Departures:
    return measure_departures(part_of(both, representation), dosing_day=DOSING_DAY, day=READOUT_DAY)


def correlations(hidden: list[bool]) -> dict[str, float]:
    """Return the mean correlation of scores and kills of three plates by representation."""
    kill = np.repeat(KILLS, 3)
    plates = [with_hidden(KILLS.tolist(), hidden, seed=seed) for seed in range(3)]
    return {
        representation: float(
            np.mean(
                [
                    spearmanr(departures(each, representation).scores[18:], kill).statistic
                    for each in plates
                ]
            )
        )
        for representation in ("embedding", "measures", "both")
    }


def test_an_embedding_that_repeats_the_measures_changes_the_order_little() -> None:
    found = correlations(VISIBLE)
    assert found["both"] >= found["measures"] - 0.02


def test_the_unique_part_of_the_embedding_adds_hidden_effects_to_the_measures() -> None:
    found = correlations(THIRD_HIDDEN)
    assert found["both"] > found["measures"] + 0.2


def test_the_embedding_alone_counts_if_the_measures_show_no_effect() -> None:
    found = correlations(ALL_HIDDEN)
    assert found["both"] == found["embedding"]
    assert found["measures"] < found["embedding"] - 0.5


def test_the_embedding_contributes_most_to_hidden_treatments_and_less_to_others() -> None:
    result = departures(with_hidden(KILLS.tolist(), THIRD_HIDDEN))
    share = result.embedding_share[18:].reshape(12, 3).mean(axis=1)
    strong = KILLS > 0.4
    assert share[strong & THIRD_HIDDEN].min() > 0.8
    assert share[strong & ~np.array(THIRD_HIDDEN)].max() < 0.5


def noisy_embedding(seed: int = 0) -> Trajectories:
    return joined(
        plate((0.0,) * 12, features=60, seed=50 + seed),
        plate(KILLS.tolist(), features=11, seed=seed, encoder_id=""),
    )


def test_an_embedding_of_noise_hardly_changes_the_scores_of_the_measures() -> None:
    result, measures = (
        departures(noisy_embedding(), representation) for representation in ("both", "measures")
    )
    assert spearmanr(result.scores, measures.scores).statistic > 0.95
    assert result.embedding_share.max() < 0.05


def test_measures_of_noise_leave_the_scores_of_the_embedding() -> None:
    hidden = with_hidden(KILLS.tolist(), ALL_HIDDEN)
    result = departures(hidden)
    np.testing.assert_allclose(result.scores, departures(hidden, "embedding").scores)
    np.testing.assert_allclose(result.embedding_share, 1.0)


def test_without_any_effect_both_parts_count() -> None:
    nothing = joined(
        plate((0.0,) * 12, features=60, seed=1),
        plate((0.0,) * 12, features=11, seed=2, encoder_id=""),
    )
    share = departures(nothing).embedding_share
    assert 0.3 < share.mean() < 0.7


def without_replicates(trajectories: Trajectories) -> Trajectories:
    """Return the plate as if each treated well had a treatment of its own."""
    return replace(
        trajectories,
        treatments=tuple(
            treatment if group is Group.UNTREATED else f"drug{row}:1 uM"
            for row, (group, treatment) in enumerate(
                zip(trajectories.groups, trajectories.treatments, strict=True)
            )
        ),
    )


def test_plates_without_replicates_are_scored_by_the_differences_between_wells() -> None:
    single = without_replicates(with_hidden(KILLS.tolist(), THIRD_HIDDEN))
    kill = np.repeat(KILLS, 3)
    found = {
        representation: spearmanr(departures(single, representation).scores[18:], kill).statistic
        for representation in ("measures", "both")
    }
    assert found["both"] > found["measures"] + 0.2


def has_call(nothing: Trajectories, rng: np.random.Generator) -> bool:
    """Return whether any treatment of a plate with shuffled wells has a q-value up to 0.05."""
    shuffled = replace(nothing, features=rng.permutation(nothing.features))
    residuals, _, _ = residuals_of_scorable_wells(shuffled, dosing_day=DOSING_DAY, day=READOUT_DAY)
    p_values = [
        compare_with_untreated(residuals, np.arange(12 + 3 * number, 15 + 3 * number), rng).p_value
        for number in range(4)
    ]
    return bool((false_discovery_q_values(np.array(p_values)) <= 0.05).any())


@pytest.mark.parametrize("representation", ["embedding", "measures", "both"])
def test_at_most_seven_percent_of_plates_without_effects_have_a_call(
    representation: Representation,
) -> None:
    rng = np.random.default_rng(5)
    calls = []
    for seed in range(15):
        nothing = joined(
            plate((0.0,) * 4, untreated=12, features=30, seed=seed),
            plate((0.0,) * 4, untreated=12, features=8, seed=100 + seed, encoder_id=""),
        )
        calls += [has_call(part_of(nothing, representation), rng) for _ in range(8)]
    assert np.mean(calls) <= 0.07
