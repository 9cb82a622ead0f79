"""Exceptions of SpheroRank pass from worker processes to the process that started them."""

import pickle

import pytest

from schemas.errors import ConfigError, ImageError, MachineError, SpheroRankError


@pytest.mark.parametrize(
    "error",
    [
        MachineError("P/day07/B02_z1.tif", "Input/output error"),
        ImageError("P/day07/B02_z1.tif", "is missing"),
        ConfigError("store.url", "is empty", (("encoder.bundle", "is missing"),)),
    ],
)
def test_an_exception_of_a_worker_process_keeps_its_place_and_problem(
    error: SpheroRankError,
) -> None:
    received = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own exception
    assert type(received) is type(error)
    assert (received.where, received.problem, str(received)) == (
        error.where,
        error.problem,
        str(error),
    )
