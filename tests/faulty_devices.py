"""Virtual devices with the faults of real ones; an MMConfig file names them in place of good ones.

The property ``FailsAt`` is the number of the call that fails.
"""

import time

from simulation.devices import VirtualCamera, VirtualStage


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


class MirroredCamera(VirtualCamera):
    """A camera whose image is mirrored left to right, as by a mirror in the light path."""

    def snap(self, buffer):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - pymmcore-plus's
        metadata = super().snap(buffer)
        buffer[:] = buffer[:, ::-1].copy()
        return metadata
