"""The alert rules and the configuration of Prometheus are valid, and the rules pass their tests."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="the program promtool is missing")
@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "config", "prometheus.example.yml"],
        ["check", "rules", "--lint-fatal", "spherorank.rules.yml"],
        ["test", "rules", "spherorank.rules.test.yml"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_promtool_accepts_the_files_of_prometheus(arguments: list[str]) -> None:
    done = subprocess.run(
        ["promtool", *arguments],
        cwd=MONITORING,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_each_rule_is_tested_and_described() -> None:
    rules = re.findall(r"- alert: (\w+)", (MONITORING / "spherorank.rules.yml").read_text())
    tests = (MONITORING / "spherorank.rules.test.yml").read_text()
    page = (MONITORING.parents[1] / "docs" / "how-to" / "monitor.md").read_text()
    assert len(rules) > 10
    assert [each for each in rules if each not in tests or f"| `{each}` |" not in page] == []
