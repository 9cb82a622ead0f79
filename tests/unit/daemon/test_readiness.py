"""The service is ready if it can ingest an image now; otherwise each reason is named."""

from dataclasses import dataclass, field

from daemon.health import STORE_CHECK_S, Readiness
from schemas.errors import StoreError
from schemas.messages import AlertKind, StandingAlert
from tests.samples import NOW, status_data


@dataclass
class Observed:
    """The state that a readiness is made from, under the control of a test."""

    alerts: tuple[StandingAlert, ...] = ()
    gone: str | None = None
    is_listed: bool = True
    store_error: str = ""
    tick_age_s: float = 0.0
    now_s: float = 0.0
    checks: list[float] = field(default_factory=list)

    def check_writable(self) -> None:
        self.checks.append(self.now_s)
        if self.store_error:
            raise StoreError("spherorank.sqlite", self.store_error)

    def readiness(self) -> Readiness:
        return Readiness(
            lambda: status_data(alerts=self.alerts, source_gone=self.gone),
            lambda: self.is_listed,
            self.check_writable,
            lambda: self.tick_age_s,
            60.0,
            lambda: self.now_s,
        )


def test_every_reason_is_named() -> None:
    alert = StandingAlert(kind=AlertKind.DISK, plate=None, message="full", since=NOW, blocks=True)
    observed = Observed(
        alerts=(alert, alert.model_copy(update={"blocks": False, "message": "low"})),
        gone="/srv/drop is no folder",
        is_listed=False,
        store_error="disk I/O error",
        tick_age_s=61.0,
    )
    assert observed.readiness().problems() == [
        "full",
        "the main loop has made no progress for 61 s",
        "the drop folder has not been listed since the start",
        "/srv/drop is no folder",
        "the store cannot be written: spherorank.sqlite: disk I/O error",
    ]


def test_the_store_is_written_at_most_every_few_seconds() -> None:
    observed = Observed()
    readiness = observed.readiness()
    assert [readiness.problems() for _ in range(5)] == [[]] * 5
    observed.store_error, observed.now_s = "locked", STORE_CHECK_S
    assert readiness.problems() == readiness.problems() != []
    assert observed.checks == [0.0, STORE_CHECK_S]
