"""Permutation p-values of a treatment's wells against the untreated wells of the same plate, and their adjustment for many treatments."""

from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PERMUTATIONS = 9999
"""More assignments than these are sampled, fewer are all counted."""


def permutation_p(treated: Array, untreated: Array, rng: np.random.Generator) -> float:
    """Return the chance that wells drawn from both at random have a mean at least as large as the treated ones.

    Exact where all assignments can be counted, else (1 + b) / (1 + B): Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010) 39.
    """
    pooled = np.concatenate([treated, untreated])
    n = len(treated)
    if comb(len(pooled), n) <= PERMUTATIONS:
        sums = pooled[np.array(list(combinations(range(len(pooled)), n)))].sum(axis=1)
        return float(_at_least(sums, treated.sum()).mean())
    sums = rng.permuted(np.broadcast_to(pooled, (PERMUTATIONS, len(pooled))), axis=1)[:, :n].sum(axis=1)
    return float((1 + _at_least(sums, treated.sum()).sum()) / (1 + PERMUTATIONS))


def smallest_permutation_p(treated: int, untreated: int) -> float:
    """Return the p-value of so many wells if every treated one lay beyond every untreated one."""
    return max(1 / comb(treated + untreated, treated), 1 / (1 + PERMUTATIONS))


def adjust_false_discovery(p_values: Array) -> Array:
    """Return q-values: Benjamini and Hochberg, J. R. Stat. Soc. B 57 (1995) 289."""
    order = np.argsort(p_values)[::-1]
    scaled = p_values[order] * len(p_values) / np.arange(len(p_values), 0, -1)
    q_values = np.empty_like(p_values)
    q_values[order] = np.minimum.accumulate(np.minimum(scaled, 1.0))
    return q_values


def _at_least(sums: Array, observed: float) -> npt.NDArray[np.bool_]:
    return np.asarray(sums >= observed - 1e-9 * max(1.0, abs(observed)))  # the same wells added in another order are a tie
