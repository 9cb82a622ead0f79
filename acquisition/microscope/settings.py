"""What an operator sets of the microscope, as plain values."""

from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from schemas.errors import ConfigError

ARCHIVE_PATTERN = "{plate}/day{day}/{well}_{taken_at}.ome.tif"  # of what the microscope saves: a later visit is a new file

PACKAGES = ("pymmcore_plus", "useq", "ome_types")  # of the extra


def check_installed() -> None:
    """Raise :class:`ConfigError` where what drives a microscope is not installed."""
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise ConfigError(
            "source.kind",
            f'"micromanager" needs {", ".join(missing)}, not found here; expected: pip install "spherorank[micromanager]"',
        )


class Focusing(StrEnum):
    """How the tissue is brought into focus."""

    AUTO = "auto"  # by hardware where the configuration has an autofocus, else by software
    HARDWARE = "hardware"
    SOFTWARE = "software"  # the sharpest plane of a coarse scan
    OFF = "off"  # at ``focus_z_um``, or where the fitted surface of the plate lies


@dataclass(frozen=True)
class MicroscopeSettings:
    """A microscope and how plates lie under it. Stage coordinates are µm, as Micro-Manager shows them."""

    config: Path  # the hardware configuration, an MMConfig file
    a1_um: tuple[float, float]  # where the stage stands with the middle of A1 under the objective
    adapters: Path | None = (
        None  # Micro-Manager's folder with the device adapters; None: where pymmcore-plus finds one
    )
    plate: int = 96  # wells
    spacing_um: float | None = None  # from well to well; None: what a plate of so many wells has
    rotation_deg: float = 0.0  # of the plate, anticlockwise
    channel: str = ""  # GROUP:PRESET, as in "Channel:BF"; empty: as the configuration starts up
    exposure_ms: float = 10.0
    planes: int = 3
    plane_step_um: float = 45.0
    focusing: Focusing = Focusing.AUTO
    focus_z_um: float = 0.0  # where focus is looked for first
    focus_range_um: float = 90.0  # to either side
    wide_range_um: float = 200.0  # the same for a well that is imaged again
    focus_step_um: float = 15.0
    stage_limits_um: tuple[float, float, float, float] | None = None  # x from, y from, x to, y to
    z_limits_um: tuple[float, float] | None = None
    um_per_px: float | None = None  # None: the configuration's own pixel size
    timeout_s: float = 30.0  # of one device call
    tries: int = 3  # of one well on one day
    backoff_s: float = 2.0  # after one failure; so much more after each further one in a row
    stall_s: float = 120.0  # without any step forward
