"""Correlation of proxy metrics, which need no true kill, with the ranking quality of encoders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

TARGETS = ("uncalibrated_mixed", "calibrated_mixed")
PROXIES = (
    "probe_10",
    "probe_20",
    "probe_30",
    "probe_all",
    "knn",
    "replicate_map",
    "same_well",
    "plate_leakage",
    "real",
)
FEWEST_ENCODERS = 4


@dataclass(frozen=True)
class ProxyCorrelation:
    """Spearman's correlation of a proxy metric with a ranking metric over encoders."""

    proxy: str
    target: str
    spearman: float
    encoders: int


def probe_gain(row: Mapping[str, float], examples: str) -> float:
    """Return a row's probe accuracy minus that of the ResNet-18 with as many examples."""
    return row.get(f"probe_{examples}", np.nan) - row.get(f"resnet18_{examples}", np.nan)


def correlate_proxies(rows: Sequence[Mapping[str, float]]) -> list[ProxyCorrelation]:
    """Return the ProxyCorrelation of each proxy with each ranking metric over the encoders' rows.

    A pair is left out if fewer than four encoders have both, or one of them does not vary.
    """
    proxies = {name: [row.get(name, np.nan) for row in rows] for name in PROXIES}
    for examples in ("10", "20", "30", "all"):
        proxies[f"probe_{examples} − resnet18_{examples}"] = [
            probe_gain(row, examples) for row in rows
        ]
    found = []
    for proxy, values in proxies.items():
        for target in TARGETS:
            pairs = np.array([values, [row.get(target, np.nan) for row in rows]], dtype=float)
            pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
            if pairs.shape[1] >= FEWEST_ENCODERS and np.ptp(pairs, axis=1).all():
                found.append(
                    ProxyCorrelation(
                        proxy, target, float(spearmanr(*pairs).statistic), pairs.shape[1]
                    )
                )
    return found
