"""The demonstration with a virtual robot, run as a real process."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.service_process import SPHERORANK


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demo_ends_with_a_final_ranking_in_the_order_of_the_true_kill(tmp_path: Path) -> None:
    done = subprocess.run(
        [SPHERORANK, "demo", "--out", tmp_path / "demo", "--seed", "4", "--wells", "24"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "day 8: provisional ranking" in done.stdout
    assert "day 10: final ranking" in done.stdout
    (agreement,) = re.findall(r"Spearman correlation .*: ([\d.]+)", done.stdout)
    assert float(agreement) >= 0.9
    (page,) = (tmp_path / "demo" / "rankings").glob("*/day10-r1.html")
    assert "For research use only" in page.read_text()
    again = subprocess.run(
        [SPHERORANK, "demo", "--out", tmp_path / "demo"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 78
    assert "is not empty" in again.stderr
