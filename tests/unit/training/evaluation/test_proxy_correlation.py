import numpy as np
import pytest

from training.evaluation.proxy_correlation import correlate_proxies, probe_gain


def rows(probe: list[float], ranking: list[float]) -> list[dict[str, float]]:
    return [
        {"probe_10": one, "resnet18_10": 0.5, "uncalibrated_mixed": other}
        for one, other in zip(probe, ranking, strict=True)
    ]


def test_a_proxy_in_the_order_of_the_ranking_quality_correlates_fully() -> None:
    found = {
        (each.proxy, each.target): each.spearman
        for each in correlate_proxies(rows([0.4, 0.5, 0.6, 0.7], [0.1, 0.2, 0.3, 0.4]))
    }
    assert found["probe_10", "uncalibrated_mixed"] == pytest.approx(1.0)
    assert found["probe_10 − resnet18_10", "uncalibrated_mixed"] == pytest.approx(1.0)


def test_a_proxy_in_the_opposite_order_correlates_negatively() -> None:
    assert correlate_proxies(rows([0.7, 0.6, 0.5, 0.4], [0.1, 0.2, 0.3, 0.4]))[
        0
    ].spearman == pytest.approx(-1.0)


def test_three_encoders_give_no_correlation() -> None:
    assert correlate_proxies(rows([0.4, 0.5, 0.6], [0.1, 0.2, 0.3])) == []


def test_an_encoder_without_the_metric_is_left_out() -> None:
    assert (
        correlate_proxies(rows([0.4, 0.5, 0.6, np.nan, 0.7], [0.1, 0.2, 0.3, 0.9, 0.4]))[0].encoders
        == 4
    )


def test_a_constant_proxy_gives_no_correlation() -> None:
    assert correlate_proxies(rows([0.4, 0.4, 0.4, 0.4], [0.1, 0.2, 0.3, 0.4])) == []


def test_the_probe_gain_is_relative_to_the_baseline_with_as_many_examples() -> None:
    assert probe_gain(
        {"probe_10": 0.7, "resnet18_10": 0.5, "resnet18_all": 0.9}, "10"
    ) == pytest.approx(0.2)
