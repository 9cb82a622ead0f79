from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Limit BLAS to one thread, as the service does; small matrices are slower in several."""
    with threadpool_limits(1, user_api="blas"):
        yield
