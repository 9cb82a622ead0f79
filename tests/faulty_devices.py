"""Virtual devices with the faults that real ones have; an MMConfig names them in place of the good ones, with the call at which they fail."""

import time

from simulation.devices import VirtualCamera, VirtualStage


class _Faulty:
    """Counts the calls that may fail."""

    calls = 0

    def _register_fault(self) -> None:
        self.register_property(name="FailsAt", default_value=7)  # type: ignore[attr-defined]  # the device's own, which this is mixed into

    def _fails(self) -> bool:
        self.calls += 1
        return self.calls == int(self.get_property_value("FailsAt"))  # type: ignore[attr-defined]  # as above


class RaisingStage(_Faulty, VirtualStage):
    """Refuses one move."""

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()

    def set_position_um(self, x: float, y: float) -> None:
        if self._fails():
            raise RuntimeError("serial port: no answer from the stage controller")
        super().set_position_um(x, y)


class DeadStage(RaisingStage):
    """Refuses every move from one on."""

    def _fails(self) -> bool:
        self.calls += 1
        return self.calls >= int(self.get_property_value("FailsAt"))


class HangingStage(_Faulty, VirtualStage):
    """Never comes back from one move."""

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()

    def set_position_um(self, x: float, y: float) -> None:
        if self._fails():
            time.sleep(3600)
        super().set_position_um(x, y)


class NeverThereStage(_Faulty, VirtualStage):
    """Moves for ever, once."""

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
    """Stands in the next well, once, and says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()

    def set_position_um(self, x: float, y: float) -> None:
        super().set_position_um(x + (9000.0 if self._fails() else 0.0), y)


class HangingCamera(_Faulty, VirtualCamera):
    """Never comes back from one frame, with the lamp on."""

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()

    def snap(self, buffer):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - pymmcore-plus's
        if self._fails():
            time.sleep(3600)
        return super().snap(buffer)


class RaisingCamera(_Faulty, VirtualCamera):
    """Loses one frame, with the lamp on."""

    def __init__(self) -> None:
        super().__init__()
        self._register_fault()

    def snap(self, buffer):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - pymmcore-plus's
        if self._fails():
            raise RuntimeError("frame lost: USB bandwidth exceeded")
        return super().snap(buffer)
