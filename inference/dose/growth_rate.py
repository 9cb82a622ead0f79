"""Growth-rate (GR) values: growth since dosing relative to the growth of untreated wells."""

import numpy as np

from schemas.arrays import Float64Array
from schemas.errors import ProfileError


def untreated_growth(size_at_dosing: Float64Array, size_at_readout: Float64Array) -> float:
    """Return the geometric mean of growth factors, from sizes (N,) at dosing and at the readout.

    Parameters
    ----------
    size_at_dosing, size_at_readout
        (N,) sizes of the untreated wells.

    Raises
    ------
    ProfileError
        If the growth does not exceed the standard deviation between wells; GR values would then
        be mostly noise.
    """
    log_growth = np.log(size_at_readout / size_at_dosing)
    spread = float(log_growth.std(ddof=1)) if len(log_growth) > 1 else np.inf
    if not log_growth.size or log_growth.mean() <= spread:
        found = (
            "no untreated well has a size on both days"
            if not log_growth.size
            else f"untreated wells grew by a factor of {np.exp(log_growth.mean()):.3g}"
        )
        raise ProfileError(
            "growth rate",
            f"{found}; expected growth that exceeds the spread between wells "
            "(without it a GR value is not defined)",
        )
    return float(np.exp(log_growth.mean()))


def gr_value(
    size_at_dosing: Float64Array, size_at_readout: Float64Array, growth: float
) -> Float64Array:
    """Return (N,) GR = 2^(log2(x / x0) / log2(growth)) − 1 for sizes x0 at dosing and x at readout.

    1 = growth like untreated wells, 0 = no growth, −1 = no tissue. Hafner et al., Nat. Methods 13
    (2016) 521, with the size of each well at dosing as x0. Any power of a length can be the size,
    because the exponent cancels.

    Parameters
    ----------
    size_at_dosing, size_at_readout
        (N,) sizes in one unit, above 0; at the readout, 0 means that the tissue is gone.
    growth
        Growth factor of untreated wells in the same time.

    Raises
    ------
    ProfileError
        If untreated wells did not grow; the value is then not defined.
    """
    if not growth > 1:
        raise ProfileError(
            "growth rate",
            f"untreated wells grew by a factor of {growth:.3g}; expected more than 1 "
            "(without growth a GR value is not defined)",
        )
    ratio = size_at_readout / size_at_dosing
    log_ratio = np.log2(ratio, out=np.full(np.shape(ratio), -np.inf), where=ratio > 0)
    return np.asarray(2 ** (log_ratio / np.log2(growth)) - 1)
