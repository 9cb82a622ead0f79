"""Virtual devices with the faults of real ones; an MMConfig file names them in place of good ones.

The property ``FailsAt`` is the number of the call that fails.
"""

import math
import time

from simulation.devices import VirtualCamera, VirtualFocus, VirtualLamp, VirtualStage
from simulation.world import FULL_EXPOSURE_MS, SPACING_UM

SLOW_MM_S, SLOW_FOCUS_MM_S = 100.0, 1.0  # of real devices


class _FaultyDevice:
    """A mixin with a counter of calls, which selects the call to fail."""

    calls = 0

    def _register_fault(self) -> None:
        self.register_property(name="FailsAt", default_value=7)  # type: ignore[attr-defined]  # of the device class

    def _fails(self) -> bool:
        """Count a call and return whether it is to fail."""
        self.calls += 1
        return self.calls == int(self.get_property_value("FailsAt"))  # type: ignore[attr-defined]  # as above


class RaisingStage(_FaultyDevice, VirtualStage):
    """A stage that raises an error at one move."""

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()

    def set_position_um(self, x: float, y: float) -> None:
        if self._fails():
            raise RuntimeError("serial port: no answer from the stage controller")
        super().set_position_um(x, y)


class DeadStage(RaisingStage):
    """A stage that raises an error at every move from one on."""

    def _fails(self) -> bool:
        self.calls += 1
        return self.calls >= int(self.get_property_value("FailsAt"))


class HangingStage(_FaultyDevice, VirtualStage):
    """A stage that hangs during one move."""

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()

    def set_position_um(self, x: float, y: float) -> None:
        if self._fails():
            time.sleep(3600)
        super().set_position_um(x, y)


class NeverThereStage(_FaultyDevice, VirtualStage):
    """A stage that reports itself as busy for ever after one move."""

    stuck = False

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()

    def set_position_um(self, x: float, y: float) -> None:
        self.stuck = self._fails()
        super().set_position_um(x, y)

    def busy(self) -> bool:
        return self.stuck or super().busy()


class StrayingStage(_FaultyDevice, VirtualStage):
    """A stage that goes to the neighbouring well at one move, without an error."""

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()

    def set_position_um(self, x: float, y: float) -> None:
        super().set_position_um(x + (9000.0 if self._fails() else 0.0), y)


class WaitingStage(_FaultyDevice, VirtualStage):
    """A stage that waits at one move until the file ``go`` exists in the folder of the world."""

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()

    def set_position_um(self, x: float, y: float) -> None:
        if self._fails():
            while not (self.bench.world.folder / "go").exists():
                time.sleep(0.02)
        super().set_position_um(x, y)


class HangingCamera(_FaultyDevice, VirtualCamera):
    """A camera that hangs during one frame, with the lamp on."""

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()

    def snap(self, buffer):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - pymmcore-plus's
        if self._fails():
            time.sleep(3600)
        return super().snap(buffer)


class RaisingCamera(_FaultyDevice, VirtualCamera):
    """A camera that loses one frame, with the lamp on."""

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()

    def snap(self, buffer):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - pymmcore-plus's
        if self._fails():
            raise RuntimeError("frame lost: USB bandwidth exceeded")
        return super().snap(buffer)


class StuckFocus(VirtualFocus):
    """A focus drive that reports its target and does not move."""

    reported_um: float | None = None

    def set_position_um(self, val: float) -> None:
        self.reported_um = val

    def get_position_um(self) -> float:
        return super().get_position_um() if self.reported_um is None else self.reported_um


class LateStage(VirtualStage):
    """A stage that begins to move a moment after a command and is not busy until then."""

    observations = 0

    def __init__(self) -> None:
        super().__init__()
        self.set_property_value("Speed_mm_s", SLOW_MM_S)

    def set_position_um(self, x: float, y: float) -> None:
        self.observations = 0
        super().set_position_um(x, y)

    def busy(self) -> bool:
        self.observations += 1
        return self.observations > 1 and super().busy()


class LateFocus(VirtualFocus):
    """A focus drive that begins to move a moment after a command and is not busy until then."""

    observations = 0

    def __init__(self) -> None:
        super().__init__()
        self.set_property_value("Speed_mm_s", SLOW_FOCUS_MM_S)

    def set_position_um(self, val: float) -> None:
        self.observations = 0
        super().set_position_um(val)

    def busy(self) -> bool:
        self.observations += 1
        return self.observations > 1 and super().busy()


class OscillatingFocus(VirtualFocus):
    """A focus drive that reports its arrival while the objective still moves."""

    reported_um: float | None = None

    def __init__(self) -> None:
        super().__init__()
        self.set_property_value("Speed_mm_s", SLOW_FOCUS_MM_S)

    def set_position_um(self, val: float) -> None:
        self.reported_um = val
        super().set_position_um(val)

    def get_position_um(self) -> float:
        return super().get_position_um() if self.reported_um is None else self.reported_um

    def busy(self) -> bool:
        return False


class SlowCamera(_FaultyDevice, VirtualCamera):
    """A camera that takes as long as its exposure, at a dim lamp; it hangs during one frame."""

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()

    def snap(self, buffer):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - pymmcore-plus's
        time.sleep(3600 if self._fails() else self._exposure_ms / 1000)
        exposure_ms, self._exposure_ms = self._exposure_ms, FULL_EXPOSURE_MS
        try:
            return super().snap(buffer)
        finally:
            self._exposure_ms = exposure_ms


class FrozenCamera(_FaultyDevice, VirtualCamera):
    """A camera that returns the frame before once more."""

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()
        self._before: object = None

    def snap(self, buffer):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - pymmcore-plus's
        metadata = super().snap(buffer)
        if self._fails() and self._before is not None:
            buffer[:] = self._before
        self._before = buffer.copy()
        return metadata


class SlippingStage(_FaultyDevice, VirtualStage):
    """A stage that does not move at one move and reports its target."""

    reported_um: tuple[float, float] | None = None

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()

    def set_position_um(self, x: float, y: float) -> None:
        self.reported_um = (x, y)
        if not self._fails():
            super().set_position_um(x, y)

    def get_position_um(self) -> tuple[float, float]:
        return self.reported_um or super().get_position_um()


class DriftingStage(SlippingStage):
    """A stage that loses a step at one move: from then on it is displaced, until it is homed."""

    lost_um = (0.0, 0.0)

    def set_position_um(self, x: float, y: float) -> None:
        before = self.get_position_um()
        self.reported_um = (x, y)
        if self._fails():
            self.lost_um = (before[0] - x, before[1] - y)
        else:
            VirtualStage.set_position_um(self, x + self.lost_um[0], y + self.lost_um[1])

    def home(self) -> None:
        self.lost_um, self.reported_um = (0.0, 0.0), None
        super().home()


class DyingLamp(_FaultyDevice, VirtualLamp):
    """A lamp that gives no light from one switching on."""

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()

    def set_open(self, open: bool) -> None:  # noqa: A002, FBT001 - pymmcore-plus's signature
        if open:
            self.calls += 1
        if self.calls >= int(self.get_property_value("FailsAt")):
            self.bench.intensity = 0.0
        super().set_open(open)


class MirroredCamera(VirtualCamera):
    """A camera whose image is mirrored left to right, as by a mirror in the light path."""

    def snap(self, buffer):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - pymmcore-plus's
        metadata = super().snap(buffer)
        buffer[:] = buffer[:, ::-1].copy()
        return metadata


class StallingStage(_FaultyDevice, VirtualStage):
    """A stage that does not move during the visit of one well and reports its targets."""

    reported_um: tuple[float, float] | None = None
    stalled_at_um: tuple[float, float] | None = None

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()

    def set_position_um(self, x: float, y: float) -> None:
        self.reported_um = (x, y)
        if self._fails():
            self.stalled_at_um = (x, y)
        if self.stalled_at_um is not None:
            if math.dist(self.stalled_at_um, (x, y)) < SPACING_UM / 2:
                return
            self.stalled_at_um = None
        super().set_position_um(x, y)

    def get_position_um(self) -> tuple[float, float]:
        return self.reported_um or super().get_position_um()


class ColumnLosingStage(DriftingStage):
    """A stage that is displaced by one column from one move on, until it is homed."""

    def set_position_um(self, x: float, y: float) -> None:
        self.reported_um = (x, y)
        if self._fails():
            self.lost_um = (-SPACING_UM, 0.0)
        VirtualStage.set_position_um(self, x + self.lost_um[0], y + self.lost_um[1])


class OvershootingStage(SlippingStage):
    """A stage that goes one column too far at one move and reports its target."""

    def set_position_um(self, x: float, y: float) -> None:
        self.reported_um = (x, y)
        VirtualStage.set_position_um(self, x + (SPACING_UM if self._fails() else 0.0), y)


class ShortStage(DriftingStage):
    """A stage that stops after a share of the way to a well and reports its target.

    The property ``Stays`` decides whether the stage stays displaced by the rest of the way, until
    it is homed; otherwise the next move goes to its target.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_property(name="Share", default_value=0.5)
        self.register_property(name="Stays", default_value=1)

    def set_position_um(self, x: float, y: float) -> None:
        before = self.get_position_um()
        missing = 1 - float(self.get_property_value("Share"))
        self.reported_um = (x, y)
        rest_um = missing * (before[0] - x), missing * (before[1] - y)
        is_short = self._fails()
        if is_short and int(self.get_property_value("Stays")):
            self.lost_um = rest_um
        lost_um = rest_um if is_short else self.lost_um
        VirtualStage.set_position_um(self, x + lost_um[0], y + lost_um[1])
