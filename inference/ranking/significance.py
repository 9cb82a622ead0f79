"""Permutation and conformal p-values of treatments and wells, and q-values for many treatments."""

from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np

from schemas.arrays import Float64Array

PERMUTATIONS = 9999
"""Number of random permutations; if fewer assignments exist, all of them are used."""


def permutation_p_values(
    treated: Float64Array, untreated: Float64Array, forward: Float64Array, rng: np.random.Generator
) -> tuple[float, float]:
    """Return (p of distance, p along ``forward``) of treated (n, K) and untreated (m, K) residuals.

    The first is the probability that the mean residual of randomly chosen wells has at least the
    same distance from that of the others. The second is the probability that it is at least as far
    in the direction ``forward``. The distance of two mean vectors detects a small shift that all
    replicates share, which is lost in the noise of single wells. All assignments are used if they
    are few, which is exact. Otherwise the p-value is (1 + b) / (1 + B) for B random assignments:
    Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010) 39.

    Parameters
    ----------
    treated, untreated
        (n, K) and (m, K) residuals, whitened by a noise that does not depend on the labels.
    forward
        (K,) unit vector of the development of untreated wells, or 0.
    rng
        Random generator of the permutations.
    """
    pooled = np.concatenate([treated, untreated])
    pooled = pooled - pooled.mean(axis=0)
    assignments = _assignments(len(pooled), len(treated))
    is_exact = comb(len(pooled), len(treated)) <= PERMUTATIONS
    if not is_exact:
        assignments = rng.permuted(assignments, axis=1)
    # Of centred residuals, these sums are proportional to the difference between the two means.
    sums = assignments @ pooled
    own = pooled[: len(treated)].sum(axis=0)

    def p_value(permuted: Float64Array, observed: float) -> float:
        # The tolerance counts the same wells, added in another order, as a tie.
        at_least = permuted >= observed - 1e-9 * max(1.0, abs(observed))
        if is_exact:
            return float(at_least.mean())
        return float((1 + at_least.sum()) / (1 + PERMUTATIONS))

    return (
        p_value((sums**2).sum(axis=1), float(own @ own)),
        p_value(sums @ forward, float(own @ forward)),
    )


@lru_cache(maxsize=32)
def _assignments(wells: int, treated: int) -> Float64Array:
    """Return (assignments, wells) of 0 and 1, with 1 for the wells chosen as treated.

    The rows are all assignments if they are few, else equal rows that the caller shuffles.
    """
    if comb(wells, treated) > PERMUTATIONS:
        rows = np.zeros((PERMUTATIONS, wells))
        rows[:, :treated] = 1.0
        return rows
    chosen = np.array(list(combinations(range(wells), treated)))
    rows = np.zeros((len(chosen), wells))
    np.put_along_axis(rows, chosen, 1.0, axis=1)
    return rows


def smallest_permutation_p(treated: int, untreated: int) -> float:
    """Return the smallest p-value that n treated and m untreated wells allow: 1 / C(n + m, n)."""
    return max(1 / comb(treated + untreated, treated), 1 / (1 + PERMUTATIONS))


def conformal_p_values(scores: Float64Array, controls: Float64Array) -> Float64Array:
    """Return conformal p-values (N,) of scores (N,) among control scores (m,); NaN for NaN.

    A p-value is (1 + b) / (1 + m), where b is the number of controls with at least this score, each
    left out of its own score: Vovk, Gammerman and Shafer, *Algorithmic Learning in a Random World*,
    2005.

    Parameters
    ----------
    scores
        (N,) scores.
    controls
        (m,) scores of untreated wells.
    """
    at_least = (controls[None] >= scores[:, None]).sum(axis=1)
    return np.where(np.isfinite(scores), (1 + at_least) / (1 + len(controls)), np.nan)


def false_discovery_q_values(p_values: Float64Array) -> Float64Array:
    """Return the q-values of p-values: Benjamini and Hochberg, J. R. Stat. Soc. B 57 (1995) 289."""
    order = np.argsort(p_values)[::-1]
    # The factor is at least 1, so that q is never below p, even after rounding.
    scaled = p_values[order] * (len(p_values) / np.arange(len(p_values), 0, -1))
    q_values = np.empty_like(p_values)
    q_values[order] = np.minimum.accumulate(np.minimum(scaled, 1.0))
    return q_values
