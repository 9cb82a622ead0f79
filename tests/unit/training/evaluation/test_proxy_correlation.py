import numpy as np
import pytest

from training.evaluation.proxy_correlation import correlate_proxies, probe_gain


def rows(probe: list[float], ranking: list[float]) -> list[dict[str, float]]:
    return [
        {"probe_10": one, "resnet18_10": 0.5, "uncalibrated_mixed": other}
        for one, other in zip(probe, ranking, strict=True)
    ]


def test_a_test_that_orders_encoders_as_their_ranking_does_helps() -> None:
    found = {
        (each.proxy, each.target): each.spearman
        for each in correlate_proxies(rows([0.4, 0.5, 0.6, 0.7], [0.1, 0.2, 0.3, 0.4]))
    }
    assert found["probe_10", "uncalibrated_mixed"] == pytest.approx(1.0)
    assert found["probe_10 − resnet18_10", "uncalibrated_mixed"] == pytest.approx(1.0)


def test_a_test_that_orders_them_the_other_way_misleads() -> None:
    assert correlate_proxies(rows([0.7, 0.6, 0.5, 0.4], [0.1, 0.2, 0.3, 0.4]))[
        0
    ].spearman == pytest.approx(-1.0)


def test_of_three_encoders_nothing_is_said() -> None:
    assert correlate_proxies(rows([0.4, 0.5, 0.6], [0.1, 0.2, 0.3])) == []


def test_an_encoder_without_the_number_is_left_out() -> None:
    assert (
        correlate_proxies(rows([0.4, 0.5, 0.6, np.nan, 0.7], [0.1, 0.2, 0.3, 0.9, 0.4]))[0].encoders
        == 4
    )


def test_a_test_on_which_all_encoders_agree_says_nothing() -> None:
    assert correlate_proxies(rows([0.4, 0.4, 0.4, 0.4], [0.1, 0.2, 0.3, 0.4])) == []


def test_the_probe_is_held_against_the_baseline_of_as_many_examples() -> None:
    assert probe_gain(
        {"probe_10": 0.7, "resnet18_10": 0.5, "resnet18_all": 0.9}, "10"
    ) == pytest.approx(0.2)
