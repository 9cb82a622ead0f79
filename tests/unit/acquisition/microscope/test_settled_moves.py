"""Moves of a real MMCore with devices that report their arrival too early."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from acquisition.microscope.micromanager import MicroManager
from acquisition.microscope.settings import MicroscopeSettings
from schemas.errors import MicroscopeError
from simulation.world import A1_UM, FOCUS_Z_UM, World
from tests.laboratory import Laboratory

pytestmark = pytest.mark.micromanager

FAR_UM = 100.0  # the drive needs 0.1 s


def open_scope(folder: Path, settle_ms: float = 0.0, timeout_s: float = 10.0) -> MicroManager:
    """Return the microscope of a folder."""
    settings = MicroscopeSettings(
        config=folder / "MMConfig.cfg", a1_um=A1_UM, settle_ms=settle_ms, timeout_s=timeout_s
    )
    return MicroManager(settings, lambda: datetime.now(UTC))


def test_a_stage_that_begins_to_move_late_is_waited_for(tmp_path: Path) -> None:
    Laboratory.make(tmp_path).break_device("Stage", "LateStage", fails_at=None)
    scope = open_scope(tmp_path)
    try:
        scope.move_to(A1_UM[0] + 9000, A1_UM[1])
        assert scope.position()[:2] == (A1_UM[0] + 9000, A1_UM[1])
    finally:
        scope.close()


def test_a_focus_drive_that_begins_to_move_late_is_waited_for(tmp_path: Path) -> None:
    Laboratory.make(tmp_path).break_device("Focus", "LateFocus", fails_at=None)
    scope = open_scope(tmp_path)
    try:
        heights = [FOCUS_Z_UM + FAR_UM, FOCUS_Z_UM - FAR_UM]
        assert [frame.z_um for frame in scope.stack(heights)] == heights
    finally:
        scope.close()


@pytest.mark.parametrize(("settle_ms", "is_there"), [(0.0, False), (150.0, True)])
def test_a_frame_is_taken_after_the_settling_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settle_ms: float, *, is_there: bool
) -> None:
    exposed_um: list[float] = []

    def record(world: World, x_um: float, y_um: float, z_um: float, **how: float) -> object:
        exposed_um.append(z_um)
        return render(world, x_um, y_um, z_um, **how)

    render = World.render_frame
    monkeypatch.setattr(World, "render_frame", record)
    Laboratory.make(tmp_path).break_device("Focus", "OscillatingFocus", fails_at=None)
    scope = open_scope(tmp_path, settle_ms)
    try:
        scope.stack([FOCUS_Z_UM + FAR_UM])
    finally:
        scope.close()
    assert (abs(exposed_um[-1] - FOCUS_Z_UM - FAR_UM) < 1) is is_there


def test_a_stage_that_stays_busy_is_named(tmp_path: Path) -> None:
    Laboratory.make(tmp_path).break_device("Stage", "NeverThereStage", fails_at=1)
    scope = open_scope(tmp_path, timeout_s=0.2)
    try:
        with pytest.raises(MicroscopeError, match=r"stage Stage: .*timed out after 200"):
            scope.move_to(*A1_UM)
    finally:
        scope.close()
