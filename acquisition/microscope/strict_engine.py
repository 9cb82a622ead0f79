"""The acquisition engine that takes the frames of a stack one by one."""

from collections.abc import Callable, Iterator
from typing import Any

from pymmcore_plus import CMMCorePlus
from pymmcore_plus.mda import MDAEngine
from useq import MDAEvent

from acquisition.ports import BeginStep
from schemas.errors import MicroscopeError


class StrictEngine(MDAEngine):  # type: ignore[misc]  # pymmcore-plus is not typed here
    """An engine that takes frames one by one and raises every failure.

    A triggered sequence would tell neither where a frame was taken nor which device failed.

    Parameters
    ----------
    move_focus
        Moves the focus drive to a height in µm and returns when it has arrived.
    begin_step
        Is called before each exposure.
    """

    def __init__(
        self, core: CMMCorePlus, move_focus: Callable[[float], None], begin_step: BeginStep
    ) -> None:
        super().__init__(core, use_hardware_sequencing=False, restore_initial_state=False)
        self._move_focus = move_focus
        self._begin_step = begin_step

    def setup_single_event(self, event: MDAEvent) -> None:
        """Set the exposure and the height of the next frame."""
        self.mmcore.setExposure(event.exposure)
        if event.z_pos is None:
            raise MicroscopeError("focus drive", "has no target height; expected one per frame")
        self._move_focus(event.z_pos)

    def exec_single_event(self, event: MDAEvent) -> Iterator[tuple[Any, MDAEvent, Any]]:
        """Yield one frame, its event and its metadata."""
        exposure_s = self.mmcore.getExposure() / 1000
        plane, planes = event.index["z"] + 1, event.metadata["planes"]
        self._begin_step(
            f"camera {self.mmcore.getCameraDevice()}: exposure of {exposure_s:g} s, "
            f"plane {plane} of {planes}",
            exposure_s,
        )
        self.mmcore.snapImage()
        yield self.mmcore.getImage(), event, self.get_frame_metadata(event)
