"""Final rankings that a subscriber has to acknowledge, with the real service."""

import signal

from tests.running_messages import ask
from tests.service_process import PLATE, ServiceProcess


def test_an_alert_reports_an_unacknowledged_final_ranking_also_after_a_restart(
    ranked_copy: ServiceProcess,
) -> None:
    ranked_copy.configure(publisher='must_ack = ["lims"]\nack_within_h = 0.0001')
    for starts in (1, 2):
        with ranked_copy.running() as process:
            ranked_copy.wait_for(lambda: len(delivery_alerts(ranked_copy)) == starts)  # noqa: B023
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
    assert (
        f"lims has not acknowledged the final ranking of plate {PLATE}"
        in delivery_alerts(ranked_copy)[0]
    )
    with ranked_copy.running() as process:
        ranked_copy.wait_for(lambda: len(delivery_alerts(ranked_copy)) == 3)
        (final,) = ask(ranked_copy.requests, kind="status")["unacknowledged"]
        assert "lims: plate VIRTUAL" in ranked_copy.ask("status").stdout
        ask(ranked_copy.requests, kind="ack", subscriber="lims", sequence=final["sequence"])
        ranked_copy.wait_for(lambda: ranked_copy.events("alert.cleared"))
        assert ask(ranked_copy.requests, kind="status")["unacknowledged"] == []


def delivery_alerts(service: ServiceProcess) -> list[str]:
    return [
        each["message"] for each in service.events("alert.raised") if each["kind"] == "delivery"
    ]
