"""One simulated day of a robot with faults of files, processes, disk, share, clock and clients."""

from pathlib import Path

import pytest

from benchmarks.soak import run_soak


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_day_of_faults_loses_and_doubles_no_image_ranking_or_message(tmp_path: Path) -> None:
    # `python -m benchmarks.soak` runs for three simulated days with eighty plates.
    result = run_soak(tmp_path, hours=24, plates_a_day=2, factor=1200, seed=3)
    assert result.is_clean, "\n".join(result.lines())
    assert result.stored.images == 72
    assert result.faults.keys() >= {
        "service killed",
        "sockets killed",
        "share gone",
        "subscriber left",
        "clock wrong",
        "late",
        "duplicate",
        "replaced",
        "damaged",
    }
    # The pool of the store keeps at most five connections, of up to three files each. A folder that
    # is being listed is open as well. A file left open by each of the 72 images would exceed this.
    assert result.descriptors.last <= result.descriptors.second + 16
