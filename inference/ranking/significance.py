"""Permutation p-values of a treatment's wells against the untreated wells of the same plate, and their adjustment for many treatments."""

from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PERMUTATIONS = 9999
"""More assignments than these are sampled, fewer are all counted."""


def permute(
    treated: Array, untreated: Array, along: Array, rng: np.random.Generator
) -> tuple[float, float]:
    """Return how often wells drawn at random have a mean residual at least as far from the others' as the treated ones; and at least as far forward.

    Residuals of treated wells (n, K) and untreated ones (m, K) are whitened by a noise that knows no labels; forward is along a vector (K,) of length 1 or
    0. The distance of two mean vectors sees a small shift that all replicates share, which the lengths of single wells drown in noise. All assignments
    are counted where they are few, which is exact, else (1 + b) / (1 + B) of sampled ones: Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010) 39.
    """
    pooled = np.concatenate([treated, untreated])
    pooled = pooled - pooled.mean(axis=0)
    drawn, is_all = (
        _assignments(len(pooled), len(treated)),
        comb(len(pooled), len(treated)) <= PERMUTATIONS,
    )
    if not is_all:
        drawn = rng.permuted(drawn, axis=1)
    sums = (
        drawn @ pooled
    )  # about the common mean, the difference of the two means is in proportion to them
    own = pooled[: len(treated)].sum(axis=0)

    def share(of_drawn: Array, of_own: float) -> float:
        at_least = of_drawn >= of_own - 1e-9 * max(
            1.0, abs(of_own)
        )  # the same wells added in another order are a tie
        return (
            float(at_least.mean()) if is_all else float((1 + at_least.sum()) / (1 + PERMUTATIONS))
        )

    return share((sums**2).sum(axis=1), float(own @ own)), share(sums @ along, float(own @ along))


@lru_cache(maxsize=32)
def _assignments(wells: int, treated: int) -> Array:
    """Return (assignments, wells) of 0 and 1: every way to choose the treated ones, or as many rows of one way as are to be shuffled."""
    if comb(wells, treated) > PERMUTATIONS:
        rows = np.zeros((PERMUTATIONS, wells))
        rows[:, :treated] = 1.0
        return rows
    chosen = np.array(list(combinations(range(wells), treated)))
    rows = np.zeros((len(chosen), wells))
    np.put_along_axis(rows, chosen, 1.0, axis=1)
    return rows


def smallest_permutation_p(treated: int, untreated: int) -> float:
    """Return the p-value of so many wells if every treated one lay beyond every untreated one: 1 / C(n + m, n)."""
    return max(1 / comb(treated + untreated, treated), 1 / (1 + PERMUTATIONS))


def conformal_p(scores: Array, controls: Array) -> Array:
    """Return for each score the chance (1 + b) / (1 + m) that one more untreated well lies at least as far out as it; NaN for NaN.

    Of b controls, left out of their own score, as far out: Vovk, Gammerman and Shafer, *Algorithmic Learning in a Random World*, 2005.
    """
    beyond = (controls[None] >= scores[:, None]).sum(axis=1)
    return np.where(np.isfinite(scores), (1 + beyond) / (1 + len(controls)), np.nan)


def adjust_false_discovery(p_values: Array) -> Array:
    """Return q-values: Benjamini and Hochberg, J. R. Stat. Soc. B 57 (1995) 289."""
    order = np.argsort(p_values)[::-1]
    scaled = p_values[order] * (
        len(p_values) / np.arange(len(p_values), 0, -1)
    )  # a factor of at least 1: never below p, not even by rounding
    q_values = np.empty_like(p_values)
    q_values[order] = np.minimum.accumulate(np.minimum(scaled, 1.0))
    return q_values
