from daemon.messaging.rate_limit import MAX_CLIENTS, RateLimit


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_client_may_send_a_burst_and_then_a_number_per_second() -> None:
    clock = Clock()
    limit = RateLimit(per_second=2, burst=3, clock=clock)
    assert [limit.allows(b"a") for _ in range(5)] == [True, True, True, False, False]
    clock.now_s += 1
    assert [limit.allows(b"a") for _ in range(3)] == [True, True, False]
    clock.now_s += 1000
    assert [limit.allows(b"a") for _ in range(4)] == [True, True, True, False]


def test_each_client_has_its_own_limit() -> None:
    limit = RateLimit(per_second=1, burst=1, clock=Clock())
    assert [limit.allows(client) for client in (b"a", b"b", b"a", b"b")] == [
        True,
        True,
        False,
        False,
    ]


def test_many_clients_take_no_more_memory() -> None:
    limit = RateLimit(per_second=1, burst=1, clock=Clock())
    for number in range(3 * MAX_CLIENTS):
        assert limit.allows(str(number).encode())
    assert len(limit._allowances) == MAX_CLIENTS
