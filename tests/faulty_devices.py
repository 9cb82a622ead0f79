"""Virtual stages and cameras with the faults of real ones.

A Micro-Manager configuration names one of them in place of the good device. Its property
``FailsAt`` is the number of the call that fails.
"""

import time

from simulation.devices import VirtualCamera, VirtualStage


class _Faulty:
    """Counts the calls of a device and tells which one fails."""

    calls = 0

    def _register_fault(self) -> None:
        self.register_property(name="FailsAt", default_value=7)  # type: ignore[attr-defined]  # the device's own, which this is mixed into

    def _fails(self) -> bool:
        self.calls += 1
        return self.calls == int(self.get_property_value("FailsAt"))  # type: ignore[attr-defined]  # as above


class RaisingStage(_Faulty, VirtualStage):
    """A stage that raises an error for one move."""

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()

    def set_position_um(self, x: float, y: float) -> None:
        if self._fails():
            raise RuntimeError("serial port: no answer from the stage controller")
        super().set_position_um(x, y)


class DeadStage(RaisingStage):
    """A stage that raises an error for one move and every later one."""

    def _fails(self) -> bool:
        self.calls += 1
        return self.calls >= int(self.get_property_value("FailsAt"))


class HangingStage(_Faulty, VirtualStage):
    """A stage whose driver does not return from one move."""

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()

    def set_position_um(self, x: float, y: float) -> None:
        if self._fails():
            time.sleep(3600)
        super().set_position_um(x, y)


class NeverThereStage(_Faulty, VirtualStage):
    """A stage that stays busy after one move, until the next one."""

    stuck = False

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()

    def set_position_um(self, x: float, y: float) -> None:
        self.stuck = self._fails()
        super().set_position_um(x, y)

    def busy(self) -> bool:
        return self.stuck or super().busy()


class StrayingStage(_Faulty, VirtualStage):
    """A stage that moves to the next well once, without an error."""

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()

    def set_position_um(self, x: float, y: float) -> None:
        super().set_position_um(x + (9000.0 if self._fails() else 0.0), y)


class HangingCamera(_Faulty, VirtualCamera):
    """A camera whose driver does not return from one frame, with the lamp on."""

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()

    def snap(self, buffer):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - pymmcore-plus's
        if self._fails():
            time.sleep(3600)
        return super().snap(buffer)


class RaisingCamera(_Faulty, VirtualCamera):
    """A camera that raises an error for one frame, with the lamp on."""

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()

    def snap(self, buffer):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - pymmcore-plus's
        if self._fails():
            raise RuntimeError("frame lost: USB bandwidth exceeded")
        return super().snap(buffer)
