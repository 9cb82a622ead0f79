"""``spherorank listen`` follows real processes of the sockets."""

import json
import subprocess
from pathlib import Path

from tests.running_messages import RunningMessages
from tests.service_process import SPHERORANK


def test_two_services_are_followed_by_one_command(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    services = [RunningMessages(tmp_path / name, service=name) for name in ("a", "b")]
    arguments = [str(SPHERORANK), "listen", "--after", "0", "--topic", "spherorank.v1.alert"]
    for service in services:
        service.add_alert(f"of {service.settings.service}")
        arguments += ["--connect", service.events, "--requests", service.requests]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        bodies = [json.loads(listener.stdout.readline())["body"] for _ in services]
        listener.terminate()
    texts = {(body["source"], body["data"]["message"]) for body in bodies}
    assert texts == {("spherorank/a", "of a"), ("spherorank/b", "of b")}
    assert listener.returncode == 0
    for service in services:
        service.close()


def test_a_command_that_fails_is_run_again_and_only_then_acknowledged(tmp_path: Path) -> None:
    running = RunningMessages(tmp_path, must_ack=("lims",))
    number = running.add_alert("first")
    seen, script = tmp_path / "seen", tmp_path / "fails_once.sh"
    script.write_text(f"cat >> {seen}\ntest -e {seen}.again || {{ touch {seen}.again; exit 3; }}\n")
    arguments = ["--requests", running.requests, "--ack-as", "lims", "--exec", f"sh {script}"]
    with subprocess.Popen(
        [str(SPHERORANK), "listen", "--connect", running.events, *arguments],
        stderr=subprocess.PIPE,
        text=True,
    ) as listener:
        running.wait_for(
            lambda: running.store.acknowledged().get("lims", 0) >= number, "the acknowledgement"
        )
        listener.terminate()
        _, errors = listener.communicate()
    numbers = [json.loads(line)["sequence"] for line in seen.read_text().splitlines()]
    assert numbers[:2] == [1, 1]
    assert numbers[1:] == list(range(1, len(numbers)))
    assert "ended with exit code 3" in errors
    running.close()
