"""The real process that notifies people, with servers on this machine that receive its texts."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from daemon.notifications import read_state
from schemas.messages import AlertData, AlertKind
from schemas.notification import NotificationState
from tests import samples
from tests.notification_sinks import HttpSink, MailSink, serving
from tests.running_messages import RunningMessages
from tests.service_process import SPHERORANK, ServiceProcess

HIDDEN = "s3cr3t-W0rd"
FREE_TEXT = "/srv/robot/PAT-07/B02.tif: gemcitabine"
LIMIT_S = 60.0


def wait_for(condition: Callable[[], object], timeout_s: float = LIMIT_S) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


class Laboratory:
    """The process of the sockets, and a configuration with two channels to people."""

    def __init__(self, folder: Path, web: HttpSink, mail: MailSink) -> None:
        self.folder = folder
        self.web, self.mail = web, mail
        self.messages = RunningMessages(folder)
        urls = folder / "notify.urls"
        urls.write_text(
            f"json://robot:{HIDDEN}@127.0.0.1:{web.port}\n"
            f"mailto://127.0.0.1:{mail.port}?from=r@lab.example&to=a@lab.example&mode=insecure\n"
        )
        urls.chmod(0o600)
        self.config = folder / "spherorank.toml"
        self.config.write_text(
            f'[publisher]\nevents = "{self.messages.events}"\n'
            f'requests = "{self.messages.requests}"\n'
            '[notify]\nurls_file = "notify.urls"\ninterval_s = 1.0\n'
        )

    def add(self, kind: AlertKind, plate: str | None = None) -> int:
        """Publish an alert, and return its sequence number."""
        data = AlertData(kind=kind, plate=plate, message=FREE_TEXT)
        return self.messages.store.add_message(data, samples.NOW)

    def restart_service(self) -> None:
        settings = self.messages.settings
        self.messages.close()
        self.messages = RunningMessages(
            self.folder, events=settings.events, requests=settings.requests
        )

    def sent_through(self) -> int:
        """Return the sequence number up to which every channel has sent everything."""
        path = self.folder / "notify" / "state.json"
        state = NotificationState.model_validate_json(path.read_bytes())
        return min((each.sequence for each in state.channels.values()), default=-1)

    @contextmanager
    def notifying(self) -> Iterator["subprocess.Popen[str]"]:
        """Run ``spherorank notify`` from the time at which it is ready; kill it at the end."""
        log = self.folder / "notify.log"
        log.write_text("")
        with (
            log.open("a") as stderr,
            subprocess.Popen(
                [SPHERORANK, "notify", "--config", str(self.config)], stderr=stderr, text=True
            ) as process,
        ):
            try:
                wait_for(lambda: "notify.started" in log.read_text())
                yield process
            finally:
                process.kill()


@pytest.fixture
def laboratory(tmp_path: Path) -> Iterator[Laboratory]:
    with serving(HttpSink()) as web, serving(MailSink()) as mail:
        made = Laboratory(tmp_path, web, mail)
        yield made
        made.messages.close()


def test_people_are_notified_of_every_event_after_a_kill_and_a_restart_of_the_service(
    laboratory: Laboratory,
) -> None:
    laboratory.add(AlertKind.CLOCK)  # before the first start of the process
    with laboratory.notifying():
        wait_for(lambda: laboratory.sent_through() >= 0)
        laboratory.add(AlertKind.QUALITY_GATE, "PDAC-0042")
        ranked = samples.ranking()
        laboratory.messages.store.add_ranking(ranked, samples.ranking_data(ranked))
        laboratory.restart_service()
        last = laboratory.add(AlertKind.LAYOUT, "PDAC-0043")
        wait_for(lambda: laboratory.sent_through() >= last)
    for number in range(1000):  # while the process does not run
        last = laboratory.add(AlertKind.IMAGES_MISSING, f"P{number % 3}")
    before = len(laboratory.web.posts)
    with laboratory.notifying():
        wait_for(lambda: laboratory.sent_through() >= last)
    texts = [each["message"] for each in laboratory.web.bodies]
    events = [line for text in texts for line in text.splitlines() if ": " in line]
    assert len(events) == len(set(events))
    assert {each for each in events if "images_missing" not in each} == {
        "plate PDAC-0042: alert quality_gate",
        f"plate {samples.PLATE}: final ranking",
        "plate PDAC-0043: alert layout",
    }
    assert len(texts) - before <= 2  # a summary of 1000 alerts
    mailed = "\n".join(str(each) for each in laboratory.mail.mails)
    assert "plate PDAC-0043: alert layout" in mailed
    written = laboratory.web.text + mailed + (laboratory.folder / "notify.log").read_text()
    secrets = [HIDDEN, "gemcitabine", "PAT-07", "/srv", *_treatments()]
    assert [each for each in secrets if each in written] == []


def _treatments() -> list[str]:
    return [each.treatment for each in samples.ranking().treatments if each.treatment]


def test_a_failing_channel_is_an_alert_of_the_service_until_the_channel_works(
    empty_service: ServiceProcess, tmp_path: Path
) -> None:
    def alerts() -> list[dict[str, Any]]:
        return [each for each in empty_service.events("alert.raised") if each["kind"] == "notify"]

    def follows() -> bool:
        states = [read_state(path) for path in tmp_path.rglob("state.json")]
        return any(each.sequence for state in states if state for each in state.channels.values())

    with serving(HttpSink(code=500)) as web:
        urls = tmp_path / "notify.urls"
        urls.write_text(f"json://robot:{HIDDEN}@127.0.0.1:{web.port}/{HIDDEN}\n")
        urls.chmod(0o600)
        with empty_service.config.open("a") as config:
            config.write('[notify]\nurls_file = "notify.urls"\n')
        command = empty_service.command("notify")
        with (
            subprocess.Popen(command, stderr=subprocess.DEVNULL) as notify,
            empty_service.running() as service,
        ):
            try:
                empty_service.wait_for(follows)
                empty_service.drop.rename(tmp_path / "away")
                empty_service.wait_for(alerts)
                web.code = 200
                empty_service.wait_for(lambda: empty_service.events("alert.cleared"))
            finally:
                notify.terminate()
                service.terminate()
            for process in (notify, service):
                assert process.wait(timeout=LIMIT_S) == 0
    (alert,) = alerts()
    assert "notify.urls, line 1 (json) since" in alert["message"]
    assert "error=500" in alert["message"]
    assert HIDDEN not in str(alert)
    assert "service: alert source_gone" in web.text


def test_a_wrong_configuration_ends_the_process_with_exit_code_78(tmp_path: Path) -> None:
    config = tmp_path / "spherorank.toml"
    config.write_text('[notify]\nurls = ["pigeon://a"]')
    done = subprocess.run(
        [SPHERORANK, "notify", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 78
    assert done.stderr.startswith("notify.urls, position 1: has the scheme pigeon, and apprise")


def test_the_option_test_sends_a_text_on_each_channel_and_fails_if_one_fails(
    laboratory: Laboratory,
) -> None:
    command = [SPHERORANK, "notify", "--test", "--config", str(laboratory.config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.count(": sent\n")) == (0, 2)
    assert [each["title"] for each in laboratory.web.bodies] == ["SpheroRank: test"]
    laboratory.web.code = 500
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.count(": sent\n")) == (1, 1)
    assert "line 1 (json): Failed to send" in done.stderr
